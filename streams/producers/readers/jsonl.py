"""Any file of events, one CloudEvents JSON object a line: sent on byte for byte, in the order of their times."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from streams.events.scalars import Channel
from streams.producers.readers.base import DataSetError, Report, Touch, bytes_of

JSONL = "jsonl"


class _Routing(msgspec.Struct):
    """The least an event must have to be sent at its time to its topic; all else is for the receiver to judge."""

    time: Annotated[datetime, msgspec.Meta(tz=True)]
    subject: str
    channel: Channel


def touches(path: Path, report: Report) -> Iterator[Touch]:
    """
    Yield the events of a file in file order; .gz is unpacked.

    A line without time, subject or channel cannot be sent: it is reported. Lines are numbered from 1.

    Raises:
        DataSetError: `path` is no file.
    """
    if not path.is_file():
        raise DataSetError(f"{JSONL}: {path} is not a file of events")
    decoder = msgspec.json.Decoder(_Routing)
    with bytes_of(path, report.dataset) as file:
        for number, line in enumerate(file, start=1):
            value = line.strip()
            if not value:
                continue
            report.rows += 1
            try:
                routing = decoder.decode(value)
            except msgspec.ValidationError as error:
                report.drop(f"cannot be sent: {error}", number)
            except (msgspec.DecodeError, UnicodeDecodeError):
                report.drop("not JSON", number)
            else:
                yield Touch(routing.time.timestamp(), routing.channel, routing.subject, value)
