"""
Folding: from a batch of events to what it adds to each KPI series in each minute.

The hot path of the whole job; `plan` explains how it is arranged.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from heapq import nlargest
from typing import Any, Final, TypeAlias

from msgspec.structs import replace

from streams.events.types import DERIVED_TYPES, Event
from streams.kpis.arithmetic.accumulators import Acc, cleared, merge_acc, negated
from streams.kpis.folding.lookups import EffectRow, Table
from streams.kpis.folding.plan import ROW_BITS, ROW_MASK, Columns, FoldPlan
from streams.kpis.language.definition import Delay, Kpi
from streams.kpis.language.effects import Gathering
from streams.kpis.language.series import OTHER, sent_label

Deltas: TypeAlias = dict[int, dict[str, Acc]]
"""What is to be added, by minute (Unix seconds // 60) and series key."""

REMEMBERED: Final = 1 << 17
"""Combinations of facts and labels remembered, some 600 bytes each; beyond it the memory starts anew."""

CREDIT: Final = 1 << 14
"""Combinations of labels that a source may bring at once which were never seen before: what a large company has."""

EVENTS_A_CREDIT: Final = 8
"""Events of a source for one more of them."""

SENDERS: Final = 32
"""Senders of a batch that are counted one by one; all others of it are one."""

SPARED: Final = 0.25
"""Part of the credit of a source that its only sender leaves to others, who may come at any time."""

SENDERS_KNOWN: Final = 4_096
MOST_OF_NAME: Final = 80
"""Characters of a sender's name that are kept."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTES_A_DAY: Final = 24 * 60
_FEW: Final = 64


class Folder:
    """
    Folds batches of events by one catalogue.

    What it remembers between batches only makes it faster: equal events give equal deltas, whatever came before. Unless
    new labels have a bound: beyond it they are counted under the rest, and the sum over a grouping stays the same.
    """

    def __init__(
        self,
        kpis: Iterable[Kpi],
        *,
        remembered: int = REMEMBERED,
        credit: int | None = None,
        sender_share: float = 1.0,
    ) -> None:
        """
        Remember nothing yet.

        Args:
            kpis: What is counted.
            remembered: Combinations of facts and labels that are remembered.
            credit: New combinations of labels that each source may bring at once; None: no bound.
            sender_share: Part of that for events of one sender, which is who they name as their `source`, where there
                are others: who is alone has more, all but what is spared for them.
        """
        self._remembered = remembered
        self._sender_share = sender_share
        self._senders: dict[tuple[str, str], float] = {}
        self._alone: dict[str, str | None] = {}
        """The only sender of each source; None: there are more of them."""
        self._brought: dict[str, str] = {}
        kpis = list(kpis)
        self._touchpoints = next((kpi.touchpoints for kpi in kpis if kpi.touchpoints is not None), None)
        self._most = credit
        self._credits: dict[str, float] = {}
        self._kpis: defaultdict[str, list[Kpi]] = defaultdict(list)
        for kpi in kpis:
            for event_type in kpi.event_types:
                self._kpis[event_type].append(kpi)
        self._table = Table()
        self._plans: dict[type[Event], list[FoldPlan]] = {}

    @property
    def remembered(self) -> int:
        """How many combinations are remembered now."""
        return self._table.remembered

    def take_overflowed(self) -> int:
        """Return how often labels were counted under the rest since the last call."""
        overflowed, self._table.overflowed = self._table.overflowed, 0
        return overflowed

    def take_cut(self) -> int:
        """Return how many labels that cannot be carried whole were met first since the last call."""
        cut, self._table.cut = self._table.cut, 0
        return cut

    def take_brought(self) -> dict[str, str]:
        """Return the series that came up since the last call, by key, and which sender brought them."""
        brought, self._brought = self._brought, {}
        return brought

    def unknown_touchpoints(self, events: Iterable[Event]) -> int:
        """Count the events of touchpoints that are in no dictionary."""
        known = self._touchpoints
        if known is None:
            return 0
        return sum(
            1
            for event in events
            if (sent := event.touchpoint) is not None and sent not in known and sent_label(sent) not in known
        )

    def fold(self, events: Sequence[Event], into: Deltas | None = None, source: str = "") -> Deltas:
        """
        Add the deltas of a batch to those `into`, which are changed and given back; synthetic events add nothing.

        What is withdrawn is subtracted. `source` is whose credit pays for labels that are new.
        """
        if self._table.remembered > self._remembered:
            self._forget()
        first, last = _minutes(events)
        deltas: defaultdict[int, dict[str, Acc]] = defaultdict(dict, into or {})
        # Places of all types are counted together: a batch of history has minutes with few events of each.
        places: list[int] = []
        withdrawn: list[Event] = []
        for sender, sent in self._by_sender(events).items():
            with self._paying(source, sender, len(sent)):
                by_class: defaultdict[type[Event], list[Event]] = defaultdict(list)
                for event in sent:
                    by_class[event.__class__].append(event)
                for cls, alike in by_class.items():
                    said = alike
                    if cls.type in DERIVED_TYPES:
                        said = [event for event in alike if not event.data.withdrawn]
                        withdrawn += [event for event in alike if event.data.withdrawn]
                    places += self._scan(cls, said, first, last, deltas)
        self._add_rows(places, first, deltas)
        if withdrawn:
            self._take_back(withdrawn, source, deltas)
        return dict(deltas)

    def _take_back(self, withdrawn: Iterable[Event], source: str, deltas: defaultdict[int, dict[str, Acc]]) -> None:
        """Subtract what these events said before they were withdrawn, to the same minutes and series."""
        said = [replace(event, data=replace(event.data, withdrawn=False)) for event in withdrawn]
        for minute, series in self.fold(said, None, source).items():
            for key, acc in series.items():
                merge_acc(deltas[minute].setdefault(key, cleared(acc)), negated(acc))

    def _scan(
        self,
        cls: type[Event],
        alike: Sequence[Event],
        first: int,
        last: int,
        deltas: defaultdict[int, dict[str, Acc]],
    ) -> list[int]:
        """Add what is measured of events of a type, and return the places to which they are counted."""
        places: list[int] = []
        for plan in self._plans[cls] if cls in self._plans else self._plan(cls):
            if plan.delay is not None:
                found, columns = plan.scan_apart(*_delayed(plan, alike, first))
            elif first < last:
                found, columns = plan.scan_apart(alike, _shifts(alike, first, last))
            else:
                found, columns = plan.scan(alike)
            places += found
            if columns:
                self._add_values(plan, found, columns, first, deltas)
        return places

    def _by_sender(self, events: Sequence[Event]) -> Mapping[str, Sequence[Event]]:
        """Part the events of a batch by who sent them; all but those who sent most of them are one sender."""
        if self._most is None:
            return {"": events}
        by_sender: defaultdict[str, list[Event]] = defaultdict(list)
        for event in events:
            by_sender[event.source].append(event)
        if len(by_sender) <= SENDERS:
            return by_sender
        kept = dict(nlargest(SENDERS, by_sender.items(), key=lambda item: len(item[1])))
        kept[""] = [event for sender, sent in by_sender.items() if sender not in kept for event in sent]
        return kept

    @contextmanager
    def _paying(self, source: str, sender: str, events: int) -> Iterator[None]:
        """Have labels that are new paid for by the credits of a source and of one of its senders."""
        table = self._table
        if self._most is None:
            yield
            table.fresh.clear()
            return
        if self._alone.setdefault(source, sender) != sender:
            self._alone[source] = None
        share = self._sender_share if self._alone[source] is None else max(self._sender_share, 1 - SPARED)
        most = share * self._most
        if len(self._senders) > SENDERS_KNOWN:
            self._senders.clear()  # what they might bring anew is still bounded by the credit of their source
        credit = min(self._most, self._credits.get(source, self._most) + events / EVENTS_A_CREDIT)
        own = min(most, self._senders.get((source, sender), most) + events / EVENTS_A_CREDIT)
        table.credit = min(credit, own)
        yield
        spent = min(credit, own) - table.credit
        self._credits[source], self._senders[source, sender] = credit - spent, own - spent
        for row in table.fresh:
            for key in table[row].keys():  # noqa: SIM118 - a row is no dictionary
                self._brought.setdefault(key, (sender or OTHER)[:MOST_OF_NAME])
        table.fresh.clear()

    def _plan(self, cls: type[Event]) -> list[FoldPlan]:
        """Compile what is asked of a type: what is counted at once, and apart from it what is counted later."""
        by_delay: defaultdict[Delay | None, dict[str, Kpi]] = defaultdict(dict)
        for kpi in self._kpis.get(cls.type, ()):
            for selector in (kpi.of, None if kpi.nested else kpi.hits):
                if selector and cls.type in selector.events:
                    by_delay[selector.delay][kpi.id] = kpi
        plans = [FoldPlan(cls.type, [*kpis.values()], self._table, delay) for delay, kpis in by_delay.items()]
        self._plans[cls] = plans
        return plans

    def _forget(self) -> None:
        for plans in self._plans.values():
            for plan in plans:
                plan.forget()
        self._table.clear()
        self._table.append(EffectRow(()))
        self._table.remembered = 0
        self._credits.clear()  # what was known has to be met again
        self._senders.clear()
        self._alone.clear()

    def _add_rows(self, places: list[int], first: int, deltas: defaultdict[int, dict[str, Acc]]) -> None:
        """Add what the rows of events say, each as often as it occurs."""
        for place, times in Counter(places).items():
            row = self._table[place & ROW_MASK]
            if row.empty:
                continue
            series = deltas[first + (place >> ROW_BITS)]
            for key, a in row.ones:
                if key in series:
                    series[key][0] += a * times
                else:
                    series[key] = [a * times]
            for key, a, b in row.twos:
                if key in series:
                    acc = series[key]
                    acc[0] += a * times
                    acc[1] += b * times
                else:
                    series[key] = [a * times, b * times]
            for key, a, b, c in row.threes:
                if key in series:
                    acc = series[key]
                    acc[0] += a * times
                    acc[1] += b * times
                    acc[2] += c * times
                else:
                    series[key] = [a * times, b * times, c * times]
            for key, fields in row.more:
                _add_fields(series, key, [field * times for field in fields])
            for key, index in row.bins:
                _count_bins(series, key, {index: times})

    def _add_values(
        self,
        plan: FoldPlan,
        places: list[int],
        columns: Columns,
        first: int,
        deltas: defaultdict[int, dict[str, Acc]],
    ) -> None:
        """Add what was measured: counts in bins, or number, sum and squares."""
        for number, (channel, column) in enumerate(zip(plan.channels, columns, strict=True)):
            gathered: defaultdict[int, list[int]] = defaultdict(list)
            for offset in plan.offsets[number]:
                for place, value in zip(places[offset :: plan.width], column, strict=True):
                    if value is not None:
                        gathered[place].append(value)
            for place, values in gathered.items():
                if keys := self._table[place & ROW_MASK].gathered.get(number):
                    _add_column(deltas[first + (place >> ROW_BITS)], keys, channel.gathering, values)


def _add_column(series: dict[str, Acc], keys: Iterable[str], gathering: Gathering, values: list[Any]) -> None:
    if gathering.add is None:
        bins = Counter(values)
        for key in keys:
            _count_bins(series, key, bins)
        return
    fields = gathering.add(values)
    for key in keys:
        _add_fields(series, key, fields)


def _add_fields(series: dict[str, Acc], key: str, fields: Sequence[int]) -> None:
    acc = series.get(key)
    series[key] = list(fields) if acc is None else [a + b for a, b in zip(acc, fields, strict=True)]


def _count_bins(series: dict[str, Acc], key: str, bins: Mapping[int, int]) -> None:
    into = series.get(key)
    if into is None:
        series[key] = dict(bins)
    else:
        for index, times in bins.items():
            into[index] = into.get(index, 0) + times  # type: ignore[union-attr]


def _minute(time: datetime) -> int:
    # Differences of aware times are exact whole microseconds, whatever the zone they were sent in.
    span = time - _EPOCH
    return span.days * _MINUTES_A_DAY + span.seconds // 60


def _minutes(events: Sequence[Event]) -> tuple[int, int]:
    """Return the first and the last minute of the events."""
    if not events:
        return 0, 0
    times = [event.time for event in events]
    return _minute(min(times)), _minute(max(times))


def _delayed(plan: FoldPlan, events: Sequence[Event], first: int) -> tuple[list[Event], list[int]]:
    """Give the events that a plan counts later, and for each the minutes from the first to then, in the upper bits."""
    counted, shifts = [], []
    hourly = plan.delay is not None and plan.delay.hourly
    for event, delay_ms in zip(events, plan.delays_ms(events), strict=True):
        if delay_ms is None or delay_ms < 0:
            continue
        span = event.time - _EPOCH
        # Whole milliseconds, as times are stored.
        at_ms = (span.days * 86_400 + span.seconds) * 1000 + span.microseconds // 1000 + delay_ms
        minute = -(-at_ms // 3_600_000) * 60 if hourly else at_ms // 60_000
        counted.append(event)
        shifts.append(minute - first << ROW_BITS)
    return counted, shifts


def _shifts(events: Sequence[Event], first: int, last: int) -> list[int]:
    """Return for each event the minutes since the first, in the upper bits of a place."""
    if last - first <= _FEW:
        # Searching among few edges costs less than an object for each difference.
        edges = [_EPOCH + timedelta(minutes=minute) for minute in range(first + 1, last + 1)]
        return [bisect_right(edges, event.time) << ROW_BITS for event in events]
    spans = [event.time - _EPOCH for event in events]
    return [span.days * _MINUTES_A_DAY + span.seconds // 60 - first << ROW_BITS for span in spans]
