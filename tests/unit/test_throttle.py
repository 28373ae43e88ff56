"""Long windows are published seldom while something comes, and at once when nothing does any more."""

from streams.agents.bursts import Bursts
from streams.kpis.rolling.outputs import Outputs
from streams.kpis.rolling.throttle import PublishingThrottle


def test_long_windows_wait_for_their_turn_only_while_something_comes() -> None:
    throttle = PublishingThrottle(1.0)
    first = throttle.due(100.0, history=False)
    assert first == (True, True, True)
    throttle.published(100.0, first, Outputs([], []), None, {"1m"})
    assert throttle.due(101.0, history=False) == (True, True, False)
    assert throttle.due(101.0, history=False, at_rest=True) == (True, True, True)
    assert throttle.due(104.6, history=False) == (True, True, True)


def test_a_clock_that_is_set_back_holds_up_nothing() -> None:
    """Two hours ahead for a moment: open minutes and windows must not wait for two hours."""
    throttle = PublishingThrottle(1.0)
    for now in (100.0, 101.0, 7301.0):
        throttle.published(now, throttle.due(now, history=False), Outputs([], []), None, {"1m"})
    assert throttle.due(102.0, history=False) == (True, True, True)
    throttle.published(102.0, throttle.due(102.0, history=False), Outputs([], []), None, {"1m"})
    assert throttle.due(102.4, history=False) == (False, False, False)
    assert throttle.due(103.0, history=False) == (True, True, False)


def test_history_waits_for_its_turn_at_rest_too() -> None:
    throttle = PublishingThrottle(1.0)
    throttle.published(100.0, throttle.due(100.0, history=True), Outputs([], []), None, {"1m"})
    assert throttle.due(101.0, history=True, at_rest=True) == (False, False, False)


def test_whether_anything_waits() -> None:
    bursts = Bursts(1.0)
    assert not bursts.waits
    bursts.came(5.0)
    assert bursts.waits
    bursts.begun(5.2)
    assert not bursts.waits
