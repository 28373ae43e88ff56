"""A KPI by the days and hours of a zone is what its minutes add up to, from whatever rows the store reads it."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from streams.board.readings import ALL, KpiInfo
from streams.board.store import BoardStore
from streams.dashboards.sql import Terms, trend
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.steps import Steps, clock_of
from streams.storage.connection import PermanentStorageError
from streams.storage.series import MOST_STEPS, run_series, runs_of
from streams.storage.writer import MinuteRow, Writer
from tests.harness import grafana
from tests.harness.clickhouse import Database
from tests.harness.grafana import Choices, Period
from tests.integration.test_storage_rollups import sum_up

DAY = 86_400


def seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@pytest.fixture
def writer(database: Database):
    database.client.command("SYSTEM STOP VIEW kpi_spans_plan")
    made = Writer(database.writer)
    made.store_catalogue(Catalogue.load().kpis.values())
    yield made
    made.close()


def rows_between(since: int, until: int, count: int, seed: int) -> list[MinuteRow]:
    rng = random.Random(seed)
    minutes = rng.sample(range(since // 60, until // 60), count)
    return [("orders", minute, 0, [rng.randrange(1, 9)], 1) for minute in minutes]


def test_a_day_and_an_hour_in_iran(database: Database, writer: Writer) -> None:
    """Three orders around midnight, which is 20:30 in UTC."""
    times = ["2026-11-27T23:50+03:30", "2026-11-28T00:10+03:30", "2026-11-28T00:40+03:30"]
    writer.insert_kpi_minutes([("orders", seconds(at) // 60, 0, [1], 1) for at in times], "x-0-0-0")

    def asked(length: str, since: str, until: str, zone: str = "Asia/Tehran") -> list[tuple[object, ...]]:
        steps = Steps.parse(length, zone)
        answer = run_series("orders", "", seconds(since), seconds(until), steps, database.reader)
        place = {name: number for number, name in enumerate(answer.columns)}
        return [tuple(row[place[name]] for name in ("time", "until", "n", "step")) for row in answer.rows]

    assert asked("1d", "2026-11-27T00:00+03:30", "2026-11-29T00:00+03:30") == [
        ("2026-11-27 00:00+03:30", "2026-11-28 00:00+03:30", 1, "whole"),
        ("2026-11-28 00:00+03:30", "2026-11-29 00:00+03:30", 2, "whole"),
    ]
    assert asked("1h", "2026-11-28T00:00+03:30", "2026-11-28T02:00+03:30") == [
        ("2026-11-28 00:00+03:30", "2026-11-28 01:00+03:30", 2, "whole"),
    ]
    assert asked("1h", "2026-11-28T00:00+03:30", "2026-11-28T02:00+03:30", "UTC") == [
        ("2026-11-27 20:30+00:00", "2026-11-27 21:00+00:00", 1, "cut"),
        ("2026-11-27 21:00+00:00", "2026-11-27 22:00+00:00", 1, "whole"),
    ], "an hour that begins before the span says that it is cut"
    assert asked("1d", "2026-11-27T00:00+03:30", "2026-11-28T00:20+03:30")[-1] == (
        "2026-11-28 00:00+03:30", "2026-11-28 00:20+03:30", 1, "cut",
    )  # fmt: skip
    dated = run_series(
        "orders", "", 0, seconds("2100-01-01"), Steps.parse("1mo", "Asia/Tehran", "jalali"), database.reader
    )
    [[time, _, date, zone, *_, n, _, step, _]] = dated.rows
    assert (time, date, zone, n, step) == ("2026-11-22 00:00+03:30", "1405-09-01", "Asia/Tehran", 3, "whole")


ZONES = {
    "Asia/Tehran": "2021-09-19T00:00Z", "Asia/Kathmandu": "2025-12-29T00:00Z",
    "Australia/Lord_Howe": "2026-04-03T00:00Z", "Europe/Berlin": "2026-03-27T11:00Z",
}  # fmt: skip


def test_steps_hold_what_their_minutes_hold(database: Database, writer: Writer) -> None:
    """Before hours and days are summed up, and after: days around a clock change, in each length of step."""
    rows = {zone: rows_between(seconds(since), seconds(since) + 4 * DAY, 600, 5) for zone, since in ZONES.items()}
    writer.insert_kpi_minutes([row for some in rows.values() for row in some], "x-0-0-0")

    def require(zone: str, length: str, frm: int, to: int) -> None:
        steps = Steps.parse(length, zone, "jalali", 5)
        wanted: dict[str, int] = {}
        for _, minute, _, acc, _ in rows[zone]:
            if frm <= minute * 60 < to:
                [first, _] = steps.bounds(minute * 60, minute * 60 + 1)
                label = datetime.fromtimestamp(max(first, frm), ZoneInfo(zone)).isoformat(" ", "minutes")
                wanted[label] = wanted.get(label, 0) + acc[0]  # type: ignore[index]
        found = run_series("orders", "", frm, to, steps, database.reader)
        assert {row[0]: row[9] for row in found.rows} == wanted, (zone, length, frm)

    for lengths in (("1h", "20m"), ("1d", "6h", "1mo")):
        for zone, since in ZONES.items():
            begin, end = seconds(since), seconds(since) + 4 * DAY
            for length in lengths:
                require(zone, length, begin, end)
            require(zone, "1d", begin + 7 * 3600 + 17 * 60, end - 61 * 60)
        sum_up(database)
    days = Steps.parse("1d", "Asia/Tehran").bounds(
        seconds(ZONES["Asia/Tehran"]), seconds(ZONES["Asia/Tehran"]) + 4 * DAY
    )
    read = database.value(
        f"SELECT count() FROM kpi_sums(kpi = 'orders', from = toDateTime({days[0]}), to = toDateTime({days[-1]}),"
        f" grain = 0, bounds = {days})"
    )
    assert read < 200, "days of a zone are made of hours, and of minutes only where an hour is cut"


def test_maturity_is_that_of_the_whole_step(database: Database, writer: Writer) -> None:
    at = seconds("2026-11-28T00:10+03:30")
    writer.insert_kpi_minutes([("orders", at // 60, 0, [1], 1), ("orders", at // 60 + 60, 0, [1], 1)], "x-0-0-0")
    database.client.command(
        "INSERT INTO kpi_values (kpi, by, labels, window, stat, at, value, n, lo, hi, maturity, revision, definition)"
        f" VALUES ('orders', '', map(), '1m', '', {seconds('2026-11-28T01:00+03:30')}, 1, 1, NULL, NULL, 'closed', 1, 'x')"
    )
    found = run_series("orders", "", at - DAY, at + DAY, Steps.parse("1h", "Asia/Tehran"), database.reader)
    assert [row[9] for row in found.rows] == ["closed", "open"]


def test_more_steps_than_anyone_reads_are_refused(database: Database, writer: Writer) -> None:
    far = seconds("2020-01-01T00:00Z") // 60
    writer.insert_kpi_minutes([("orders", far, 0, [1], 1), ("orders", far + 200_000, 0, [1], 1)], "x-0-0-0")
    with pytest.raises(PermanentStorageError, match=f"at most {MOST_STEPS:,} are given"):
        run_series("orders", "", 0, seconds("2100-01-01"), Steps.parse("1m"), database.reader)
    assert len(run_series("orders", "", 0, seconds("2100-01-01"), Steps.parse("3m"), database.reader).rows) == 2


def test_runs_hold_the_bounds() -> None:
    def written(bounds: Sequence[int]) -> list[int]:
        return [at for run in runs_of(bounds) for at in range(*run)]

    for length in ("1h", "1d", "1mo"):
        bounds = Steps.parse(length, "Europe/Berlin").bounds(1_000_000_020, 1_100_000_000)
        assert written(bounds) == bounds
    assert written([5, 9, 10, 11, 13, 15, 17, 100]) == [5, 9, 10, 11, 13, 15, 17, 100]


def test_the_store_cuts_time_as_the_steps_do(database: Database, writer: Writer) -> None:
    """Around clock changes and far from them; where the view gives no bounds, steps are multiples since 1970."""
    rng = random.Random(7)
    for zone in (*ZONES, "UTC", "America/Havana", "America/St_Johns", "Pacific/Apia"):
        writer.store_clock(Steps("week", 1, zone, first_day=5))
        changes = [at for at in clock_of(zone).since if seconds("1990-01-01") < at < seconds("2037-01-01")] or [10**9]
        for text, size in (("1h", 3600), ("20m", 1200), ("6h", 21_600), ("1d", DAY), ("1w", 7 * DAY), ("2w", 14 * DAY)):
            steps = Steps.parse(text, zone, "gregorian", 5)
            since = (rng.choice(changes) + rng.randrange(-DAY, DAY)) // 60 * 60
            until = since + rng.choice([60, 3 * size])
            asked = f"from = toDateTime({since}, 'UTC'), to = toDateTime({until}, 'UTC'), step = {size}"
            found = database.value(f"SELECT bounds FROM step_bounds({asked})")
            wanted = steps.bounds(since, until)
            assert found == wanted or (not found and all(at % size == 0 for at in wanted)), (zone, text, since)


def test_views_page_and_dashboards_give_the_days_of_the_zone(database: Database, writer: Writer) -> None:
    """Orders on two days of Tehran, a day without any, and on two Saturdays; weeks begin there on Saturday."""
    writer.store_clock(Steps("week", 1, "Asia/Tehran", "jalali", 5))
    times = ["2026-11-27T23:50", "2026-11-28T00:10", "2026-11-28T23:59", "2026-11-30T00:00", "2026-12-05T00:00"]
    orders: list[MinuteRow] = [("orders", seconds(f"{at}+03:30") // 60, 0, [1], 1) for at in times]
    writer.insert_kpi_minutes(orders, "x-0-0-0")
    friday, until = seconds("2026-11-27T00:00+03:30"), seconds("2026-12-06T00:00+03:30")

    def series(step: int) -> list[tuple[int, int, int]]:
        asked = f"kpi = 'orders', from = toDateTime({friday}, 'UTC'), to = toDateTime({until}, 'UTC'), step = {step}"
        sql = (
            f"SELECT toUnixTimestamp(time), toUnixTimestamp(until), n FROM kpi_series({asked}) WHERE by = '' ORDER BY 1"
        )
        return [(at - friday, end - friday, n) for at, end, n in database.rows(sql)]

    days = [(0, DAY, 1), (DAY, 2 * DAY, 2), (3 * DAY, 4 * DAY, 1), (8 * DAY, 9 * DAY, 1)]
    assert series(DAY) == days
    assert series(7 * DAY) == [(-6 * DAY, DAY, 1), (DAY, 8 * DAY, 3), (8 * DAY, 15 * DAY, 1)]
    assert [n for *_, n in series(3600)] == [1, 1, 1, 1, 1], "no hour holds minutes of two"

    store = BoardStore(database.reader)
    course = store.trend(KpiInfo(id="orders", name=""), friday + 60, until, DAY)["orders", ALL, ""]
    store.close()
    assert [(point.since - friday, point.at - friday, point.n) for point in course] == days[1:], "one was cut"

    period = Period(datetime.fromtimestamp(friday, UTC), datetime.fromtimestamp(until, UTC))
    asked = grafana.expand(
        trend("'orders'", Terms("0", "0", "'none'", "nan"), "by = ''"), Choices({"window": ["24h"]}), period
    )
    drawn = [(int(at.replace(tzinfo=UTC).timestamp()) - friday, n) for at, *_, n in database.rows(asked)]
    assert drawn == [(0, 1), (DAY, 2), (2 * DAY, 0), (3 * DAY, 1), (4 * DAY, 0), (8 * DAY, 1)]
    assert [row[2] for row in database.rows(asked)] == [1, 2, None, 1, None, 1], "no line across a day without orders"
