"""Who has a series of its own when there is no room for all: the largest, of every channel, within a budget of bytes."""

from __future__ import annotations

import pytest

from streams.kpis.folding.partials import Partial, decode_partial, encode_partial
from streams.kpis.language.series import OTHER, series_key
from streams.kpis.rolling.admission import (
    CANDIDATES,
    LEFT_BYTES,
    NEW_BYTES,
    Admitted,
    Changes,
    Registry,
    SeriesLimits,
)
from streams.kpis.rolling.merge import MergeState
from streams.kpis.rolling.victims import Weighed

ALL = 1 << 40
NONE = Changes([], [])


def unit(name: object) -> str:
    return series_key("csat", (("unitid", str(name)),))


REST = unit("(other)")


def registry(cap: int = 1_000, budget: int = ALL, share: float = 1.0) -> Registry:
    return Registry(SeriesLimits(lambda _kpi: cap, budget, share))


def weighed(known: Registry, **weights: float) -> dict[int, Weighed]:
    return {known.numbers[unit(name)]: Weighed(NEW_BYTES, weight) for name, weight in weights.items()}


def test_beyond_the_cap_new_series_are_the_rest() -> None:
    registry = Registry(SeriesLimits({"csat": 2, "nps": 0}.__getitem__))
    keys = [series_key("csat", (("channel", name),)) for name in ("web", "app", "store", OTHER)]
    numbers = [registry.admit(key) for key in (*keys, keys[0], keys[2])]
    assert numbers == [0, 1, 2, 2, 0, 2]
    assert registry.names[2] == keys[3]
    assert registry.take_refused() == {"csat": 2}
    assert not registry.take_refused()
    assert registry.admit(series_key("csat")) == 3, "a KPI without labels has one series and no cap"
    assert registry.admit(series_key("csat", (("unitid", "7"),))) == 4, "each grouping has a cap of its own"
    again = Registry(SeriesLimits({"csat": 2}.__getitem__))
    again.restore(dict(registry.grown()))
    assert [again.admit(key) for key in keys] == [0, 1, 2, 2]
    assert again.admit(series_key("csat", (("unitid", "8"),))) == 5
    assert again.admit(series_key("csat", (("unitid", "9"),))) == again.admit(series_key("csat", (("unitid", OTHER),)))


def test_heavier_candidates_take_the_places_of_light_series() -> None:
    known = registry(cap=2)
    for name in "ab":
        known.admit(unit(name), [1])
    for _ in range(9):
        assert known.names[known.admit(unit("c"), [5])] == REST
    known.admit(unit("d"), [1])
    leaving, returning = known.rebalance(weighed(known, a=4.0, b=50.0), 1)
    assert [known.names[number] for number in leaving] == [unit("a")]
    assert returning == []
    assert known.numbers.keys() == {unit("b"), unit("c"), REST}


def test_equals_do_not_change_places() -> None:
    known = registry(cap=1)
    known.admit(unit("a"), [1])
    known.admit(unit("b"), [7])
    assert known.rebalance(weighed(known, a=4.0), 1).leaving == []
    assert known.names[known.admit(unit("b"), [1])] == REST


def test_who_left_comes_back_when_there_is_room() -> None:
    known = registry(cap=2)
    for name in "ab":
        known.admit(unit(name), [1])
    known.admit(unit("c"), [100])
    left = known.numbers[unit("a")]
    assert known.rebalance(weighed(known, a=1.0, b=90.0), 1).leaving == [left]
    known.admit(unit("a"), [300])
    assert known.rebalance(weighed(known, b=90.0, c=100.0), 1).returning == [left]
    assert known.numbers[unit("a")] == left


def test_who_was_refused_and_finds_room_by_itself_has_one_number() -> None:
    """Under a second one it would begin anew, without what was counted before."""
    known = Registry(SeriesLimits(lambda kpi: 1 if kpi == "nps" else 1_000, 110_000))
    light, refused = series_key("nps", (("unitid", "light"),)), series_key("nps", (("unitid", "new"),))
    for key in (unit("large"), light, REST, series_key("nps", (("unitid", OTHER),))):
        known.admit(key)
    costs = {0: Weighed(100_000, 30), 1: Weighed(5_000, 1.6)}
    known.rebalance(costs, 1)
    for key, count in ((unit("a"), 50), (refused, 10)):
        known.admit(key, [count])
    assert known.rebalance(costs, 1) == Changes([1], []), "only what is light in its own grouping gives way"
    assert refused in known.numbers
    number = known.admit(unit("a"), [1])
    assert known.names[number] == unit("a"), "there is room since"
    known.rebalance(costs, 1)
    assert known.numbers[unit("a")] == number
    assert len(set(known.names)) == len(known.names)


def test_a_channel_takes_its_share_only() -> None:
    known = registry(budget=10 * NEW_BYTES, share=0.5)
    known.admit(series_key("csat", (("channel", "store"),)), [1], "store")
    flood = [known.admit(unit(f"flood{n}"), [1], "web") for n in range(100)]
    assert len({known.names[number] for number in flood} - {REST}) == 5
    honest = [known.admit(unit(f"shop{n}"), [1], "store") for n in range(3)]
    assert [known.names[number] for number in honest] == [unit(f"shop{n}") for n in range(3)]


def test_a_sender_takes_its_part_of_the_share_of_its_channel_only() -> None:
    """Also over a restart, and though others come later: of those who gave way to others, its own come first."""
    limits = SeriesLimits(lambda _kpi: ALL, 20 * NEW_BYTES, 0.5, 0.6)
    known = Registry(limits)
    known.admit(series_key("csat", (("channel", "web"),)), [1], "web", 0, "/shop")
    known.admit(series_key("csat", (("channel", "app"),)), [1], "app", 0, "/app")
    flood = [known.admit(unit(f"flood{n}"), [9], "web", n, "/evil") for n in range(100)]
    assert len({known.names[number] for number in flood} - {REST}) == 6
    shards, decided = dict(known.grown()), known.decide(100, NONE)
    again = Registry(limits)
    again.restore(shards, decided)
    for registry in (known, again):
        more = registry.admit(unit("one more"), [1], "web", 101, "/evil")
        honest = [registry.admit(unit(f"shop{n}"), [1], "web", 101, "/shop") for n in range(2)]
        assert registry.names[more] == REST
        assert [registry.names[number] for number in honest] == [unit("shop0"), unit("shop1")]
    for _ in range(9):
        again.admit(unit("heavy"), [100], "web", 102, "/evil")
    leaving = again.rebalance(weighed(again, shop0=1.0, shop1=1.0, flood0=5.0), 1).leaving
    assert {again.names[number][:10] for number in leaving} == {unit("flood")[:10]}
    assert unit("heavy") in again.numbers


def test_a_sender_who_is_alone_uses_the_room_of_its_channel() -> None:
    """All but what is spared for others; once they come, it gives back what is beyond its share, however heavy."""
    limits = SeriesLimits(lambda _kpi: ALL, 82 * NEW_BYTES, 40 / 82, 0.5)
    known = Registry(limits)
    known.admit(series_key("csat", (("channel", "app"),)), [1], "app", 0, "/app")
    for n in range(100):
        known.admit(unit(f"first{n}"), [9], "web", n, "/first")
    assert len(known.numbers) - 2 == 30, "three quarters of the forty of its channel"
    heavy = {f"first{n}": 90.0 for n in range(30)}
    assert known.rebalance(weighed(known, **heavy), 1) == NONE, "nobody else needs the room"

    others = [known.admit(unit(f"other{n}"), [1], "web", 101, "/other") for n in range(15)]
    admitted = [known.names[number] for number in others]
    assert admitted[:10] == [unit(f"other{n}") for n in range(10)]
    assert set(admitted[10:]) == {REST}
    here = heavy | {f"other{n}": 1.0 for n in range(10)}
    leaving = known.rebalance(weighed(known, **here), 1).leaving
    assert {known.names[number].rpartition("first")[0] for number in leaving} == {unit("")}
    assert all(unit(f"other{n}") in known.numbers for n in range(15))
    assert sum("first" in key for key in known.numbers) >= 20, "its share stays"
    again = Registry(limits)
    again.restore(dict(known.grown()), known.decide(101, NONE))
    assert again.names[again.admit(unit("one more"), [1], "web", 102, "/first")] == REST, "it is not alone any more"


def test_a_channel_that_is_alone_uses_the_room_of_all() -> None:
    """But for an eighth; once another has more to say than that, it gives back what is beyond its share."""
    known = registry(budget=80 * NEW_BYTES, share=0.5)
    for n in range(100):
        known.admit(unit(f"first{n}"), [9], "web", n)
    assert len(known.numbers) - 1 == 70
    heavy = {f"first{n}": 90.0 for n in range(70)}
    assert known.rebalance(weighed(known, **heavy), 1) == NONE
    others = [known.admit(unit(f"other{n}"), [1], "store", 101) for n in range(15)]
    assert [known.names[number] for number in others].count(REST) == 6
    leaving = known.rebalance(weighed(known, **heavy, **{f"other{n}": 1.0 for n in range(9)}), 1).leaving
    assert {known.names[number].rpartition("first")[0] for number in leaving} == {unit("")}
    assert all(unit(f"other{n}") in known.numbers for n in range(15))
    assert sum("first" in key for key in known.numbers) >= 40, "its share stays"


def test_what_alerts_remember_of_a_series_is_part_of_the_budget() -> None:
    """As long as its name is known, thus also once it gave way."""
    known = Registry(SeriesLimits(lambda _kpi: ALL, 30_000, beside=lambda group: 4_000 if group[0] == "csat" else 0))
    for n in range(100):
        known.admit(unit(n), [n])
        known.admit(series_key("nps", (("unitid", str(n)),)), [n])
    assert known.reserved == reckoned(known) <= 30_000 + 8_000, "the rests need no room"
    leaving = known.rebalance({known.numbers[unit(0)]: Weighed(40_000, 0.0)}, 1).leaving
    assert unit(0) in {known.names[number] for number in leaving}
    assert known.reserved == reckoned(known) <= 30_000 + 8_000


def reckoned(known: Registry) -> int:
    """What series and those that gave way take, those of csat 4,000 more."""
    cost = dict.fromkeys(known.numbers, NEW_BYTES) | {known.names[number]: LEFT_BYTES for number in known.left}
    return sum(bytes_ + 4_000 * key.startswith("csat") for key, bytes_ in cost.items())


def test_too_much_memory_makes_the_lightest_leave() -> None:
    known = registry(budget=10 * NEW_BYTES)
    for name in "abc":
        known.admit(unit(name), [1])
    heavy = weighed(known, a=10.0, c=30.0)
    heavy[known.numbers[unit("b")]] = Weighed(9 * NEW_BYTES, 20.0)
    leaving, _ = known.rebalance(heavy, 1)
    assert [known.names[number] for number in leaving] == [unit("b")], "the least weight for its memory"
    assert known.reserved == 2 * NEW_BYTES + LEFT_BYTES


def test_the_heaviest_stay_when_nothing_helps() -> None:
    """What never gives way takes all the memory: a flood leaves, but not what most is counted in, and it lets others in."""
    known = registry(budget=100 * NEW_BYTES)
    whole = known.admit(series_key("csat"), [1])
    for number in range(60):
        known.admit(unit(number), [1], "web")
    cost = {number: Weighed(NEW_BYTES, 1.0) for number in known.numbers.values()}
    cost[whole] = Weighed(120 * NEW_BYTES, 1.0)
    cost[known.numbers[unit(7)]] = Weighed(NEW_BYTES, 1e6)
    leaving, _ = known.rebalance(cost, 1)
    assert len(leaving) == 60 - 25
    assert unit(7) in known.numbers
    assert known.names[known.admit(unit("heavy"), [1_000], "web")] == REST
    light = len(known.numbers)
    leaving, _ = known.rebalance(cost, 1)
    assert len(leaving) == 1, "as many as make room, and no more"
    assert {unit(7), unit("heavy")} <= known.numbers.keys()
    assert len(known.numbers) == light


def test_a_flood_is_not_remembered_without_end_where_nothing_helps() -> None:
    """Minute for minute it may take the place of what it sent before, until what is remembered of that takes half."""
    known = registry(budget=100 * NEW_BYTES)
    whole = known.admit(series_key("csat"), [1])
    for minute in range(60):
        for number in range(50):
            known.admit(unit(f"{minute}-{number}"), [1 + minute], "web")
        cost = {number: Weighed(2 * NEW_BYTES, 1.0) for number in known.numbers.values()}  # more than at first
        cost[whole] = Weighed(120 * NEW_BYTES, 1.0)
        known.rebalance(cost, 1)
    assert len(known.left) * LEFT_BYTES <= 60 * NEW_BYTES
    assert known.reserved <= (120 + 25 + 60 + 2) * NEW_BYTES


def test_many_customers_leave_labels_their_values() -> None:
    """Bins of distinct customers fill the memory of a small partition; satisfaction by channel is still published."""
    state = MergeState(grace_s=0, idle_s=1e9, limits=SeriesLimits(lambda _kpi: ALL, 12 << 20))
    channel = (("channel", "web"),)
    web, customers = series_key("csat", channel), dict.fromkeys(range(15_000), 1)
    values = {}
    for number in range(4):
        minute = 1_000 + number
        deltas = {unit(f"{number}-{n}"): [1, 1] for n in range(400)} | {
            series_key("csat"): [5_000, 4_000],
            web: [5_000, 4_000],
            series_key("active_customers"): customers.copy(),
            series_key("active_customers", channel): customers.copy(),
        }
        sent = Partial(
            source="web/0",
            first=number,
            last=number,
            watermark=60.0 * (minute + 1),
            caught_up=True,
            deltas={minute: deltas},
        )
        state.apply(decode_partial(encode_partial(sent)), number)
        state.dirty_records()
        rows = state.drain_outputs(60.0 * (minute + 1) + 10).values
        values |= {(row.series, row.window): row.acc for row in rows if row.maturity == "closed"}
        state.marker()
    assert series_key("active_customers", channel) not in state.registry.numbers, "takes most of it for its count"
    assert {values[web, window][0] for window in ("5m", "24h", "total")} == {20_000}
    assert len(state.registry.numbers) > 1_000, "nobody gave way for it in vain"
    assert state.registry.reserved < 2 * state.registry.capacity


@pytest.mark.slow
def test_candidates_and_those_that_left_are_bounded() -> None:
    known = registry(budget=100 * NEW_BYTES)
    for round_ in range(20):
        for number in range(5_000):
            known.admit(unit(f"{round_}-{number}"), [10 ** (1 + round_ // 2)])
        known.rebalance({number: Weighed(NEW_BYTES, 1.0) for number in known.numbers.values()}, 3)
        assert len(known._candidates) <= CANDIDATES
        assert known.reserved <= 101 * NEW_BYTES
        assert len(known.left) * LEFT_BYTES <= 50 * NEW_BYTES
    assert len(known.names) < 400


@pytest.mark.parametrize("restarted", [False, True])
def test_who_brings_ever_new_series_stops_nobody_else(*, restarted: bool) -> None:
    """Until what is remembered of those that gave way for them takes their share; others have theirs, whoever they are."""
    limits = SeriesLimits(lambda _kpi: 1_000_000, 200 * NEW_BYTES, 0.5, 0.5)
    known = Registry(limits)
    for number in range(40):
        known.admit(unit(f"app-{number}"), [1], "app", sender="/app")
        known.admit(unit(f"shop-{number}"), [1], "web", sender="/shop")

    def minute(number: int) -> int:
        """Invent series that are heavier than those before; return how many of them have room."""
        for one in range(300):
            known.admit(unit(f"{number}-{one}"), [2**number], "web", sender="/flood")
        known.rebalance({place: Weighed(NEW_BYTES, 1.0) for place in known.numbers.values()}, 1)
        return sum(key.startswith(unit(f"{number}-")) for key in known.numbers)

    rounds = [minute(number) for number in range(40)]
    assert rounds[2] > 0
    assert rounds[-1] == 0, "nobody gives way for it any more"
    if restarted:
        shards, admitted = dict(known.grown()), known.decide(9, NONE)
        known = Registry(limits)
        known.restore(shards, admitted)
        assert minute(41) == 0
    for channel, sender in (("app", "/app"), ("web", "/shop")):
        names = [f"{channel} {number}" for number in range(5)]
        for name in names:
            known.admit(unit(name), [2**50], channel, sender=sender)
        known.rebalance({place: Weighed(NEW_BYTES, 1.0) for place in known.numbers.values()}, 1)
        assert {unit(name) for name in names} <= known.numbers.keys(), channel
    assert known.reserved <= 200 * NEW_BYTES


def test_changes_of_place_that_come_and_go_use_nothing_up() -> None:
    """What was brought first by one is brought by another later: whoever took the place gets it back."""
    known = Registry(SeriesLimits(lambda _kpi: 1, 200 * NEW_BYTES, 0.5, 0.5))
    known.admit(unit("a"), [1], "web", sender="/first")
    known.admit(series_key("nps", (("unitid", "1"),)), [1], "app")
    swaps = 0
    for _ in range(500):
        other = unit("a") if unit("a") not in known.numbers else unit("b")
        known.admit(other, [50], "web", sender="/second")
        swaps += len(known.rebalance({place: Weighed(NEW_BYTES, 1.0) for place in known.numbers.values()}, 1).leaving)
        known._candidates.clear()
    assert swaps == 500


def test_what_was_decided_is_restored_and_repeated() -> None:
    known = registry(cap=2)
    for offset, name in enumerate("abcd"):
        known.admit(unit(name), [1], "web", offset)
    shards = dict(known.grown())
    admitted = known.decide(3, NONE)
    assert admitted is not None
    again = registry(cap=1_000)
    again.restore(shards, admitted)
    assert [again.names[again.admit(unit(name), [1], "web", 3)] for name in "abcd"] == [
        unit("a"),
        unit("b"),
        REST,
        REST,
    ]
    assert again.names[again.admit(unit("c"), [1], "web", 4)] == unit("c"), "what comes later is decided anew"
    assert known.decide(9, NONE) is None


def test_series_of_a_batch_that_was_cut_off_are_not_valid() -> None:
    known = registry()
    for number in range(1_000):
        known.admit(unit(number), [1])
    shards = dict(known.grown())
    admitted = known.decide(1, NONE)
    for number in range(1_000, 1_100):
        known.admit(unit(number), [1])
    shards.update(known.grown())
    again = registry()
    again.restore(shards, admitted)
    assert len(again.names) == 1_000
    again.admit(unit("new"), [1])
    shards.update(again.grown())
    third = registry()
    third.restore(shards, again.decide(2, NONE))
    assert third.names == again.names
    with pytest.raises(ValueError, match="0 series found of 1001"):
        registry().restore({}, admitted_of(again))


def admitted_of(known: Registry) -> Admitted | None:
    known.admit(unit("one more"), [1])
    return known.decide(9, NONE)
