"""
From HTTP to records: CloudEvents 1.0 in structured, batched and binary mode, and plain JSON.

Records are the sender's own bytes wherever there are any, so that what is stored is what was sent.
"""

import itertools
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from streams.collector.answers import RejectedError
from streams.events.foreign import not_json
from streams.events.mending import without_byte_order_mark, without_unseen
from streams.events.types import ENVELOPE_FIELDS

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
PLAIN: Final = frozenset({"application/json", "text/json", "text/plain", ""})
"""Plain JSON, one event or an array of them; `text/plain` is what a page can send when it is left."""
PIECE: Final = 65_536
"""Bytes that are unpacked at once."""
RATIO: Final = 100
"""Bytes that may come out of one that was sent; events, even much alike, come out as 10 to 40."""
UNPACKED_FREE: Final = 65_536
"""Bytes that may come out of it whatever was sent."""
MEMBERS: Final = 1_000
"""Further gzip members of one body."""

_BOOLEANS: Final = frozenset(name for name, field in ENVELOPE_FIELDS.items() if field.kind == "bool")
_ESCAPED: Final = re.compile(rb"\\(.)")
_raw: Final = msgspec.json.Decoder(msgspec.Raw).decode

Headers = Sequence[tuple[bytes, bytes]]
T = TypeVar("T")


def records_of(content_type: str, headers: Headers, body: bytes, most: int) -> list[bytes]:
    """
    Take a request apart into records, which are not checked yet.

    Args:
        content_type: the header's value, of which `media_of` knows.
        headers: all headers, names in lower case.
        body: unpacked.
        most: events that one request may hold.

    Raises:
        RejectedError: it cannot be taken apart, or holds too many.
    """
    media = media_of(content_type, headers)
    body = without_byte_order_mark(body)
    try:
        return _taken_apart(media, headers, body, most)
    except RejectedError as error:
        cleaned = _cleaned(body) if error.reason in ("not_json", "not_an_array") else None
        if cleaned is None:
            raise
        return _taken_apart(media, headers, cleaned, most)


def _taken_apart(media: str, headers: Headers, body: bytes, most: int) -> list[bytes]:
    if media == STRUCTURED:
        return _one(body)
    if media == BATCH:
        return _array(body, most)
    if attributes := _attributes(headers):
        return [_of_headers(attributes, body)]
    return _array(body, most) if body.lstrip()[:1] == b"[" else _one(body)


def media_of(content_type: str, headers: Headers) -> str:
    """
    Return the media type of a request that can be taken apart.

    Raises:
        RejectedError: it is another one, or another charset than UTF-8.
    """
    media, _, parameters = content_type.partition(";")
    media = media.strip().lower()
    charset = re.search(r"charset\s*=\s*\"?([\w-]+)", parameters, re.IGNORECASE)
    if charset and charset[1].lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise RejectedError(415, "unsupported_media_type", f"the charset is {charset[1][:50]}, expected utf-8")
    if media in PLAIN or media in (STRUCTURED, BATCH) or (media.endswith("+json") and _attributes(headers)):
        return media
    raise RejectedError(
        415,
        "unsupported_media_type",
        f"the content type is {media[:100]}, expected {STRUCTURED}, {BATCH}, application/json or text/plain",
    )


class Unpacking:
    """
    Undoes the content encoding of a body as it comes: gzip, in one member or several, or none.

    Args:
        encoding: the header's value.
        limit: bytes that may come out of it.

    Raises:
        RejectedError: the encoding is another one.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        encoding = encoding.strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise RejectedError(
                415, "unsupported_encoding", f"the content encoding is {encoding[:50]}, expected gzip or none"
            )
        self._stream = zlib.decompressobj(wbits=31) if encoding.endswith("gzip") else None
        self._limit = limit
        self._came = self._unpacked = self._members = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Unpack in small pieces, so that the caller can stop, or do something else in between.

        Raises:
            RejectedError: it is not what it says, more than the limit, or out of all proportion to what was sent.
        """
        self._came += len(data)
        for piece in self._unpack(self._stream, data) if self._stream else (data,):
            self._unpacked += len(piece)
            if self._unpacked > self._limit:
                raise too_large(self._limit)
            if self._unpacked > UNPACKED_FREE + RATIO * self._came:
                raise RejectedError(
                    413, "too_large", f"unpacked, the body has more than {RATIO} times as many bytes as were sent"
                )
            yield piece

    def close(self) -> None:
        """
        Tell that nothing more comes.

        Raises:
            RejectedError: something is missing.
        """
        if self._stream is not None and not self._stream.eof:
            raise RejectedError(400, "bad_encoding", "the body is not gzip: its last member has no end")

    def _unpack(self, stream: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
        piece = b""
        # A full piece may leave something behind though all that came is used up.
        while data or len(piece) == PIECE:
            if stream.eof:
                self._members += 1
                if self._members > MEMBERS:
                    raise RejectedError(400, "bad_encoding", f"the body has more than {MEMBERS} gzip members")
                stream = self._stream = zlib.decompressobj(wbits=31)
            try:
                piece = stream.decompress(data, PIECE)
            except zlib.error as error:
                raise RejectedError(400, "bad_encoding", f"the body is not gzip: {error}") from error
            data = stream.unused_data if stream.eof else stream.unconsumed_tail
            yield piece
            if stream.eof:
                piece = b""


def too_large(limit: int) -> RejectedError:
    """Return what is said of a body beyond the limit."""
    return RejectedError(413, "too_large", f"the body has more than {limit} bytes; send fewer events at once")


def _cleaned(body: bytes) -> bytes | None:
    """Return a body without what is invisible between its texts, as events are mended; None if nothing is."""
    try:
        return without_unseen(body)
    except UnicodeDecodeError:
        return None


def _one(body: bytes) -> list[bytes]:
    _parsed(_raw, body)
    return [body]


def _array(body: bytes, most: int) -> list[bytes]:
    if body.lstrip()[:1] != b"[":
        raise RejectedError(400, "not_an_array", "the body is no JSON array of events, as its content type says")
    try:
        parts = msgspec.structs.astuple(_parsed(_array_decoder(most), body))
    except msgspec.ValidationError as error:
        raise RejectedError(413, "too_many_events", f"the request has more than {most} events") from error
    return [bytes(part) for part in itertools.takewhile(lambda part: part is not msgspec.UNSET, parts)]


@lru_cache(maxsize=4)
def _array_decoder(most: int) -> Callable[[bytes], msgspec.Struct]:
    """Return a decoder that stops at the first element beyond `most`: one of lists would make them all first."""
    fields = [(f"e{place}", msgspec.Raw, msgspec.UNSET) for place in range(most)]
    made = msgspec.defstruct("Elements", fields, array_like=True, forbid_unknown_fields=True)
    return msgspec.json.Decoder(made).decode


def _parsed(parse: Callable[[bytes], T], body: bytes) -> T:
    """
    Read a body just so far that it is known to be one JSON value.

    What stands behind a first value could become attributes in binary mode, and where the events of a broken array end,
    nobody can tell.

    Raises:
        RejectedError: it is none.
        ValidationError: it is one, but not as the parser wants it.
    """
    try:
        return parse(body)
    except msgspec.ValidationError:
        raise
    except RecursionError as error:
        raise RejectedError(400, "too_deep", "the body is nested too deep; nothing of it was taken") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        said = f"not JSON, nothing of it was taken: {not_json(body, error)}" if body.strip() else "empty"
        raise RejectedError(400, "not_json", f"the body is {said}") from error


def _attributes(headers: Headers) -> list[tuple[str, bytes]]:
    return [(name[3:].decode("latin-1"), value) for name, value in headers if name.startswith(b"ce-")]


def _of_headers(attributes: Sequence[tuple[str, bytes]], body: bytes) -> bytes:
    """
    Write an event whose attributes came as headers in structured form, its body as `data`.

    Raises:
        RejectedError: a header came twice or is not text, or the body is not one JSON value.
    """
    event: dict[str, Any] = {}
    for name, value in attributes:
        if name in event:
            raise RejectedError(400, "duplicate_key", f"the header ce-{name} came twice, expected once")
        try:
            text = unquote_to_bytes(_unquoted(value)).decode()
        except UnicodeDecodeError as error:
            raise RejectedError(
                400, "not_utf8", f"the header ce-{name} is not UTF-8, percent-encoded or as it is"
            ) from error
        event[name] = text == "true" if name in _BOOLEANS and text in ("true", "false") else text
    event["data"] = _parsed(_raw, body)
    return msgspec.json.encode(event)


def _unquoted(value: bytes) -> bytes:
    if len(value) > 1 and value.startswith(b'"') and value.endswith(b'"'):
        return _ESCAPED.sub(rb"\1", value[1:-1])
    return value
