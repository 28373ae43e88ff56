"""What is usual, learnt from the real store: the same as from the rows themselves, and kept while the store is away."""

import asyncio
from datetime import date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from streams.agents import seasonal as seasonal_agent
from streams.agents.seasonal import SeasonalBaselines
from streams.alerts.facts import Facts
from streams.alerts.judging.baseline import Week, learn
from streams.alerts.rules.parsing import parse_rules
from streams.alerts.rules.rules import RuleBook
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.series import series_key
from streams.storage.baselines import BaselineQuery, LearntBaselines, baseline_query, learn_kpi
from streams.storage.connection import Address, UnreachableError, connect
from streams.storage.rows import ValueRow
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, elsewhere

TEHRAN = ZoneInfo("Asia/Tehran")
CATALOGUE = Catalogue.load()
NEWEST = datetime(2026, 5, 18, 10, 30, tzinfo=TEHRAN)
UNTIL = datetime(2026, 5, 18, tzinfo=TEHRAN)
DAYS = 28

RULES = """
calendars:
  - {name: iran, zone: Asia/Tehran, country: IR}
groups:
  - name: test
    owner: o
    rules:
      - {alert: Odd, kpi: csat, by: [channel], method: seasonal, window: 1h, params: {calendar: iran, weeks: 4},
         severity: ticket}
      - {alert: OddAll, kpi: csat, method: seasonal, window: 1h, params: {calendar: iran, weeks: 4}, severity: ticket}
      - {alert: Silent, kpi: contacts_handled, method: absence, window: 15m, params: {baseline: 1h}, severity: ticket}
      - {alert: Low, kpi: csat, method: floor, window: 1h, params: {target: 60}, severity: ticket}
"""


@cache
def rules():
    return parse_rules(RULES, CATALOGUE)


@cache
def hours() -> dict[str, list[tuple[int, list[int]]]]:
    """Of two channels and the whole: start of each local hour, and what one of its minutes holds."""
    rng = np.random.default_rng(4)
    found: dict[str, list[tuple[int, list[int]]]] = {"web": [], "phone": [], "": []}
    at = UNTIL - timedelta(days=DAYS)
    while at < NEWEST:
        start, total = int(at.timestamp()), [0, 0]
        for channel, share in (("web", 0.9), ("phone", 0.6 if at.hour < 8 else 0.8)):
            n = int(rng.integers(150, 250))
            acc = [n, int(rng.binomial(n, share))]
            found[channel].append((start, acc))
            total = [a + b for a, b in zip(total, acc, strict=True)]
        found[""].append((start, total))
        at += timedelta(hours=1)
    return found


def key(channel: str, kpi: str = "csat") -> str:
    return series_key(kpi, (("channel", channel),) if channel else ())


@pytest.fixture
def stored(database: Database) -> Database:
    """Five weeks of hours; the content of an hour is spread over its first and last minute."""
    writer = Writer(database.writer)
    writer.store_catalogue(CATALOGUE.kpis.values())
    rows = []
    for channel, content in hours().items():
        for start, (n, k) in content:
            rows.append((key(channel), start // 60, 0, [n - 50, k - 40], 1))
            rows.append((key(channel), start // 60 + 59, 0, [50, 40], 1))
    writer.insert_kpi_minutes(rows, "cx.kpis-0-0-0")
    minutes = [
        (key("", "contacts_handled"), start // 60 + 7, 0, [30], 1)
        for start, _ in hours()[""]
        if datetime.fromtimestamp(start, TEHRAN).hour > 7
    ]
    writer.insert_kpi_minutes(minutes, "cx.kpis-0-1-1")
    writer.insert_kpi_values([closed(key(""), NEWEST), closed(key("", "contacts_handled"), NEWEST)], "cx.kpis-0-2-2")
    writer.close()
    return database


def closed(series: str, at: datetime) -> ValueRow:
    return ValueRow(series, "1m", "", int(at.timestamp()), 80.0, 10, 70.0, 90.0, "csat@1", closed=True, revision=1)


def lesson(rule: str = "Odd") -> BaselineQuery:
    found = baseline_query(rules()[rule], rules().calendars)
    assert found is not None
    return found


def minute(day: date, hour: int) -> int:
    return int(datetime(day.year, day.month, day.day, hour, 59, tzinfo=TEHRAN).timestamp()) // 60


def test_the_store_teaches_what_the_rows_do(stored: Database) -> None:
    """Hours are those of Tehran, half an hour off UTC; today, which is not over, does not count."""
    learnt = learn_kpi(connect(stored.reader), lesson(), [(), ("channel",)])
    assert learnt.until == int(UNTIL.timestamp())
    assert set(learnt.series) == {key("web"), key("phone"), key("")}
    facts, week = Facts.of(CATALOGUE["csat"]), Week(rules().calendars["iran"])
    for channel, content in hours().items():
        direct = learn(facts, content, week, until=int(UNTIL.timestamp()), weeks=4)
        for hour in range(48):
            at = minute(NEWEST.date() + timedelta(days=hour // 24), hour % 24)
            assert learnt.series[key(channel)].expected(at, 60) == direct.expected(at, 60)
    night, day = (learnt.series[key("phone")].expected(minute(NEWEST.date(), hour), 60) for hour in (3, 15))
    assert (night.value, day.value) == (pytest.approx(60, abs=4), pytest.approx(80, abs=4))


def test_an_earlier_day_learns_from_what_was_before_it(stored: Database) -> None:
    """A backtest must not know what came later."""
    earlier = UNTIL - timedelta(days=10)
    learnt = learn_kpi(connect(stored.reader), lesson(), [()], int((earlier + timedelta(hours=5)).timestamp()))
    assert learnt.until == int(earlier.timestamp())
    assert learnt.series[key("")].expected(minute(NEWEST.date(), 12), 60).weeks == 3


def test_rules_read_what_they_need(stored: Database) -> None:
    baselines = LearntBaselines(stored.reader, rules())
    now = minute(NEWEST.date(), 9)
    assert baselines.expected(rules()["Odd"], key("web"), "1h", now) is None
    assert baselines.refresh() == 4
    odd = baselines.expected(rules()["Odd"], key("web"), "1h", now)
    assert (odd.value, odd.weeks, odd.level) == (pytest.approx(90, abs=4), 4, "hour of the week")
    assert baselines.expected(rules()["OddAll"], key(""), "1h", now) is not None
    assert baselines.expected(rules()["Odd"], key("fax"), "1h", now) is None
    assert baselines.expected(rules()["Low"], key(""), "1h", now) is None
    silent = rules()["Silent"]
    by_day = baselines.expected(silent, key("", "contacts_handled"), "1h", minute(NEWEST.date(), 14))
    by_night = baselines.expected(silent, key("", "contacts_handled"), "1h", minute(NEWEST.date(), 4))
    assert (by_day.n, by_night.n) == (pytest.approx(30, rel=0.1), pytest.approx(0, abs=0.5))


def test_incidents_that_paged_teach_nothing(stored: Database) -> None:
    """Of the phone on two mornings; the whole, of which it is a part, leaves these hours out too, the web does not."""
    rows = []
    for number, day in enumerate((UNTIL.date() - timedelta(days=7), UNTIL.date() - timedelta(days=14))):
        for new, hour in (("firing", 9), ("resolved", 13)):
            at = datetime(day.year, day.month, day.day, hour, tzinfo=TEHRAN)
            old = "inactive" if new == "firing" else "firing"
            rows.append([f"{number}{new}", at, "Odd", "csat", {"channel": "phone"}, old, new, "page", f"e{number}"])
    columns = ["id", "at", "rule", "kpi", "labels", "old", "new", "severity", "episode"]
    stored.client.insert("alerts", rows, column_names=columns)
    learnt = learn_kpi(connect(stored.reader), lesson(), [(), ("channel",)])
    monday = minute(UNTIL.date(), 10)
    weeks = {channel: learnt.series[key(channel)].cells[0] for channel in ("phone", "", "web")}
    hour = UNTIL.weekday() * 24 + 10
    assert [weeks[channel][hour].weeks for channel in ("phone", "", "web")] == [2, 2, 4]
    assert learnt.series[key("phone")].expected(monday, 60).level != "hour of the week"


def test_while_the_store_is_away_what_was_learnt_last_is_used(stored: Database) -> None:
    baselines = LearntBaselines(stored.reader, rules())
    baselines.refresh()
    baselines._address = elsewhere(stored.reader, 9)
    with pytest.raises(UnreachableError, match="cannot connect"):
        baselines.refresh()
    assert baselines.expected(rules()["Odd"], key("web"), "1h", minute(NEWEST.date(), 9)) is not None


def test_it_is_due_again_when_a_day_is_over(stored: Database) -> None:
    """Judged minutes of a later day than today ask for it, and then it knows one day more."""
    baselines = LearntBaselines(stored.reader, rules())
    baselines.refresh()
    odd, today, tomorrow = rules()["Odd"], minute(NEWEST.date(), 9), NEWEST + timedelta(days=1)
    baselines.expected(odd, key("web"), "1h", today)
    assert not baselines.is_due
    writer = Writer(stored.writer)
    writer.insert_kpi_values([closed(key(""), tomorrow)], "cx.kpis-0-9-9")
    writer.close()
    baselines.expected(odd, key("web"), "1h", int(tomorrow.timestamp()) // 60)
    assert baselines.is_due
    baselines.refresh()
    assert not baselines.is_due
    assert baselines._learnt[baselines._places["Odd"]].until == int((UNTIL + timedelta(days=1)).timestamp())


async def test_judges_have_it_when_it_is_there(stored: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking over waits for the first lesson, as long as there is a store."""
    monkeypatch.setattr(seasonal_agent, "WAIT_S", 180.0)
    usual = SeasonalBaselines(stored.reader, rules())
    learning = asyncio.create_task(usual.keep_learning())
    try:
        await usual.ready()
        assert usual.expected(rules()["Odd"], key("web"), "1h", minute(NEWEST.date(), 9)) is not None
    finally:
        learning.cancel()
        await asyncio.gather(learning, return_exceptions=True)


async def test_judges_do_not_wait_for_a_store_that_is_away(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seasonal_agent, "WAIT_S", 180.0)
    usual = SeasonalBaselines(Address("http://127.0.0.1:9"), rules())
    learning = asyncio.create_task(usual.keep_learning())
    try:
        await usual.ready()
        assert "learning failed, the worker goes on" in caplog.text
        assert usual.expected(rules()["Odd"], key("web"), "1h", minute(NEWEST.date(), 9)) is None
    finally:
        learning.cancel()
        await asyncio.gather(learning, return_exceptions=True)


def test_an_empty_store_teaches_nothing(database: Database) -> None:
    baselines = LearntBaselines(database.reader, rules())
    assert baselines.refresh() == 0
    assert baselines.expected(rules()["Odd"], key("web"), "1h", minute(NEWEST.date(), 9)) is None


def test_rules_that_ask_for_nothing_usual_read_nothing() -> None:
    """Not even a connection is made."""
    baselines = LearntBaselines(Address("http://127.0.0.1:9"), RuleBook.of([rules()["Low"]]))
    assert not baselines.is_needed
    assert baselines.refresh() == 0
