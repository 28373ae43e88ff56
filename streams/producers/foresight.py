"""What will become of a right event, as far as it can be told before it is sent: by one rule for client and door."""

import re
from collections.abc import Container
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Final, Literal, TypeAlias

from streams.events.types import Envelope
from streams.kpis.language.series import sent_label

RETENTION_S: Final = 86_400.0
"""Older events are in no KPI, unless `CX_RETENTION_S` of the workers says otherwise."""

Kind: TypeAlias = Literal["late", "unknown_touchpoint"]


def foreseen(event: Envelope, now: datetime, retention_s: float, touchpoints: Container[str]) -> dict[Kind, str]:
    """
    Say what the sender of an event will miss, in words by kind: that it is counted nowhere, or as unknown.

    `now` stands for the newest event of its partition, which a sender does not know.
    """
    found: dict[Kind, str] = {}
    if event.time < now - timedelta(seconds=retention_s):
        found["late"] = f"time is more than {retention_s:,.0f} s ago, so it is stored but in no KPI"
    sent = event.touchpoint
    named = sent_label(sent) if sent is not None and sent not in touchpoints else ""
    if named and named not in touchpoints:
        found["unknown_touchpoint"] = "touchpoint is in no dictionary, so it is counted as `unknown`"
    return found


def shipped_touchpoints() -> frozenset[str]:
    """Return the ids of the shipped dictionary, without the YAML parser that a producer need not have."""
    text = files("streams.events").joinpath("touchpoints.yaml").read_text(encoding="utf-8")
    return frozenset(re.findall(r"^ *- id: (\w+)$", text, re.MULTILINE))
