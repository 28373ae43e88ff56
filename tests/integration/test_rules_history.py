"""`cx rules backtest` and `cx rules tune` on a real store: history read in order, judged as it would have been live."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from streams.alerts.judging.judge import Judge
from streams.alerts.judging.view import MinuteView
from streams.alerts.offline.backtest import windows_of
from streams.alerts.offline.minutes import Minutes
from streams.alerts.rules.parsing import parse_rules
from streams.cli import main
from streams.commands.rules_history import replayed
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.lengths import WINDOWS
from streams.kpis.language.series import series_key
from streams.settings import load
from streams.storage.baselines import baseline_query, learn_kpi
from streams.storage.connection import connect
from streams.storage.minutes import PastBaselines, stored_minutes, stored_sources
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, EmbeddedClickHouse, block_of, event, fresh_database, read_by_commands

CATALOGUE = Catalogue.load()
BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
FIRST = int(BEGAN.timestamp()) // 60
MINUTES = 1900
BAD = range(1700, 1760)
RULES = """
groups:
  - name: test
    owner: contact-centre
    rules:
      - {alert: Low, kpi: abandonment, by: [channel], method: floor, window: 15m, params: {target: 35},
         severity: page, min_n: 100, runbook: docs/RUNBOOK.md, for: 2m, keep_firing_for: 3m}
      - {alert: Worse, kpi: abandonment, method: cusum, window: 15m, params: {baseline: 1h, delta: 15},
         severity: ticket}
"""


def key(channel: str = "") -> str:
    return series_key("abandonment", (("channel", channel),) if channel else ())


@cache
def history() -> list[tuple[int, dict[str, list[int]]]]:
    """A day and a half of two channels; web has an hour of trouble, and a few minutes hold nothing at all."""
    rng = np.random.default_rng(11)
    found = []
    for at in range(MINUTES):
        if at % 311 == 200:
            continue
        n = rng.integers(15, 25, 2)
        hits = rng.binomial(n, [0.6 if at in BAD else 0.1, 0.1])
        web, app = ([int(a), int(b)] for a, b in zip(n, hits, strict=True))
        whole = [a + b for a, b in zip(web, app, strict=True)]
        found.append((FIRST + at, {key("web"): web, key("app"): app, key(): whole}))
    return found


@pytest.fixture(scope="module")
def filled(clickhouse: EmbeddedClickHouse) -> Iterator[Database]:
    """Each minute in two parts, and one of them twice: the newer revision is right."""
    with fresh_database(clickhouse) as database:
        fill(database)
        yield database


def fill(database: Database) -> None:
    rows = []
    for minute, sums in history():
        for series, (n, hits) in sums.items():
            rows.append((series, minute, 0, [n - 5, 0], 1))
            rows.append((series, minute, 0, [n - 5, max(0, hits - 5)], 2))
            rows.append((series, minute, 1, [5, min(5, hits)], 1))
    writer = Writer(database.writer)
    writer.store_catalogue(CATALOGUE.kpis.values())
    writer.insert_kpi_minutes(rows, "cx.kpis-0-0-0")
    writer.close()


@pytest.fixture
def stored(filled: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Database:
    """Return the store, which no test changes, as the one that commands read."""
    read_by_commands(filled.reader, tmp_path, monkeypatch)
    (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
    return filled


def cx(*arguments: object):
    return CliRunner().invoke(main, ["rules", *map(str, arguments)])


def at(minute: int) -> str:
    return f"{BEGAN + timedelta(minutes=minute):%Y-%m-%dT%H:%M}"


def test_minutes_come_in_order_and_whole(stored: Database):
    """Parts are added up, the newest revision counts, days are read one after the other."""
    client = connect(stored.reader)
    found = list(stored_minutes(client, [CATALOGUE["abandonment"]], FIRST, FIRST + MINUTES))
    assert found == history()
    middle = list(stored_minutes(client, [CATALOGUE["abandonment"]], FIRST + 1430, FIRST + 1443))
    assert [minute - FIRST for minute, _ in middle] == list(range(1430, 1444))
    assert list(stored_minutes(client, [CATALOGUE["csat"]], FIRST, FIRST + MINUTES)) == []
    whole = list(stored_minutes(client, [CATALOGUE["abandonment"]], FIRST, FIRST + MINUTES, [()]))
    assert whole == [(minute, {key(): sums[key()]}) for minute, sums in history()]
    client.close()


def test_sources_are_counted_by_minute(database: Database):
    writer = Writer(database.writer)
    payloads = [event(n, time=f"2026-03-01T10:0{n % 3}:30Z") for n in range(9)]
    writer.insert_block(block_of(payloads))
    writer.close()
    client = connect(database.reader)
    found = stored_sources(client, lambda topic: topic.removeprefix("cx.touchpoints."), FIRST, FIRST + MINUTES)
    assert found == {FIRST + 600 + n: {"web/0": (3, 0)} for n in range(3)}
    client.close()


def test_transitions_are_those_of_a_live_judge(stored: Database):
    """Judged from the first minute on, and again from the middle with a day to learn from."""
    book = parse_rules(RULES, CATALOGUE)
    windows = windows_of(book, WINDOWS)
    judge, minutes, live = Judge(book, windows=windows), Minutes(windows), []
    held = dict(history())
    for minute in range(FIRST, FIRST + MINUTES):
        live += judge.step(MinuteView(minutes.close(minute, held.get(minute, {}))))
    client = connect(stored.reader)
    test = replayed(client, book, FIRST, FIRST + MINUTES - 1, load())
    assert test is not None
    assert test.transitions == live
    late = replayed(client, book, FIRST + 1650, FIRST + MINUTES - 1, load())
    client.close()
    assert late is not None
    told = [t for t in live if t.minute >= FIRST + 1650]
    assert [(t.rule, t.labels, t.old, t.new) for t in late.transitions] == [
        (t.rule, t.labels, t.old, t.new) for t in told
    ]
    for again, before in zip(late.transitions, told, strict=True):
        # What is normal is learnt once an hour, counted from the first lesson, which is another one here.
        assert abs(again.minute - before.minute) <= (2 if again.rule == "Worse" else 0)


def test_what_was_usual_is_learnt_as_of_the_day(stored: Database):
    """Not from what came later: nothing is known on the first day, something on the second, the same as live."""
    text = RULES.replace("method: cusum", "method: seasonal").replace("{baseline: 1h, delta: 15}", "{min_weeks: 2}")
    book = parse_rules(text, CATALOGUE)
    client = connect(stored.reader)
    past = PastBaselines(client, book)
    assert past.expected(book["Low"], key("web"), "15m", FIRST + 1800) is None
    for minute in (FIRST + 100, FIRST + 1800):
        learnt = learn_kpi(client, baseline_query(book["Worse"], {}), [()], minute * 60)
        assert learnt.until // 60 == FIRST + (minute - FIRST) // 1440 * 1440
        known = learnt.series.get(key())
        expected = None if known is None else known.expected(minute, 15)
        assert past.expected(book["Worse"], key(), "15m", minute) == expected
    client.close()


def test_the_command_finds_the_incident_and_draws_it(stored: Database, tmp_path: Path):
    picture, rules = tmp_path / "p.png", tmp_path / "rules.yaml"
    incident = f"{at(BAD.start)}/{at(BAD.stop)}/channel=web"
    asked = ("backtest", "--from", at(1500), "--to", at(MINUTES), "--rules", rules, "--incident", incident)
    result = cx(*asked, "--json", "--picture", picture)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    [incident_found] = found["incidents"]
    assert 1 <= incident_found["notified_after_minutes"] <= 15
    assert set(incident_found["delays"]) == {"Low{channel=web}", "Worse{}"}
    low = next(rule for rule in found["rules"] if rule["rule"] == "Low")
    assert (low["series"], low["false"], low["firings"]) == (2, 0, 1)
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(content) > 20_000
    words = cx(*asked)
    assert words.exit_code == 0
    assert "Low{channel=web}" in words.stdout
    assert "told after" in words.stdout
    *fired, progress = words.stderr.splitlines()
    assert any("Low{channel=web}: " in line for line in fired)
    assert progress == "1 of 1 days replayed, 2 fired"


def test_what_is_held_back_is_reported_with_its_reason(stored: Database, tmp_path: Path):
    """The whole pages, so its channels page nobody."""
    file = tmp_path / "rules.yaml"
    whole = RULES.replace(
        "alert: Worse, kpi: abandonment, method: cusum, window: 15m", "alert: Whole, kpi: abandonment"
    )
    whole = whole.replace("params: {baseline: 1h, delta: 15},", "window: 15m, method: floor, params: {target: 20},")
    whole = whole.replace("severity: ticket}", "severity: page, runbook: docs/RUNBOOK.md}")
    file.write_text(whole)
    asked = ("backtest", "--from", at(1500), "--to", at(MINUTES), "--rules", file)
    found = json.loads(cx(*asked, "--json").stdout)
    assert found["held"] == {"parent Whole{}": 1}, found["firings"]
    assert "held back, so nobody was told: 1 by parent Whole{}" in cx(*asked).stdout


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (("--from", "2026-03-02", "--to", "2026-03-01"), 2, "is not before"),
        (("--from", "2026-03-01", "--to", "2026-03-02", "--only", "Lwo"), 2, "did you mean 'Low'?"),
        (("--from", "2026-03-01", "--to", "2026-03-02", "--incident", "yesterday"), 2, "expected FROM/TO"),
        (("--from", "2026-03-01", "--to", "2026-03-02", "--incident", "2026-03-01/x"), 2, "expected times like"),
        (("--from", "2026-03-01", "--to", "2026-03-02", "--picture", "a.gif"), 2, ".png, .html, .svg"),
        (("--from", "2025-03-01", "--to", "2025-03-02"), 1, "no minute of any of these KPIs"),
    ],
)
def test_what_cannot_be_is_said(stored: Database, tmp_path: Path, options, code, expected):
    result = cx("backtest", "--rules", tmp_path / "rules.yaml", *options)
    assert result.exit_code == code
    assert expected in result.stderr


def test_a_threshold_is_proposed_from_the_past(stored: Database):
    asked = ("tune", "--kpi", "abandonment", "--by", "channel", "--drop", 20, "--baseline", "1h", "--window", "15m")
    small = ("--series", 8, "--days", 1, "--to", at(BAD.start))
    result = cx(*asked, *small, "--try", 1, "--try", 12, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["series"], found["days"], found["block_days"], found["proposed"]) == (2, 1, 1, 12.0)
    assert "cannot show fewer" in found["warnings"][0]
    low, high = found["tried"]
    assert low["per_day"] >= high["per_day"]
    assert high["minutes"] <= 30
    words = cx(*asked, *small, "--try", 12)
    assert "proposed: h: 12; this history is too short to be sure of any of these" in words.stdout
    assert "warning: " in words.stdout


def test_what_rules_would_do_at_this_volume_is_said(stored: Database, tmp_path: Path):
    """Before a rule is put to work: false alarms to expect, the smallest change it sees, or that it never fires."""
    file = tmp_path / "rules.yaml"
    file.write_text(
        RULES
        + """
      - {alert: Never, kpi: abandonment, method: floor, window: 15m, params: {target: 35}, min_n: 1000, severity: ticket}
      - {alert: Nothing, kpi: csat, method: floor, window: 15m, params: {target: 70}, severity: ticket}
"""
    )
    asked = (
        "check",
        file,
        "--against-store",
        "--to",
        at(BAD.start),
        "--only",
        "Low",
        "--only",
        "Never",
        "--only",
        "Nothing",
    )
    result = cx(*asked)
    assert result.exit_code == 0, result.output
    assert "Low: abandonment, floor, 1 days" in result.stdout
    assert "channel web: 0.000 false alarms a day" in result.stdout
    assert "Never: abandonment" in result.stdout
    assert "overall: cannot fire at your volume: " in result.stdout
    assert "came at most in 15m, 1000 needed" in result.stdout
    assert "Nothing: no minute of csat" in result.stdout
    assert "1 cannot fire at this volume" in result.stdout
    found = json.loads(cx(*asked, "--json").stdout)
    web = next(one for one in found["series"] if one["rule"] == "Low" and "web" in one["series"])
    assert 20 < web["smallest"] < 60, "from 10 % to surely beyond 35 %"
    assert cx("check", file, "--only", "Low").exit_code == 2
    assert "no such rule" in cx("check", file, "--against-store", "--only", "Lo").stderr


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (("--kpi", "abandonmnt"), 2, "did you mean 'abandonment'?"),
        (("--kpi", "asa"), 2, "only ratios can be tuned"),
        (("--kpi", "abandonment", "--by", "colour"), 2, "not kept by colour"),
        (("--kpi", "abandonment", "--window", "2h"), 2, "is not kept"),
        (("--kpi", "abandonment", "--method", "floor"), 2, "needs --target"),
        (("--kpi", "csat"), 1, "no minute of csat"),
    ],
)
def test_what_cannot_be_tuned_is_said(stored: Database, options, code, expected):
    result = cx("tune", *options)
    assert result.exit_code == code
    assert expected in result.stderr
