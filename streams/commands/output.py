"""How commands print: the same table, the same JSON, the same end for errors of the services they use."""

import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
from rich.cells import cell_len

from streams.commands.printing import echo
from streams.engine.topics import TopicsError
from streams.events.visible import visible_line
from streams.kpis.blocks import CatalogueError
from streams.shipped import CLONE, INSTALLED
from streams.storage.connection import StorageError

P = ParamSpec("P")
T = TypeVar("T")

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def told_plainly(command: Callable[P, T]) -> Callable[P, T]:
    """End a command with one line and exit code 1 when a service it needs is away or refuses."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except (StorageError, TopicsError, CatalogueError) as error:
            echo(str(error), err=True)
            sys.exit(1)

    return wrapper


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


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay rows out under their columns; nothing known is empty."""
    return "\n".join(aligned([columns, *([("" if value is None else str(value)) for value in row] for row in rows)]))


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a line per row, its cells as wide as terminals show them: joiners take no column, wide characters two."""
    cells = [list(map(visible_line, row)) for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()


def print_json(value: Any) -> None:
    """Print one JSON value."""
    echo(json.dumps(value, ensure_ascii=False, indent=1, default=str))
