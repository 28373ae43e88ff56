"""What series held in the past, by whole days, and times drawn from it in which nothing happens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np

from streams.alerts.facts import Facts
from streams.alerts.offline.vectorised import Ints
from streams.kpis.arithmetic.accumulators import Acc, count_of

Null: TypeAlias = Literal["blocks", "steady"]

DAY: Final = 1440
HOUR: Final = 60
WEEK: Final = 7
WEEKS_FROM: Final = 14
"""Days of history from which whole weeks are drawn."""


class TuningError(ValueError):
    """There is nothing to find a threshold from."""


class Past(NamedTuple):
    """What whole days held, by day (row), minute of it and series; days end with the newest whole hour."""

    n: Ints
    hits: Ints
    day: Ints
    """Number of each day from the first one; days that are left out are missing."""

    @classmethod
    def of(cls, minutes: Iterable[tuple[int, Mapping[str, Acc]]], keys: Sequence[str], since: int, until: int) -> Past:
        """
        Lay minutes out by day; of what is no ratio, only how much came.

        Raises:
            TuningError: There is less than a day.
        """
        end = (until + 1) // HOUR * HOUR
        days = (end - since) // DAY
        if days < 1:
            raise TuningError(
                f"{max(0, end - since) / HOUR:.0f} hours of history; a day at least is needed, two weeks are better"
            )
        first = end - days * DAY
        column = {key: at for at, key in enumerate(keys)}
        held = np.zeros((2, days * DAY, len(keys)), np.int64)
        for minute, sums in minutes:
            if first <= minute < end:
                for key, acc in sums.items():
                    if key in column:
                        hits = acc[1] if type(acc) is list and len(acc) == 2 else 0
                        held[:, minute - first, column[key]] = count_of(acc), hits
        laid = held.reshape(2, days, DAY, len(keys))
        return cls(laid[0], laid[1], np.arange(days))

    def without(self, spans: Iterable[tuple[int, int]], until: int) -> Past:
        """Leave out the days that touch spans of minutes (first, last); `until` is the last minute asked for."""
        first = (until + 1) // HOUR * HOUR - (int(self.day[-1]) + 1) * DAY
        kept = np.ones(len(self.day), bool)
        for begin, last in spans:
            kept &= (self.day < (begin - first) // DAY) | (self.day > (last - first) // DAY)
        if not kept.any():
            raise TuningError("every day of history touches an incident that is left out; give a longer time")
        return Past(self.n[kept], self.hits[kept], self.day[kept])

    @property
    def block(self) -> int:
        """How many days are drawn together: a week if there are two, or else a day."""
        return WEEK if len(self.day) >= WEEKS_FROM and len(self._runs(WEEK)) else 1

    @property
    def series_days(self) -> int:
        """How many days there are of all series that have anything at all."""
        return int((self.n.sum(1) > 0).sum())

    def _runs(self, length: int) -> Ints:
        """Return the rows at which so many days follow each other without a gap."""
        starts = np.arange(max(0, len(self.day) - length + 1))
        found: Ints = starts[self.day[starts + length - 1] - self.day[starts] == length - 1]
        return found


class Drawn(NamedTuple):
    """Minutes (rows) of series (columns) in which nothing happens."""

    n: Ints
    hits: Ints
    origin: Ints
    """Which block of the past each day (row) of each series is from: what is from one is one piece of evidence."""


def drawn(past: Past, facts: Facts, generator: np.random.Generator, series: int, days: int, null: Null) -> Drawn:
    """
    Draw series; columns take turns among the series of the past.

    `blocks` puts whole days or weeks of the past together anew, so that whatever hangs together within them stays:
    rhythms, bursts, levels that wander for hours. `steady` keeps the volumes and draws hits by chance at the mean.
    """
    length = past.block
    starts = past._runs(length)  # noqa: SLF001 - how it is cut is its own business, but for this function
    source = np.arange(series) % past.n.shape[2]
    picked = generator.choice(starts, (-(-days // length), series))
    rows = (picked[:, None, :] + np.arange(length)[:, None]).reshape(-1, series)[:days]
    at = rows[:, None, :], np.arange(DAY)[:, None], source
    n: Ints = past.n[at].reshape(-1, series)
    origin = past.day[rows] // length + source * (int(past.day[-1]) + 1)
    if null == "blocks":
        return Drawn(n, past.hits[at].reshape(-1, series), origin)
    share = (past.hits.sum((0, 1)) / np.maximum(past.n.sum((0, 1)), 1))[source]
    hits = generator.poisson(n * share) if facts.is_rate else generator.binomial(n, np.minimum(share, 1.0))
    return Drawn(n, hits, origin)


def worsened(
    generator: np.random.Generator, facts: Facts, n: Ints, hits: Ints, drop: float | Sequence[float], since: int
) -> Ints:
    """
    Return hits of a value that is worse by `drop`, in the KPI's unit, from a minute on; `drop` may differ by series.

    Good answers turn bad by chance; of rates hits come or go as a Poisson count.
    """
    lost = np.broadcast_to(np.asarray(drop, float) / facts.factor, (hits.shape[1],))
    after = hits.copy()
    share = hits.sum(0) / np.maximum(n.sum(0), 1)
    if facts.direction == "up":
        after[since:] -= generator.binomial(hits[since:], np.clip(lost / np.maximum(share, 1e-9), 0.0, 1.0))
    elif facts.is_rate:
        after[since:] += generator.poisson(n[since:] * lost)
    else:
        p = np.clip(lost / np.maximum(1 - share, 1e-9), 0.0, 1.0)
        after[since:] += generator.binomial(np.maximum(n[since:] - hits[since:], 0), p)
    return after
