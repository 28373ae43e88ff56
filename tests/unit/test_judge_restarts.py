"""The judge over restarts: what it takes over, from itself and from rules that have changed or are gone."""

import msgspec
import pytest

from tests.harness.judged import BAD, CUSUM, GOOD, LOW, Run, level, taken_over


def test_a_firing_alert_survives_a_restart():
    """It is there before the first minute is judged, and its clocks go on."""
    run = Run(LOW.replace("min_n: 100}", "min_n: 100, keep_firing_for: 5m}"))
    run.play(GOOD, 10)
    run.play(BAD, 4)
    run.play(GOOD, 3)
    before = run.judge.active(run.minute)
    taken_over(run, LOW.replace("min_n: 100}", "min_n: 100, keep_firing_for: 5m}"))
    assert run.judge.active(run.minute) == before
    assert len(before) == 3
    assert [line.split("} ")[1] for line in run.play(GOOD, 3)] == ["FIRING => RESOLVED"] * 3
    assert run.log[-1].why.endswith("; no trouble for 5 min")
    assert run.log[-1].minute == 1020


def test_ended_alerts_are_told_for_a_while():
    """Until receivers that were away have heard of it; then nothing is remembered of them."""
    run = Run()
    run.play(GOOD, 10)
    run.play(BAD, 3)
    run.play(GOOD, 1)
    assert [active.ended for active in run.judge.active(run.minute)] == [1014] * 3
    run.play(GOOD, 14)
    assert len(run.judge.active(run.minute)) == 3
    run.play(GOOD, 1)
    assert run.judge.active(run.minute) == []
    run.play(GOOD, 360)
    assert list(run.judge._store) == []


def test_a_rule_that_is_gone_ends_its_alerts():
    """Nobody waits for ever for an end that nobody would tell of."""
    run = Run()
    run.play(GOOD, 10)
    run.play(BAD, 3)
    text = LOW.replace("alert: LowByChannel", "alert: Renamed")
    taken_over(run, text)
    found = run.play(BAD, 1)
    assert found[:2] == ["1014 LowByChannel{app} FIRING => RESOLVED", "1014 LowByChannel{web} FIRING => RESOLVED"]
    ended = run.log[-len(found)]
    assert ended.why == "FIRING => RESOLVED: no rule of this name judges it any more"
    assert (ended.severity, ended.owner, ended.kpi) == ("page", "contact-centre", "service_level_all_offered")
    assert ended.annotations
    assert {active.ended for active in run.judge.active(1014) if active.transition.rule == "LowByChannel"} == {1014}
    taken_over(run, text)
    assert not [line for line in run.play(BAD, 20) if "LowByChannel" in line]
    assert "LowByChannel" not in {rule for rule, _, _ in run.judge._store}


@pytest.mark.parametrize("gone", [False, True])
def test_what_cannot_be_judged_is_told_before_the_first_minute_also_where_its_rule_is_gone(gone):
    """Receivers are told at once after a restart."""
    run = Run()
    run.play(GOOD, 10)
    run.play(BAD, 4)
    run.play(level((1, 1), (1, 1)), 3)
    before = run.judge.active(run.minute)
    assert [(active.ended, active.unjudged is None) for active in before] == [(None, False)] * 3
    left = taken_over(run, "groups: []\n" if gone else LOW).judge.active(run.minute)
    assert left == [msgspec.structs.replace(active, unjudged=None if gone else active.unjudged) for active in before]
    run.play(GOOD)
    assert [active.ended for active in run.judge.active(run.minute)] == [run.minute] * 3


def test_a_pending_alert_of_a_rule_that_is_gone_goes_quietly():
    """From pending to inactive."""
    run = Run()
    run.play(GOOD, 10)
    run.play(BAD, 1)
    taken_over(run, "groups: []\n")
    assert run.play(BAD, 2) == [
        "1012 Low{} PENDING => INACTIVE",
        "1012 LowByChannel{app} PENDING => INACTIVE",
        "1012 LowByChannel{web} PENDING => INACTIVE",
    ]
    assert list(run.judge._store) == []


def test_a_detector_remembers_over_a_restart_unless_its_rule_changed():
    """Half of the evidence before, half after: enough together, unless it was for another question."""
    eroded = level((100, 88), (100, 88))
    for text, expected in ((CUSUM, "INACTIVE => FIRING"), (CUSUM.replace("h: 8}", "h: 8.5}"), None)):
        run = Run(CUSUM)
        run.play(GOOD, 10)
        minutes = 0
        while not run.play(eroded) and minutes < 50:
            minutes += 1
        assert 1 < minutes < 50
        again = Run(CUSUM)
        again.play(GOOD, 10)
        assert again.play(eroded, minutes) == []
        taken_over(again, text)
        assert [line.split("} ")[1] for line in again.play(eroded)] == ([expected] if expected else [])
