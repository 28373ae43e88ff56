"""Backtests: history is judged as it would have been live, and what fired is held against what happened."""

import pytest

from streams.alerts.judging.judge import Judge
from streams.alerts.judging.view import MinuteView
from streams.alerts.offline import minutes as minutes_module
from streams.alerts.offline.backtest import Backtest, RealIncident, groupings_of, rate_interval, windows_of
from streams.alerts.offline.minutes import Minutes
from streams.alerts.rules.parsing import parse_rules
from streams.commands.picture import PictureError
from streams.commands.rules_picture import draw
from streams.events.intake import Tally
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.partials import Partial
from streams.kpis.language.lengths import WINDOWS
from streams.kpis.language.series import series_key
from streams.kpis.rolling.merge import MergeState

CATALOGUE = Catalogue.load()
START = 29_000_000
RULES = """
groups:
  - name: test
    owner: contact-centre
    rules:
      - {alert: Low, kpi: abandonment, by: [channel], method: floor, window: 5m, params: {target: 35}, severity: page,
         min_n: 100, runbook: docs/RUNBOOK.md, for: 2m, keep_firing_for: 3m}
      - {alert: Worse, kpi: abandonment, method: cusum, window: 15m, params: {baseline: 1h, delta: 15},
         severity: ticket, keep_firing_for: 3m, no_data: {action: ok, for: 3m}}
"""


def history(minutes: int = 400, *, bad: range = range(200, 220), false: range = range(300, 306)):
    """Two channels and their whole; web has an incident, app something nobody knows of; a few minutes hold nothing."""
    for at in range(minutes):
        if at % 97 == 50:
            continue
        web = [40, 26 if at in bad else 3 + at % 3]
        app = [40, 30 if at in false else 4]
        whole = [a + b for a, b in zip(web, app, strict=True)]
        yield START + at, {key("web"): web, key("app"): app, key(): whole}


def key(channel: str = "") -> str:
    return series_key("abandonment", (("channel", channel),) if channel else ())


def book(text: str = RULES):
    return parse_rules(text, CATALOGUE)


def backtest(incidents=(), start: int = START + 60, **settings) -> Backtest:
    test = Backtest(book(), start, START + 399, incidents=incidents, **settings)
    for minute, sums in history():
        test.close(minute, sums)
    return test


WEB = RealIncident(START + 200, START + 219, {"channel": "web"})


def test_it_yields_what_the_judge_of_a_merge_partition_does():
    """Minute by minute the same, through partials, pages and windows of the real merge."""
    merge, judge = MergeState(idle_s=1e9, grace_s=0), Judge(book())
    live = []

    def look(closed) -> bool:
        live.extend(judge.step(MinuteView(closed)))
        return True

    for number, (minute, sums) in enumerate(history()):
        end = (minute + 1) * 60.0
        partial = Partial(
            source="web/0", first=number, last=number, watermark=end, caught_up=True, deltas={minute: sums},
            tally=Tally(read=80, counted=80), minutes=[minute],
        )  # fmt: skip
        merge.apply(partial, number)
        merge.drain_outputs(end, look)
    again = Backtest(book(), START, START + 399)
    for minute, sums in history():
        again.close(minute, sums, {"web/0": (80, 0)})
    assert again.transitions == live
    assert {t.new for t in live} == {"pending", "firing", "resolved", "inactive"}


def test_firings_of_an_incident_are_right_and_others_false():
    test = backtest([WEB])
    web, app = [one for one in test.firings if one.rule.alert == "Low"]
    assert (web.labels, test.is_false(web), app.labels, test.is_false(app)) == (
        {"channel": "web"}, False, {"channel": "app"}, True,
    )  # fmt: skip
    assert START + 200 < web.began < START + 210
    low = next(score for score in test.scores() if score.rule.alert == "Low")
    assert (low.series, low.firings, low.false) == (2, 2, 1)
    # Of web the incident is taken out, and as long as the window reaches back to it.
    assert low.days == pytest.approx((340 + 340 - 25) / 1440)
    assert low.per_day == pytest.approx(1 / low.days)
    assert low.lo < low.per_day < low.hi


def test_without_incidents_every_alarm_is_false():
    scores = {score.rule.alert: score.false for score in backtest().scores()}
    assert scores["Low"] == 2


def test_the_delay_counts_closed_minutes():
    [seen] = backtest([WEB]).seen()
    low = next(delay for name, delay in seen.delays.items() if name == "Low{channel=web}")
    first = next(t for t in backtest().transitions if t.new == "firing" and t.rule == "Low")
    assert low == first.minute - WEB.since + 1
    assert seen.notified == min(seen.delays.values())


def test_an_incident_of_another_series_explains_nothing():
    other = WEB._replace(labels={"channel": "store"})
    by_rule = WEB._replace(labels={"alert": "Worse", "channel": "web"})
    low = [next(s for s in backtest([one]).scores() if s.rule.alert == "Low") for one in (other, by_rule)]
    assert [score.false for score in low] == [2, 2]
    [seen] = backtest([by_rule]).seen()
    assert set(seen.delays) <= {"Worse{}"}


def test_what_comes_before_the_start_teaches_only():
    """What fired before it, and still does, is known, and is no false alarm."""
    test = backtest(start=START + 212)
    assert all(t.minute >= START + 212 for t in test.transitions)
    before = [one for one in test.firings if one.began < START + 212]
    assert before
    assert not any(test.is_false(one) for one in before)


def test_what_is_held_back_is_no_alarm():
    """Of the whole and its parts only one is told."""
    test = Backtest(book(RULES.replace("by: [channel], ", "", 1).replace("alert: Worse, kpi: abandonment,",
        "alert: Worse, kpi: abandonment, by: [channel],").replace("severity: ticket", "severity: page, runbook: r")),
        START, START + 399)  # fmt: skip
    for minute, sums in history():
        test.close(minute, sums)
    held = [one for one in test.firings if one.notified is None]
    assert sum(score.held for score in test.scores()) == len(held)
    assert not any(test.is_false(one) for one in held)


def test_a_rate_has_an_interval_even_without_events():
    """Exact limits: 0 to 3.69, 1.62 to 8.77 (Garwood); Byar is within some hundredths."""
    assert rate_interval(0, 1.0) == (0.0, pytest.approx(3.69, abs=0.05))
    assert rate_interval(3, 1.0) == (pytest.approx(0.62, abs=0.05), pytest.approx(8.77, abs=0.05))
    assert rate_interval(3, 10.0)[1] == pytest.approx(0.877, abs=0.005)


def test_windows_of_stored_minutes_are_sums():
    minutes = Minutes(("5m", "24h"))
    for minute, sums in history(30):
        view = minutes.close(minute, sums)
    assert view.window(key("app"), "5m") == [200, 20]
    assert view.window(key("app"), "24h") == [1200, 120]
    assert view.in_minute(key("app")) == [40, 4]
    assert view.window("abandonment\x1fchannel\x1fstore", "5m") is None


@pytest.mark.parametrize("windows", [("5m", "24h"), ("5m", "7d")])
def test_minutes_kept_packed_or_not_make_the_same_windows(monkeypatch, windows):
    """Over three days, so that minutes have left the day, and become hours where windows are longer."""

    def found(small: int) -> list[object]:
        monkeypatch.setattr(minutes_module, "SMALL", small)
        minutes = Minutes(windows)
        views = []
        for at in range(0, 3 * 1440, 7):
            view = minutes.close(START + at, {key("web"): [3, at % 3], key(): [5, at % 4]})
            views.append([view.window(one, name) for one in (key(), key("web")) for name in (*windows, "total")])
        return [[acc and list(acc) for acc in view] for view in views[::20]]

    assert found(0) == found(64)


def test_only_what_verdicts_depend_on_is_read():
    rules = """
groups:
  - name: test
    owner: contact-centre
    rules:
      - {alert: Mix, kpi: csat, method: mix_shift, window: 1h, severity: ticket,
         params: {label: segment, baseline: 24h, min_effect: 3}}
      - {alert: Unit, kpi: csat, by: [unitid], method: floor, window: 1h, severity: ticket, params: {target: 60}}
"""
    assert groupings_of(book()) == {(), ("channel",)}
    assert groupings_of(book(rules)) == {(), ("channel",), ("segment",), ("unitid",)}
    assert windows_of(book(), ("1m", "5m", "15m", "24h", "7d")) == ("5m", "15m", "24h", "1h")
    assert windows_of(book(rules), WINDOWS) == ("5m", "1h", "24h")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "begins"), [("a.png", b"\x89PNG\r\n\x1a\n"), ("a.svg", b"<?xml"), ("a.html", b"<!doctype html>")]
)
def test_a_picture_is_drawn(tmp_path, name, begins):
    test = backtest([WEB], drawn=True)
    assert draw(test, tmp_path / name) == 3
    content = (tmp_path / name).read_bytes()
    assert content.startswith(begins)
    assert len(content) > 10_000


def test_nothing_to_draw_is_said(tmp_path):
    with pytest.raises(PictureError, match="nothing to draw"):
        draw(Backtest(book(), START, START + 10, drawn=True), tmp_path / "a.png")
