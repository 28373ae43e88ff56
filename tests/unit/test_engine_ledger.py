import random

from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.batch import RecordBatch, joined
from streams.engine.ledger import Ledger

TP0 = TP("t", 0)


def batch(first: int, last: int, partition: int = 0) -> RecordBatch:
    offsets = range(first, last + 1)
    return RecordBatch("t", partition, [b"x"] * len(offsets), offsets)


def accepted(ledger: Ledger, first: int, last: int, partition: int = 0) -> RecordBatch:
    entered = ledger.accept(batch(first, last, partition))
    assert entered is not None
    return entered


def test_batches_may_be_acknowledged_in_any_order_but_are_committed_in_theirs() -> None:
    ledger = Ledger()
    first, second, third = accepted(ledger, 0, 4), accepted(ledger, 5, 5), accepted(ledger, 6, 9)
    assert ledger.ack(third)
    assert ledger.committable(TP0) is None
    assert ledger.partitions_to_commit() == []
    assert ledger.ack(first)
    assert ledger.committable(TP0) == 5
    assert ledger.ack(second)
    assert ledger.committable(TP0) == 10
    assert ledger.partitions_to_commit() == [TP0]


def test_an_agent_may_hold_many_batches_if_they_are_little() -> None:
    ledger = Ledger()
    for place in range(5):
        accepted(ledger, place, place).nbytes = 10
    assert not ledger.is_full(TP0, 2, 51)
    assert ledger.is_full(TP0, 2, 50)
    assert not ledger.is_full(TP0, 6, 50)
    assert not ledger.is_full(TP("t", 1), 1, 1)


def test_batches_that_are_joined_are_released_together() -> None:
    parts = [batch(0, 2), batch(3, 3), batch(4, 6)]
    for place, part in enumerate(parts):
        part.nbytes, part.max_timestamp_ms, part.appended = 10, place, 5.0 - place
    one = joined(parts)
    assert (one.offsets, len(one.values), one.nbytes, one.max_timestamp_ms, one.appended) == (range(7), 7, 30, 2, 5.0)
    holed = joined([parts[0], parts[2]])
    assert list(holed.offsets) == [0, 1, 2, 4, 5, 6]
    parts[1].appended = None
    assert joined(parts).appended is None
    assert not any(part.released for part in parts)
    one.release()
    assert all(part.released and not part.values for part in parts)


def test_what_is_committed_is_forgotten_and_what_failed_to_commit_is_offered_again() -> None:
    ledger = Ledger()
    first, second = accepted(ledger, 0, 4), accepted(ledger, 5, 9)
    ledger.ack(first)
    assert ledger.committable(TP0) == ledger.committable(TP0) == 5
    ledger.committed(TP0, 5)
    assert ledger.committable(TP0) is None
    assert not ledger.ack(first)
    ledger.ack(second)
    assert ledger.committable(TP0) == 10


def test_partitions_do_not_wait_for_each_other() -> None:
    ledger = Ledger()
    accepted(ledger, 0, 4, partition=0)
    ledger.ack(accepted(ledger, 7, 8, partition=1))
    assert ledger.partitions_to_commit() == [TP("t", 1)]
    assert ledger.committable(TP("t", 1)) == 9


def test_foreign_and_earlier_batches_do_not_count() -> None:
    ledger = Ledger()
    ours = accepted(ledger, 0, 4)
    assert not ledger.ack(batch(0, 4))
    ledger.clear()
    assert not ledger.ack(ours)
    assert ledger.position(TP0) is None


def test_records_delivered_before_are_trimmed() -> None:
    ledger = Ledger()
    accepted(ledger, 10, 19)
    assert ledger.accept(batch(12, 19)) is None
    rest = accepted(ledger, 15, 24)
    assert list(rest.offsets) == [20, 21, 22, 23, 24]
    assert len(rest.values) == 5
    assert ledger.position(TP0) == 25


def test_trimming_follows_offsets_with_holes() -> None:
    ledger = Ledger()
    accepted(ledger, 0, 9)
    holed = RecordBatch("t", 0, [b"a", b"b", b"c"], [5, 9, 14])
    rest = ledger.accept(holed)
    assert rest is not None
    assert list(rest.offsets) == [14]
    assert rest.values == [b"c"]


def test_released_batches_make_room_and_are_told_once() -> None:
    ledger = Ledger()
    first, second = accepted(ledger, 0, 4), accepted(ledger, 5, 9)
    told: list[TP] = []
    first.on_release(told.append)
    assert ledger.unreleased(TP0) == 2
    first.release()
    first.release()
    assert told == [TP0]
    assert first.values == []
    assert ledger.unreleased(TP0) == 1
    assert len(second.values) == 5


def test_times_tell_a_dead_agent_from_dead_commits() -> None:
    now = [100.0]
    ledger = Ledger(clock=lambda: now[0])
    assert ledger.oldest_unacked_s(["t"]) == ledger.oldest_uncommitted_s() == 0.0
    first = accepted(ledger, 0, 4)
    now[0] = 107.0
    accepted(ledger, 5, 9)
    assert ledger.oldest_unacked_s(["t"]) == 7.0
    assert ledger.oldest_unacked_s(["other"]) == 0.0
    assert ledger.oldest_unacked_s(["t"], but={TP0}) == 0.0
    ledger.ack(first)
    now[0] = 110.0
    assert ledger.oldest_unacked_s(["t"]) == 3.0
    assert ledger.oldest_uncommitted_s() == 3.0
    ledger.committed(TP0, 5)
    assert ledger.oldest_uncommitted_s() == 0.0


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_never_commits_beyond_the_first_unacknowledged_record(sizes: list[int], chance: random.Random) -> None:
    ledger, batches, start = Ledger(), [], 0
    for size in sizes:
        batches.append(accepted(ledger, start, start + size - 1))
        start += size
    done: set[int] = set()
    for index in chance.sample(range(len(batches)), len(batches)):
        ledger.ack(batches[index])
        done.add(index)
        waiting = [batches[i].first_offset for i in range(len(batches)) if i not in done]
        bound = min(waiting, default=start)
        offset = ledger.committable(TP0)
        assert offset is None or offset <= bound
        if chance.random() < 0.5 and offset is not None:
            ledger.committed(TP0, offset)
    if (rest := ledger.committable(TP0)) is not None:
        assert rest == start
        ledger.committed(TP0, rest)
    assert ledger.partitions_to_commit() == []
