"""What a rule can be expected to do on series like those of the past: false alarms, and the smallest change it sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log, log1p
from typing import Final, NamedTuple

import numpy as np

from streams.alerts.detectors.absence import Absence
from streams.alerts.detectors.floor import Floor
from streams.alerts.facts import Facts, length_of
from streams.alerts.judging.watch import policy_of
from streams.alerts.offline.past import DAY, Drawn, Past, drawn, worsened
from streams.alerts.offline.tuning import interval_of
from streams.alerts.offline.vectorised import SIMULATED, Ints, RulePlan, SeriesBatch, firings
from streams.alerts.rules.rules import Rule

CALM_DAYS: Final = 7
CALM_DRAWS: Final = 8
DROP_DRAWS: Final = 6
SEEN: Final = 0.8
"""Part of the draws in which a change must be seen."""

PARTS: Final = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
"""Sizes of change that are tried, as parts of all that the value can lose."""

AT_ONCE: Final = 8
"""Series that are simulated together: more would take gigabytes."""

TENFOLD: Final = 9.0
"""A rate has no worst value: what is tried reaches up to ten times as much as is usual."""


class Outlook(NamedTuple):
    """What to expect of a rule on a series."""

    series: str
    per_day: float | None
    """False alarms a day; None where it is not simulated."""
    lo: float | None
    hi: float | None
    smallest: float | None
    """The smallest change seen within a day, in the KPI's unit; None if none is."""
    can_fire: bool | None
    """Whether it could fire at all at this volume; None where that is not known."""
    note: str = ""


def outlooks(rule: Rule, past: Past, keys: Sequence[str], *, seed: int = 1) -> Iterator[Outlook]:
    """Simulate a rule on each series of its past, given in the order of its columns."""
    facts = Facts.of(rule.kpi)
    gates = [_gate(rule, past.n[:, :, at]) for at in range(len(keys))]
    simulated = isinstance(rule.params, SIMULATED) and facts.aggregator == "ratio"
    open_ = [at for at, gate in enumerate(gates) if not gate] if simulated else []
    found: dict[int, Outlook] = {}
    for first in range(0, len(open_), AT_ONCE):
        chunk = open_[first : first + AT_ONCE]
        kept = Past(past.n[:, :, chunk], past.hits[:, :, chunk], past.day)
        found |= zip(chunk, _simulated(rule, facts, kept, [keys[at] for at in chunk], seed), strict=True)
    for at, gate in enumerate(gates):
        yield found.get(at) or Outlook(
            keys[at], None, None, None, None, False if gate else None, gate or f"{rule.method} is not simulated"
        )


def _gate(rule: Rule, n: Ints) -> str:
    """Say why a rule never judges so few answers; empty if it does."""
    if isinstance(rule.params, Absence):
        # Silence of a day must be a surprise, at a pace that is known from so few events only.
        longest = rule.params.baseline
        times = DAY / length_of(longest)
        needed = max(rule.params.min_expected / times, log(1 / rule.params.p_value) / log1p(times))
    else:
        longest, needed = rule.longer[-1] if rule.longer else rule.window, float(rule.min_n)
    most = _fullest(n, length_of(longest))
    return "" if most >= needed else f"{most} came at most in {longest}, {needed:.4g} needed"


def _fullest(n: Ints, minutes: int) -> int:
    """Return the most that a window held; a window longer than a day is taken from day to day, gaps left out."""
    sums = np.concatenate([[0], n.ravel().cumsum()])
    minutes = min(minutes, len(sums) - 1)
    return int((sums[minutes:] - sums[:-minutes]).max())


def _simulated(rule: Rule, facts: Facts, past: Past, keys: Sequence[str], seed: int) -> Iterator[Outlook]:
    longest = max(length_of(name) for name in rule.params.windows(rule.window))
    since = -(-max(longest, DAY) // DAY) * DAY
    thin = 0 if isinstance(rule.params, Floor) else rule.min_denominator
    plan = RulePlan(rule.params, facts, rule.window, policy_of(rule), rule.min_n, thin, rule.longer)
    size, days = len(keys), since // DAY
    calm = drawn(past, facts, np.random.default_rng([seed, 1]), size * CALM_DRAWS, days + CALM_DAYS, "blocks")
    began = [
        [minute for minute in fired if minute >= since] for fired in firings(plan, SeriesBatch.of(calm.n, calm.hits))
    ]
    generator = np.random.default_rng([seed, 2])
    columns = size * len(PARTS) * DROP_DRAWS
    bad = drawn(past, facts, generator, columns, days + 1, "blocks")
    room = np.array([_room(facts, past, at) for at in range(size)])
    part = (np.arange(columns) // size) % len(PARTS)
    drops = room[np.arange(columns) % size] * np.array(PARTS)[part]
    hits = worsened(generator, facts, bad.n, bad.hits, drops, since)
    seen = np.array([any(minute >= since for minute in fired) for fired in firings(plan, SeriesBatch.of(bad.n, hits))])
    for at, key in enumerate(keys):
        own = slice(at, None, size)
        mine = Drawn(calm.n[:, own], calm.hits[:, own], calm.origin[:, own])
        alarms = began[own]
        real = float((past.n[:, :, at].sum(1) > 0).sum())
        lo, hi = interval_of(mine, alarms, since, real)
        share = [seen[own][part[own] == size_].mean() for size_ in range(len(PARTS))]
        enough = [min(share[size_:]) >= SEEN for size_ in range(len(PARTS))]
        smallest = room[at] * PARTS[enough.index(True)] if any(enough) else None
        per_day = sum(map(len, alarms)) / (CALM_DAYS * len(alarms))
        note = "" if smallest is not None else "no change is seen within a day at this volume"
        yield Outlook(key, per_day, lo, hi, smallest, smallest is not None, note)


def _room(facts: Facts, past: Past, at: int) -> float:
    """Return how much worse a series can become, in the KPI's unit."""
    n = max(int(past.n[:, :, at].sum()), 1)
    share = float(past.hits[:, :, at].sum()) / n
    if facts.direction == "up":
        return facts.factor * share
    return facts.factor * (TENFOLD * max(share, 1 / n) if facts.is_rate else 1 - share)
