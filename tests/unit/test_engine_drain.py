import gc
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.types import TP

from streams.engine.batch import RecordBatch
from streams.engine.drain import drain

TP0 = TP("t", 3)


def encoded(
    base: int, offsets: Iterable[int], *, compression: int = 0, control: bool = False, by_broker: bool = False
) -> bytearray:
    """A Kafka record batch at `base` with records at `offsets`."""
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 1 << 20)
    for offset in offsets:
        builder.append(offset - base, 1_000 + offset, None, b"v%d" % offset, [])
    data = bytearray(builder.build())
    data[0:8] = base.to_bytes(8, "big")
    if control:
        data[22] |= 0x20
    if by_broker:
        data[22] |= 0x08
    return data


def fetched(parts: Sequence[bytearray], start: int, *, check_crcs: bool = False) -> PartitionRecords:
    return PartitionRecords(TP0, MemoryRecords(b"".join(parts)), [], start, None, None, check_crcs, 0)


def taken(records: PartitionRecords, **options: Any) -> tuple[RecordBatch | None, bool]:
    return drain(TP0, records, **{"limit": 1_000, "with_offsets": False, **options})


@pytest.mark.parametrize("compression", [0, 1, 3])
def test_consecutive_kafka_batches_become_one_batch_with_a_range_of_offsets(compression: int) -> None:
    records = fetched([encoded(5, range(5, 8), compression=compression), encoded(8, range(8, 10))], start=5)
    batch, hole_ahead = taken(records)
    assert batch is not None
    assert batch.offsets == range(5, 10)
    assert batch.values == [b"v5", b"v6", b"v7", b"v8", b"v9"]
    assert (batch.topic, batch.partition, batch.max_timestamp_ms) == ("t", 3, 1_009)
    assert not hole_ahead
    assert records.next_fetch_offset == 10


@pytest.mark.parametrize(("kinds", "appended"), [((True, True), 1.009), ((True, False), None), ((False,), None)])
def test_only_the_broker_is_believed_about_when_records_came(kinds: Sequence[bool], appended: float | None) -> None:
    parts = [encoded(5 * place, range(5 * place, 5 * place + 5), by_broker=kind) for place, kind in enumerate(kinds)]
    batch, _ = taken(fetched(parts, start=0))
    assert batch is not None
    assert batch.appended == appended
    rest = batch.trimmed(2)
    assert rest is not None
    assert rest.appended == appended


def test_a_seek_into_a_kafka_batch_skips_its_beginning() -> None:
    batch, _ = taken(fetched([encoded(0, range(5))], start=3))
    assert batch is not None
    assert batch.offsets == range(3, 5)
    assert batch.values == [b"v3", b"v4"]


def test_the_limit_cuts_between_kafka_batches_and_the_rest_stays() -> None:
    records = fetched([encoded(0, range(4)), encoded(4, range(4, 8)), encoded(8, range(8, 9))], start=0)
    first, _ = taken(records, limit=5)
    rest, _ = taken(records, limit=5)
    assert first is not None
    assert rest is not None
    assert (first.offsets, rest.offsets) == (range(8), range(8, 9))


def test_a_fetch_is_freed_without_the_garbage_collector() -> None:
    records = fetched([encoded(0, range(5))], start=0)
    freed = weakref.ref(records)
    gc.disable()
    try:
        taken(records)
        del records
        assert freed() is None
    finally:
        gc.enable()


def test_control_batches_are_passed_over() -> None:
    records = fetched([encoded(0, range(2)), encoded(2, [2], control=True), encoded(3, range(3, 5))], start=0)
    batch, hole_ahead = taken(records)
    assert batch is not None
    assert list(batch.offsets) == [0, 1, 3, 4]
    assert batch.values == [b"v0", b"v1", b"v3", b"v4"]
    assert not hole_ahead


def test_a_hole_is_met_before_anything_of_its_batch_is_taken_and_read_with_offsets() -> None:
    parts = [encoded(0, range(3)), encoded(3, [3, 5, 8]), encoded(9, range(9, 11))]
    records = fetched(parts, start=0)
    batch, hole_ahead = taken(records)
    assert batch is not None
    assert batch.offsets == range(3)
    assert hole_ahead
    assert records.next_fetch_offset == 3
    again = fetched(parts[1:], start=3)
    batch, hole_ahead = taken(again, with_offsets=True)
    assert batch is not None
    assert list(batch.offsets) == [3, 5, 8, 9, 10]
    assert batch.values == [b"v3", b"v5", b"v8", b"v9", b"v10"]
    assert not hole_ahead
    assert again.next_fetch_offset == 11


def in_transaction(base: int, count: int, producer: int) -> bytearray:
    """A Kafka record batch of a transaction."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer, 0, 0, 1 << 20)
    for place in range(count):
        builder.append(place, 1_000, None, b"v%d" % (base + place), [])
    data = bytearray(builder.build())
    data[0:8] = base.to_bytes(8, "big")
    return data


def marker(base: int, producer: int, *, commit: bool) -> bytearray:
    """The end of a transaction."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer, 0, -1, 1 << 20)
    builder.append(0, 1_000, bytes([0, 0, 0, commit]), b"", [])
    data = bytearray(builder.build())
    data[0:8] = base.to_bytes(8, "big")
    data[22] |= 0x20
    return data


def test_records_that_were_taken_back_are_passed_over() -> None:
    """Of transactions that lie in each other, of the same producer after it began anew, and of none at all."""
    parts = [
        in_transaction(0, 3, 7), in_transaction(3, 2, 8), marker(5, 7, commit=False), encoded(6, range(6, 8)),
        in_transaction(8, 2, 7), marker(10, 8, commit=True), marker(11, 7, commit=True), in_transaction(12, 4, 9),
        marker(16, 9, commit=False),
    ]  # fmt: skip
    records = PartitionRecords(
        TP0, MemoryRecords(b"".join(parts)), [(9, 12), (7, 0)], 0, None, None, False, READ_COMMITTED
    )
    first, hole_ahead = taken(records, limit=1)
    assert first is not None
    assert (first.values, list(first.offsets), hole_ahead) == ([b"v3", b"v4"], [3, 4], False)
    rest, hole_ahead = taken(records)
    assert rest is not None
    assert (rest.values, list(rest.offsets), hole_ahead) == ([b"v6", b"v7", b"v8", b"v9"], [6, 7, 8, 9], False)
    assert records.next_fetch_offset == 17, "what is behind is no record, and was read"
    assert taken(records) == (None, False)


def test_a_rest_remembers_from_where_on_all_is_there() -> None:
    batch = RecordBatch("t", 0, [b"a", b"b"], [5, 9])
    batch.since = 2
    rest = batch.trimmed(6)
    assert rest is not None
    assert (rest.since, list(rest.offsets)) == (6, [9])


def test_a_broken_checksum_is_refused() -> None:
    data = encoded(0, range(3))
    data[-1] ^= 0xFF
    with pytest.raises(CorruptRecordException, match="checksum"):
        taken(fetched([data], start=0, check_crcs=True))


def test_a_batch_needs_as_many_offsets_as_values() -> None:
    with pytest.raises(ValueError, match="t/0: 1 values but 2 offsets"):
        RecordBatch("t", 0, [b"x"], range(2))
