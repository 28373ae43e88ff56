"""
Many series of a ratio judged at once, with the same formulas as the detectors, array by array.

A month of hundreds of series is tens of millions of verdicts. Here one minute of all series is a handful of array
operations; that the verdicts are those of the detectors themselves is tested minute by minute.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from streams.alerts.detectors import Detector
from streams.alerts.detectors.burn_rate import BurnRate, budget_of
from streams.alerts.detectors.cusum import SPREAD_N, SURE, Cusum
from streams.alerts.detectors.cusum_levels import KNOWN, learnt_before
from streams.alerts.detectors.floor import Floor
from streams.alerts.detectors.learning import LEARNING_INTERVAL_MIN, LEARNING_WINDOWS
from streams.alerts.detectors.noise import BLOCKS
from streams.alerts.detectors.ztest import ZTest
from streams.alerts.facts import Facts, length_of
from streams.alerts.judging.gates import STILL
from streams.alerts.judging.machine import Instance, Policy, advance, ended_unjudged
from streams.alerts.offline.vectorised_noise import Noises, dispersion, variance_over
from streams.alerts.types import Verdict
from streams.kpis.arithmetic.intervals import Z95

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]


SIMULATED: Final = (Cusum, ZTest, Floor, BurnRate)
"""Methods that are simulated."""

DAY_MINUTES: Final = 1440


class SeriesBatch(NamedTuple):
    """Answers and hits of many series by minute, as running sums: row m is everything before minute m."""

    n: Ints
    hits: Ints

    @classmethod
    def of(cls, n: Ints, hits: Ints) -> "SeriesBatch":
        """Make it of what each minute (row) of each series (column) holds."""
        nothing = np.zeros((1, n.shape[1]), np.int64)
        return cls(np.vstack([nothing, n.cumsum(0)]), np.vstack([nothing, hits.cumsum(0)]))

    @property
    def minutes(self) -> int:
        """How many minutes there are."""
        return len(self.n) - 1

    @property
    def series(self) -> int:
        """How many series there are."""
        return int(self.n.shape[1])

    def sums(self, minute: int, length: int) -> tuple[Ints, Ints]:
        """Return answers and hits of the window that ends with a minute."""
        since = max(0, minute + 1 - length)
        return self.n[minute + 1] - self.n[since], self.hits[minute + 1] - self.hits[since]

    def before(self, minute: int, longer: int, shorter: int) -> tuple[Ints, Ints]:
        """Return answers and hits of the longer window without the shorter."""
        (n, hits), (late_n, late_hits) = self.sums(minute, longer), self.sums(minute, shorter)
        return n - late_n, hits - late_hits


class RulePlan(NamedTuple):
    """What of a rule decides when it fires."""

    params: Detector
    facts: Facts
    window: str
    policy: Policy = Policy()
    min_n: int = 1
    min_denominator: int = 0
    longer: tuple[str, ...] = ()
    """Windows that are judged while the shorter ones hold too little; of a floor."""


class Verdicts(NamedTuple):
    """Of all series as of one minute."""

    breach: Bools
    known: Bools
    """Where there is a verdict at all."""
    recovered: Bools
    n: Ints
    """Answers of the window."""
    baseline_n: Ints | Floats
    sure: Bools | None = None
    """Where trouble need not last; None: nowhere."""


def firings(plan: RulePlan, batch: SeriesBatch) -> list[list[int]]:
    """Return the minutes in which each series begins to fire."""
    instances = [Instance() for _ in range(batch.series)]
    active = np.zeros(batch.series, bool)
    ended = np.zeros(batch.series, bool)
    found: list[list[int]] = [[] for _ in range(batch.series)]
    by_minute = _lengthened(plan, batch) if plan.longer else judged(plan.params, plan.facts, plan.window, batch, ended)
    for minute, verdicts in enumerate(by_minute):
        ended[:] = False
        gate = verdicts.known & (verdicts.n >= plan.min_n) & (verdicts.baseline_n >= plan.min_denominator)
        breach = verdicts.breach & gate
        # One that is inactive stays so until trouble comes: nothing else need be given to it.
        for at in np.flatnonzero(breach | active):
            known = bool(gate[at])
            verdict = Verdict(
                bool(breach[at]) if known else None,
                bool(verdicts.recovered[at]) if known else None,
                n=int(verdicts.n[at]),
                is_sure=verdicts.sure is not None and bool(verdicts.sure[at]),
            )
            step = advance(instances[at], plan.policy, minute, verdict)
            if step is not None:
                ended[at] = ended_unjudged(step, verdict)
                if step.new == "firing":
                    found[at].append(minute)
            active[at] = instances[at].state != "inactive"
    return found


def _lengthened(plan: RulePlan, batch: SeriesBatch) -> Iterator[Verdicts]:
    """Judge each series over the shortest window that holds enough, as `judging.gates` does."""
    windows = [judged(plan.params, plan.facts, window, batch) for window in (plan.window, *plan.longer)]
    for own, *longer in zip(*windows, strict=True):
        verdicts, shorter, thin = own, own, own.n < plan.min_n
        for one in longer:
            taken = thin & (one.n >= plan.min_n)
            shown = taken & ~(one.breach & (shorter.n < STILL))
            verdicts = Verdicts(
                np.where(shown, one.breach & ~shorter.recovered, verdicts.breach),
                np.where(shown, one.known, verdicts.known),
                np.where(shown, one.recovered, verdicts.recovered),
                np.where(shown, one.n, verdicts.n),
                np.where(shown, one.baseline_n, verdicts.baseline_n),
            )
            shorter, thin = one, thin & ~taken
        yield verdicts


def judged(
    params: Detector, facts: Facts, window: str, batch: SeriesBatch, ended: Bools | None = None
) -> Iterator[Verdicts]:
    """Judge all series minute by minute; between two of them `ended` may say of which the evidence is forgotten."""
    assert facts.aggregator == "ratio"
    match params:
        case Floor():
            return _floor(params, facts, length_of(window), batch)
        case ZTest():
            return _ztest(params, facts, length_of(window), batch)
        case BurnRate():
            return _burn_rate(params, facts, batch)
        case Cusum():
            return _cusum(params, facts, window, batch, ended)
        case _:
            raise TypeError(f"{type(params).__name__} is not simulated")


def _wilson(hits: Ints, n: Ints, z: float) -> tuple[Floats, Floats]:
    count = np.maximum(n, 1)
    share, spread = hits / count, z * z / count
    centre = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return np.where(hits > 0, centre - half, 0.0), np.where(hits < n, centre + half, 1.0)


def _interval(facts: Facts, hits: Ints, n: Ints, z: float) -> tuple[Floats, Floats]:
    if not facts.is_rate:
        return _wilson(hits, n, z)
    low, high = _wilson(hits, hits + np.maximum(n, 1), z)
    return low / (1 - low), high / (1 - high)


def _floor(params: Floor, facts: Facts, window: int, batch: SeriesBatch) -> Iterator[Verdicts]:
    target = params.target / facts.factor
    up = facts.direction == "up"
    for minute in range(batch.minutes):
        n, hits = batch.sums(minute, window)
        low, high = _interval(facts, hits, n, params.critical)
        share = hits / np.maximum(n, 1)
        known = n > 0
        breach = known & (high < target if up else low > target)
        yield Verdicts(breach, known, share >= target if up else share <= target, n, n)


def _burn_rate(params: BurnRate, facts: Facts, batch: SeriesBatch) -> Iterator[Verdicts]:
    budget = budget_of(facts, params.target)
    for minute in range(batch.minutes):
        sides = [batch.sums(minute, length_of(name)) for name in (params.long, params.short)]
        missed = [n - hits if facts.direction == "up" else hits for n, hits in sides]
        (n, _), (short_n, _) = sides
        burns = [miss / (np.maximum(side[0], 1) * budget) for miss, side in zip(missed, sides, strict=True)]
        known = (n > 0) & (short_n > 0)
        sure = _wilson(missed[0], n, Z95)[0] > budget
        breach = known & sure & (np.minimum(*burns) >= params.factor * (1 - 1e-12))
        yield Verdicts(breach, known, burns[1] <= 1, n, short_n)


def _ztest(params: ZTest, facts: Facts, window: int, batch: SeriesBatch) -> Iterator[Verdicts]:
    longer = length_of(params.baseline)
    frozen = np.zeros(batch.series, bool)
    since, old_n, old_hits = (np.zeros(batch.series, np.int64) for _ in range(3))
    for minute in range(batch.minutes):
        frozen &= minute - since < longer
        n, hits = batch.sums(minute, window)
        now_n, now_hits = batch.before(minute, longer, window)
        base_n, base_hits = np.where(frozen, old_n, now_n), np.where(frozen, old_hits, now_hits)
        both = np.maximum(n + base_n, 1)
        safe_n, safe_base = np.maximum(n, 1), np.maximum(base_n, 1)
        change = hits / safe_n - base_hits / safe_base
        if facts.is_rate:
            total, part = hits + base_hits, n / both
            least = total * np.minimum(part, 1 - part)
            variance = total * part * (1 - part)
            z = (hits - total * part) / np.sqrt(np.where(variance > 0, variance, 1.0))
        else:
            pooled = (hits + base_hits) / both
            least = np.minimum(n, base_n) * np.minimum(pooled, 1 - pooled)
            variance = pooled * (1 - pooled) * (1 / safe_n + 1 / safe_base)
            z = change / np.sqrt(np.where(variance > 0, variance, 1.0))
        known = (least >= params.min_expected) & (n > 0) & (base_n > 0)
        bad = -z if facts.direction == "up" else z if facts.direction == "down" else np.abs(z)
        breach = known & (bad > params.z) & (np.abs(change) * facts.factor >= params.min_change)
        recovered = bad <= params.z / 2
        start = breach & ~frozen
        since, old_n = np.where(start, minute, since), np.where(start, base_n, old_n)
        old_hits = np.where(start, base_hits, old_hits)
        frozen = np.where(known, (frozen & ~(recovered & ~start)) | start, frozen)
        yield Verdicts(breach, known, recovered, n, base_n)


class _Normals:
    """The learnt normal values of many series: `detectors.learning`, array by array."""

    def __init__(self, params: Cusum, facts: Facts, window: str, size: int) -> None:
        self._params, self._factor, self._is_rate = params, facts.factor, facts.is_rate
        self._sign = -1.0 if facts.direction == "up" else 1.0
        assert params.baseline is not None
        self._longer, self._young = length_of(params.baseline), length_of(learnt_before(window))
        self.mean, self.variance, self.stands, self._weight = (np.zeros(size) for _ in range(4))
        self.windows = np.ones(size)
        self._taught = np.zeros(size, np.int64)
        self.learnt = np.zeros(size, bool)
        self.noise = Noises(size)
        self.levels = self.noise.levels(self.variance)

    @property
    def by_chance(self) -> Floats:
        """Return the variances of the normal values that come from chance."""
        found: Floats = self.variance / np.maximum(self.stands, 1e-9)
        return found

    def error(self) -> Floats:
        """Return the variances of the normal values that count for caution."""
        day = variance_over(self.levels, np.full(len(self.mean), float(DAY_MINUTES)))
        return self.by_chance + np.minimum(day / self.windows, (self.apart() / KNOWN) ** 2)

    def apart(self) -> Floats:
        """Return the changes looked for."""
        return _apart(self._params, self._sign, self.mean)

    def known(self) -> Bools:
        """Tell which normal values are sure enough."""
        return self.learnt & ~self._unsure()

    def _unsure(self) -> Bools:
        apart = self.apart()
        found: Bools = (apart > 0) & (apart < KNOWN * np.sqrt(self.by_chance))
        return found

    def learn(self, minute: int, batch: SeriesBatch, idle: Bools) -> None:
        """Look at the baselines of series that are due."""
        anew = self.learnt & self._unsure()
        due = ~self.learnt | anew | (idle & (minute - self._taught >= LEARNING_INTERVAL_MIN))
        if not due.any():
            return
        n, hits = batch.before(minute, self._longer, self._young)
        due &= n >= SPREAD_N
        share = (hits / np.maximum(n, 1) * n + 0.5) / (n + 1)
        mean, variance = self._factor * share, self._factor**2 * share * (1.0 if self._is_rate else 1 - share)
        length = self._longer - self._young
        most = n * max(1.0, LEARNING_WINDOWS * length / LEARNING_INTERVAL_MIN)
        first = due & (anew | ~self.learnt)
        self._weight = np.where(first, 0.0, self._weight)
        self._weight = np.where(due, np.minimum(self._weight + n, most), self._weight)
        part = n / np.maximum(self._weight, 1)
        self.mean = np.where(due, self.mean + part * (mean - self.mean), self.mean)
        self.variance = np.where(due, self.variance + part * (variance - self.variance), self.variance)
        windows = np.maximum(1.0, LEARNING_INTERVAL_MIN / np.maximum(part * length, 1e-9))
        self.windows = np.where(due, np.where(first, 1.0, windows), self.windows)
        self.stands = np.where(due, n * self.windows, self.stands)
        self._taught, self.learnt = np.where(due, minute, self._taught), self.learnt | due
        self.levels = self.noise.levels(self.variance)

    def observe(self, minute: int, n: Ints, hits: Ints, teaches: Bools, rests: Bools) -> None:
        """Take note of the noise of one more minute."""
        total = (self._factor * hits).astype(np.float64)
        ready = self.known()
        self.noise.observe(minute, total, n, self.mean, self.variance, self.by_chance, ready, teaches, rests)
        if (minute + 1) % BLOCKS[0] == 0:
            self.levels = self.noise.levels(self.variance)


def _cusum(params: Cusum, facts: Facts, window: str, batch: SeriesBatch, ended: Bools | None) -> Iterator[Verdicts]:
    size = batch.series
    sign, factor = (-1.0 if facts.direction == "up" else 1.0), facts.factor
    total, back = np.full(size, params.head_start * params.h), np.zeros(size)
    run_n, run_minutes, run_bad, back_n, back_minutes = (np.zeros(size, np.int64) for _ in range(5))
    fired = np.zeros(size, bool)
    normals = _Normals(params, facts, window, size) if params.baseline is not None else None

    def times(n: Ints, minutes: Ints) -> Floats:
        return np.ones(size) if normals is None else dispersion(normals.levels, normals.variance, n, minutes)

    for minute in range(batch.minutes):
        if ended is not None and ended.any():
            for evidence in (total, back, run_n, run_minutes, run_bad, back_n, back_minutes, fired):
                evidence[ended] = 0
        if normals is not None:
            normals.learn(minute, batch, (run_minutes == 0) & ~fired)
            apart, known, stands = normals.apart(), normals.known(), normals.stands
            good = normals.mean + normals.noise.offset(minute, normals.variance)
            wary = np.where(apart > 0, params.h * normals.error() / np.where(apart > 0, apart, 1.0), 0.0)
            good = good + sign * (wary + params.margin)
        else:
            assert params.p0 is not None
            good, known, stands = np.full(size, params.p0), np.ones(size, bool), np.zeros(size)
        bad = np.full(size, params.p1) if params.p1 is not None else good + sign * (params.delta or 0.0)
        change = sign * (bad - good)
        known = known & (change > 0)
        n, hits = batch.sums(minute, 1)
        step = np.where(known, _step(facts, good / factor, bad / factor, n, hits), 0.0)
        missed = np.maximum(0, n - hits) if facts.direction == "up" else hits
        going = known & fired
        moved = np.where(going, np.maximum(0.0, back - step), back)
        back_n = np.where(going, np.where(moved > 0, back_n + n, 0), back_n)
        back_minutes = np.where(going, np.where(moved > 0, back_minutes + 1, 0), back_minutes)
        spread = times(back_n, back_minutes)
        well = going & (moved >= _threshold(params.h, back_n, back_minutes, spread) * spread / 2)
        raw = total + step
        clear = well | (known & ~fired & (raw <= 0))
        go = known & ~clear
        total = np.where(clear, 0.0, np.where(go, np.maximum(0.0, raw), total))
        run_n = np.where(clear, 0, np.where(go, run_n + n, run_n))
        run_minutes = np.where(clear, 0, np.where(go, run_minutes + 1, run_minutes))
        run_bad = np.where(clear, 0, np.where(go, run_bad + missed, run_bad))
        back, back_n, back_minutes = (np.where(clear, 0, one) for one in (moved, back_n, back_minutes))
        spread = times(run_n, run_minutes)
        limit = _threshold(params.h, run_n, run_minutes, spread) * spread
        enough = total > limit
        fired = (fired & ~clear) | (go & ~fired & enough & (run_bad >= params.min_failures))
        if normals is not None:
            normals.observe(minute, n, hits, ~fired, run_minutes == 0)
        breach, n = fired & known, batch.sums(minute, length_of(window))[0]
        yield Verdicts(breach, known, ~fired, n, np.round(stands), breach & (total >= SURE * limit))


def _step(facts: Facts, good: Floats, bad: Floats, n: Ints, hits: Ints) -> Floats:
    if facts.is_rate:
        p0 = np.maximum(good, 1e-6)
        p1 = np.maximum(bad, p0 / 10)
        rate: Floats = hits * np.log(p1 / p0) - n * (p1 - p0)
        return rate
    p0 = np.clip(good, 1e-6, 1 - 1e-6)
    p1 = np.where(bad < p0, np.maximum(bad, p0 / 10), np.minimum(bad, 1 - (1 - p0) / 10))
    share: Floats = hits * np.log(p1 / p0) + (n - hits) * np.log((1 - p1) / (1 - p0))
    return share


def _apart(params: Cusum, sign: float, mean: Floats) -> Floats:
    return np.full(len(mean), params.delta) if params.p1 is None else sign * (params.p1 - mean)


def _threshold(h: float, n: Ints, minutes: Ints, times: Floats) -> Floats:
    return h + np.log(np.maximum(1.0, n / np.maximum(minutes * times, 1e-9)))
