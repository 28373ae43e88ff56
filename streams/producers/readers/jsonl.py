"""Any file of events, one CloudEvents JSON object a line: sent on byte for byte, in the order of their times."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, Final

import msgspec

from streams.events.foreign import looks_like
from streams.events.mending import mend, without_byte_order_mark
from streams.events.refusal import Refusal, explain
from streams.events.scalars import Channel
from streams.producers.client import MAX_EVENT_BYTES
from streams.producers.readers.base import DataSetError, ReadReport, Touch, bytes_of

JSONL = "jsonl"

_WIDE: Final = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
"""How texts in UTF-16 and UTF-32 begin."""


class _Routing(msgspec.Struct):
    """The least an event must have to be sent at its time to its topic; all else is for the receiver to judge."""

    time: Annotated[datetime, msgspec.Meta(tz=True)]
    subject: str
    channel: Channel


_AN_ARRAY: Final = "seems to be a JSON array, expected one JSON object per line; `jq -c '.[]'` writes it so"
_routing: Final = msgspec.json.Decoder(_Routing).decode


def touches(path: Path, report: ReadReport) -> Iterator[Touch]:
    """
    Yield the events of a file in file order; gzip is unpacked.

    A line that cannot be sent is reported, in the words in which its dead letter would say it. Lines are numbered from
    1. A byte order mark, and what else is mended when events are taken in, is mended here and noted.

    Raises:
        DataSetError: `path` is no file, is UTF-16 or UTF-32, or is a JSON array over several lines.
    """
    if not path.is_file():
        raise DataSetError(f"{JSONL}: {path} is not a file of events")
    first = b""
    sent = 0
    with bytes_of(path, report.dataset) as file:
        for number, line in _lines(file):
            if number == 1 and line.startswith(_WIDE):
                found_in = looks_like(line).partition(":")[0]
                raise DataSetError(f"{JSONL}: {path.name} is {found_in}, expected UTF-8: save it as such")
            value = (without_byte_order_mark(line) if number == 1 else line).strip()
            if not value:
                continue
            if not first and _opens_array(value):
                raise DataSetError(f"{JSONL}: {path.name} {_AN_ARRAY}")
            report.rows += 1
            first = first or value
            found = _too_large(value) or _touch(value, number, report)
            if isinstance(found, Touch):
                sent += 1
                yield found
            else:
                where = found.path or "the record"
                report.drop(f"{found.reason}: {where}, expected {found.expected}", number, found.message)
    if not sent:
        report.nothing = _why_nothing(path, first)


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Number the lines, and read no more of one than shows that it is too long."""
    number = 0
    while line := file.readline(MAX_EVENT_BYTES + 2):
        number += 1
        rest = line
        while not rest.endswith(b"\n") and (rest := file.readline(MAX_EVENT_BYTES)):
            pass
        yield number, line


def _opens_array(value: bytes) -> bool:
    """Return whether a line is the beginning of an array that goes on: of its events only some would be lines."""
    if not value.startswith(b"[") or len(value) > MAX_EVENT_BYTES:
        return False
    try:
        msgspec.json.decode(value)
    except (msgspec.ValidationError, RecursionError):
        return False
    except (msgspec.DecodeError, UnicodeDecodeError):
        return value == b"[" or value[1:].lstrip().startswith(b"{")
    return False


def _too_large(value: bytes) -> Refusal | None:
    if len(value) <= MAX_EVENT_BYTES:
        return None
    got = f"more than {MAX_EVENT_BYTES} bytes"
    return Refusal(0, "too_large", "", got, f"at most {MAX_EVENT_BYTES} bytes", f"the event has {got}")


def _touch(value: bytes, number: int, report: ReadReport) -> Touch | Refusal:
    try:
        routing = _routing(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        mended = mend(value)
        if mended is None:
            return explain(0, value)
        try:
            routing = _routing(mended.value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return explain(0, mended.value)
        value = mended.value
        for kind in sorted(mended.kinds):
            report.note(f"{kind} mended", number)
    try:
        at = routing.time.astimezone(UTC).timestamp()
        datetime.fromtimestamp(at, UTC)
    except (OverflowError, ValueError):
        got = routing.time.isoformat()
        expected = "a time in the years 1 to 9999 of UTC"
        return Refusal(0, "bad_time", "time", got, expected, f"time is {got}, expected {expected}")
    return Touch(at, routing.channel, routing.subject, value)


def _why_nothing(path: Path, first: bytes) -> str:
    """Say what a file seems to be that holds no event."""
    if not first:
        return f"{path.name} is empty"
    expected = "expected one JSON object per line"
    if first.startswith(b"["):
        return f"{path.name} holds no event: it {_AN_ARRAY}"
    if first.startswith(b"{"):
        return f"{path.name} holds no event that can be sent, {expected}, with time, subject and channel"
    if words := looks_like(first).partition(":")[0]:
        return f"{path.name} holds no event: it looks like {words}, {expected}"
    return f"{path.name} holds no event: it does not begin with an object, as a table (CSV) does not; {expected}"
