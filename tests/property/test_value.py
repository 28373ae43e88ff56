"""Laws of customer value that hold for any orders, refunds, customers and predictions."""

from collections.abc import Sequence
from math import fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.value.calibration import calibration
from streams.value.loyalty import cohorts, retention_of, returns
from streams.value.purchases import PlacedOrder, Refund, net_of
from streams.value.tiers import TierBasis, tiers
from streams.value.worth import arpu, historic, repeat_share, worth_of

IDS = st.sampled_from(["1", "2", "3", "4", "5"])
WHO = st.sampled_from(["a", "b", "ج", ""])
AMOUNTS = st.none() | st.sampled_from([0.0, 0.1, 0.2, 0.3, 5.0, 99.99, 1e13])
MONEY = st.sampled_from(["", "EUR", "IRR"])
ORDERS = st.lists(
    st.builds(PlacedOrder, IDS, WHO, st.integers(0, 10_000_000), AMOUNTS, MONEY, st.booleans()), max_size=8
)
REFUNDS = st.lists(
    st.builds(
        Refund, st.sampled_from(["r1", "r2", "r3", "r4"]), IDS, AMOUNTS, MONEY, WHO,
        st.sampled_from(["cancelled", "initiated", "completed"]),
    ),
    max_size=8,
)  # fmt: skip
DAYS = st.dictionaries(st.text(min_size=1, max_size=2), st.lists(st.integers(0, 40), max_size=5), max_size=8)


@given(ORDERS, REFUNDS, st.randoms(use_true_random=False))
def test_no_order_gets_below_nothing_or_above_itself(
    orders: list[PlacedOrder], refunds: list[Refund], chance: object
) -> None:
    """And what is given in another order, or twice, changes nothing."""
    netted = net_of(orders, refunds)
    most: dict[tuple[str, str], float] = {}
    for order in orders:
        if order.paid and order.amount is not None:
            key = order.customer, order.id
            most[key] = max(most.get(key, 0.0), order.amount)
    for one in netted.purchases:
        assert one.net is None or 0 <= one.net <= most.get((one.customer, one.order), 0.0)
    assert len({(one.customer, one.order) for one in netted.purchases}) == len(netted.purchases)
    shuffled = [*orders], [*refunds]
    for mixed in shuffled:
        chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert net_of(*shuffled) == netted
    assert net_of([*orders, *orders], [*refunds, *refunds]).purchases == netted.purchases


@given(ORDERS, REFUNDS)
def test_money_of_customers_periods_and_cohorts_is_the_same_money(
    orders: list[PlacedOrder], refunds: list[Refund]
) -> None:
    bought = net_of(orders, refunds).purchases
    end = 10_000_001
    whole = {one.currency for one in bought if one.net is not None}
    assert arpu(bought, 0, end).keys() == worth_of(bought).keys() == whole
    months = [month for cohort in cohorts(bought, "Asia/Tehran", "jalali", end) for month in cohort.months]
    for currency, worths in worth_of(bought).items():
        total = fsum(one.value for one in worths.values())
        found = arpu(bought, 0, end)[currency]
        assert found.n == len(worths)
        assert found.value == historic(worths).value == pytest.approx(total / len(worths))
        assert fsum(month.revenue.get(currency, 0.0) for month in months) == pytest.approx(total)
        share = repeat_share(bought, 0, end).get(currency)
        assert share is None or share.value is None or 0 <= share.value <= 100 + 1e-9
        for one in worths.values():
            assert one.monetary is None or one.monetary > 0
            assert (one.frequency > 0) is (one.monetary is not None)
    customers = {one.customer for one in bought if one.counts}
    assert sum(cohort.size for cohort in cohorts(bought, "UTC", "gregorian", end)) == len(customers)


@given(st.sets(st.text(max_size=2)), st.sets(st.text(max_size=2)))
def test_retention_and_churn_are_parts_of_a_hundred(start: set[str], end: set[str]) -> None:
    found = retention_of(start, end)
    if not start:
        assert found.retained.value is found.churned.value is None
        return
    retained, churned = found.retained, found.churned
    assert retained.value is not None
    assert churned.value is not None
    assert retained.value + churned.value == pytest.approx(100)
    assert 0 <= churned.value <= 100
    for one in (retained, churned):
        assert one.lo is not None
        assert one.hi is not None
        assert 0 <= one.lo <= one.value + 1e-9
        assert one.value - 1e-9 <= one.hi <= 100


@given(DAYS, st.integers(1, 10), st.integers(0, 40), st.integers(0, 10))
def test_what_is_mature_does_not_change_by_mere_passing_of_time(
    days: dict[str, list[int]], within: int, as_of: int, later: int
) -> None:
    """Whoever is counted today is counted the same later, returned or not."""
    now, then = returns(days, within, as_of), returns(days, within, as_of + later)
    assert set(now.matured) <= set(then.matured)
    assert set(now.returned) == set(then.returned) & set(now.matured)
    assert not set(now.matured) & set(now.pending)
    assert now.share.n == len(now.matured)


@given(
    st.dictionaries(st.text(max_size=3), st.sampled_from([0.0, 0.1, 1.0, 3.0, 1e12]), max_size=20),
    st.sampled_from(["customers", "revenue"]),
    st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True).map(sorted),
)
def test_every_customer_is_in_one_tier_and_no_lower_one_is_worth_more(
    values: dict[str, float], basis: TierBasis, limits: Sequence[int]
) -> None:
    found = tiers(values, basis, limits)
    assert sorted(one for tier in found for one in tier.customers) == sorted(values)
    ranked = [values[one] for tier in found for one in tier.customers]
    assert ranked == sorted(ranked, reverse=True)
    assert fsum(tier.revenue for tier in found) == pytest.approx(fsum(values.values()))
    assert found == tiers(dict(reversed(values.items())), basis, limits)
    if basis == "customers" and all(values.values()):
        for limit, end in zip(limits, _counts(found), strict=False):
            assert len(values) * limit / 100 <= end < len(values) * limit / 100 + 1 or not values


def _counts(found: Sequence[object]) -> list[int]:
    counts, total = [], 0
    for tier in found:
        total += len(tier.customers)  # type: ignore[attr-defined]
        counts.append(total)
    return counts


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.01, 0.2, 0.5, 1.0]), st.booleans()), min_size=1, max_size=60))
def test_measures_of_calibration_stay_in_their_ranges(predictions: list[tuple[float, bool]]) -> None:
    found = calibration(predictions)
    assert found is not None
    assert 0 <= found.error <= 1
    assert 0 <= found.brier <= 1
    assert found.log_loss >= 0
    assert 0 <= found.p <= 1
    assert found.auc is None or 0 <= found.auc <= 1
    assert sum(one.n for one in found.bins) == len(predictions)
    assert found.brier == pytest.approx(fsum((risk - left) ** 2 for risk, left in predictions) / len(predictions))
    assert calibration(predictions[::-1]) == found
