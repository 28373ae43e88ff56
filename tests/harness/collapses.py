"""How often a collapse is seen where nothing happens, and how soon where something does; minutes are still open."""

from typing import NamedTuple

import numpy as np

from streams.alerts.detectors.cusum import SURER, Cusum, CusumState
from streams.alerts.detectors.learning import Normal
from streams.alerts.detectors.noise import WARINESS
from streams.alerts.facts import Facts
from streams.kpis.arithmetic.accumulators import Acc
from tests.harness.noise import DAY, Noise, drawn

LOOKS = 6
"""Looks at a minute, the last when it is over."""
EPISODE = 60
"""Minutes in which several looks are one false alarm."""
LOOK_S = 60 // LOOKS


class Newest(NamedTuple):
    """What has come of one series by some moment (s), answer by answer."""

    minute: int
    ahead: int
    times: np.ndarray
    is_hit: np.ndarray

    def latest(self, minutes: int) -> Acc | None:
        """Return what has come of the newest minutes."""
        hits = self.is_hit[self.times >= 60 * (self.minute + self.ahead - minutes + 1)]
        return [len(hits), int(hits.sum())] if len(hits) else None


def false_a_day(params: Cusum, facts: Facts, good: float, noise: Noise, rate: float, series: int, days: int) -> float:
    """Return how often a series is taken for collapsed in a day while nothing happens, at most."""
    generator = np.random.default_rng([7, round(10 * rate), round(10 * noise.hour), round(10 * noise.week)])
    batch = drawn(generator, noise, series=series, minutes=days * DAY, rate=rate, good=good, facts=facts)
    n, hits = np.diff(batch.n, axis=0), np.diff(batch.hits, axis=0)
    normal = facts.factor * float(batch.hits[-1].sum() / batch.n[-1].sum())
    sign = -1.0 if facts.direction == "up" else 1.0
    assert params.collapse is not None
    share = normal / facts.factor
    off, many = (hits - share * n).reshape(-1, 5, series).sum(1), n.reshape(-1, 5, series).sum(1)
    variance = share * (1 - share)
    # How levels vary beyond chance, as in `streams.alerts.detectors.noise`.
    wander = np.maximum(((off**2).sum(0) - variance * many.sum(0)) / np.maximum((many**2).sum(0), 1), 0.0)
    seen = np.zeros(n.shape, bool)
    for part in range(1, LOOKS + 1):
        some = generator.binomial(hits, part / LOOKS) if part < LOOKS else hits
        others = generator.binomial(n - hits, part / LOOKS) if part < LOOKS else n - hits
        alone = sign * (facts.factor * some - normal * (some + others)) >= params.collapse * (some + others)
        k, m = some.copy(), some + others
        for minutes in range(1, 4):
            if minutes > 1:
                k[minutes - 1 :] += hits[: 1 - minutes]
                m[minutes - 1 :] += n[: 1 - minutes]
            times = 1 + m * WARINESS * wander / variance
            worse = k / np.maximum(m, 1)
            worse = np.maximum(worse, share / 10) if sign < 0 else np.minimum(worse, 1 - (1 - share) / 10)
            evidence = k * np.log(np.maximum(worse, 1e-9) / share) + (m - k) * np.log(
                np.maximum(1 - worse, 1e-9) / (1 - share)
            )
            evidence /= times
            bad = m - k if facts.direction == "up" else k
            threshold = params.h + SURER + np.log(np.maximum(m / minutes / times, 1.0))
            fell = sign * (facts.factor * k - normal * m) >= params.collapse * m
            seen |= fell & alone & (bad >= params.min_failures) & (evidence > threshold)
    at, which = np.nonzero(seen)
    order = np.lexsort((at, which))
    at, which = at[order], which[order]
    again = (np.diff(which, prepend=-1) == 0) & (np.diff(at, prepend=-EPISODE - 1) < EPISODE)
    return float((~again).sum()) / series / days


def seconds_to_see(
    params: Cusum, facts: Facts, good: float, bad: float, rate: float, lag: float, generator: np.random.Generator
) -> float:
    """Return how long a fall goes on until it is seen."""
    share = (good if facts.direction == "up" else 100 - good) / 100
    fallen = (bad if facts.direction == "up" else 100 - bad) / 100
    known = CusumState(normal=Normal(100 * share, 1e4 * share * (1 - share), 2e4, 0, 2e4))
    began = 600 + generator.uniform(0, 60)
    times = np.sort(generator.uniform(0, 1200, generator.poisson(rate * 20)))
    is_hit = generator.random(len(times)) < np.where(times < began, share, fallen)
    for at in np.arange(600, 1200, LOOK_S) + LOOK_S:
        closed, newest = int((at - lag) // 60) - 1, int((at - 1) // 60)
        view = Newest(closed, newest - closed, times[times < at], is_hit[times < at])
        if params.glance(facts, view, known) is not None:  # type: ignore[arg-type]
            return float(at - began)
    return float("inf")
