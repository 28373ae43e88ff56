"""How an alert ended, for whoever was paged: the value now, how long it lasted, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streams.alerts.facts import Facts
from streams.alerts.judging.machine import Instance, Step, minutes
from streams.alerts.rules.rules import Rule
from streams.alerts.rules.texts import moment, series_text, show
from streams.alerts.types import Evidence
from streams.kpis.aggregators import ADDITIVE, LASTING
from streams.kpis.arithmetic.accumulators import Acc

_TROUBLED: Final = frozenset({"pending", "firing"})


def count_during(instance: Instance, step: Step | None, rule: Rule, acc: Acc | None) -> None:
    """Add a minute to what was counted since the trouble began; that of ratios can be told as people."""
    if rule.kpi.aggregator != "ratio" or instance.state not in _TROUBLED:
        return
    before = [0, 0] if not instance.during or (step is not None and step.old not in _TROUBLED) else instance.during
    n, hits = acc if isinstance(acc, list) else (0, 0)
    instance.during = [before[0] + n, before[1] + hits]


def begun(episode: str) -> int:
    """Return the minute in which the trouble of an episode began; -1 of an episode without one."""
    last = episode.rpartition("-")[2]
    return int(last) if last.isdecimal() else -1


def tell_end(
    rule: Rule, labels: Mapping[str, str], instance: Instance, fired: Evidence, now: Evidence, minute: int
) -> dict[str, str]:
    """
    Return `summary` and `description` of an alert that has ended.

    Args:
        rule: Its rule.
        labels: Of its series.
        instance: With what was counted while it lasted.
        fired: What was known when it fired.
        now: What is known as of the minute in which it ended.
        minute: That minute, unix seconds // 60.
    """
    against = f", target {show(rule.target, rule.kpi.unit)}" if rule.target is not None else ""
    value = "no data" if now.value is None else f"{show(now.value, rule.kpi.unit)}{_of(rule, now.n)} now"
    since = begun(instance.episode)
    lasted = f"Lasted {minutes(minute - since)}, from {moment(since)} to {moment(minute)} UTC." if since >= 0 else ""
    return {
        "summary": f"Resolved: {rule.kpi.name}, {series_text(labels)}: {value}{against}",
        "description": " ".join(filter(None, [lasted, _cost(rule, instance.during, fired)])),
    }


def tell_abandoned(alert: str, kpi: str, labels: Mapping[str, str], episode: str) -> dict[str, str]:
    """Return `summary` and `description` of an alert that ended since its rule was taken away or watches others."""
    since = begun(episode)
    return {
        "summary": f"Ended: {kpi}, {series_text(labels)}: no rule {alert} judges it any more",
        "description": (f"In trouble since {moment(since)} UTC; w" if since >= 0 else "W")
        + "hether that is over is not known.",
    }


def _of(rule: Rule, n: int) -> str:
    """Say of how many a value is, where it does not say so itself."""
    if rule.kpi.aggregator == "ratio":
        return f" of {n:,}"
    return "" if rule.kpi.aggregator in ADDITIVE or rule.kpi.aggregator in LASTING else f" (n = {n:,})"


def _cost(rule: Rule, during: list[int], fired: Evidence) -> str:
    """Say what was lost against the target, or else against what was usual; nothing where that cannot be counted."""
    expected = rule.target if rule.target is not None else fired.baseline
    if not during or not during[0] or expected is None:
        return ""
    n, hits = during
    unit = rule.kpi.unit
    factor = Facts.of(rule.kpi).factor
    missing = round(n * expected / factor - hits)
    side = 1 if rule.kpi.direction == "up" else -1
    what = "the target of" if rule.target is not None else "the usual"
    cost = f", {abs(missing):,} {'fewer' if side > 0 else 'more'} than at {what} {show(expected, unit)}"
    return f"Meanwhile {hits:,} of {n:,} ({show(factor * hits / n, unit)}){cost if missing * side > 0 else ''}."
