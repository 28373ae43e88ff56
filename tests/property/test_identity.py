"""An event is its source and its id: what repeats it, what contradicts it, and what an older version wrote down of it."""

import json
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.events.dedup import SOURCE_BITS, content_of, digest, key_of, write_keys
from streams.events.inheritance import inherited_ranges
from streams.events.intake import FrozenRange, Intake, Outcome, Tally

NOON = datetime(2026, 3, 21, 12, tzinfo=UTC)
NOW = NOON.timestamp() + 600


def event(source: str, event_id: str, second: float = 0, said: str = "a", **more: object) -> bytes:
    at = (NOON + timedelta(seconds=second)).isoformat()
    envelope = {
        "specversion": "1.0", "id": event_id, "source": source, "type": "cx.session.started", "time": at,
        "subject": said, "channel": "web", "data": {},
    }  # fmt: skip
    return json.dumps(envelope | more).encode()


def make(dedup_ids: int = 1_000) -> Intake:
    return Intake("web/0", retention_s=3_600, dedup_ids=dedup_ids)


def took(intake: Intake, values: list[bytes], start: int = 0, size: int | None = None) -> Outcome:
    for place in range(0, len(values), size or len(values)):
        part = values[place : place + (size or len(values))]
        intake.add(part, range(start + place, start + place + len(part)), NOW)
    outcome = intake.close()
    assert outcome is not None
    return outcome


def as_before(frozen: FrozenRange) -> FrozenRange:
    """Give a range as it was frozen when an id alone named an event, with the tally that was known then."""
    return msgspec.structs.replace(frozen, marks=None)


def test_the_same_id_of_two_sources_is_two_events():
    """Two call centres that number their calls from one lose nothing."""
    values = [event(source, str(number), number) for source in ("/cc/tehran", "/cc/shiraz") for number in range(1, 21)]

    tally = took(make(), values).tally

    assert (tally.read, tally.counted, tally.duplicate, tally.conflict) == (40, 40, 0, 0)


def test_source_and_id_do_not_run_into_each_other():
    values = [event("/a", "bc"), event("/ab", "c"), event("/a/b", "c"), event("/a", "b/c"), event("c", "/a/b")]
    assert took(make(), values).tally.counted == 5


def test_a_repeat_that_says_something_else_is_a_conflict_and_kept():
    """In one range and in later ones: what came first counts, what came later can be looked at."""
    intake = make()
    first = took(intake, [event("/a", "1"), event("/a", "1"), event("/a", "1", said="b")])
    later = took(intake, [event("/a", "1"), event("/a", "1", said="c"), event("/b", "1", said="c")], 3)

    assert msgspec.structs.astuple(first.tally) == (3, 1, 1, 0, 0, 1)
    assert msgspec.structs.astuple(later.tally) == (3, 1, 1, 0, 0, 1)
    assert [(one.offset, one.refusal.reason, one.payload) for one in (*first.conflicts, *later.conflicts)] == [
        (2, "conflict", event("/a", "1", said="b")),
        (4, "conflict", event("/a", "1", said="c")),
    ]
    assert later.conflicts[0].refusal.message == (
        'source "/a" has sent something else with the id "1" before, and that counts'
    )
    assert not first.bad, "it breaks no contract"


def test_other_words_for_the_same_are_a_plain_repeat():
    """Another order of members, white space, escapes, and a number written otherwise; what was restored as bytes too."""
    value = event("/a", "1")
    members = msgspec.json.decode(value)
    turned = msgspec.json.encode(dict(reversed(members.items())))
    spaced = b" " + value.replace(b'", "', b'" ,\n\t"')
    escaped = value.replace(b'"id": "1"', rb'"id":"\u0031"')
    assert len({value, turned, spaced, escaped}) == 4
    intake = make()
    assert took(intake, [value, turned]).tally.duplicate == 1
    assert took(intake, [spaced, escaped, event("/a", "1", said="b")], 2).tally == Tally(3, 0, 2, 0, 0, 1)

    older = make()
    frozen = took(older, [value]).frozen
    bytes_of = write_keys([key_of("/a", "1")], [SOURCE_BITS["/a"]], [content_of(value)]).marks
    heir = make()
    heir.restore([msgspec.structs.replace(frozen, marks=bytes_of)])
    heir.finish_restored()
    assert took(heir, [value, event("/a", "1", said="b")], 1).tally == Tally(2, 0, 1, 0, 0, 1)


def test_a_time_that_was_filled_in_on_the_way_is_no_difference():
    """The door fills in the time of an event that comes without: sent again, it has another one."""
    values = [event("/a", "1", second, timeimputed=True) for second in (0, 5)]
    tally = took(make(), [*values, event("/a", "1", 5, said="b", timeimputed=True)]).tally
    assert (tally.counted, tally.duplicate, tally.conflict) == (1, 1, 1)


def test_content_is_remembered_over_a_restart():
    intake = make()
    frozen = [took(intake, [event("/a", str(number))], number).frozen for number in range(3)]
    restored = make()
    restored.restore([msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=FrozenRange) for one in frozen])
    restored.finish_restored()

    tally = took(restored, [event("/a", "0"), event("/a", "1", said="b"), event("/b", "2")], 3).tally

    assert (tally.duplicate, tally.conflict, tally.counted) == (1, 1, 1)


names = st.tuples(st.sampled_from(["/a", "/b", "/c"]), st.integers(0, 9), st.integers(0, 2))


@given(st.lists(names, min_size=1, max_size=60), st.integers(1, 9), st.integers(1, 20))
def test_outcomes_are_those_of_a_plain_set(log: list[tuple[str, int, int]], size: int, range_size: int):
    """Whatever the order, and however it is cut, every record is what the first of its name says it is."""
    intake, first = make(), {}
    for start in range(0, len(log), range_size):
        part = log[start : start + range_size]
        expected = {"counted": 0, "duplicate": 0, "conflict": 0}
        for source, number, said in part:
            known = first.setdefault((source, number), None)
            if known is None:
                first[source, number] = said
                expected["counted"] += 1
            else:
                expected["duplicate" if known == said else "conflict"] += 1
        tally = took(intake, [event(s, str(n), said=f"c{said}") for s, n, said in part], start, size).tally
        assert {name: getattr(tally, name) for name in expected} == expected


@given(st.lists(names, min_size=1, max_size=40), st.lists(names, min_size=1, max_size=40), st.integers(1, 9))
def test_what_was_written_down_by_id_alone_is_still_found(old, new, size: int):
    """
    After an upgrade a repeat of what came before it is found, and a later event of another source is none.

    Events of the new version happen later than all of the old, as they do when a source goes on.
    """
    before, frozen, accepted = make(), [], {}
    for place, (source, number, _) in enumerate(old):
        if number not in accepted:  # an older version took the first of each id
            accepted[number] = source
            frozen.append(as_before(took(before, [event(source, str(number), place)], place).frozen))
    upgraded = make()
    upgraded.restore(frozen)
    upgraded.finish_restored()

    repeats = [event(source, str(number), old.index(next(o for o in old if o[:2] == (source, number))))
               for number, source in accepted.items()]  # fmt: skip
    again = took(upgraded, repeats, 1_000, size).tally
    fresh = took(upgraded, [event(s, str(n), 100 + n) for s, n, _ in new], 2_000, size).tally

    assert (again.read, again.duplicate) == (len(repeats), len(repeats))
    assert fresh.counted == len({(source, number) for source, number, _ in new})
    assert fresh.duplicate == fresh.read - fresh.counted


def test_a_range_that_was_decided_by_id_alone_is_repeated_so():
    """Frozen by an older version and not emitted: its successor must send the same bytes."""
    values = [event("/a", "1"), event("/b", "1"), event("/a", "2", said="x"), event("/a", "2", said="y")]
    older = make()
    first = as_before(took(older, [event("/c", "2")]).frozen)
    after = first.after.tally
    tally = msgspec.structs.replace(after, read=after.read + 4, counted=after.counted + 1, duplicate=3)
    pending = FrozenRange(
        "web/0", 1, 4, NOW, first.after, msgspec.structs.replace(first.after, next=5, tally=tally),
        np.array([digest("1")], "<u8").tobytes(), NOON.timestamp(), first.time,
    )  # fmt: skip
    successor = make()
    successor.restore([first, pending])

    outcome = took(successor, values, 1)

    assert outcome.frozen == msgspec.structs.replace(pending, retention_s=3600, dedup_ids=1000)
    assert outcome.payloads == [event("/a", "1")]
    assert not outcome.conflicts
    following = took(successor, [event("/a", "1"), event("/b", "1", 30), event("/b", "1", 30, said="z")], 5)
    assert msgspec.structs.astuple(following.tally) == (3, 1, 1, 0, 0, 1), (
        "from the next range on sources are told apart"
    )


def test_an_inherited_time_that_was_cut_at_the_clock_still_finds_its_repeat():
    """A device ahead of the clock: what an older version inherited says that it was now, and it comes again."""
    ranges = [
        as_before(one)
        for one in inherited_ranges(
            "web/0", [("/a", "1", 0)], [NOW + 300], tally=took(make(), [event("/a", "1")]).tally, now=NOW, dedup_ids=10
        )
    ]
    intake = make()
    intake.restore(ranges)
    assert took(intake, [event("/a", "1", 900)]).tally.duplicate == 1


def test_what_is_written_down_can_be_read_by_an_older_version():
    """An older worker that takes a partition back finds the ids where it looks for them."""
    frozen = took(make(), [event("/a", "1"), event("/b", "1"), event("/b", "2")]).frozen
    assert frozen.ids == np.array([digest("1"), digest("1"), digest("2")], "<u8").tobytes()


def test_forgotten_identities_leave_the_memory_of_both_kinds():
    """Bare ids and those with a source leave in the order they came, whoever wrote them down."""
    older = make(dedup_ids=1_000)
    frozen = [as_before(took(older, [event("/a", str(n), n)], n).frozen) for n in range(3)]
    intake = make(dedup_ids=3)
    intake.restore(frozen)
    intake.finish_restored()
    for n in range(3, 6):
        took(intake, [event("/a", str(n), n)], n)

    tally = took(intake, [event("/a", "1", 1), event("/a", "5", 5), event("/b", "1", 50)], 6).tally

    assert (tally.late, tally.duplicate, tally.counted) == (1, 1, 1)
