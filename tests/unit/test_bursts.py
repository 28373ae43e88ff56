"""When what comes in bursts is stored."""

from streams.agents.bursts import Bursts


def test_a_burst_is_dealt_with_soon_after_it_began_and_whole():
    bursts = Bursts(1.0)
    bursts.begun(10.0)
    bursts.came(20.0)
    bursts.came(20.05)
    assert not bursts.is_due(20.09)
    assert bursts.is_due(20.11)


def test_bursts_are_dealt_with_once_a_period_which_begins_with_one_of_them():
    bursts, begun = Bursts(1.0), []
    for tenth in range(1, 100):
        now = tenth / 10
        if tenth % 5 == 3:  # twice a second
            bursts.came(now)
        if bursts.is_due(now):
            bursts.begun(now)
            begun.append(tenth)
    assert begun[:2] == [1, 4]
    assert begun[1:] == list(range(4, 100, 10))


def test_where_nothing_waits_a_look_now_and_then_holds_up_nothing_that_comes():
    bursts = Bursts(1.0)
    bursts.begun(10.0)
    assert not bursts.is_due(11.9)
    assert bursts.is_due(12.0)
    bursts.begun(12.0)
    bursts.came(12.1)
    assert bursts.is_due(12.25)


def test_a_period_shorter_than_a_burst_is_kept():
    bursts = Bursts(0.02)
    bursts.came(1.0)
    assert bursts.is_due(1.03)
