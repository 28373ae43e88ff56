"""Columns in Native format, and which failures pass."""

import msgspec
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError, ProgrammingError
from hypothesis import given
from hypothesis import strategies as st

from streams.settings import is_loopback
from streams.storage.connection import Address, PermanentStorageError, UnreachableError, blames_rows, connect, explain
from streams.storage.native import (
    Column,
    ends,
    native_block,
    optional_floats,
    string,
    string_parts,
    strings,
    texts,
    wide_numbers,
)
from streams.storage.rows import _BEFORE_PAYLOADS, Events, in_inserts, pack_events, unpack_events


@pytest.mark.parametrize(
    ("length", "head"),
    [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (16_383, b"\xff\x7f"), (16_384, b"\x80\x80\x01")],
)
def test_strings_follow_their_length(length: int, head: bytes) -> None:
    """Lengths are LEB128."""
    value = b"x" * length
    assert string(value) == head + value
    assert strings([value, b"ab"]) == head + value + b"\x02ab"


def test_a_column_in_pieces_is_the_column() -> None:
    """Pieces only save a copy."""
    values = [b"", b"ab", b"c" * 300]
    assert b"".join(string_parts(values)) == strings(values)
    whole, pieces = (Column("p", "String", data) for data in (strings(values), string_parts(values)))
    assert native_block(3, [pieces]) == native_block(3, [whole])


def test_text_that_utf8_cannot_carry_still_goes_through() -> None:
    """Half a surrogate pair must not stop a block."""
    assert texts(["a\ud800", "ی"]) == b"\x02a?" + b"\x02\xdb\x8c"


@pytest.mark.parametrize("values", [[0, 1, -1, 2**63 - 1, -(2**63)], [2**63, -(2**63) - 1, 2**100, -(2**127), 5]])
def test_wide_numbers_keep_all_their_bits(values: list[int]) -> None:
    """Both ways of writing them, narrow and wide."""
    data = wide_numbers(values)
    assert [int.from_bytes(data[at : at + 16], "little", signed=True) for at in range(0, len(data), 16)] == values


def test_a_number_beyond_128_bits_is_refused() -> None:
    """Never cut."""
    with pytest.raises(OverflowError):
        wide_numbers([1 << 127])


def test_missing_floats_are_marked() -> None:
    """The mask comes first, and a missing value is no zero."""
    assert optional_floats([None, 1.0])[:2] == b"\x01\x00"
    assert len(optional_floats([None, 1.0])) == 18


def test_arrays_are_headed_by_where_each_ends() -> None:
    """Running totals of the sizes."""
    assert ends([2, 0, 3]) == b"".join(n.to_bytes(8, "little") for n in (2, 2, 5))


def test_a_block_names_its_columns() -> None:
    """Columns, rows, then name, type and data of each."""
    assert native_block(300, [Column("a", "UInt8", b"..")]) == b"\x01\xac\x02\x01a\x05UInt8.."


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DatabaseError("no such table", code=60), PermanentStorageError),
        (DatabaseError("wrong password", code=516), PermanentStorageError),
        (OperationalError("no such column", code=16), PermanentStorageError),
        (ProgrammingError("unknown setting"), PermanentStorageError),
        (DatabaseError("memory limit", code=241), UnreachableError),
        (DatabaseError("too many parts", code=252), UnreachableError),
        (DatabaseError("disk full", code=243), UnreachableError),
        (DatabaseError("bad gateway"), UnreachableError),
        (OperationalError("connection refused"), UnreachableError),
        (ConnectionResetError(104, "reset"), UnreachableError),
    ],
)
def test_failures_that_pass_are_told_from_those_that_do_not(error: Exception, kind: type[Exception]) -> None:
    """Only what can never succeed ends an insert."""
    explained = explain(error, "inserting into events")
    assert type(explained) is kind
    assert "inserting into events" in str(explained)


@pytest.mark.parametrize("url", ["localhost:8123", "ftp://host", "http://"])
def test_an_address_without_host_is_refused(url: str) -> None:
    """Before anything is sent."""
    with pytest.raises(PermanentStorageError, match="is no address"):
        connect(Address(url))


def test_a_password_is_never_shown() -> None:
    """Addresses end up in logs."""
    assert "secret" not in repr(Address("http://h", password="secret"))


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("clickhouse", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("proxy.localhost", True),
        ("127.example.com", False),
        ("", False),
    ],
)
def test_loopback_is_recognised(host: str, here: bool) -> None:
    """There compression is left off, and the page answers to no other name."""
    assert is_loopback(host) is here


@given(
    st.lists(st.binary(max_size=300), max_size=30),
    st.integers(0, 2**63),
    st.sets(st.integers(0, 29)),
)
def test_packed_events_come_back_as_they_were(payloads: list[bytes], first: int, late: set[int]) -> None:
    """Thinning out what is stored already must change nothing else, whatever the payloads look like."""
    payloads = [*payloads, b"payload\x06String outcome" + _BEFORE_PAYLOADS]
    offsets = [first + 3 * place for place in range(len(payloads))]
    lost = [offsets[place] for place in sorted(late) if place < len(offsets)]
    packed = pack_events("cx.touchpoints.web", 3, offsets, payloads, lost)
    assert (packed.rows, packed.late, packed.size) == (len(payloads), len(lost), sum(map(len, payloads)))
    assert unpack_events(packed) == (offsets, payloads, lost)


def test_an_insert_looks_twice_only_where_it_is_not_known_that_all_readers_read_alike() -> None:
    payloads = [b"{}", b"[]"]
    alike = pack_events("t", 0, range(2), payloads, (), b"\1\1")
    others = [pack_events("t", 0, range(2), payloads, (), marks) for marks in (b"\1\0", b"")]
    assert (alike.alike, [one.alike for one in others]) == (True, [False, False])
    assert in_inserts([Events(), alike]) == ([alike.frame], [])
    assert in_inserts(others) == ([], [one.frame for one in others])
    # Another insert for a few rows would cost more than to look at all of them.
    assert in_inserts([others[0], alike]) == ([], [others[0].frame, alike.frame])
    many = msgspec.structs.replace(alike, rows=25_000)
    assert in_inserts([others[0], many]) == ([many.frame], [others[0].frame])


def test_no_events_pack_to_nothing() -> None:
    """A range of nothing but refused records inserts no rows."""
    assert pack_events("t", 0, [], []) == Events()
    assert unpack_events(Events()) == ([], [], [])


@pytest.mark.parametrize(
    ("error", "blamed"),
    [
        (DatabaseError("Cannot parse text", code=6), True),
        (DatabaseError("Constraint `closed` for table cx.events is violated", code=469), True),
        (DatabaseError("Constraint `in_time` for table cx.events is violated", code=469), False),
        (DatabaseError("Memory limit exceeded", code=241), None),
        (DatabaseError("Timeout exceeded", code=159), None),
        (DatabaseError("Too many parts", code=252), False),
        (DatabaseError("No space left", code=243), False),
        (DatabaseError("no such table", code=60), False),
        (OSError("connection reset"), None),
    ],
)
def test_what_rows_are_blamed_for(error: Exception, blamed: bool | None) -> None:
    """None: perhaps, if it comes again and again."""
    assert blames_rows(error) is blamed
