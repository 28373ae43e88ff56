"""
HTTP/1.1 framing, strictly: where a request's head and body end, or why nobody can say.

Two parsers that read one request differently let a request be smuggled past a proxy. So whatever RFC 9112 lets a server
read in two ways is refused here, and the parser behind sees each head in one normal form and each body in plain chunks.
Every step is linear in the bytes that came, and the cheapest comes first.
"""

import re
from typing import Final, NamedTuple

LINE_BYTES: Final = 8_192
"""Longest request line, and longest header line."""
HEAD_BYTES: Final = 16_384
HEADERS: Final = 64
CHUNKS: Final = 4_096
"""Chunks of one body: each costs, however short it is."""

_REQUEST: Final = re.compile(rb"([A-Z]{1,16}) (/[\x21-\x7e]*) HTTP/1\.([01])")
_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_CHUNK_LINE_BYTES: Final = 10
_LONE: Final = re.compile(rb"(?<!\r)\n|\r[^\n]")


class FramingError(Exception):
    """
    A request that is not read on, and so the last of its connection.

    Args:
        status: HTTP status code.
        message: what is wrong and what is expected, in a sentence.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class RequestHead(NamedTuple):
    """A request's head: its normal form for the parser behind, and what decides who asks."""

    wire: bytes
    forwarded_for: bytes
    """The addresses of all `X-Forwarded-For` headers, as they came; the last is the nearest."""


class Framer:
    """The bytes of one connection, cut into heads and bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._left = 0
        """Bytes that are still missing of a body or a chunk."""
        self._chunks: int | None = None
        """Chunks so far; None: the body has a length."""
        self._chunk_open = False
        self.between = True
        """No request is open: the next bytes are a head."""

    @property
    def buffered(self) -> int:
        """Return how many bytes came and were not read yet."""
        return len(self._buffer)

    @property
    def missing(self) -> float:
        """Return how many bytes of the open body are still to come; of one in chunks nobody knows."""
        return self._left if self._chunks is None else float("inf")

    def feed(self, data: bytes) -> None:
        """Take bytes as they come."""
        self._buffer += data

    def head(self, *, last: bool = False) -> RequestHead | None:
        """
        Read the next head; None while it is not complete.

        Args:
            last: no further request of this connection is wanted, and its sender is told so.

        Raises:
            FramingError: it is too large, or can be understood in more than one way.
        """
        end = self._buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0:
            self._bound()
            self._searched = len(self._buffer)
            return None
        if end > HEAD_BYTES:
            raise _too_large()
        text = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        self._searched = 0
        return self._read(text, last=last)

    def body(self) -> bytes:
        """
        Return what came of the open request's body, ready for the parser behind; `between` tells whether that is all.

        Raises:
            FramingError: its chunks can be understood in more than one way, or are too many.
        """
        return self._plain() if self._chunks is None else self._of_chunks()

    def _bound(self) -> None:
        """Refuse what can never become a head before its end has come, if it ever does."""
        size = len(self._buffer)
        if size > HEAD_BYTES + 3:
            raise _too_large()
        if size > LINE_BYTES and self._buffer.find(b"\n", 0, LINE_BYTES) < 0:
            raise FramingError(414, f"the request line has more than {LINE_BYTES} bytes")
        if self._buffer[:1] and not 0x41 <= self._buffer[0] <= 0x5A:
            raise FramingError(400, "the request does not begin with a method")
        # Those who end lines by a line feed alone would wait for an answer until they are parted with.
        if _LONE.search(self._buffer, max(0, self._searched - 1)):
            raise _lone()

    def _read(self, text: bytes, *, last: bool) -> RequestHead:
        lines = text.split(b"\r\n", HEADERS + 1)
        if len(lines) > HEADERS + 1:
            raise FramingError(431, f"the head has more than {HEADERS} headers")
        bare = text.replace(b"\r\n", b"")
        if b"\r" in bare or b"\n" in bare:
            raise _lone()
        request = _REQUEST.fullmatch(lines[0])
        if len(lines[0]) > LINE_BYTES:
            raise FramingError(414, f"the request line has more than {LINE_BYTES} bytes")
        if not request:
            raise FramingError(400, "the request line is not `METHOD /path HTTP/1.1`, with one space in between")
        if request[1] not in _METHODS:
            raise FramingError(501, "the method is none of " + b", ".join(sorted(_METHODS)).decode())
        fields = [_field(line) for line in lines[1:]]
        of: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            of.setdefault(name, []).append(value)
        self._frame(of, modern=request[3] == b"1")
        hosts = of.get(b"host", [])
        if len(hosts) > 1 or (request[3] == b"1" and not hosts):
            raise FramingError(400, f"there are {len(hosts)} Host headers, expected one")
        self.between = False
        if last:
            fields = [field for field in fields if field[0] != b"connection"] + [(b"connection", b"close")]
        wire = b"\r\n".join([lines[0], *(b"%b: %b" % field for field in fields), b"", b""])
        return RequestHead(wire, b",".join(of.get(b"x-forwarded-for", ())))

    def _frame(self, of: dict[bytes, list[bytes]], *, modern: bool) -> None:
        lengths, codings = of.get(b"content-length", []), of.get(b"transfer-encoding", [])
        if lengths and codings:
            raise FramingError(400, "Content-Length and Transfer-Encoding say twice how long the body is")
        if len(lengths) > 1:
            raise FramingError(400, "Content-Length came more than once")
        if lengths and not _LENGTH.fullmatch(lengths[0]):
            raise FramingError(400, "Content-Length is not one decimal number of at most 15 digits")
        if codings:
            if not modern:
                raise FramingError(400, "Transfer-Encoding came with HTTP/1.0, which does not know it")
            if [coding.lower() for coding in codings] != [b"chunked"]:
                raise FramingError(501, "Transfer-Encoding is not `chunked` alone")
        self._chunks = 0 if codings else None
        self._left = int(lengths[0]) if lengths else 0
        self._chunk_open = False

    def _plain(self) -> bytes:
        piece = bytes(self._buffer[: self._left])
        del self._buffer[: self._left]
        self._left -= len(piece)
        self.between = self._left == 0
        return piece

    def _of_chunks(self) -> bytes:
        pieces = []
        while not self.between:
            if self._chunk_open:
                if self._left:
                    piece = bytes(self._buffer[: self._left])
                    del self._buffer[: self._left]
                    pieces.append(piece)
                    self._left -= len(piece)
                if self._left or len(self._buffer) < 2:
                    break
                if self._buffer[:2] != b"\r\n":
                    raise FramingError(400, "a chunk is longer than it says")
                del self._buffer[:2]
                self._chunk_open = False
            elif not self._next_chunk():
                break
        data = b"".join(pieces)
        wire = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        return wire + b"0\r\n\r\n" if self.between else wire

    def _next_chunk(self) -> bool:
        """Read the line in front of a chunk, or the end of the body; False while it is not complete."""
        line = _CHUNK.match(self._buffer)
        if not line:
            if len(self._buffer) >= _CHUNK_LINE_BYTES or b"\n" in self._buffer or b";" in self._buffer:
                raise FramingError(400, "a chunk does not begin with its size, 1 to 8 hex digits and nothing else")
            return False
        size = int(line[1], 16)
        if size == 0:
            end = bytes(self._buffer[line.end() : line.end() + 2])
            if len(end) < 2 and b"\r\n".startswith(end):
                return False
            if end != b"\r\n":
                raise FramingError(400, "something follows the last chunk; trailers are not taken")
            del self._buffer[: line.end() + 2]
            self.between = True
            return True
        del self._buffer[: line.end()]
        assert self._chunks is not None
        self._chunks += 1
        if self._chunks > CHUNKS:
            raise FramingError(400, f"the body has more than {CHUNKS} chunks")
        self._left, self._chunk_open = size, True
        return True


def _field(line: bytes) -> tuple[bytes, bytes]:
    if len(line) > LINE_BYTES:
        raise FramingError(431, f"a header has more than {LINE_BYTES} bytes")
    name, colon, value = line.partition(b":")
    if not colon or not _NAME.fullmatch(name):
        # Among these are lines that continue another one, and names with a space behind them.
        raise FramingError(400, "a header is not `Name: value`, on one line and without a space before the colon")
    value = value.strip(b" \t")
    if _CONTROL.search(value):
        raise FramingError(400, "a header holds a control character")
    return name.lower(), value


def _too_large() -> FramingError:
    return FramingError(431, f"the head has more than {HEAD_BYTES} bytes")


def _lone() -> FramingError:
    return FramingError(400, "a line of the head ends by CR or LF alone, expected CR LF")
