"""What a rule lets pass of a verdict: none on too few answers, a longer window in their place, recovery of its own."""

from __future__ import annotations

from typing import Final

import msgspec

from streams.alerts.facts import Facts, badness
from streams.alerts.judging.watch import SubjectReading
from streams.alerts.rules.rules import Rule
from streams.alerts.types import Verdict

STILL: Final = 5
"""Answers of the next shorter window that must show that trouble goes on."""


def gated(rule: Rule, verdict: Verdict, reading: SubjectReading) -> Verdict:
    """Return a verdict as a rule lets it pass: none on thin samples, and recovery by the rule's own threshold."""
    if verdict.breach is None:
        return verdict
    thin = ""
    if verdict.n < rule.min_n:
        thin = f"n = {verdict.n}, {rule.min_n} needed"
    elif compared := rule.params.compared_with(verdict, reading):
        n, which = compared
        if n < rule.min_denominator:
            thin = f"n = {n} {which}, {rule.min_denominator} needed"
    if thin:
        return msgspec.structs.replace(verdict, breach=None, recovered=None, reason=thin)
    recover = rule.recover
    if recover.above is None and recover.below is None:
        return verdict
    value = verdict.value
    recovered = (
        value is not None
        and (recover.above is None or value > recover.above)
        and (recover.below is None or value < recover.below)
    )
    return msgspec.structs.replace(verdict, recovered=recovered)


def lengthened(rule: Rule, facts: Facts, found: Verdict, thin: Verdict, reading: SubjectReading) -> Verdict:
    """
    Return the verdict of the shortest longer window that holds enough, or the one on too few if none does.

    A long window still holds trouble that is over, so the next shorter one must be on the bad side too, by its value
    alone: what was bad in the evening is not reported at night for want of callers.

    Args:
        rule: With longer windows.
        facts: Of its KPI.
        found: What its own window says, few answers or not.
        thin: The same as the rule lets it pass: nothing.
        reading: The series.
    """
    shorter = found
    for window in rule.longer:
        found, _ = rule.params.judge(facts, window, reading, None)
        verdict = gated(rule, found, reading)
        if verdict.breach is None:
            shorter = found
            continue
        reason = f"{verdict.reason}, in {window}, as {rule.window} has too few ({thin.reason})"
        verdict = msgspec.structs.replace(verdict, window=window, reason=reason)
        if not verdict.breach or rule.target is None:
            return verdict
        if shorter.n < STILL or shorter.value is None:
            return thin
        goes_on = badness(facts, shorter.value - rule.target) > 0
        return verdict if goes_on else msgspec.structs.replace(verdict, breach=False)
    return thin
