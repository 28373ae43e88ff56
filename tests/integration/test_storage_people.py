"""The views in which people ask, on the real server."""

from datetime import UTC, datetime
from typing import Any

import pytest

from streams.kpis.aggregators import measure
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.series import series_key
from streams.storage.rows import DeadLetter, ValueRow
from streams.storage.setup import prepare
from streams.storage.writer import Writer
from tests.harness.clickhouse import TOPIC, Database, block_of, event

START = int(datetime(2026, 3, 8, 10, tzinfo=UTC).timestamp())
DAY, WEEK = 86_400, 604_800
PERSIAN = "خیلی کند بود؛ دو روز دیر رسید"


@pytest.fixture
def store(database: Database) -> Any:
    prepare(database.admin, Catalogue.load(), lambda _: None)
    writer = Writer(database.writer)
    yield writer
    writer.close()


def csat(channel: str, at: int, acc: list[int], touchpoint: str = "") -> tuple[str, int, int, list[int], int]:
    labels = (("channel", channel), *((("touchpoint", touchpoint),) if touchpoint else ()))
    return series_key("csat", labels), at // 60, 0, acc, 1


def closed(series: str, window: str, at: int, value: float | None, n: int = 9) -> ValueRow:
    return ValueRow(series, window, "", at, value, n, None, None, "csat@1", closed=True, revision=at)


def test_an_analyst_asks_in_one_line(database: Database, store: Writer) -> None:
    """Labels choose the grouping; a star stands for each; the window ends with the newest closed minute."""
    store.insert_kpi_minutes(
        [csat("web", START, [40, 30]), csat("web", START - 3600, [9, 0]), csat("app", START + 60, [2, 1]),
         ("csat", START // 60, 0, [42, 31], 1), csat("web", START + 600, [50, 50])], "t-0-0-0")  # fmt: skip
    store.insert_kpi_values([closed("csat", "1m", START + 300, 1.0)], "t-0-0-0")
    asked = "SELECT labels, value, n, lo, hi, maturity, kpi_maturity, enough, from, to FROM kpi_over(kpi = 'csat', window = '{}', labels = map({}))"
    wanted = measure("ratio", [40, 30], unit="percent")
    [web, app] = database.rows(asked.format("10m", "'channel', '*'"))
    assert (web[0], app[0], web[1:3]) == ({"channel": "web"}, {"channel": "app"}, wanted[:2])
    assert web[3:5] == (pytest.approx(wanted.lo), pytest.approx(wanted.hi))
    kpi = Catalogue.load()["csat"]
    assert (web[5], web[6], web[7], app[7]) == ("closed", kpi.maturity, kpi.min_n.show <= 40, kpi.min_n.show <= 2)
    assert [int(at.replace(tzinfo=UTC).timestamp()) for at in web[8:]] == [START - 300, START + 300]
    assert [row[2] for row in database.rows(asked.format("2h", "'channel', 'web'"))] == [49]
    assert [row[2] for row in database.rows(asked.format("1d", ""))] == [42]
    assert database.rows(asked.format("1d", "'region', '*'")) == []


def test_every_value_says_whether_more_is_expected(database: Database, store: Writer) -> None:
    """Closed up to the newest minute that the KPI itself has closed; open beyond it, and before it has closed any."""
    gap = Catalogue.load()["csat_channel_gap"]
    store.insert_kpi_minutes([csat("web", START + late, [4, 3], "checkout") for late in (0, 60, 3540, 3600)], "t-0-0-0")
    window = f"from = fromUnixTimestamp({START}), to = fromUnixTimestamp({{}})"
    over = f"SELECT maturity FROM {{}}(kpi = 'csat', {window}{{}})"
    views = {"kpi": "", "kpi_compared": ", ago = 3600", "kpi_heat": "", "kpi_series": ", step = 86400"}
    for view, more in views.items():
        assert database.rows(over.format(view, START + 60, more)) == [("open",)], f"{view}: nothing has been published"
    store.insert_kpi_values(
        [closed("csat", "5m", START + 3600, 1.0), closed("csat", "1h", START + 3000, 1.0),
         closed("csat", "1h", START + 3600, None)._replace(at=START + 9000, closed=False), closed("nps", "1m", START + 9000, 1.0),
         closed(gap.id, "1h", START + 3600, 5.0), closed(gap.id, "24h", START + 3000, 5.0)], "t-0-0-0")  # fmt: skip
    for view, more in views.items():
        ends = {end: database.rows(over.format(view, START + end, more)) for end in (60, 3600, 3660)}
        assert ends == {60: [("closed",)], 3600: [("closed",)], 3660: [("open",)]}, view
    steps = f"SELECT toUnixTimestamp(time) - {START}, maturity FROM kpi_series(kpi = 'csat', {window}, step = 1800) ORDER BY 1"
    assert database.rows(steps.format(START + 3660)) == [(0, "closed"), (1800, "closed"), (3600, "open")]
    of_others = (
        f"SELECT maturity FROM kpi(kpi = '{gap.id}', from = fromUnixTimestamp({{}}), to = fromUnixTimestamp({{}}))"
    )
    assert database.rows(of_others.format(START, START + 3600)) == [("closed",)]
    assert database.rows(of_others.format(START + 60, START + 3660)) == [("open",)], "a later event may bring another"
    for settled in ("kpi_latest", "kpi_changes(window = '5m')", "kpi_over(kpi = 'csat', window = '1h', labels = map('channel', '*', 'touchpoint', '*'))"):  # fmt: skip
        assert database.rows(f"SELECT DISTINCT maturity FROM {settled}") == [("closed",)], settled


def test_a_window_is_put_beside_an_earlier_one(database: Database, store: Writer) -> None:
    """A change is one when the intervals do not meet; what was not there before is no change, and not 0."""
    rows = [csat("web", START, [400, 300]), csat("web", START - WEEK, [400, 380]), csat("app", START, [40, 20]),
            csat("app", START - WEEK, [40, 24]), csat("store", START, [4, 4])]  # fmt: skip
    store.insert_kpi_minutes(rows, "t-0-0-0")
    found = database.rows(
        "SELECT labels['channel'], value, before, before_n, change, moved FROM kpi_compared(kpi = 'csat',"
        f" from = fromUnixTimestamp({START}), to = fromUnixTimestamp({START + 3600}), ago = {WEEK}) ORDER BY 1"
    )
    assert found == [
        ("app", 50.0, 60.0, 40, -10.0, "same"), ("store", 100.0, None, None, None, ""),
        ("web", 75.0, 95.0, 400, -20.0, "down"),
    ]  # fmt: skip


def test_rolling_values_are_put_beside_yesterday_and_last_week(database: Database, store: Writer) -> None:
    """What was published last before then held then; a window that had emptied had no value."""
    web, app = series_key("csat", (("channel", "web"),)), series_key("csat", (("channel", "app"),))
    rows = [
        closed(web, "1h", START, 80.0), closed(web, "1h", START - DAY - 600, 70.0), closed(web, "1h", START - DAY - 1200, 60.0),
        closed(web, "1h", START - DAY + 60, 10.0), closed(web, "1h", START - WEEK, 90.0), closed(web, "5m", START, 1.0),
        closed(app, "1h", START - 60, 50.0), closed(app, "1h", START - DAY - 1800, 40.0),
        closed(app, "1h", START - DAY - 900, None, 0),
    ]  # fmt: skip
    store.insert_kpi_values(rows, "t-0-0-0")
    found = database.rows(
        "SELECT labels['channel'], value, day_before, day_change, week_before, week_change, toUnixTimestamp(as_of)"
        " FROM kpi_changes(window = '1h') WHERE kpi = 'csat' ORDER BY 1"
    )
    assert found == [
        ("app", 50.0, None, None, None, None, START), ("web", 80.0, 70.0, 10.0, 90.0, -10.0, START),
    ]  # fmt: skip


def test_a_kpi_made_of_others_is_answered_as_it_was_published(database: Database, store: Writer) -> None:
    """Over a window that is kept, with what was published last in it; over any other there is nothing, and no guess."""
    gap = Catalogue.load()["csat_channel_gap"]
    rows = [
        ValueRow(gap.id, window, "", at, value, 30, value - 1, value + 1, gap.definition_id, closed=closed, revision=revision)
        for window, at, value, closed, revision in [
            ("1h", START - 120, 5.0, True, 1), ("1h", START - 60, 7.0, True, 2), ("1h", START - 60, 8.0, True, 3),
            ("1h", START, 99.0, False, 9), ("5m", START - 60, 44.0, True, 4), ("1h", START - 3600, 1.0, True, 1),
        ]
    ]  # fmt: skip
    store.insert_kpi_values([*rows, closed("csat", "1h", START, 12.0)], "t-0-0-0")
    asked = "SELECT value, n, lo, hi, unit, definition FROM kpi(kpi = '{}', from = fromUnixTimestamp({}), to = fromUnixTimestamp({}))"
    [row] = database.rows(asked.format(gap.id, START - 3600, START))
    assert row == (8.0, 30, 7.0, 9.0, gap.unit, gap.definition_id)
    assert [row[0] for row in database.rows(asked.format(gap.id, START - 300, START))] == [44.0]
    assert database.rows(asked.format(gap.id, START - 3000, START)) == []
    assert database.rows(asked.format("csat", START - 3600, START)) == [], "of any other KPI, only what adds up"
    [over] = database.rows(
        "SELECT value, enough, to FROM kpi_over(kpi = 'csat_channel_gap', window = '1h', labels = map())"
    )
    assert over[:2] == (8.0, True)
    assert int(over[2].replace(tzinfo=UTC).timestamp()) == START - 60
    types = "SELECT toTypeName(unit), toTypeName(definition) FROM kpi(kpi = '{}', from = fromUnixTimestamp({}), to = fromUnixTimestamp({}))"
    assert database.rows(types.format(gap.id, START - 3600, START)) == [
        ("LowCardinality(String)", "LowCardinality(String)")
    ]


def test_a_heat_map_knows_names_and_targets(database: Database, store: Writer) -> None:
    """Only where the interval says so a touchpoint is below or above its target."""
    name, target = database.rows("SELECT name, target FROM touchpoints FINAL WHERE touchpoint = 'checkout'")[0]
    rows = [csat("web", START, [400, 100], "checkout"), csat("app", START, [400, 399], "checkout"),
            csat("web", START, [1, 1], "checkout-unknown")]  # fmt: skip
    store.insert_kpi_minutes(rows, "t-0-0-0")
    found = database.rows(
        "SELECT channel, touchpoint, name, target, standing FROM kpi_heat(kpi = 'csat',"
        f" from = fromUnixTimestamp({START}), to = fromUnixTimestamp({START + 60})) ORDER BY touchpoint, channel"
    )
    assert found == [
        ("app", "checkout", name, target, "above"), ("web", "checkout", name, target, "below"),
        ("web", "checkout-unknown", "", None, ""),
    ]  # fmt: skip
    assert database.value("SELECT dictGet('touchpoint_facts', 'name', 'checkout')") == name
    assert database.value("SELECT dictGet('kpi_facts', 'name', 'csat')") == Catalogue.load()["csat"].name


def test_verbatims_in_any_script_lead_to_their_events(database: Database, store: Writer) -> None:
    """Persian is known as right to left; events without words, and those of tests, are left out."""
    store.insert_block(block_of([
        event(1, touchpoint="search", segment="vip", data={"text": PERSIAN, "score": 1}),
        event(2, data={"text": "fine"}), event(3), event(4, data={"text": ""}),
        event(5, synthetic=True, data={"text": "made up"}),
    ]))  # fmt: skip
    rows = database.rows(
        "SELECT text, score, scale, metric, customer, segment, touchpoint, right_to_left, event FROM verbatims"
    )
    assert rows == [
        (PERSIAN, 1, 5, "csat", "c1", "vip", "search", 1, f"{TOPIC}/0/0"),
        ("fine", 5, 5, "csat", "c2", "", "", 0, f"{TOPIC}/0/1"),
    ]


def test_the_balance_by_minute_adds_up(database: Database, store: Writer) -> None:
    """By the time of storing; both tables can be cut by it without being read as a whole."""
    letter = DeadLetter(2, "missing_field", "id", "", "", "no id", b"{}", START)
    store.insert_block(block_of([event(1), event(2)], dead_letters=[letter], duplicates=2, late_offsets=[1]))
    rows = database.rows("SELECT topic, partition, read, counted, duplicate, late, bad FROM pipeline_minutes"
                         " WHERE minute >= now() - 3600")  # fmt: skip
    assert rows == [(TOPIC, 0, 5, 1, 2, 1, 1)]
    assert {row[0] for row in database.rows("SELECT table FROM system.data_skipping_indices WHERE name = 'by_arrival'"
                                            " AND database = currentDatabase()")} == {"outcomes", "dead_letters"}  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b'"channel":"web","channel":"app","data":{"score":1,"score":5}', ("app", 5, '{"score":5}')),
        (b'"channel":"web","data":{"score":1},"data":{"score":4}', ("web", 4, '{"score":4}')),
        (b'"channel":"web","data":{"text":"a \\"b\\" \xd8\xb3","score":1,"score":2}',
         ("web", 2, '{"text":"a \\"b\\" س","score":2}')),
        (b'"channel":"web","data":{"score":3,"much":1e999,"much":2e999}', ("web", 3, '{"score":3,"much":null}')),
        (b'"channel":"web","data":{"score": 3, "o":{"score":1}}', ("web", 3, '{"score": 3, "o":{"score":1}}')),
    ],
)  # fmt: skip
def test_of_repeated_keys_the_last_counts_as_for_the_workers(
    database: Database, store: Writer, sent: bytes, read: tuple[str, int, str]
) -> None:
    """And data without repetition is kept to the letter."""
    head = b'{"specversion":"1.0","id":"1","source":"/t","type":"cx.survey.answered","time":"2026-03-01T10:00:30Z","subject":"c",'
    store.insert_block(block_of([head + sent + b"}"]))
    [(channel, score, data, payload)] = database.rows("SELECT channel, score, data, payload FROM events")
    assert (channel, score, data.replace(" ", "")) == (read[0], read[1], read[2].replace(" ", ""))
    assert payload.encode() == head + sent + b"}"
