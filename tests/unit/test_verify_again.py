"""Beside live traffic a difference is one that stays."""

from collections.abc import Sequence

import pytest

from streams.storage import verify_again
from streams.storage.verify import Difference, VerifyReport
from streams.storage.verify_again import AGAIN_S, verified_again

WRONG = Difference("minute", "csat", {"channel": "web"}, "2026-03-01 10:00", "[2, 1]", "[1, 1]")
OPEN = Difference("minute", "volume", {}, "2026-03-01 10:09", "[80]", "[92]")
OPEN_LATER = Difference("minute", "volume", {}, "2026-03-01 10:09", "[140]", "[141]")
TOTAL = Difference("value", "volume", {}, "total 2026-03-01 10:08", "(80.0, 80)", "(82.0, 82)")


def lost(stored: int, told: int) -> Difference:
    return Difference("records", "cx.touchpoints.web/0", {}, "bad", str(stored), f"{told} by balance")


def verified(*looks: Sequence[Difference], coming: bool = True) -> tuple[VerifyReport, list[float]]:
    left, waited = list(looks), list[float]()
    report = verified_again(
        lambda: VerifyReport(list(left.pop(0)), {"minutes": 7}, ["as ever"]),
        lambda _looked_s: coming,
        lambda seconds, _why: waited.append(seconds),
    )
    assert not left
    return report, waited


def test_what_was_on_its_way_is_left_out_and_said() -> None:
    report, waited = verified([WRONG, OPEN, TOTAL], [OPEN_LATER, WRONG])
    assert report.differences == [WRONG]
    assert waited == [AGAIN_S]
    [usual, left] = report.notes
    assert usual == "as ever"
    assert left.startswith("events are coming: 2 of 3 differences were gone, or others, 90 s later")


def test_what_is_new_in_the_second_look_is_on_its_way() -> None:
    report, _ = verified([OPEN], [TOTAL])
    assert report.ok
    assert report.checked == {"minutes": 7}


def test_a_store_at_rest_is_looked_at_once() -> None:
    report, waited = verified([WRONG, OPEN], coming=False)
    assert report.differences == [WRONG, OPEN]
    assert (report.notes, waited) == (["as ever"], [])


def test_one_look_is_enough_where_nothing_differs() -> None:
    report, waited = verified([])
    assert report.ok
    assert (report.notes, waited) == (["as ever"], [])


def test_records_that_are_lost_stay_lost_while_others_come() -> None:
    report, _ = verified([lost(7, 8)], [lost(9, 10)])
    assert report.differences == [lost(9, 10)]
    on_its_way, _ = verified([lost(7, 8)], [lost(8, 10)])
    assert on_its_way.ok


def test_events_that_ended_during_a_long_look_were_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    times, asked = iter([1_000.0, 1_300.0]), list[float]()
    monkeypatch.setattr(verify_again, "steady", lambda: next(times))

    def coming(looked_s: float) -> bool:
        asked.append(looked_s)
        return True

    looks = iter([VerifyReport([OPEN]), VerifyReport()])
    assert verified_again(lambda: next(looks), coming, lambda _seconds, _why: None).ok
    assert asked == [300.0]
