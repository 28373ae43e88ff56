"""Whoever reads a changelog in order, in whatever pieces, sees what each owner wrote until the next one's claim."""

from hypothesis import given
from hypothesis import strategies as st

from streams.engine.fence import CLAIM, NO_FENCE, Fence, LogRecord, PartitionLog

Step = tuple[str, int, bytes, bytes | None]

WRITES = st.tuples(
    st.just("write"), st.integers(0, 6), st.sampled_from([b"a", b"b", b"c"]), st.none() | st.sampled_from([b"1", b"2"])
)
CLAIMS = st.tuples(st.just("claim"), st.integers(1, 4), st.just(b""), st.none())
STEPS: st.SearchStrategy[list[Step]] = st.lists(st.one_of(WRITES, WRITES, CLAIMS), max_size=40)


def written(steps: list[Step]) -> tuple[list[LogRecord], dict[bytes, bytes]]:
    """The log, and what owners wrote while they were owners; a write names an owner by how long ago it claimed."""
    fences, records = [NO_FENCE], []
    expected: dict[bytes, bytes] = {}
    for kind, number, key, value in steps:
        if kind == "claim":
            fences.append(fences[-1].after(number, len(records)))
            records.append(LogRecord(len(records), CLAIM, None, fences[-1]))
            continue
        writer = fences[max(0, len(fences) - 1 - number)]
        records.append(LogRecord(len(records), key, value, writer))
        if writer == fences[-1]:
            if value is None:
                expected.pop(key, None)
            else:
                expected[key] = value
    return records, expected


@given(STEPS, st.integers(1, 7))
def test_only_the_owner_s_records_count(steps: list[Step], piece: int) -> None:
    records, expected = written(steps)
    log = PartitionLog()
    for start in range(0, len(records), piece):
        log.apply(records[max(0, start - 2) : start + piece])  # fetches may begin before what was read already
    assert log.entries == expected
    assert log.next == len(records)


@given(STEPS)
def test_records_without_a_fence_count_like_the_owner_s(steps: list[Step]) -> None:
    """They were written by a version that knew no fences, before an upgrade or after a rollback."""
    records, expected = written(steps)
    log = PartitionLog()
    log.apply(records)
    log.apply([LogRecord(len(records), b"old", b"version", None)])
    assert log.entries == {**expected, b"old": b"version"}


@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=20))
def test_later_owners_have_higher_fences(generations: list[int]) -> None:
    """Also when the group began to count anew, and when two of one generation claimed at different times."""
    fences = [NO_FENCE]
    for at_ms, generation in enumerate(generations):
        fences.append(fences[-1].after(generation, at_ms))
    assert fences == sorted(set(fences))
    assert Fence(5, 1) < Fence(5, 2) < Fence(6, 0)
