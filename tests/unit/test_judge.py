"""The judge: which transitions a run of closed minutes yields, what holds them back, and what they carry."""

import msgspec
import pytest

from streams.alerts.judge import Judge
from streams.alerts.parsing import parse_rules
from streams.alerts.types import SourceHealth
from streams.kpis.catalogue import Catalogue
from streams.kpis.series import series_key
from tests.harness.closed import Closed

CATALOGUE = Catalogue.load()
WINDOWS = ("1m", "5m", "15m", "1h", "24h")
LOW = """
groups:
  - name: test
    owner: contact-centre
    rules:
      - {alert: Low, kpi: service_level_all_offered, method: floor, window: 1m, params: {target: 80}, severity: page,
         runbook: docs/RUNBOOK.md, for: 2m, min_n: 100}
      - {alert: LowByChannel, kpi: service_level_all_offered, by: [channel], method: floor, window: 1m,
         params: {target: 80}, severity: page, runbook: docs/RUNBOOK.md, for: 1m, min_n: 100}
"""


def key(kpi: str = "service_level_all_offered", **labels: str) -> str:
    return series_key(kpi, tuple(labels.items()))


def rules(text: str = LOW):
    return parse_rules(text, CATALOGUE, windows=WINDOWS)


def well(*silent: str, bad: int = 0, minutes: int = 1):
    """Four channels with 60 records a minute; those named are silent for some minutes."""
    return [
        SourceHealth(name, minutes if name in silent else 0, max(0, 300 - 60 * minutes) if name in silent else 300,
                     bad if name == "web" else 0)
        for name in ("web", "app", "store", "call_center")
    ]  # fmt: skip


class Run:
    """A judge and its closed minutes."""

    def __init__(self, text: str = LOW, **settings) -> None:
        self.judge = Judge(rules(text), windows=WINDOWS, **settings)
        self.closed = Closed(WINDOWS)
        self.minute = 1000
        self.log = []

    def play(self, series, minutes: int = 1, health=None, **step):
        """Close some minutes alike; return the transitions as `minute rule{labels} OLD => NEW [held]`."""
        found = []
        for _ in range(minutes):
            self.minute += 1
            view = self.closed.close(self.minute, series, health if health is not None else well())
            found += self.judge.step(view, **step)
        self.log += found
        return [told(t) for t in found]


def told(t) -> str:
    held = f" [{t.inhibited_by}]" if t.inhibited_by else ""
    labels = ",".join(t.labels.values())
    return f"{t.minute} {t.rule}{{{labels}}} {t.why.split(':')[0]}{held}"


def level(web: tuple[int, int], app: tuple[int, int]):
    """Offered and answered in time, of two channels."""
    both = [web[0] + app[0], web[1] + app[1]]
    return {key(): both, key(channel="web"): list(web), key(channel="app"): list(app)}


GOOD = level((200, 188), (200, 188))
BAD = level((200, 80), (200, 80))
WEB = level((200, 80), (200, 188))
"""Only one of them is bad, which shows in the whole too."""


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
    evidence = fired.evidence
    assert (evidence.method, evidence.unit, evidence.window, evidence.target) == ("floor", "percent", "1m", 80)
    assert (evidence.value, evidence.n) == (40, 200)
    assert (evidence.baseline, evidence.baseline_n) == (pytest.approx(100 * (20 * 188 + 80) / 4200), 4200)
    assert evidence.definition == CATALOGUE["service_level_all_offered"].definition_id
    assert evidence.links == {"runbook": "docs/RUNBOOK.md"}
    assert "web" in fired.annotations["summary"]
    assert (fired.severity, fired.owner) == ("page", "contact-centre")
    assert fired.episode == next(t for t in run.log if t.labels == fired.labels).episode


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
