"""The judge: which transitions a run of closed minutes yields, what holds them back, and what they carry."""

import msgspec
import pytest

from streams.alerts.judging.judge import Judge
from tests.harness.judged import BAD, CATALOGUE, CUSUM, GOOD, LOW, WEB, Run, key, level, rules, told, well


def test_parents_fire_first_and_hold_their_children():
    """Where the whole falls, its parts are told of as held, and listed in the evidence of the whole."""
    run = Run(LOW.replace("for: 2m", "for: 1m"))
    assert run.play(GOOD, 10) == []
    assert run.play(BAD, 3) == [
        "1011 Low{} INACTIVE => PENDING",
        "1011 LowByChannel{app} INACTIVE => PENDING",
        "1011 LowByChannel{web} INACTIVE => PENDING",
        "1012 Low{} PENDING => FIRING",
        "1012 LowByChannel{app} PENDING => FIRING [parent Low{}]",
        "1012 LowByChannel{web} PENDING => FIRING [parent Low{}]",
    ]
    fired = run.log[3]
    assert [(child.labels, child.note) for child in fired.evidence.movements] == [
        ({"channel": "app"}, "LowByChannel fires too"),
        ({"channel": "web"}, "LowByChannel fires too"),
    ]
    assert [active.transition.rule for active in run.judge.active(run.minute)] == ["Low"]


def test_a_child_is_passed_on_when_its_parent_resolves_and_its_trouble_is_still_there():
    """By its own clock: nothing starts anew."""
    run = Run(LOW.replace("for: 2m", "for: 1m"))
    run.play(GOOD, 10)
    run.play(BAD, 3)
    after = run.play(level((200, 80), (2000, 2000)), 2)
    assert after == [
        "1014 Low{} FIRING => RESOLVED",
        "1014 LowByChannel{app} FIRING => RESOLVED [parent Low{}]",
        "1014 LowByChannel{web} FIRING => FIRING",
    ]
    released = next(t for t in run.log if t.why.startswith("FIRING => FIRING"))
    assert released.why.startswith("FIRING => FIRING: no longer held back by parent Low{}; ")
    assert {active.transition.labels.get("channel") for active in run.judge.active(run.minute)} == {None, "web"}


def test_a_child_that_was_passed_on_stays_so():
    """When the parent fires later, nobody reads that the child resolved."""
    run = Run()
    run.play(GOOD, 10)
    assert [line for line in run.play(BAD, 4) if "FIRING" in line] == [
        "1012 LowByChannel{app} PENDING => FIRING",
        "1012 LowByChannel{web} PENDING => FIRING",
        "1013 Low{} PENDING => FIRING",
    ]
    assert len(run.judge.active(run.minute)) == 3
    resolved = [t for t in (run.play(GOOD, 12), run.log)[1] if t.new == "resolved"]
    assert [t.inhibited_by for t in resolved] == [None] * 3


def test_a_parent_that_is_worth_less_holds_nothing():
    """A ticket for the whole does not keep a page for a part quiet."""
    run = Run(LOW.replace("severity: page", "severity: ticket", 1).replace("for: 2m", "for: 1m"))
    run.play(GOOD, 10)
    fired = [line for line in run.play(BAD, 3) if "FIRING" in line]
    assert fired == [
        "1012 Low{} PENDING => FIRING",
        "1012 LowByChannel{app} PENDING => FIRING",
        "1012 LowByChannel{web} PENDING => FIRING",
    ]


@pytest.mark.parametrize("no_data", ["ok", "keep", "alert"])
def test_five_answers_never_page(no_data):
    """However bad they are, and whatever missing data means."""
    run = Run(LOW.replace("min_n: 100", f"min_n: 30, no_data: {{action: {no_data}, for: 1m}}"))
    assert run.play(level((2, 0), (3, 0)), 60) == []


def test_no_data_is_an_alert_of_its_own_where_the_rule_says_so():
    """After its own time; a parent holds it as any other."""
    run = Run(LOW.replace("min_n: 100", "min_n: 100, no_data: {action: alert, for: 3m}"))
    run.play(GOOD, 5)
    assert run.play({}, 5) == [
        "1006 Low{} INACTIVE => PENDING",
        "1006 LowByChannel{app} INACTIVE => PENDING",
        "1006 LowByChannel{web} INACTIVE => PENDING",
        "1009 Low{} PENDING => FIRING",
        "1009 LowByChannel{app} PENDING => FIRING [parent Low{}]",
        "1009 LowByChannel{web} PENDING => FIRING [parent Low{}]",
    ]
    assert run.log[-1].why == "PENDING => FIRING: no data for 3 min; held back by parent Low{}"


def test_a_reason_has_numbers_and_evidence_what_it_rests_on():
    """The text of the rule is filled in from the same numbers."""
    run = Run()
    run.play(GOOD, 20)
    run.play(WEB, 2)
    fired = next(t for t in run.log if t.new == "firing")
    assert fired.why == "PENDING => FIRING: 40 % of 200, at most 51.63 % with z = 3.29; target 80 %; for 1 min"
    assert fired.labels == {"channel": "web"}
    pending = next(t for t in run.log if t.new == "pending")
    assert "against 80.0 %" in pending.annotations["summary"], "who looks before it fires reads words, not states"
    evidence = fired.evidence
    assert (evidence.method, evidence.unit, evidence.window, evidence.target) == ("floor", "percent", "1m", 80)
    assert (evidence.value, evidence.n) == (40, 200)
    assert (evidence.baseline, evidence.baseline_n) == (None, 0), "of a day, twenty minutes are known"
    assert evidence.definition == CATALOGUE["service_level_all_offered"].definition_id
    assert evidence.links == {"runbook": "docs/RUNBOOK.md"}
    assert "web" in fired.annotations["summary"]
    assert (fired.severity, fired.owner) == ("page", "contact-centre")
    assert fired.episode == next(t for t in run.log if t.labels == fired.labels).episode


COMPARED = """
groups:
  - name: test
    owner: contact-centre
    rules:
      - {alert: Worse, kpi: service_level_all_offered, by: [channel], method: METHOD, window: 5m, params: PARAMS,
         severity: ticket, min_n: 100}
"""


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("ztest", "{baseline: 1h}"), ("cusum", "{baseline: 1h, delta: 10}"), ("ewma", "{baseline: 1h}"),
        ("floor", "{target: 80}"),
    ],
)  # fmt: skip
def test_nothing_is_said_to_be_usual_before_the_reference_is_whole(method: str, params: str) -> None:
    """It is judged all the same, and said as soon as something was there before all of the reference."""
    rules, length = COMPARED.replace("METHOD", method).replace("PARAMS", params), 1440 if method == "floor" else 60
    for minutes, known in ((40, False), (length + 30, True)):
        run = Run(rules)
        run.play(GOOD, minutes)
        run.play(WEB, 15)
        fired = next(t for t in run.log if t.new == "firing")
        assert (fired.evidence.baseline is not None, fired.evidence.baseline_n > 0) == (known, known)
        summary, persian = fired.annotations["summary"], fired.annotations["summary_fa"]
        assert ("usually" in summary, "معمولاً" in persian) == (known and method != "floor",) * 2, summary
        run.play(GOOD, 300)
        ended = next(t for t in run.log if t.old == "firing")
        assert ("at the usual" in ended.annotations["description"]) == (known and method != "floor"), ended.annotations


def test_what_stands_out_is_named():
    """The whole fell because one channel did."""
    run = Run(LOW.replace("target: 80", "target: 90"))
    run.play(GOOD, 60)
    run.play(WEB, 5)
    fired = next(t for t in run.log if t.new == "firing" and not t.labels)
    first = fired.evidence.contributors[0]
    assert first.labels == {"channel": "web"}
    assert first.explained == pytest.approx(1, abs=0.05)
    assert first.value == 40


BY_CHANNEL = """
groups:
  - name: test
    rules:
      - {alert: Bad, kpi: csat, by: [channel], method: floor, window: 5m, params: {target: 80}, severity: ticket}
"""


def satisfied(web: dict[str, int], app: dict[str, int]):
    """CSAT of two channels and of the segments that run across them, by bad answers of each of 60 and 20 a minute."""
    bad = [(segment, 60, count, "web") for segment, count in web.items()]
    bad += [(segment, 20, count, "app") for segment, count in app.items()]
    held: dict[str, list[int]] = {}
    for segment, n, count, channel in bad:
        for series in (key("csat"), key("csat", channel=channel), key("csat", segment=segment)):
            before = held.get(series, [0, 0])
            held[series] = [before[0] + n, before[1] + n - count]
    return held


@pytest.mark.parametrize(
    ("web", "app", "named"),
    [
        ({"vip": 36, "new": 3}, {"vip": 12, "new": 1}, [{"segment": "vip"}]),
        ({"vip": 36, "new": 36}, {"vip": 1, "new": 1}, []),
        ({"vip": 36, "new": 36}, {"vip": 12, "new": 12}, []),
    ],
    ids=["one segment of all channels", "all of a channel", "everybody"],
)
def test_a_cause_that_runs_across_channels_is_named_in_the_alert_of_a_channel(web, app, named):
    """Its own parts hold no segments. Where the channel or everybody is the cause, it stays so."""
    run = Run(BY_CHANNEL)
    run.play(satisfied({"vip": 3, "new": 3}, {"vip": 1, "new": 1}), 90)
    run.play(satisfied(web, app), 6)
    first = next(t for t in run.log if t.new == "firing")
    assert first.labels == {"channel": "web"}
    assert [part.labels for part in first.evidence.contributors] == named


def test_a_silent_channel_pages_no_kpi():
    """A whole of which it is a part only looks worse: the better half is missing. It fires, and is held."""
    run = Run()
    run.play(level((200, 198), (200, 136)), 60)
    for minutes in range(1, 31):
        run.play(level((0, 0), (200, 136)), 1, well("web", minutes=minutes))
    fired = [told(t) for t in run.log if t.new == "firing"]
    assert fired == [
        "1002 LowByChannel{app} PENDING => FIRING",
        "1063 Low{} PENDING => FIRING [pipeline web: silent for 3 min]",
    ]


def test_what_is_held_by_a_pipeline_is_passed_on_when_it_is_well_again():
    """If the trouble is still there, and the gap no longer distorts the window."""
    run = Run(LOW.replace("window: 1m", "window: 15m"))
    run.play(level((200, 198), (200, 136)), 60)
    for minutes in range(1, 11):
        run.play(level((0, 0), (200, 136)), 1, well("web", minutes=minutes))
    after = [line for line in run.play(BAD, 20) if "Low{}" in line]
    assert [line for line in after if "FIRING" in line] == ["1083 Low{} FIRING => FIRING"]
    gap = 3 / 15
    assert 0.5 * 0.5 * gap / (1 - 0.5 * gap) > 0.05 > 0.5 * 0.5 * (gap - 1 / 15) / (1 - 0.5 * (gap - 1 / 15))


def test_a_spoilt_channel_holds_its_series():
    """More than a fifth of its records are bad."""
    run = Run()
    run.play(GOOD, 10)
    fired = [line for line in run.play(WEB, 4, well(bad=100)) if "=> FIRING" in line]
    assert fired == [
        "1012 LowByChannel{web} PENDING => FIRING [pipeline web: 33 % of 300 records bad]",
        "1013 Low{} PENDING => FIRING [pipeline web: 33 % of 300 records bad]",
    ]


def test_a_channel_without_a_share_holds_nothing():
    """The store being silent is no reason to keep quiet about calls."""
    run = Run()
    run.play(GOOD, 10)
    fired = [line for line in run.play(WEB, 4, well("store", minutes=9)) if "=> FIRING" in line]
    assert fired == ["1012 LowByChannel{web} PENDING => FIRING", "1013 Low{} PENDING => FIRING"]


def test_calendars_hold_and_release():
    """Muted at night, passed on in the morning if the trouble is still there."""
    text = "calendars:\n  - {name: dawn, zone: UTC, when: [{times: ['00:00-17:00']}]}\n" + LOW.replace(
        "min_n: 100}", "min_n: 100, mute: [dawn]}"
    )
    run = Run(text)
    run.play(GOOD, 10)
    found = run.play(WEB, 12)
    assert [line for line in found if "Low{}" in line] == [
        "1011 Low{} INACTIVE => PENDING",
        "1013 Low{} PENDING => FIRING [mute dawn]",
        "1019 Low{} FIRING => FIRING",
    ]


def test_what_was_held_resolves_held():
    """Nobody hears of the end of what nobody heard of."""
    run = Run(LOW.replace("for: 2m", "for: 1m"))
    run.play(GOOD, 10)
    run.play(BAD, 3)
    run.play(GOOD, 20)
    resolved = {(t.rule, t.inhibited_by) for t in run.log if t.new == "resolved"}
    assert resolved == {("Low", None), ("LowByChannel", "parent Low{}")}


def test_a_rule_fires_no_more_often_than_its_limit():
    """What is beyond is held, and that is a fault."""
    run = Run(LOW.replace("min_n: 100}", "min_n: 100, limit: 1, inhibit_by: []}"))
    run.play(GOOD, 10)
    fired = [line for line in run.play(BAD, 3) if "LowByChannel" in line and "=> FIRING" in line]
    assert fired == [
        "1012 LowByChannel{app} PENDING => FIRING",
        "1012 LowByChannel{web} PENDING => FIRING [limit of 1 alerts]",
    ]
    assert [fault.reason for fault in run.judge.take_faults()] == [
        "LowByChannel{channel=web} is held back by the limit of 1 alerts"
    ]
    assert run.judge.take_faults() == []


def test_a_rule_watches_no_more_series_than_its_limit():
    """The others go unjudged, and that is a fault."""
    run = Run(max_series=1)
    run.play(GOOD)
    assert run.judge.instances == 2
    [fault] = run.judge.take_faults()
    assert (fault.rule, fault.reason) == ("LowByChannel", "it watches 1 series, which is the limit; 1 are left out")


def test_a_rule_that_fails_stops_no_other(monkeypatch):
    """It is told once a minute, and its state stays as it was."""
    run = Run()
    run.play(GOOD, 10)
    failing = run.judge._watches[0].rule.params
    real = Judge._judge

    def judge(self, subject, reading, minute):
        if subject.watch.rule.params is failing:
            raise ZeroDivisionError("by nothing")
        return real(self, subject, reading, minute)

    monkeypatch.setattr(Judge, "_judge", judge)
    found = run.play(WEB, 3)
    assert [line for line in found if "=> FIRING" in line] == ["1012 LowByChannel{web} PENDING => FIRING"]
    assert [fault.reason for fault in run.judge.take_faults()] == ["Low{}: ZeroDivisionError: by nothing"] * 3


def test_a_minute_is_judged_once():
    """Whoever takes over after a crash closes minutes again that were judged before it."""
    run = Run()
    run.play(GOOD, 10)
    run.play(BAD, 1)
    assert run.judge.step(run.closed) == []
    assert run.judge.judged == 1011


def test_windows_must_be_kept():
    """Whoever keeps fewer windows than the rules read hears of it at once."""
    with pytest.raises(ValueError, match=r"rule Low reads 1m; kept are 5m, 1h"):
        Judge(rules(), windows=("5m", "1h"))


def test_transitions_travel():
    """They come back the same from message-pack and JSON."""
    run = Run()
    run.play(GOOD, 60)
    run.play(BAD, 4)
    assert len(run.log) == 6
    for transition in run.log:
        kind = type(transition)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(transition), type=kind) == transition
        assert msgspec.json.decode(msgspec.json.encode(transition), type=kind) == transition


def test_samples_to_compare_with_must_be_large_enough():
    """A baseline of few answers proves nothing, however clear it looks."""
    text = CUSUM.replace(
        "method: cusum, window: 1h, params: {p0: 94, p1: 84, h: 8}", "method: ztest, window: 5m, params: {baseline: 1h}"
    )
    for needed, expected in ((2000, []), (1000, ["1013 Erosion{} INACTIVE => FIRING"])):
        run = Run(text.replace("severity:", f"min_denominator: {needed}, min_n: 30, severity:"))
        run.play(level((200, 188), (0, 0)), 12)
        assert run.play(level((200, 60), (0, 0))) == expected


def test_recovery_has_a_threshold_of_its_own():
    """Between the two it stays."""
    run = Run(LOW.replace("min_n: 100}", "min_n: 100, recover: {above: 90, for: 2m}}"))
    run.play(GOOD, 5)
    run.play(BAD, 3)
    assert run.play(level((200, 170), (200, 170)), 10) == []
    assert [line for line in run.play(GOOD, 4) if "Low{}" in line] == ["1021 Low{} FIRING => RESOLVED"]


def test_flapping_is_told_in_the_alert():
    """The fourth firing in six hours says that it will stay, and does."""
    run = Run(LOW.replace("for: 2m", "for: 0"))
    for _ in range(4):
        run.play(GOOD, 5)
        run.play(BAD, 2)
    fired = [t for t in run.log if t.rule == "Low" and t.new == "firing"]
    assert len(fired) == 4
    assert fired[3].why.endswith("; fired 4 times in 6 h, so it stays until it was calm for 1 h")
    resolved = [line for line in run.play(GOOD, 70) if " Low{}" in line.split(" [")[0]]
    assert resolved == ["1089 Low{} FIRING => RESOLVED"]


def test_clocks_go_on_through_minutes_that_were_left_out():
    """After an outage the next minute judged is an hour later; trouble that is still there has lasted as long."""
    run = Run()
    run.play(GOOD, 10)
    run.play(BAD, 1)
    run.minute += 60
    found = run.play(BAD, 1)
    assert found[0] == "1072 Low{} PENDING => FIRING"
    assert "for 1 h 1 min" in next(t for t in run.log if t.new == "firing").why


def test_what_ended_without_data_fires_again_for_new_reasons_only():
    """A CUSUM in breach when nothing comes any more: what it had added up ends with its alert."""
    run = Run(CUSUM.replace("window: 1h", "window: 5m, no_data: {action: ok}"))
    run.play(GOOD, 10)
    assert [line.split("} ")[1] for line in run.play(BAD, 5)] == ["INACTIVE => FIRING"]
    assert [line.split("} ")[1] for line in run.play({}, 30)] == ["FIRING => RESOLVED"]
    assert run.log[-1].why.endswith("not judged for 15 min")
    few = level((10, 10), (10, 9))  # too few to make up at once for what was added up before
    assert [line for line in run.play(few, 5) if "FIRING" in line] == []
    assert [line.split("} ")[1] for line in run.play(BAD, 5) if "FIRING" in line] == ["INACTIVE => FIRING"]
