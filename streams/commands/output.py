"""How commands print: the same table, the same JSON, the same end for errors of the services they use."""

import functools
import json
import re
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
from rich.cells import cell_len

from streams.commands.printing import echo, room
from streams.events.visible import visible_line
from streams.shipped import CLONE, INSTALLED

P = ParamSpec("P")
T = TypeVar("T")

FOUND = 3
"""Exit code of a command that did what it was to do, and found what is not as it should be: see docs/OPERATIONS.md."""
SHORTEST = 12
"""Columns to which a text is cut at most."""
_PLAIN = r"[-+−]?[\d.,]*\s?(?:%|s|M|bn)?"
_NUMBER = re.compile(
    rf"{_PLAIN}|{_PLAIN} to {_PLAIN}|{_PLAIN} and more|{_PLAIN} \[{_PLAIN}, {_PLAIN}\]"
    r"|\d{4}-\d\d-\d\d[ T:\d]*(?:[+-]\d\d:?\d\d|Z)?"
)

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def plain_errors(command: Callable[P, T]) -> Callable[P, T]:
    """End a command with one line and exit code 1 when a service it needs is away or refuses."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except _plain() as error:
            echo(str(error), err=True)
            sys.exit(1)

    return wrapper


def _plain() -> tuple[type[Exception], ...]:
    """Return errors whose text says all; what defines them is imported only once something went wrong."""
    from streams.engine.topics import TopicsError  # noqa: PLC0415 - brings Faust and Kafka's client
    from streams.kpis.language.blocks import CatalogueError  # noqa: PLC0415
    from streams.storage.connection import StorageError  # noqa: PLC0415 - brings ClickHouse's client

    return StorageError, TopicsError, CatalogueError


def clone() -> Path:
    """
    Return the root of the clone, for commands about files of the project itself.

    Raises:
        click.ClickException: this is an installed package.
    """
    if INSTALLED:
        raise click.ClickException(
            "this is about files of the project itself: run it in a clone, not in an installed package"
        )
    return CLONE


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, least: Sequence[str] = ()) -> str:
    """
    Lay rows out under their columns; nothing known is empty.

    On a terminal it fits: columns in which nothing stands go first, then those that are `least` needed, from the first
    named on, then texts are cut. No number is, and no time.
    """
    shown = [columns, *([("" if value is None else str(value)) for value in row] for row in rows)]
    return "\n".join(aligned(fitted(shown, [columns.index(name) for name in least if name in columns])))


def fitted(rows: Sequence[Sequence[str]], least: Sequence[int] = (), *, width: int | None = None) -> list[list[str]]:
    """Return rows that fit into `width` columns, by default the terminal's: see `table`."""
    cells = [list(map(visible_line, row)) for row in rows]
    most = width or room()
    if most is None or not cells:
        return cells
    gone: set[int] = set()
    empty = [place for place in range(len(cells[0])) if not any(row[place] for row in cells[1:])]
    for place in [*(empty if len(cells) > 1 else ()), *least]:
        if _width(cells, gone) > most:
            gone.add(place)
    cells = [[cell for place, cell in enumerate(row) if place not in gone] for row in cells]
    while (over := _width(cells, ()) - most) > 0:
        widths = _widths(cells)
        texts = [place for place in range(len(widths)) if widths[place] > SHORTEST and not _is_numeric(cells, place)]
        if not texts:
            break
        # The first is mostly a name by which more can be asked for: whole as long as another can give way.
        texts = texts[1:] if texts[0] == 0 and len(texts) > 1 else texts
        widest = max(texts, key=lambda place: widths[place])
        # Down to the next widest, so that two long columns share what there is.
        others = [widths[place] for place in texts if place != widest]
        limit = max(SHORTEST, widths[widest] - over, min(widths[widest] - 1, max(others, default=0)))
        for row in cells:
            row[widest] = cut(row[widest], limit)
    return cells


def wrapped(text: str, indent: int) -> str:
    """Return one line as those of a terminal's width, all but the first set in; whole where there is no terminal."""
    width = room()
    if width is None:
        return text
    return textwrap.fill(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def cut(text: str, width: int) -> str:
    """Return a text of `width` columns at most; what was cut shows as `…`."""
    if cell_len(text) <= width:
        return text
    while cell_len(text) > width - 1:
        text = text[:-1]
    return f"{text}…"


def _widths(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(*cells, strict=True)]


def _width(cells: Sequence[Sequence[str]], gone: Collection[int]) -> int:
    widths = [width for place, width in enumerate(_widths(cells)) if place not in gone]
    return sum(widths) + 2 * (len(widths) - 1)


def _is_numeric(cells: Sequence[Sequence[str]], place: int) -> bool:
    return all(_NUMBER.fullmatch(row[place]) for row in cells[1:])


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a line per row, its cells as wide as terminals show them: joiners take no column, wide characters two."""
    cells = [list(map(visible_line, row)) for row in rows]
    widths = _widths(cells)
    for row in cells:
        yield "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()


def print_json(value: Any) -> None:
    """Print one JSON value."""
    echo(json.dumps(value, ensure_ascii=False, indent=1, default=str))
