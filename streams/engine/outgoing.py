"""Records on their way to the broker, and the refusal to send what belongs to a past assignment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aiokafka.errors import KafkaError


class StaleGenerationError(Exception):
    """The partitions were given away: what was computed from them must not be written any more."""


class StateLostError(Exception):
    """A changelog lacks what it held: whoever went on would count again, or from nothing."""


class LeaseLostError(KafkaError):  # type: ignore[misc]
    """A record was still on its way when the membership ended: it was not sent, and must not be."""


class Outgoing(NamedTuple):
    """A record to be produced to an explicit partition."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] | None = None
