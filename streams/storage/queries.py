"""Questions to the store, asked as a user who can only read; answers in cells, as JSON or CSV."""

import csv
import dataclasses
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from streams.settings import Settings
from streams.storage.connection import FAILURES, Address, PermanentStorageError, UnreachableError, connect, explain

Format: TypeAlias = Literal["json", "csv"]
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_NUMBER: Final = re.compile(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?")

NOTE: Final = """multiIf(
            n = 0, '',
            value IS NULL, concat('no data: ', (SELECT any(void) FROM kpis FINAL WHERE id = {kpi:String})),
            lo IS NULL AND hi IS NULL AND (SELECT any(aggregator) FROM kpis FINAL WHERE id = {kpi:String})
                IN ('mean', 'share', 'ratio', 'quantile'), 'too few for an interval', '') AS note"""
"""Why there is no value although something was counted, or no interval beside a value: a column of SQL."""

NAMED: Final[Mapping[str, str]] = {
    "kpi": """
        SELECT labels, stat, value, lo, hi, n, maturity, unit, definition, @note
        FROM kpi(kpi = {kpi:String}, from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')})
        WHERE by = {by:String} ORDER BY n DESC, labels, stat
    """,
    "latest": """
        SELECT labels, window, stat, as_of, value, lo, hi, n, maturity, definition, @note
        FROM kpi_latest WHERE kpi = {kpi:String} AND by = {by:String} ORDER BY labels, window, stat
    """,
    "kpis": "SELECT id, name, unit, direction, aggregator, owner, question FROM kpis FINAL ORDER BY id",
    "balance": """
        SELECT topic, partition, sum(read) AS read, sum(counted) AS counted, sum(duplicate) AS duplicate,
            sum(late) AS late, sum(bad) AS bad, sum(conflict) AS conflict, max(last) AS last
        FROM outcomes GROUP BY topic, partition ORDER BY topic, partition
    """,
    "refused": """
        SELECT reason, path, count() AS records, max(at) AS newest, any(message) AS example
        FROM dead_letters GROUP BY reason, path ORDER BY records DESC
    """,
}
"""Ready-made questions, with their parameters; `@note` stands for why a value or its interval is missing."""

_DEFAULTS: Final[Mapping[str, Any]] = {"by": "", "from": "1990-01-01 00:00:00", "to": "2100-01-01 00:00:00"}
_DIGITS: Final = 6
_MOST_DECIMALS: Final = 12
# Of the server for what changes something, or is beyond the rights of who asks.
_FORBIDDEN: Final = frozenset({164, 392, 452, 497})
_READING: Final = ("SELECT", "WITH", "FROM", "SHOW", "DESC", "DESCRIBE", "EXISTS", "EXPLAIN")
_FIRST_WORD: Final = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*(\w*)", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """Rows, and the names of their columns."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]

    @property
    def cells(self) -> list[list[str]]:
        """The rows as people read them: numbers are rounded; a missing value is empty, and never 0."""
        return [[_rounded(value) if isinstance(value, float) else _cell(value) for value in row] for row in self.rows]

    def render(self, form: Format) -> str:
        """Write it out; a missing value is empty in CSV, null in JSON, and never 0."""
        if form == "json":
            rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
            return json.dumps(rows, ensure_ascii=False, indent=1)
        out = io.StringIO()
        cells = [[_harmless(value) if isinstance(value, str) else _cell(value) for value in row] for row in self.rows]
        csv.writer(out, lineterminator="\n").writerows([map(_harmless, self.columns), *cells])
        return out.getvalue().rstrip("\n")


def _harmless(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: senders decide what labels hold."""
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def as_reader(address: Address, settings: Settings) -> Address:
    """Return the address with the user who can only read, if the settings know its password."""
    if not settings.clickhouse_reader_password_file:
        return address
    return dataclasses.replace(
        address, user=settings.clickhouse_reader_user, password=settings.clickhouse_reader_password()
    )


def run_query(question: str, parameters: Mapping[str, Any], address: Address, *, timeout_s: float = 60.0) -> Answer:
    """
    Ask a ready-made question by its name, or any SQL that only reads.

    Whatever the user may do, the server is asked to change nothing for this question, and no SETTINGS in it undo that.
    `parameters` fill `{name:Type}` in the SQL. Of the ready-made ones only `kpi` must be given.

    Raises:
        PermanentStorageError: The question cannot be answered: syntax, names, rights, a missing parameter.
        UnreachableError: No answer, or not within `timeout_s`.
    """
    sql = NAMED.get(question, "").replace("@note", NOTE) or None
    given = dict(parameters) if sql is None else {**_DEFAULTS, **parameters}
    # What is read-only to the server may still end others' queries and make backups.
    word = next(_FIRST_WORD.finditer(sql or question))[1]
    if word.upper() not in _READING:
        raise PermanentStorageError(
            f"questions only read: expected one that begins with {', '.join(_READING)}, not {word!r}"
        )
    client = connect(address, timeout_s=timeout_s + 5)
    # A user that is read-only already must not change any setting but its time limit.
    only_read = {"readonly": 2} if client.server_settings["readonly"].value == "0" else {}
    try:
        # JSON: an empty answer in the library's own format has no column names.
        raw = client.raw_query(
            sql or question,
            parameters={name: _text(value) for name, value in given.items()},
            settings={"max_execution_time": int(timeout_s), **only_read},
            fmt="JSONCompact",
        )
    except FAILURES as error:
        doing = question if sql else "the query"
        if getattr(error, "code", None) in _FORBIDDEN:
            doing = f"{doing} is not allowed: questions only read, and only what {address.user} may"
        raise explain(error, doing) from error
    finally:
        client.close()
    if not raw:
        raise PermanentStorageError("the query asks nothing: questions only read, and are answered in rows")
    try:
        answer = json.loads(raw)
    except ValueError as error:  # a failure in the middle of an answer stands in its text
        raise UnreachableError(f"the answer broke off: {raw[-300:].decode(errors='replace')}") from error
    return Answer(tuple(column["name"] for column in answer["meta"]), answer["data"])


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return value if isinstance(value, list) else str(value)


def _rounded(value: float) -> str:
    """Write a number with six digits that count at most; whole parts stay whole, and nothing has an exponent."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    decimals = max(0, min(_MOST_DECIMALS, _DIGITS - 1 - math.floor(math.log10(abs(value)))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{name}={text}" for name, text in value.items()) or "all"
    return str(value)
