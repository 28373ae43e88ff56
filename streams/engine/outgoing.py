"""Records on their way to the broker, and the refusal to send what belongs to a past assignment."""

from __future__ import annotations

from typing import NamedTuple


class StaleGenerationError(Exception):
    """The partitions were given away: what was computed from them must not be written any more."""


class Outgoing(NamedTuple):
    """A record to be produced to an explicit partition."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
