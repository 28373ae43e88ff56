"""
How the events of one type are folded: compiled once from the catalogue into one scanning function.

An event counts for many KPIs under many groupings, yet few of its fields decide for which. So the work is split:

1. The *facts* of an event (its fields with few possible values, and the truth of each comparison on the others) are
   looked up in a table. An entry says, per grouping, what such an event adds.
2. For a grouping with open-ended labels (a shop, a queue), the entry is itself a table from label to *row*.
3. A row lists series and what one event adds to each. Rows are counted, then multiplied out: the per-event cost is
   one lookup per grouping, however many KPIs share it.

Durations and amounts are gathered per row and summed once per row.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import floor
from typing import Any, Final, TypeAlias

from streams.events.types import Event
from streams.kpis.aggregators import AGGREGATORS
from streams.kpis.folding.lookups import NOTHING, EffectRow, LabelLookup, LabelValue, Lookup, NoSeries, Table
from streams.kpis.language.definition import LONGEST_DELAY_S, Delay, Kpi
from streams.kpis.language.effects import Effect, EffectOf, Facts, Gathering, ValueChannel
from streams.kpis.language.expressions import Expression
from streams.kpis.language.fields import OWN, Field, fields_of
from streams.kpis.language.series import SEPARATOR, rest_key, sent_label, series_key
from streams.kpis.language.tree import Among, Compare, Holds, Missing, Name, Node, children, names_in
from streams.kpis.language.writing import PYTHON_NAMES

Columns: TypeAlias = tuple[list[Any], ...]
"""The values of each channel, in the order of the events; None where there is none."""

# A place is a row in a minute: the row's number in the lower bits, minutes since the batch's first in the upper.
ROW_BITS: Final = 32
ROW_MASK: Final = (1 << ROW_BITS) - 1

_DELAYS: Final = Gathering(LONGEST_DELAY_S * 1000)


def label_text(value: LabelValue) -> str:
    """Return the text of a label: `true` and `false` in lower case, as ClickHouse writes them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return sent_label(str(value))


def _leaves(node: Node) -> Iterable[Node]:
    """Return the comparisons in a tree."""
    if isinstance(node, Compare | Among | Holds | Missing):
        yield node
    else:
        for child in children(node):
            yield from _leaves(child)


def _few(node: Node) -> bool:
    """Return whether a tree reads only fields with few possible values."""
    return all(f.bounded for f in names_in(node))


def _decided(node: Node) -> bool:
    """Return whether fields with few possible values, and comparisons on the others, say what a value is."""
    match node:
        case Compare() | Among() | Holds() | Missing():
            return True
        case Name(read):
            return read.bounded
        case _:
            return all(map(_decided, children(node)))


@dataclass(frozen=True)
class _Part:
    """One KPI's interest in a type: tells the effect from the facts."""

    kpi: Kpi
    effect: EffectOf


@dataclass
class FoldPlan:
    """
    The compiled fold of one event type.

    Attributes:
        scan: Gives for a list of events the rows they go to, `width` for each, and the values of each channel.
        scan_apart: The same for events of several minutes: gives places, from rows and each event's minute.
        delay: Of what the KPIs ask of this type, only what is counted so much later is folded.
        delays_ms: Gives for a list of events by how much later each is counted; None: not at all.
        channels: The values gathered.
        offsets: Which of an event's rows take the values of each channel.
    """

    event_type: str
    kpis: Sequence[Kpi]
    table: Table
    delay: Delay | None = None
    width: int = 1
    channels: list[ValueChannel] = field(default_factory=list)
    offsets: list[list[int]] = field(init=False)
    scan: Callable[[Sequence[Event]], tuple[list[int], Columns]] = field(init=False)
    scan_apart: Callable[[Sequence[Event], list[int]], tuple[list[int], Columns]] = field(init=False)
    delays_ms: Callable[[Sequence[Event]], list[int | None]] = field(init=False)

    def __post_init__(self) -> None:
        self._fields = fields_of(self.event_type)
        self._facts: dict[str, int] = {}
        self._sources: list[str] = []
        self._known: dict[Node, str] = {}
        self._functions: dict[str, Callable[[Any, Any], bool]] = {}
        self._gathering: list[set[tuple[str, ...]]] = []
        self._fact("synthetic")
        groupings = sorted({grouping for kpi in self.kpis for grouping in kpi.groupings})
        for name in sorted({name for grouping in groupings for name in grouping}):
            if self._fields[name].bounded:
                self._fact(name)
        self._parts = [part for kpi in self.kpis for part in self._interests(kpi)]
        self._closed = [g for g in groupings if not self._open_labels(g)]
        self._open = [g for g in groupings if self._open_labels(g)]
        self._bases = Lookup(self.table, self.table.add)
        self._classes = [Lookup(self.table, self._labelled(grouping)) for grouping in self._open]
        self._effects = Lookup(self.table, self._look)
        self.width = 1 + len(self._open)
        places = {grouping: 1 + n for n, grouping in enumerate(self._open)}
        self.offsets = [sorted({places.get(g, 0) for g in groupings}) for groupings in self._gathering]
        self._compile()

    def forget(self) -> None:
        """Drop everything remembered about facts and labels."""
        self._effects.clear()
        self._bases.clear()
        for classes in self._classes:
            classes.clear()

    def _open_labels(self, grouping: tuple[str, ...]) -> list[Field]:
        return [self._fields[name] for name in grouping if not self._fields[name].bounded]

    def _source(self, name: str) -> str:
        """Write how an event's field is read."""
        if name not in self._fields:
            return "None"
        place = self._fields[name].place
        if place == "own":
            return f"(e.labels.get({name.removeprefix(OWN)!r}) if e.labels else None)"
        return repr(self.event_type) if place == "type" else f"{'e' if place == 'envelope' else 'd'}.{name}"

    def _fact(self, name: str) -> str:
        """Make a field one of the facts, and write how it is read from them."""
        if name == "type" or name not in self._fields:
            return self._source(name)
        if name not in self._facts:
            self._facts[name] = len(self._sources)
            self._sources.append(self._source(name))
        return f"k[{self._facts[name]}]"

    def from_facts(self, expression: Expression) -> Callable[[Facts], Any]:
        """Compile an expression to be evaluated on facts; comparisons on other fields become facts themselves."""
        for leaf in _leaves(expression.tree):
            if not _few(leaf) and leaf not in self._known:
                self._known[leaf] = f"k[{len(self._sources)}]"
                self._sources.append(self._computed(leaf))
        code = f"lambda k: {expression.to_python(self._fact, self._known)}"
        return eval(code, dict(PYTHON_NAMES))  # type: ignore[no-any-return]  # noqa: S307 - written from a checked tree

    def _computed(self, leaf: Node) -> str:
        """Write how a comparison on other fields is computed: where it names values on the way, in a function."""
        source = Expression("", leaf).to_python(self._source)
        if ":=" not in source:
            return source
        # Facts are looked up where a comprehension says what it goes through, and nothing can be named there.
        name = f"f{len(self._functions)}"
        self._functions[name] = eval(f"lambda e, d: {source}", dict(PYTHON_NAMES))  # noqa: S307 - from a checked tree
        return f"{name}(e, d)"

    def _interests(self, kpi: Kpi) -> Iterable[_Part]:
        aggregator, hits = AGGREGATORS[kpi.aggregator], kpi.hits
        if self.event_type in kpi.of.events and kpi.of.delay == self.delay:
            where = self.from_facts(kpi.of.where)
            effect = aggregator.of_effect(kpi, self)
            yield _Part(kpi, lambda k: effect(k) if where(k) else None)
        if hits and not kpi.nested and self.event_type in hits.events and hits.delay == self.delay:
            hit = self.from_facts(hits.where)
            hit_effect = aggregator.hits_effect(kpi, self)
            yield _Part(kpi, lambda k: hit_effect(k) if hit(k) else None)

    def gather(self, kpi: Kpi, gathering: Gathering, value: Expression, part: Expression | None = None) -> EffectOf:
        """Have a value measured: from the facts if they tell it, otherwise event by event."""
        if part is None and _decided(value.tree):
            of_facts = self.from_facts(value)
            return lambda k: gathering.effect(kpi, of_facts(k))
        channel = ValueChannel(value, kpi.scale, gathering, part)
        if channel not in self.channels:
            self.channels.append(channel)
            self._gathering.append(set())
        number = self.channels.index(channel)
        self._gathering[number].update(kpi.groupings)
        gather = Effect(kpi.id, "gather", (number,))
        return lambda _: gather

    def _look(self, facts: Facts) -> Any:
        """Find what events with these facts add: a row, and per open grouping a table from labels to rows."""
        effects: list[tuple[Kpi, Effect]] = []
        if not facts[self._facts["synthetic"]]:
            found = ((part.kpi, part.effect(facts)) for part in self._parts)
            effects = [(kpi, effect) for kpi, effect in found if effect]

        def fixed(grouping: tuple[str, ...]) -> tuple[tuple[str, LabelValue], ...]:
            names = (name for name in grouping if self._fields[name].bounded)
            return tuple((n, self.event_type if n == "type" else facts[self._facts[n]]) for n in names)

        entries: list[tuple[str, Effect]] = []
        for grouping in self._closed:
            entries += _entries([e for kpi, e in effects if grouping in kpi.groupings], fixed(grouping))
        base = self._bases[tuple(entries)]
        if not self._open:
            return base
        maps = [
            classes[fixed(grouping), tuple(e for kpi, e in effects if grouping in kpi.groupings)]
            for grouping, classes in zip(self._open, self._classes, strict=True)
        ]
        return (base, *maps)

    def _labelled(self, grouping: tuple[str, ...]) -> Callable[[Any], dict[Any, int]]:
        """Make tables from open labels to rows, one for each set of effects and fixed labels."""
        names = [f.name for f in self._open_labels(grouping)]
        touchpoints = next((kpi.touchpoints for kpi in self.kpis if kpi.touchpoints is not None), None)
        dictionaries = [touchpoints if name == "touchpoint" else None for name in names]

        def table_of(key: tuple[tuple[tuple[str, LabelValue], ...], tuple[Effect, ...]]) -> dict[Any, int]:
            fixed, effects = key
            by_kpi = EffectRow((effect.kpi, effect) for effect in effects)
            known = {name: _text(value) for name, value in fixed}
            if not effects or not all(known.values()):
                return NoSeries()

            labels = "".join(
                f"{SEPARATOR}{name}{SEPARATOR}{known[name].replace('%', '%%') if name in known else '%s'}"
                for name in grouping
            )

            def row_of(values: Sequence[LabelValue] | None) -> int:
                if values is None:
                    return self.table.keep(by_kpi.under(rest_key("", grouping)))
                texts = tuple([value if type(value) is str else _text(value) for value in values])
                return self.table.keep(by_kpi.under(labels % texts)) if all(texts) else NOTHING

            return LabelLookup(self.table, row_of, dictionaries)

        return table_of

    def _compile(self) -> None:
        facts = ", ".join(self._sources)
        event = "for e in events for d in (e.data,)"
        shifted = "for e, t in zip(events, shifts) for d in (e.data,)"
        lookups = [
            f"m{i}[{', '.join(self._source(f.name) for f in self._open_labels(grouping))}]"
            for i, grouping in enumerate(self._open)
        ]
        if lookups:
            maps = ", ".join(f"m{i}" for i in range(len(lookups)))
            unpacked = f"for b, {maps} in (effects[{facts},],) for r in (b, {', '.join(lookups)})"
            rows, places = f"[r {event} {unpacked}]", f"[r + t {shifted} {unpacked}]"
        else:
            rows, places = f"[effects[{facts},] {event}]", f"[effects[{facts},] + t {shifted}]"
        values = "".join(f"[{channel.write(self._source)} {event}], " for channel in self.channels)
        later = "None"
        if self.delay:
            later = ValueChannel(self.delay.seconds, 1000, _DELAYS).write(self._source)
        source = (
            f"def scan(events):\n    return {rows}, ({values})\n"
            f"def scan_apart(events, shifts):\n    return {places}, ({values})\n"
            f"def delays_ms(events):\n    return [{later} {event}]\n"
        )
        names: dict[str, Any] = {
            **PYTHON_NAMES, **self._functions, "effects": self._effects, "floor": floor,
            **{bin_.__name__: bin_ for channel in self.channels if (bin_ := channel.gathering.bin) is not None},
        }  # fmt: skip
        exec(source, names)  # noqa: S102 - written from a checked tree
        self.scan = names["scan"]
        self.scan_apart = names["scan_apart"]
        self.delays_ms = names["delays_ms"]


def _text(value: LabelValue) -> str:
    """Return the text of a label, empty where there is none."""
    return "" if value is None else label_text(value)


def _entries(effects: Iterable[Effect], labels: Sequence[tuple[str, LabelValue]]) -> list[tuple[str, Effect]]:
    """Name the series of each effect; none if a label is missing or says nothing."""
    texts = tuple((name, _text(value)) for name, value in labels)
    if not all(text for _, text in texts):
        return []
    return [(series_key(effect.kpi, texts), effect) for effect in effects]
