"""A store that holds something for every panel of the dashboards: see `seed`."""

import dataclasses
import itertools
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, NamedTuple

from streams.alerts.types import Evidence, Transition
from streams.drivers.actions import JudgedAction
from streams.drivers.plans import ActionPlan
from streams.drivers.regression import Association
from streams.events.decode import encode
from streams.kpis.catalogue.catalogue import Catalogue
from streams.producers.readers import DATA_SETS, DataSetError, read
from streams.producers.simulator.scenario import Plan, simulate
from streams.shipped import DASHBOARDS
from streams.storage.alerts import alert_row
from streams.storage.connection import connect
from streams.storage.driver_actions import JudgedRun, action_rows
from streams.storage.rows import DeadLetter
from streams.storage.value_measures import measure_rows
from streams.storage.writer import Writer
from streams.synthetic.journey import RunCheck, RunReport, results_of
from streams.value import periods
from streams.value.published import ValueMeasure
from tests.harness import grafana
from tests.harness.clickhouse import Database, block_of, event
from tests.harness.grafana import Choices, Period
from tests.harness.pipeline import Pipeline
from tests.integration.test_readers_real import ROOT as DATA

BOARDS = grafana.load(DASHBOARDS)
CATALOGUE = Catalogue.load()

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
SIMULATED = Period.over(START - timedelta(minutes=10), START + timedelta(hours=2, minutes=10))
TECHNION = Period.over(datetime(1999, 8, 1, tzinfo=UTC), datetime(1999, 8, 4, tzinfo=UTC))
OLIST = Period.over(datetime(2016, 1, 1, tzinfo=UTC), datetime(2019, 1, 1, tzinfo=UTC))
# A day with three answers and nothing else.
QUIET = Period.over(datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC))


class Answer(NamedTuple):
    """What ClickHouse answers; times are text, so that they sort as they are."""

    types: dict[str, str]
    rows: list[dict[str, Any]]


class Store:
    """The seeded store, asked as Grafana asks."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.client = connect(database.reader)
        self.present = {name for name in ("technion", "olist") if _located(name)}

    def ask(self, sql: str) -> Answer:
        # JSON, since an empty answer in the library's own format has no columns.
        settings = {"max_execution_time": 60, "output_format_json_quote_64bit_integers": 0}
        answer = json.loads(self.client.raw_query(sql, settings=settings, fmt="JSONCompact"))
        names = [column["name"] for column in answer["meta"]]
        return Answer(
            {column["name"]: column["type"] for column in answer["meta"]},
            [dict(zip(names, row, strict=True)) for row in answer["data"]],
        )

    def open(self, slug: str, period: Period) -> Choices:
        return grafana.choose(BOARDS[slug], lambda sql: [list(row.values()) for row in self.ask(sql).rows], period)

    def panel(self, slug: str, title: str, period: Period, kind: str = "", **chosen: list[str]) -> list[dict[str, Any]]:
        """The rows of the first query of a panel."""
        choices = self.open(slug, period)
        for name, values in chosen.items():
            choices = choices.with_(name, values)
        [panel] = [
            panel for panel in grafana.panels(BOARDS[slug]) if panel["title"] == title and kind in {"", panel["type"]}
        ]
        return self.ask(grafana.expand(panel["targets"][0]["rawSql"], choices, period)).rows


def _located(name: str) -> bool:
    try:
        DATA_SETS[name].locate(DATA)
    except DataSetError:
        return False
    return True


def seed(writer: Writer, present: set[str]) -> None:
    """Fill it: two simulated hours, a day of Technion, Olist, and what no simulation tells."""
    until = START + timedelta(hours=2)
    simulated = [
        encode(made) for made in takewhile(lambda made: made.time < until, simulate(Plan(start=START, rate=5.0)))
    ]
    simulated += _runs()
    quiet = [
        event(
            number, id=f"quiet{number}", channel="store", time="2026-05-01T10:00:00Z", data={"score": 1, "text": text}
        )
        for number, text in enumerate(("بد نبود.", "it's fine", ""))
    ]
    # Each era is a pipeline of its own: nobody waits for the years between them.
    # Of the orders, only what is looked at.
    wanted = re.compile(rb'"type":"cx.(contact|order.delivered|survey.answered)')
    eras = [[touch.value for touch in read(name, DATA) if wanted.search(touch.value)] for name in sorted(present)]
    for number, payloads in enumerate([*eras, simulated, quiet]):
        pipeline = Pipeline(_Elsewhere(writer, number), CATALOGUE)
        for batch in range(0, len(payloads), 10_000):
            pipeline.feed(payloads[batch : batch + 10_000])
        pipeline.finish()
    letters = [
        DeadLetter(
            900 + n,
            reason,
            "data.score",
            "9",
            "at most 5",
            "data.score is 9; expected at most 5",
            b'{"score": 9}',
            datetime.now(UTC).timestamp(),
        )
        for n, reason in enumerate(("out_of_range", "missing_field"))
    ]
    writer.insert_block(block_of([], 900, dead_letters=letters, topic="cx.touchpoints.app"))
    writer.insert_alerts(list(_alerts()), "cx.alerts-0-1-9")
    for hour in (0, 1):
        run = JudgedRun(START + timedelta(hours=hour), "csat", "points", START - timedelta(days=90), START, 2_974)
        writer.insert_value([*measure_rows(_MONTH, START, _MEASURES)], f"value_measures-{hour}")
        writer.insert_actions([*action_rows(run, _judged(), "EUR")], f"driver_actions-{hour}")


_MONTH = periods.Period(*(int((START - timedelta(days=days)).timestamp()) for days in (60, 30, 0)), "2026-04")
_MEASURES = [
    ValueMeasure("retention", "percent", tier, "", 80.0, 70.0, 88.0, 90, complete=True) for tier in ("", "gold")
] + [ValueMeasure("arpu", "money", "", currency, 44.0, 40.0, 48.0, 90, complete=True) for currency in ("EUR", "IRR")]


def _runs() -> Iterator[bytes]:
    """What came of a synthetic path, every ten minutes of the simulated hours."""
    checks = [RunCheck("accepted", ok=True, step=1, latency_s=0.02), RunCheck("stored", ok=True, step=1, latency_s=1.5)]
    for number in range(12):
        report = RunReport("web-order", "web", f"run-{number}", number != 5, 2.0, "", checks)
        for result in results_of(report, (START + timedelta(minutes=10 * number)).isoformat()):
            yield json.dumps({"specversion": "1.0", **result}).encode()


def _judged() -> list[JudgedAction]:
    """An action that has a place, a driver without one, and one of which nothing is known."""
    plan = ActionPlan("packaging", "damaged", 0, "Stronger boxes", "it's logistics", "small", 5.0)
    gain = Association(0.06, 0.01, 0.04, 0.08, 0.001, 1.0)
    sure: dict[str, Any] = {"now": 1.0, "to": "0", "gain": gain, "each": gain.times(24), "q": 0.001, "touched": 125.0}
    return [
        JudgedAction("damaged", plan, "ranked", money=44.0, **sure),
        JudgedAction("errors", None, "without a plan", **sure),
        JudgedAction("returns", None, why="too few (n < 20)"),
    ]


class _Elsewhere:
    """A writer whose blocks and flushes have tokens and partitions of their own."""

    def __init__(self, writer: Writer, number: int) -> None:
        self._writer, self._number = writer, number

    def insert_block(self, block: Any) -> None:
        self._writer.insert_block(dataclasses.replace(block, partition=self._number))

    def insert_kpi_minutes(self, rows: Any, token: str) -> None:
        self._writer.insert_kpi_minutes(rows, token.replace("cx.kpis-0", f"cx.kpis-{self._number}"))

    def insert_kpi_values(self, rows: Any, token: str) -> None:
        self._writer.insert_kpi_values(rows, token.replace("cx.kpis-0", f"cx.kpis-{self._number}"))


def _alerts() -> Iterator[list[Any]]:
    """One alert that comes and goes, one that fires on, one that is held back."""
    evidence = Evidence(method="floor", value=61.2, n=312, lo=55.7, hi=66.4, unit="percent", window="15m", baseline=78.0,
                        baseline_n=4000, statistic=-3.1, threshold=65.0, target=65.0, verbatims=["خیلی منتظر موندم.", "waited"])  # fmt: skip
    lives = {
        "ServiceLevelLow": ({"channel": "call_center"}, None, ("pending", "firing", "resolved", "inactive")),
        "DeliveryLate": ({}, None, ("pending", "firing")),
        "DeliveryLateHere": ({"region": "r1"}, "parent DeliveryLate{}", ("pending", "firing")),
    }
    seq = itertools.count(1)
    for rule, (labels, inhibited, states) in lives.items():
        for minute, (old, new) in enumerate(itertools.pairwise(("inactive", *states))):
            at = START + timedelta(minutes=20 + 5 * minute)
            number = next(seq)
            transition = Transition(
                seq=number, rule=rule, kpi="service_level_all_offered", labels=labels, old=old, new=new,  # type: ignore[arg-type]
                minute=int(at.timestamp()) // 60 - 1, why=f"{old} => {new}: 61.2 is below 65", severity="page", owner="contact-centre",
                inhibited_by=inhibited, evidence=evidence, episode=f"{rule}/1",
            )  # fmt: skip
            yield alert_row(f"0/1/{number}", int(at.timestamp()), transition)
