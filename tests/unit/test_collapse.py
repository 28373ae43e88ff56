"""A collapse is told from what has come of a minute that is still open; all else waits until it has closed."""

import json
from typing import Any

import pytest

from streams.alerts.detectors.cusum import Cusum, CusumState
from streams.alerts.judging.judge import Judge
from streams.alerts.rules.parsing import load_rules
from streams.alerts.rules.rules import RulesError
from streams.kpis.folding.partials import Partial
from streams.kpis.rolling.merge import MergeState
from streams.shipped import RULES as SHIPPED
from tests.harness.collapses import false_a_day
from tests.harness.explaining import CATALOGUE as ALL
from tests.harness.judged import CUSUM, WINDOWS, Run, key, level, rules, taken_over, well
from tests.harness.noise import FULL, NONE, PERCENT
from tests.harness.nullsim import shipped

COLLAPSE = CUSUM.replace("h: 8}", "h: 8, collapse: 40}, for: 5m, keep_firing_for: 10m")
GOOD = level((25, 24), (25, 23))


def whole(n: int, hits: int) -> dict[str, Any]:
    return {key(): [n, hits]}


def ready(text: str = COLLAPSE) -> Run:
    run = Run(text)
    assert run.play(GOOD, 20) == []
    return run


def test_it_is_told_at_once_and_once_and_the_minute_is_judged_as_always() -> None:
    run = ready()
    assert run.peek(whole(9, 0)) == [], "nine bad answers may be one person"
    assert run.peek(whole(14, 2)) == ["1020 Erosion{} INACTIVE => FIRING"], "though the rule waits for five minutes"
    fired = run.log[-1]
    assert (
        "evidence 28.14 against 15.64 that 94 % became 14.29 %, from 14 answers in 1 min of which the last is not over, 12 of them bad"
        in fired.why
    )
    evidence = fired.evidence
    assert (evidence.value, evidence.n, evidence.window, evidence.ahead) == (pytest.approx(100 / 7), 14, "1m", 1)
    assert run.peek(whole(20, 2)) == []
    [instance] = [one for _, _, one in run.judge._store]
    assert instance.during == [0, 0], "the minute is counted when it has closed"
    assert run.play(whole(50, 5), 5) == []
    assert instance.during == [250, 25]
    assert run.play(GOOD, 20)[-1].endswith("FIRING => RESOLVED")


def test_a_few_bad_seconds_end_like_every_other_alert() -> None:
    run = ready()
    assert len(run.peek(whole(14, 0))) == 1
    assert run.play(level((25, 17), (25, 16)), 1) == []
    assert run.play(GOOD, 15)[-1].endswith("FIRING => RESOLVED")


def test_a_fall_that_closed_minutes_see_waits_for_them() -> None:
    run = ready()
    assert run.peek(whole(40, 26)) == [], "94 to 65 %: no collapse"
    assert run.play(whole(50, 32), 1) == ["1021 Erosion{} INACTIVE => PENDING"]
    assert run.peek(whole(40, 26)) == []
    assert run.peek(whole(20, 1)) == ["1021 Erosion{} PENDING => FIRING"], "and what is pending does not wait either"


def test_the_last_closed_minute_counts_too_but_not_without_more() -> None:
    run = ready()
    assert run.play(whole(14, 5), 1) == []
    assert run.peek({}) == []
    assert run.peek(whole(2, 2)) == []
    assert run.peek(whole(6, 1)) == ["1021 Erosion{} INACTIVE => FIRING"]
    assert (run.log[-1].evidence.n, run.log[-1].evidence.window) == (20, "2m")


def test_nothing_is_told_of_a_channel_in_trouble_and_before_a_minute_is_judged() -> None:
    text = COLLAPSE.replace("method: cusum", "by: [channel], method: cusum")
    open_ = {key(channel="web"): [30, 0]}
    assert len(ready(text).peek(open_)) == 1
    run = Run(text)
    run.play(GOOD, 20)
    run.play(GOOD, 3, health=well(bad=200))
    assert run.peek(open_) == []
    breaking = ready(text)
    assert breaking.peek(open_, well(bad=200)) == [], "it breaks in the minute that is open"
    assert breaking.peek(open_, well("web", minutes=3)) == []
    assert len(breaking.peek(open_, well("web"))) == 1, "a minute that has just begun may hold nothing yet"
    fresh = Run(COLLAPSE)
    fresh.closed.close(1000, GOOD)
    assert fresh.peek(whole(30, 0)) == []


def test_a_mute_that_has_begun_by_then_holds_it_back_and_texts_name_the_end_of_the_span() -> None:
    calendar = "calendars:\n  - {name: work, zone: UTC, when: [{times: [17:02-18:00]}]}\n"
    summary = '{summary: "{{ value | show }} until {{ until }}", summary_fa: "{{ value | show }} تا {{ until }}"}'
    text = calendar + COLLAPSE.replace("for: 5m", f"for: 5m, mute: [work], annotations: {summary}")
    run = ready(text)
    assert run.peek(whole(14, 0)) == ["1020 Erosion{} INACTIVE => FIRING [mute work]"], (
        "the newest closed minute ends at 17:01"
    )
    texts = run.log[-1].annotations
    assert texts["summary"].startswith("0.0 % until 1970-01-01 17:02")
    assert "۱۷:۰۲" in texts["summary_fa"]


def test_no_minute_has_begun_by_clocks_that_are_ahead() -> None:
    state, now = MergeState(windows=("1m", "5m")), 60.0 * 1_003 + 30
    for number, (minute, hits) in enumerate([(1_000, 9), (1_003, 2), (1_010, 1)]):
        deltas = {minute: {key(): [10, hits]}}
        known = {"source": "web/0", "watermark": 60.0 * 1_002, "caught_up": True}
        state.apply(Partial(first=number, last=number, deltas=deltas, **known), number)
    state.drain_outputs(now)
    view = state.open_minutes(now)
    assert view is not None
    assert (view.closed.minute, view.ahead, view.latest(key(), 1), view.latest(key(), 2)) == (
        1_001,
        2,
        [10, 2],
        [10, 2],
    )
    assert state.open_minutes(60.0 * 1_001) is None


def test_where_a_source_is_far_behind_nothing_is_told_ahead_of_it() -> None:
    run = ready()
    assert run.peek(whole(30, 0), ahead=5) == [], "minutes that close then are old, and would end it"
    assert len(run.peek(whole(30, 0), ahead=4)) == 1


def test_a_series_that_stumbles_waits_for_closed_minutes_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    run = ready(COLLAPSE.replace("method: cusum", "by: [channel], method: cusum"))
    sound = Cusum.glance

    def stumbling(self: Cusum, facts: Any, reading: Any, memory: Any) -> Any:
        if reading.latest(1) == [30, 30]:
            raise ZeroDivisionError("no answers")
        return sound(self, facts, reading, memory)

    monkeypatch.setattr(Cusum, "glance", stumbling)
    open_ = {key(channel="web"): [30, 0], key(channel="app"): [30, 30]}
    assert run.peek(open_) == ["1020 Erosion{web} INACTIVE => FIRING"], "what was seen before the fault is told"
    [fault] = run.judge.take_faults()
    assert fault.rule == "Erosion"
    assert (
        fault.reason == "Erosion{channel=app}: ZeroDivisionError: no answers; it waits for closed minutes from now on"
    )
    assert run.peek(open_) == []
    assert run.judge.take_faults() == []
    assert [line.split("} ")[1] for line in run.play(GOOD, 20)] == ["FIRING => RESOLVED"], "and the judge goes on"


def test_the_answers_that_a_rule_demands_are_demanded_here_too() -> None:
    run = ready(COLLAPSE.replace("for: 5m", "for: 5m, min_n: 30"))
    assert run.peek(whole(29, 0)) == []
    assert len(run.peek(whole(30, 0))) == 1


def test_what_was_told_is_not_told_again_after_a_crash_and_what_was_not_saved_is_found_again() -> None:
    run = ready()
    taken_over(run, COLLAPSE)
    assert len(run.peek(whole(14, 0))) == 1
    saved = [*run.judge.dirty_records(), run.judge.commit_record()]
    before = [*saved]
    run.peek(whole(15, 0))
    again = Judge(rules(COLLAPSE), windows=WINDOWS)
    again.restore(before)
    assert [one.seq for one in again.outbox] == [1]
    run.judge = again
    assert run.peek(whole(20, 0)) == []
    assert not again.is_dirty
    assert run.play(whole(50, 2), 3) == []


def test_rules_that_look_ahead_remember_what_they_knew_before_they_did() -> None:
    run = ready(CUSUM)
    run.play(level((25, 22), (25, 22)), 1)
    [before] = [one.detector for _, _, one in run.judge._store]
    taken_over(run, COLLAPSE)
    run.play(level((25, 22), (25, 22)), 1)
    [after] = [one.detector for _, _, one in run.judge._store]
    assert (before.minutes, after.minutes) == (1, 2)


def test_a_collapse_is_more_than_the_change_that_waits() -> None:
    with pytest.raises(RulesError, match="collapse 8 must be more than the change of 10"):
        rules(CUSUM.replace("p0: 94, p1: 84, h: 8", "baseline: 24h, delta: 10, h: 8, collapse: 8"))


def test_scores_and_amounts_collapse_as_well() -> None:
    text = CUSUM.replace("service_level_all_offered", "KPI").replace("p0: 94, p1: 84, h: 8", "PARAMS")
    scale = ALL["asa"].scale
    short, long = ([20, 20 * x * scale, 20 * 2 * x * x * scale * scale] for x in (30, 200))
    for kpi, params, good, bad in (
        ("nps", "p0: 40, p1: 20, sd: 70, collapse: 80", [50, 27, 7], [40, 1, 36]),
        ("asa", "p0: 30, p1: 60, sd: 30, collapse: 120", short, long),
    ):
        run = Run(text.replace("KPI", kpi).replace("PARAMS", params))
        assert run.play({key(kpi): good}, 3) == []
        assert len(run.peek({key(kpi): bad})) == 1, kpi


def test_while_nothing_happens_it_is_hardly_ever_told() -> None:
    """The command `python -m bench.collapses` has more of it."""
    looking = [
        rule for kpi in ("csat", "payment_failure") for rule in shipped(kpi=kpi) if rule.params.glances
    ]  # fmt: skip
    assert len(looking) == 2
    for rule in looking:
        assert isinstance(rule.params, Cusum)
        good = {"csat": 85.0, "payment_failure": 95.0}[rule.kpi]
        for noise, rate in ((NONE, 20.0), (FULL, 5.0)):
            assert false_a_day(rule.params, rule.facts, good, noise, rate, 50, 5) <= 0.01
    loose = Cusum(baseline="24h", delta=10.0, h=0.1, collapse=30.0, min_failures=1)
    assert false_a_day(loose, PERCENT, 85.0, FULL, 5.0, 50, 5) > 0.02, "one that fires too often is seen to"


def test_the_shipped_pages_look_ahead_where_all_may_fail_at_once() -> None:
    book = load_rules([SHIPPED], ALL)
    looking = {rule.alert: rule for rule in book if rule.params.glances}
    assert looking.keys() >= {"PaymentsFail", "RequestsFail", "AppCrashes", "CsatCollapseByChannel"}
    assert all(rule.severity == "page" for rule in looking.values())
    for rule in looking.values():
        assert isinstance(rule.params.without_evidence(CusumState()), CusumState)
        assert json.dumps(rule.params.memory_key).count("collapse") == 0
