"""Whatever comes over a connection: it is read the same in any pieces, and as the parser behind reads it."""

import itertools

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.listener.framing import Framer, FramingError

names = st.sampled_from(
    [b"Content-Length", b"content-length", b"Transfer-Encoding", b"Host", b"X-A", b"X-A ", b" X-A", b"Connection", b""]
)
values = st.sampled_from(
    [
        b"0",
        b"3",
        b"5",
        b"+3",
        b"3, 3",
        b"chunked",
        b"Chunked",
        b"gzip, chunked",
        b"a",
        b"",
        b" a\t",
        b"a\x00",
        b"a\x0bb",
        b"close",
    ]
)
ends = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\n "])
lines = st.builds(lambda name, value, end: name + b":" + value + end, names, values, ends)
starts = st.sampled_from(
    [b"POST /v1/events HTTP/1.1\r\n"] * 6
    + [b"GET / HTTP/1.0\r\n", b"GET / HTTP/1.1\n", b"get / HTTP/1.1\r\n", b"\r\n", b"G\x01"]
)
bodies = st.sampled_from(
    [
        b"",
        b"abc",
        b"abcde",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"5\r\nabcde\r\n1\r\n!\r\n0\r\n\r\n",
        b"3;x\r\nabc\r\n0\r\n\r\n",
        b"0\r\nX: y\r\n\r\n",
    ]
)
requests = st.builds(
    lambda start, host, more, body: start + host + b"".join(more) + b"\r\n" + body,
    starts,
    st.sampled_from([b"Host: a\r\n"] * 4 + [b""]),
    st.lists(lines, max_size=3),
    bodies,
)
streams = st.lists(requests, min_size=1, max_size=3).map(b"".join)


def read(data: bytes, cuts: list[int]) -> tuple[list[tuple[bytes, bytes]], bool]:
    """The requests as they go to the parser behind, and whether the connection was refused."""
    framer, found = Framer(), list[tuple[bytes, bytes]]()
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    try:
        for start, end in itertools.pairwise(places):
            framer.feed(data[start:end])
            while True:
                if framer.between:
                    head = framer.head()
                    if head is None:
                        break
                    found.append((head.wire, b""))
                found[-1] = (found[-1][0], found[-1][1] + framer.body())
                if not framer.between:
                    break
    except FramingError:
        return found, True
    return found, False


def parsed(wire: bytes) -> tuple[bytes, bytes, bool]:
    """Target and body, and whether the request ends, as the parser behind has it."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(wire)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while True:
        event = connection.next_event()
        if not isinstance(event, h11.Data):
            assert not connection.trailing_data[0] or event is h11.NEED_DATA
            return request.target, body, isinstance(event, h11.EndOfMessage)
        body += bytes(event.data)


@given(streams, st.lists(st.integers(0, 1_000), max_size=6))
@settings(deadline=None, max_examples=300)
def test_pieces_make_no_difference_and_both_parsers_agree(data: bytes, cuts: list[int]) -> None:
    whole, refused = read(data, [])
    pieces, refused_in_pieces = read(data, cuts)
    assert refused == refused_in_pieces
    assert len(whole) == len(pieces)
    for (head, body), (other, rest) in zip(whole[:-1], pieces[:-1], strict=True):
        assert head == other
        target, content, complete = parsed(head + body)
        assert (target, content, complete) == parsed(other + rest)
        assert complete


@given(st.binary(max_size=200), st.lists(st.integers(0, 1_000), max_size=6))
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_a_request_or_refused_or_not_complete(data: bytes, cuts: list[int]) -> None:
    assert read(data, cuts)[1] == read(data, [])[1]
