"""Shares of an experiment, looked at every minute: golden counts, chances, and what a judge makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import log

import numpy as np
import pytest
from scipy.special import gammaln

from streams.alerts.detectors.base import ParamError
from streams.alerts.detectors.srm import _PRIOR, ArmCounts, Srm, mismatch_evidence
from streams.alerts.facts import Facts
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.arithmetic.coupons import coupon_of
from tests.harness.golden import golden

FACTS = Facts("count", "none", "count")
FIRES = log(1_000)


class Variants:
    """A reading of one minute, by variant."""

    minute = 0

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts

    def window(self, _name: str) -> Acc | None:
        return [sum(self._counts.values())]

    def parts(self, _label: str, _window: str) -> Mapping[str, Acc]:
        return {name: [count] for name, count in self._counts.items()}


def judged(detector: Srm, *minutes: Mapping[str, int]):
    memory = None
    for counts in minutes:
        verdict, memory = detector.judge(FACTS, "1h", Variants(counts), memory)
    return verdict, memory


def test_11_srm_thresholds_of_the_live_alert() -> None:
    """Golden 11: 5150/4850 is no alarm and 5300/4700 is; a test for all looks never fires where one look does not."""
    case = golden("11-srm-thresholds.yaml")
    found = {}
    for one in [*case["input"]["assignments"], *case["input"]["also"]]:
        if "counts" in one:
            names = [f"v{place}" for place in range(len(one["counts"]))]
            shares = dict(zip(names, map(float, one["planned"]), strict=True))
            verdict, _ = judged(Srm(label="variant", shares=shares), dict(zip(names, one["counts"], strict=True)))
            found[one["name"]] = verdict.breach
    wanted = {name: result["alarm_p_lt_0.001"] for name, result in case["expect"]["results"].items()}
    assert (found["even, slight"], found["even, broken"], found["empty arm"]) == (False, True, True)
    assert found["three arms, one leaks"] is True
    assert found["too few"] is None
    assert {name for name, alarm in wanted.items() if alarm and not found[name]} <= {"big and tiny shift"}
    assert not any(found[name] for name, alarm in wanted.items() if not alarm)


@pytest.mark.slow
def test_looking_every_minute_for_thirty_days_keeps_the_false_alarms() -> None:
    """400 experiments that are as planned, 43,200 looks each: fewer than 5 % reach what 5 % stands for."""
    chance, wrong = np.random.default_rng(1), {0.05: 0, 0.001: 0}
    for _ in range(400):
        n = np.cumsum(chance.poisson(3.0, 43_200))
        a = np.cumsum(chance.binomial(np.diff(n, prepend=0), 0.5))
        half = _PRIOR / 2
        evidence = (
            gammaln(_PRIOR) - gammaln(_PRIOR + n) + gammaln(half + a) + gammaln(half + n - a) - 2 * gammaln(half)
            + n * log(2)
        )  # fmt: skip
        assert evidence[-1] == pytest.approx(
            mismatch_evidence({"a": a[-1], "b": n[-1] - a[-1]}, {"a": 1, "b": 1}), abs=1e-6
        )
        for alpha in wrong:
            wrong[alpha] += bool((evidence >= -log(alpha)).any())
    assert 2 <= wrong[0.05] <= 20
    assert wrong[0.001] <= 2


def test_events_of_one_customer_do_not_fire_it() -> None:
    """Each of 4,000 customers has three sessions at once; taken for 12,000 customers they would fire now and then."""
    chance, plain, repeated = np.random.default_rng(9), 0, 0
    for _ in range(300):
        a = np.cumsum(chance.binomial(20, 0.5, 200))
        for look in range(200):
            counts = {"a": 3 * a[look], "b": 3 * (20 * (look + 1) - a[look])}
            shares = {"a": 1.0, "b": 1.0}
            if mismatch_evidence({name: one / 3 for name, one in counts.items()}, shares) >= FIRES:
                repeated += 1
                break
        last = [{"a": 3 * int(one), "b": 3 * (20 * (at + 1) - int(one))} for at, one in enumerate(a)]
        plain += any(mismatch_evidence(one, {"a": 1.0, "b": 1.0}) >= FIRES for one in last[::10])
    assert repeated <= 2
    assert plain > 5


def test_all_minutes_since_the_beginning_count() -> None:
    minutes = [{"a": 56, "b": 44}] * 200
    verdict, memory = judged(Srm(label="variant"), *minutes)
    assert memory == ArmCounts({"a": 11_200, "b": 8_800})
    assert verdict.breach is True
    assert verdict.reason == "a 11,200, b 8,800; planned a 50 %, b 50 %; evidence 141.0, fires at 6.9"
    saved = Srm(label="variant").restore({"counts": {"a": 11_200, "b": 8_800}})
    assert saved == memory
    early, _ = judged(Srm(label="variant"), {"a": 30, "b": 10})
    assert (early.breach, early.recovered) == (None, None)
    once, _ = judged(Srm(label="variant"), {"a": 500})
    assert once.breach is None, "of one variant alone, without a plan, nothing is known"
    planned, _ = judged(Srm(label="variant", shares={"a": 1.0, "b": 1.0}), {"a": 240})
    assert planned.breach is True, "an arm that got nobody is not skipped"


def test_unplanned_variants_are_not_held_against_the_plan() -> None:
    verdict, _ = judged(Srm(label="variant", shares={"a": 95.0, "b": 5.0}), {"a": 9_490, "b": 510, "c": 4_000})
    assert (verdict.breach, verdict.n) == (False, 10_000)


def test_a_plan_of_one_variant_is_refused() -> None:
    with pytest.raises(ParamError, match="'shares' names 1 variant"):
        Srm(label="variant", shares={"a": 1.0})


DISTINCT = Facts("distinct", "none", "count")


def test_customers_count_once_however_often_they_come() -> None:
    """Each of 1,500 customers has some 20 sessions: their shares are as uneven as chance has it, those of sessions not."""
    chance, detector, fired = (
        np.random.default_rng(5),
        Srm(label="variant"),
        {"customers": 0, "sessions": 0, "broken": 0},
    )
    for round_ in range(100):
        sizes = chance.geometric(0.05, 1_500)
        arms = dict(enumerate(np.split(sizes, [chance.binomial(1_500, 0.5)])))
        few = {0: arms[0], 1: arms[1][: len(arms[1]) // 2]}
        for name, by_arm in (("customers", arms), ("broken", few)):
            parts = {
                str(arm): bins_of(zip((f"{round_}-{arm}-{at}" for at in range(len(own))), own.tolist(), strict=True))
                for arm, own in by_arm.items()
            }
            verdict, _ = detector.judge(DISTINCT, "24h", Parts(parts), None)
            fired[name] += verdict.breach is True
        verdict, _ = judged(detector, {str(arm): int(own.sum()) for arm, own in arms.items()})
        fired["sessions"] += verdict.breach is True
    assert fired["customers"] == 0
    assert fired["sessions"] > 30
    assert fired["broken"] > 90


def customers(arm: str, n: int) -> dict[int, int]:
    return bins_of((f"{arm}-{at}", 1) for at in range(n))


def test_an_arm_that_was_seen_is_not_forgotten_when_nobody_is_left_in_it() -> None:
    detector = Srm(label="variant")
    all_, memory = detector.judge(DISTINCT, "24h", Parts({arm: customers(arm, 1_000) for arm in "abc"}), None)
    assert all_.breach is False
    dead, memory = detector.judge(DISTINCT, "24h", Parts({arm: customers(arm, 1_000) for arm in "ab"}), memory)
    assert dead.breach is True
    assert memory.counts.keys() == set("abc")
    over, memory = detector.judge(DISTINCT, "24h", Parts({}), memory)
    assert over.breach is None, "of an experiment that is over nothing is said"
    again, _ = detector.judge(DISTINCT, "24h", Parts({arm: customers(arm, 1_000) for arm in "ab"}), memory)
    assert again.breach is False, "and one that begins anew may have other arms"


def test_an_arm_by_mistake_is_forgotten_with_its_customers() -> None:
    detector = Srm(label="variant")
    both = {arm: customers(arm, 1_000) for arm in "ab"}
    _, memory = detector.judge(DISTINCT, "24h", Parts(both | {"A": customers("A", 3)}), None)
    assert memory.counts.keys() == set("ab")
    after, _ = detector.judge(DISTINCT, "24h", Parts(both), memory)
    assert after.breach is False


def test_what_is_uncertain_about_many_customers_is_allowed_for() -> None:
    """30,000 in each arm are known within 450, so that 1,000 more or less are no news, and 3,000 are."""
    detector = Srm(label="variant", shares={"a": 1.0, "b": 1.0})
    for more, breach in ((0, False), (1_000, False), (3_000, True)):
        arms = {
            "a": customers("a", 30_000 - more),
            "b": customers("b", 30_000 + more),
            "none": customers("none", 40_000),
        }
        verdict, _ = detector.judge(DISTINCT, "24h", Parts(arms), None)
        assert verdict.breach is breach, verdict.reason
    assert "counted as 1 of" in verdict.reason


def bins_of(events: Iterable[tuple[str, int]]) -> dict[int, int]:
    """Count customers, each with some events."""
    found: dict[int, int] = {}
    for customer, n in events:
        coupon = coupon_of(customer)
        found[coupon] = found.get(coupon, 0) + n
    return found


class Parts(Variants):
    """A reading of a window of distinct customers, by variant."""

    def __init__(self, bins: Mapping[str, Mapping[int, int]]) -> None:
        self._bins = bins

    def window(self, _name: str) -> Acc | None:
        return bins_of((f"{coupon}", n) for bins in self._bins.values() for coupon, n in bins.items())

    def parts(self, _label: str, _window: str) -> Mapping[str, Acc]:
        return {name: dict(bins) for name, bins in self._bins.items()}
