"""What the store is given, and how it is laid out in columns."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Final, NamedTuple, TypeAlias

import cramjam
import msgspec
import numpy as np

from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.folding.ranges import RangeTimes
from streams.kpis.language.definition import Kpi
from streams.kpis.language.series import parse_series
from streams.kpis.language.void import reason_of
from streams.storage.native import (
    Column,
    ends,
    native_block,
    numbers,
    optional_floats,
    repeated,
    split_strings,
    string,
    string_parts,
    strings,
    texts,
    wide_numbers,
)

COUNTED, LATE = b"\x01", b"\x02"

_LEVEL: Final = 1
_UNTIMED: Final = RangeTimes()
_TIME: Final = "DateTime64(3, 'UTC')"
_BEFORE_OFFSETS: Final = string(b"offset") + string(b"UInt64")
_BEFORE_OUTCOMES: Final = string(b"outcome") + string(b"Enum8('counted' = 1, 'late' = 2)")
_BEFORE_PAYLOADS: Final = string(b"payload") + string(b"String")

MinuteRow: TypeAlias = tuple[str, int, int, Acc, int]
"""Series key, minute (Unix seconds // 60), part, accumulator, revision."""


class DeadLetter(NamedTuple):
    """One refused record."""

    offset: int
    reason: str
    path: str
    got: str
    expected: str
    message: str
    payload: bytes
    at: float
    """When it was refused, Unix seconds."""


class Balance(NamedTuple):
    """Records of a range by outcome; `read` is the sum of the others."""

    read: int
    counted: int
    duplicate: int
    late: int
    bad: int
    conflict: int = 0


class Events(msgspec.Struct, frozen=True, array_like=True):
    """
    Stored records of a source as the rows of `events` that are sent: a zstd frame of one block in Native format.

    Packed once, where they were taken in. From there on nobody looks inside, and several in a row are one insert.
    """

    rows: int = 0
    late: int = 0
    """Those that came too late for the KPIs."""
    size: int = 0
    """Bytes of all payloads."""
    frame: bytes = b""
    alike: bool = False
    """Whether every reader of JSON is known to read each of them alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """
    One range of records of a source, first to last included, and what became of each.

    Attributes:
        events: The stored records, the counted and the late.
        balance: What became of all its records, when some are left out here because they are stored already.
        times: When it was.
    """

    topic: str
    partition: int
    first: int
    last: int
    events: Events
    dead_letters: Sequence[DeadLetter] = ()
    duplicates: int = 0
    balance: Balance | None = None
    code_version: str = ""
    times: RangeTimes = _UNTIMED

    @property
    def token(self) -> str:
        """Names the range: the same range has the same token, any other another."""
        return f"{self.topic}-{self.partition}-{self.first}-{self.last}"


class ValueRow(NamedTuple):
    """One rolling value as published; `at` is the end of its window in Unix seconds."""

    series: str
    window: str
    stat: str
    at: int
    value: float | None
    n: int
    lo: float | None
    hi: float | None
    definition: str
    closed: bool
    revision: int


EVENT_COLUMNS: Final = ("offset", "outcome", "payload", "unambiguous", "topic", "partition")
"""Columns of `events` that are sent; the server reads the others from the payload."""

ALIKE_COLUMNS: Final = (*EVENT_COLUMNS, "reread")
"""The same of events that all readers of JSON read alike: of what it must read anew the server is sent nothing."""

ALIKE_SETTINGS: Final = {"input_format_defaults_for_omitted_fields": 0}
"""By which a column that is named, but in no block, is empty, and no default expression of it is worked out."""

_WORTH_ANOTHER: Final = 25_000
"""Rows that cost more to look through for what readers differ in than one more insert of few others does."""


def pack_events(
    topic: str,
    partition: int,
    offsets: Sequence[int],
    payloads: Sequence[bytes],
    late_offsets: Collection[int] = (),
    unambiguous: bytes = b"",
) -> Events:
    """
    Pack stored records, given with their offsets.

    Args:
        topic: Topic of their source.
        partition: Partition of their source.
        offsets: Where they stand.
        payloads: The records.
        late_offsets: Those that came too late for the KPIs.
        unambiguous: Of each 1 if every reader of JSON reads it alike, so that the server need not look; empty: unknown.
    """
    rows = len(payloads)
    if not rows:
        return Events()
    late = frozenset(late_offsets)
    outcomes = b"".join(LATE if offset in late else COUNTED for offset in offsets) if late else COUNTED * rows
    data = native_block(
        rows,
        [
            Column("offset", "UInt64", numbers(offsets, "<u8")),
            Column("outcome", "Enum8('counted' = 1, 'late' = 2)", outcomes),
            Column("payload", "String", string_parts(payloads)),
            Column("unambiguous", "Bool", unambiguous or bytes(rows)),
            Column("topic", "String", repeated(string(topic.encode()), rows)),
            Column("partition", "UInt32", repeated(partition.to_bytes(4, "little"), rows)),
        ],
    )
    frame = bytes(cramjam.zstd.compress(data, _LEVEL))
    return Events(rows, len(late), sum(map(len, payloads)), frame, bool(unambiguous) and 0 not in unambiguous)


def in_inserts(events: Sequence[Events]) -> tuple[list[bytes], list[bytes]]:
    """Return the frames that are inserted by `ALIKE_COLUMNS`, and those that are not."""
    alike = [one for one in events if one.alike]
    others = [one.frame for one in events if one.rows and not one.alike]
    if others and sum(one.rows for one in alike) < _WORTH_ANOTHER:
        return [], [one.frame for one in events if one.rows]
    return [one.frame for one in alike], others


def unpack_events(events: Events) -> tuple[list[int], list[bytes], list[int]]:
    """Return offsets, payloads and late offsets of packed records."""
    rows = events.rows
    if not rows:
        return [], [], []
    data = bytes(cramjam.zstd.decompress(events.frame))
    at = data.index(_BEFORE_OFFSETS) + len(_BEFORE_OFFSETS)
    offsets = np.frombuffer(data, "<u8", rows, at).tolist()
    at = data.index(_BEFORE_OUTCOMES, at + 8 * rows) + len(_BEFORE_OUTCOMES)
    late = [offset for offset, outcome in zip(offsets, data[at : at + rows], strict=True) if outcome == LATE[0]]
    at = data.index(_BEFORE_PAYLOADS, at + rows) + len(_BEFORE_PAYLOADS)
    return offsets, split_strings(data, at, rows), late


def _source_columns(blocks: Sequence[Block], rows: Sequence[int]) -> list[Column]:
    topics = (repeated(string(block.topic.encode()), n) for block, n in zip(blocks, rows, strict=True))
    partitions = (repeated(block.partition.to_bytes(4, "little"), n) for block, n in zip(blocks, rows, strict=True))
    return [Column("topic", "String", b"".join(topics)), Column("partition", "UInt32", b"".join(partitions))]


def dead_letter_columns(blocks: Sequence[Block]) -> tuple[int, list[Column]]:
    """Return the rows and columns of `dead_letters`."""
    letters = [letter for block in blocks for letter in block.dead_letters]
    versions = (repeated(string(block.code_version.encode()), len(block.dead_letters)) for block in blocks)
    counted = (repeated(numbers([block.times.counted], "<i8"), len(block.dead_letters)) for block in blocks)
    words = ("reason", "path", "got", "expected", "message")
    return len(letters), [
        *_source_columns(blocks, [len(block.dead_letters) for block in blocks]),
        Column("offset", "UInt64", numbers((letter.offset for letter in letters), "<u8")),
        *(Column(word, "String", texts(getattr(letter, word) for letter in letters)) for word in words),
        Column("payload", "String", strings([letter.payload for letter in letters])),
        Column("code_version", "String", b"".join(versions)),
        Column("at", _TIME, numbers((round(letter.at * 1000) for letter in letters), "<i8")),
        Column("counted_at", _TIME, b"".join(counted)),
    ]


def outcome_columns(blocks: Sequence[Block]) -> tuple[int, list[Column]]:
    """Return the rows and columns of `outcomes`: the balance of each block, and when it was."""
    names = ("first", "last", *Balance._fields)
    rows = [(block.first, block.last, *(block.balance or _balance(block))) for block in blocks]
    return len(rows), [
        *_source_columns(blocks, [1] * len(blocks)),
        *(
            Column(name, "UInt64", numbers(column, "<u8"))
            for name, column in zip(names, zip(*rows, strict=True), strict=True)
        ),
        *(
            Column(f"{name}_at", _TIME, numbers(column, "<i8"))
            for name, column in zip(
                RangeTimes._fields, zip(*(block.times for block in blocks), strict=True), strict=True
            )
        ),
    ]


def _balance(block: Block) -> Balance:
    stored, late, letters = block.events.rows, block.events.late, len(block.dead_letters)
    conflicts = sum(letter.reason == "conflict" for letter in block.dead_letters)
    read = stored + letters + block.duplicates
    return Balance(read, stored - late, block.duplicates, late, letters - conflicts, conflicts)


class _Encoded(NamedTuple):
    """A series key as columns want it."""

    kpi: bytes
    labels: int
    names: bytes
    values: bytes


@lru_cache(maxsize=1 << 17)
def _encoded(series: str) -> _Encoded:
    kpi, labels = parse_series(series)
    names, values = (texts(part) for part in zip(*labels, strict=True)) if labels else (b"", b"")
    return _Encoded(string(kpi.encode()), len(labels), names, values)


def _series_columns(series: Iterable[str]) -> list[Column]:
    parts = [_encoded(key) for key in series]
    maps = (ends(p.labels for p in parts), *(p.names for p in parts), *(p.values for p in parts))
    return [
        Column("kpi", "String", b"".join([p.kpi for p in parts])),
        Column("labels", "Map(String, String)", b"".join(maps)),
    ]


def minute_columns(rows: Sequence[MinuteRow]) -> list[Column]:
    """Return the columns of `kpi_minutes`: series, minute (Unix seconds // 60), part, accumulator, revision."""
    series, minutes, parts, accs, revisions = zip(*rows, strict=True)
    flat = [acc if isinstance(acc, list) else () for acc in accs]
    binned = [acc if isinstance(acc, dict) else {} for acc in accs]
    indexes = numbers(chain.from_iterable(binned), "<i4")
    # What is withdrawn may be subtracted in another part than that which holds it: sums of unsigned numbers wrap round.
    counts = numbers(chain.from_iterable(bins.values() for bins in binned), "<i8")
    return [
        *_series_columns(series),
        Column("minute", "DateTime('UTC')", numbers((60 * minute for minute in minutes), "<u4")),
        Column("part", "UInt64", numbers(parts, "<u8")),
        Column("revision", "UInt64", numbers(revisions, "<u8")),
        Column("fields", "Array(Int128)", ends(map(len, flat)) + wide_numbers(list(chain.from_iterable(flat)))),
        Column("bins", "Map(Int32, UInt64)", ends(map(len, binned)) + indexes + counts),
    ]


def value_columns(rows: Sequence[ValueRow]) -> list[Column]:
    """Return the columns of `kpi_values`."""
    series, windows, stats, ats, values, ns, los, his, definitions, closed, revisions = zip(*rows, strict=True)
    return [
        *_series_columns(series),
        Column("window", "String", texts(windows)),
        Column("stat", "String", texts(stats)),
        Column("at", "DateTime('UTC')", numbers(ats, "<u4")),
        Column("value", "Nullable(Float64)", optional_floats(values)),
        Column("n", "UInt64", numbers(ns, "<u8")),
        Column("lo", "Nullable(Float64)", optional_floats(los)),
        Column("hi", "Nullable(Float64)", optional_floats(his)),
        Column("definition", "String", texts(definitions)),
        Column("maturity", "Enum8('open' = 1, 'closed' = 2)", bytes(2 if value else 1 for value in closed)),
        Column("revision", "UInt64", numbers(revisions, "<u8")),
    ]


KPI_COLUMNS: Final = (
    "id", "name", "name_fa", "question", "unit", "direction", "class", "aggregator", "formula", "source", "owner",
    "groupings", "min_n_show", "min_n_colour", "min_n_alert", "target", "maturity", "scale", "low", "high",
    "quantiles", "definition", "void",
)  # fmt: skip


def kpi_row(kpi: Kpi) -> list[Any]:
    """Return the row of `kpis`, in the order of `KPI_COLUMNS`."""
    return [
        kpi.id, kpi.name, kpi.name_fa, kpi.question, kpi.unit, kpi.direction, kpi.class_, kpi.aggregator,
        kpi.formula, kpi.source, kpi.owner, [list(grouping) for grouping in kpi.groupings], kpi.min_n.show,
        kpi.min_n.colour, kpi.min_n.alert, kpi.target, kpi.maturity, kpi.scale, *kpi.within, list(kpi.quantiles),
        kpi.definition_id, reason_of(kpi),
    ]  # fmt: skip
