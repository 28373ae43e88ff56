"""
What every data-set reader shares: the touch it hands on, the report of what it could not use, identity, zones, files.

A reader turns rows into events and says of every row it did not use why, with the row's number.
Rows are numbered as a spreadsheet shows them: the header is row 1, the first record is row 2.
"""

import csv
import gzip
import io
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, NamedTuple, cast
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from streams.events.envelope import REGISTERED_DATA, Data, Envelope, new_event
from streams.events.mending import what_is_seen
from streams.events.scalars import Channel
from streams.events.touchpoints import load_touchpoints

_IDENTITY = UUID("6f0d3c0e-0f0b-5a3e-9c55-1d5a8f2b7c41")
_FIRST_RECORD = 2
_GZIP = b"\x1f\x8b"
_HALVES = re.compile("[\ud800-\udfff]")
_TYPE_OF = {data: name for name, data in REGISTERED_DATA.items()}
_STAGE_OF = {name: touchpoint.stage for name, touchpoint in load_touchpoints().items()}


class DataSetError(Exception):
    """The data set as a whole cannot be read: its file is absent, or the columns are not those of this set."""


class BadRowError(ValueError):
    """One source row cannot be used; the text is the reason, worded without the row's own values."""


class Made(NamedTuple):
    """An event, and the number of the source row it was made of."""

    row: int
    event: Envelope


class Touch(NamedTuple):
    """
    One encoded event, ready to send.

    `time` is event time in unix seconds; `value` is the CloudEvents JSON; `channel` and `subject` route it.
    """

    time: float
    channel: str
    subject: str
    value: bytes


@dataclass(slots=True)
class ReadReport:
    """
    What reading a data set came to: rows read, events made, and every row that was left out or used with a doubt.

    `dropped` and `noted` map a reason to the row numbers it befell;
    a reason about a second file of the set is prefixed with that file's name.
    A row may hold several cells or lines: a number then stands once for each of them.
    """

    dataset: str
    rows: int = 0
    events: int = 0
    dropped: dict[str, list[int]] = field(default_factory=dict)
    noted: dict[str, list[int]] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    """Of reasons for which a row was dropped, what there was to say about the first."""
    nothing: str = ""
    """Why the whole made no event; empty: it did."""

    def drop(self, reason: str, row: int, example: str = "") -> None:
        """Record that `row` (or one cell of it) made no event; `example` says more about this one."""
        self.dropped.setdefault(reason, []).append(row)
        if example:
            self.examples.setdefault(reason, example)

    def note(self, reason: str, row: int) -> None:
        """Record that `row` was used, with the doubt that `reason` words."""
        self.noted.setdefault(reason, []).append(row)

    @property
    def dropped_rows(self) -> int:
        """How many rows, or cells of rows, made no event."""
        return sum(map(len, self.dropped.values()))

    def lines(self, shown: int = 5) -> list[str]:
        """The report in words, one finding a line, naming the first `shown` rows of each."""
        said = [f"{self.dataset}: {self.rows:,} rows read, {self.events:,} events"]
        for verb, findings in (("left out", self.dropped), ("doubt", self.noted)):
            for reason, rows in sorted(findings.items(), key=lambda item: -len(item[1])):
                where = ", ".join(str(row) for row in rows[:shown])
                more = f" and {len(rows) - shown:,} more" if len(rows) > shown else ""
                example = f"; the first: {self.examples[reason]}" if reason in self.examples else ""
                said.append(f"{verb}: {len(rows):,} x {reason} (rows {where}{more}){example}")
        return said

    def left_out(self, most: int = 1_000) -> list[dict[str, object]]:
        """What was dropped, as plain values: reason, number of rows, the first `most` row numbers, an example."""
        return [
            {"reason": reason, "records": len(rows), "rows": rows[:most], "example": self.examples.get(reason, "")}
            for reason, rows in sorted(self.dropped.items(), key=lambda item: -len(item[1]))
        ]


@dataclass(frozen=True, slots=True)
class DataSet:
    """
    A public data set and how it is read.

    `files` are the names it may have, best first; `folder` is its folder below a common data root.
    `events` makes the events in any order; those of one moment keep the order in which they were made.
    """

    name: str
    title: str
    folder: str
    files: tuple[str, ...]
    events: Callable[[Path, ReadReport], Iterator[Made]]

    def locate(self, path: Path) -> Path:
        """
        Find the set's (first) file: `path` is the file itself, its folder, or a root that holds the set's folder.

        Raises:
            DataSetError: None of the file names is there.
        """
        if path.is_file():
            return path
        for folder in (path, path / self.folder):
            for name in self.files:
                if (folder / name).is_file():
                    return folder / name
        raise DataSetError(
            f"{self.name}: no {' or '.join(self.files)} in {path} nor in {path / self.folder}",
        )


@dataclass(frozen=True, slots=True)
class Origin:
    """Makes the events of one data set: gives them their ids and names the set as their source."""

    dataset: str

    def made(
        self,
        row: int,
        key: Sequence[object],
        data: Data,
        at: datetime,
        *,
        subject: object,
        channel: Channel,
        touchpoint: str,
        **attributes: Any,
    ) -> Made:
        """
        An event at `at` about `subject`, who is known only by that key and only within this set.

        `key` is natural: it tells this event from all others of its type in the set.
        Attributes that are empty or None are left out.

        Raises:
            KeyError: The touchpoint is not in the dictionary, which also gives the stage.
        """
        return Made(
            row,
            new_event(
                data,
                id=event_id(self.dataset, _TYPE_OF[type(data)], *key),
                source=f"/datasets/{self.dataset}",
                time=at,
                subject=f"{self.dataset}-{subject}",
                channel=channel,
                touchpoint=touchpoint,
                stage=_STAGE_OF[touchpoint],
                **{name: value for name, value in attributes.items() if value not in ("", None)},
            ),
        )


def event_id(dataset: str, *key: object) -> str:
    """The identity of an event: the same natural key gives the same id in every run, so a replay is a duplicate."""
    return str(uuid5(_IDENTITY, "\x1f".join((dataset, *map(str, key)))))


def spread(dataset: str, *key: object) -> float:
    """A number in [0, 1) that only the key decides, to spread imputed times evenly and always alike."""
    digest = blake2b("\x1f".join((dataset, *map(str, key))).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big") / 256**7


def rows_of(
    path: Path,
    needed: Sequence[str],
    report: ReadReport,
    delimiter: str = ",",
) -> Iterator[tuple[int, dict[str, str]]]:
    """
    Yield (row number, record) of a delimited file in UTF-8, plain or gzipped.

    A record is reported and left out if it has too few or too many fields, one that is too long, or bytes that are not
    UTF-8. One whose quote never closes costs its own line only, not all that come after it.

    Raises:
        DataSetError: The header lacks a needed column or is not UTF-8, or the bytes are not whole gzip.
    """
    with bytes_of(path, report.dataset) as file:
        # A byte-order mark, if any, is no part of the first column's name; what is not UTF-8 is found row by row.
        table = _Table(io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline=""), delimiter)
        header = [what_is_seen(name).strip() for name in table.header()]
        if not _is_text(header):
            raise DataSetError(f"{report.dataset}: {path.name} is not a table in UTF-8")
        missing = [name for name in needed if name not in header]
        if missing:
            raise DataSetError(f"{report.dataset}: {path.name} has no column {', '.join(missing)}; it has {header}")
        for number, fields in enumerate(table.records(len(header)), start=_FIRST_RECORD):
            report.rows += 1
            if isinstance(fields, str):
                report.drop(f"{path.name}: {fields}", number)
            elif not _is_text(fields):
                report.drop(f"{path.name}: not_utf8: the row is not UTF-8", number)
            else:
                yield number, dict(zip(header, fields, strict=True))


class _Table:
    """Delimited text, record by record, in which no record can take others with it."""

    def __init__(self, lines: Iterator[str], delimiter: str) -> None:
        self._lines = lines
        self._delimiter = delimiter
        self._again: deque[str] = deque()
        self._taken: list[str] = []

    def header(self) -> list[str]:
        """Return the names of the columns; none of an empty file."""
        return next(csv.reader(self._feed(), delimiter=self._delimiter), [])

    def records(self, width: int) -> Iterator[list[str] | str]:
        """Yield the fields of each record, or why it has not `width` of them."""
        reader = csv.reader(self._feed(), delimiter=self._delimiter)
        while True:
            self._taken.clear()
            try:
                fields: list[str] | str = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                fields = f"too_large: {error}" if "limit" in str(error) else f"not a row: {error}"
            if isinstance(fields, list) and len(fields) != width:
                fields = f"not {width} fields"
            if isinstance(fields, str) and len(self._taken) > 1:
                # A quote that does not close, or closes in another record: only its first line is lost.
                self._again.extendleft(reversed(self._taken[1:]))
                reader = csv.reader(self._feed(), delimiter=self._delimiter)
            yield fields

    def _feed(self) -> Iterator[str]:
        while (line := self._again.popleft() if self._again else next(self._lines, None)) is not None:
            self._taken.append(line)
            yield line


def _is_text(fields: Iterable[str]) -> bool:
    """Return whether all bytes were UTF-8: what is not was read as halves of surrogate pairs."""
    return all(field.isascii() or not _HALVES.search(field) for field in fields)


@contextmanager
def bytes_of(path: Path, dataset: str) -> Iterator[IO[bytes]]:
    """
    Open a file, unpacked when it is gzip, or its name says so.

    Raises:
        DataSetError: It is not gzip though named so, or is cut short; also while it is being read.
    """
    try:
        with path.open("rb") as raw:
            packed = path.suffix == ".gz" or raw.read(2) == _GZIP
        with cast("IO[bytes]", gzip.open(path, "rb") if packed else path.open("rb")) as file:
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataSetError(f"{dataset}: {path.name} is not a whole gzip file: {error}") from error


def local_time(text: str, zone: ZoneInfo, what: str, pattern: str = "%Y-%m-%d %H:%M:%S") -> datetime:
    """
    A wall-clock time of `zone`, as UTC.

    An hour that the clocks repeat is taken as the first of the two; one they skip, as if they had not been moved.

    Raises:
        BadRowError: The text is not a time in `pattern`; names `what`.
    """
    try:
        return datetime.strptime(what_is_seen(text), pattern).replace(tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadRowError(f"{what} is not a time") from error


def number_of(text: str, what: str, least: float = 0.0, most: float = 1e12) -> float:
    """
    A number from `least` to `most`.

    Raises:
        BadRowError: It is no number, or out of range; names `what`.
    """
    try:
        number = float(what_is_seen(text))
    except ValueError as error:
        raise BadRowError(f"{what} is not a number") from error
    if not least <= number <= most:
        raise BadRowError(f"{what} is out of range")
    return number


def whole_of(text: str, what: str, least: int = 0, most: int = 1_000_000_000) -> int:
    """
    A whole number from `least` to `most`.

    Raises:
        BadRowError: It is none; names `what`.
    """
    try:
        number = int(what_is_seen(text))
    except ValueError as error:
        raise BadRowError(f"{what} is not a whole number") from error
    if not least <= number <= most:
        raise BadRowError(f"{what} is out of range")
    return number
