"""
The merge state against a naive recomputation, with crashes between any two writes.

A run sends partials of several sources to one topic, in ranges that may be sent again, and a consumer that dies at any
point of a flush and starts over from what it had written.
"""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.kpis.arithmetic.accumulators import Acc, cleared, is_empty, merge_acc
from streams.kpis.folding.partials import Partial, decode_partial, encode_partial
from streams.kpis.language import lengths
from streams.kpis.language.series import OTHER, parse_series, rest_key, series_key
from streams.kpis.rolling import retention, throttle
from streams.kpis.rolling.admission import NEW_BYTES, SeriesLimits
from streams.kpis.rolling.merge import MergeState
from streams.kpis.rolling.outputs import MinuteRow, RollingSum

WINDOWS = ("1m", "3m", "10m", "2h", "5h")
LENGTHS = {"1m": 1, "3m": 3, "10m": 10, "2h": 120, "5h": 300, "total": None}
FINE = 10
AHEAD = series_key("later", (("channel", "web"),))
"""Counted 25 minutes after it happens."""
SOURCES = ("web/0", "app/1", "store/0")
CAP = 3
BUDGET = 12 * NEW_BYTES
SERIES: list[tuple[str, Acc]] = [
    (series_key("csat"), [1, 1]),
    *((series_key("csat", (("channel", name),)), [2, 1]) for name in ("web", "app", "store", "kiosk", "email")),
    (series_key("csat", (("channel", OTHER),)), [1, 0]),
    (series_key("late_hits"), [0, 1]),
    (series_key("aht"), [1, 7000, 49_000_000]),
    (series_key("amount"), [1, 1 << 40, 1 << 80]),
    (series_key("wait_p90"), {-1: 1, 300: 2}),
    (series_key("wait_p90", (("channel", "web"),)), {301: 1}),
    (series_key("silence"), [0, 0]),
    (AHEAD, [1, 1]),
]


@pytest.fixture(scope="module", autouse=True)
def short_days() -> Iterator[None]:
    """Have minutes become hours after ten of them, so that a run of hours sees it often."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (lengths, retention):
            patch.setattr(module, "FINE_MINUTES", FINE)
        yield


@pytest.fixture(scope="module", autouse=True, params=[1, 1_000], ids=["under pressure", "at ease"])
def rows_a_second(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have few rows be too many, so that minutes and windows are published apart."""
    with pytest.MonkeyPatch.context() as patch:
        for name, times in {"_MINUTES_PER_S": 4, "_SHORT_PER_S": 2, "_LONG_PER_S": 1}.items():
            patch.setattr(throttle, name, times * request.param)
        yield


class World:
    """Producers, one topic, one changelog, one consumer."""

    def __init__(self) -> None:
        self.topic: list[bytes] = []
        self.sent: dict[str, list[int]] = defaultdict(list)
        self.next_record = dict.fromkeys(SOURCES, 0)
        self.minute = 1000
        self.now = 5_000_000.0
        self.changelog: list[tuple[bytes, bytes | None]] = []
        self.minutes: list[MinuteRow] = []
        self.values: list[RollingSum] = []
        self.ahead: list[tuple[str, tuple[int, int], int, Acc | None]] = []
        """Series, its newest minutes, offset, and what has come of them by then."""
        self.state = self.fresh()
        self.position = 0
        self.crashes = 0
        self.written: Counter[bytes] = Counter()
        self.routed: dict[tuple[int, int, str], str] = {}
        """Which series took what an offset brought for a minute of another, when it was last applied."""
        self.ever_left: set[str] = set()
        self.ever_returned: set[str] = set()

    def fresh(self) -> MergeState:
        return MergeState(
            windows=WINDOWS,
            slack_minutes=2,
            idle_s=30,
            grace_s=5,
            expected=SOURCES,
            open_every_s=2,
            limits=SeriesLimits(lambda _: CAP, budget=BUDGET),
            delayed={"later"},
        )

    def send(self, source: str, picks: list[tuple[int, int]], *, behind: int, caught_up: bool, ranged: int) -> None:
        deltas: dict[int, dict[str, Acc]] = {}
        for which, back in picks:
            key, acc = SERIES[which]
            series = deltas.setdefault(self.minute - behind - back + (25 if key == AHEAD else 0), {})
            if key in series:
                merge_acc(series[key], acc)
            else:
                series[key] = copy.copy(acc)
        first = self.next_record[source]
        self.next_record[source] = first + ranged
        partial = Partial(
            source=source,
            first=first,
            last=first + ranged - 1,
            watermark=(self.minute - behind) * 60.0 - 60 if picks or first else None,
            caught_up=caught_up,
            deltas=deltas if ranged else {},
        )
        self.sent[source].append(len(self.topic))
        self.topic.append(encode_partial(partial))

    def send_again(self, source: str, back: int) -> None:
        if self.sent[source]:
            self.topic.append(self.topic[self.sent[source][-1 - back % len(self.sent[source])]])

    def consume(self, count: int) -> None:
        for _ in range(min(count, len(self.topic) - self.position)):
            partial = decode_partial(self.topic[self.position])
            if self.state.apply(partial, self.position):
                self.note(partial)
            self.position += 1

    def note(self, partial: Partial) -> None:
        registry = self.state.registry
        for minute, series in partial.deltas.items():
            for key in series:
                kpi, labels = parse_series(key)
                rest = rest_key(kpi, [name for name, _ in labels])
                self.routed[self.position, minute, key] = key if key in registry.numbers else rest
        left = {registry.names[number] for number in registry.left}
        self.ever_returned |= self.ever_left - left
        self.ever_left |= left

    def flush(self, crash: float | None) -> None:
        """Go through the steps of a flush; `crash` is the share of its writes that survives."""
        records = self.state.dirty_records()
        outputs = self.state.drain_outputs(self.now)
        if (view := self.state.open_minutes(self.now)) is not None:
            newest = view.closed.minute + view.ahead
            for key in self.state.registry.names:
                acc = copy.copy(view.latest(key, view.ahead + 1))
                self.ahead.append((key, (view.closed.minute, newest), self.position - 1, acc))
        rows = [*outputs.minutes, *outputs.values]
        marker = self.state.marker()
        steps: list[Any] = [*records, *rows, marker]
        survived = len(steps) if crash is None else round(crash * (len(steps) - 1))
        for step in steps[:survived]:
            if isinstance(step, MinuteRow):
                self.minutes.append(step)
            elif isinstance(step, RollingSum):
                self.values.append(step)
            else:
                self.changelog.append(step)
                self.written[step[0][:1]] += 1
        if crash is not None:
            self.restart()

    def restart(self) -> None:
        self.crashes += 1
        self.state = self.fresh()
        self.state.restore(self.changelog)
        self.position = self.state.fence + 1

    def compact(self) -> None:
        latest = dict(self.changelog)
        self.changelog = [(key, value) for key, value in latest.items() if value is not None]

    def finish(self) -> None:
        for source in SOURCES:
            self.send(source, [], behind=0, caught_up=True, ranged=1)
        self.consume(len(self.topic))
        for rounds in count():
            self.now += 3
            self.flush(None)
            if rounds > 1 and not self.state.unpublished:
                break
            assert rounds < 1000, "all is published in the end, however many rows there are"


def contributions(topic: list[bytes], routed: dict[tuple[int, int, str], str]) -> list[tuple[int, int, str, Acc]]:
    """Offset, minute, series and accumulator of everything that counts, worked out the slow way."""
    found: list[tuple[int, int, str, Acc]] = []
    seen: set[tuple[str, int]] = set()
    for offset, record in enumerate(topic):
        partial = decode_partial(record)
        if (partial.source, partial.first) in seen or partial.first > partial.last:
            continue
        seen.add((partial.source, partial.first))
        for minute, series in partial.deltas.items():
            for key, acc in series.items():
                if is_empty(acc):
                    continue
                whose = routed[offset, minute, key]
                kpi, labels = parse_series(key)
                assert whose in {key, rest_key(kpi, [name for name, _ in labels])}
                found.append((offset, minute, whose, acc))
    return found


class Naive:
    def __init__(self, topic: list[bytes], routed: dict[tuple[int, int, str], str]) -> None:
        self.by_series: dict[str, list[tuple[int, int, Acc]]] = defaultdict(list)
        for offset, minute, key, acc in contributions(topic, routed):
            self.by_series[key].append((offset, minute, acc))

    def sum(self, key: str, minutes: tuple[int, int], offsets: tuple[int, int]) -> Acc:
        total = cleared(self.by_series[key][0][2])
        for offset, minute, acc in self.by_series[key]:
            if minutes[0] <= minute <= minutes[1] and offsets[0] <= offset <= offsets[1]:
                merge_acc(total, acc)
        return total

    def window(self, key: str, name: str, as_of: int, offset: int) -> Acc:
        length = LENGTHS[name]
        first = -(10**9) if length is None else as_of - length + 1
        if length is not None and length > FINE:
            first -= first % 60
        return self.sum(key, (first, as_of), (0, offset))


def check(world: World) -> None:
    naive = Naive(world.topic, world.routed)
    end = len(world.topic)
    closed = world.state.closed

    parts: dict[tuple[str, int], dict[int, MinuteRow]] = defaultdict(dict)
    for row in world.minutes:
        expected = naive.sum(row.series, (row.minute, row.minute), (row.part, row.revision))
        assert row.acc == expected, f"a row of a minute holds what came from its part to its revision: {row}"
        known = parts[row.series, row.minute].get(row.part)
        if known is None or row.revision >= known.revision:
            parts[row.series, row.minute][row.part] = row
    for key, history in naive.by_series.items():
        for minute in {minute for _, minute, _ in history}:
            total = cleared(history[0][2])
            for row in parts[key, minute].values():
                merge_acc(total, row.acc)
            assert total == naive.sum(key, (minute, minute), (0, end)), f"{key!r} of minute {minute}"

    for series, minutes, offset, acc in world.ahead:
        if series not in world.ever_left and series in naive.by_series:
            expected = naive.sum(series, minutes, (0, offset))
            assert (acc is None and is_empty(expected)) or acc == expected, (series, minutes, acc)

    last: dict[tuple[str, str], RollingSum] = {}
    totals: dict[str, RollingSum] = {}
    at_key: dict[tuple[str, str, int], RollingSum] = {}
    for value in world.values:
        as_of = value.at // 60 - 1
        if any(value.acc) or value.series not in world.ever_left:
            expected = naive.window(value.series, value.window, as_of, value.revision // 2)
            assert value.acc == expected, f"a value holds what its window held at its revision: {value}"
        best = at_key.get((value.series, value.window, value.at))
        if best is None or value.revision >= best.revision:
            at_key[value.series, value.window, value.at] = value
        if value.window == "total":
            totals[value.series] = max(totals.get(value.series, value), value, key=lambda row: (row.at, row.revision))
        if value.maturity == "closed":
            newest = last.get((value.series, value.window))
            if newest is None or (value.at, value.revision) >= (newest.at, newest.revision):
                last[value.series, value.window] = value
    left = {world.state.registry.names[number] for number in world.state.registry.left}
    for key in left:
        row = max((v for v in world.values if v.series == key and v.window == "total"),
                  key=lambda row: (row.at, row.revision), default=None)  # fmt: skip
        assert row is None or not any(row.acc), f"the newest total of {key}, which gave way, holds nothing"
    held = [key for key in naive.by_series if key not in left]
    for key in held:
        for window in LENGTHS:
            if closed is None:
                break
            expected = naive.window(key, window, closed, end)
            row = at_key.get((key, window, (closed + 1) * 60))
            ended = last.get((key, window))
            if ended is not None:
                then = naive.window(key, window, ended.at // 60 - 1, end)
                same = ended.acc == then or (is_empty(ended.acc) and is_empty(then))
                assert same, (key, window, "newest row", ended, then)
            if window == "total" or is_empty(expected):
                same = ended and (ended.acc == expected or (is_empty(ended.acc) and is_empty(expected)))
                assert same if ended else is_empty(expected), (key, window, "last row", ended, expected, closed)
            else:
                assert row is not None, (key, window, "missing")
                assert row.acc == expected, (key, window, "as of the newest closed minute")
    for key, row in totals.items():
        if key in left:
            continue
        # Whatever else was published of it, this is the row that is read.
        reach = max(row.at // 60 - 1, -1 if closed is None else closed)
        assert row.acc == naive.window(key, "total", reach, end), (key, "the newest total")
    begun = [m for key, history in naive.by_series.items() if key != AHEAD for _, m, _ in history]
    newest_minute = max(begun, default=None)
    if newest_minute is not None and (closed is None or newest_minute > closed):
        for key in held:
            history = naive.by_series[key]
            if any(minute == newest_minute for _, minute, _ in history):
                for window in LENGTHS:
                    row = at_key[key, window, (newest_minute + 1) * 60]
                    assert row.acc == naive.window(key, window, newest_minute, end), (key, window, "open")


PICKS = st.lists(
    st.tuples(st.integers(0, len(SERIES) - 1), st.one_of(st.integers(0, 2), st.integers(0, 40))), max_size=5
)
ACTIONS = st.one_of(
    st.tuples(
        st.just("send"),
        st.sampled_from(SOURCES),
        PICKS,
        st.sampled_from([0, 0, 0, 1, 5]),
        st.booleans(),
        st.sampled_from([0, 1, 1, 2, 7]),
    ),
    st.tuples(st.just("again"), st.sampled_from(SOURCES), st.integers(0, 3)),
    st.tuples(st.just("consume"), st.integers(1, 6)),
    st.tuples(st.just("flush"), st.one_of(st.none(), st.floats(0, 1))),
    st.tuples(st.just("flush"), st.none()),
    st.tuples(st.just("pass"), st.sampled_from([0, 1, 1, 1, 2, 15, 1_000_000]), st.sampled_from([0.5, 3, 40, 300])),
    st.tuples(st.just("compact")),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTIONS, max_size=60))
def test_outputs_equal_a_recomputation_whatever_crashes(actions: list[tuple[Any, ...]]) -> None:
    """After any sequence of crashes, repetitions and late data, the rows that win say what the partials say."""
    world = World()
    for action, *arguments in actions:
        match action:
            case "send":
                source, picks, behind, caught_up, ranged = arguments
                world.send(source, picks, behind=behind, caught_up=caught_up, ranged=ranged)
            case "again":
                world.send_again(*arguments)
            case "consume":
                world.consume(*arguments)
            case "flush":
                world.flush(*arguments)
            case "pass":
                world.minute += arguments[0]
                world.now += arguments[1]
            case "compact":
                world.compact()
    world.finish()
    check(world)


@pytest.mark.parametrize("seed", range(6))
def test_long_runs_with_every_crash_point(seed: int) -> None:
    """A run of hours, in which minutes are evicted and come back, ends right although each flush may be the last."""
    import random

    chance = random.Random(seed)
    world = World()
    for step in range(300):
        favourite = 1 + step // 30 % 5  # channels have their times: series give way, and come back
        world.minute += chance.choice([0, 0, 0, 1, 1, 1, 2, 30])
        world.now += chance.choice([0.5, 1, 5, 60])
        for _ in range(chance.randrange(4)):
            picks = [(chance.randrange(len(SERIES)), int(chance.expovariate(0.2))) for _ in range(chance.randrange(6))]
            picks += [(favourite, 0)] * chance.randrange(12)
            world.send(
                chance.choice(SOURCES),
                picks,
                behind=chance.choice([0, 0, 3]),
                caught_up=True,
                ranged=chance.choice([0, 1, 3]),
            )
        if chance.random() < 0.1:
            world.send_again(chance.choice(SOURCES), chance.randrange(3))
        world.consume(chance.randrange(6))
        world.flush(chance.random() if chance.random() < 0.15 else None)
        if chance.random() < 0.1:
            world.compact()
    world.finish()
    check(world)
    assert world.crashes > 10
    assert world.ever_returned, "series gave way and came back"
    assert len({row.part for row in world.minutes}) > 50
    assert world.written[b"h"] > 15
    assert world.written[b"b"] > 5
