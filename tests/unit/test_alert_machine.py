"""The state machine of one rule on one series: every way from state to state, and its clocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.alerts.judging.machine import (
    RESOLVED_MINUTES,
    Instance,
    Policy,
    Step,
    advance,
    ended_unjudged,
    ends_unjudged_at,
    is_flapping,
    minutes,
)
from streams.alerts.types import Verdict

BAD = Verdict(True, False, 71.0, 200, reason="71 % of 200")
SURE = Verdict(True, False, 5.0, 200, reason="5 % of 200", is_sure=True)
BETWEEN = Verdict(False, False, 76.0, 200, reason="76 % of 200")
GOOD = Verdict(False, True, 85.0, 200, reason="85 % of 200")
PLAIN = Verdict(False, None, 85.0, 200, reason="85 % of 200")
THIN = Verdict(None, None, 20.0, 5, reason="n 5 of 100")
EMPTY = Verdict(None, reason="no data")
SIGNS = {"!": BAD, "#": SURE, "~": BETWEEN, ".": GOOD, ",": PLAIN, "5": THIN, "_": EMPTY}


def told(policy: Policy, signs: str, *, start: int = 100) -> list[tuple[int, str]]:
    """Run verdicts written as signs (a blank is a minute that was not judged); tell the changes with their minute."""
    instance, found = Instance(), []
    for minute, sign in enumerate(signs, start):
        if sign != " " and (step := advance(instance, policy, minute, SIGNS[sign])):
            assert (instance.state, instance.since) == (step.new, minute)
            found.append((minute - start, f"{step.old} => {step.new}"))
    return found


@pytest.mark.parametrize(
    ("policy", "signs", "expected"),
    [
        pytest.param(Policy(), "!", [(0, "inactive => firing")], id="for 0 fires at once"),
        pytest.param(Policy(for_=2), "!!", [(0, "inactive => pending")], id="one minute is not two"),
        pytest.param(
            Policy(for_=2), "!!!", [(0, "inactive => pending"), (2, "pending => firing")], id="two minutes later"
        ),
        pytest.param(
            Policy(for_=2), "!!.!!",
            [(0, "inactive => pending"), (2, "pending => inactive"), (3, "inactive => pending")],
            id="the clock starts anew",
        ),
        pytest.param(Policy(for_=5), "#", [(0, "inactive => firing")], id="what is sure need not last"),
        pytest.param(Policy(for_=5), "!!#", [(0, "inactive => pending"), (2, "pending => firing")],
                     id="what becomes sure need not last"),
        pytest.param(Policy(for_=2), "!!~", [(0, "inactive => pending"), (2, "pending => inactive")],
                     id="between the thresholds is no trouble before it fired"),
        pytest.param(Policy(for_=5), "!         !", [(0, "inactive => pending"), (10, "pending => firing")],
                     id="clocks go on through minutes that were not judged"),
        pytest.param(Policy(for_=5), "!         .", [(0, "inactive => pending"), (10, "pending => inactive")],
                     id="what was not seen in a gap is not made up"),
        pytest.param(Policy(), "!.", [(0, "inactive => firing"), (1, "firing => resolved")], id="resolves at once"),
        pytest.param(Policy(keep_firing_for=2), "!,,!,,,",
                     [(0, "inactive => firing"), (6, "firing => resolved")], id="keep_firing_for starts anew"),
        pytest.param(Policy(), "!~~~.", [(0, "inactive => firing"), (4, "firing => resolved")],
                     id="between the thresholds it stays"),
        pytest.param(Policy(recover_for=2), "!..~...",
                     [(0, "inactive => firing"), (6, "firing => resolved")], id="recovery is unbroken"),
        pytest.param(Policy(keep_firing_for=3, recover_for=1), "!~~..",
                     [(0, "inactive => firing"), (4, "firing => resolved")], id="both clocks must have run down"),
        pytest.param(Policy(keep_firing_for=2), "!5_,_,",
                     [(0, "inactive => firing"), (5, "firing => resolved")], id="calm must be seen"),
        pytest.param(Policy(), "5_5_5", [], id="what cannot be judged stays inactive"),
        pytest.param(Policy(no_data="ok", no_data_for=2), "!___",
                     [(0, "inactive => firing"), (3, "firing => resolved")], id="no data is ok after its time"),
        pytest.param(Policy(no_data="ok", no_data_for=2), "!__!__!", [(0, "inactive => firing")],
                     id="the no-data clock starts anew"),
        pytest.param(Policy(no_data="ok", no_data_for=2, unjudged_limit=9), "!5555_5_555",
                     [(0, "inactive => firing"), (10, "firing => resolved")], id="too little is not no data"),
        pytest.param(Policy(no_data="ok", no_data_for=2), "!5555.",
                     [(0, "inactive => firing"), (5, "firing => resolved")], id="too little ends when recovery is shown"),
        pytest.param(Policy(no_data="ok", no_data_for=9, unjudged_limit=2), "!___",
                     [(0, "inactive => firing"), (3, "firing => resolved")], id="no data does not outlast the limit"),
        pytest.param(Policy(unjudged_limit=3), "!555!5__5",
                     [(0, "inactive => firing"), (8, "firing => resolved")], id="the limit counts from the last verdict"),
        pytest.param(Policy(unjudged_limit=3), "!___!~__.",
                     [(0, "inactive => firing"), (8, "firing => resolved")], id="nothing at all is no recovery either"),
        pytest.param(Policy(unjudged_limit=0), "!5", [(0, "inactive => firing"), (1, "firing => resolved")],
                     id="with no limit to it at once"),
        pytest.param(Policy(no_data="alert", unjudged_limit=3), "!______5",
                     [(0, "inactive => firing"), (7, "firing => resolved")],
                     id="of missing data that alerts only too little runs out"),
        pytest.param(Policy(no_data="ok", no_data_for=2), "!___!___",
                     [(0, "inactive => firing"), (3, "firing => resolved"), (4, "resolved => firing"),
                      (7, "firing => resolved")], id="the no-data clock of an episode is its own"),
        pytest.param(Policy(no_data="keep", no_data_for=2), "!_______", [(0, "inactive => firing")], id="kept firing"),
        pytest.param(Policy(for_=4, no_data="keep", no_data_for=1), "!_____!",
                     [(0, "inactive => pending"), (2, "pending => inactive"), (6, "inactive => pending")],
                     id="two bad minutes far apart are no lasting trouble"),
        pytest.param(Policy(for_=9, no_data_for=2), "!___",
                     [(0, "inactive => pending"), (3, "pending => inactive")], id="pending runs out without data"),
        pytest.param(Policy(for_=2, no_data_for=5), "!_!",
                     [(0, "inactive => pending"), (2, "pending => firing")], id="one thin minute breaks no pending"),
        pytest.param(Policy(for_=2, no_data_for=5), "!___", [(0, "inactive => pending")],
                     id="only trouble seen makes it fire"),
        pytest.param(Policy(no_data="alert", no_data_for=3), "_" * 4,
                     [(0, "inactive => pending"), (3, "pending => firing")], id="no data alerts after its own time"),
        pytest.param(Policy(no_data="alert", no_data_for=3), "__,__",
                     [(0, "inactive => pending"), (2, "pending => inactive"), (3, "inactive => pending")],
                     id="data came back in time"),
        pytest.param(Policy(no_data="alert", no_data_for=1), "5" * 30, [], id="n = 5 is data, and never pages"),
        pytest.param(Policy(for_=1, no_data="alert", no_data_for=5), "__!!",
                     [(0, "inactive => pending"), (3, "pending => firing")],
                     id="data came back bad: a clock of its own"),
        pytest.param(Policy(no_data="alert", no_data_for=1), "__55,",
                     [(0, "inactive => pending"), (1, "pending => firing"), (2, "firing => resolved")],
                     id="any data ends the alert of none"),
        pytest.param(Policy(for_=9, no_data="alert", no_data_for=2), "!___",
                     [(0, "inactive => pending"), (3, "pending => firing")], id="trouble, then silence, alerts"),
        pytest.param(Policy(no_data="alert", no_data_for=0), "_", [(0, "inactive => firing")], id="no data at once"),
        pytest.param(Policy(for_=1), "!!.!.",
                     [(0, "inactive => pending"), (1, "pending => firing"), (2, "firing => resolved"),
                      (3, "resolved => pending"), (4, "pending => inactive")], id="again soon after"),
        pytest.param(Policy(), "!" + "." * (RESOLVED_MINUTES + 1),
                     [(0, "inactive => firing"), (1, "firing => resolved"), (RESOLVED_MINUTES + 1, "resolved => inactive")],
                     id="resolved for a while, then inactive"),
    ],
)  # fmt: skip
def test_goes_from_state_to_state(policy, signs, expected):
    """The table of the module, case by case."""
    assert told(policy, signs) == expected


def test_one_that_flaps_is_held():
    """After three firings in six hours the fourth stays until it was calm for an hour, and says so."""
    policy = Policy(flaps=3, flap_hours=6, flap_hold=60)
    instance, steps = Instance(), []
    signs = "!.........!.........!.........!" + "." * 70
    for minute, sign in enumerate(signs):
        if step := advance(instance, policy, minute, SIGNS[sign]):
            steps.append((minute, step))
    assert [minute for minute, step in steps if step.new == "firing"] == [0, 10, 20, 30]
    assert [minute for minute, step in steps if step.new == "resolved"] == [1, 11, 21, 91]
    assert "held because it fired 4 times in 6 h" in steps[-1][1].reason


def test_one_that_flapped_is_held_however_long_it_fires():
    """What counts is how often it had fired when it began to."""
    policy = Policy(flaps=1, flap_hours=1, flap_hold=30)
    instance, steps = Instance(), []
    for minute in range(250):
        verdict = BAD if minute == 0 or 50 <= minute < 200 else GOOD
        if step := advance(instance, policy, minute, verdict):
            steps.append((minute, step.new))
    assert steps == [
        (0, "firing"),
        (1, "resolved"),
        (16, "inactive"),
        (50, "firing"),
        (230, "resolved"),
        (245, "inactive"),
    ]
    assert instance.is_fresh


@pytest.mark.parametrize(("second", "held"), [(59, True), (60, False)])
def test_a_firing_of_just_so_many_hours_ago_is_no_flap(second, held):
    """At its beginning the horizon is drawn once for all."""
    policy = Policy(flaps=1, flap_hours=1)
    instance = Instance()
    for minute, verdict in ((0, BAD), (1, GOOD), (second, BAD)):
        advance(instance, policy, minute, verdict)
    assert is_flapping(instance, policy) == held
    assert instance.fired == ([0, 59] if held else [60])


def test_one_that_never_fired_does_not_flap():
    assert not is_flapping(Instance(), Policy(flaps=0))
    assert not is_flapping(Instance(fired=[7]), Policy(flaps=0)), "nor does one that is allowed to"


@pytest.mark.parametrize(
    ("old", "new", "verdict", "expected"),
    [
        ("firing", "resolved", EMPTY, True), ("firing", "resolved", THIN, True), ("pending", "inactive", THIN, True),
        ("firing", "resolved", GOOD, False), ("pending", "inactive", PLAIN, False), ("inactive", "pending", EMPTY, False),
        ("pending", "firing", EMPTY, False), ("resolved", "inactive", EMPTY, False), ("resolved", "pending", BAD, False),
    ],
)  # fmt: skip
def test_knows_what_ended_without_anybody_seeing_its_end(old, new, verdict, expected):
    """Not what fires for want of data, and not what ended before the data did."""
    assert ended_unjudged(Step(old, new, ""), verdict) is expected


@pytest.mark.parametrize(
    "kept",
    [{"state": "pending"}, {"detector": [1]}, {"fired": [7]}, {"last": object()}],
    ids=lambda kept: next(iter(kept)),
)
def test_whatever_is_remembered_is_worth_keeping(kept):
    assert Instance().is_fresh
    assert not Instance(**kept).is_fresh


def test_ends_without_data_say_so():
    """Also where the detector gave no reason of its own; and a resolved one says since when it was quiet."""
    silent = Verdict(None)
    for policy, first in ((Policy(no_data="ok", no_data_for=2), BAD), (Policy(for_=9, no_data_for=2), BAD)):
        instance = Instance()
        steps = [advance(instance, policy, minute, verdict) for minute, verdict in enumerate([first, *[silent] * 20])]
        ended = next(step for step in steps[1:] if step is not None)
        assert ended.reason == "no data, not judged for 2 min"
    instance = Instance()
    assert [advance(instance, Policy(), minute, verdict) for minute, verdict in ((0, BAD), (1, GOOD), (20, GOOD))][-1] == (
        "resolved", "inactive", "resolved 19 min ago"
    )  # fmt: skip


def test_flaps_are_forgotten():
    """What fired long ago holds nothing, and leaves nothing behind."""
    policy = Policy(flaps=1, flap_hours=1)
    instance = Instance()
    for minute, verdict in ((0, BAD), (1, GOOD), (50, BAD)):
        advance(instance, policy, minute, verdict)
    assert is_flapping(instance, policy)
    for minute in (111, 171, 190):
        advance(instance, policy, minute, GOOD)
    assert instance.is_fresh
    assert not is_flapping(instance, policy)


def test_flapping_may_be_allowed():
    """With no limit nothing is counted."""
    instance = Instance()
    for minute in range(0, 60, 2):
        assert advance(instance, Policy(flaps=0), minute, BAD) is not None
        assert advance(instance, Policy(flaps=0), minute + 1, GOOD) is not None
    assert instance.fired == []


def test_reasons_carry_numbers():
    """What happened is told with the numbers it rests on and the time it took."""
    instance, policy = Instance(), Policy(for_=5, keep_firing_for=90)
    told_ = [
        advance(instance, policy, minute, verdict) for minute, verdict in ((0, BAD), (5, BAD), (6, GOOD), (96, GOOD))
    ]
    assert told_ == [
        Step("inactive", "pending", "71 % of 200; fires if it lasts 5 min"),
        Step("pending", "firing", "71 % of 200; for 5 min"),
        None,
        Step("firing", "resolved", "85 % of 200; no trouble for 1 h 30 min"),
    ]


@pytest.mark.parametrize(("count", "text"), [(0, "0 min"), (5, "5 min"), (60, "1 h"), (135, "2 h 15 min")])
def test_writes_times(count, text):
    """As people do."""
    assert minutes(count) == text


@pytest.mark.parametrize("sign", ["5", "_"])
@pytest.mark.parametrize(
    "policy",
    [
        Policy(no_data="keep", unjudged_limit=20),
        Policy(no_data_for=5, unjudged_limit=20),
    ],
)
def test_knows_when_an_alert_that_cannot_be_judged_ends(policy, sign):
    """What is said of it is what happens."""
    instance = Instance()
    assert advance(instance, policy, 100, BAD) is not None
    assert ends_unjudged_at(instance, policy) is None
    step, minute = None, 100
    while step is None:
        minute += 1
        expected = ends_unjudged_at(instance, policy)
        step = advance(instance, policy, minute, SIGNS[sign])
    assert (step.new, minute) == ("resolved", expected)
    assert minute == (106 if policy.no_data == "ok" and sign == "_" else 121)


@pytest.mark.parametrize(
    ("n", "window", "lengthened", "quiet"),
    [(100, 5, "", 15), (10, 5, "", 15), (1, 5, "", 50), (1, 60, "", 600), (10, 5, "4h", 240), (1, 5, "1d", 1_440)],
)
def test_nothing_at_all_means_something_once_ten_answers_are_missing(n, window, lengthened, quiet):
    """Who answered every minute is gone after a quarter of an hour; of one an hour, a quiet hour says nothing."""
    instance, policy = Instance(), Policy(window=window)
    assert advance(instance, policy, 100, Verdict(True, None, 40.0, n, window=lengthened)) is not None
    steps = (advance(instance, policy, minute, Verdict(None)) for minute in range(101, 3_000))
    assert next(place for place, step in enumerate(steps) if step is not None) == quiet


POLICIES = st.builds(
    Policy,
    for_=st.integers(0, 3),
    keep_firing_for=st.integers(0, 3),
    recover_for=st.integers(0, 3),
    no_data=st.sampled_from(["ok", "keep", "alert"]),
    no_data_for=st.integers(0, 6),
    unjudged_limit=st.integers(0, 12),
    flaps=st.integers(0, 2),
)


@given(POLICIES, st.text("!~.,5_", max_size=60))
def test_no_verdict_is_no_recovery(policy, signs):
    """Whatever comes: what fires ends in a minute that shows it, or after a limit in which none was judged."""
    instance = Instance()
    for minute, sign in enumerate(signs):
        cause = instance.cause
        step = advance(instance, policy, minute, SIGNS[sign])
        if step is None or step.old != "firing" or cause == "no data":
            continue
        lasted = len(signs[: minute + 1]) - len(signs[: minute + 1].rstrip("5_")) - 1
        empty = len(signs[: minute + 1]) - len(signs[: minute + 1].rstrip("_")) - 1
        assert (
            sign in ".,"
            or (policy.no_data == "ok" and empty >= policy.no_data_for)
            or (lasted >= policy.unjudged_limit and not (policy.no_data == "alert" and sign == "_"))
        )
