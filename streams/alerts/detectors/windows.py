"""
Detectors that look at whole windows: the floor below which a value must not be, the window against the time before,
and the error budget of a promise.
"""

from __future__ import annotations

import msgspec

from streams.alerts.detectors.params import BurnRate, Floor, ZTest
from streams.alerts.explaining.compare import compare
from streams.alerts.facts import (
    Facts,
    Kept,
    SeriesReading,
    badness,
    before,
    kept,
    length_of,
    show,
    side_word,
    sums_of,
)
from streams.alerts.types import Verdict
from streams.kpis.aggregators import measure
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.arithmetic.intervals import Z95, Measure, wilson

_NOTHING = Measure(None, 0, None, None)


class ZState(msgspec.Struct, array_like=True, frozen=True):
    """What is remembered while a window is worse than before: before, as it was when that began."""

    before: Kept
    since: int
    """The minute in which it began."""


def floor(params: Floor, facts: Facts, window: str, reading: SeriesReading) -> Verdict:
    """
    Judge whether the whole interval of a window is on the wrong side of a target.

    The interval is the KPI's own (`kpis.intervals`). It has recovered when the value itself is back on the right side;
    in between, nothing changes.
    """
    found = _measured(facts, reading.window(window), params.critical)
    value, n, lo, hi = found
    up = facts.direction == "up"
    end = hi if up else lo
    if value is None or end is None:
        why = "nothing came" if value is None else f"{n} answers are too few for an interval"
        return Verdict(None, None, value, n, lo, hi, reason=why, threshold=params.target)
    breach = end < params.target if up else end > params.target
    reached = value >= params.target if up else value <= params.target
    return Verdict(
        breach=breach,
        recovered=reached,
        value=value,
        n=n,
        lo=lo,
        hi=hi,
        statistic=end,
        reason=f"{show(value, facts.unit)} of {n}, {'at most' if up else 'at least'} {show(end, facts.unit)}"
        f" with z = {params.critical:.3g}; target {show(params.target, facts.unit)}",
        threshold=params.target,
    )


def ztest(
    params: ZTest, facts: Facts, window: str, reading: SeriesReading, state: ZState | None
) -> tuple[Verdict, ZState | None]:
    """
    Judge a window against the time before it.

    From the minute in which it turns bad it is held against what was before that minute, or trouble that lasts would
    become its own baseline; until it has recovered (half of `z`), or the whole baseline window has passed, after which
    the new level counts as normal.
    """
    later = reading.window(window)
    if state is not None and reading.minute - state.since >= length_of(params.baseline):
        state = None
    earlier: Acc | None = sums_of(state.before) if state is not None else before(reading, params.baseline, window)
    minutes = (length_of(params.baseline) - length_of(window), length_of(window))
    if facts.aggregator == "count":
        later, earlier = later or [0], earlier or [0]
    found, was = _measured(facts, later), _measured(facts, earlier)
    value, n, lo, hi = found
    if facts.aggregator == "count":  # told as what the window would hold at the pace before it
        value, was = float(n), was._replace(value=was.n * minutes[1] / minutes[0])
    compared = compare(facts, earlier, later, minutes=minutes, min_expected=params.min_expected)
    if compared.z is None or value is None or was.value is None:
        verdict = Verdict(None, None, value, n, lo, hi, was.value, was.n, None, compared.why, params.z)
        return verdict, state
    change = value - was.value
    bad = badness(facts, compared.z)
    breach = bad > params.z and abs(change) >= params.min_change
    recovered = bad <= params.z / 2
    reason = (
        f"{show(value, facts.unit)} of {n} is {side_word(change)} than {show(was.value, facts.unit)} of {was.n}"
        f" before, z = {compared.z:.2f} against {params.z:g}"
    )
    if breach and state is None and type(earlier) is list:
        state = ZState(kept(earlier), reading.minute)
    elif recovered:
        state = None
    return Verdict(breach, recovered, value, n, lo, hi, was.value, was.n, compared.z, reason, params.z), state


def burn_rate(params: BurnRate, facts: Facts, reading: SeriesReading) -> Verdict:
    """
    Judge whether the error budget of a promise burns too fast, over a long window and over a short one.

    Burn is the share of misses over the share that the target allows. The long window must also break the promise
    beyond chance (its 95 % Wilson interval), so that three misses of five do not page. It has recovered when the short
    window keeps the promise.
    """
    long, short = reading.window(params.long), reading.window(params.short)
    found = _measured(facts, long)
    value, n, lo, hi = found
    budget = budget_of(facts, params.target)
    if budget <= 0 or not isinstance(long, list) or not isinstance(short, list) or not long[0] or not short[0]:
        why = "the target allows no misses" if budget <= 0 else "nothing came"
        return Verdict(None, None, value, n, lo, hi, reason=why, threshold=params.factor)
    misses, recent = _misses(facts, long), _misses(facts, short)
    burns = misses / (n * budget), recent / (short[0] * budget)
    sure = wilson(misses, n, Z95)[0] > budget
    burn = min(burns)
    reason = (
        f"burns its budget {burns[0]:.2f} times too fast over {params.long} ({misses} of {n} missed)"
        f" and {burns[1]:.2f} times over {params.short} ({recent} of {short[0]}), limit {params.factor:g}"
    )
    return Verdict(
        breach=burn >= params.factor * (1 - 1e-12) and sure,
        recovered=burns[1] <= 1,
        value=value,
        n=n,
        lo=lo,
        hi=hi,
        baseline=params.target,
        statistic=burn,
        reason=reason if sure else f"{reason}; {n} are too few to be sure",
        threshold=params.factor,
    )


def budget_of(facts: Facts, target: float) -> float:
    """Return the share of misses that a target allows."""
    # In the KPI's unit first: 100 - 80 is exact, 1 - 0.8 is not.
    return (facts.factor - target if facts.direction == "up" else target) / facts.factor


def largest_burn(facts: Facts, target: float) -> float:
    """Return the burn when everything is missed, which no factor may reach: 5 for 80 %."""
    budget = budget_of(facts, target)
    return 1 / budget if budget > 0 else float("inf")


def _misses(facts: Facts, acc: list[int]) -> int:
    n, hits = acc
    return min(n, max(0, n - hits if facts.direction == "up" else hits))


def _measured(facts: Facts, acc: Acc | None, z: float = Z95) -> Measure:
    if acc is None:
        return _NOTHING
    return measure(facts.aggregator, acc, facts.scale, unit=facts.unit, q=facts.q, z=z, within=facts.within)
