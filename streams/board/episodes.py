"""From stored transitions of alerts to episodes: what each has come to, with the evidence it fired on."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from streams.board.feed import AlertRow

COLUMNS: Final = (
    "id", "at", "rule", "kpi", "labels", "old", "new", "why", "severity", "owner", "inhibited_by", "episode", "window",
    "unit", "value", "n", "lo", "hi", "baseline", "contributors", "annotations", "links",
)  # fmt: skip


def episodes(transitions: Iterable[Mapping[str, Any]]) -> list[AlertRow]:
    """Return one row per episode, newest first; `transitions` have the columns of the table, in any order."""
    by_episode: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for transition in sorted(transitions, key=_order):
        by_episode.setdefault((transition["rule"], transition["episode"]), []).append(transition)
    found = [_episode(steps) for steps in by_episode.values()]
    return sorted((one for one in found if one is not None), key=lambda one: one.at, reverse=True)


def _order(transition: Mapping[str, Any]) -> tuple[int, int]:
    # Of two transitions in one minute the sequence number, last in the id, tells which came first.
    number = str(transition["id"]).rpartition("/")[2]
    return int(transition["at"]), int(number) if number.isdigit() else 0


def _episode(steps: Sequence[Mapping[str, Any]]) -> AlertRow | None:
    """Return what an episode has come to; None when it ended before it fired: such are not shown."""
    newest = steps[-1]
    fired = [step for step in steps if step["new"] == "firing"]
    state = newest["new"]
    if state == "inactive":
        if not fired:
            return None
        state = "resolved"
    changed = [step for step in steps if step["old"] != step["new"]] or steps
    # What explains an alert is what was known when it fired, not the number it went away with.
    evidence = fired[-1] if fired else newest
    return AlertRow(
        episode=str(newest["episode"]),
        rule=newest["rule"],
        kpi=newest["kpi"],
        labels=newest["labels"],
        state=state,
        severity=newest["severity"],
        owner=newest["owner"],
        why=str(evidence["why"]),
        at=int(changed[-1]["at"]),
        inhibited_by=newest["inhibited_by"],
        texts=newest["annotations"] if state == "resolved" else evidence["annotations"],
        links=evidence["links"],
        value=evidence["value"],
        n=int(evidence["n"]),
        lo=evidence["lo"],
        hi=evidence["hi"],
        unit=evidence["unit"],
        window=evidence["window"],
        baseline=evidence["baseline"],
        contributors=_contributors(evidence["contributors"]),
    )


def _contributors(text: str) -> tuple[tuple[Mapping[str, str], float], ...]:
    parts = json.loads(text) if text else []
    # Where all are alike, what parts make of it is their size; where another KPI knows the cause, they know none.
    if parts and (parts[0].get("kpi") or not parts[0]["labels"]):
        parts = parts[:1]
    # The whole explains all of itself.
    return tuple(
        (part["labels"], float(part["explained"]))
        for part in parts
        if part["labels"] and part.get("explained") is not None
    )
