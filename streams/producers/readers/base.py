"""
What every data-set reader shares: the touch it hands on, the report of what it could not use, identity, zones, files.

A reader turns rows into events and says of every row it did not use why, with the row's number.
Rows are numbered as a spreadsheet shows them: the header is row 1, the first record is row 2.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, NamedTuple, cast
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from streams.events.envelope import REGISTERED_DATA, Data, Envelope, new_event
from streams.events.scalars import Channel
from streams.events.touchpoints import load_touchpoints

_IDENTITY = UUID("6f0d3c0e-0f0b-5a3e-9c55-1d5a8f2b7c41")
_FIRST_RECORD = 2
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
class Report:
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

    def drop(self, reason: str, row: int) -> None:
        """Record that `row` (or one cell of it) made no event."""
        self.dropped.setdefault(reason, []).append(row)

    def note(self, reason: str, row: int) -> None:
        """Record that `row` was used, with the doubt that `reason` words."""
        self.noted.setdefault(reason, []).append(row)

    def lines(self, shown: int = 5) -> list[str]:
        """The report in words, one finding a line, naming the first `shown` rows of each."""
        said = [f"{self.dataset}: {self.rows:,} rows read, {self.events:,} events"]
        for verb, findings in (("left out", self.dropped), ("doubt", self.noted)):
            for reason, rows in sorted(findings.items(), key=lambda item: -len(item[1])):
                where = ", ".join(str(row) for row in rows[:shown])
                more = f" and {len(rows) - shown:,} more" if len(rows) > shown else ""
                said.append(f"{verb}: {len(rows):,} x {reason} (rows {where}{more})")
        return said


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
    events: Callable[[Path, Report], Iterator[Made]]

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
    report: Report,
    delimiter: str = ",",
) -> Iterator[tuple[int, dict[str, str]]]:
    """
    Yield (row number, record) of a delimited file in UTF-8, plain or gzipped.

    A record with too few or too many fields is reported and left out.

    Raises:
        DataSetError: The header lacks a needed column, or the bytes are not UTF-8 text or not whole gzip.
    """
    with bytes_of(path, report.dataset) as file:
        # A byte-order mark, if any, is no part of the first column's name.
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        reader = csv.reader(text, delimiter=delimiter)
        try:
            header = [name.strip() for name in next(reader, [])]
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataSetError(f"{report.dataset}: {path.name} is not a table in UTF-8: {error}") from error
        missing = [name for name in needed if name not in header]
        if missing:
            raise DataSetError(f"{report.dataset}: {path.name} has no column {', '.join(missing)}; it has {header}")
        try:
            for number, fields in enumerate(reader, start=_FIRST_RECORD):
                report.rows += 1
                if len(fields) != len(header):
                    report.drop(f"{path.name}: not {len(header)} fields", number)
                    continue
                yield number, dict(zip(header, fields, strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataSetError(f"{report.dataset}: {path.name} is not a table in UTF-8: {error}") from error


@contextmanager
def bytes_of(path: Path, dataset: str) -> Iterator[IO[bytes]]:
    """
    Open a file, unpacked when its name ends in .gz.

    Raises:
        DataSetError: It is not gzip though named so, or is cut short; also while it is being read.
    """
    try:
        with cast("IO[bytes]", gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")) as file:
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
        return datetime.strptime(text, pattern).replace(tzinfo=zone).astimezone(UTC)
    except ValueError as error:
        raise BadRowError(f"{what} is not a time") from error


def number_of(text: str, what: str, least: float = 0.0) -> float:
    """
    A finite number not below `least`.

    Raises:
        BadRowError: It is no number, not finite, or too small; names `what`.
    """
    try:
        number = float(text)
    except ValueError as error:
        raise BadRowError(f"{what} is not a number") from error
    if not least <= number < float("inf"):
        raise BadRowError(f"{what} is out of range")
    return number


def whole_of(text: str, what: str, least: int = 0, most: int = 1_000_000_000) -> int:
    """
    A whole number from `least` to `most`.

    Raises:
        BadRowError: It is none; names `what`.
    """
    try:
        number = int(text)
    except ValueError as error:
        raise BadRowError(f"{what} is not a whole number") from error
    if not least <= number <= most:
        raise BadRowError(f"{what} is out of range")
    return number
