"""Mix shift: a whole moves because other customers come, not because any of them is served worse."""

from __future__ import annotations

from collections.abc import Mapping

from streams.alerts.detectors.params import MixShift
from streams.alerts.explaining.decompose import Change, decompose
from streams.alerts.facts import Facts, SeriesReading, badness, without
from streams.alerts.types import Verdict
from streams.kpis.aggregators import measure
from streams.kpis.arithmetic.accumulators import Acc, count_of
from streams.kpis.arithmetic.distributions import chi_square_tail
from streams.kpis.arithmetic.intervals import Measure


def mix_shift(params: MixShift, facts: Facts, window: str, reading: SeriesReading) -> Verdict:
    """Judge what the change of the shares of a label's values does to the whole."""
    later = reading.parts(params.label, window)
    longer = reading.parts(params.label, params.baseline)
    earlier = {value: rest for value, acc in longer.items() if (rest := without(acc, later.get(value))) is not None}
    found = _measured(facts, reading.window(window))
    was = _measured(facts, without(reading.window(params.baseline), reading.window(window)))
    change = decompose(facts, params.label, earlier, later)
    test = shares_test(earlier, later, params.min_expected)
    if change is None or test is None:
        why = f"too few answers to compare the shares of {params.label}"
        return Verdict(None, None, *found, was.value, was.n, reason=why, threshold=params.min_effect)
    effect = badness(facts, change.share)
    chance = chi_square_tail(*test)
    return Verdict(
        breach=effect >= params.min_effect and chance < params.p_value,
        recovered=effect <= params.min_effect / 2,
        value=found.value,
        n=found.n,
        lo=found.lo,
        hi=found.hi,
        baseline=was.value,
        baseline_n=was.n,
        statistic=change.share,
        reason=f"{in_words(facts, params.label, change)}; other shares by chance: p = {chance:.1g}",
        threshold=params.min_effect,
    )


def in_words(facts: Facts, label: str, change: Change) -> str:
    """Say what a change comes from."""
    kind = {
        "rate": f"its parts by {label} changed, not the mix",
        "mix": f"the mix of {label} changed, not its parts",
        "both": f"the mix of {label} and its parts both changed",
        "none": "no change",
    }[change.kind]
    return (
        f"{change.total:+.4g} in all, {change.share:+.4g} by mix and {change.rate:+.4g} by its parts"
        f" ({facts.unit or facts.aggregator}): {kind}"
    )


def shares_test(earlier: Mapping[str, Acc], later: Mapping[str, Acc], min_expected: float) -> tuple[float, int] | None:
    """
    Return χ² of two sets of shares and its degrees of freedom; None when fewer than two values can be compared.

    Values with too few expected answers on either side are taken together.
    """
    n, later_n = sum(map(count_of, earlier.values())), sum(map(count_of, later.values()))
    if not n or not later_n:
        return None
    part = later_n / (n + later_n)
    cells: list[tuple[int, int]] = []
    rest = (0, 0)
    for value in earlier.keys() | later.keys():
        pair = (count_of(earlier.get(value, [0])), count_of(later.get(value, [0])))
        if sum(pair) * min(part, 1 - part) >= min_expected:
            cells.append(pair)
        else:
            rest = (rest[0] + pair[0], rest[1] + pair[1])
    if sum(rest) * min(part, 1 - part) >= min_expected:
        cells.append(rest)
    if len(cells) < 2:
        return None
    total = 0.0
    for old, new in cells:
        expected, later_expected = (old + new) * (1 - part), (old + new) * part
        total += (old - expected) ** 2 / expected + (new - later_expected) ** 2 / later_expected
    return total, len(cells) - 1


def _measured(facts: Facts, acc: Acc | None) -> Measure:
    if acc is None:
        return Measure(None, 0, None, None)
    return measure(facts.aggregator, acc, facts.scale, unit=facts.unit, q=facts.q, within=facts.within)
