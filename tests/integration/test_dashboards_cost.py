"""
What an answer costs, in rows that the server reads: the same on every machine, however busy it is.

A store is filled by the generator of `bench.queries`, at a small scale. Of long windows sums of hours and days are
read, and minutes only at both ends: so what is read hardly grows with the days that are asked for.
"""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from clickhouse_connect.driver.client import Client

from streams.local.clickhouse import EmbeddedClickHouse
from streams.storage.setup import prepare
from tests.harness import grafana
from tests.harness.clickhouse import fresh_database
from tests.harness.filled import FIRST_DAY, fill_minutes, fill_values, questions, sum_up
from tests.harness.grafana import Period
from tests.harness.seeded import BOARDS, CATALOGUE, Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

DAYS, SERIES = 10, 400
KPIS = [
    CATALOGUE[kpi]
    for kpi in ("csat", "csat_mean", "nps", "aht", "asa", "service_level_all_offered", "conversion", "volume")
]
END = FIRST_DAY + timedelta(days=DAYS) - timedelta(minutes=13)
ALL_DAYS = Period.over(FIRST_DAY + timedelta(minutes=17), END)
LAST_DAY = Period.over(END - timedelta(days=1), END)

MOST_ROWS = 400_000
"""All series of a KPI over ten days read 342,000: two granules of minutes for each series, and its hours and days."""
FEW_ROWS = 4_000
"""Two granules: less is not worth a comparison."""


def rows_read(client: Client, sql: str) -> int:
    # The summary is complete only when it is sent after the answer is.
    return int(client.query(sql, settings={"wait_end_of_query": 1}).summary["read_rows"])


def settle(client: Client) -> None:
    """As merges leave it in the end: how many parts there are at a moment is chance."""
    tables = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    for (table,) in client.query(tables).result_rows:
        client.command(f"OPTIMIZE TABLE {table} FINAL")


@pytest.fixture(scope="module")
def store(clickhouse: EmbeddedClickHouse) -> Iterator[Store]:
    with fresh_database(clickhouse) as database:
        prepare(database.admin, CATALOGUE, lambda _: None)
        fill_minutes(database.client, KPIS, SERIES, DAYS)
        sum_up(database.client)
        fill_values(database.client, DAYS)
        settle(database.client)
        filled = Store(database)
        yield filled
        filled.client.close()


@pytest.fixture(scope="module")
def least(store: Store) -> int:
    """What every question reads: the catalogue and the tables of estimates."""
    return rows_read(
        store.client, "SELECT * FROM kpi_series(kpi = 'csat', from = '2020-01-01', to = '2020-01-02', step = 0)"
    )


@pytest.mark.parametrize("slug", BOARDS)
def test_a_panel_reads_little_more_of_ten_days_than_of_one(store: Store, least: int, slug: str) -> None:
    """As the dashboard opens: within the bound, and by the sums."""
    long, short = (store.open(slug, period) for period in (ALL_DAYS, LAST_DAY))
    compared = 0
    for where, query in grafana.queries(BOARDS[slug]):
        much = rows_read(store.client, grafana.expand(query["rawSql"], long, ALL_DAYS)) - least
        assert much <= MOST_ROWS, f"{where} reads {much:,} rows"
        if much > FEW_ROWS:
            little = rows_read(store.client, grafana.expand(query["rawSql"], short, LAST_DAY)) - least
            assert much <= 1.5 * little + FEW_ROWS, f"{where} reads {much:,} rows of ten days, {little:,} of one"
            compared += 1
    assert compared or slug in {"pipeline", "delivery"}, "nothing here reads anything"


def test_the_benchmarks_questions_stay_within_the_bound(store: Store, least: int) -> None:
    """All but the one that says of itself that it asks for everything."""
    asked = {name: sql for name, sql in questions(DAYS).items() if name != "changes of everything"}
    read = {name: rows_read(store.client, sql) - least for name, sql in asked.items()}
    assert {name: rows for name, rows in read.items() if rows > MOST_ROWS} == {}
    assert read["newest values of a KPI"] <= FEW_ROWS


def test_what_is_not_summed_up_is_noticed_here(store: Store, least: int) -> None:
    """The same hours as single minutes cost more: a view that stops using sums would be seen."""
    window = f"kpi = 'csat', from = '{ALL_DAYS.start:%F %T}', to = '{ALL_DAYS.end:%F %T}'"
    hours, minutes = (
        rows_read(store.client, f"SELECT count() FROM kpi_series({window}, step = {step}) WHERE by = 'unitid'") - least
        for step in (3_600, 60)
    )
    assert minutes > 1.5 * hours
