"""A window against the time before it."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from streams.alerts.detectors.base import Detector, Positive, Window, Z, measured
from streams.alerts.explaining.compare import compare
from streams.alerts.facts import Facts, Kept, SeriesReading, badness, before, kept, length_of, show, side_word, sums_of
from streams.alerts.types import Verdict
from streams.kpis.arithmetic.accumulators import Acc


class ZState(msgspec.Struct, array_like=True, frozen=True):
    """What is remembered while a window is worse than before: before, as it was when that began."""

    before: Kept
    since: int
    """The minute in which it began."""


class ZTest(Detector, frozen=True, kw_only=True):
    """The window is worse than the time before it: two proportions, two means (Welch), two NPS, two rates."""

    method: ClassVar = "ztest"
    memory: ClassVar = ZState
    aggregators: ClassVar = ("ratio", "mean", "nps", "count", "quantile")
    sided: ClassVar = False

    baseline: Annotated[Window, Meta(description="Window it is compared with; longer than the rule's.")]
    z: Annotated[Z, Meta(description="How many standard errors apart is a change.")] = 3.7
    min_expected: Annotated[
        Positive, Meta(description="Successes and failures that both sides need before a ratio is tested.")
    ] = 5.0
    min_change: Annotated[
        float, Meta(ge=0, description="Smallest change worth an alert, however sure it is; in the KPI's unit.")
    ] = 0.0

    def judge(
        self, facts: Facts, window: str, reading: SeriesReading, memory: ZState | None
    ) -> tuple[Verdict, ZState | None]:
        """
        Judge a window against the time before it.

        From the minute in which it turns bad it is held against what was before that minute, or trouble that lasts
        would become its own baseline; until it has recovered (half of `z`), or the whole baseline window has passed,
        after which the new level counts as normal.
        """
        later = reading.window(window)
        if memory is not None and reading.minute - memory.since >= length_of(self.baseline):
            memory = None
        earlier: Acc | None = sums_of(memory.before) if memory is not None else before(reading, self.baseline, window)
        minutes = (length_of(self.baseline) - length_of(window), length_of(window))
        if facts.aggregator == "count":
            later, earlier = later or [0], earlier or [0]
        found, was = measured(facts, later), measured(facts, earlier)
        value, n, lo, hi = found
        if facts.aggregator == "count":  # shown as what the window would hold at the pace before it
            value, was = float(n), was._replace(value=was.n * minutes[1] / minutes[0])
        compared = compare(facts, earlier, later, minutes=minutes, min_expected=self.min_expected)
        if compared.z is None or value is None or was.value is None:
            verdict = Verdict(None, None, value, n, lo, hi, was.value, was.n, None, compared.why, self.z)
            return verdict, memory
        change = value - was.value
        bad = badness(facts, compared.z)
        breach = bad > self.z and abs(change) >= self.min_change
        recovered = bad <= self.z / 2
        reason = (
            f"{show(value, facts.unit)} of {n} is {side_word(change)} than {show(was.value, facts.unit)} of {was.n}"
            f" before, z = {compared.z:.2f} against {self.z:g}"
        )
        if breach and memory is None and type(earlier) is list:
            memory = ZState(kept(earlier), reading.minute)
        elif recovered:
            memory = None
        return Verdict(breach, recovered, value, n, lo, hi, was.value, was.n, compared.z, reason, self.z), memory

    def without_evidence(self, memory: ZState | None) -> ZState | None:
        """Return the memory: the reference is no evidence, and is held against data that is new."""
        return memory
