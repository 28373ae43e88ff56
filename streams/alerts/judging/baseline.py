"""
What is usual at this hour of the week: a robust baseline learnt from hourly sums of some weeks.

Each hour of the local week has the median of the weeks, so that a few bad hours do not shift it, and a spread between
weeks: 1.4826 times the median absolute deviation with its correction for few values (Croux & Rousseeuw 1992), less what
the hours vary anyway for being samples. A spread from four weeks is hardly known, so it is drawn towards what is
typical of all hours. Public holidays and incidents teach nothing; a holiday is held against the first day of rest.

Where an hour of the week was seen too seldom, the same hour of all such days (rest or work) stands in, then that of all
days. Until one of them was seen in enough weeks there is no expectation at all, and no seasonal alert.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from math import pi, sqrt
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from streams.alerts.facts import Expected, Facts, moments
from streams.alerts.rules.calendars import Calendar
from streams.kpis.aggregators import ADDITIVE, measure
from streams.kpis.arithmetic.accumulators import Acc, count_of
from streams.kpis.arithmetic.sketch import rank_of, value_at

Level: TypeAlias = Literal["hour of the week", "hour of such days", "hour of the day"]
Floats: TypeAlias = npt.NDArray[np.float64]

LEVELS: Final[tuple[Level, ...]] = ("hour of the week", "hour of such days", "hour of the day")
"""From fine to coarse."""

"""Kinds of KPI whose value grows with the length of the window."""

_HOUR = 3600
_WEEKEND = frozenset({5, 6})
_PLACES = 20_000
_TYPICAL_WEIGHT = 4.0  # how many weeks the typical spread counts for beside an hour's own
_CONSISTENT = 1.4826
# Croux & Rousseeuw 1992: what the deviation of so few values is too small by.
_FEW: Final = np.array([np.nan, np.nan, 1.196, 1.495, 1.363, 1.206, 1.200, 1.140, 1.129, 1.107])


class BaselineHour(NamedTuple):
    """What is usual in one hour; values of counts and sums are per minute."""

    value: float
    spread: float
    """Standard deviation of another week's value around this one, sampling aside."""
    n: float
    """Answers, trials or events per minute."""
    dispersion: float
    weeks: int
    freedom: float
    """Degrees of freedom of the spread: one less than the days it was measured on, and what the typical one adds."""


class Week:
    """Which day of the week a day counts as: by a calendar, whose holidays are days of rest."""

    def __init__(self, calendar: Calendar | None) -> None:
        self.zone: tzinfo = UTC if calendar is None else calendar.zone
        self._calendar = calendar
        self._weekend = _WEEKEND if calendar is None else calendar.weekend
        self._days: dict[int, int] = {}
        self._places: dict[int, tuple[int, int]] = {}
        rest = self._weekend
        first = 0 if calendar is None else calendar.first_day
        self._rest = min(rest, key=lambda day: (day - first) % 7) if rest else None

    def local(self, at: float) -> datetime:
        """Return the local time at a unix time in seconds."""
        return datetime.fromtimestamp(at, self.zone)

    def place(self, at: int) -> tuple[int, int]:
        """Return the day (proleptic ordinal) and hour of the day of a local hour that begins at a unix time (s)."""
        known = self._places.get(at)
        if known is None:
            local = self.local(at)
            if len(self._places) >= _PLACES:
                self._places.clear()
            known = self._places[at] = local.toordinal(), local.hour
        return known

    def is_holiday(self, ordinal: int) -> bool:
        """Return whether a day (proleptic ordinal) is a public holiday."""
        return self._calendar is not None and self._calendar.holiday(datetime.fromordinal(ordinal).date()) is not None

    def weekday(self, ordinal: int) -> int:
        """Return the day of the week, Monday being 0, that a day is compared with."""
        known = self._days.get(ordinal)
        if known is None:
            known = (ordinal - 1) % 7
            if self._rest is not None and self.is_holiday(ordinal):
                known = self._rest
            self._days[ordinal] = known
        return known

    def is_rest(self, weekday: int) -> bool:
        """Return whether a day of the week is one of rest."""
        return weekday in self._weekend


@dataclass(frozen=True, slots=True)
class Baseline:
    """
    What is usual of one series.

    Attributes:
        cells: By level, then by hour of the day after 24 times the day of the week (hour of the week), 1 for rest and
            0 for work (hour of such days), or nothing.
        min_weeks: Weeks that make a level good enough.
    """

    facts: Facts
    week: Week
    cells: tuple[Sequence[BaselineHour | None], Sequence[BaselineHour | None], Sequence[BaselineHour | None]]
    min_weeks: int

    def expected(self, minute: int, window_minutes: int) -> Expected | None:
        """Return what a window that ends with a minute usually has; None when nothing is known of its hours."""
        pieces = max(1, round(window_minutes / 60))
        length = window_minutes * 60 / pieces
        start = (minute + 1) * 60 - window_minutes * 60
        found = [self._at(start + (piece + 0.5) * length) for piece in range(pieces)]
        known = [cell for cell in found if cell is not None]
        if not known:
            return None
        level = max(cell[1] for cell in known)
        weeks = min(cell[0].weeks for cell in known)
        share = window_minutes / len(known)
        n = sum(cell[0].n for cell in known) * share
        dispersion = sum(cell[0].dispersion for cell in known) / len(known)
        if self.facts.aggregator in ADDITIVE:
            value = sum(cell[0].value for cell in known) * share
            spread = sum(cell[0].spread for cell in known) * share  # hours of a bad day are bad together
            if self.facts.aggregator == "sum" and window_minutes < 60:
                spread *= sqrt(
                    60 / window_minutes
                )  # an hour's spread holds its noise, of which short windows have more
        else:
            weights = [max(cell[0].n, 1e-9) for cell in known]
            total = sum(weights)
            value = sum(weight * cell[0].value for weight, cell in zip(weights, known, strict=True)) / total
            spread = sum(weight * cell[0].spread for weight, cell in zip(weights, known, strict=True)) / total
        return Expected(value, spread, n, dispersion, weeks, LEVELS[level], min(cell[0].freedom for cell in known))

    def _at(self, at: float) -> tuple[BaselineHour, int] | None:
        """Return what is usual at a moment: between the middles of two hours, something between them."""
        local = self.week.local(at)
        here = self._cell(local)
        if here is None:
            return None
        past = (local.minute * 60 + local.second) / _HOUR - 0.5
        beside = self._cell(self.week.local(at + (_HOUR if past > 0 else -_HOUR)))
        if beside is None:
            return here
        (one, level), (two, other), part = here, beside, abs(past)
        mixed = BaselineHour(
            one.value + part * (two.value - one.value),
            one.spread + part * (two.spread - one.spread),
            one.n + part * (two.n - one.n),
            one.dispersion + part * (two.dispersion - one.dispersion),
            min(one.weeks, two.weeks),
            min(one.freedom, two.freedom),
        )
        return mixed, max(level, other)

    def _cell(self, local: datetime) -> tuple[BaselineHour, int] | None:
        weekday = self.week.weekday(local.toordinal())
        best = None
        for level, day in enumerate((weekday, int(self.week.is_rest(weekday)), 0)):
            cell = self.cells[level][day * 24 + local.hour]
            if cell is not None:
                best = cell, level
                if cell.weeks >= self.min_weeks:
                    break
        return best


def learn(
    facts: Facts,
    rows: Iterable[tuple[int, Acc]],
    week: Week,
    *,
    until: int,
    weeks: int,
    min_weeks: int = 3,
    excluded: Sequence[tuple[int, int]] = (),
) -> Baseline | None:
    """
    Learn what is usual of one series; None from nothing.

    Args:
        facts: What kind of numbers they are.
        rows: Start of local hours (unix s) and what they hold. An hour that is missing held nothing: a count of 0, and
            no value of anything else. The first hour of a count or sum may not be whole and is left out.
        week: How days are grouped.
        until: Unix time (s) before which whole hours count.
        weeks: How many weeks back from there.
        min_weeks: Weeks in which an hour must have been seen before it stands for itself.
        excluded: Unix times (s), from and until, of incidents.
    """
    since = until - weeks * 7 * 86_400
    kept = [(start, acc) for start, acc in rows if since <= start <= until - _HOUR]
    if not kept:
        return None
    last = week.local(until - _HOUR).toordinal()
    begin = min(start for start, _ in kept)
    first, first_hour = week.place(begin)
    days = last - first + 1
    table = np.full((3, days, 24), np.nan)  # value, variance of its noise, n
    if facts.aggregator in ADDITIVE:
        _fill_hours(table, week, begin, until, first)
    for start, acc in kept:
        row = _row(facts, acc)
        if row is not None:
            day, hour = week.place(start)
            table[:, day - first, hour] = row
    if facts.aggregator in ADDITIVE:
        table[:, 0, first_hour] = np.nan
    for start, end in excluded:
        hour = max(start, since) // 1800 * 1800
        while hour < min(end, until):
            day, of_day = week.place(hour)
            if first <= day <= last:
                table[:, day - first, of_day] = np.nan
            hour += 1800
    ordinals = range(first, last + 1)
    table[:, [week.is_holiday(day) for day in ordinals], :] = np.nan
    weekdays = np.array([(day - 1) % 7 for day in ordinals])
    ages = np.array([(last - day) // 7 for day in ordinals])
    rest = np.array([week.is_rest(int(day)) for day in weekdays])
    groups: list[list[npt.NDArray[np.bool_]]] = [
        [weekdays == day for day in range(7)], [~rest, rest], [np.ones(days, bool)]
    ]  # fmt: skip
    cells = tuple(
        _pooled(facts, [_hours(facts, table[:, rows_, :], ages[rows_]) for rows_ in group]) for group in groups
    )
    return Baseline(facts, week, (cells[0], cells[1], cells[2]), min_weeks)


def _fill_hours(table: Floats, week: Week, start: int, until: int, first: int) -> None:
    """Let all hours of a count or sum hold nothing until they are set."""
    for at in range(start, until - _HOUR + 1, _HOUR):
        day, hour = week.place(at)
        table[:, day - first, hour] = 0.0


def _row(facts: Facts, acc: Acc) -> tuple[float, float, float] | None:
    """Return value, variance of its noise, and n of an hour, the first and last per minute where they add up."""
    n = count_of(acc)
    if facts.aggregator == "count":
        return n / 60, n / 3600, n / 60
    if facts.aggregator == "quantile":
        assert type(acc) is dict
        found = measure("quantile", acc, facts.scale, q=facts.q, z=1.0).value if n else None
        return None if found is None else (found, _quantile_noise(facts, acc, n), n / 60)
    if facts.aggregator == "sum":
        value = measure("sum", acc, facts.scale, unit=facts.unit).value or 0.0
        return value / 60, 0.0, n / 60
    seen = moments(facts, acc)
    if seen is None:
        found = measure(facts.aggregator, acc, facts.scale, unit=facts.unit).value if n else None
        return None if found is None else (found, 0.0, n / 60)
    return seen.mean, seen.variance / seen.n, n / 60


def _quantile_noise(facts: Facts, bins: dict[int, int], n: int) -> float:
    """Return the variance of a quantile from the values one standard error of its rank to both sides."""
    rank, step = rank_of(facts.q, n), sqrt(n * facts.q * (1 - facts.q))
    ends = [value_at(bins, min(n, max(1, round(rank + side * step))), facts.scale) for side in (-1, 1)]
    return ((ends[1] - ends[0]) / 2) ** 2


class _Hours(NamedTuple):
    """Of the 24 hours of a kind of day: medians, variances between weeks, and how often they were seen."""

    value: Floats
    between: Floats
    noise: Floats
    n: Floats
    dispersion: Floats
    seen: Floats
    weeks: list[int]


def _hours(facts: Facts, table: Floats, ages: npt.NDArray[Any]) -> _Hours:
    value, total, seen = _robust(table[0])
    noise, _, _ = _robust(table[1])
    n, n_total, _ = _robust(table[2])
    if facts.aggregator == "count":
        noise = value / 60
    with np.errstate(divide="ignore", invalid="ignore"):
        dispersion = np.where(n > 0, np.maximum(0.0, n_total - n / 60) / (n * n), 0.0)
    valid = ~np.isnan(table[0])
    weeks = [len(set(ages[valid[:, hour]].tolist())) for hour in range(24)]
    return _Hours(value, np.maximum(0.0, total - noise), noise, n, dispersion, seen, weeks)


def _robust(table: Floats) -> tuple[Floats, Floats, Floats]:
    """Return per column the median, the robust variance, and the number of values that there are."""
    seen = (~np.isnan(table)).sum(axis=0)
    median = _median(table, seen)
    mad = _median(np.abs(table - median), seen)
    few = np.where(seen < len(_FEW), _FEW[np.minimum(seen, len(_FEW) - 1)], seen / np.maximum(seen - 0.8, 1))
    return median, (_CONSISTENT * few * mad) ** 2, seen.astype(np.float64)


def _median(table: Floats, seen: npt.NDArray[Any]) -> Floats:
    """Return the median of each column's values, NaN of none."""
    if not len(table):
        return np.full(table.shape[1], np.nan)
    ordered = np.sort(table, axis=0)  # NaN comes last
    columns = np.arange(table.shape[1])
    low, high = np.maximum((seen - 1) // 2, 0), np.maximum(seen // 2, 0)
    high = np.minimum(high, len(table) - 1)
    middle: Floats = np.where(seen > 0, (ordered[low, columns] + ordered[high, columns]) / 2, np.nan)
    return middle


def _pooled(facts: Facts, groups: Sequence[_Hours]) -> list[BaselineHour | None]:
    """Return the cells of a level, their spreads drawn towards what is typical of it."""
    relative = facts.aggregator in ADDITIVE
    between = np.concatenate([hours.between for hours in groups])
    value = np.concatenate([hours.value for hours in groups])
    if relative:
        with np.errstate(divide="ignore", invalid="ignore"):
            between = np.where(value != 0, between / (value * value), np.nan)
    typical = _typical(between)
    dispersion = np.concatenate([hours.dispersion for hours in groups])
    typical_dispersion = _typical(dispersion)
    cells: list[BaselineHour | None] = []
    for at in range(len(value)):
        hours, hour = groups[at // 24], at % 24
        seen = float(hours.seen[hour])
        if not seen:
            cells.append(None)
            continue
        variance = _drawn(float(between[at]), seen, typical) * (float(value[at]) ** 2 if relative else 1.0)
        # The median of so few weeks is itself uncertain.
        variance += pi / 2 * (variance + float(hours.noise[hour])) / seen
        n = float(hours.n[hour])
        spread_n = _drawn(float(dispersion[at]), seen, typical_dispersion)
        if n > 0:
            spread_n += pi / 2 * (spread_n + 1 / (60 * n)) / seen
        freedom = seen - 1 + _TYPICAL_WEIGHT
        cells.append(BaselineHour(float(value[at]), sqrt(variance), n, spread_n, hours.weeks[hour], freedom))
    return cells


def _typical(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else 0.0


def _drawn(own: float, seen: float, typical: float) -> float:
    """Return a variance between an hour's own, in proportion to how often it was seen, and the typical one."""
    if own != own or seen < 2:  # noqa: PLR0124  (NaN: one week has no spread)
        return typical
    return (seen * own + _TYPICAL_WEIGHT * typical) / (seen + _TYPICAL_WEIGHT)
