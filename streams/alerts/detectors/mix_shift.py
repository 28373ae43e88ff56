"""Mix shift: a whole moves because other customers come, not because any of them is served worse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

from msgspec import Meta

from streams.alerts.detectors.base import Detector, Positive, Problem, Window, measured
from streams.alerts.explaining.decompose import Change, decompose
from streams.alerts.facts import Facts, SeriesReading, badness, without
from streams.alerts.types import Verdict
from streams.kpis.arithmetic.accumulators import Acc, count_of
from streams.kpis.arithmetic.distributions import chi_square_tail
from streams.kpis.language.definition import Kpi


class MixShift(Detector, frozen=True, kw_only=True):
    """
    A total moves because other customers come, not because any of them is served worse.

    The change against the baseline is split by a label into Σ share·Δrate and Σ Δshare·rate; the second is judged.
    """

    method: ClassVar = "mix_shift"
    aggregators: ClassVar = ("ratio", "mean", "nps")

    label: Annotated[str, Meta(min_length=1, description="Label by which the total is split; the KPI must keep it.")]
    baseline: Annotated[Window, Meta(description="Window it is compared with; longer than the rule's.")]
    min_effect: Annotated[Positive, Meta(description="Change by mix alone that is worth an alert, in the KPI's unit.")]
    p_value: Annotated[
        float, Meta(gt=0, lt=0.5, description="Chance of such other shares by luck (χ²) below which it fires.")
    ] = 1e-4
    min_expected: Annotated[
        Positive, Meta(description="Answers a label value must be expected to have to enter the test.")
    ] = 5.0

    def judge(self, facts: Facts, window: str, reading: SeriesReading, memory: None) -> tuple[Verdict, None]:
        """Judge what the change of the shares of a label's values does to the whole."""
        later = reading.parts(self.label, window)
        longer = reading.parts(self.label, self.baseline)
        earlier = {value: rest for value, acc in longer.items() if (rest := without(acc, later.get(value))) is not None}
        found = measured(facts, reading.window(window))
        was = measured(facts, without(reading.window(self.baseline), reading.window(window)))
        change = decompose(facts, self.label, earlier, later)
        test = shares_test(earlier, later, self.min_expected)
        if change is None or test is None:
            why = f"too few answers to compare the shares of {self.label}"
            return Verdict(None, None, *found, was.value, was.n, reason=why, threshold=self.min_effect), None
        effect = badness(facts, change.share)
        chance = chi_square_tail(*test)
        return Verdict(
            breach=effect >= self.min_effect and chance < self.p_value,
            recovered=effect <= self.min_effect / 2,
            value=found.value,
            n=found.n,
            lo=found.lo,
            hi=found.hi,
            baseline=was.value,
            baseline_n=was.n,
            statistic=change.share,
            reason=f"{in_words(facts, self.label, change)}; other shares by chance: p = {chance:.1g}",
            threshold=self.min_effect,
        ), None

    def own_misfits(self, kpi: Kpi, by: tuple[str, ...]) -> Iterable[Problem]:
        """Refuse a label that the series are not split by."""
        if self.label in by:
            yield "label", f"each series has one {self.label!r} only: 'label' must not be in 'by'"
        elif tuple(sorted({*by, self.label})) not in kpi.groupings:
            known = "; ".join(" × ".join(grouping) for grouping in kpi.groupings if set(grouping) > set(by))
            kept = " × ".join(sorted({*by, self.label}))
            yield "label", f"{kpi.id} is not kept by {kept}; kept: {known or 'none'}"


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
