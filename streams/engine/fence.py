"""Whose record in a changelog counts: the newest owner's, from its claim on.

A worker that was stopped and continued may still send what it had begun to send. Every record of a changelog names
its writer by a *fence*; a new owner writes a claim with a higher fence before anything else. Whatever a lower fence
writes behind that claim is void, for everybody who reads the log in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

HEADER: Final = "fence"

#: Key of a claim: a record without a value, so that readers who know nothing of fences see a deleted key.
CLAIM: Final = b"claim"


class Fence(NamedTuple):
    """The rank of an owner; higher ones come later.

    Attributes:
        number: Highest number before, plus the generation of the group, which is at least one.
        at_ms: When it was made (Unix ms). A process with the same instance id gets the same generation.
    """

    number: int
    at_ms: int

    def header(self) -> tuple[str, bytes]:
        """Return the header that a record carries."""
        return HEADER, b"%d.%d" % self

    def after(self, generation: int, at_ms: int) -> Fence:
        """Return the fence of the next owner."""
        return Fence(self.number + max(1, generation), at_ms)


NO_FENCE: Final = Fence(0, 0)


def fence_of(headers: Sequence[tuple[str, bytes]]) -> Fence | None:
    """Return the fence in a record's headers; None for one that was written without."""
    for name, value in headers:
        if name == HEADER:
            number, _, at_ms = value.partition(b".")
            return Fence(int(number), int(at_ms))
    return None


class LogRecord(NamedTuple):
    """What matters of a changelog record."""

    offset: int
    key: bytes
    value: bytes | None
    fence: Fence | None


@dataclass(slots=True)
class PartitionLog:
    """The content of one changelog partition, as far as it was read or written.

    Attributes:
        entries: Value by key.
        next: Offset behind the last record contained.
        fence: The highest so far.
        void: Records of a lower fence behind a higher one's claim: how many were skipped.
        changed: Keys that were set or deleted since somebody looked; None if nobody does.
    """

    entries: dict[bytes, bytes] = field(default_factory=dict)
    next: int = 0
    fence: Fence = NO_FENCE
    void: int = 0
    changed: set[bytes] | None = None

    def apply(self, records: Iterable[LogRecord]) -> None:
        """Take in records in the order of their offsets; those contained already change nothing."""
        for record in records:
            if record.offset < self.next:
                continue
            self.next = record.offset + 1
            if record.fence is not None:
                if record.fence < self.fence:
                    self.void += 1
                    continue
                self.fence = record.fence
            self.put(record.key, record.value)

    def put(self, key: bytes, value: bytes | None) -> None:
        """Set or delete one entry."""
        if value is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = value
        if self.changed is not None:
            self.changed.add(key)
