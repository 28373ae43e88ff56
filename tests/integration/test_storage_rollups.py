"""Sums per hour and day give what the minutes give, at any time, whatever was revised, repeated, deleted or cut off."""

import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streams.kpis.language.series import series_key
from streams.storage.connection import never_a_repeat
from streams.storage.relabel import name_anew, named_otherwise
from streams.storage.retention import keep
from streams.storage.rollups import changed, newest_again
from streams.storage.rows import ValueRow
from streams.storage.starts import Beyond, add_balances
from streams.storage.writer import MinuteRow, Writer
from tests.harness.clickhouse import Database

START = datetime(2025, 12, 30, tzinfo=UTC)
DAYS = 4
PART = (7 << 40) - 1
OTHERWISE = "csat\x1fregion\x1fكتاب"
"""A series as versions before the rule for labels named it."""
SERIES = ["", "a", "b", "c"]
SPANS = [
    (timedelta(0), timedelta(days=DAYS)),
    (timedelta(hours=5), timedelta(days=3, hours=7)),
    (timedelta(minutes=17), timedelta(days=2, hours=3, minutes=41)),
    (timedelta(hours=30, minutes=1), timedelta(hours=30, minutes=59)),
    (timedelta(days=1), timedelta(days=2)),
]
STEPS = [0, 60, 300, 3600, 5400, 7200, 86_400, 172_800]
SUMS = (
    "SELECT by, labels, {} AS time, sumForEach(fields), mapSort(sumMap(bins)), sum(n) FROM {} GROUP BY by, labels, time"
)


def minute_rows(kpi: str, rng: random.Random, count: int, revision: int) -> list[MinuteRow]:
    """Some minutes anywhere in the four days, two of whose parts may be there; every one holds more than before."""
    rows: list[MinuteRow] = []
    for place in rng.sample(range(DAYS * 1440), count):
        label = rng.choice(SERIES)
        series = series_key(kpi, (("channel", label),) if label else ())
        n = revision + rng.randrange(9)
        acc = {rng.randrange(300, 400): n} if kpi == "aht" else [n, rng.randrange(n + 1)]
        rows.append((series, int(START.timestamp()) // 60 + place, rng.randrange(2), acc, revision))  # type: ignore[arg-type]
    return rows


def sum_up(database: Database) -> None:
    """What happens by itself once an hour or a day has been quiet for a while; here at once."""
    database.client.command("""
        INSERT INTO kpi_spans_due
        SELECT now64(6, 'UTC') AS planned_at, kpi, span, start, sum(kpi_spans.changes) AS changes
        FROM kpi_spans GROUP BY kpi, span, start HAVING changes > max(rolled)""")
    for view in ("kpi_hours_of_minutes", "kpi_days_of_minutes"):
        database.client.command(f"SYSTEM REFRESH VIEW {view}")
        database.client.command(f"SYSTEM WAIT VIEW {view}")


def sources(database: Database, kpi: str, step: int = 0) -> tuple[int, int]:
    """Rows that a question over all four days adds up, and rows of minutes that there are."""
    pieces = f"kpi_sums(kpi = '{kpi}', from = '{START:%F %T}', to = '{START + timedelta(days=DAYS):%F %T}', grain = {step}, bounds = [])"
    return (
        database.value(f"SELECT count() FROM {pieces}"),
        database.value(f"SELECT count() FROM kpi_minutes FINAL WHERE kpi = '{kpi}'"),
    )


def require_equal(database: Database, kpi: str, steps: list[int] = STEPS) -> None:
    """The sums of all windows and steps, from the coarsest rows that will do and from the minutes."""
    for after, until in SPANS:
        since, to = f"{START + after:%F %T}", f"{START + until:%F %T}"
        for step in steps:
            bucket = (
                f"toDateTime(intDiv(toUInt32({{}}), {step}) * {step}, 'UTC')"
                if step
                else f"toDateTime('{since}', 'UTC')"
            )
            pieces = f"kpi_sums(kpi = '{kpi}', from = '{since}', to = '{to}', grain = {step}, bounds = [])"
            minutes = f"kpi_minutes FINAL WHERE kpi = '{kpi}' AND minute >= '{since}' AND minute < '{to}'"
            found = database.rows(SUMS.format(bucket.format("start"), pieces))
            wanted = database.rows(SUMS.format(bucket.format("minute"), minutes))
            assert sorted(found, key=str) == sorted(wanted, key=str), (since, to, step)


@pytest.fixture
def writer(database: Database) -> Any:
    # Nothing is summed up but when a test says so.
    database.client.command("SYSTEM STOP VIEW kpi_spans_plan")
    made = Writer(database.writer)
    yield made
    made.close()


def test_sums_are_exact_under_revisions_and_repetition(database: Database, writer: Writer) -> None:
    """Before anything is summed up, after, after late revisions, after rows that came twice, and after all of it again."""
    rng = random.Random(7)
    for kpi in ("csat", "aht"):
        rows = minute_rows(kpi, rng, 600, 1)
        writer.insert_kpi_minutes(rows, f"{kpi}-1")
        require_equal(database, kpi, [0, 3600])
        sum_up(database)
        summed, minutes = sources(database, kpi)
        assert summed < len(SERIES) * (DAYS + 1) < minutes, "days are used"
        require_equal(database, kpi)

        late = minute_rows(kpi, rng, 12, 2)
        writer.insert_kpi_minutes(late, f"{kpi}-2")
        assert summed < sources(database, kpi)[0] < minutes, (
            "what has changed is read from the minutes, the rest is not"
        )
        require_equal(database, kpi)
        writer.insert_kpi_minutes([*rows, *late], f"{kpi}-3")
        require_equal(database, kpi, [0, 7200])
        sum_up(database)
        assert sources(database, kpi)[0] < len(SERIES) * (DAYS + 1)
        require_equal(database, kpi)
    assert database.value("SELECT countIf(rows > 1) FROM (SELECT count() AS rows FROM kpi_hours FINAL"
                          " GROUP BY kpi, by, labels, hour)") == 0  # fmt: skip


def test_every_step_reads_the_coarsest_rows_that_are_exact(database: Database, writer: Writer) -> None:
    """A step of an hour needs hours, of 90 minutes minutes, of two days days."""
    first = int(START.timestamp()) // 60
    writer.insert_kpi_minutes([("csat", first + place, 0, [1, 1], 1) for place in range(DAYS * 1440)], "all")
    sum_up(database)
    rows = {step: sources(database, "csat", step)[0] for step in STEPS}
    hours = DAYS * 24
    assert rows == {0: DAYS, 60: 1440 * DAYS, 300: 1440 * DAYS, 3600: hours, 5400: 1440 * DAYS, 7200: hours, 86_400: DAYS,
                    172_800: DAYS}  # fmt: skip


def test_deleted_rows_leave_the_sums_once_that_is_told(database: Database, writer: Writer) -> None:
    """A series that is gone altogether too, whose old sums nothing replaces."""
    rng = random.Random(8)
    writer.insert_kpi_minutes(minute_rows("csat", rng, 300, 1), "csat-1")
    sum_up(database)
    database.client.command("DELETE FROM kpi_minutes WHERE labels['channel'] = 'b' OR minute < '2025-12-31 06:30:00'")
    changed(database.client, ["csat"])
    require_equal(database, "csat")
    sum_up(database)
    require_equal(database, "csat")
    summed, _ = sources(database, "csat")
    assert summed <= len(SERIES) * DAYS, "all is summed up again"


def test_sums_that_were_cut_off_are_not_used(database: Database, writer: Writer) -> None:
    """Rows whose mark never came: the hour counts as not summed up; with the mark they are newer than what is there."""
    writer.insert_kpi_minutes([("csat", int(START.timestamp()) // 60, 0, [3, 2], 1)], "csat-1")
    database.client.command("DETACH TABLE kpi_spans_of_hours")
    sum_up(database)
    assert database.value("SELECT count() FROM kpi_hours") == 1
    database.client.command("ATTACH TABLE kpi_spans_of_hours")
    assert database.rows("SELECT max(rolled) FROM kpi_spans WHERE span = 'hour'") == [(0,)]
    require_equal(database, "csat", [0, 3600])


def test_what_is_quiet_is_planned_and_nothing_else(database: Database, writer: Writer) -> None:
    """An hour after a minute, a day after ten; the plan is what the database makes by itself."""
    writer.insert_kpi_minutes([("csat", int(START.timestamp()) // 60, 0, [3, 2], 1)], "csat-1")
    spans = "INSERT INTO kpi_spans SELECT 'aht', '{}', '2026-01-01 00:00:00', 1, now() - {}, 0"
    # However long this takes, they have changed just now.
    database.client.command(
        "INSERT INTO kpi_spans SELECT kpi, span, start, 1, now() + 3600, 0 FROM kpi_spans WHERE kpi = 'csat'"
    )
    database.client.command("SYSTEM START VIEW kpi_spans_plan")
    for span, quiet in (("hour", 100), ("day", 100)):
        database.client.command(spans.format(span, quiet))
    database.client.command("SYSTEM REFRESH VIEW kpi_spans_plan")
    database.client.command("SYSTEM WAIT VIEW kpi_spans_plan")
    assert database.rows("SELECT DISTINCT kpi, span FROM kpi_spans_due") == [("aht", "hour")]
    database.client.command("ALTER TABLE kpi_spans_due DELETE WHERE 1 SETTINGS mutations_sync = 1")
    database.client.command(spans.format("day", 900).replace("2026-01-01", "2026-01-02"))
    database.client.command("SYSTEM REFRESH VIEW kpi_spans_plan")
    database.client.command("SYSTEM WAIT VIEW kpi_spans_plan")
    assert ("aht", "day") in database.rows("SELECT DISTINCT kpi, span FROM kpi_spans_due")


def test_the_newest_value_is_that_of_all_history(database: Database, writer: Writer) -> None:
    """Later windows before higher revisions, closed ones only; after a deletion, the newest that is left."""
    series, at = series_key("csat", (("channel", "web"),)), int(START.timestamp())
    row = ValueRow(series, "1h", "", at, 1.0, 5, 0.5, 1.5, "csat@1", closed=True, revision=3)
    rows = [
        row,
        row._replace(value=2.0, revision=5),
        row._replace(value=3.0, revision=4),
        row._replace(value=4.0, at=at + 60, revision=2),
        row._replace(value=5.0, at=at + 120, revision=9, closed=False),
        row._replace(value=None, n=0, lo=None, hi=None, at=at - 60, revision=99),
    ]
    for place, one in enumerate(rows):
        writer.insert_kpi_values([one], f"v-{place}")
    newest = "SELECT toUnixTimestamp(as_of), value, n, lo, hi, definition FROM kpi_latest"
    assert database.rows(newest) == [(at + 60, 4.0, 5, 0.5, 1.5, "csat@1")]
    database.client.command("DELETE FROM kpi_values WHERE value = 4")
    newest_again(database.client, "csat")
    assert database.rows(newest) == [(at, 2.0, 5, 0.5, 1.5, "csat@1")]


def age(database: Database, days: int) -> None:
    """Make the store `days` old, in which minutes are kept for 30, and let those leave that are older."""
    keep(database.client, {"kpi_minutes": 30})
    names = ["topic", "partition", "first", "last", "read", "ingested_at"]
    row = ["t", 0, 0, 0, 0, datetime.now(UTC) - timedelta(days=days)]
    database.client.insert("outcomes", [row], column_names=names, settings=never_a_repeat())
    database.client.command("DELETE FROM kpi_minutes WHERE minute < now() - INTERVAL 30 DAY")


def first_whole_day(now: int) -> int:
    """The first minute (Unix seconds // 60) of the first day whose minutes are all there."""
    return -(-(now - 30 * 1440 + 60) // 1440) * 1440


def test_sums_stay_when_the_minutes_they_hold_have_left(database: Database, writer: Writer) -> None:
    """Hours and days are kept for longer; those whose minutes are still there follow these as ever."""
    now = int(time.time()) // 60
    old, new = now - 45 * 1440, now - 1440
    border = first_whole_day(now)
    minutes = [old, old + 1, border - 1, border + 60, new, new + 1]
    writer.insert_kpi_minutes([("csat", minute, 0, [2, 1], 1) for minute in minutes], "csat-1")
    sum_up(database)
    age(database, 60)
    database.client.command(f"DELETE FROM kpi_minutes WHERE minute = toDateTime({60 * new}, 'UTC')")

    changed(database.client, ["csat"])

    total = (
        f"SELECT sum(n) FROM kpi_sums(kpi = 'csat', from = toDateTime({60 * (old // 1440 * 1440)}, 'UTC'),"
        f" to = toDateTime({60 * (now // 60 * 60 + 60)}, 'UTC'), grain = 0, bounds = [])"
    )
    assert database.value(total) == 2 * (len(minutes) - 1)
    sum_up(database)
    assert database.value(total) == 2 * (len(minutes) - 1)


def test_days_of_which_minutes_have_left_are_not_named_anew(database: Database, writer: Writer) -> None:
    """They would be summed up again, of what is left of them."""
    now = int(time.time()) // 60
    border = first_whole_day(now)
    writer.insert_kpi_minutes([(OTHERWISE, minute, 0, [2, 1], 1) for minute in (border - 1, border + 1)], "csat-1")
    age(database, 60)
    assert named_otherwise(database.client) == {"csat": 1}
    assert name_anew(database.client, "csat", "now()", PART) is not None
    assert named_otherwise(database.client) == {}
    named = database.rows("SELECT intDiv(toUnixTimestamp(minute), 60), labels['region'] FROM kpi_minutes ORDER BY 1")
    assert named == [(border - 1, "كتاب"), (border + 1, "کتاب")]


def test_what_is_written_again_is_no_repetition(database: Database, writer: Writer) -> None:
    """Also where the server compares all that is inserted with what was before."""
    client, minute = database.client, int(START.timestamp()) // 60
    client.set_client_setting("deduplicate_insert_select", "enable_even_for_bad_queries")
    value = ValueRow("csat", "1h", "", 60 * minute, 1.0, 5, 0.5, 1.5, "csat@1", closed=True, revision=3)
    writer.insert_kpi_values([value], "csat")
    for number in range(1, 4):
        client.command("TRUNCATE TABLE kpi_minutes")
        writer.insert_kpi_minutes([(OTHERWISE, minute, 0, [2, 1], 1)], f"csat-{number}")
        changed(client, ["csat"])
        newest_again(client, "csat")
        assert name_anew(client, "csat", "now()", PART) is not None
        add_balances(client, [Beyond("t", 0, 0, 5, 5, 1, 0, 0)])
        assert database.value("SELECT count() FROM kpi_latest") == 1
        assert database.rows("SELECT labels['region'], n FROM kpi_minutes") == [("کتاب", 2)]
        assert database.value("SELECT sum(counted) FROM outcomes") == 5 * number
        # The row, twice by being told of, and the one that it became.
        assert database.value("SELECT sum(changes) FROM kpi_spans WHERE span = 'day'") == 4 * number
