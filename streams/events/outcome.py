"""What becomes of the records of a range: while it is under construction, and once it is closed."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from streams.events.decode import Refusal
from streams.events.frozen import NEVER, FrozenRange, SourceHead, Tally
from streams.events.limits import RecordLimits
from streams.events.types import Envelope


class BadRecord(msgspec.Struct, frozen=True):
    """One refused record: where it stands, what was refused, and its original bytes."""

    offset: int
    refusal: Refusal
    payload: bytes


class Outcome(msgspec.Struct, frozen=True):
    """Everything that one closed range gives to the stages after it."""

    frozen: FrozenRange
    tally: Tally
    counted: list[Envelope]
    """Those that `collect` has not given out before."""
    payloads: list[bytes]
    """Stored records: the counted and the late ones, in offset order, as they were sent or as they were mended."""
    unambiguous: bytes
    """Of each stored record 1 if every reader of JSON is known to read it alike."""
    offsets: list[int]
    late_offsets: list[int]
    bad: list[BadRecord]
    conflicts: list[BadRecord]
    """Repeats that say something else than what was taken first."""
    mended: dict[str, int]
    """How many records were mended, by what was wrong with them."""
    masked: dict[str, int]
    """In how many strings of the records personal data was masked, by its kind."""
    forgotten: list[bytes]
    """Changelog keys that are no longer needed once this range is frozen."""


class OpenRange:
    """A range under construction."""

    def __init__(self, now: float, head: SourceHead, limits: RecordLimits, retention_s: float) -> None:
        self.now = now
        self.limits = limits
        self.retention_s = retention_s
        self.appended: float | None = None
        """When the broker says that the newest came (Unix s)."""
        self.before = head
        self.first = -1
        self.last = -1
        self.read = 0
        self.duplicate = 0
        self.newest = head.newest
        self.latest = NEVER
        self.own: dict[int, int] = {}
        """Contents by key of the events accepted here, in order of arrival."""
        self.source_bits: list[int] = []
        self.counted: list[Envelope] = []
        self.collected = 0
        self.payloads: list[bytes] = []
        self.unambiguous = bytearray()
        self.offsets: list[int] = []
        self.late_offsets: list[int] = []
        self.bad: list[BadRecord] = []
        self.conflicts: list[BadRecord] = []
        self.mended: Counter[str] = Counter()
        self.masked: Counter[str] = Counter()
        self.sent: dict[int, bytes] = {}
        """By offset, what was mended as it came."""

    def note(self, at: float) -> None:
        """Take note of the time of an accepted event (Unix s)."""
        self.latest = max(self.latest, at)
        # A device whose clock runs ahead must not close minutes that are still filling.
        self.newest = max(self.newest, min(at, self.now))


class Record(NamedTuple):
    """A record that is decided about by itself."""

    event: Envelope
    payload: bytes
    offset: int
    key: int
    source_bits: int
    content: int
    unambiguous: int


class Seen(NamedTuple):
    """What some records have in common with those before them: contents by key, and the latest times by bare id."""

    keys: Mapping[int, int]
    ids: Mapping[int, float]
