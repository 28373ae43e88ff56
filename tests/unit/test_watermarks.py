"""Watermarks when the clock is set: event time is neither led nor held by it."""

import pytest

from streams.kpis.watermarks import Watermarks


def watermarks() -> Watermarks:
    return Watermarks(idle_s=10, grace_s=5)


@pytest.mark.parametrize("jump_s", [7_200, -7_200])
def test_a_clock_that_is_set_by_hours_closes_nothing_and_blocks_nothing(jump_s: float) -> None:
    """A quiet night before: time goes on from there, at the pace of the clock, after silence is measured anew."""
    marks = watermarks()
    marks.report("web/0", 1000, True)
    assert [marks.advance(now) for now in (0, 10, 12)] == [1000, 1000, 1002]
    assert [marks.advance(jump_s + now) for now in (13, 22, 24, 30)] == [1002, 1002, 1002, 1008]


@pytest.mark.parametrize("jump_s", [7_200, -7_200])
def test_who_still_sends_is_waited_for_though_the_clock_is_set(jump_s: float) -> None:
    """The one that is behind keeps its time to be heard again."""
    marks = watermarks()
    marks.report("web/0", 1000, True)
    marks.report("app/0", 900, True)
    assert [marks.advance(now) for now in (0, jump_s + 1, jump_s + 5, jump_s + 11)] == [900, 900, 900, 1000]
