"""From HTTP to records: every way in which an event may come, and what is said of those that are none."""

import gzip
import json
import random

import msgspec
import pytest

from streams.collector.answers import RejectedError
from streams.collector.bodies import BATCH, MEMBERS, PIECE, RATIO, STRUCTURED, Unpacking, records_of
from streams.events.decode import Refusal, decode_one
from tests.harness.door import event


def headers(**attributes: str) -> list[tuple[bytes, bytes]]:
    return [(f"ce-{name}".encode(), value.encode()) for name, value in attributes.items()]


BINARY = headers(
    specversion="1.0", id="b-1", source="/shop/web", type="cx.page.viewed", time="2026-11-22T10:00:00Z", subject="c-1",
    channel="web",
)  # fmt: skip


@pytest.mark.parametrize(
    "media", ["application/json", "text/plain", "text/plain;charset=UTF-8", "", "Application/JSON"]
)
def test_plain_json_is_one_event_or_an_array(media: str) -> None:
    one = json.dumps(event(), ensure_ascii=False).encode()
    assert records_of(media, [], one, 10) == [one]
    assert records_of(media, [], b" \n[" + one + b" , " + one + b"]", 10) == [one, one]
    assert records_of(media, [], b"[]", 10) == []


def test_records_are_the_senders_own_bytes() -> None:
    """Spaces, order of keys, escapes and unknown fields stay: what is stored is what was sent."""
    odd = '{ "type" : "cx.page.viewed","x":1.50, "id":"\\u06f1", "متن":"سلام\\n" }'.encode()
    assert records_of(BATCH, [], b"[" + odd + b"]", 10) == [odd]


def test_structured_mode_takes_the_body_as_it_is_even_with_attributes_as_headers() -> None:
    body = json.dumps(event()).encode()
    assert records_of(f"{STRUCTURED}; charset=utf-8", BINARY, body, 10) == [body]


def test_binary_mode_puts_headers_and_body_together() -> None:
    (record,) = records_of("application/json", BINARY, b'{"page": "home"}', 10)
    made = decode_one(record)
    assert not isinstance(made, Refusal)
    assert (made.id, made.subject, made.channel, made.data.page) == ("b-1", "c-1", "web", "home")


@pytest.mark.parametrize(
    "sent", ["شعبه ۱", "%D8%B4%D8%B9%D8%A8%D9%87%20%DB%B1", '"شعبه ۱"', '"%D8%B4\\%D8%B9%D8%A8%D9%87 ۱"']
)
def test_headers_hold_persian_as_it_is_percent_encoded_or_quoted(sent: str) -> None:
    (record,) = records_of("", [*BINARY, *headers(unitid=sent)], b'{"page": "home"}', 10)
    assert json.loads(record)["unitid"] == "شعبه ۱"


@pytest.mark.parametrize(("sent", "read"), [("true", True), ("false", False), ("yes", "yes")])
def test_headers_that_are_true_or_false_become_so(sent: str, read: object) -> None:
    """Anything else stays text, and the decoder says what it thinks of it."""
    (record,) = records_of("", [*BINARY, *headers(synthetic=sent)], b'{"page": "home"}', 10)
    assert json.loads(record)["synthetic"] == read
    assert isinstance(decode_one(record), Refusal) is isinstance(read, str)


def test_what_stands_behind_the_data_cannot_become_an_attribute() -> None:
    with pytest.raises(RejectedError, match="the body is not JSON"):
        records_of("", BINARY, b'{"page": "home"}, "subject": "somebody-else"', 10)
    with pytest.raises(RejectedError, match="ce-id came twice"):
        records_of("", [*BINARY, *headers(id="b-2")], b"{}", 10)
    (record,) = records_of("", [*BINARY, *headers(data="7")], b'{"page": "home"}', 10)
    assert json.loads(record)["data"] == {"page": "home"}


@pytest.mark.parametrize(
    ("media", "body", "status", "reason"),
    [
        ("application/xml", b"<e/>", 415, "unsupported_media_type"),
        ("multipart/form-data; boundary=x", b"--x", 415, "unsupported_media_type"),
        ("application/x-www-form-urlencoded", b"a=b", 415, "unsupported_media_type"),
        ("application/cloudevents+xml", b"<e/>", 415, "unsupported_media_type"),
        ("application/json; charset=windows-1256", b"{}", 415, "unsupported_media_type"),
        (BATCH, b"{}", 400, "not_an_array"),
        (BATCH, b"", 400, "not_an_array"),
        (BATCH, b"[1,2", 400, "not_json"),
        ("application/json", b"[1,]", 400, "not_json"),
        ("application/json", b'{"id": "e-1"', 400, "not_json"),
        ("application/json", b'{"id": "e-1"} {}', 400, "not_json"),
        (STRUCTURED, b"", 400, "not_json"),
        ("text/plain", b'{"a":' * 5_000, 400, "too_deep"),
        ("application/json", b"[" * 5_000, 400, "too_deep"),
        ("text/plain", b"[1,2,3]", 413, "too_many_events"),
    ],
)
def test_what_cannot_be_taken_apart_is_turned_away_whole(media: str, body: bytes, status: int, reason: str) -> None:
    with pytest.raises(RejectedError) as rejected:
        records_of(media, [], body, 2)
    assert (rejected.value.status, rejected.value.reason, rejected.value.verdict) == (status, reason, "malformed")
    assert rejected.value.retry_after_s is None


def test_a_header_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(RejectedError, match="ce-unitid is not UTF-8"):
        records_of("", [*BINARY, (b"ce-unitid", b"%FF%FE")], b"{}", 10)


def unpacked(encoding: str, body: bytes, limit: int, step: int = 1_000_000) -> bytes:
    """What comes out of a body that comes in steps of so many bytes."""
    unpacking = Unpacking(encoding, limit)
    pieces = [piece for start in range(0, len(body), step) for piece in unpacking.feed(body[start : start + step])]
    unpacking.close()
    return b"".join(pieces)


@pytest.mark.parametrize("step", [1, 7, 1_000_000])
def test_gzip_is_undone_within_the_limit(step: int) -> None:
    body = msgspec.json.encode([event()] * 50)
    assert unpacked("gzip", gzip.compress(body), len(body), step) == body
    assert unpacked(" X-GZIP ", gzip.compress(body), len(body), step) == body
    assert unpacked("", body, len(body), step) == body
    for encoding, sent in (("gzip", gzip.compress(body)), ("identity", body)):
        with pytest.raises(RejectedError) as large:
            unpacked(encoding, sent, len(body) - 1, step)
        assert (large.value.status, large.value.reason) == (413, "too_large")


@pytest.mark.parametrize("step", [1, 100, 1_000_000])
def test_several_members_are_one_body(step: int) -> None:
    """As senders write it that flush in between; the limit holds for all together."""
    parts = [b"[", json.dumps(event()).encode(), b"", b"," + json.dumps(event(2)).encode() + b"]"]
    body = b"".join(map(gzip.compress, parts))
    assert json.loads(unpacked("gzip", body, 1_000, step)) == [event(), event(2)]
    with pytest.raises(RejectedError, match="more than 100 bytes"):
        unpacked("gzip", body, 100, step)
    with pytest.raises(RejectedError, match="more than 1000 gzip members"):
        unpacked("gzip", gzip.compress(b"") * (MEMBERS + 2), 1_000, step)


@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1])
def test_what_fills_a_piece_to_the_brim_is_read_to_its_end(size: int) -> None:
    for body in (b"x" * size, random.Random(size).randbytes(3 * size)):
        for step in (1_000, 1_000_000):
            assert unpacked("gzip", gzip.compress(body), 10 * PIECE, step) == body


def test_a_bomb_is_found_before_it_goes_off() -> None:
    """A hundred megabytes in a hundred kilobytes: what comes out is bounded by what went in, far below the limit."""
    bomb = gzip.compress(b" " * 100_000_000, 9)
    pieces: list[bytes] = []
    with pytest.raises(RejectedError, match=f"more than {RATIO} times") as refused:
        pieces.extend(Unpacking("gzip", 64 * 1024 * 1024).feed(bomb[:1_000]))
    assert refused.value.status == 413
    assert max(map(len, pieces)) <= PIECE
    assert sum(map(len, pieces)) <= PIECE + RATIO * 1_000


def test_an_array_of_many_things_is_left_at_the_first_that_is_too_much() -> None:
    """What follows is not even read: there it could be anything."""
    with pytest.raises(RejectedError, match="more than 2 events"):
        records_of(BATCH, [], b"[1,2,3,broken", 2)
    assert records_of(BATCH, [], b"[1,2]", 2) == [b"1", b"2"]


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", b"plain", 400),
        ("gzip", gzip.compress(b"[]", mtime=0)[:-4], 400),
        ("gzip", gzip.compress(b"[]", mtime=0) + b"more", 400),
        ("gzip", gzip.compress(b"[]", mtime=0) + gzip.compress(b"[]", mtime=0)[:9], 400),
        ("gzip", b"", 400),
        ("br", b"", 415),
        ("gzip, gzip", b"", 415),
    ],
)
def test_what_is_not_gzip_is_refused(encoding: str, body: bytes, status: int) -> None:
    with pytest.raises(RejectedError) as rejected:
        unpacked(encoding, body, 100)
    assert rejected.value.status == status


def test_what_is_invisible_between_tokens_is_taken_apart_as_if_it_were_not_there() -> None:
    """One body, a batch, an array that begins with it; what is broken otherwise is told so as before."""
    one, two = (json.dumps(event(number)) for number in (1, 2))
    odd = one.replace('", "', '"\u200f,\u00a0"', 1)
    assert json.loads(records_of(STRUCTURED, [], odd.encode(), 9)[0]) == event(1)
    for body, content_type in (
        (f"\u2060[{one}\u200b,\u3000{two}]", BATCH),
        (f"\u200e[{one},{two}]", "application/json"),
    ):
        assert records_of(content_type, [], body.encode(), 9) == [one.encode(), two.encode()]
    for broken in (f"[{one}\u200b,", '{"a" \u200b 1}'):
        with pytest.raises(RejectedError, match="not JSON"):
            records_of("application/json", [], broken.encode(), 9)
