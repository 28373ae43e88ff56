"""All relations that are there, read from files and held against each other."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from streams.events.types import EVENT_TYPES
from streams.kpis.language.blocks import CatalogueError, Problems, YamlBlock, blocks_of, files_of, text_of
from streams.kpis.language.expressions import suggest
from streams.relations.clocks import WorkingClock, read_clock
from streams.relations.definition import Relation
from streams.relations.facts import LINKED, MERGED, Fact, Reader
from streams.relations.reading import KINDS, read_relation

_STRIDES: Final = 24
_NO_READERS: Final[Mapping[tuple[str, ...], list[Relation]]] = {}


class Relations(Mapping[str, Relation]):
    """
    Relations by id, in the order of their ids.

    Attributes:
        by_id: The same, for those who ask often.
        clocks: Working time by name.
        reader: Makes facts of events, with the fields that any of them reads, and of what links keys.
        revises_ms: How late an event may come at most and still change a result.
        stride_ms: By how much the moment moves on at once up to which nothing changes any more.
    """

    def __init__(
        self, relations: Iterable[Relation] = (), clocks: Mapping[str, WorkingClock] = MappingProxyType({})
    ) -> None:
        self.by_id = {one.id: one for one in sorted(relations, key=lambda one: one.id)}
        self.clocks = clocks
        self.revises_ms = max((one.revises_ms for one in self.values()), default=0)
        self.stride_ms = self.revises_ms // _STRIDES + 1
        self._by_type: dict[str, dict[tuple[str, ...], list[Relation]]] = {}
        """By event type, and by the fields that tell matters apart."""
        wanted: dict[str, set[str]] = {}
        for relation in self.values():
            for name in sorted(relation.events):
                self._by_type.setdefault(name, {}).setdefault(relation.by, []).append(relation)
                wanted.setdefault(name, set())
            for name, one in relation.fields():
                wanted[name].add(one)
        if wanted:
            wanted.setdefault(LINKED, set()).add("alias")
            wanted.setdefault(MERGED, set()).add("merged_into")
        self.reader = Reader(wanted)

    def readers(self, fact: Fact) -> Sequence[Relation]:
        """Return the relations to which an event means something."""
        found: list[Relation] = []
        for by, relations in self._by_type.get(fact.type, _NO_READERS).items():
            if not by or relations[0].key_of(fact.values) is not None:
                found += relations
        return found

    def __getitem__(self, name: str) -> Relation:
        if name not in self.by_id:
            raise KeyError(f"no relation {name!r}{suggest(name, self.by_id)}")
        return self.by_id[name]

    def __contains__(self, name: object) -> bool:
        return name in self.by_id

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_id)

    def __len__(self) -> int:
        return len(self.by_id)

    def only(self, names: Iterable[str]) -> "Relations":
        """
        Return the named ones alone.

        Raises:
            KeyError: There is none of such a name.
        """
        return Relations((self[name] for name in names), self.clocks)


def load(paths: Sequence[Path]) -> Relations:
    """
    Read the relations of files and of the YAML files of folders.

    Raises:
        CatalogueError: Anything cannot be right; names every problem with file and line.
    """
    problems = Problems()
    blocks: list[YamlBlock] = []
    for path in files_of(paths, "relations", problems):
        blocks += blocks_of(text_of(path, problems), str(path), "relation", problems)
    return read(blocks, problems)


def parse(text: str, file: str = "<text>") -> Relations:
    """
    Read relations from a text alone.

    Raises:
        CatalogueError: Anything cannot be right; names every problem with file and line.
    """
    problems = Problems()
    return read(blocks_of(text, file, "relation", problems), problems)


def read(blocks: Sequence[YamlBlock], problems: Problems, beside: Relations | None = None) -> Relations:
    """
    Read relations and clocks from their blocks, to stand beside others.

    Raises:
        CatalogueError: Anything cannot be right, or was noted before.
    """
    clocks = dict(beside.clocks) if beside else {}
    relations: dict[str, Relation] = dict(beside) if beside else {}
    places: dict[str, str] = {}
    for block in blocks:
        if block.plain("kind") == "clock":
            _once(block, places)
            clock = read_clock(block)
            clocks[clock.name] = clock
    emitted = {one.emits: one.id for one in relations.values()}
    written = {str(block.written("emits")): str(block.written("id")) for block in blocks if "emits" in block}
    named = {name: relation for name, relation in written.items() if name not in EVENT_TYPES}
    for block in blocks:
        kind = block.choice("kind", (*KINDS, "clock"), "") if "kind" in block else ""
        if not kind:
            block.problem("kind", f"'kind' is missing: {', '.join(KINDS)} or clock") if "kind" not in block else None
        if kind not in KINDS:
            continue
        _once(block, places)
        before = len(problems)
        relation = read_relation(block, kind, clocks, {**emitted, **named})
        if len(problems) > before or relation is None:
            continue
        if relation.emits in EVENT_TYPES:
            block.problem(
                "emits", f"{relation.emits!r} is an event type already: derived events have types of their own"
            )
        elif emitted.setdefault(relation.emits, relation.id) != relation.id:
            block.problem("emits", f"{relation.emits!r} is emitted by {emitted[relation.emits]} already")
        relations[relation.id] = relation
    problems.raise_any(CatalogueError)
    return Relations(relations.values(), clocks)


def _once(block: YamlBlock, places: dict[str, str]) -> None:
    name = block.text("id")
    if name in places:
        block.problem("id", f"{name} is defined already at {places[name]}")
    places.setdefault(name, f"{block.file}:{block.line}")
