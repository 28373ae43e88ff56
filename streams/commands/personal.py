"""`cx doctor --personal-data`: a look for personal data in clear, in tables, topics of ours, and files."""

import base64
import binascii
import codecs
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Final

import click

from streams.agents.records import decode_block
from streams.commands.output import plain_errors, print_json, table
from streams.commands.printing import echo
from streams.engine.names import TABLES, Topics
from streams.engine.reading import read_topics
from streams.local.admin import admin_of
from streams.privacy.scan import Planted, Scan, as_record, fields_of
from streams.producers.readers.base import DataSetError, bytes_of
from streams.secured.protection import recognition_of
from streams.settings import Settings
from streams.storage.connection import FAILURES, connect, explain
from streams.storage.personal import text_columns, text_rows
from streams.storage.rows import unpack_events

_PROGRESS_S: Final = 2.0
_LINES: Final = 1_000
_UTF_16: Final = frozenset({codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE})


class _Everywhere:
    """One scan of everything, and how far it is."""

    def __init__(self, settings: Settings, scan: Scan, *, quiet: bool) -> None:
        self._settings = settings
        self._scan = scan
        self._quiet = quiet
        self._reported = time.monotonic()
        self.looked_in: dict[str, int] = {}
        """Tables, topics and files, with their rows, records or lines."""

    def tables(self) -> None:
        """Look at every column of text of every table."""
        with closing(connect(admin_of(self._settings), timeout_s=3_600.0)) as client:
            try:
                for name, columns in text_columns(client).items():
                    self._reached(f"table {name}", 0)
                    for rows in text_rows(client, name, columns):
                        self._see(f"table {name}", rows)
            except FAILURES as error:
                raise explain(error, "looking for personal data") from error

    def topics(self) -> None:
        """Look at every record of topics of ours; what producers have sent is in other topics."""
        topics = Topics(self._settings.topic_prefix)
        openers: dict[str, Callable[[bytes], Any]] = {topics.blocks: _block, topics.dead_letters: _dead_letter}
        ours = [
            topics.derived, topics.facts, topics.case_facts, topics.cases, topics.partials, topics.blocks, topics.kpis,
            topics.alerts, topics.notifications, topics.control, topics.dead_letters,
            *(f"{self._settings.app_id}-{name}-changelog" for name in TABLES),
        ]  # fmt: skip

        def see(topic: str, records: Sequence[tuple[bytes, bytes]]) -> None:
            opened = openers.get(topic, fields_of)
            self._see(
                f"topic {topic}",
                [as_record({"key": fields_of(key), "value": opened(value)}) for key, value in records],
            )

        for topic in read_topics(self._settings, ours, see):
            self._reached(f"topic {topic}", 0)

    def file(self, path: Path) -> None:
        """Look at every line of a file."""
        self._reached(f"file {path}", 0)
        try:
            with opened(path) as file:
                for lines in _some(file):
                    self._see(f"file {path}", [as_record({"line": line}) for line in lines])
        except OSError as error:
            raise click.UsageError(f"{path} cannot be read: {error.strerror or error}") from error
        except DataSetError as error:
            raise click.UsageError(str(error)) from error

    def _see(self, where: str, records: Sequence[bytes]) -> None:
        self._scan.look(where, records)
        self._reached(where, len(records))

    def _reached(self, where: str, number: int) -> None:
        self.looked_in[where] = self.looked_in.get(where, 0) + number
        if not self._quiet and time.monotonic() - self._reported > _PROGRESS_S:
            self._reported = time.monotonic()
            echo(f"{where}: {self.looked_in[where]:,} records", err=True)


@plain_errors
def look_for_personal_data(settings: Settings, planted: Path | None, files: Sequence[Path], *, as_json: bool) -> None:
    """Look everywhere, print what was found, and exit: 0 nothing is in clear, 1 something is."""
    scan = Scan(recognition_of(settings), Planted(_lines_of(planted) if planted else ()))
    look = _Everywhere(settings, scan, quiet=as_json)
    look.tables()
    look.topics()
    for path in files:
        look.file(path)
    findings, records = scan.findings, sum(look.looked_in.values())
    if as_json:
        print_json({
            "ok": not findings,
            "looked_in": look.looked_in,
            "found": [one._asdict() for one in findings],
        })  # fmt: skip
    elif findings:
        rows = [(one.where, one.field, one.kind, f"{one.records:,}") for one in findings]
        echo(table(("in clear in", "field", "kind", "records"), rows))
    else:
        echo(f"no personal data in clear in {records:,} records of {len(look.looked_in)} tables, topics and files")
    sys.exit(1 if findings else 0)


def _block(value: bytes) -> Any:
    block = decode_block(value)
    return {
        "payload": [payload.decode("utf-8", "replace") for payload in unpack_events(block.events)[1]],
        "dead": [
            {"payload": dead.payload.decode("utf-8", "replace"), "got": dead.got, "message": dead.message,
             "path": dead.path}
            for dead in block.dead
        ],
    }  # fmt: skip


def _dead_letter(value: bytes) -> Any:
    fields = fields_of(value)
    try:
        return {**fields, "payload": base64.b64decode(fields["payload"]).decode("utf-8", "replace")}
    except (TypeError, KeyError, binascii.Error):
        return fields


def _lines_of(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path} cannot be read: {error}") from error


@contextmanager
def opened(path: Path) -> Iterator[IO[str]]:
    """Open a text file, also one that is packed, in UTF-16 or behind a byte order mark: none of these hides a line."""
    with bytes_of(path, "file") as file:
        encoding = "utf-16" if file.read(2) in _UTF_16 else "utf-8-sig"
        file.seek(0)
        yield io.TextIOWrapper(file, encoding=encoding, errors="replace")


def _some(lines: Iterator[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for line in lines:
        part.append(line.rstrip("\n"))
        if len(part) >= _LINES:
            yield part
            part = []
    yield part
