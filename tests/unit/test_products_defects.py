"""Defects of products: what a CUSUM comes to by hand, catalogues where nothing has changed, and a rate that triples."""

import random
from collections.abc import Collection
from datetime import date, timedelta
from math import log

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.commands.products import _tell
from streams.events.decode import decode_one
from streams.events.refusal import Refusal
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Folder
from streams.privacy.pseudonyms import Pseudonyms, SecretKey, is_pseudonym
from streams.privacy.records import Protection
from streams.privacy.scan import Scan
from streams.products.defects import DefectSettings, ProductDay, Suspected, suspected, threshold_of, words_of
from streams.storage.products import by_product
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


@pytest.mark.slow
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


def test_products_are_put_together_as_kpis_name_them_and_the_nameless_are_counted() -> None:
    found = by_product([
        ("p\u200b-1", day(0), 3, 0, "a"), (" p-1", day(0), 4, 2, "b"), ("p-1", day(1), 1, 0, ""),
        ("\u200b ", day(0), 5, 1, "a"), ("\u2800", day(1), 1, 0, "a"), ("۱", day(0), 1, 0, ""), ("1", day(0), 1, 0, ""),
    ])  # fmt: skip
    assert found == (
        [ProductDay("p-1", day(0), 7.0, 2, "b"), ProductDay("p-1", day(1), 1.0, 0), ProductDay("1", day(0), 2.0, 0)],
        7,
    )


def test_a_name_with_line_breaks_forges_no_line_and_one_language_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    one = Suspected("p\n0 of them\x1b[2K", "c", 9.0, day(0), 4, 3.0, 1.0, day(3))
    for lang, other in (("en", "نقص"), ("fa", "defects of")):
        _tell([one], [one], 3.0, lang)  # type: ignore[arg-type]
        shown = capsys.readouterr().out
        assert len(shown.splitlines()) == 4
        assert "\x1b" not in shown
        assert other not in shown


def test_products_that_look_like_ids_of_people_stay_two_and_are_in_clear_nowhere() -> None:
    protection = Protection(Pseudonyms([SecretKey(b"k" * 32)]))
    codes = ["0499370899", "0790419904", "09120000012", "6037991234567893", "sku-20417"]
    sent_ = [msgspec.json.encode({"data": {"product": code}, "labels": {"product": code}}) for code in codes]
    kept = [msgspec.json.decode(one or b"") for one in protection.protect(sent_).values]
    names = [one["data"]["product"] for one in kept]
    assert len(set(names)) == len(codes)
    assert names == [one["labels"]["product"] for one in kept]
    assert names[-1] == codes[-1]
    assert all(is_pseudonym(name) for name in names[:-1])
    scan = Scan(protection)
    scan.look("events", [msgspec.json.encode(one) for one in kept])
    assert scan.findings == []


def rise(defects: int, sold: float = 10.0) -> list[ProductDay]:
    """A product of which 30 days are learnt, one defect a day, and then a day with so many."""
    return [ProductDay("p", day(at), sold, 1 if at < 30 else defects, "c") for at in range(31)]


def test_what_is_expected_lies_so_many_errors_above_what_was_learnt() -> None:
    """30 defects of an exposure of 10 · (1 + … + 30) / 30; products of one alone are as alike as can be."""
    [one], _ = suspected(rise(9))
    exposure, shape = 155.0, 50.0
    prior = (30 + 10) / (exposure + 10 / (30 / exposure))
    known = 30 + shape
    assert one.expected == pytest.approx(10 * (known + 1.5 * known**0.5) / (exposure + shape / prior))


@pytest.mark.parametrize(("defects", "alarm"), [(2, False), (3, True)])
def test_three_defects_are_the_fewest_that_are_told(defects: int, alarm: bool) -> None:
    many = [ProductDay("other", day(at), 1_000.0, 1, "d") for at in range(31)]
    rare = [ProductDay("p", day(at), 0.001, 0, "c") for at in range(30)]
    now = ProductDay("p", day(30), 0.001, defects, "c")
    found, threshold = suspected([*many, *rare, now], DefectSettings(rise=20.0, budget=50.0))
    [one] = [one for one in found if one.product == "p"]
    assert one.score > threshold, "that alone would be enough"
    assert (one.alarm is not None) is alarm


def test_alarms_come_first_then_the_clearest_then_by_name() -> None:
    def product(name: str, rises: int, defects: int) -> list[ProductDay]:
        """One defect a day, so many on one day, and none in the days after that."""
        return [ProductDay(name, day(at), 10.0, {rises: defects}.get(at, int(at < rises)), "c") for at in range(38)]

    found, threshold = suspected([
        *product("b", 37, 5), *product("a", 37, 5), *product("c", 37, 8), *product("z", 30, 30), *product("y", 37, 1),
    ])  # fmt: skip
    assert [(one.product, one.alarm is not None) for one in found] == [
        ("z", True), ("c", False), ("a", False), ("b", False),
    ]  # fmt: skip
    assert threshold > found[1].score > found[0].score > 0, "the alarm stays on while the sum falls"
