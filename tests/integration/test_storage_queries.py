"""Any KPI over any window, asked of the real server; values and intervals agree with Python."""

import json
import math
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from streams.commands.output import table
from streams.kpis.aggregators import measure
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.definition import Kpi
from streams.kpis.language.series import series_key
from streams.kpis.language.steps import Steps
from streams.settings import Settings
from streams.storage.connection import PermanentStorageError, connect
from streams.storage.derived import over_span
from streams.storage.queries import as_reader, run_query
from streams.storage.rows import ValueRow
from streams.storage.series import run_series
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database

START = int(datetime(2026, 3, 1, 10, tzinfo=UTC).timestamp()) // 60
DAY = {"from": datetime(2026, 3, 1, tzinfo=UTC), "to": datetime(2026, 3, 2, tzinfo=UTC)}

ACCS: dict[str, list[Acc]] = {
    "count": [[5], [1], [0]],
    "sum": [[3, 12_345], [2, -7]],
    "ratio": [[10, 8], [10, 0], [10, 10], [1000, 800], [3, 7], [0, 0]],
    "mean": [
        [1, 4000, 16_000_000], [2, 9000, 41_000_000], [6, 24_000, 100_000_000], [200, 900_000, 4_100_000_000], [0, 0, 0],
        [2, 6, 26], [40, 200, 1000], [40, 0, 0], [6, 18, 58], [322, 900, 810_000], [322, 900, 809_000], [9, -40, 600],
        [1 << 40, 1 << 50, 1 << 62],
    ],
    "nps": [[100, 50, 20], [36, 16, 12], [1, 1, 0], [4, 0, 4]],
    "share": [
        [3, 60, 50, 1400, 1300, 1300], [2, 30, 30, 500, 500, 500], [4, 40, 0, 400, 0, 0], [1, 7, 3, 49, 21, 9],
        [200, 900_000, 300_000, 4_100_000_000, 1_300_000_000, 1_300_000_000], [0, 0, 9, 0, 0, 81], [0, 0, 0, 0, 0, 0],
        [2, 1 << 60, 1 << 59, 1 << 120, 1 << 119, 1 << 118], [9, 9, 90, 9, 90, 1000], [9, 9, 90, 9, 90, 6000],
        [9, 9, -90, 9, -90, 1000], [9, 9, 0, 9, 0, 0], [5, 300, 200, 24_000, 15_000, 14_000],
    ],
    "distinct": [
        {77: 1}, {77: 3, 4162: 1}, {i * 64 + 1: 2 for i in range(2000)}, {i * 3 + 1: 9 for i in range(16_384)},
        {i * 3 + 1: 900_000_000 for i in range(20_000)}, {},
    ],
    "level": [[3, 2500, 3], [0, 7000, 4], [2, -7000, 4], [0, 0, 2], [0, 0, 0]],
    "quantile": [{5: 10, 400: 90, -1: 3}, {700: 1}, {i: i for i in range(300, 900)}],
}  # fmt: skip
KINDS: dict[str, list[str]] = {
    "mean": ["csat_mean", "asa", "sentiment", "net_sentiment", "qa_score"],
    "share": ["occupancy", "order_value"],
    "ratio": ["csat", "crash_rate"],
}
"""KPIs of an aggregator whose answers, or values, have different ranges."""


def first_of(aggregator: str) -> Kpi:
    return next(kpi for kpi in Catalogue.load().kpis.values() if kpi.aggregator == aggregator)


@pytest.fixture
def writer(database: Database):
    made = Writer(database.writer)
    made.store_catalogue(Catalogue.load().kpis.values())
    yield made
    made.close()


@pytest.mark.parametrize("aggregator", list(ACCS))
def test_sql_gives_the_numbers_python_gives(database: Database, writer: Writer, aggregator: str) -> None:
    """Value to the last digit, ends of intervals to nine; those of quantiles are found by approximation in SQL."""
    catalogue = Catalogue.load()
    for kpi in [catalogue[one] for one in KINDS.get(aggregator, ())] or [first_of(aggregator)]:
        # A rate without a hit is unknown as long as none was ever received.
        known = [acc for acc in ACCS[aggregator] if kpi.unit != "per_100" or acc[1] or not acc[0]]
        _compare(database, writer, kpi, known)


def _compare(database: Database, writer: Writer, kpi: Kpi, accs: list[Acc]) -> None:
    aggregator = kpi.aggregator
    rows = [(series_key(kpi.id, (("channel", f"c{i}"),)), START, 0, acc, 1) for i, acc in enumerate(accs)]
    writer.insert_kpi_minutes(rows, f"cx.kpis-0-0-0-{kpi.id}")

    answer = run_query("kpi", {"kpi": kpi.id, "by": "channel", **DAY}, database.reader)
    found = {(row[0]["channel"], row[1]): row for row in answer.rows}
    assert len(found) == len(accs) * max(1, len(kpi.quantiles))
    for i, acc in enumerate(accs):
        for q in kpi.quantiles or (0.5,):
            stat = f"p{100 * q:g}" if kpi.quantiles else ""
            value, lo, hi, n = found[f"c{i}", stat][2:6]
            wanted = measure(aggregator, acc, kpi.scale, unit=kpi.unit, q=q, within=kpi.range)
            assert (value, int(n)) == (wanted.value, wanted.n)
            if aggregator == "quantile":
                continue  # its ends are ranks found by approximation, tested on their own
            for ours, exact in ((lo, wanted.lo), (hi, wanted.hi)):
                assert (ours is None) == (exact is None), (kpi.id, acc)
                assert ours is None or math.isclose(ours, exact, rel_tol=1e-9, abs_tol=1e-9)


def test_the_interval_of_a_quantile_holds_it(database: Database, writer: Writer) -> None:
    """From many values the ends are near Python's, from one there are none."""
    kpi = first_of("quantile")
    writer.insert_kpi_minutes([(kpi.id, START, 0, {i: i for i in range(300, 900)}, 1)], "cx.kpis-0-0-0")
    for row in run_query("kpi", {"kpi": kpi.id, **DAY}, database.reader).rows:
        wanted = measure("quantile", {i: i for i in range(300, 900)}, kpi.scale, q=float(row[1][1:]) / 100)
        assert row[3] <= row[2] <= row[4]
        assert wanted.lo is not None
        assert wanted.hi is not None
        assert math.isclose(row[3], wanted.lo, rel_tol=0.021)
        assert math.isclose(row[4], wanted.hi, rel_tol=0.021)


def test_windows_are_cut_at_their_minutes(database: Database, writer: Writer) -> None:
    """`from` is included, `to` is not; parts of a minute and the newest revision count."""
    kpi = first_of("ratio")
    rows = [(kpi.id, START + i, part, [1, 1], 1) for i in range(10) for part in (0, 1)]
    writer.insert_kpi_minutes(rows, "cx.kpis-0-0-0")
    writer.insert_kpi_minutes([(kpi.id, START + 3, 0, [5, 0], 2)], "cx.kpis-0-1-1")
    window = {"from": "2026-03-01 10:02:00", "to": "2026-03-01 10:05:00"}
    [[labels, _, value, *_, n, maturity, _, definition, _]] = run_query(
        "kpi", {"kpi": kpi.id, **window}, database.reader
    ).rows
    assert (labels, n, maturity, definition) == ({}, 10, "open", kpi.definition_id)
    assert value == measure("ratio", [10, 5], unit=kpi.unit).value

    series = run_series(kpi.id, "", START * 60, (START + 10) * 60, Steps("minute", 5), database.reader)
    assert [(row[0], row[8]) for row in series.rows] == [("2026-03-01 10:00+00:00", 14), ("2026-03-01 10:05+00:00", 10)]


def test_a_kpi_of_others_answers_over_any_span(database: Database, writer: Writer) -> None:
    """From the sums of its inputs in just that span; what lies outside of it does not count."""
    catalogue = Catalogue.load()
    held = [
        ("web", START, [60, 54]),
        ("web", START + 7, [40, 36]),
        ("app", START + 3, [100, 60]),
        ("app", START + 8, [90, 0]),
    ]
    rows = [(f"csat\x1fchannel\x1f{channel}", minute, 0, acc, 1) for channel, minute, acc in held]
    writer.insert_kpi_minutes(rows, "cx.kpis-0-0-0")
    gap = catalogue["csat_channel_gap"]
    start = datetime.fromtimestamp(START * 60, UTC)
    with closing(connect(database.reader)) as client:
        answer = over_span(client, catalogue, gap, "", start, start + timedelta(minutes=8))
        nowhere = over_span(client, catalogue, gap, "", start - timedelta(days=2), start - timedelta(days=1))
    found = {row[1]: row for row in answer.rows}
    assert (found[""][0], round(found[""][2], 9), found[""][5:]) == (
        {},
        30.0,
        (100, "open", gap.unit, gap.definition_id),
    )
    assert found[""][3] < 30.0 < found[""][4]
    assert nowhere.rows == []


def test_a_level_goes_on_from_what_was_before(database: Database, writer: Writer) -> None:
    """In each step the level at its end, n of the step alone; also in a window where nothing changed."""
    kpi = first_of("level")
    changes = [(kpi.id, START - 3000, 5000), (kpi.id, START, -1000), (kpi.id, START + 7, 2000)]
    changes += [(series_key(kpi.id, (("unitid", "u"),)), START - 20, 1000)]
    writer.insert_kpi_minutes([(key, at, 0, [1, change, 1], 1) for key, at, change in changes], "cx.kpis-0-0-0")
    span = "kpi = {kpi:String}, from = '2026-03-01 10:00:00', to = '2026-03-01 10:15:00'"
    steps = f"SELECT toString(time), by, value, n FROM kpi_series({span}, step = 300) ORDER BY by, time"
    assert run_query(steps, {"kpi": kpi.id}, database.reader).rows == [
        ["2026-03-01 10:00:00", "", 4, 1], ["2026-03-01 10:05:00", "", 6, 1], ["2026-03-01 10:00:00", "unitid", 1, 0],
    ]  # fmt: skip
    whole = f"SELECT by, value, n FROM kpi({span}) ORDER BY by"
    assert run_query(whole, {"kpi": kpi.id}, database.reader).rows == [["", 6, 2], ["unitid", 1, 0]]


def test_views_work_from_any_database(database: Database, writer: Writer) -> None:
    """Grafana need not stand in our database."""
    from dataclasses import replace

    kpi = first_of("count")
    writer.insert_kpi_minutes([(kpi.id, START, 0, [5], 1)], "cx.kpis-0-0-0")
    outside = replace(database.reader, database="system")
    sql = f"SELECT n FROM {database.name}.kpi(kpi = {{kpi:String}}, from = '2026-03-01 00:00:00', to = '2026-03-02 00:00:00')"
    assert run_query(sql, {"kpi": kpi.id}, outside).rows == [[5]]


def test_answers_are_written_in_three_forms(database: Database, writer: Writer) -> None:
    """Nothing answered is nothing, never 0."""
    row = ValueRow(
        "csat\x1fchannel\x1fweb", "1m", "", START * 60, None, 0, None, None, "csat@1", closed=True, revision=1
    )
    writer.insert_kpi_values([row, row._replace(window="5m", value=80.5, n=3, lo=1.0, hi=99.0)], "cx.kpis-0-0-0")
    answer = run_query("latest", {"kpi": "csat", "by": "channel"}, database.reader)
    assert json.loads(answer.render("json"))[0] == {
        "labels": {"channel": "web"}, "window": "1m", "stat": "", "as_of": "2026-03-01 10:00:00", "value": None, "lo": None,
        "hi": None, "n": 0, "maturity": "closed", "definition": "csat@1",
        "note": "",
    }  # fmt: skip
    assert answer.render("csv").splitlines() == [
        "labels,window,stat,as_of,value,lo,hi,n,maturity,definition,note",
        "channel=web,1m,,2026-03-01 10:00:00,,,,0,closed,csat@1,",
        "channel=web,5m,,2026-03-01 10:00:00,80.5,1,99,3,closed,csat@1,",
    ]
    shown = table(answer.columns, answer.cells).splitlines()
    assert shown[0].split() == [
        "labels",
        "window",
        "stat",
        "as_of",
        "value",
        "lo",
        "hi",
        "n",
        "maturity",
        "definition",
        "note",
    ]
    assert shown[0].index("definition") == shown[1].index("csat@1")


CHANGES = [
    "INSERT INTO kpis (id) VALUES ('x')", "INSERT INTO kpis (id) SELECT 'x'", "ALTER TABLE kpis DELETE WHERE 1",
    "ALTER TABLE kpis ADD COLUMN x UInt8", "DROP TABLE kpis", "DROP DATABASE {db}", "TRUNCATE TABLE kpis", "OPTIMIZE TABLE kpis",
    "CREATE TABLE x (y UInt8) ENGINE = Memory", "CREATE OR REPLACE VIEW x AS SELECT 1", "RENAME TABLE kpis TO x",
    "EXCHANGE TABLES kpis AND alerts", "DETACH TABLE kpis", "DELETE FROM kpis WHERE 1", "CREATE USER x",
    "GRANT ALL ON *.* TO cx_reader", "SYSTEM STOP MERGES", "SYSTEM STOP LISTEN HTTP", "KILL QUERY WHERE 1",
    "SYSTEM REFRESH VIEW kpi_hours_of_minutes", "BACKUP TABLE kpis TO Null", "CREATE FUNCTION x AS () -> 1",
    "SELECT 1 SETTINGS readonly = 0", "INSERT INTO kpis (id) SETTINGS readonly = 0 VALUES ('x')",
    "TRUNCATE TABLE kpis SETTINGS readonly = 0", "SELECT 1; TRUNCATE TABLE kpis", "SET readonly = 0; TRUNCATE TABLE kpis",
    "SET readonly = 0", "USE system", "/* SELECT */ TRUNCATE TABLE kpis", "EXECUTE AS cx_admin TRUNCATE TABLE kpis",
    "EXPLAIN SELECT 1; DROP TABLE kpis", "( /* x */ -- y\n KILL QUERY WHERE 1",
    "WITH 1 AS x INSERT INTO kpis (id) SELECT toString(x)", "CREATE TEMPORARY TABLE x (y UInt8) ENGINE = Memory",
]  # fmt: skip


@pytest.mark.parametrize("role", ["reader", "writer", "admin"])
def test_a_question_changes_nothing_whoever_asks(database: Database, writer: Writer, role: str) -> None:
    """Not even for a user that may do everything: each attempt is refused with what is allowed."""
    made = "SELECT name, metadata_modification_time, total_rows FROM system.tables WHERE database = '{db}' AND engine = 'ReplacingMergeTree'"
    made = made.replace("{db}", database.name)
    before = sorted(map(str, database.rows(made)))
    for sql in CHANGES:
        with pytest.raises(PermanentStorageError, match=r"only read|Multi-statements|Syntax error"):
            run_query(sql.replace("{db}", database.name), {}, getattr(database, role))
    assert sorted(map(str, database.rows(made))) == before


def test_questions_are_asked_as_the_reader(database: Database, tmp_path: Path) -> None:
    """All that reads is answered; with its password as the reader, without as who is configured."""
    password = tmp_path / "reader"
    password.write_text(database.reader.password)
    for sql in (
        "select 1",
        "-- x\n(SELECT 1)",
        "/* x */ WITH 1 AS x SELECT x",
        "SHOW TABLES",
        "DESC events",
        "EXPLAIN SELECT 1",
    ):
        assert run_query(sql, {}, database.reader).columns
    known = Settings(clickhouse_reader_password_file=str(password))
    assert run_query("SELECT currentUser()", {}, as_reader(database.admin, known)).rows == [["cx_reader"]]
    assert run_query("SELECT currentUser()", {}, as_reader(database.admin, Settings())).rows == [["cx_admin"]]


def test_an_empty_answer_still_has_columns(database: Database) -> None:
    """As a table, it is its heading."""
    answer = run_query("balance", {}, database.reader)
    assert (answer.rows, answer.columns[:2]) == ([], ("topic", "partition"))
    assert table(answer.columns, answer.cells).startswith("topic  partition")


@pytest.mark.parametrize(
    ("question", "parameters", "told"),
    [
        ("SELECT nothing FROM nowhere", {}, "nowhere"),
        ("kpi", {}, "kpi"),
        ("DROP TABLE events", {}, "questions only read: .* not 'DROP'"),
        ("SELEC 1", {}, "questions only read: .* not 'SELEC'"),
        ("SELECT (1", {}, "[Ss]yntax"),
    ],
)
def test_questions_that_cannot_be_answered(database: Database, question: str, parameters: dict, told: str) -> None:
    """Typed, and in the server's words."""
    with pytest.raises(PermanentStorageError, match=told):
        run_query(question, parameters, database.reader)


@pytest.mark.parametrize("question", ["kpis", "refused", "balance", "latest", "kpi"])
def test_every_named_question_is_valid(database: Database, question: str) -> None:
    """All run on a fresh database."""
    run_query(question, {"kpi": "csat"}, database.reader)
