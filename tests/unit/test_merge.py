"""The merge state step by step: what holds minutes open, what is published when, and what each record is for."""

from __future__ import annotations

import msgspec
import pytest

from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.folding.partials import Partial, decode_partial, encode_partial
from streams.kpis.language.series import series_key
from streams.kpis.rolling import merge as merge_module
from streams.kpis.rolling.admission import Registry, SeriesLimits
from streams.kpis.rolling.journal import marker_record, read_back
from streams.kpis.rolling.merge import MergeState
from streams.kpis.rolling.outputs import VALUE_FORM
from streams.kpis.rolling.packing import add_up, decode, pack, unpack

CSAT = series_key("csat")
WEB = series_key("csat", (("channel", "web"),))


def partial(records: tuple[int, int], deltas, *, source="web/0", watermark=0.0, caught_up=True) -> Partial:
    return Partial(
        source=source, first=records[0], last=records[1], watermark=watermark, caught_up=caught_up, deltas=deltas
    )


def state(**settings) -> MergeState:
    return MergeState(**{"windows": ("1m", "5m"), "slack_minutes": 1, "idle_s": 30, "open_every_s": 2} | settings)


def flush(merge: MergeState, now: float, changelog: dict[bytes, bytes] | None = None):
    for key, value in merge.dirty_records():
        if changelog is not None:
            if value is None:
                changelog.pop(key, None)
            else:
                changelog[key] = value
    outputs = merge.drain_outputs(now)
    key, value = merge.marker()
    if changelog is not None:
        changelog[key] = value
    return outputs


def values(outputs, maturity: str) -> dict[tuple[str, int], Acc]:
    return {(row.window, row.at): row.acc for row in outputs.values if row.maturity == maturity}


def test_a_minute_is_open_then_closed_then_silent() -> None:
    merge = state()
    merge.apply(partial((0, 9), {100: {CSAT: [10, 8]}}, watermark=100 * 60), 0)
    first = flush(merge, 1)
    assert [tuple(row) for row in first.minutes] == [(CSAT, 100, 0, [10, 8], 0)]
    assert values(first, "open") == {(window, 6060): [10, 8] for window in ("1m", "5m", "total")}
    merge.apply(partial((10, 19), {101: {CSAT: [1, 1]}}, watermark=101.5 * 60), 1)
    second = flush(merge, 2)
    assert values(second, "closed") == {(window, 6060): [10, 8] for window in ("1m", "5m", "total")}
    assert values(second, "open") == {("total", 6120): [11, 9]}, (
        "open windows wait for their interval, the total cannot"
    )
    assert merge.closed == 100
    for minute in range(102, 108):
        merge.apply(partial((minute * 10, minute * 10 + 9), {}, watermark=(minute + 1) * 60), minute)
        last = flush(merge, minute)
    assert values(last, "closed") == {}
    assert merge.closed == 107


def test_what_waits_for_a_flush_is_counted_in_totals() -> None:
    merge = state()
    merge.apply(partial((0, 9), {100: {CSAT: [10, 8], WEB: [4, 3]}, 101: {CSAT: [1, 1]}}), 0)
    merge.apply(partial((10, 19), {100: {CSAT: [2, 1]}}), 1)
    assert merge.collected == 3
    flush(merge, 1)
    assert merge.collected == 0


@pytest.mark.parametrize("most", [8, 9])
def test_history_reaches_windows_before_it_is_published_when_there_is_much_of_it(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """A flush that publishes must not find all at once what came since the one before; the rows are the same."""
    monkeypatch.setattr(merge_module, "_UNSEEN", most)
    merge = state()
    merge.apply(partial((0, 0), {100: {CSAT: [1, 1]}}, watermark=101 * 60, caught_up=False), 0)
    assert flush(merge, 0).minutes
    history = {minute: {CSAT: [1, minute]} for minute in range(101, 110)}
    merge.apply(partial((1, 1), history, watermark=110 * 60, caught_up=False), 1)
    between = flush(merge, 0)
    assert merge.closed == (109 if most < len(history) else 100)
    assert not between.values
    assert {row.minute for row in between.minutes} == (history.keys() if most < len(history) else set())
    last = flush(merge, 20)
    assert values(last, "closed") == {("1m", 6600): [1, 109], ("5m", 6600): [5, 535], ("total", 6600): [10, 946]}
    assert {row.minute for row in [*between.minutes, *last.minutes]} == history.keys()


def test_a_series_that_falls_silent_ends_with_one_empty_row() -> None:
    merge = state()
    merge.apply(partial((0, 0), {100: {CSAT: [1, 1]}}, watermark=101 * 60), 0)
    rows = []
    for step in range(10):
        merge.apply(partial((step + 1, step + 1), {}, watermark=(101 + step) * 60), step + 1)
        rows += [(row.at // 60 - 1, row.acc) for row in flush(merge, step).values if row.window == "5m"]
    assert rows == [(100, [1, 1]), (101, [1, 1]), (102, [1, 1]), (103, [1, 1]), (104, [1, 1]), (105, [0, 0])]


def test_late_data_revises_what_was_closed() -> None:
    merge = state()
    merge.apply(partial((0, 0), {100: {CSAT: [1, 1]}}, watermark=102 * 60), 0)
    before = flush(merge, 1)
    merge.apply(partial((1, 1), {99: {CSAT: [1, 0]}}, watermark=102 * 60), 1)
    after = flush(merge, 2)
    late = {("1m", 6120): [0, 0], ("5m", 6120): [2, 1], ("total", 6120): [2, 1]}
    assert values(after, "closed") == late, "of 1m nothing may have been said since it held the minute"
    assert [tuple(row) for row in after.minutes] == [(CSAT, 99, 1, [1, 0], 1)]
    assert min(row.revision for row in after.values) > max(row.revision for row in before.values)


def test_open_minutes_are_published_at_intervals_and_closed_ones_at_once() -> None:
    merge = state(open_every_s=10)
    published = []
    for second in range(30):
        merge.apply(partial((second, second), {100: {CSAT: [1, 1]}}, watermark=100 * 60), second)
        published += [second for _ in flush(merge, second).minutes]
    assert published == [0, 5, 10, 15, 20, 25], "in half the time between windows"
    merge.apply(partial((30, 30), {}, watermark=102 * 60), 30)
    assert [row.acc for row in flush(merge, 29.5).minutes] == [[30, 30]]


def totals(outputs, series: str = CSAT) -> list[tuple[int, Acc, str]]:
    return [
        (row.at // 60 - 1, row.acc, row.maturity)
        for row in outputs.values
        if row.window == "total" and row.series == series
    ]


def test_an_open_total_is_put_right_by_the_minute_that_passes_it() -> None:
    """Of a total the row as of the newest minute is read: what came late must be in that one, and in it once."""
    merge = state()
    merge.apply(partial((0, 0), {93: {CSAT: [2, 1]}, 95: {"other": [1, 1]}}, watermark=94 * 60), 0)
    assert totals(flush(merge, 0)) == [(93, [2, 1], "closed"), (95, [2, 1], "open")]
    merge.apply(partial((1, 1), {94: {CSAT: [2, 1]}}, watermark=99 * 60), 1)
    assert totals(flush(merge, 1)) == [(94, [4, 2], "closed"), (95, [4, 2], "closed")]
    assert merge.closed == 98


@pytest.mark.parametrize("crashes", [False, True])
def test_an_open_total_is_put_right_though_the_minute_that_passes_it_is_published_later(
    monkeypatch: pytest.MonkeyPatch, *, crashes: bool
) -> None:
    """A late event revises a closed minute, while others are closed that are not due yet: its total must not be lost."""
    monkeypatch.setattr(merge_module, "_UNSEEN", 0)
    changelog: dict[bytes, bytes] = {}
    merge = state()
    first = {93: {CSAT: [2, 1]}, 95: {"other": [1, 1]}}
    merge.apply(partial((0, 0), first, watermark=94 * 60, caught_up=False), 0)
    assert totals(flush(merge, 0, changelog)) == [(93, [2, 1], "closed"), (95, [2, 1], "open")]
    late = {93: {CSAT: [2, 1]}, 94: {"other": [1, 1]}}
    merge.apply(partial((1, 1), late, watermark=99 * 60, caught_up=False), 1)
    assert totals(flush(merge, 0, changelog)) == [(93, [4, 2], "closed")]
    assert merge.closed == 98
    if crashes:
        merge = state()
        merge.restore(changelog.items())
    merge.apply(partial((2, 2), {}, watermark=99 * 60, caught_up=False), 2)
    assert max(totals(flush(merge, 20, changelog))) == (98, [4, 2], "closed")


def test_totals_are_published_anew_by_a_version_that_makes_other_values_of_them() -> None:
    """Of series that nothing comes for as well, once, and under a higher revision, though it is stopped in between."""
    changelog: dict[bytes, bytes] = {}
    merge = state()
    merge.apply(partial((0, 0), {100: {CSAT: [2, 1], WEB: [1, 1]}}, watermark=120 * 60), 0)
    before = [row.revision for row in flush(merge, 0, changelog).values if row.window == "total"]
    marker = read_back(changelog.items()).marker
    key, changelog[key] = marker_record(msgspec.structs.replace(marker, form=VALUE_FORM - 1))
    for _ in range(2):
        merge = state()
        merge.restore(changelog.items())
        merge.apply(partial((0, 0), {100: {CSAT: [2, 1], WEB: [1, 1]}}, watermark=120 * 60), 0)
        assert flush(merge, 1, changelog).values == [], "it would have the revision of what it replaces"
    merge.apply(partial((1, 0), {}, watermark=120 * 60), 1)
    again = flush(merge, 2, changelog)
    assert totals(again) == [(119, [2, 1], "closed")]
    assert totals(again, WEB) == [(119, [1, 1], "closed")]
    assert min(row.revision for row in again.values) > max(before)
    merge.apply(partial((1, 0), {}, watermark=120 * 60), 2)
    assert flush(merge, 3, changelog).values == []


def test_an_open_total_does_not_wait_when_an_earlier_one_is_told_anew() -> None:
    """Who takes over after a crash knows of no late event any more whose minute was published."""
    changelog: dict[bytes, bytes] = {}
    merge = state()
    merge.apply(partial((0, 0), {93: {CSAT: [2, 1]}, 95: {"other": [1, 1]}}, watermark=94 * 60), 0)
    flush(merge, 0, changelog)
    merge.apply(partial((1, 1), {93: {CSAT: [2, 1]}}, watermark=94 * 60), 1)
    assert totals(flush(merge, 1, changelog)) == [(93, [4, 2], "closed"), (95, [4, 2], "open")]
    after = state()
    after.restore(changelog.items())
    after.apply(partial((2, 2), {}, watermark=99 * 60), 2)
    assert totals(flush(after, 2)) == []


def test_what_closes_a_minute_is_known_before_it_is_closed() -> None:
    merge = state(expected=("web/0", "app/0"))
    merge.apply(partial((0, 0), {100: {CSAT: [1, 1]}}, watermark=101 * 60), 0)
    merge.apply(partial((0, 0), {}, source="app/0", watermark=101 * 60), 1)
    assert not merge.closes(101 * 60), "nothing is closed yet: it may still be starting"
    flush(merge, 101 * 60)
    assert merge.closed == 100
    merge.apply(partial((1, 1), {}, watermark=102 * 60 + 1), 2)
    assert not merge.closes(101 * 60 + 29), "one source is not that far"
    merge.apply(partial((1, 1), {}, source="app/0", watermark=102 * 60), 3)
    assert merge.closes(102 * 60)
    assert not merge.closes(110 * 60), "history may wait"
    flush(merge, 102 * 60)
    assert merge.closed == 101
    assert not merge.closes(102 * 60)
    merge.apply(partial((2, 2), {}, watermark=103 * 60), 4)
    assert not merge.closes(102 * 60 + 29), "one was heard a moment ago"
    assert merge.closes(102 * 60 + 30), "who is idle holds no minute open"


def test_open_values_wait_until_sources_have_caught_up() -> None:
    merge = state()
    merge.apply(partial((0, 0), {100: {CSAT: [1, 1]}}, caught_up=False), 0)
    assert values(flush(merge, 0), "open") == {}
    assert merge.unpublished, "nothing is finished before they are out"
    merge.apply(partial((1, 0), {}, caught_up=True), 1)
    assert values(flush(merge, 20), "open")["1m", 6060] == [1, 1]
    assert not merge.unpublished


def test_repeated_partials_are_ignored() -> None:
    merge = state()
    assert merge.apply(partial((0, 9), {100: {CSAT: [1, 1]}}), 0)
    assert not merge.apply(partial((0, 9), {100: {CSAT: [1, 1]}}), 1)
    assert merge.repeats == 1
    assert flush(merge, 1).minutes[0].acc == [1, 1]


def test_a_source_whose_ranges_contradict_each_other_is_stopped_for_good_and_alone() -> None:
    changelog: dict[bytes, bytes] = {}
    merge = state()
    assert merge.apply(partial((0, 9), {100: {CSAT: [1, 1]}}, watermark=101 * 60), 0)
    assert not merge.apply(partial((5, 14), {100: {CSAT: [1, 1]}}, watermark=101 * 60), 1)
    assert merge.stopped == {"web/0": "records 5 to 14 came at offset 1, but those up to 9 are counted"}
    flush(merge, 1, changelog)
    merge = state()
    merge.restore(changelog.items())
    assert not merge.apply(partial((15, 20), {100: {CSAT: [1, 1]}}, watermark=101 * 60), 2)
    assert merge.apply(partial((0, 9), {100: {CSAT: [1, 0]}}, source="app/0", watermark=110 * 60), 3)
    outputs = flush(merge, 110 * 60)
    assert outputs.minutes[-1].acc == [2, 1], "the others are counted"
    merge.apply(partial((10, 9), {}, source="app/0", watermark=111 * 60), 4)
    flush(merge, 110 * 60 + 31)
    assert merge.closed == 110, "nobody waits for a source that has stopped"


def test_a_changed_aggregator_is_refused() -> None:
    merge = state()
    merge.apply(partial((0, 0), {100: {CSAT: [1, 1]}}), 0)
    with pytest.raises(ValueError, match="cannot merge 3 fields into 2"):
        merge.apply(partial((1, 1), {100: {CSAT: [1, 1, 1]}}), 1)


def test_an_evicted_minute_that_comes_back_is_another_part() -> None:
    merge, changelog = state(), {}
    for step, minute in enumerate((100, 200, 100, 201)):
        merge.apply(partial((step, step), {minute: {CSAT: [1, 1]}}, watermark=(minute + 2) * 60), step)
        outputs = flush(merge, step, changelog)
        if minute == 100:
            assert [tuple(row) for row in outputs.minutes] == [(CSAT, 100, step, [1, 1], step)]
        flush(merge, step, changelog)
    assert sorted(key for key in changelog if key.startswith(b"p/")) == [b"p/200/0/1", b"p/201/0/3"]
    assert unpack(changelog[b"b/0"]) == {0: [2, 2]}
    again = state()
    again.restore(changelog.items())
    again.apply(partial((4, 4), {201: {CSAT: [1, 0]}}, watermark=203 * 60), 4)
    assert values(flush(again, 9), "closed")["total", 202 * 60 + 60] == [5, 4]


def test_windows_survive_a_quiet_time_in_which_minutes_are_evicted() -> None:
    """With all sources silent time goes on; open windows must not remember minutes that nobody can subtract."""
    merge = state(idle_s=5)
    merge.apply(partial((0, 0), {minute: {CSAT: [1, 1]} for minute in range(96, 101)}, watermark=101 * 60), 0)
    now = 0
    while merge.closed != 103:
        flush(merge, now)
        now += 10
    flush(merge, now)
    assert [page.minute for page in merge.pages] == [98, 99, 100]
    merge.apply(partial((1, 1), {104: {CSAT: [2, 2]}}, watermark=104 * 60), 1)
    assert values(flush(merge, now + 12), "open") == {
        ("1m", 105 * 60): [2, 2],
        ("5m", 105 * 60): [3, 3],
        ("total", 105 * 60): [7, 7],
    }


def test_nothing_is_published_until_a_replay_has_caught_up_with_saved_pages() -> None:
    merge, changelog = state(), {}
    topic = [partial((n, n), {100: {CSAT: [1, 1]}}, watermark=102 * 60) for n in range(4)]
    merge.apply(topic[0], 0)
    flush(merge, 0, changelog)
    for offset in (1, 2, 3):
        merge.apply(topic[offset], offset)
    changelog.update(merge.dirty_records())  # and here it dies: pages are ahead of the marker
    again = state()
    again.restore(changelog.items())
    assert (again.fence, again.replaying) == (0, True)
    for offset in (1, 2):
        again.apply(topic[offset], offset)
        assert flush(again, 5).minutes == []
        assert again.fence == 0
    again.apply(topic[3], 3)
    outputs = flush(again, 5)
    assert [tuple(row) for row in outputs.minutes] == [(CSAT, 100, 0, [4, 4], 3)]
    assert values(outputs, "closed")["total", 102 * 60] == [4, 4]
    assert again.fence == 3


def test_pages_a_base_has_taken_in_are_not_counted_again_however_often_tombstones_are_lost() -> None:
    """Twice a crash falls between a base and the tombstones; in between retention got shorter."""
    merge, changelog = state(), {}
    for step, minute in enumerate((100, 101, 200)):
        merge.apply(partial((step, step), {minute: {CSAT: [1, 1]}}, watermark=(minute + 2) * 60), step)
    flush(merge, 0, changelog)
    for taken_in, dying in ((2, merge), (3, state(windows=("1m",), slack_minutes=0))):
        if dying is not merge:
            dying.restore(changelog.items())
        records = dying.dirty_records()
        assert [(key, value is None) for key, value in records] == [
            (b"b/0", False),
            *((b"p/%d/0/%d" % name, True) for name in ((100, 0), (101, 1), (200, 2))[:taken_in]),
        ]
        changelog.update(records[:1])
        assert unpack(changelog[b"b/0"]) == {0: [taken_in, taken_in]}
    last = state()
    last.restore(changelog.items())
    last.apply(partial((3, 3), {201: {CSAT: [1, 1]}}, watermark=203 * 60), 3)
    assert values(flush(last, 9), "closed")["total", 202 * 60] == [4, 4]


def test_foreign_and_incomplete_records_are_refused() -> None:
    with pytest.raises(ValueError, match="none of a merge partition"):
        state().restore([(b"x/1", b"")])
    registry = Registry(SeriesLimits(lambda _: 1))
    with pytest.raises(ValueError, match="series shard 1 found after 0 series"):
        registry.restore({1: ["a"]})


@pytest.mark.parametrize(
    "totals",
    [
        {},
        {3: [1], 2047: [7, 300, -5]},
        {0: [1, 1 << 63, 5], 1: [1, -(1 << 70), 5], 2: [1, 2, 3], 4: {1: 1}},
        {1: [(1 << 63) - 1, -(1 << 63)], 2: [1, 1]},
        {1: [1 << 61, -(1 << 61)], 3: [1, 1]},
        {5: {-1: 4, 0: 1, 1837: 1 << 40}, 6: {700: 1}, 9: [2, 1]},
    ],
)
def test_packing_loses_nothing(totals) -> None:
    packed = pack(totals, 42, [(1, 2, 3)])
    assert unpack(packed) == totals
    assert (decode(packed).fence, decode(packed).absorbed) == (42, [(1, 2, 3)])
    assert add_up([packed] * 9, 2048) == {
        number: [9 * v for v in acc] if isinstance(acc, list) else {i: 9 * c for i, c in acc.items()}
        for number, acc in totals.items()
    }


def test_a_thousand_series_take_a_few_bytes_each() -> None:
    totals = {number: [20 + number % 7, 3 + number % 5] for number in range(1024)}
    assert len(pack(totals)) < 4 * 1024


def test_partials_travel_whole_even_with_squares_beyond_64_bits() -> None:
    sent = partial((0, 1), {5: {CSAT: [1, 2], WEB: {3: 4}, "amount": [1, 1 << 50, 1 << 100]}}, watermark=None)
    assert decode_partial(encode_partial(sent)) == sent
    common = partial((0, 1), {5: {CSAT: [1, 2], WEB: {3: 4}}}, watermark=1.5)
    assert decode_partial(encode_partial(common)) == common


@pytest.mark.slow
def test_a_partial_of_scattered_history_stays_far_below_what_a_client_sends():
    """Every event of a range in a minute of its own, with dozens of series: still a record that Kafka takes."""
    deltas = {minute: {f"kpi{number}\x1fchannel\x1fweb": [1, 1] for number in range(40)} for minute in range(10_000)}
    partial = Partial(source="web/0", first=0, last=9_999, watermark=1.0, caught_up=False, deltas=deltas)

    record = encode_partial(partial)

    assert len(record) < 1 << 20
    assert decode_partial(record) == partial


def test_totals_hold_what_was_counted_before_any_minute_had_begun() -> None:
    """What is counted ahead begins no minute; the first that begins finds the old pages gone."""
    ahead = series_key("range_records")
    merge = state(delayed={"range_records"})
    for step in range(4):
        minute = 100 + 20_000 * step
        merge.apply(partial((10 * step, 10 * step + 9), {minute: {ahead: [10, 0]}}, watermark=(minute + 2) * 60), step)
        flush(merge, 100.0 * step)
    merge.apply(partial((40, 49), {60_110: {CSAT: [1, 1], ahead: [10, 0]}}, watermark=60_110 * 60), 4)
    rows = [row for row in flush(merge, 1000).values if row.window == "total" and row.maturity == "open"]
    assert {row.series: row.acc for row in rows} == {CSAT: [1, 1], ahead: [50, 0]}
