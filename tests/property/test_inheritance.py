"""State that is rebuilt from what was published goes on as if the topics had never been made anew."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events.dedup import UNKNOWN, digest
from streams.events.inheritance import inherited_ranges
from streams.events.intake import FrozenRange, Intake, Tally
from streams.kpis.arithmetic.accumulators import Acc, merge_acc
from streams.kpis.folding.partials import Partial
from streams.kpis.language.series import series_key
from streams.kpis.rolling.inheritance import inherited_records
from streams.kpis.rolling.merge import MergeState
from streams.kpis.rolling.packing import pack, unpack
from tests.property.test_merge import SERIES, SOURCES, World, check, short_days  # noqa: F401 - a fixture

NOON = datetime(2026, 3, 21, 12, tzinfo=UTC)


class Reborn(World):
    """A world whose topics and changelogs are lost now and then, when all is stored; what was published stays."""

    def lose_everything(self, kept_minutes: int) -> None:
        self.finish()
        newest: dict[tuple[str, int, int], tuple[int, Acc]] = {}
        for row in self.minutes:
            key = row.series, row.minute, row.part
            if row.revision >= newest.get(key, (-1, []))[0]:
                newest[key] = row.revision, row.acc
        closed = max((value.at // 60 - 1 for value in self.values if value.maturity == "closed"), default=None)
        before: dict[str, Acc] = {}
        minutes: list[tuple[int, dict[str, Acc]]] = []
        hours: list[tuple[int, dict[str, Acc]]] = []
        for (series, minute, _), (_, acc) in newest.items():
            if closed is not None and minute <= closed - kept_minutes - 420:
                if series in before:
                    merge_acc(before[series], acc)
                else:
                    before[series] = acc.copy()
            elif closed is not None and minute < (closed - kept_minutes) // 60 * 60:
                hours.append((minute // 60 * 60, {series: acc}))
            else:
                minutes.append((minute, {series: acc}))
        records = inherited_records(
            before, minutes, hours=hours, closed=closed, fence=len(self.topic) - 1, delayed={"later"}
        )
        self.changelog = list(records)
        self.sent.clear()
        self.state = self.fresh()
        self.state.restore(self.changelog)
        self.position = len(self.topic)


@pytest.mark.parametrize("seed", range(8))
def test_merging_goes_on_over_lost_topics_and_crashes(seed: int) -> None:
    """Every published row is right against all partials of all lives, although minutes are evicted and come back."""
    chance = random.Random(seed)
    world = Reborn()
    lives = 1
    for _ in range(150):
        world.minute += chance.choice([0, 0, 0, 1, 1, 1, 2, 30])
        world.now += chance.choice([0.5, 1, 5, 60])
        for _ in range(chance.randrange(4)):
            picks = [(chance.randrange(len(SERIES)), int(chance.expovariate(0.2))) for _ in range(chance.randrange(6))]
            world.send(
                chance.choice(SOURCES),
                picks,
                behind=chance.choice([0, 0, 3]),
                caught_up=True,
                ranged=chance.choice([1, 3]),
            )
        world.consume(chance.randrange(6))
        world.flush(chance.random() if chance.random() < 0.15 else None)
        if chance.random() < 0.05:
            world.lose_everything(kept_minutes=12)
            lives += 1
    world.finish()
    check(world)
    assert lives > 2


def test_what_is_inherited_is_not_published_again() -> None:
    world = Reborn()
    for minute in range(5):
        world.minute = 1000 + minute
        world.send("web/0", [(0, 0), (1, 0)], behind=0, caught_up=True, ranged=1)
    world.lose_everything(kept_minutes=12)
    published = len(world.minutes)
    world.send("web/0", [(0, 0)], behind=0, caught_up=True, ranged=1)
    world.finish()
    check(world)
    assert [row.series for row in world.minutes[published:]] == [SERIES[0][0]]


def test_values_of_repaired_series_are_published_again_at_once() -> None:
    whole, web, wait = series_key("csat"), series_key("csat", (("channel", "web"),)), series_key("wait")
    before: dict[str, Acc] = {whole: [10, 9], web: [4, 4], wait: {300: 2}}
    minutes = [(100, {whole: [2, 1]}), (95, {web: [1, 1]})]
    records = inherited_records(before, minutes, closed=100, fence=6_999, publish_again=[web, wait])
    state = MergeState(windows=("5m",), idle_s=30, expected=["web/0"])
    state.restore(records)

    rows = {(row.series, row.window): row for row in state.drain_outputs(0.0).values}

    assert rows[web, "total"].acc == [5, 5]
    assert rows[wait, "total"].acc == {300: 2}
    assert {row.at for row in rows.values()} == {101 * 60}
    assert min(row.revision for row in rows.values()) > 2 * 6_998 + 1, "later than anything of the old topics"
    assert state.closed == 100
    assert state.apply(Partial(source="web/0", first=7_000, last=7_001, watermark=1.0, caught_up=True), 7_000)


def test_packed_totals_may_hold_nothing_but_empty_bins() -> None:
    assert unpack(pack({3: {}, 9: {}})) == {3: {}, 9: {}}


def event(number: int, seconds: float) -> bytes:
    at = (NOON + timedelta(seconds=seconds)).isoformat()
    envelope = {
        "specversion": "1.0", "id": f"e{number}", "source": "t", "type": "cx.session.started", "time": at,
        "subject": "c1", "channel": "web", "data": {},
    }  # fmt: skip
    return json.dumps(envelope).encode()


def intake(dedup_ids: int) -> Intake:
    return Intake("web/0", retention_s=600, dedup_ids=dedup_ids)


Log = list[tuple[int, float]]
LOGS = st.lists(st.lists(st.tuples(st.integers(0, 60), st.integers(-900, 900)), max_size=8), min_size=1, max_size=10)


def feed(target: Intake, log: Log, start: int, now: float, times: dict[int, float]) -> FrozenRange | None:
    values = [event(number, times.setdefault(number, second)) for number, second in log]
    target.add(values, range(start, start + len(values)), now)
    outcome = target.close()
    return None if outcome is None else outcome.frozen


@settings(max_examples=150, deadline=None)
@given(LOGS, LOGS)
def test_an_intake_decides_as_if_it_had_gone_on(old: list[Log], new: list[Log]) -> None:
    """With ids enough for all, each record of a new topic has the outcome it would have had on the old one."""
    now, times = NOON.timestamp() + 1_000, {}
    going_on, offset, ids = intake(1_000), 0, []
    for log in old:
        frozen = feed(going_on, log, offset, now, times)
        offset += len(log)
        ids += [] if frozen is None else np.frombuffer(frozen.ids, "<u8").tolist()
    known = {digest(f"e{number}"): (number, seconds) for number, seconds in times.items()}
    origins = [
        ("t", f"e{number}", xxhash.xxh3_64_intdigest(event(number, seconds)))
        for number, seconds in map(known.__getitem__, ids)
    ]
    at = [NOON.timestamp() + known[one][1] for one in ids]

    reborn = intake(1_000)
    ranges = list(inherited_ranges("web/0", origins, at, tally=going_on.head.tally, now=now, dedup_ids=1_000))
    reborn.restore(random.Random(0).sample(ranges, len(ranges)))

    assert reborn.pending is None, "nothing inherited is waited for"
    assert reborn.head.next == 0
    assert reborn.watermark(60) == going_on.watermark(60)
    start = 0
    for log in new:
        expected = feed(going_on, log, offset + start, now, times)
        found = feed(reborn, log, start, now, times)
        start += len(log)
        assert (found is None) == (expected is None)
        if found and expected:
            assert found.ids == expected.ids
            assert found.after.tally == expected.after.tally
            assert found.first == expected.first - offset


def test_the_first_records_of_a_new_topic_start_at_zero_even_if_inherited_ones_are_the_newest() -> None:
    reborn = intake(1_000)
    reborn.restore(
        list(
            inherited_ranges(
                "web/0",
                [("t", "e1", UNKNOWN)],
                [NOON.timestamp()],
                tally=Tally(1, 1),
                now=NOON.timestamp(),
                dedup_ids=1_000,
            )
        )
    )
    reborn.finish_restored()
    assert reborn.cut([0, 1]) == 2
    reborn.add([event(1, 0), event(2, 0)], [0, 1], NOON.timestamp())
    outcome = reborn.close()
    assert outcome is not None
    assert (outcome.frozen.first, outcome.frozen.last) == (0, 1)
    assert (outcome.tally.duplicate, outcome.tally.counted) == (1, 1)
    again = intake(1_000)
    again.restore(
        [
            *inherited_ranges("web/0", [("t", "e1", UNKNOWN)], [0.0], tally=Tally(1, 1), now=1.0, dedup_ids=1_000),
            outcome.frozen,
        ]
    )
    assert again.pending == outcome.frozen


def test_inherited_ids_are_forgotten_in_small_shares() -> None:
    """New ids push out the oldest inherited ones, a hundredth at a time; what is forgotten is late, not counted."""
    times = [NOON.timestamp() + i / 10 for i in range(1_000)]
    ids = [("t", f"e{i}", UNKNOWN) for i in range(1_000)]
    now = NOON.timestamp() + 500
    ranges = list(
        inherited_ranges(
            "web/0", ids, times, forgotten_newest=times[0] - 1, tally=Tally(1_200, 1_200), now=now, dedup_ids=1_000
        )
    )
    assert len(ranges) == 100
    assert all(after.first == before.last + 1 for before, after in pairwise(ranges))
    reborn = intake(1_000)
    reborn.restore(ranges)
    assert reborn.head.horizon == times[0] - 1

    reborn.add([event(5_000, 300.0)], [0], now)
    assert reborn.close()
    assert reborn.head.horizon == times[9]
    reborn.add([event(3, 0.3), event(10, 1.0)], [1, 2], now)
    outcome = reborn.close()
    assert outcome is not None
    assert (outcome.late_offsets, outcome.tally.duplicate) == ([1], 1)
    assert outcome.forgotten == [b"web/0|%020d" % ranges[0].first]


def test_more_ids_than_are_remembered_are_refused() -> None:
    with pytest.raises(ValueError, match="web/0: 3 ids to inherit, but only 2"):
        list(inherited_ranges("web/0", [("t", "e", UNKNOWN)] * 3, [0.0] * 3, tally=Tally(3, 3), now=0.0, dedup_ids=2))


def test_nothing_is_inherited_of_a_source_that_said_nothing() -> None:
    assert list(inherited_ranges("web/0", [], [], tally=Tally(), now=0.0, dedup_ids=10)) == []
    assert list(inherited_records({}, [], closed=None, fence=0)) == []
