"""
Folding: from a batch of events to what it adds to each KPI series in each minute.

The hot path of the whole job; the way it is arranged is told in `plan`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from operator import mul
from typing import Final, TypeAlias

from streams.events.types import Event
from streams.kpis.accumulators import Acc
from streams.kpis.definition import Kpi
from streams.kpis.plan import Plan, Row, Table

Deltas: TypeAlias = dict[int, dict[str, Acc]]
"""What is to be added, by minute (Unix seconds // 60) and series key."""

REMEMBERED: Final = 1 << 18
"""Combinations of facts and labels remembered, some 300 bytes each; beyond it the memory starts anew."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTES_A_DAY: Final = 24 * 60


class Folder:
    """
    Folds batches of events by one catalogue.

    What it remembers between batches only makes it faster: equal events give equal deltas, whatever came before.
    """

    def __init__(self, kpis: Iterable[Kpi], *, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._kpis: defaultdict[str, list[Kpi]] = defaultdict(list)
        for kpi in kpis:
            for event_type in kpi.event_types:
                self._kpis[event_type].append(kpi)
        self._table = Table()
        self._plans: dict[type[Event], Plan | None] = {}

    def fold(self, events: Sequence[Event]) -> Deltas:
        """Give the deltas of a batch; synthetic events add nothing."""
        if self._table.remembered > self._remembered:
            self._forget()
        deltas: Deltas = {}
        for minute, within in _by_minute(events).items():
            by_class: defaultdict[type[Event], list[Event]] = defaultdict(list)
            for event in within:
                by_class[event.__class__].append(event)
            series: dict[str, Acc] = {}
            for cls, alike in by_class.items():
                plan = self._plans[cls] if cls in self._plans else self._plan(cls)
                if plan:
                    self._add(plan, alike, series)
            if series:
                deltas[minute] = series
        return deltas

    def _plan(self, cls: type[Event]) -> Plan | None:
        kpis = self._kpis.get(cls.type)
        plan = self._plans[cls] = Plan(cls.type, kpis, self._table) if kpis else None
        return plan

    def _forget(self) -> None:
        for plan in self._plans.values():
            if plan:
                plan.forget()
        self._table.clear()
        self._table.append(Row(()))
        self._table.remembered = 0

    def _add(self, plan: Plan, events: list[Event], series: dict[str, Acc]) -> None:
        """Add the events of one type to the series of their minute."""
        rows, values = plan.scan(events)
        for number, times in Counter(rows).items():
            row = self._table[number]
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
            for key, index in row.bins:
                _count_bins(series, key, {index: times})
        for channel, column in enumerate(values):
            gathered: defaultdict[int, list[int]] = defaultdict(list)
            for offset in range(plan.width):
                for number, value in zip(rows[offset :: plan.width], column, strict=True):
                    if value is not None:
                        gathered[number].append(value)
            self._add_values(channel, plan.channels[channel].kind, gathered, series)

    def _add_values(self, channel: int, kind: str, gathered: Mapping[int, list[int]], series: dict[str, Acc]) -> None:
        """Add what was measured: counts in bins, or number, sum and squares."""
        for number, values in gathered.items():
            keys = self._table[number].gathered.get(channel)
            if not keys:
                continue
            if kind == "quantile":
                bins = Counter(values)
                for key in keys:
                    _count_bins(series, key, bins)
                continue
            added = [len(values), sum(values)]
            if kind == "mean":
                added.append(sum(map(mul, values, values)))
            for key in keys:
                acc = series.get(key)
                series[key] = added.copy() if acc is None else [a + b for a, b in zip(acc, added, strict=True)]


def _count_bins(series: dict[str, Acc], key: str, bins: Mapping[int, int]) -> None:
    into = series.get(key)
    if into is None:
        series[key] = dict(bins)
    else:
        for index, times in bins.items():
            into[index] = into.get(index, 0) + times  # type: ignore[union-attr]


def _by_minute(events: Sequence[Event]) -> dict[int, Sequence[Event]]:
    """Sort events into minutes; the usual batch is within one, and then nothing moves."""
    if not events:
        return {}
    times = [event.time for event in events]
    # Differences of aware times are exact whole microseconds, whatever the zone they were sent in.
    first, last = min(times) - _EPOCH, max(times) - _EPOCH
    minute = first.days * _MINUTES_A_DAY + first.seconds // 60
    if last.days * _MINUTES_A_DAY + last.seconds // 60 == minute:
        return {minute: events}
    found: defaultdict[int, list[Event]] = defaultdict(list)
    spans = [time - _EPOCH for time in times]
    for event, span in zip(events, spans, strict=True):
        found[span.days * _MINUTES_A_DAY + span.seconds // 60].append(event)
    return dict(found)
