"""Gaps at their edges: how wide intervals are, what is just pending, what weighs how much, and where ends are."""

from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from statistics import NormalDist

import pytest

from streams.gaps.informed import ImplementedFor, informed_rates
from streams.gaps.perception import OwnEstimate, SaidAtPlace, own_measure, perception_gaps
from streams.gaps.promises import ServedContact, ServicePromise, judge_promise, load_promises
from streams.gaps.samples import SayingPair, sample_of
from streams.kpis.arithmetic.intervals import student_factor, wilson

DAY = 86_400
BEGIN = int(datetime(2026, 5, 2, tzinfo=UTC).timestamp())


def promise(tmp_path: Path, target: float = 80.0) -> ServicePromise:
    file = tmp_path / "promises.yaml"
    file.write_text(
        '- {id: always, kind: clock, zone: UTC, hours: {saturday-friday: "00:00-24:00"}}\n'
        f"- {{id: t, kind: promise, name: {{en: T}}, owner: o, clock: always, within: 60s, target: {target}}}\n"
    )
    [found] = load_promises([file]).values()
    return found


def contacts(hour: int, hits: int, n: int) -> list[ServedContact]:
    began = BEGIN + 3_600 * hour
    return [ServedContact(f"{hour}-{one}", "web", "chat", began, 9.0 if one < hits else None) for one in range(n)]


@pytest.mark.parametrize(("hours", "state"), [(1, "broken"), (24, "not known")])
def test_hours_are_judged_for_as_many_as_there_are(tmp_path: Path, hours: int, state: str) -> None:
    """70 of 100 in time are below 78.5 % for one hour alone, which is not enough to pick one of 24 hours."""
    given = [one for hour in range(hours) for one in contacts(hour, 70 if hour == 0 else 100, 100)]
    ends = [wilson(70, 100, NormalDist().inv_cdf(1 - 0.025 / many))[1] for many in (1, 24)]
    assert ends[0] < 0.785 < ends[1]
    found = judge_promise(promise(tmp_path, 78.5), given, BEGIN, BEGIN + DAY)
    assert [one.state for one in found.hours if one.hour == 0] == [state]
    assert len([one for one in found.hours if one.contacts]) == hours


@pytest.mark.parametrize(("late", "pending"), [(0, 0), (1, 1)])
def test_a_contact_is_judged_from_the_moment_its_time_is_over(tmp_path: Path, late: int, pending: int) -> None:
    one = ServedContact("c", "web", "chat", BEGIN + 3_600 - 60 + late, 60.0)
    found = judge_promise(promise(tmp_path), [one], BEGIN, BEGIN + 3_600)
    assert (found.pending, found.whole.n) == (pending, 1 - pending)
    if not pending:
        assert found.whole.value == 100, "answered with the last second is in time"


@pytest.mark.parametrize(("until", "pending", "value"), [(30 * DAY, 0, 100.0), (30 * DAY - 1, 1, None)])
def test_who_may_still_be_told_is_pending_to_the_last_second(until: int, pending: int, value: float | None) -> None:
    whole, change = informed_rates([ImplementedFor("x", "c", 0, 30 * DAY)], until)
    assert (whole.pending, change.pending, change.rate.value, change.late) == (pending, pending, value, 0)


def test_matched_gaps_weigh_by_answers() -> None:
    own = [OwnEstimate(place, f"{place}{n}", at) for place, at in (("a", 90.0), ("b", 60.0)) for n in range(5)]
    answers = [
        SaidAtPlace(place, f"{place}{n}", 0 if n < misses else answers, answers)
        for place, misses, answers in (("a", 20, 3), ("b", 8, 1))
        for n in range(40)
    ]
    found = perception_gaps(own, answers)
    gaps = {one.place: one.gap for one in found.places}
    assert {place: gap.value for place, gap in gaps.items() if gap} == {"a": 40.0, "b": -20.0}
    assert found.matched is not None
    assert found.matched_answers == 160
    assert found.matched.value == pytest.approx((120 * 40 - 40 * 20) / 160)
    below = [(gap.value - gap.lo) for gap in gaps.values() if gap and gap.lo is not None]
    above = [(gap.hi - gap.value) for gap in gaps.values() if gap and gap.hi is not None]
    assert found.matched.lo == pytest.approx(
        found.matched.value - sqrt((0.75 * below[0]) ** 2 + (0.25 * below[1]) ** 2)
    )
    assert found.matched.hi == pytest.approx(
        found.matched.value + sqrt((0.75 * above[0]) ** 2 + (0.25 * above[1]) ** 2)
    )


def test_beliefs_end_where_percentages_do() -> None:
    """Few of us who differ by much know little; all who say the same are not certain."""
    half = student_factor(4) * sqrt(4 * 8**2 + 32**2) / 2 / sqrt(5)
    high = own_measure([*((name, 100.0) for name in "abcd"), ("e", 60.0)])
    assert (high.value, high.lo, high.hi) == (92, pytest.approx(92 - half), 100.0)
    low = own_measure([*((name, 0.0) for name in "abcd"), ("e", 40.0)])
    assert (low.value, low.lo, low.hi) == (8, 0.0, pytest.approx(8 + half))
    same = own_measure([(name, 50.0) for name in "abcde"])
    assert same.lo is not None
    assert same.hi is not None
    assert same.lo < 50 < same.hi


def test_ends_of_means_are_those_of_student_and_of_their_scale() -> None:
    values = [-100.0, -100.0, -100.0, 100.0]
    sample = sample_of([SayingPair(one, 1) for one in values], -100, 100)
    half = student_factor(3) * sqrt(sample.variance)
    assert sample.variance == pytest.approx(2_500)
    assert (sample.measure.lo, sample.measure.hi) == (-100, pytest.approx(min(100, -50 + half)))
    narrow = sample_of([SayingPair(one, 1) for one in [*range(10)] * 10], -100, 100)
    assert narrow.measure.lo == pytest.approx(4.5 - student_factor(99) * sqrt(narrow.variance))
    assert narrow.measure.hi == pytest.approx(4.5 + student_factor(99) * sqrt(narrow.variance))
    assert sample_of([SayingPair(3.0, 1)], -100, 100).measure[2:] == (None, None)


def test_all_changes_together_have_an_interval_of_changes_within_0_and_100() -> None:
    rows = [
        ImplementedFor(f"x{change}", f"c{n}", 0, DAY if n < told else None)
        for change, told in enumerate((1, 10, 10, 10, 10))
        for n in range(10)
    ]
    whole = informed_rates(rows, 90 * DAY)[0]
    assert whole.rate.value == 82
    half = student_factor(4) * sqrt(5 / 4 * sum((told - 8.2) ** 2 for told in (1, 10, 10, 10, 10))) / 50 * 100
    assert (whole.rate.lo, whole.rate.hi) == (pytest.approx(82 - half), 100.0)
    assert informed_rates(rows[:40], 90 * DAY)[0].rate.lo is None, "of four changes nothing is known"
