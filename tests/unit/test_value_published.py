"""What is told of customers' worth: of whom something changed, once; and the measures of a period by tier."""

import json

import pytest

from streams.events.decode import decode_one
from streams.events.refusal import Refusal
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Folder
from streams.value.periods import Period
from streams.value.published import NEWCOMERS, measures_of
from streams.value.purchases import Purchase
from streams.value.risk import ChurnScore
from streams.value.valued import CustomerValue, SentValue, changed, event_of, values_of

DAY = 86_400
NAMES = ["high", "middle", "low"]


def bought(customer: str, day: int, net: float | None, currency: str = "EUR") -> Purchase:
    return Purchase(f"{customer}-{day}-{net}", customer, day * DAY, currency, net)


# Ten customers who bring 10, 20 … 100: the best fifth is high, the next three are middle.
TEN = [bought(f"c{number}", number, 10.0 * number) for number in range(1, 11)]


def test_each_customer_has_a_tier_and_what_it_brought() -> None:
    found = values_of(TEN)
    assert {name for name, one in found.items() if one.tier == "high"} == {"c10", "c9"}
    assert {name for name, one in found.items() if one.tier == "middle"} == {"c8", "c7", "c6"}
    assert found["c3"] == CustomerValue("low", 30.0, "EUR", 1)


def test_who_bought_in_two_currencies_counts_in_that_of_most_purchases() -> None:
    some = [*TEN, bought("c1", 20, 9_000, "IRR"), bought("c1", 21, 5.0), bought("c2", 20, None, "IRR")]
    found = values_of(some)
    assert (found["c1"].currency, found["c1"].clv, found["c1"].orders) == ("EUR", 15.0, 2)
    assert found["c2"].currency == "EUR", "an order of unknown worth is in no money"
    assert len(found) == 10


def test_the_newest_risk_of_a_model_that_may_be_used() -> None:
    scores = [
        ChurnScore("good", "c1", 5, 0.123456), ChurnScore("good", "c1", 9, 0.5), ChurnScore("bad", "c1", 10, 0.9),
        ChurnScore("bad", "c2", 10, 0.9),
    ]  # fmt: skip
    found = values_of(TEN, scores=scores, usable={"good"})
    assert (found["c1"].churn_risk, found["c1"].model) == (0.5, "good")
    assert (found["c2"].churn_risk, found["c2"].model) == (None, "")


def test_only_what_has_changed_is_told() -> None:
    before = values_of(TEN)
    sent = {name: SentValue(one, 1_000) for name, one in before.items()}
    assert list(changed(before, sent)) == []
    assert [name for name, *_ in changed(before, {})] == sorted(before)
    after = values_of([*TEN, bought("c1", 30, 500.0)])
    found = {name: (one.tier, was.value.tier if was else None) for name, one, was in changed(after, sent)}
    # c1 is the best now, which moves who stood last in each tier.
    assert found == {"c1": ("high", "low"), "c9": ("middle", "high"), "c6": ("low", "middle")}


def test_an_event_says_what_was_before_and_counts_in_its_kpi_alone() -> None:
    was, now = CustomerValue("high", 90.0, "EUR", 3), CustomerValue("middle", 70.0, "EUR", 2, 0.25, "logit")
    event = event_of("c9", now, SentValue(was, 1_000), NAMES)
    assert event["data"] == {
        "tier": "middle", "previous": "high", "direction": "down", "clv": 70.0, "currency": "EUR", "orders": 2,
        "churn_risk": 0.25, "model": "logit",
    }  # fmt: skip
    decoded = decode_one(json.dumps({"specversion": "1.0", "time": "2026-05-01T10:00:00Z", **event}).encode())
    assert not isinstance(decoded, Refusal), decoded
    [series] = Folder(Catalogue.load()).fold([decoded]).values()
    assert {key.partition("\x1f")[0]: acc for key, acc in series.items()} == {"value_tier_falls": [1, 1]}
    first = event_of("c9", was, None, NAMES)
    assert first["data"] == {"tier": "high", "clv": 90.0, "currency": "EUR", "orders": 3}
    up = event_of("c9", was, SentValue(now, 1_000), NAMES)["data"]
    assert (up["previous"], up["direction"]) == ("middle", "up")
    other = event_of("c9", was, SentValue(now._replace(tier="tier 1"), 1_000), NAMES)["data"]
    assert other["previous"] == "tier 1"
    assert "direction" not in other, "tiers of other limits have no order among these"


def test_the_same_change_again_is_another_event_only_if_something_was_between() -> None:
    one, two = CustomerValue("high", 90.0, "EUR", 3), CustomerValue("low", 1.0, "EUR", 1)
    first, later = (event_of("c9", one, SentValue(two, at), NAMES)["id"] for at in (1_000, 2_000))
    assert first != later
    assert event_of("c9", one, SentValue(two, 1_000), NAMES)["id"] == first
    assert event_of("c8", one, SentValue(two, 1_000), NAMES)["id"] != first


def test_measures_of_all_and_of_tiers_as_they_were() -> None:
    # In the second month c10 and c1 buy again, and n1 for the first time.
    some = [*TEN, bought("c10", 35, 40.0), bought("c1", 36, 1_000.0), bought("n1", 37, 60.0)]
    period = Period(0, 30 * DAY, 60 * DAY, "second")
    found = {(one.measure, one.tier, one.currency): one for one in measures_of(some, period, 90 * DAY, "UTC")}
    retention = found["retention", "", ""]
    assert (retention.value, retention.n) == (20.0, 10)
    assert retention.lo is not None
    assert retention.hi is not None
    assert retention.lo < 20 < retention.hi
    assert (found["retention", "high", ""].value, found["retention", "high", ""].n) == (50.0, 2)
    # c1 brings most by now, but was low when the month began.
    assert (found["retention", "low", ""].value, found["retention", "low", ""].n) == (20.0, 5)
    assert found["churn", "middle", ""].value == 100.0
    assert (found["arpu", "", "EUR"].value, found["arpu", "", "EUR"].n) == (pytest.approx(1_100 / 3), 3)
    assert found["arpu", "low", "EUR"].value == 1_000.0
    assert found["arpu", NEWCOMERS, "EUR"].value == 60.0
    assert found["repeat_revenue_share", "", "EUR"].value == pytest.approx(100 * 1_040 / 1_100)
    assert found["revenue", "", "EUR"].value == 1_100.0
    assert ("retention", NEWCOMERS, "") not in found, "who is new cannot have stayed"
    assert {one.complete for one in found.values()} == {True}
    assert {one.complete for one in measures_of(some, period, 50 * DAY, "UTC")} == {False}
