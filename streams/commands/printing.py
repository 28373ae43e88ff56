"""
The one way to the terminal and to the log.

Nothing gets there raw: records, labels and names are made by whoever may send an event. Nothing dies on the way:
what the encoding lacks is escaped. Imported by all commands and before them, so it imports next to nothing.
"""

import io
import logging
import os
import shutil
import sys
from typing import Any

from streams.events.visible import ENCODING_ERRORS, visible, visible_line


def echo(text: object = "", *, err: bool = False) -> None:
    """Print to stdout, or to stderr; whatever a terminal would obey or not show is escaped."""
    print(visible(str(text)), file=sys.stderr if err else sys.stdout, flush=True)


def line(text: str, *, err: bool = False) -> None:
    """Print one line, and no more than one whatever a name in it holds: line breaks are escaped, too."""
    print(visible_line(text), file=sys.stderr if err else sys.stdout, flush=True)


def room() -> int | None:
    """Return the columns of the terminal; None where there is none, and nothing needs to fit."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def write_what_encodings_lack() -> None:
    """Let output go on where its encoding lacks a character, which stands there as an escape that JSON knows."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ENCODING_ERRORS)


def give_up_output() -> None:
    """Let what could not be written to stdout go, so that the end of the program does not fail of it once more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def log_to_stderr(level: str) -> None:
    """Log from `level` on, one line per message whatever it holds; only tracebacks have more."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


class _OneLine(logging.Formatter):
    """Escapes the line breaks of messages, so that none can forge the next one, and what terminals obey."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        record.message = visible_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return visible(super().formatException(ei))
