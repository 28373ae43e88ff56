"""
Whatever producers call things, and whatever customers write, every dashboard opens and shows it as it is.

Quotes, backslashes, what Grafana or ClickHouse take for their own, scripts from right to left, signs that cannot be
seen, and texts without an end: as label values, customers, words, refused fields, and names of rules.
"""

import itertools
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streams.alerts.types import Evidence, Transition
from streams.dashboards import files
from streams.events.text import label_of
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.series import series_key
from streams.local.clickhouse import EmbeddedClickHouse
from streams.storage.alerts import alert_row
from streams.storage.rows import DeadLetter, ValueRow
from streams.storage.setup import prepare
from streams.storage.writer import Writer
from tests.harness import grafana
from tests.harness.clickhouse import Database, block_of, event, fresh_database
from tests.harness.grafana import Choices, Period
from tests.harness.seeded import BOARDS, CATALOGUE, Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

NASTY = (
    "o'neil", 'say "hi"', "end\\", "a\\nb", "\\'; --", "/* */", "${unit}", "$__all", "$__fromTime", "$1", "a,b", "(x", "x)", "{}",
    "[[unit]]", "100 %s %20", "two\nlines", "tab\there", "nul\0", "مشتری‌ها", "\u200fاز راست\u200e", "👩‍👩‍👧 🇮🇷", "l" * 3000, "`;DROP TABLE kpis",
)  # fmt: skip
"""Label values that a producer may send; an empty one is no label."""

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
PERIOD = Period.over(START - timedelta(hours=1), START + timedelta(hours=1))
ACCS: dict[str, Acc] = {
    "count": [5], "sum": [3, 12_345], "ratio": [50, 9], "mean": [3, 12_000, 50_000_000], "nps": [50, 20, 9],
    "share": [3, 60, 50, 1400, 1300, 1300], "level": [50, 9000, 50], "distinct": {77: 3, 4162: 1}, "quantile": {5: 10, 400: 90},
}  # fmt: skip


@pytest.fixture(scope="module")
def store(clickhouse: EmbeddedClickHouse) -> Iterator[Store]:
    with fresh_database(clickhouse) as database:
        prepare(database.admin, CATALOGUE, lambda _: None)
        fill(database)
        seeded = Store(database)
        yield seeded
        seeded.client.close()


def labels_of(grouping: tuple[str, ...], name: str) -> tuple[tuple[str, str], ...]:
    return tuple((label, "web" if label == "channel" else name) for label in grouping)


def fill(database: Database) -> None:
    """Every KPI with every label it is kept for, and every kind of record, all under nasty names."""
    at = int(START.timestamp())
    minutes, values = [], []
    for kpi in CATALOGUE:
        named = [labels_of(grouping, name) for grouping, name in itertools.product(kpi.groupings, NASTY)]
        for labels in dict.fromkeys(named):
            key = series_key(kpi.id, labels)
            if kpi.aggregator != "derived":
                minutes.append((key, at // 60, 0, ACCS[kpi.aggregator], 1))
            values += [
                ValueRow(key, window, stat, at, 9.0, 50, 1.0, 20.0, f"{kpi.id}@1", True, 1)
                for window in ("1h", "total")
                for stat in ([f"p{100 * q:g}" for q in kpi.quantiles] or [""])
            ]
    writer = Writer(database.writer)
    writer.insert_kpi_minutes(minutes, "t-0-0-0")
    writer.insert_kpi_values(values, "t-0-0-0")
    said = [
        event(number, subject=name, unitid=name, segment=name, touchpoint=name, agentid=name, region=name,
              time=START.isoformat(), data={"text": name, "score": 1})
        for number, name in enumerate(NASTY)
    ]  # fmt: skip
    letters = [
        DeadLetter(900 + number, "bad_format", name, name, name, name, json.dumps(name).encode(), START.timestamp())
        for number, name in enumerate(NASTY)
    ]
    writer.insert_block(block_of(said, dead_letters=letters))
    evidence = Evidence(
        method="floor", value=61.2, n=312, lo=55.7, hi=66.4, unit="percent", window="15m", verbatims=[*NASTY]
    )
    transitions = [
        Transition(
            seq=number + 1, rule=name, kpi="csat", labels={"channel": "web", "region": name}, old="pending", new="firing",
            minute=at // 60, why=name, severity="page", owner=name, inhibited_by=None, evidence=evidence, episode=name,
        )
        for number, name in enumerate(NASTY)
    ]  # fmt: skip
    writer.insert_alerts([alert_row(f"0/1/{made.seq}", at, made) for made in transitions], "cx.alerts-0-1-9")
    writer.close()


@pytest.mark.parametrize("slug", BOARDS)
def test_every_dashboard_opens_with_all_values_chosen_by_name(store: Store, slug: str) -> None:
    """Every query that the dashboard has, with each value that its variables offer chosen one by one instead of All."""
    choices = store.open(slug, PERIOD)
    several = {variable["name"] for variable in grafana.variables(BOARDS[slug]) if variable.get("multi")}
    by_name = {name: choices.options[name] if name in several else value for name, value in choices.chosen.items()}
    for _, query in grafana.queries(BOARDS[slug]):
        store.ask(grafana.expand(query["rawSql"], Choices(by_name, choices.options), PERIOD))


LABEL = {"unit": "unitid", "segment": "segment"}


def kept_by(slug: str, variable: str) -> list[str]:
    """The KPIs of a dashboard that are kept by the label of a variable."""
    [kpi] = [found for found in grafana.variables(BOARDS[slug]) if found["name"] == "kpi"]
    offered = grafana.variable_sql(kpi)
    return [one.id for one in CATALOGUE if (LABEL[variable],) in one.groupings and f"'{one.id}'" in offered]


@pytest.mark.parametrize(
    ("slug", "variable"),
    [(slug, name) for slug in BOARDS for name in LABEL if slug != "pipeline" and kept_by(slug, name)],
)
def test_what_is_chosen_is_shown_and_nothing_else(store: Store, slug: str, variable: str) -> None:
    """All values but one, by their names: each is a series of its own, called as producers call it."""
    choices = store.open(slug, PERIOD)
    options = choices.options[variable]
    assert len(options) == len(NASTY)
    chosen = choices.with_("kpi", kept_by(slug, variable)[:1]).with_(variable, options[1:])
    [panel] = [
        panel
        for panel in grafana.panels(BOARDS[slug])
        if panel["title"] == "${kpi:text}" and panel["type"] == "timeseries"
    ]
    answer = store.ask(grafana.expand(panel["targets"][0]["rawSql"], chosen, PERIOD))
    names = {re.sub(r" p[0-9.]+$", "", row["series"]) for row in answer.rows}
    assert len(names) == len(NASTY) - 1
    assert names < set(map(label_of, NASTY))


@pytest.mark.parametrize(("slug", "title"), [("voice", "Newest verbatims"), ("voice", "Events behind these numbers")])
def test_a_click_on_a_customer_leads_to_that_customer(store: Store, slug: str, title: str) -> None:
    """What the link hands over chooses exactly the customer that was clicked."""
    rows = store.panel(slug, title, PERIOD, "table")
    assert {row["customer"] for row in rows} == set(NASTY)
    for row in rows:
        found = store.panel(
            "explorer", "Events behind ${kpi:text}", PERIOD, kpi=["volume"], customer=[row["customer_choice"]]
        )
        assert [one["customer"] for one in found] == [row["customer"]]


def test_links_hand_over_any_sign() -> None:
    """A field of a row in an address is written so that no sign of it can end it."""
    for slug, board in BOARDS.items():
        for field in re.findall(r"\$\{__data\.fields\.[^}]*\}|\$\{__value\.[^}]*\}", json.dumps(board)):
            assert field.endswith(":percentencode}"), f"{slug}: {field}"


def test_a_kpi_may_be_described_in_any_words(store: Store, tmp_path: Path) -> None:
    """Its name, question, formula and source are shown, never run."""
    own = tmp_path / "own.yaml"
    words = json.dumps('it\'s "$__timeFilter(x)" \\ ${unit} {{a}} %s -- */ \u200fتست', ensure_ascii=False)
    own.write_text(
        f"""
- id: own_visits
  name: {words}
  question: {words}
  unit: count
  direction: up
  class: A
  aggregator: count
  formula: {words}
  source: {words}
  owner: stores
  groupings: [[], [unitid]]
  of: {{events: {next(iter(CATALOGUE["store_visitors"].event_types))}}}
""",
        encoding="utf-8",
    )
    texts = files.texts(Catalogue.load([own]))
    for name in ("store", "explorer"):
        board = json.loads(texts[f"{name}.json"])
        choices = store.open(name, PERIOD).with_("kpi", ["own_visits"])
        asked = [query["rawSql"] for _, query in grafana.queries(board)]
        assert any("own_visits" in sql for sql in asked)
        for sql in asked:
            store.ask(grafana.expand(sql, choices, PERIOD))
