"""An alert as Alertmanager takes it: labels that name it, annotations that explain it, and its time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from streams.events.visible import visible

LABELS: Final = 64
LABEL_LENGTH: Final = 1_024
ANNOTATIONS: Final = 64
ANNOTATION_LENGTH: Final = 4_096
URL_LENGTH: Final = 2_000

_NO_NAME: Final = re.compile(r"[^a-zA-Z0-9_]")


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """
    An alert that fires, or has ended; two with the same labels are the same alert.

    Raises ValueError when there is no `alertname` among the labels, or it ended before it started.
    """

    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: float
    """Since when it fires, Unix s."""
    ends_at: float | None = None
    """When it ended, Unix s; None: it fires."""
    url: str = ""
    """Where to look at it."""

    def __post_init__(self) -> None:
        if not self.labels.get("alertname"):
            raise ValueError(f"an alert needs the label alertname; got {sorted(self.labels)}")
        if self.ends_at is not None and self.ends_at < self.starts_at:
            raise ValueError(f"{self.labels['alertname']} ended at {self.ends_at}, before {self.starts_at}")

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """What names the alert, for us as for Alertmanager."""
        return tuple(sorted(fitting_labels(self.labels).items()))


def fitting_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """
    Return labels as Alertmanager accepts them: clean names, no empty values, nothing longer than our limits.

    `alertname` is always among the first 64; the others are kept in the order of their names.
    """
    order = sorted(labels, key=lambda name: (name != "alertname", name))
    clean: dict[str, str] = {}
    for name in order:
        value = fitting_text(labels[name], LABEL_LENGTH)
        if value and len(clean) < LABELS:
            clean.setdefault(fitting_name(name), value)
    return clean


def fitting_annotations(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return annotations with clean names, no empty values, nothing longer than our limits."""
    clean: dict[str, str] = {}
    for name, text in annotations.items():
        value = fitting_text(text, ANNOTATION_LENGTH)
        if value and len(clean) < ANNOTATIONS:
            clean.setdefault(fitting_name(name), value)
    return clean


def fitting_name(name: str) -> str:
    """Return a name of letters, digits and `_` that does not start with a digit."""
    clean = _NO_NAME.sub("_", name)
    return f"_{clean}" if not clean or clean[0].isdigit() else clean


def fitting_text(text: str, longest: int) -> str:
    """Return a text of which receivers see all, and that UTF-8 can carry; cut with `…` when it is too long."""
    clean = visible(text)
    return clean if len(clean) <= longest else f"{clean[: longest - 1]}…"


def body_of(notice: Notice, now: float, valid_s: float) -> dict[str, object]:
    """
    Return what is posted of an alert.

    One that fires is said to end `valid_s` from `now`: should we fall silent for good, it does not fire for ever.
    """
    ends_at = now + valid_s if notice.ends_at is None else notice.ends_at
    return {
        "labels": fitting_labels(notice.labels),
        "annotations": fitting_annotations(notice.annotations),
        "startsAt": _time(notice.starts_at),
        "endsAt": _time(ends_at),
        **({"generatorURL": notice.url} if 0 < len(notice.url) <= URL_LENGTH else {}),
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
