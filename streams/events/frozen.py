"""What is written down of each range of a source: where it lies, and what was known before and after it."""

from typing import Final

import msgspec

from streams.events.limits import CONTRACT, RecordLimits

NEVER: Final = float("-inf")


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """Records by outcome; `read` is always the sum of the others."""

    read: int = 0
    counted: int = 0
    duplicate: int = 0
    late: int = 0
    bad: int = 0
    conflict: int = 0
    """Repeats of an event that say something else."""

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.read + other.read,
            self.counted + other.counted,
            self.duplicate + other.duplicate,
            self.late + other.late,
            self.bad + other.bad,
            self.conflict + other.conflict,
        )


class SourceHead(msgspec.Struct, frozen=True, array_like=True):
    """What a source knows between two ranges: next offset, newest event time, dedup horizon (Unix s), tally."""

    next: int = 0
    newest: float = NEVER
    horizon: float = NEVER
    tally: Tally = Tally()
    moved: float = NEVER
    """What the clock said when the newest event time moved on (Unix s)."""

    def time_at(self, now: float) -> float:
        """
        Return the event time of a range: the newest, and while that stands still, what the clock went on since.

        Who sends nothing but what is refused would otherwise be counted in minutes that are over. Before the first
        event there is nothing but the clock.
        """
        if self.newest == NEVER:
            return now
        return self.newest + (max(0.0, now - self.moved) if self.moved > NEVER else 0.0)


class FrozenRange(msgspec.Struct, frozen=True, array_like=True):
    """
    The record that freezes one range of a source before anything is emitted for it.

    `before` and `now` make the range repeatable; `after` and `ids` are the state once it is done.
    A range below offset zero is inherited: done before the topics were made anew, it is only remembered.
    """

    source: str
    first: int
    last: int
    now: float
    before: SourceHead
    after: SourceHead
    ids: bytes
    newest: float
    time: float | None = None
    """Event time (Unix s) at which the range itself is counted; None of those frozen before there was any."""
    ahead: int = 0
    """Records that are bad for nothing but a time ahead of the clock."""
    limits: RecordLimits = CONTRACT
    """What a record might hold."""
    marks: bytes | None = None
    """Sources and contents of the events in `ids`; None of those frozen when an id alone named an event."""
    retention_s: float | None = None
    """How late an event might be; this and the next are None of ranges frozen before they were written down."""
    dedup_ids: int | None = None
    """How many ids were remembered."""
    appended: float | None = None
    """When the newest record came, as the broker says (Unix s); None where senders say it, and of older ranges."""

    @property
    def came(self) -> float:
        """When its records came (Unix s): by our own clock, where the broker does not say it, when they were read."""
        return self.now if self.appended is None else self.appended

    @property
    def inherited(self) -> bool:
        """Whether it was done before the topics were made anew."""
        return self.last < 0

    def key(self) -> bytes:
        """Return the changelog key: it names a range by its source and first offset."""
        return f"{self.source}|{self.first:020d}".encode()
