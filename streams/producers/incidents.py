"""Things that go wrong on purpose: what, when, where and how badly."""

import difflib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from streams.events.scalars import CHANNELS
from streams.producers.rhythm import TEHRAN

KINDS: Final[dict[str, str]] = {
    "payment-outage": "payments fail at the gateway",
    "queue-overload": "several times the usual calls and chats, fewer agents",
    "app-crash-release": "a new app version crashes",
    "late-deliveries": "couriers come late",
    "slow-site": "pages and requests take several times as long, some fail",
    "store-staff-shortage": "tills stay closed",
    "collector-dead": "nothing of a channel arrives, while customers go on",
    "bad-schema": "a channel sends records that break the contract",
}
TARGETED: Final = frozenset({"collector-dead", "bad-schema"})
"""Kinds that hit one channel, named after a colon."""

_FORM: Final = re.compile(
    r"(?P<kind>[^@:]+)(?::(?P<target>[^@]*))?@(?P<start>[^,]+?)\+(?P<length>[^+,]+)(?:,(?P<rest>.*))?"
)
_EXAMPLE: Final = "payment-outage@12:00+20m, queue-overload@+5m+10m,severity=0.5 or collector-dead:web@+1m+2m"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class IncidentError(ValueError):
    """An incident cannot be understood; the text says what came and what is expected."""


class Incident(msgspec.Struct, frozen=True):
    """One incident: active from `start` (inclusive) to `end` (exclusive), Unix seconds; severity 0 to 1."""

    kind: str
    start: float
    end: float
    severity: float = 1.0
    target: str | None = None


def parse_incident(text: str, origin: datetime) -> Incident:
    """
    Read `kind[:channel]@when+length[,severity=0.5]`.

    `when` is a clock time in Tehran (`12:00`, the next such time from `origin` on), a time after the start of the run
    (`+5m`) or an ISO time with offset; lengths are written `90s`, `20m`, `2h`, `1d`.

    Raises:
        IncidentError: the form, kind, channel, time or severity is wrong; an unknown kind comes with a suggestion.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise IncidentError(f"incident {text!r} is not understood; expected e.g. {_EXAMPLE}")
    kind, target = match["kind"].strip(), match["target"]
    if kind not in KINDS:
        close = difflib.get_close_matches(kind, KINDS, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}? " if close else ""
        raise IncidentError(f"unknown incident {kind!r}; {hint}known: {', '.join(KINDS)}")
    if kind in TARGETED and target not in CHANNELS:
        raise IncidentError(f"incident {kind} got channel {target!r}; expected one of {', '.join(CHANNELS)}")
    if kind not in TARGETED and target is not None:
        raise IncidentError(f"incident {kind} hits no single channel; got {target!r}, expected none")
    start = _start(match["start"].strip(), origin)
    length = _length(match["length"], text)
    return Incident(kind, start, start + length, _severity(match["rest"], text), target)


def _start(text: str, origin: datetime) -> float:
    if text.startswith("+"):
        return origin.timestamp() + _seconds(text[1:], text)
    clock = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?", text)
    if clock is not None:
        local = origin.astimezone(TEHRAN)
        at = local.replace(hour=int(clock[1]), minute=int(clock[2]), second=int(clock[3] or 0), microsecond=0)
        return (at if at >= local else at + timedelta(days=1)).timestamp()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise IncidentError(f"incident start {text!r} is not understood; expected 12:00, +5m or an ISO time") from None
    if moment.tzinfo is None:
        raise IncidentError(f"incident start {text!r} has no offset; expected e.g. {text}+03:30")
    return moment.timestamp()


def _length(text: str, whole: str) -> float:
    seconds = _seconds(text, whole)
    if seconds == 0:
        raise IncidentError(f"incident {whole!r}: got length {text!r}, expected more than nothing")
    return seconds


def _seconds(text: str, whole: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None:
        raise IncidentError(f"incident {whole!r}: got length {text!r}, expected e.g. 90s, 20m, 2h or 1d")
    return float(match[1]) * _UNITS[match[2]]


def _severity(text: str | None, whole: str) -> float:
    if text is None:
        return 1.0
    match = re.fullmatch(r"\s*severity=(\d*\.?\d+)\s*", text)
    if match is None or not 0 < float(match[1]) <= 1:
        raise IncidentError(f"incident {whole!r}: got {text!r}, expected severity= and a number above 0, at most 1")
    return float(match[1])


class Incidents:
    """All incidents of a run; asked many times, so that a calm moment costs next to nothing."""

    def __init__(self, incidents: Iterable[Incident] = ()) -> None:
        self.all: Sequence[Incident] = sorted(incidents, key=lambda incident: incident.start)
        self._by_kind: dict[str, list[Incident]] = {}
        for incident in self.all:
            self._by_kind.setdefault(incident.kind, []).append(incident)

    def level(self, kind: str, at: float, target: str | None = None) -> float:
        """Return the severity of a kind at a Unix time, 0 when it is not going on; the worst of several counts."""
        found = self._by_kind.get(kind)
        if found is None:
            return 0.0
        return max(
            (i.severity for i in found if i.start <= at < i.end and (target is None or i.target == target)),
            default=0.0,
        )

    @classmethod
    def parse(cls, texts: Iterable[str], origin: datetime) -> "Incidents":
        """
        Read several incidents; see `parse_incident`.

        Raises:
            IncidentError: one of them is wrong.
        """
        return cls(parse_incident(text, origin.astimezone(UTC)) for text in texts)
