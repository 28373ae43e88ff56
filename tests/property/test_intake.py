"""The intake's decisions: outcomes add up, repeat exactly, and do not depend on how fetches were cut."""

import json
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from streams.events.dedup import SOURCE_BITS, SeenIds, Segment, digest, key_of, write_keys
from streams.events.intake import FrozenRange, Intake, Outcome
from streams.events.limits import RecordLimits

NOON = datetime(2026, 3, 21, 12, tzinfo=UTC)
NOW = NOON.timestamp()


def record(number: int, at: datetime = NOON) -> bytes:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"e{number}",
            "source": "test",
            "type": "cx.session.started",
            "time": at.isoformat(),
            "subject": "c1",
            "channel": "web",
            "data": {},
        }
    ).encode()


BITS = SOURCE_BITS["/a"]


def segment(
    place: int, keys: list[int], newest: float, *, first: int | None = None, last: int | None = None
) -> Segment:
    """Give a segment of events of one source, whose contents are the lower halves of their keys."""
    written = write_keys(keys, [BITS] * len(keys), [key & 0xFFFFFFFF for key in keys])
    return Segment(
        place if first is None else first, place if last is None else last, written.ids, newest, written.marks
    )


def make(retention_s: float = 3600, dedup_ids: int = 1000) -> Intake:
    return Intake("web/0", retention_s=retention_s, dedup_ids=dedup_ids)


def close(intake: Intake) -> Outcome:
    outcome = intake.close()
    assert outcome is not None
    return outcome


def test_every_record_has_one_outcome():
    """Good, repeated, late, future, ancient and broken records end as exactly one outcome each."""
    intake = make()
    values = [
        record(1),
        record(1),
        record(2, NOON - timedelta(hours=2)),
        record(3, NOON + timedelta(minutes=11)),
        record(4, datetime(1989, 1, 1, tzinfo=UTC)),
        b"{",
        None,
        record(5),
    ]
    intake.add(values, range(10, 18), NOW)

    outcome = close(intake)

    assert msgspec.structs.astuple(outcome.tally) == (8, 2, 1, 1, 4, 0)
    assert [event.id for event in outcome.counted] == ["e1", "e5"]
    assert outcome.offsets == [10, 12, 17]
    assert outcome.late_offsets == [12]
    assert [(bad.offset, bad.refusal.reason) for bad in outcome.bad] == [
        (13, "time_in_future"),
        (14, "time_too_old"),
        (15, "not_json"),
        (16, "null_record"),
    ]
    assert [bad.payload for bad in outcome.bad[2:]] == [b"{", b""]


def test_a_clock_that_runs_ahead_does_not_advance_the_watermark_beyond_now():
    """A device nine minutes ahead is counted, but minutes that are still filling stay open."""
    intake = make()
    intake.add([record(1, NOON + timedelta(minutes=9))], [0], NOW)
    close(intake)

    assert intake.watermark(60) == NOW - 60


def test_a_range_is_repeated_under_the_limits_it_was_frozen_with():
    """Else who takes over with other settings would send other bytes for the same range."""
    long = record(2)[:-1] + b', "x": [' + b",".join([b"1"] * 200) + b"]}"
    strict, loose = RecordLimits(values=100), RecordLimits()
    for first, second, bad in ((strict, loose, 1), (loose, strict, 0)):
        intake = Intake("web/0", retention_s=3600, dedup_ids=1000, limits=first)
        intake.add([record(1), long], [0, 1], NOW, appended=NOW - 3)
        outcome = close(intake)
        assert outcome.tally.bad == bad
        frozen = msgspec.msgpack.decode(msgspec.msgpack.encode(outcome.frozen), type=FrozenRange)

        other = Intake("web/0", retention_s=3600, dedup_ids=1000, limits=second)
        other.restore([frozen])
        other.add([record(1), long], [0, 1], NOW + 5, appended=NOW - 2)
        repeated = close(other)
        assert (repeated.frozen, repeated.tally, repeated.bad) == (frozen, outcome.tally, outcome.bad)
        other.add([long.replace(b'"e2"', b'"e3"')], [2], NOW + 6)
        assert close(other).tally.bad == 1 - bad, "what comes after it is judged by the limits that are set"


def test_what_is_reached_is_known_before_the_range_is_closed():
    intake = make()
    assert intake.reached == float("-inf")
    intake.add([record(1, NOON - timedelta(minutes=2)), record(2, NOON + timedelta(minutes=5))], range(2), NOW)
    assert intake.reached == NOW
    assert intake.watermark(60) == float("-inf"), "what is not frozen closes nothing"
    close(intake)
    assert intake.reached == NOW


def test_a_forgotten_id_is_late_and_never_counted_again():
    """Beyond the memory for ids an event cannot be proven new: it is late, not counted twice."""
    intake = make(retention_s=1e9, dedup_ids=2)
    for number in range(5):
        intake.add([record(number, NOON + timedelta(seconds=number))], [number], NOW + 60)
        close(intake)

    intake.add([record(0, NOON), record(4, NOON + timedelta(seconds=4))], [5, 6], NOW + 60)
    tally = close(intake).tally

    assert (tally.late, tally.duplicate, tally.counted) == (1, 1, 0)


def test_an_event_from_a_fast_clock_is_not_counted_again_once_its_time_has_come():
    """Its id is forgotten when the clock has passed its time: then it is behind the horizon, like all others."""
    intake = make(retention_s=1e9, dedup_ids=2)
    ahead = record(0, NOON + timedelta(minutes=9))
    intake.add([ahead], [0], NOW)
    close(intake)
    for number in range(1, 5):
        intake.add([record(number, NOON + timedelta(minutes=10 + number))], [number], NOW + 900)
        close(intake)

    intake.add([ahead], [5], NOW + 900)

    assert (close(intake).tally.late, intake.head.tally.counted) == (1, 5)


def test_forgetting_returns_the_changelog_keys_to_delete():
    """What leaves the memory leaves the changelog too, one range later: until then it may have to be repeated."""
    intake = make(dedup_ids=2)
    forgotten = []
    for number in range(5):
        intake.add([record(number)], [number], NOW)
        forgotten.append(close(intake).forgotten)

    assert forgotten == [[], [], [], [b"web/0|00000000000000000000"], [b"web/0|00000000000000000001"]]


def test_seen_ids_keep_the_newest_segment_even_above_the_limit():
    """One range larger than the limit is still remembered whole."""
    seen = SeenIds(2)
    keys = [key_of("/a", str(i)) for i in range(5)]

    assert seen.add(segment(0, keys, 1.0, first=0, last=4), 2.0) == []
    assert all(key in seen for key in keys)


@given(st.integers(1, 12), st.lists(st.integers(0, 9), max_size=40), st.randoms(use_true_random=False))
def test_seen_ids_are_those_of_the_segments_that_are_kept(limit: int, sizes: list[int], order):
    """Whatever the sizes of segments, what is merged and taken out again leaves just what was not forgotten."""
    fresh = [0, 1, 2**63, 2**64 - 1, *(digest(str(i)) for i in range(sum(sizes)))]
    order.shuffle(fresh)
    seen, kept = SeenIds(limit), []
    for place, size in enumerate(sizes):
        ids, fresh = fresh[:size], fresh[size:]
        forgotten = seen.add(segment(place, ids, float(place)), 1e9)
        kept.append(ids)
        expected = []
        while sum(map(len, kept)) > limit and len(kept) > 1:
            gone = kept.pop(0)
            expected.append(write_keys(gone, [BITS] * len(gone), [0] * len(gone)).ids)
        assert [one.ids for one in forgotten] == expected
        inside = {one for ids in kept for one in ids}
        assert len(seen) == len(inside)
        assert seen.among(inside | set(fresh)) == {key: key & 0xFFFFFFFF for key in inside}


def test_a_committed_pending_range_is_taken_as_done():
    """Records beyond the restored range mean that it had been emitted and committed."""
    first = make()
    first.add([record(1), record(2)], [0, 1], NOW)
    frozen = close(first).frozen

    second = make()
    second.restore([frozen])
    assert second.cut([2, 3]) == 2
    second.add([record(2), record(3)], [2, 3], NOW)
    outcome = close(second)

    assert (outcome.tally.counted, outcome.tally.duplicate) == (1, 1)
    assert (outcome.frozen.first, outcome.frozen.last) == (2, 3)
    assert second.head.tally.read == 4


def test_settling_takes_over_a_range_whose_records_never_come_again():
    """With the source read to its end, the restored range was committed."""
    first = make()
    first.add([record(1)], [0], NOW)
    frozen = close(first).frozen
    second = make()
    second.restore([frozen])

    second.finish_restored()

    assert first.head == second.head
    assert second.pending is None


seconds = st.integers(min_value=-7200, max_value=900)
good = st.builds(lambda n, s: record(n, NOON + timedelta(seconds=s)), st.integers(0, 30), seconds)
records = st.lists(st.one_of(good, good, good, st.sampled_from([b"{}", None, b"\xff"])), min_size=1, max_size=60)
cuts = st.lists(st.integers(1, 7), min_size=1, max_size=80)


def run(intake: Intake, values: list[bytes | None], sizes: list[int], start: int = 0) -> Outcome:
    position, turn = start, 0
    while position < len(values):
        size = sizes[turn % len(sizes)]
        turn += 1
        part = values[position : position + size]
        intake.add(part, range(position, position + len(part)), NOW)
        position += len(part)
    return close(intake)


@given(records, cuts, cuts)
def test_outcomes_do_not_depend_on_how_fetches_are_cut(values, one, other):
    """The same records in other portions give the same range, byte for byte."""
    first, second = run(make(), values, one), run(make(), values, other)

    assert msgspec.json.encode(first.frozen) == msgspec.json.encode(second.frozen)
    assert first.payloads == second.payloads
    assert first.offsets == second.offsets
    assert first.late_offsets == second.late_offsets
    assert [(bad.offset, bad.refusal.reason, bad.payload) for bad in first.bad] == [
        (bad.offset, bad.refusal.reason, bad.payload) for bad in second.bad
    ]


memories = st.sampled_from([3, 10, 1000])
delays = st.sampled_from([60.0, 3600.0, 86_400.0])


@given(records, memories, memories, delays, delays, st.data())
def test_a_restored_intake_repeats_its_last_range_exactly(values, dedup_ids, others, retention_s, another_s, data):
    """Killed after freezing: the successor repeats the frozen range, whatever its settings, and counts nothing twice."""
    undisturbed = make(retention_s, dedup_ids)
    changelog: dict[bytes, FrozenRange] = {}
    outcomes = []
    position = 0
    while position < len(values):
        size = data.draw(st.integers(1, 20))
        part = values[position : position + size]
        undisturbed.add(part, range(position, position + len(part)), NOW)
        position += len(part)
        outcome = close(undisturbed)
        outcomes.append(outcome)
        for key in outcome.forgotten:
            del changelog[key]
        changelog[outcome.frozen.key()] = outcome.frozen

    decoder = msgspec.msgpack.Decoder(FrozenRange)
    successor = Intake("web/0", retention_s=another_s, dedup_ids=others, limits=RecordLimits(10_000, 10, 10, 20))
    successor.restore([decoder.decode(msgspec.msgpack.encode(frozen)) for frozen in changelog.values()])
    last = outcomes[-1].frozen
    resume = data.draw(st.integers(0, last.first))
    again = list(values[resume:])
    offsets = range(resume, len(values))
    assert len(again) == successor.cut(offsets)
    successor.add(again, offsets, NOW + 5)
    repeated = close(successor)

    assert last == repeated.frozen
    assert outcomes[-1].payloads == repeated.payloads
    assert outcomes[-1].late_offsets == repeated.late_offsets
    assert undisturbed.head == successor.head
    successor.add(values, range(len(values), 2 * len(values)), NOW)
    after = close(successor)
    assert after.counted == []
    assert (after.frozen.retention_s, after.frozen.dedup_ids) == (another_s, others)


def test_a_restored_range_is_cut_at_its_edge():
    """Records after the frozen range belong to the next one."""
    first = make()
    first.add([record(1), record(2)], [0, 1], NOW)
    frozen = close(first).frozen
    second = make()
    second.restore([frozen])

    assert second.cut(range(5)) == 2
    second.add([record(1), record(2)], [0, 1], NOW)
    close(second)
    assert second.cut(range(2, 5)) == 3


def test_a_restored_range_waits_for_its_edge():
    """A fetch that ends within the frozen range does not close it: the rest is still to come."""
    first = make()
    first.add([record(1), record(2), record(3)], [0, 1, 2], NOW)
    frozen = close(first).frozen
    second = make()
    second.restore([frozen])
    second.add([record(1)], [0], NOW)

    assert second.close() is None

    second.add([record(2), record(3)], [1, 2], NOW)
    assert frozen == close(second).frozen


def test_a_restored_range_whose_tail_is_gone_ends_with_the_log():
    """Read to the end without the tail of the frozen range, the range closes with what there is."""
    first = make()
    first.add([record(1), record(2)], [0, 1], NOW)
    frozen = close(first).frozen
    second = make()
    second.restore([frozen])
    second.add([record(1)], [0], NOW)
    second.finish_restored()

    outcome = close(second)

    assert (outcome.frozen.first, outcome.frozen.last, outcome.tally.read) == (0, 1, 1)


def test_what_is_no_record_leaves_no_gap_between_ranges():
    """Marks of transactions and what was taken back lie before the next range: it reaches back over them."""
    intake = make()
    intake.add([record(1)], [3], NOW, None, 0)
    first = close(intake).frozen
    intake.add([record(2), record(3)], [9, 12], NOW, None, 4)
    second = close(intake).frozen
    again = make()
    again.restore([first, second])
    again.add([record(2), record(3)], [9, 12], NOW, None, 4)

    assert [(one.first, one.last) for one in (first, second)] == [(0, 3), (4, 12)]
    assert close(again).frozen == second


def test_records_that_left_the_log_are_a_gap():
    """The log begins behind what was read: that is no hole of a transaction."""
    intake = make()
    intake.add([record(1)], [0], NOW, None, 0)
    close(intake)
    intake.add([record(2)], [50], NOW, None, 40)
    assert close(intake).frozen.first == 40
