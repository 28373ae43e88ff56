"""Defects of products: what a CUSUM comes to by hand, catalogues where nothing has changed, and a rate that triples."""

import random
from collections.abc import Collection
from datetime import date, timedelta
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.events.decode import decode_one
from streams.events.refusal import Refusal
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Folder
from streams.products.defects import DefectSettings, ProductDay, suspected, threshold_of, words_of
from tests.harness.clickhouse import event as sent

BEGIN = date(2026, 1, 1)


def day(number: int) -> date:
    return BEGIN + timedelta(days=number)


def catalogue(seed: int, products: int, days: int, worse: Collection[int] = (), since: int = 0) -> list[ProductDay]:
    """Products that differ in sales and in their rates; of those that get `worse` three times as much comes back."""
    chance = random.Random(seed)
    found: list[ProductDay] = []
    for number in range(products):
        sales = 20.0 if number in worse else chance.expovariate(0.6) + 0.2
        rate = min(0.3, chance.gammavariate(2.0, 0.01)) if number not in worse else 0.02
        returns = [0] * (days + 14)
        sold = [sum(chance.random() < sales / 40 for _ in range(40)) for _ in range(days)]
        for at, count in enumerate(sold):
            now = rate * 3 if number in worse and at >= since else rate
            for _ in range(count):
                if chance.random() < now:
                    returns[at + chance.randrange(14)] += 1
        found += [
            ProductDay(f"p-{number}", day(at), float(count), back, f"c-{number % 4}")
            for at, (count, back) in enumerate(zip(sold, returns, strict=False))
            if count or back
        ]
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_where_nothing_has_changed_alarms_keep_to_the_budget(seed: int) -> None:
    found, _ = suspected(catalogue(seed, 500, 90))
    assert sum(one.alarm is not None for one in found) <= 1


def test_a_rate_that_triples_is_found_and_no_other() -> None:
    found, threshold = suspected(catalogue(3, 200, 100, worse=[7], since=60))
    [alarm] = [one for one in found if one.alarm is not None]
    assert found[0] == alarm
    assert (alarm.product, alarm.category) == ("p-7", "c-3")
    assert alarm.alarm is not None
    assert day(60) < alarm.alarm <= day(90)
    assert day(55) <= alarm.since <= day(75)
    assert alarm.score > threshold
    assert alarm.defects > 1.5 * alarm.expected
    text = words_of(alarm)
    assert all("p-7: " in one and f"{alarm.defects}" in one and str(alarm.since) in one for one in text.values())


def test_the_sum_is_what_it_is_by_hand() -> None:
    """Learnt in 30 days: 30 defects where 10 are sold a day; then two days with 4 defects each."""
    days = [ProductDay("p", day(at), 10.0, 1 if at < 30 else 4, "c") for at in range(32)]
    [one], threshold = suspected(days)
    assert threshold == pytest.approx(log(2 * 38 / 0.5))
    assert (one.since, one.defects, one.sold, one.alarm) == (day(30), 8, 20.0, None)
    assert one.score == pytest.approx(8 * log(2) - one.expected)


def test_what_was_always_worse_is_no_news_and_two_defects_are_none() -> None:
    always = [ProductDay("bad", day(at), 10.0, 2, "c") for at in range(120)]
    others = [ProductDay(f"p-{n}", day(at), 10.0, int(at % 10 == n % 10), "c") for n in range(20) for at in range(120)]
    few = [ProductDay("few", day(at), 0.2, 2 if at == 119 else 0, "c") for at in range(0, 120, 7)]
    assert [one.product for one in suspected([*always, *others, *few])[0] if one.alarm] == []


def test_nothing_is_said_of_nothing() -> None:
    assert suspected([]) == ([], threshold_of(0, DefectSettings()))
    assert suspected([ProductDay("p", day(0), 3.0, 0)])[0] == []


@given(st.randoms(use_true_random=False))
def test_the_order_of_days_makes_no_difference(chance: random.Random) -> None:
    days = [
        ProductDay(f"p-{n}", day(at), float(at % 3), int((at * 7 + n) % 11 == 0), f"c-{n % 2}")
        for n in range(4)
        for at in range(45)
    ]
    shuffled = chance.sample(days, len(days))
    assert suspected(shuffled) == suspected(days)


def test_a_judgement_is_an_event_that_its_kpi_alone_counts() -> None:
    data = {"product": "p-1", "suspected": True, "defects": 9, "sold": 40.0, "expected": 2.5, "category": "shoe"}
    event = decode_one(sent(1, type="cx.product.judged", subject="products", data=data))
    assert not isinstance(event, Refusal), event
    [series] = Folder(Catalogue.load()).fold([event]).values()
    assert {key.partition("\x1f")[0]: acc for key, acc in series.items()} == {"products_suspected": [1, 1]}
