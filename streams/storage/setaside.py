"""Rows that ClickHouse refuses for good, as dead letters: with its words, and with what verifying needs of them."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from streams import __version__
from streams.events.decode import decode_stored, encode
from streams.events.refusal import Refusal
from streams.storage.native import Column, numbers, repeated, string, strings, texts

REASON: Final = "refused_by_store"
EXPECTED: Final = "a row that ClickHouse takes"

_OUTCOMES: Final = {"bad": 0, "counted": 1, "late": 2, "none": 3}


class SetAside(NamedTuple):
    """
    One row that is refused, and why.

    Attributes:
        topic: Topic of the record, or the table of a row that is none of `events`.
        partition: Partition of the record.
        offset: Its offset, or a number that names the row.
        outcome: What became of the record before: `counted` or `late`; `none` for a row of another table.
        payload: The record as it was sent, or the row as JSON.
        said: The server's words.
        at: When it was set aside, Unix seconds.
    """

    topic: str
    partition: int
    offset: int
    outcome: str
    payload: bytes
    said: str
    at: float

    @property
    def table(self) -> str:
        """The table that does not take it."""
        return self.topic if self.outcome == "none" else "events"

    @property
    def message(self) -> str:
        """The explanation for people."""
        what = "the event is counted, but its row" if self.outcome in {"counted", "late"} else "a row"
        return f"{what} is refused by ClickHouse: {self.said}"

    @property
    def got(self) -> str:
        """What was refused, in short."""
        return f"{len(self.payload)} bytes"


def row_set_aside(table: str, row: Sequence[Any], said: str, at: float) -> SetAside:
    """Return the dead letter of a row of another table than `events`."""
    payload = msgspec.json.encode(row, enc_hook=str)
    name = int.from_bytes(hashlib.blake2b(payload, digest_size=7).digest())
    return SetAside(table, 0, name, "none", payload, said, at)


def set_aside_columns(letters: Sequence[SetAside]) -> list[Column]:
    """Return the columns of `dead_letters`. They are counted by no KPI of refused records: they had been accepted."""
    rows = len(letters)
    return [
        Column("topic", "String", texts(letter.topic for letter in letters)),
        Column("partition", "UInt32", numbers((letter.partition for letter in letters), "<u4")),
        Column("offset", "UInt64", numbers((letter.offset for letter in letters), "<u8")),
        Column("reason", "String", repeated(string(REASON.encode()), rows)),
        Column("got", "String", texts(letter.got for letter in letters)),
        Column("expected", "String", repeated(string(EXPECTED.encode()), rows)),
        Column("message", "String", texts(letter.message for letter in letters)),
        Column("payload", "String", strings([letter.payload for letter in letters])),
        Column("code_version", "String", repeated(string(__version__.encode()), rows)),
        Column("at", "DateTime64(3, 'UTC')", numbers((round(letter.at * 1000) for letter in letters), "<i8")),
        Column(
            "outcome",
            "Enum8('bad' = 0, 'counted' = 1, 'late' = 2, 'none' = 3)",
            bytes(_OUTCOMES[letter.outcome] for letter in letters),
        ),
        Column("reading", "String", strings([_reading(letter) for letter in letters])),
    ]


def _reading(letter: SetAside) -> bytes:
    """Write an event anew with what its type knows alone, short and flat; empty for what is none."""
    event = decode_stored(letter.payload) if letter.outcome in {"counted", "late"} else None
    return b"" if event is None or isinstance(event, Refusal) else encode(event)
