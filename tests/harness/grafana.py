"""
What happens to a query between a dashboard and ClickHouse, so that dashboards can be tried without Grafana.

In Grafana, the plugin's page replaces `$__conditionalAll`, then the variables; its server replaces the other macros.
Both are done here in the same order, with the same results as version 4.20 of the plugin; what neither knows is an
error here, where Grafana would send it on and ClickHouse refuse it.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ALL = "$__all"
PLUGIN = "grafana-clickhouse-datasource"
STATEMENT_MACROS = ("columns", "rateColumns", "perSecondColumns", "increaseColumns", "lttb")

_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(\w+)|\[\[(\w+)(?::(\w+))?\]\]")


class DashboardError(ValueError):
    """Something in a dashboard that Grafana or its plugin would not understand."""


@dataclass(frozen=True)
class Period:
    """The selected time, and how many seconds a point of a graph stands for."""

    start: datetime
    end: datetime
    interval_s: float = 60.0

    @classmethod
    def over(cls, start: datetime, end: datetime, points: int = 400) -> "Period":
        """The interval that Grafana chooses for so many points: a round one, not below a minute."""
        least = (end - start).total_seconds() / points
        rounds = [60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800, 2592000, 31536000]
        return cls(start, end, next(seconds for seconds in rounds if seconds >= least))


@dataclass
class Choices:
    """What stands in the variables: the values chosen (`[ALL]` for All), and what could be chosen."""

    chosen: dict[str, list[str]] = field(default_factory=dict)
    options: dict[str, list[str]] = field(default_factory=dict)

    def with_(self, name: str, values: list[str]) -> "Choices":
        return Choices({**self.chosen, name: values}, self.options)

    def values(self, name: str) -> list[str]:
        """The values that a query gets; All is all of them."""
        values = self.chosen[name]
        return self.options.get(name, []) if values == [ALL] else values


def expand(sql: str, choices: Choices, period: Period) -> str:
    """
    Give the statement that ClickHouse gets.

    Raises:
        DashboardError: Unknown variables or macros, or the wrong number of arguments.
    """
    sql = _without_comments(_variables(_conditions(sql, choices), choices))
    return _macros(sql, period)


def _conditions(sql: str, choices: Choices) -> str:
    macro = "$__conditionalAll("
    while (start := sql.rfind(macro)) != -1:
        arguments, end = _page_arguments(sql, start + len(macro) - 1)
        if len(arguments) != 2:
            raise DashboardError(f"$__conditionalAll takes a condition and a variable, got {arguments}")
        found = re.fullmatch(r"\s*\$(?:\{(\w+)\}|(\w+))\s*", arguments[1])
        if not found:
            raise DashboardError(f"$__conditionalAll: {arguments[1]!r} is not a variable without a format")
        name = found[1] or found[2]
        if name not in choices.chosen:
            raise DashboardError(f"$__conditionalAll: unknown variable {name}")
        everything = choices.chosen[name] in ([ALL], [""])
        sql = sql[:start] + ("1=1" if everything else arguments[0]) + sql[end:]
    return sql


def _page_arguments(sql: str, start: int) -> tuple[list[str], int]:
    """As the page splits them: at commas within one bracket, whatever quotes say."""
    depth, last, arguments = 0, start + 1, []
    for found in re.finditer(r"[(),]", sql[start:]):
        at = start + found.start()
        depth += {"(": 1, ")": -1, ",": 0}[found[0]]
        if found[0] == "," and depth == 1:
            arguments.append(sql[last:at])
            last = at + 1
        if depth == 0:
            return [*arguments, sql[last:at]], at + 1
    raise DashboardError(f"brackets of a macro are not closed: {sql[start : start + 60]}")


def _variables(sql: str, choices: Choices) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1] or found[3] or found[4]
        form = found[2] or found[5]
        if name.startswith("__"):
            if found[1] or found[4]:
                raise DashboardError(f"{found[0]} has no meaning in a query of this plugin")
            return found[0]
        if name not in choices.chosen:
            raise DashboardError(f"unknown variable {found[0]}")
        values = choices.values(name)
        if form in {"singlequote", "sqlstring"}:
            escape = "''" if form == "sqlstring" else "\\'"
            return ",".join("'" + text.replace("'", escape) + "'" for text in values)
        if form in {None, "raw"}:
            return values[0] if len(values) == 1 and choices.chosen[name] != [ALL] else "'" + "','".join(values) + "'"
        raise DashboardError(f"{found[0]}: no query needs the format {form}")

    return _VARIABLE.sub(value, sql)


def _without_comments(sql: str) -> str:
    parts = re.split(r"('(?:[^'\\]|\\.|'')*'|`[^`]*`|\"[^\"]*\")", sql)
    return "".join(
        part if n % 2 else re.sub(r"--[^\n]*|/\*.*?\*/", " ", part, flags=re.DOTALL) for n, part in enumerate(parts)
    )


def _macros(sql: str, period: Period) -> str:
    known = _macro_table(period)
    while found := list(re.finditer(r"\$__(\w+)", sql)):
        last = found[-1]
        name = last[1]
        if name in STATEMENT_MACROS or name not in known:
            raise DashboardError(f"unknown macro $__{name}")
        expansion, count = known[name]
        end, arguments = last.end(), []
        if sql[end : end + 1] == "(":
            arguments, end = _server_arguments(sql, end)
        if len(arguments) != count:
            raise DashboardError(f"$__{name} takes {count} arguments, got {arguments}")
        sql = sql[: last.start()] + expansion(*arguments) + sql[end:]
    if "$" in re.sub(r"'(?:[^'\\]|\\.)*'", "", sql):
        raise DashboardError(f"a dollar is left: {sql[sql.index('$') - 30 : sql.index('$') + 30]}")
    return sql


def _server_arguments(sql: str, start: int) -> tuple[list[str], int]:
    depth, quoted, arguments, text = 0, False, [], ""
    for at in range(start, len(sql)):
        sign = sql[at]
        if sign == "'":
            quoted = not quoted
        if not quoted:
            depth += {"(": 1, ")": -1}.get(sign, 0)
            if sign == "," and depth == 1:
                arguments.append(text.strip())
                text = ""
                continue
        if depth == 0:
            last = text[1:] if not arguments else text
            arguments = [argument.removeprefix("(") for argument in arguments]
            return [argument for argument in [*arguments, last.strip()] if argument], at + 1
        text += sign
    raise DashboardError(f"brackets of a macro are not closed: {sql[start : start + 60]}")


def _macro_table(period: Period) -> dict[str, tuple[Callable[..., str], int]]:
    start, end = period.start.astimezone(UTC), period.end.astimezone(UTC)
    seconds = max(1, int(period.interval_s))

    def s(moment: datetime) -> str:
        return f"toDateTime({int(moment.timestamp())})"

    def ms(moment: datetime) -> str:
        return f"fromUnixTimestamp64Milli({int(moment.timestamp() * 1000)})"

    def day(moment: datetime) -> str:
        return f"toDate('{moment:%Y-%m-%d}')"

    def between(column: str, form: Callable[[datetime], str]) -> str:
        return f"{column} >= {form(start)} AND {column} <= {form(end)}"

    def both(dates: str, times: str) -> str:
        return f"({between(dates, day)}) AND ({between(times, s)})"

    def group(column: str, length: str) -> str:
        units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
        found = re.fullmatch(r"(\d+)(ms|s|m|h)", length.strip("'\" "))
        if not found:
            raise DashboardError(f"$__timeGroup: {length} is no length of time")
        return f"toStartOfInterval(toDateTime({column}), INTERVAL {math.ceil(int(found[1]) * units[found[2]])} second)"

    return {
        "fromTime": (lambda: s(start), 0),
        "toTime": (lambda: s(end), 0),
        "fromTime_ms": (lambda: ms(start), 0),
        "toTime_ms": (lambda: ms(end), 0),
        "timeFilter": (lambda column: between(column, s), 1),
        "timeFilter_ms": (lambda column: between(column, ms), 1),
        "dateFilter": (lambda column: between(column, day), 1),
        "dateTimeFilter": (both, 2),
        "dt": (both, 2),
        "timeFrom": (lambda column: f"{column} >= {s(start)}", 1),
        "timeTo": (lambda column: f"{column} <= {s(end)}", 1),
        "timeInterval": (lambda column: f"toStartOfInterval(toDateTime({column}), INTERVAL {seconds} second)", 1),
        "timeInterval_ms": (
            lambda column: f"toStartOfInterval(toDateTime64({column}, 3), INTERVAL {int(period.interval_s * 1000)} millisecond)", 1,
        ),
        "timeGroup": (group, 2),
        "interval": (lambda: f"{seconds}s", 0),
        "interval_s": (lambda: str(seconds), 0),
        "interval_ms": (lambda: str(int(period.interval_s * 1000)), 0),
    }  # fmt: skip


# Dashboards


def load(folder: Path) -> dict[str, dict[str, Any]]:
    """All dashboards of a folder, by the name of the file."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def panels(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All panels but the headings, those in collapsed rows too."""
    for panel in dashboard["panels"]:
        yield from (inner for inner in panel.get("panels", []))
        if panel["type"] != "row":
            yield panel


def queries(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All queries of panels and annotations, with a name for messages."""
    for panel in panels(dashboard):
        for query in panel.get("targets", []):
            yield f"{dashboard['title']}: {panel['title']} [{panel['id']}] {query['refId']}", query
    for annotation in dashboard["annotations"]["list"]:
        if annotation.get("target", {}).get("rawSql"):
            yield f"{dashboard['title']}: annotation {annotation['name']}", annotation["target"]


def variables(dashboard: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    return dashboard["templating"]["list"]


def variable_sql(variable: Mapping[str, Any]) -> str:
    query = variable["query"]
    return query if isinstance(query, str) else query["rawSql"]


def choose(dashboard: Mapping[str, Any], ask: Callable[[str], Sequence[Sequence[Any]]], period: Period) -> Choices:
    """Open a dashboard: every variable gets its options, and what it stands on at first."""
    choices = Choices()
    for variable in variables(dashboard):
        name = variable["name"]
        if variable["type"] == "query":
            rows = ask(expand(variable_sql(variable), choices, period))
            choices.options[name] = [str(row[0]) for row in rows]
        elif variable["type"] == "custom":
            choices.options[name] = [option.strip() for option in variable["query"].split(",")]
        elif variable["type"] == "datasource":
            choices.options[name] = ["cx-clickhouse"]
        else:
            raise DashboardError(f"variable {name}: unexpected type {variable['type']}")
        current = variable["current"].get("value")
        values = current if isinstance(current, list) else [current] if current else choices.options[name][:1]
        choices.chosen[name] = values or [""]
    return choices
