"""Transitions of alerts as rows of the table `alerts`."""

from typing import Any, Final

import msgspec

from streams.alerts.types import Transition

ALERT_COLUMNS: Final = (
    "id", "at", "rule", "kpi", "labels", "old", "new", "why", "severity", "owner", "inhibited_by", "episode", "method",
    "window", "unit", "value", "n", "lo", "hi", "baseline", "baseline_n", "statistic", "threshold", "target",
    "definition", "maturity", "contributors", "movements", "verbatims", "links", "alert_labels", "annotations",
)  # fmt: skip


def alert_row(name: str, at: int, transition: Transition) -> list[Any]:
    """
    Return the row of a transition, in the order of `ALERT_COLUMNS`.

    Args:
        name: Names the transition for ever.
        at: End of the judged minute, Unix s.
        transition: What happened.
    """
    evidence = transition.evidence
    return [
        name, at, transition.rule, transition.kpi, dict(sorted(transition.labels.items())), transition.old,
        transition.new, transition.why, transition.severity, transition.owner, transition.inhibited_by or "",
        transition.episode, evidence.method, evidence.window, evidence.unit, evidence.value, evidence.n, evidence.lo,
        evidence.hi, evidence.baseline, evidence.baseline_n, evidence.statistic, evidence.threshold, evidence.target,
        evidence.definition, evidence.maturity, _json(evidence.contributors), _json(evidence.movements),
        evidence.verbatims, evidence.links, transition.alert_labels, transition.annotations,
    ]  # fmt: skip


def _json(content: object) -> str:
    return msgspec.json.encode(content).decode()
