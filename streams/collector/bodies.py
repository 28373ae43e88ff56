"""
From HTTP to records: CloudEvents 1.0 in structured, batched and binary mode, and plain JSON.

Records are the sender's own bytes wherever there are any, so that what is stored is what was sent.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from streams.collector.answers import RejectedError
from streams.events.types import ENVELOPE_FIELDS

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
PLAIN: Final = frozenset({"application/json", "text/json", "text/plain", ""})
"""Plain JSON, one event or an array of them; `text/plain` is what a page can send when it is left."""

_BOOLEANS: Final = frozenset(name for name, field in ENVELOPE_FIELDS.items() if field.kind == "bool")
_ESCAPED: Final = re.compile(rb"\\(.)")
_list_of_raw: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_raw: Final = msgspec.json.Decoder(msgspec.Raw).decode

Headers = Sequence[tuple[bytes, bytes]]
T = TypeVar("T")


def records_of(content_type: str, headers: Headers, body: bytes, most: int) -> list[bytes]:
    """
    Take a request apart into records, which are not checked yet.

    Args:
        content_type: the header's value.
        headers: all headers, names in lower case.
        body: unpacked.
        most: events that one request may hold.

    Raises:
        RejectedError: it cannot be taken apart, or holds too many.
    """
    media, _, parameters = content_type.partition(";")
    media = media.strip().lower()
    charset = re.search(r"charset\s*=\s*\"?([\w-]+)", parameters, re.IGNORECASE)
    if charset and charset[1].lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise RejectedError(415, "unsupported_media_type", f"the charset is {charset[1]}, expected utf-8")
    attributes = [(name[3:].decode("latin-1"), value) for name, value in headers if name.startswith(b"ce-")]
    if media == STRUCTURED:
        return _one(body)
    if media == BATCH:
        return _array(body, most)
    if attributes and (media in PLAIN or media.endswith("+json")):
        return [_of_headers(attributes, body)]
    if media in PLAIN:
        return _array(body, most) if body.lstrip()[:1] == b"[" else _one(body)
    raise RejectedError(
        415,
        "unsupported_media_type",
        f"the content type is {media[:100]}, expected {STRUCTURED}, {BATCH}, application/json or text/plain",
    )


def unpacked(encoding: str, body: bytes, limit: int) -> bytes:
    """
    Undo the content encoding: gzip or none.

    Raises:
        RejectedError: another encoding, not what it says, or more than `limit` bytes come out of it.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise RejectedError(
            415, "unsupported_encoding", f"the content encoding is {encoding[:50]}, expected gzip or none"
        )
    stream = zlib.decompressobj(wbits=31)
    try:
        found = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise RejectedError(400, "bad_encoding", f"the body is not gzip: {error}") from error
    if len(found) > limit:
        raise too_large(limit)
    if not stream.eof or stream.unused_data:
        raise RejectedError(400, "bad_encoding", "the body is not gzip: expected one whole member and nothing after it")
    return found


def too_large(limit: int) -> RejectedError:
    """Return what is said of a body beyond the limit."""
    return RejectedError(413, "too_large", f"the body has more than {limit} bytes; send fewer events at once")


def _one(body: bytes) -> list[bytes]:
    _parsed(_raw, body)
    return [body]


def _array(body: bytes, most: int) -> list[bytes]:
    if body.lstrip()[:1] != b"[":
        raise RejectedError(400, "not_an_array", "the body is no JSON array of events, as its content type says")
    parts = _parsed(_list_of_raw, body)
    if len(parts) > most:
        raise RejectedError(413, "too_many_events", f"the request has {len(parts)} events, expected at most {most}")
    return [bytes(part) for part in parts]


def _parsed(parse: Callable[[bytes], T], body: bytes) -> T:
    """
    Read a body just so far that it is known to be one JSON value.

    What stands behind a first value could become attributes in binary mode, and where the events of a broken array end,
    nobody can tell.

    Raises:
        RejectedError: it is none.
    """
    try:
        return parse(body)
    except RecursionError as error:
        raise RejectedError(400, "too_deep", "the body is nested too deep; nothing of it was taken") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RejectedError(400, "not_json", f"the body is not JSON, nothing of it was taken: {error}") from error


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
