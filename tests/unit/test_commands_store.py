"""`cx migrate`, `cx query`, `cx verify`: what is asked of the store, what is printed, and how they end."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner, Result

from streams.cli import main
from streams.commands import store
from streams.kpis.language.steps import Steps
from streams.storage.connection import PermanentStorageError, UnreachableError
from streams.storage.queries import Answer
from streams.storage.verify import Difference, VerifyReport


@pytest.fixture
def cx(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CX_CLICKHOUSE", "http://ch.example:1")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)

    return run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch):
    """Questions that reached the store; it answers with one row."""
    questions = []

    def run_query(question, parameters, address, *, timeout_s=60.0):
        questions.append((question, dict(parameters), address, timeout_s))
        return Answer(("labels", "value", "n"), [[{"channel": "web"}, 81.5, 40], [{"channel": "app"}, None, 0]])

    def run_series(kpi, by, since, until, steps, address, *, timeout_s=60.0):
        span = {"from": datetime.fromtimestamp(since, UTC), "to": datetime.fromtimestamp(until, UTC)}
        questions.append(("series", {"kpi": kpi, "by": by, "steps": steps, **span}, address, timeout_s))
        return Answer(("time", "n"), [["2026-03-01 00:00+00:00", 1]])

    monkeypatch.setattr(store, "run_query", run_query)
    monkeypatch.setattr(store, "run_series", run_series)
    return questions


def test_migrate_says_what_was_applied(cx, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(address, catalogue, say, *, keep_days, cluster, touchpoints, weeks):
        assert address.url == "http://ch.example:1"
        assert (keep_days["events"], cluster, "checkout" in touchpoints) == (400, "", True)
        assert (weeks.zone, weeks.first_day) == ("Asia/Tehran", 5)
        say("applied 0001_raw_events.sql")
        return ["0001_raw_events.sql"]

    monkeypatch.setattr(store, "prepare", prepare)
    monkeypatch.setenv("CX_ZONE", "Asia/Tehran")
    monkeypatch.setenv("CX_CALENDAR", "jalali")
    result = cx("migrate")
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == "applied 0001_raw_events.sql"
    assert "nothing to apply" not in result.output


def test_migrate_says_that_nothing_was_to_do(cx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "prepare", lambda *_, **__: [])
    assert cx("migrate").output.splitlines()[0] == "nothing to apply: the schema is up to date"
    told = json.loads(cx("migrate", "--json").output)
    assert told["applied"] == []
    assert told["kpis"] > 20


def test_a_store_that_is_away_is_one_line_and_exit_code_one(cx, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_args, **_kwargs):
        raise UnreachableError("cannot connect to http://ch.example:1 as default: refused")

    monkeypatch.setattr(store, "prepare", away)
    monkeypatch.setattr(store, "connect", away)
    for command in ("migrate", "verify"):
        result = cx(command)
        assert result.exit_code == 1
        assert result.stderr == "cannot connect to http://ch.example:1 as default: refused\n"


def test_a_wrong_setting_is_exit_code_two(cx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CX_PARTITIONS", "none")
    result = cx("migrate")
    assert result.exit_code == 2
    assert "CX_PARTITIONS" in result.stderr


def test_a_kpi_over_the_last_hour(cx, asked) -> None:
    before = datetime.now(UTC)
    result = cx("query", "kpi", "csat", "--window", "1h", "--by", "channel")
    assert result.exit_code == 0
    assert result.output.splitlines() == ["labels       value  n", "channel=web  81.5   40", "channel=app         0"]
    [(question, parameters, address, _)] = asked
    assert (question, parameters["kpi"], parameters["by"]) == ("kpi", "csat", "channel")
    assert address.url == "http://ch.example:1"
    assert parameters["to"] - parameters["from"] == timedelta(hours=1)
    assert before < parameters["to"] <= datetime.now(UTC) + timedelta(minutes=1)
    assert parameters["to"].second == 0


def test_times_are_utc_unless_they_say_otherwise(cx, asked) -> None:
    cx("query", "kpi", "csat", "--from", "2026-03-01", "--to", "2026-03-01T10:00:00+0330")
    parameters = asked[0][1]
    assert parameters["from"] == datetime(2026, 3, 1, tzinfo=UTC)
    assert parameters["to"] == datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
    cx("query", "series", "csat", "--window", "1d", "--to", "2026-03-02", "--step", "15m")
    parameters = asked[1][1]
    assert parameters["from"] == datetime(2026, 3, 1, tzinfo=UTC)
    assert parameters["steps"] == Steps("minute", 15)


def test_times_and_steps_follow_the_zone(cx, asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the option, or of the settings; `Z` and an offset say otherwise."""
    cx("query", "series", "csat", "--from", "2026-11-27", "--to", "2026-11-29T00:00:00Z", "--step", "1w", "--zone", "Asia/Tehran",
       "--calendar", "jalali")  # fmt: skip
    parameters = asked[0][1]
    assert parameters["from"] == datetime(2026, 11, 26, 20, 30, tzinfo=UTC)
    assert parameters["to"] == datetime(2026, 11, 29, tzinfo=UTC)
    assert parameters["steps"] == Steps("week", 1, "Asia/Tehran", "jalali", 5), "the week of Iran"
    monkeypatch.setenv("CX_ZONE", "Asia/Kathmandu")
    monkeypatch.setenv("CX_WEEK_STARTS", "sunday")
    cx("query", "series", "csat", "--from", "2026-11-27", "--step", "1mo")
    assert asked[1][1]["steps"] == Steps("month", 1, "Asia/Kathmandu", "gregorian", 6)
    result = cx("query", "series", "csat", "--zone", "Asia/Teheran")
    assert result.exit_code == 2
    assert "zone = 'Asia/Teheran': no such time zone; did you mean 'Asia/Tehran'?" in result.stderr


def test_all_there_is_when_no_time_is_given(cx, asked) -> None:
    cx("query", "kpi", "csat")
    assert not {"from", "to"} & asked[0][1].keys()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("kpi",), "needs a KPI"),
        (("kpi", "csatt"), "did you mean 'csat'?"),
        (("kpi", "csat", "--by", "weather"), "not kept by weather; it is kept by: channel"),
        (("kpi", "csat", "--window", "1h", "--from", "2026-03-01"), "not both"),
        (("kpi", "csat", "--window", "1 hour"), "Invalid value for '--window': window '1 hour'"),
        (("latest", "csat", "--window", "1h"), "belong to `kpi` and `series`"),
        (("kpi", "csat", "--step", "1h"), "--step belongs to `series`"),
        (("series", "csat", "--step", "1M"), "--step: step '1M': expected a number of m, h, d, w, mo or y"),
        (("balance", "csat"), "only kpi, series and latest take a KPI"),
        (("balances",), "no question 'balances'"),
        (("balance", "--param", "a=b"), "--param is for SQL"),
        (("SELECT 1", "--param", "a"), "expected NAME=VALUE"),
        (("SELECT 1", "--window", "1h"), "belong to"),
    ],
)
def test_wrong_usage_is_exit_code_two_and_says_why(cx, asked, arguments: tuple[str, ...], says: str) -> None:
    result = cx("query", *arguments)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())
    assert asked == []


def test_sql_with_parameters_and_formats(cx, asked) -> None:
    sql = "SELECT {c:String}"
    assert json.loads(cx("query", sql, "--param", "c=web=1", "--json").output)[1]["value"] is None
    assert asked[0][:2] == (sql, {"c": "web=1"})
    assert cx("query", sql, "--format", "csv").output.splitlines()[2] == "channel=app,,0"
    cx("query", sql, "--timeout", "3")
    assert asked[2][3] == 3.0


def test_no_cell_of_a_csv_is_a_formula() -> None:
    """Whatever a sender calls a region; numbers stay numbers."""
    answer = Answer(
        ("region", "n", "=x"), [("=cmd|' /C calc'!A0", -5, "-5.25"), ("+98 21", -0.5, "@a"), ("a-b", 1, "")]
    )
    assert answer.render("csv").splitlines() == [
        "region,n,'=x", "'=cmd|' /C calc'!A0,-5,-5.25", "'+98 21,-0.5,'@a", "a-b,1,",
    ]  # fmt: skip
    assert json.loads(answer.render("json"))[0]["region"].startswith("=")


def test_people_read_six_digits_and_no_exponents() -> None:
    numbers = [123456.78, 1234567.0, 81.5, 100.0, -0.000123456789, 1e-20, 0.0, 2 / 3]
    assert Answer(("n",), [[number] for number in numbers]).cells == [
        ["123457"], ["1234567"], ["81.5"], ["100"], ["-0.000123457"], ["0"], ["0"], ["0.666667"],
    ]  # fmt: skip


def test_a_refused_query_is_exit_code_one(cx, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args, **_kwargs):
        raise PermanentStorageError("the query: Syntax error")

    monkeypatch.setattr(store, "run_query", refuse)
    result = cx("query", "SELEC 1")
    assert (result.exit_code, result.stderr) == (1, "the query: Syntax error\n")


def test_an_empty_answer_says_where_there_is_something(cx, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_query(question, *_args, **_kwargs):
        rows = [] if question == "kpi" else [["7", "2026-03-01 10:00:00", "2026-03-01 12:00:00"]]
        return Answer(("labels", "value"), rows)

    monkeypatch.setattr(store, "run_query", run_query)
    result = cx("query", "kpi", "csat", "--window", "5m")
    assert result.exit_code == 0
    assert "stored from 2026-03-01 10:00:00 to 2026-03-01 12:00:00 UTC" in result.stderr


class _Client:
    def close(self) -> None:
        pass


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> VerifyReport:
    made = VerifyReport(checked={"kpis": 35, "minutes": 1200})
    monkeypatch.setattr(store, "connect", lambda *_args, **_kwargs: _Client())
    monkeypatch.setattr(store, "recompute", lambda *_: made)
    monkeypatch.setattr(store, "events_are_coming", lambda *_: False)
    return made


def test_verify_without_differences(cx, report: VerifyReport) -> None:
    report.notes.append("old_kpi: stored, but not in the catalogue")
    result = cx("verify")
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "note: old_kpi: stored, but not in the catalogue",
        "35 kpis, 1,200 minutes recomputed: 0 differences",
    ]


def test_nothing_compared_is_said(cx, report: VerifyReport) -> None:
    """An empty store has no differences, and proves nothing."""
    report.checked["records"] = 0
    said = "nothing to verify: no records are stored"
    result = cx("verify")
    assert f"note: {said}" in result.output
    assert result.exit_code == 3
    assert json.loads(cx("verify", "--json").output)["notes"] == [said]


def test_verify_compares_the_windows_that_are_kept(cx, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    monkeypatch.setattr(store, "connect", lambda *_args, **_kwargs: _Client())
    monkeypatch.setattr(
        store, "recompute", lambda _client, _catalogue, windows, *_: compared.append(windows) or VerifyReport()
    )
    monkeypatch.setenv("CX_WINDOWS", "5m, 2h")
    assert cx("verify").exit_code == 0
    assert compared == [("5m", "2h")]


def test_verify_prints_differences_and_ends_with_one(cx, report: VerifyReport) -> None:
    for minute in range(3):
        report.differences.append(Difference("minute", "csat", {"channel": "web"}, f"10:0{minute}", "[2, 1]", "[1, 1]"))
    result = cx("verify", "--limit", "2")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "check   series  labels       when   stored  recomputed",
        "minute  csat    channel=web  10:00  [2, 1]  [1, 1]",
        "minute  csat    channel=web  10:01  [2, 1]  [1, 1]",
        "… and 1 more (--limit)",
        "35 kpis, 1,200 minutes recomputed: 3 differences",
    ]
    told = cx("verify", "--json")
    assert told.exit_code == 1
    assert [one["when"] for one in json.loads(told.output)["differences"]] == ["10:00", "10:01", "10:02"]


def test_every_command_explains_itself(cx) -> None:
    for command in ("migrate", "query", "verify", "dlq", "status", "doctor"):
        result = cx(command, "--help")
        assert result.exit_code == 0
        assert "Examples:" in result.output
