"""
Events as the workers read them, for rows that ClickHouse cannot read from the payload.

Every column is given, so that the server reads nothing: neither what a payload holds nor what it costs matters then.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from streams.events.decode import decode_stored
from streams.events.refusal import Refusal
from streams.events.types import Envelope
from streams.storage.native import Column, numbers, repeated, string, strings, texts
from streams.storage.rows import COUNTED, LATE, Events, unpack_events

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_TEXTS: Final = (
    "id", "source", "subject", "channel", "touchpoint", "stage", "sessionid", "journeyid", "orderid", "contactid",
    "unitid", "agentid", "segment", "region", "experiment", "variant", "traceid",
)  # fmt: skip


class StoredRecord(NamedTuple):
    """One stored record: where it stands, what was sent, and whether it came too late for the KPIs."""

    offset: int
    payload: bytes
    late: bool

    @property
    def outcome(self) -> str:
        """What became of it: `counted` or `late`."""
        return "late" if self.late else "counted"


def rows_of(events: Events) -> list[StoredRecord]:
    """Return the records of packed events."""
    offsets, payloads, late = unpack_events(events)
    known = frozenset(late)
    return [StoredRecord(offset, payload, offset in known) for offset, payload in zip(offsets, payloads, strict=True)]


def plain_columns(topic: str, partition: int, rows: Sequence[StoredRecord]) -> list[Column] | None:
    """Give the columns of `events`, those too that are else read from payloads; None if a row is no event any more."""
    events = [decode_stored(row.payload) for row in rows]
    good = [event for event in events if not isinstance(event, Refusal)]
    if len(good) < len(events):
        return None
    return [
        Column("topic", "String", repeated(string(topic.encode()), len(rows))),
        Column("partition", "UInt32", repeated(partition.to_bytes(4, "little"), len(rows))),
        Column("offset", "UInt64", numbers((row.offset for row in rows), "<u8")),
        Column(
            "outcome",
            "Enum8('counted' = 1, 'late' = 2)",
            b"".join(LATE if row.late else COUNTED for row in rows),
        ),
        Column("payload", "String", strings([row.payload for row in rows])),
        Column("type", "String", texts(event.type for event in good)),
        *(Column(name, "String", texts(getattr(event, name) or "" for event in good)) for name in _TEXTS),
        Column(
            "time", "DateTime64(3, 'UTC')", numbers(((event.time - _EPOCH) // _MILLISECOND for event in good), "<i8")
        ),
        Column("synthetic", "Bool", bytes(event.synthetic for event in good)),
        Column("timeimputed", "Bool", bytes(event.timeimputed for event in good)),
        Column("data", "String", strings([msgspec.json.encode(event.data) for event in good])),
        Column("score", "Nullable(Int16)", _optional_shorts(map(_score, good))),
    ]


def _score(event: Envelope) -> int | None:
    score: Any = getattr(event.data, "score", None)
    return score if isinstance(score, int) else None


def _optional_shorts(values: Iterable[int | None]) -> bytes:
    found = list(values)
    return bytes(value is None for value in found) + numbers((value or 0 for value in found), "<i2")
