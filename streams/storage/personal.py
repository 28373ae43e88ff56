"""All texts that are stored: which columns hold any, and their rows as JSON, a few at a time."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from io import RawIOBase
from typing import Final, cast

from clickhouse_connect.driver.client import Client

_ROWS: Final = 1_000
_PIECE: Final = 1 << 20
_AS_STORED: Final = {"output_format_json_escape_forward_slashes": 0, "output_format_json_validate_utf8": 0}


def text_columns(client: Client) -> dict[str, list[str]]:
    """Return the columns of text of every table. Raises FAILURES."""
    rows = client.query(
        "SELECT table, groupArray(name) AS names FROM"
        " (SELECT table, name FROM system.columns WHERE database = currentDatabase()"
        " AND (type LIKE '%String%' OR type LIKE 'JSON%') AND default_kind NOT IN ('EPHEMERAL', 'ALIAS') AND table IN"
        " (SELECT name FROM system.tables WHERE database = currentDatabase() AND (engine LIKE '%MergeTree'"
        " OR engine = 'Distributed') AND name NOT LIKE '%\\_local') ORDER BY table, position)"
        " GROUP BY table ORDER BY table"
    ).result_rows
    return {table: list(names) for table, names in rows}


def text_rows(client: Client, table: str, columns: Sequence[str]) -> Iterator[list[bytes]]:
    """Yield the rows of a table, some at a time, each a JSON object of its columns. Raises FAILURES."""
    named = ", ".join(f"`{column}`" for column in columns)
    asked = client.raw_stream(
        f"SELECT {named} FROM `{table}`",  # noqa: S608
        fmt="JSONEachRow",
        settings=dict(_AS_STORED),
    )
    with closing(cast("RawIOBase", asked)) as stream:
        rest, lines = b"", list[bytes]()
        while piece := stream.read(_PIECE):
            *whole, rest = (rest + piece).split(b"\n")
            lines += whole
            while len(lines) >= _ROWS:
                yield lines[:_ROWS]
                del lines[:_ROWS]
        yield [*lines, rest] if rest else lines
