"""
What the store knows of experiments: who was assigned to which arm, and what each arm's customers did.

A customer belongs to the arm of the first event that carries it, and counts from then on. Customers who were seen in
two arms are counted by themselves and belong to none: what they did cannot be told apart.
"""

# ruff: noqa: S608 - statements are made of checked definitions; every literal is escaped

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from streams.experiments.judging import PastSums, Sums
from streams.kpis.language.definition import Kpi
from streams.storage.connection import FAILURES, explain
from streams.storage.overflow import counted_events, has_set_aside
from streams.storage.recompute import of_customers

BEFORE: Final = timedelta(days=28)
"""How far before their assignment customers are looked at."""

_ASSIGNED: Final = """assigned AS (
        SELECT experiment, subject, argMin(variant, time) AS arm, min(time) AS at, max(time) AS newest,
            uniqExact(variant) > 1 AS crossed
        FROM counted_events
        WHERE experiment != '' AND variant != '' AND subject != ''
            AND time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        GROUP BY experiment, subject)"""


@dataclass(frozen=True, slots=True)
class Assigned:
    """
    Whom an experiment has.

    Attributes:
        arms: Customers by arm.
        crossed: Customers who were seen in more than one.
        since: When the first was assigned.
        until: When the newest event that carries it happened.
    """

    arms: Mapping[str, int]
    crossed: int
    since: datetime
    until: datetime


class ExperimentStore:
    """
    Asks the store about experiments, with what happened in a span of time.

    Attributes:
        until: The end of the span.
    """

    def __init__(self, client: Client, since: datetime, until: datetime) -> None:
        """
        Ask about events from `since` until `until` (not included).

        Raises:
            PermanentStorageError, UnreachableError: The store cannot be asked.
        """
        self.until = until
        self._client, self._since = client, since
        try:
            self._aside = has_set_aside(client)
        except FAILURES as error:
            raise explain(error, "experiments") from error

    def as_of(self, until: datetime) -> "ExperimentStore":
        """Return the same, asked about what happened before a moment."""
        return ExperimentStore(self._client, self._since, until)

    def assigned(self) -> dict[str, Assigned]:
        """Return whom each experiment has. Raises PermanentStorageError, UnreachableError."""
        rows = self._ask(
            f"""
            WITH {counted_events(aside=self._aside)}, {_ASSIGNED}
            SELECT experiment, sumMap(map(arm, toUInt64(NOT crossed))), countIf(crossed), min(at), max(newest)
            FROM assigned GROUP BY experiment ORDER BY experiment"""
        )
        return {
            name: Assigned(dict(sorted(arms.items())), crossed, since.replace(tzinfo=UTC), until.replace(tzinfo=UTC))
            for name, arms, crossed, since, until in rows
        }

    def compared(self, experiment: str, kpi: Kpi) -> dict[str, tuple[Sums, PastSums]]:
        """
        Return the sums over the customers of each arm, and those with what they did before.

        Raises:
            ValueError: The KPI is no ratio of sums over customers.
            PermanentStorageError, UnreachableError: The store cannot be asked.
        """
        sums = of_customers(kpi)
        if sums is None:
            raise ValueError(f"{kpi.id} cannot be compared by customer")
        counted = ", ".join(
            f"sumIf({what}, {who}) AS {name}_{one}"
            for name, who in (("known", "seen"), ("new", "NOT seen"))
            for one, what in (("n", "1"), ("x", "x"), ("y", "y"), ("xx", "x * x"), ("xy", "x * y"), ("yy", "y * y"))
        )
        rows = self._ask(
            f"""
            WITH {{since:DateTime64(3, 'UTC')}} AS since, {{to:DateTime64(3, 'UTC')}} AS until,
                {counted_events(aside=self._aside)}, {_ASSIGNED},
                arms AS (
                    SELECT subject, arm, at FROM assigned
                    WHERE experiment = {{experiment:String}} AND NOT crossed),
                met AS (
                    SELECT subject, min(time) AS first FROM counted_events
                    WHERE time >= since AND subject IN (SELECT subject FROM arms) GROUP BY subject)
            SELECT arm, {counted}, sumIf(b, seen), sumIf(b * b, seen), sumIf(y * b, seen)
            FROM (
                SELECT arms.arm AS arm, met.first < arms.at AS seen, sums.y AS y, sums.b AS b,
                    {"1." if sums.each else "sums.x"} AS x
                FROM arms LEFT JOIN ({sums.sql}) AS sums USING (subject) LEFT JOIN met USING (subject)
                WHERE {"true" if sums.each else "sums.x > 0 OR sums.y != 0"}
            )
            GROUP BY arm ORDER BY arm""",
            experiment=experiment,
        )
        found: dict[str, tuple[Sums, PastSums]] = {}
        for arm, *values in rows:
            known, new = Sums(int(values[0]), *values[1:6]), Sums(int(values[6]), *values[7:12])
            b, bb, yb = values[12:]
            whole = Sums(known.n + new.n, *(one + other for one, other in zip(known[1:], new[1:], strict=True)))
            found[arm] = whole, PastSums(known.n, known.y, known.yy, b, bb, yb, new)
        return found

    def _ask(self, sql: str, **parameters: Any) -> Any:
        span = {"from": self._since, "to": self.until, "since": self._since - BEFORE}
        try:
            return self._client.query(sql, parameters={**span, **parameters}).result_rows
        except FAILURES as error:
            raise explain(error, "experiments") from error
