"""Framing: what is one request, and that whatever could be two is none."""

import pytest

from streams.listener.framing import CHUNKS, HEAD_BYTES, HEADERS, LINE_BYTES, Framer, FramingError, RequestHead

POST = b"POST /v1/events HTTP/1.1\r\nHost: door\r\n"


def read(data: bytes, step: int = 1_000_000) -> list[tuple[bytes, bytes]]:
    """Heads and bodies as they go to the parser behind, of bytes that come in steps."""
    framer, found = Framer(), []
    for start in range(0, len(data), step):
        framer.feed(data[start : start + step])
        while True:
            if framer.between:
                head = framer.head()
                if head is None:
                    break
                found.append((head.wire, b""))
            else:
                found[-1] = (found[-1][0], found[-1][1] + framer.body())
                if not framer.between:
                    break
    return found


def refusal(data: bytes, step: int = 1_000_000) -> FramingError:
    with pytest.raises(FramingError) as refused:
        read(data, step)
    return refused.value


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1_000_000])
def test_requests_follow_each_other_in_any_pieces(step: int) -> None:
    data = (
        POST + b"Content-Length: 3\r\n\r\nabc"
        b"GET /health HTTP/1.0\r\n\r\n"
        + POST + b"transfer-encoding: Chunked\r\n\r\n3\r\nabc\r\n00a\r\n0123456789\r\n0\r\n\r\n"
        + POST + b"Content-Length: 0\r\nX-A:\t b \r\n\r\n"
    )  # fmt: skip
    got = read(data, step)
    assert [head.partition(b"\r\n")[0] for head, _ in got] == [
        b"POST /v1/events HTTP/1.1", b"GET /health HTTP/1.0", b"POST /v1/events HTTP/1.1", b"POST /v1/events HTTP/1.1",
    ]  # fmt: skip
    assert got[0][1] == b"abc"
    assert unchunked(got[2][1]) == b"abc0123456789"
    assert got[3][0].endswith(b"x-a: b\r\n\r\n")


def unchunked(body: bytes) -> bytes:
    out = b""
    while True:
        size, _, body = body.partition(b"\r\n")
        if size == b"0":
            assert body == b"\r\n"
            return out
        out += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]


AMBIGUOUS = {
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "one length twice": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": POST + b"Content-Length: 3, 3\r\n\r\nabc",
    "length and chunks": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "a sign": POST + b"Content-Length: +3\r\n\r\nabc",
    "a minus": POST + b"Content-Length: -3\r\n\r\nabc",
    "nothing": POST + b"Content-Length: \r\n\r\nabc",
    "space in digits": POST + b"Content-Length: 3 3\r\n\r\nabc",
    "other digits": POST + "Content-Length: ۳\r\n\r\nabc".encode(),
    "hex": POST + b"Content-Length: 0x3\r\n\r\nabc",
    "underscore": POST + b"Content-Length: 1_0\r\n\r\n",
    "very long": POST + b"Content-Length: " + b"9" * 16 + b"\r\n\r\n",
    "space before the colon": POST + b"Content-Length : 3\r\n\r\nabc",
    "tab before the colon": POST + b"Transfer-Encoding\t: chunked\r\n\r\n",
    "folded": POST + b"X-A: a\r\n b\r\n\r\n",
    "folded by a tab": POST + b"Transfer-Encoding:\r\n\tchunked\r\n\r\n",
    "a line feed alone": POST + b"X-A: a\nContent-Length: 3\r\n\r\nabc",
    "line feeds alone": b"GET / HTTP/1.1\nHost: a\n\n",
    "a return alone": POST + b"X-A: a\rContent-Length: 3\r\n\r\nabc",
    "a return at the end": POST + b"X-A: a\r\r\n\r\n",
    "a return in the request line": b"GET / HTTP/1.1\rX: y\r\nHost: a\r\n\r\n",
    "a null": POST + b"X-A: a\x00b\r\n\r\n",
    "a control character": POST + b"X-A: a\x0bb\r\n\r\n",
    "no colon": POST + b"X-A\r\n\r\n",
    "no name": POST + b": a\r\n\r\n",
    "a name of other letters": POST + "Content-Längth: 3\r\n\r\n".encode(),
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": POST + b"Host: other\r\n\r\n",
    "chunks of HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "another version": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tab": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space in front": b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "an empty line in front": b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "other letters in the path": "GET /é HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "a whole URL": b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
CHUNKED = {
    "no digit": b"\r\n",
    "a sign": b"+3\r\nabc\r\n0\r\n\r\n",
    "hex with a prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "a space behind": b"3 \r\nabc\r\n0\r\n\r\n",
    "an extension": b"3;a=b\r\nabc\r\n0\r\n\r\n",
    "a long extension": b"3;" + b"a" * 10_000,
    "nine digits": b"000000003\r\nabc\r\n0\r\n\r\n",
    "a line feed alone": b"3\nabc\r\n0\r\n\r\n",
    "no end": b"3\r\nabcd\r\n0\r\n\r\n",
    "a line feed as end": b"3\r\nabc\n0\r\n\r\n",
    "a trailer": b"3\r\nabc\r\n0\r\nX-A: b\r\n\r\n",
    "too many": b"1\r\na\r\n" * (CHUNKS + 1),
}


@pytest.mark.parametrize("step", [1, 1_000_000])
@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_refused(kind: str, step: int) -> None:
    assert refusal(AMBIGUOUS[kind], step).status == 400


@pytest.mark.parametrize("step", [1, 1_000_000])
@pytest.mark.parametrize("kind", CHUNKED)
def test_chunks_that_can_be_read_in_two_ways_are_refused(kind: str, step: int) -> None:
    assert refusal(POST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED[kind], step).status == 400


@pytest.mark.parametrize(
    "coding",
    [
        b"gzip, chunked",
        b"chunked, gzip",
        b"identity",
        b"xchunked",
        b"chunked\r\nTransfer-Encoding: chunked",
        b'"chunked"',
    ],
)
def test_other_transfer_codings_are_not_known(coding: bytes) -> None:
    assert refusal(POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n").status == 501


def test_other_methods_are_not_known() -> None:
    assert refusal(b"CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n").status == 501


@pytest.mark.parametrize("step", [1, 50, 1_000_000])
def test_heads_are_bounded_in_lines_bytes_and_number(step: int) -> None:
    assert refusal(b"GET /" + b"a" * LINE_BYTES + b" HTTP/1.1\r\nHost: a\r\n\r\n", step).status == 414
    assert refusal(POST + b"X-A: " + b"a" * LINE_BYTES + b"\r\n\r\n", step).status == 431
    assert refusal(POST + b"X-A: a\r\n" * HEADERS + b"\r\n", step).status == 431
    assert len(read(POST + b"X-A: a\r\n" * (HEADERS - 1) + b"\r\n", step)) == 1
    long = b"X-A: " + b"a" * 7_000 + b"\r\n"
    assert len(read(POST + long * 2 + b"\r\n", step)) == 1
    assert refusal(POST + long * 3 + b"\r\n", step).status == 431


def test_a_head_that_never_ends_is_refused_as_soon_as_it_is_too_long() -> None:
    framer = Framer()
    framer.feed(b"GET /" + b"a" * LINE_BYTES)
    with pytest.raises(FramingError):
        framer.head()
    framer = Framer()
    framer.feed(POST + (b"X-A: " + b"a" * 1_000 + b"\r\n") * (HEAD_BYTES // 1_000 + 1))
    with pytest.raises(FramingError):
        framer.head()


def test_the_last_request_of_a_connection_says_so() -> None:
    framer = Framer()
    framer.feed(POST + b"Connection: keep-alive\r\n\r\n")
    head = framer.head(last=True)
    assert isinstance(head, RequestHead)
    assert b"keep-alive" not in head.wire
    assert head.wire.endswith(b"connection: close\r\n\r\n")


def test_all_that_is_forwarded_for_is_told_in_its_order() -> None:
    framer = Framer()
    framer.feed(POST + b"X-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nx-forwarded-for: 3.3.3.3\r\n\r\n")
    head = framer.head()
    assert head
    assert head.forwarded_for == b"1.1.1.1, 2.2.2.2,3.3.3.3"
