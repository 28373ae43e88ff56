"""How far event time has come, when sources are slow, silent or behind."""

import pytest

from streams.kpis.rolling.watermarks import HISTORY_S, Watermarks


def watermarks(**expected) -> Watermarks:
    return Watermarks(idle_s=10, grace_s=5, **expected)


def test_the_slowest_source_holds_the_watermark_until_it_is_idle() -> None:
    marks = watermarks()
    marks.report("web/0", 1000, True)
    marks.report("app/0", 900, True)
    assert marks.advance(0) == 900
    marks.report("web/0", 1100, True)
    assert marks.advance(9) == 900
    assert marks.advance(10) == 1100
    marks.report("app/0", 950, True)
    assert marks.advance(11) == 1100, "never back"


def test_a_source_that_repeats_itself_is_idle() -> None:
    """A quiet partition says every two seconds where it stands; that must not hold back all the others."""
    marks = watermarks()
    marks.report("app/0", 900, True)
    for now in range(0, 12, 2):
        marks.report("web/0", 1000 + now, True, active=True)
        marks.report("app/0", 900, True)
        assert marks.advance(now) == (900 if now < 10 else 1010)
    marks.report("app/0", 900, True, active=True)
    marks.report("web/0", 1100, True, active=True)
    assert marks.advance(12) == 1010, "records that make its time no newer end its silence as well"


def test_a_source_that_is_behind_holds_however_long_it_is_silent() -> None:
    marks = watermarks()
    marks.report("web/0", 1000, True)
    marks.report("app/0", 100, False)
    for now in (0, 100, 10_000):
        marks.report("web/0", 1000 + now, True)
        assert marks.advance(now) == 100
    assert marks.catching_up
    marks.report("store/0", None, False)
    marks.report("app/0", 5000, True)
    assert marks.advance(10_001) == 100, "a source without any event yet holds as well"
    marks.report("store/0", None, True)
    assert marks.advance(10_002) == 5000


def test_history_is_what_has_waited_for_long() -> None:
    marks = watermarks()
    marks.report("web/0", None, False)
    assert marks.reads_history(1000), "nothing is known of it yet"
    marks.report("web/0", 1000 - HISTORY_S, False)
    marks.advance(1000)
    assert not marks.reads_history(1000), "a moment behind, under load"
    assert marks.reads_history(1001)
    marks.report("web/0", 1000 - HISTORY_S, True)
    assert not marks.reads_history(1001)


def test_expected_sources_are_waited_for_but_not_for_ever() -> None:
    marks = watermarks(expected=["web/0", "app/0"])
    marks.report("web/0", 1000, True)
    assert [marks.advance(now) for now in (0, 4.9)] == [None, None]
    assert marks.advance(5) == 1000


def test_when_all_are_silent_time_goes_on_from_the_newest() -> None:
    marks = watermarks()
    marks.report("web/0", 1000, True)
    marks.report("app/0", 900, True)
    assert [marks.advance(now) for now in (0, 10, 12, 11, 15)] == [900, 1000, 1002, 1002, 1006]
    marks.report("web/0", 1004, True)
    assert marks.advance(100) == 1006
    marks.report("web/0", 1050, True)
    assert marks.advance(101) == 1050
    assert marks.advance(111) == 1050
    assert marks.advance(112) == 1051


def test_nothing_known_is_no_watermark() -> None:
    marks = watermarks()
    assert marks.advance(0) is None
    marks.report("web/0", None, True)
    assert marks.advance(1) is None
    assert marks.advance(100) is None


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
