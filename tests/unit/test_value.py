"""What customers are worth: by golden vectors, and where formulas have their edges."""

import random
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from streams.kpis.arithmetic.intervals import NOTHING, wilson
from streams.kpis.language.steps import Steps
from streams.value.loyalty import cohorts, month_name, retention, retention_of, returns
from streams.value.measures import mean, percent, ratio_percent
from streams.value.periods import Period, last_whole_month, month_named, value_of
from streams.value.purchases import Ignored, PlacedOrder, Purchase, Refund, net_of
from streams.value.tiers import tiers
from streams.value.worth import (
    arpu,
    historic,
    mean_of_periods,
    monthly,
    predicted,
    predictive,
    repeat_share,
    simple,
    worth_of,
)
from tests.harness.golden import golden


def unix(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def test_01_retention_start_customers() -> None:
    case = golden("01-retention-start-customers.yaml")
    given, wanted = case["input"], case["expect"]
    start, lost = set(given["active_at_start"]), set(given["lost_in_period"])
    came, left = set(given["joined_in_period"]), set(given["joined_and_left_in_period"])
    found = retention_of(start, (start - lost) | (came - left))
    first = wanted["1404-01"]
    assert (found.start, found.end, found.new) == (first["S"], first["E"], first["N"])
    assert (found.retained.value, found.churned.value) == (first["retention_pct"], first["churn_pct"])
    assert (found.churned.n, found.churned[2:]) == (10, pytest.approx([100 * end for end in wilson(2, 10)]))
    for row in given["more_rows"]:
        found = retention(row["S"], row["E"], row["new_and_still_active"])
        shown = wanted[row["period"]]
        assert (found.retained.value, found.churned.value) == (shown["retention_pct"], shown["churn_pct"])
    assert found.churned == NOTHING


@pytest.mark.parametrize("counts", [(10, 13, 1), (10, 13, 14), (-1, 0, 0), (0, 3, -1)])
def test_counts_that_cannot_be_are_refused(counts: tuple[int, int, int]) -> None:
    """Of ten at the start twelve cannot be kept: churn would be negative."""
    with pytest.raises(ValueError, match="customers at the end"):
        retention(*counts)


def test_02_cohort_maturity() -> None:
    case = golden("02-cohort-maturity.yaml")
    days = {one["id"]: [one["first_day"], *one["later_order_days"]] for one in case["input"]["customers"]}
    found, wanted = returns(days, 7, 12), case["expect"]
    assert list(found.matured) == wanted["matured"]
    assert list(found.returned) == wanted["returned_matured"]
    assert list(found.pending) == wanted["pending"]
    assert (found.share.n, found.share.value) == (wanted["n"], pytest.approx(wanted["matured_pct"], abs=5e-5))
    provisional = wanted["provisional"]
    assert found.provisional.n == provisional["n"]
    assert found.provisional.value == pytest.approx(
        provisional["pct_if_shown_must_be_marked_provisional"], abs=5e-5
    )  # fmt: skip
    assert returns(days, 7, 6).share.value is None, "nobody's days are over"
    assert returns({"a": [13]}, 7, 12).provisional == NOTHING, "what is not over is not known"
    assert returns({}, 7, 12).share == NOTHING
    with pytest.raises(ValueError, match="expected 1 or more"):
        returns(days, 0, 12)


def test_03_cohort_month_zone_jalali() -> None:
    case = golden("03-cohort-month-zone-jalali.yaml")
    zone, wanted = case["input"]["zone"], case["expect"]
    at = {one["order"]: unix(one["time"]) for one in case["input"]["first_orders"]}
    for one in wanted["orders"]:
        moment = at[one["order"]]
        assert f"{datetime.fromtimestamp(moment, ZoneInfo(zone)):%Y-%m-%d %H:%M:%S %z}" == one["tehran"]
        jalali = Steps("month", 1, zone, "jalali")
        assert (jalali.day(moment), month_name(jalali, moment)) == (one["jalali_day"], one["jalali_month"])
        assert month_name(Steps("month", 1, zone), moment) == one["month_tehran"]
        assert month_name(Steps("month", 1), moment) == one["month_utc"]
    bought = [Purchase(order, f"customer of {order}", moment, "IRR", 1.0) for order, moment in at.items()]
    end = unix("2025-05-01T00:00:00Z")

    def sizes(zone: str, calendar: str) -> dict[str, int]:
        return {one.month: one.size for one in cohorts(bought, zone, calendar, end)}  # type: ignore[arg-type]

    assert sizes(zone, "jalali") == wanted["cohort_sizes_jalali"]
    assert sizes("UTC", "gregorian") == wanted["cohort_sizes_utc_gregorian"]
    assert sizes(zone, "gregorian") == wanted["cohort_sizes_tehran_gregorian"]


def test_04_clv_refunds() -> None:
    case = golden("04-clv-refunds.yaml")
    orders = [
        PlacedOrder(
            one["order"], one["customer"], unix(f"{one['day']}T12:00Z"), one["amount"], "EUR", one["status"] == "paid"
        )
        for one in case["input"]["orders"]
    ]
    refunds = [Refund(one["refund"], one["order"], one["amount"]) for one in case["input"]["refunds"]]
    netted, wanted = net_of(orders, refunds), case["expect"]
    worths = worth_of(netted.purchases)["EUR"]
    assert {customer: one.value for customer, one in worths.items()} == wanted["clv"]
    assert {customer: one.purchases for customer, one in worths.items()} == wanted["purchases_for_frequency"]
    assert historic(worths)[:2] == (wanted["mean_over_customers_with_a_paid_order"], 4)
    assert [customer for customer, one in worths.items() if one.frequency] == wanted["repeat_customers"]
    assert (worths["a"].frequency, worths["a"].monetary) == (1, 40)
    assert {one.monetary for customer, one in worths.items() if customer != "a"} == {None}
    assert netted.ignored == [
        Ignored("r3", "came before"), Ignored("r4", "order not paid"), Ignored("r5", "unknown order")
    ]  # fmt: skip


def test_05_arpu_active_customers() -> None:
    case = golden("05-arpu-active-customers.yaml")
    start = {"M1": 1_000, "M2": 2_000}
    orders = [
        PlacedOrder(f"o{number}", one["customer"], start[one["period"]] + number, one["amount"], "EUR")
        for number, one in enumerate(case["input"]["orders"])
    ]
    [late] = case["input"]["refunds"]
    of = {
        (one["period"], one["customer"]): order.id for one, order in zip(case["input"]["orders"], orders, strict=True)
    }
    refund = Refund("r1", of[late["order_period"], late["customer"]], late["amount"])
    before, after = net_of(orders).purchases, net_of(orders, [refund]).purchases
    wanted = case["expect"]
    assert arpu(before, 1_000, 2_000)["EUR"].value == wanted["M1_first"]
    first, second = arpu(after, 1_000, 2_000)["EUR"], arpu(after, 2_000, 3_000)["EUR"]
    assert (first.value, second.value) == (wanted["M1_after_refund_revision"], wanted["M2"])
    assert second.n == wanted["M2_active"]
    assert mean_of_periods([first.value, second.value, None]) == 62.5
    assert mean_of_periods([None]) is None
    assert arpu(after, 3_000, 4_000) == {}, "nobody was active: no data, not 0"


def test_clv_alice_and_bob() -> None:
    """A month of each customer counts alike: 80, not 520 / 2 = 260."""
    assert monthly([(300, 6), (220, 2)])[:2] == (80, 2)
    assert monthly([]) == NOTHING
    with pytest.raises(ValueError, match="months since joining is 0"):
        monthly([(300, 0)])


def test_clv_simple_50_5_3() -> None:
    assert simple(50, 5, 3) == 750
    with pytest.raises(ValueError, match="expected no part below 0"):
        simple(50, -5, 3)


def test_clv_predictive() -> None:
    assert predictive(80, 0.05, 0.25) == 400
    assert (predictive(80, 0.0), predictive(None, 0.1), predictive(80, None)) == (None, None, None)
    for churn, margin in ((1.2, 1.0), (0.1, -0.1), (0.1, 20.0)):
        with pytest.raises(ValueError, match="expected a share from 0 to 1"):
            predictive(80, churn, margin)


def test_the_interval_of_predicted_value_is_that_of_arpu_and_churn_together() -> None:
    revenues = [60.0, 80.0, 100.0, 70.0, 90.0, 80.0]
    found = predicted(revenues, 20, 100, 0.5)
    assert (found.value, found.n) == (pytest.approx(200), 100)
    lo, hi = found[2:]
    assert lo is not None
    assert hi is not None
    plain, churn = mean(revenues), wilson(20, 100)
    assert plain.lo is not None
    assert plain.hi is not None
    assert lo < 0.5 * plain.lo / churn[1] < 200 < 0.5 * plain.hi / churn[0] < hi
    assert predicted(revenues, 0, 100) == (None, 100, None, None), "nobody left: undefined, not endless"
    assert predicted(revenues, 0, 0) == NOTHING
    assert predicted([], 5, 10) == (None, 10, None, None)
    assert predicted([5.0], 5, 10)[:3] == (10, 10, None), "one customer has no interval"


def test_refunds_take_at_most_what_there_is() -> None:
    """Beyond the order, in another currency, of another customer's order, without an amount: no value falls below zero."""
    orders = [
        PlacedOrder("1", "a", 1, 100, "EUR"), PlacedOrder("2", "a", 2, 50, "IRR"), PlacedOrder("3", "b", 3, None),
        PlacedOrder("1", "c", 4, 70, "EUR"), PlacedOrder("4", "d", 5, 0.3, "EUR"), PlacedOrder("5", "e", 6, 10), PlacedOrder("6", "f", 7, None),
    ]  # fmt: skip
    refunds = [
        Refund("r1", "1", 90, "EUR", "a"), Refund("r2", "1", 90, "EUR", "a"), Refund("r3", "2", 20, "EUR"),
        Refund("r4", "3", 5), Refund("r5", "1", 5), Refund("r6", "4", 0.1), Refund("r7", "4", 0.1),
        Refund("r8", "4", 0.1), Refund("r9", "5", None), Refund("ra", "6", None, kind="cancelled"),
    ]  # fmt: skip
    netted = net_of(orders, refunds)
    assert [(one.customer, one.net) for one in netted.purchases] == [
        ("a", 0), ("a", 50), ("b", None), ("c", 70), ("d", 0), ("e", 10)
    ]  # fmt: skip
    assert [one.counts for one in netted.purchases] == [False, True, True, True, False, True]
    assert {one.id: one.why for one in netted.ignored} == {
        "1": "more given back than the order was worth", "r3": "another currency than the order",
        "r4": "order without an amount", "r5": "several customers have an order of that id", "r9": "no amount",
    }  # fmt: skip


def test_a_refund_that_was_ordered_and_then_done_counts_once() -> None:
    kinds = [Refund("r1", "1", 30, kind="initiated"), Refund("r2", "1", 30), Refund("r3", "1", 30, kind="cancelled")]
    for known in (kinds[:1], kinds[1:2], kinds[2:], kinds):
        assert net_of([PlacedOrder("1", "a", 1, 100)], known).purchases[0].net == 70


def test_an_order_that_was_called_off_is_none() -> None:
    """By itself or for all it was worth; not so one that was only given back."""
    for amount in (None, 100.0, 120.0):
        called_off = [Refund("r1", "1", amount, kind="cancelled"), Refund("r2", "1", 100)]
        assert net_of([PlacedOrder("1", "a", 1, 100)], called_off).purchases == []
    assert net_of([PlacedOrder("1", "a", 1, 100)], [Refund("r2", "1", 100)]).purchases[0].net == 0
    assert net_of([PlacedOrder("1", "a", 1, 0.0)], [Refund("r2", "1", 0.0, kind="cancelled")]).purchases[0].net == 0


def test_an_order_that_comes_twice_counts_once_and_paid_before_not_paid() -> None:
    twice = [PlacedOrder("1", "a", 1, 10, paid=False), PlacedOrder("1", "a", 5, 10), PlacedOrder("1", "a", 9, 10)]
    netted = net_of(twice)
    assert [(one.at, one.net) for one in netted.purchases] == [(5, 10)]
    assert netted.ignored == [Ignored("1", "order came before")] * 2


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_amounts_that_are_none_are_refused(amount: float) -> None:
    with pytest.raises(ValueError, match=r"'1' is .*, expected a number from 0 on"):
        net_of([PlacedOrder("1", "a", 1, amount)])
    with pytest.raises(ValueError, match=r"'r' is .*, expected a number from 0 on"):
        net_of([PlacedOrder("1", "a", 1, 1)], [Refund("r", "1", amount)])


def test_money_of_several_currencies_never_meets() -> None:
    bought = [
        Purchase("1", "a", 1, "EUR", 10.0),
        Purchase("2", "a", 2, "IRR", 500_000.0),
        Purchase("3", "a", 3, "", 7.0),
    ]
    assert {currency: one["a"].value for currency, one in worth_of(bought).items()} == {
        "": 7, "EUR": 10, "IRR": 500_000
    }  # fmt: skip
    assert {currency: one.value for currency, one in arpu(bought, 0, 9).items()} == {"": 7, "EUR": 10, "IRR": 500_000}
    assert {currency: one.value for currency, one in repeat_share(bought, 0, 9).items()} == {
        "": 100, "EUR": 0, "IRR": 100
    }  # fmt: skip
    [cohort] = cohorts(bought, "UTC", "gregorian", 100)
    assert cohort.months[0].revenue == {"": 7, "EUR": 10, "IRR": 500_000}


def test_repeat_share_knows_what_came_before_the_period() -> None:
    """A first order of which nothing is left makes nobody a returning customer."""
    bought = [
        Purchase("1", "a", 1, "EUR", 10.0), Purchase("2", "a", 10, "EUR", 30.0),
        Purchase("3", "b", 11, "EUR", 50.0), Purchase("4", "b", 12, "EUR", 15.0),
        Purchase("5", "c", 2, "EUR", 0.0), Purchase("6", "c", 13, "EUR", 5.0), Purchase("7", "d", 20, "EUR", 90.0),
    ]  # fmt: skip
    found = repeat_share(bought, 10, 20)["EUR"]
    assert found[:2] == (45, 3)
    assert repeat_share(bought, 30, 40) == {}


def test_a_ratio_over_customers_has_an_interval_within_its_range() -> None:
    pairs = [(0.0, 10.0), (20.0, 30.0), (0.0, 15.0), (90.0, 90.0), (5.0, 10.0)]
    found = ratio_percent(pairs)
    assert found.value == pytest.approx(100 * 115 / 155)
    assert found.lo is not None
    assert found.hi is not None
    assert 0 < found.lo < found.value < found.hi < 100
    for part, value in ((0.0, 0), (1.0, 100), (0.5, 50)):
        alike = ratio_percent([(part, 1.0)] * 9)
        assert alike.value == value
        assert alike.lo is not None
        assert alike.hi is not None
        assert alike.hi - alike.lo > 30, "nine who are alike do not say that all are"
    beside_little = ratio_percent([(1e13, 1e13), (0.0, 1e-4)])
    assert beside_little.value == 100
    assert beside_little.lo is not None
    assert beside_little.lo < 10
    assert ratio_percent([(0.0, 0.0)]) == (None, 1, None, None)


@pytest.mark.parametrize(("customers", "returning"), [(20, 0.1), (100, 0.05), (300, 0.5)])
def test_the_interval_of_a_ratio_holds_the_truth(customers: int, returning: float) -> None:
    """Also where few return, and amounts are as unequal as they are in shops."""
    chance, held = random.Random(7), 0
    for _ in range(300):
        wholes = [chance.lognormvariate(3, 0.9) for _ in range(customers)]
        found = ratio_percent([(whole if chance.random() < returning else 0.0, whole) for whole in wholes])
        assert found.lo is not None
        assert found.hi is not None
        held += found.lo <= 100 * returning <= found.hi
    assert held >= 0.93 * 300


def test_cohorts_say_what_is_not_over() -> None:
    """The month that goes on is counted, and marked; what comes after what is known is not looked at."""
    bought = [
        Purchase("1", "a", unix("2026-01-31T23:59:59Z"), "EUR", 10.0),
        Purchase("2", "a", unix("2026-03-05T00:00:00Z"), "EUR", 5.0),
        Purchase("3", "b", unix("2026-01-01T00:00:00Z"), "EUR", None),
        Purchase("4", "c", unix("2026-02-01T00:00:00Z"), "EUR", 0.0),
        Purchase("5", "c", unix("2026-03-01T00:00:00Z"), "EUR", 20.0),
        Purchase("6", "b", unix("2026-04-01T00:00:00Z"), "EUR", 99.0),
    ]
    january, march = cohorts(bought, "UTC", "gregorian", unix("2026-03-20T00:00:00Z"))
    assert (january.month, january.size, january.complete) == ("2026-01", 2, True)
    assert [(one.month, one.active.value, one.complete) for one in january.months] == [
        ("2026-01", 100, True), ("2026-02", 0, True), ("2026-03", 50, False)
    ]  # fmt: skip
    assert [one.revenue for one in january.months] == [{"EUR": 10}, {}, {"EUR": 5}]
    assert (march.month, march.size, march.complete) == ("2026-03", 1, False)
    assert cohorts(bought, "UTC", "gregorian", unix("2026-04-01T00:00:00Z"))[-1].complete
    assert cohorts([], "Asia/Tehran", "jalali", 0) == []


def test_a_month_is_found_by_its_name_and_the_last_whole_one_by_the_clock() -> None:
    """Of a leap year of the Jalali calendar, too; a month that has not ended is not whole."""
    tehran = Steps("month", 1, "Asia/Tehran", "jalali")
    esfand = month_named("1403-12", tehran)
    assert [datetime.fromtimestamp(at, ZoneInfo("Asia/Tehran")).isoformat() for at in esfand[:3]] == [
        "2025-01-20T00:00:00+03:30", "2025-02-19T00:00:00+03:30", "2025-03-21T00:00:00+03:30"
    ]  # fmt: skip
    assert last_whole_month(esfand.until, tehran) == esfand
    assert last_whole_month(esfand.until - 1, tehran).month == "1403-11"
    assert month_named("2026-03", Steps("month", 1)).before == unix("2026-02-01T00:00:00Z")
    for name in ("1403-12", "2026-13", "1989-12", "2026-3", ""):
        with pytest.raises(ValueError, match="of the gregorian calendar, expected 1990-02 to"):
            month_named(name, Steps("month", 1))


def test_a_period_that_is_not_over_says_so() -> None:
    """And what is known only afterwards takes no part, but return within days that reach beyond it."""
    day = 86_400
    bought = [
        Purchase("1", "a", 5 * day, "EUR", 10.0), Purchase("2", "b", 6 * day, "EUR", 10.0),
        Purchase("3", "a", 15 * day, "EUR", 30.0), Purchase("4", "c", 16 * day, "EUR", None),
        Purchase("5", "c", 21 * day, "EUR", 50.0), Purchase("6", "d", 19 * day, "EUR", 0.0),
    ]  # fmt: skip
    period = Period(0, 10 * day, 20 * day)
    found = value_of(bought, period, 40 * day, "UTC", days=7, margin=0.5, lifespan=2)
    assert (found.complete, found.loyalty[:3]) == (True, (2, 2, 1))
    assert (found.loyalty.churned.value, found.returned.matured, found.returned.returned) == (50, ["c"], ["c"])
    money = found.money["EUR"]
    assert (money.revenue, money.order_value[:2], money.arpu[:2]) == (30, (30, 1), (15, 2))
    assert (money.predicted.value, money.historic[:2]) == (15, (pytest.approx(50 / 3), 3))
    assert money.simple == pytest.approx(50 / 3 * 1.5 * 2)
    early = value_of(bought, period, 17 * day, "UTC", days=7)
    assert (early.complete, early.returned.share.n, early.returned.pending) == (False, 0, ["c"])
    assert early.money["EUR"].simple is None
    assert value_of([], period, 40 * day, "UTC").money == {}
    half_a_day_too_early = value_of(bought, period, 23 * day + day // 2, "UTC", days=7)
    assert half_a_day_too_early.returned.pending == ["c"]
    year = [Purchase("0", "a", 19 * day - 365 * day, "EUR", 90.0), *bought]
    assert value_of(year, period, 40 * day, "UTC", lifespan=2).money["EUR"].simple == money.simple


def test_tiers_by_customers_and_by_revenue() -> None:
    values = dict(zip("abcdefghij", (500.0, 200.0, 100.0, 50.0, 50.0, 40.0, 30.0, 20.0, 10.0, 0.0), strict=True))
    high, middle, low = tiers(values)
    assert [list(one.customers) for one in (high, middle, low)] == [
        ["a", "b"], ["c", "d", "e"], ["f", "g", "h", "i", "j"]
    ]  # fmt: skip
    assert (high.name, high.revenue, high.revenue_share, high.least, high.each.value) == ("high", 700, 70, 200, 350)
    assert (high.share.value, high.share.n) == (20, 10)
    by_revenue = tiers(values, "revenue")
    assert ["".join(one.customers) for one in by_revenue] == ["a", "bc", "defghij"]
    assert [one.name for one in tiers(values, limits=[10])] == ["tier 1", "tier 2"]


def test_tiers_of_equal_customers_go_by_id_and_of_nothing_to_the_last() -> None:
    assert [list(one.customers) for one in tiers(dict.fromkeys("edcba", 7.0), limits=(20, 40))] == [
        ["a"], ["b"], ["c", "d", "e"]
    ]  # fmt: skip
    worthless = tiers(dict.fromkeys("ab", 0.0))
    assert [len(one.customers) for one in worthless] == [0, 0, 2]
    assert [one.revenue_share for one in worthless] == [None] * 3
    assert [one.least for one in tiers({})] == [None] * 3
    assert [len(one.customers) for one in tiers({"رضا": 5.0})] == [1, 0, 0]


@pytest.mark.parametrize("limits", [[50, 20], [0, 50], [50, 100], [20, 20], [float("nan")]])
def test_limits_of_tiers_that_cannot_be_are_refused(limits: list[float]) -> None:
    with pytest.raises(ValueError, match="expected percents that rise"):
        tiers({"a": 1.0}, limits=limits)


def test_worth_below_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="below 0 or no number"):
        tiers({"a": -1.0})


def test_shares_and_means_carry_their_number_and_interval() -> None:
    assert percent(0, 0) == NOTHING
    assert percent(0, 20)[:3] == (0, 20, 0)
    assert percent(20, 20)[3] == 100
    assert mean([]) == NOTHING
    found = mean([10.0, 12.0, 9.0, 11.0, 13.0])
    assert found.lo is not None
    assert found.hi is not None
    assert 0 < found.lo < 11 < found.hi
    assert mean([1e13] * 9).value == 1e13
