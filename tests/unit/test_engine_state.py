"""A table of a million keys: what is done when partitions move does not depend on how many keys there are."""

import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, NamedTuple

import pytest

from streams.engine import BatchApp
from streams.engine.fence import Fence
from streams.engine.state import FencedTable

PARTITIONS, KEYS = 4, 250_000
HEADERS = (Fence(3, 1_764_400_000_000).header(),)


class Record(NamedTuple):
    """What the consumer gives of a changelog record."""

    offset: int
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = HEADERS


def records(partition: int, numbers: Iterable[int]) -> Iterator[Record]:
    return (Record(number, b"%d/page-%d" % (partition, number), b"value") for number in numbers)


def table_of(keys: int) -> FencedTable:
    table = BatchApp(f"table-{keys}", brokers="127.0.0.1:1", partitions=PARTITIONS).fenced_table("state")
    for partition in range(PARTITIONS):
        table.absorb(partition, records(partition, range(keys)))
    return table


@pytest.fixture(scope="module")
def million() -> FencedTable:
    return table_of(KEYS)


def operations(function: Callable[[], Any]) -> int:
    """Return how many instructions of Python a call takes; a loop over keys takes some for each."""
    count, outer = 0, sys.gettrace()

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        count += event == "opcode"
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return trace

    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(outer)
    return count


@pytest.mark.slow
def test_all_keys_are_there_by_partition(million: FencedTable) -> None:
    for partition in range(PARTITIONS):
        entries = million.load(partition)
        assert len(entries) >= KEYS
        assert entries[b"page-%d" % (KEYS - 1)] == b"value"


def test_loading_a_partition_copies_nothing(million: FencedTable) -> None:
    few = table_of(10)
    assert operations(lambda: million.load(1)) == operations(lambda: few.load(1)) < 100
    assert million.load(1) is not million.load(2)


@pytest.mark.slow
def test_taking_in_a_record_takes_as_long_as_in_an_empty_table(million: FencedTable) -> None:
    few = table_of(10)
    into_many = operations(lambda: million.absorb(3, records(3, range(KEYS, KEYS + 100))))
    into_few = operations(lambda: few.absorb(3, records(3, range(10, 110))))
    assert abs(into_many - into_few) < 100, "not one more for each"
    assert into_many < 100 * 200


def test_partitions_are_given_away_without_a_look_at_their_keys() -> None:
    many, few = table_of(5_000), table_of(10)
    assert operations(lambda: many.keep_only([2])) == operations(lambda: few.keep_only([2])) < 200
    assert len(many.load(2)) == 5_000
    assert not many.load(1)
