"""
The catalogue: all KPI definitions, read from YAML and checked before the first event is counted.

A definition that cannot be right is refused with its file and line, and with what was probably meant. All problems
are reported together. Anyone adds a KPI by writing one block into a file of their own; no code is touched.
"""

import fnmatch
import math
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final, get_args

from streams.events.touchpoints import load_touchpoints
from streams.events.types import DERIVED_TYPES, EVENT_TYPES, PIPELINE_TYPES
from streams.kpis.aggregators import AGGREGATORS, Aggregator
from streams.kpis.arithmetic.intervals import Range
from streams.kpis.arithmetic.sketch import probability_steps
from streams.kpis.catalogue.alert_blocks import read_alert, read_gates
from streams.kpis.catalogue.derived_blocks import colocation, read_derivation, resolve
from streams.kpis.catalogue.maturing import PROVISIONAL, wait_s, with_provisional
from streams.kpis.language.blocks import CatalogueError, Problems, YamlBlock, blocks_of, files_of, text_of
from streams.kpis.language.definition import (
    Class,
    Delay,
    Direction,
    Kpi,
    Maturity,
    Selector,
)
from streams.kpis.language.derivation import DERIVED_UNITS
from streams.kpis.language.expressions import TRUE, Expression, ExpressionError, meant, parse, suggest
from streams.kpis.language.fields import IDENTITIES, Kind, all_fields, lacking
from streams.kpis.language.series import partition_of
from streams.kpis.language.tree import Param
from streams.kpis.language.void import with_declared

__all__ = ["Catalogue", "CatalogueError", "Kpi"]

BUILT_IN: Final = Path(__file__).parents[1] / "definitions"

_REQUIRED: Final = (
    "id", "name", "question", "unit", "direction", "class", "aggregator", "formula", "source", "owner",
    "groupings",
)  # fmt: skip
_ALLOWED: Final = ("name_fa", "min_n", "maturity", "wait", "scale", "range", "quantiles", "params", "alert")
_BELOW_OF: Final = dict.fromkeys(("events", "where", "value", "delay_s"), "of")
_DERIVED: Final = "derived"


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The KPIs by id, in the order of their definition."""

    kpis: Mapping[str, Kpi]
    colocation: Mapping[str, str] = field(default_factory=dict)
    """Of KPIs that are connected by a derived one, the id whose merge partition they share."""

    @classmethod
    def load(
        cls, paths: Iterable[Path] = (), *, built_in: bool = True, touchpoints: Iterable[str] | None = None
    ) -> "Catalogue":
        """
        Read the built-in definitions, then those in the given files and folders (`*.yaml`, `*.yml`).
        Only `touchpoints` have series of their own: those shipped when not given.

        Raises:
            CatalogueError: Anything cannot be right; names every problem with file and line.
        """
        own = tuple(paths)
        if built_in and not own and touchpoints is None:
            return _shipped()
        problems = Problems()
        found = files_of([*([BUILT_IN] if built_in else []), *own], "KPI definitions", problems)
        texts = [(text_of(path, problems), str(path)) for path in found]
        return cls._read(texts, problems, frozenset(load_touchpoints() if touchpoints is None else touchpoints))

    @classmethod
    def parse(cls, text: str, file: str = "<text>", touchpoints: Iterable[str] | None = None) -> "Catalogue":
        """
        Read definitions from a text alone.

        Raises:
            CatalogueError: As for `load`.
        """
        return cls._read([(text, file)], Problems(), None if touchpoints is None else frozenset(touchpoints))

    @classmethod
    def _read(cls, texts: Iterable[tuple[str, str]], problems: Problems, known: frozenset[str] | None) -> "Catalogue":
        kpis: dict[str, Kpi] = {}
        blocks: dict[str, YamlBlock] = {}
        places: dict[str, str] = {}
        for text, file in texts:
            for block in blocks_of(text, file, "KPI", problems):
                before = len(problems)
                for kpi in _kpis(block):
                    if kpi.id in places:
                        block.problem("id", f"{kpi.id} is defined already at {places[kpi.id]}")
                    places.setdefault(kpi.id, f"{file}:{block.line}")
                    if len(problems) == before:
                        kpis[kpi.id] = kpi.with_touchpoints(known)
                        blocks[kpi.id] = block
        for kpi in [*kpis.values()]:
            if kpi.derive:
                kpis[kpi.id] = resolve(kpi, blocks[kpi.id], kpis)
        problems.raise_any()
        return cls(MappingProxyType(kpis), MappingProxyType(colocation(kpis.values())))

    def without(self, ids: Container[str]) -> "Catalogue":
        """Return the catalogue without some KPIs, of which none are made."""
        return replace(self, kpis=MappingProxyType({id_: kpi for id_, kpi in self.kpis.items() if id_ not in ids}))

    def declaring(self, sent: Mapping[str, frozenset[str]]) -> "Catalogue":
        """Return the catalogue given which channels declare to send which event type; an empty name stands for all."""
        kpis = {kpi.id: replace(kpi, declared=with_declared(kpi, sent)) for kpi in self}
        return replace(self, kpis=MappingProxyType(kpis))

    def partition_of(self, kpi: str, partitions: int) -> int:
        """Return the merge partition of a KPI."""
        return partition_of(self.colocation.get(kpi, kpi), partitions)

    def variant(self, kpi: str, maturity: Maturity) -> Kpi:
        """
        Return the KPI that is meant by an id and a maturity: of an outcome that is waited for there are two.

        Raises:
            KeyError: There is none.
        """
        found = self[f"{kpi}{PROVISIONAL}" if maturity == "provisional" and f"{kpi}{PROVISIONAL}" in self else kpi]
        if found.maturity != maturity:
            raise KeyError(f"KPI {kpi!r} is {found.maturity}, not {maturity}")
        return found

    def __getitem__(self, kpi: str) -> Kpi:
        if kpi not in self.kpis:
            raise KeyError(f"no KPI {kpi!r}{suggest(kpi, self.kpis)}")
        return self.kpis[kpi]

    def __contains__(self, kpi: str) -> bool:
        return kpi in self.kpis

    def __iter__(self) -> Iterator[Kpi]:
        return iter(self.kpis.values())

    def __len__(self) -> int:
        return len(self.kpis)


@lru_cache(1)
def _shipped() -> Catalogue:
    """Return what is shipped, which nothing can change."""
    return Catalogue.load([BUILT_IN], built_in=False)


class _UnclearError(Exception):
    """A definition of which nothing more can be said than was."""


def _kpis(block: YamlBlock) -> tuple[Kpi, ...]:
    """Read one definition; of an outcome that is waited for, there are two; of one that is unclear, none."""
    try:
        return _read_kpis(block)
    except _UnclearError:
        return ()


def _read_kpis(block: YamlBlock) -> tuple[Kpi, ...]:
    return with_provisional(_kpi(block), block, wait_s(block), _params(block)) if "wait" in block else (_kpi(block),)


def _kpi(block: YamlBlock) -> Kpi:
    """Read one definition; if problems were noted on the way, what it returns means nothing."""
    name = block.choice("aggregator", [*AGGREGATORS, _DERIVED], "count")
    aggregator = AGGREGATORS.get(name)
    unclear = "aggregator" in block and not meant(str(block.plain("aggregator")), [*AGGREGATORS, _DERIVED])
    seconds = sorted({kind.second for kind in AGGREGATORS.values() if kind.second})
    if unclear:
        # Nothing that hangs on how it is put together can be said.
        block.expect(_REQUIRED, ("of", "derive", *seconds, *_ALLOWED), below=_BELOW_OF)
        raise _UnclearError
    allowed = (*seconds, *_ALLOWED) if aggregator else ("name_fa", "min_n")
    block.expect((*_REQUIRED, "of" if aggregator else "derive"), allowed, below=_BELOW_OF if aggregator else {})
    kpi_id = block.text("id")
    if kpi_id and not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", kpi_id):
        block.problem("id", f"id {kpi_id!r} must be lower case letters, digits and underscores")
    class_: Class = block.choice("class", get_args(Class), "A")
    maturity: Maturity = block.choice("maturity", get_args(Maturity), "immediate")
    if "class" in block and (maturity != "immediate") != (class_ in "CD"):
        block.problem(
            "maturity" if "maturity" in block else "class",
            f"class {class_} cannot be {maturity}: C and D wait for an outcome, A and B do not",
        )
    unit = block.text("unit")
    units = aggregator.units if aggregator else DERIVED_UNITS
    if "aggregator" in block and unit and unit not in units:
        hint = suggest(unit, units)
        block.problem("unit", f"unit {unit!r} is impossible for {name}: it is one of {', '.join(units)}{hint}")
    derive = None if aggregator else read_derivation(block, unit)
    params = _params(block)
    of = _selector(block, "of", aggregator, params, None)
    second = aggregator.second if aggregator else ""
    hits = _selector(block, second, aggregator, params, of) if second else None
    for key in seconds:
        if key in block and key != second:
            owners = [kind.name for kind in AGGREGATORS.values() if kind.second == key]
            block.problem(key, f"{key!r} belongs to a {' or '.join(sorted(owners))}, not to {name}")
    if aggregator and second and second not in block:
        block.problem(second, f"{second!r} is missing: a {name} {aggregator.second_words}")
    nested = hits is not None and not _has_events(block, second)
    if aggregator:
        aggregator.check(block, of, hits, nested=nested)
    _used(block, params)
    both = {*of.events, *(hits.events if hits else ())}
    if (derived := DERIVED_TYPES.keys() & both) and derived < both:
        block.problem("of", f"{min(derived)} is derived, and others are sent: a KPI is of either, for they close apart")
    return Kpi(
        id=kpi_id,
        name=block.text("name"),
        name_fa=block.text("name_fa"),
        question=block.text("question"),
        unit=unit,
        direction=block.choice("direction", get_args(Direction), "none"),
        class_=class_,
        aggregator=name,
        formula=block.text("formula"),
        source=block.text("source"),
        owner=block.text("owner"),
        groupings=_groupings(block, [*dict.fromkeys([*of.events, *(hits.events if hits else ())])]),
        of=of,
        hits=hits,
        nested=nested,
        min_n=read_gates(block, lasting=aggregator is not None and aggregator.lasting),
        maturity=maturity,
        scale=_scale(block, aggregator),
        range=_range(block, name),
        quantiles=_quantiles(block, aggregator),
        alert=read_alert(block, name, unit),
        derive=derive,
        params=MappingProxyType(params),
    )


def _has_events(block: YamlBlock, key: str) -> bool:
    given = block.block(key)
    return given is not None and "events" in given


def _params(block: YamlBlock) -> dict[str, Param]:
    given = block.block("params")
    params: dict[str, Param] = {}
    for name in given or ():
        value = given.plain(name) if given else None
        if not name.isidentifier() or not isinstance(value, bool | int | float | str):
            block.problem("params", f"parameter {name!r} must be a name with a number, text or yes/no")
        else:
            params[name] = value
    return params


def _used(block: YamlBlock, params: Mapping[str, Param]) -> None:
    texts = [
        str(selector.plain(key))
        for selector in (block.block(key) for key in ("of", *{kind.second for kind in AGGREGATORS.values()}))
        if selector
        for key in ("where", "value", "delay_s", "age_s")
        if key in selector
    ]
    for name in params:
        if not any(re.search(rf"\b{re.escape(name)}\b", text) for text in texts):
            block.problem("params", f"parameter {name!r} is never used")


def _selector(
    block: YamlBlock, key: str, aggregator: Aggregator | None, params: Mapping[str, Param], outer: Selector | None
) -> Selector:
    """Read `of`, or the second selector with `of` as `outer`: the events it falls back to."""
    given = block.block(key)
    if given is None or aggregator is None:
        return Selector((), (), TRUE)
    takes_value = aggregator.value != "none" or outer is not None
    own = "events" in given or outer is None
    waits = "wait" in block
    allowed = ["events", "where", *(["value"] if takes_value else []), *(["delay_s"] if own and not waits else [])]
    allowed += ["age_s"] if waits else []
    given.expect(("events",) if outer is None else (), allowed)
    events = _events(given) if own else outer.events if outer else ()
    written = tuple(map(str, given.list("events"))) if own else outer.written if outer else ()
    if not events:
        return Selector((), (), TRUE)
    fields = all_fields(events)
    for name in params:
        if name in fields:
            block.problem("params", f"parameter {name!r} hides the field of that name")

    def read(part: str, kind: Kind) -> Expression | None:
        if part not in given:
            return None
        value = given.plain(part)
        try:
            expression = parse(str(value), kind, fields, params)
        except ExpressionError as error:
            given.problem(part, f"{part}: {error}")
            return None
        # Only who tells the types apart can have meant that some lack the field.
        for name in expression.fields if "type" not in expression.fields else ():
            if without := lacking(name, events):
                given.problem(part, f"{part}: {name!r} is no field of {without}")
        return expression

    value = read("value", Kind.TEXT if aggregator.value == "text" else Kind.NUMBER) if takes_value else None
    if aggregator.value in {"number", "text"} and outer is None and "value" not in given:
        given.problem("value", f"'value' is missing: {aggregator.name} measures one")
    delay_s = read("delay_s", Kind.NUMBER) if own else None
    return Selector(events, written, read("where", Kind.BOOL) or TRUE, value, Delay(delay_s) if delay_s else None)


def _events(given: YamlBlock) -> tuple[str, ...]:
    """Resolve names and patterns (`cx.contact.*`) of event types."""
    found: dict[str, None] = {}
    known = (*EVENT_TYPES, *DERIVED_TYPES, *sorted(PIPELINE_TYPES))
    for name in given.list("events"):
        matching = fnmatch.filter(EVENT_TYPES, str(name)) if "*" in str(name) else [str(name)]
        if not matching or matching[0] not in known:
            given.problem("events", f"unknown event type {str(name)!r}{suggest(str(name), known)}")
            return ()
        found.update(dict.fromkeys(matching))
    if not found:
        given.problem("events", "'events' names no event type")
    if len(found) > 1 and (alone := PIPELINE_TYPES & found.keys()):
        given.problem("events", f"{min(alone)!r} stands alone: records are no events")
    return tuple(found)


def _groupings(block: YamlBlock, events: list[str]) -> tuple[tuple[str, ...], ...]:
    fields = all_fields(events) if events else {}
    known = [name for name, field in fields.items() if field.label]
    listed = f"; labels are {', '.join(known)}"
    groupings: dict[tuple[str, ...], None] = {}
    for labels in block.list("groupings"):
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            block.problem("groupings", f"grouping {labels!r} must be a list of field names; [] is the whole")
            continue
        for label in labels if events else ():
            if label in IDENTITIES:
                block.problem("groupings", f"{label!r} names single customers or visits: it cannot group")
            elif label not in fields:
                hint = suggest(label, known)
                block.problem("groupings", f"label {label!r} is no field of its events{hint or listed}")
                # The known ones are listed once.
                listed = listed if hint else ""
            elif without := lacking(label, events):
                block.problem("groupings", f"label {label!r} is no field of {without}")
            elif not fields[label].label:
                block.problem("groupings", f"label {label!r} has too many values to group by")
        grouping = tuple(sorted(set(labels)))
        if grouping in groupings or len(grouping) < len(labels):
            block.problem("groupings", f"grouping {labels!r} repeats itself or another")
        groupings[grouping] = None
    if not groupings and "groupings" in block:
        block.problem("groupings", "'groupings' is empty: write [[]] for the whole alone")
    return tuple(groupings)


def _scale(block: YamlBlock, aggregator: Aggregator | None) -> int:
    in_steps = aggregator is not None and aggregator.in_steps
    if aggregator and "scale" in block and not in_steps:
        block.problem("scale", f"'scale' means nothing for {aggregator.name}")
    return block.whole("scale", 1000 if in_steps else 1, 1_000_000)


def _range(block: YamlBlock, aggregator: str) -> Range | None:
    """Read the ends of the scale that single answers are given on."""
    if "range" not in block:
        return None
    if aggregator != "mean":
        block.problem("range", f"'range' means nothing for {aggregator}: it is the scale of the answers of a mean")
        return None
    given = block.list("range")
    ends = [end for end in given if type(end) in {int, float} and math.isfinite(end)]
    if len(given) != 2 or len(ends) != 2 or not ends[0] < ends[1]:
        block.problem("range", f"'range' must be least and greatest answer, e.g. [1, 5], not {given!r}")
        return None
    return float(ends[0]), float(ends[1])


def _quantiles(block: YamlBlock, aggregator: Aggregator | None) -> tuple[float, ...]:
    if aggregator is None or not aggregator.has_quantiles:
        if aggregator and "quantiles" in block:
            block.problem("quantiles", f"'quantiles' means nothing for {aggregator.name}")
        return ()
    given = block.list("quantiles") if "quantiles" in block else [0.5, 0.9]
    for q in given:
        try:
            probability_steps(q if type(q) is float else math.nan)
        except (ValueError, OverflowError):
            wanted = "between 0 and 1 with at most four decimals, e.g. 0.95"
            block.problem("quantiles", f"quantile {q!r}: expected a number {wanted}")
    if not given or len({str(q) for q in given}) < len(given):
        block.problem("quantiles", f"'quantiles' must be one or more, each once, not {given!r}")
    return tuple(given)
