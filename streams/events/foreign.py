"""What a record is when it is no event in JSON: recognised by its bytes, in words by which its sender can be found."""

import re
from collections.abc import Mapping
from typing import Any, Final

_BY_PRODUCER: Final = "compress by the producer's `compression.type`, not the value itself"
_BEGINNINGS: Final = (
    (b"\x1f\x8b", f"gzip: {_BY_PRODUCER}"),
    (b"\x28\xb5\x2f\xfd", f"zstd: {_BY_PRODUCER}"),
    (b"\x04\x22\x4d\x18", f"lz4: {_BY_PRODUCER}"),
    (b"\xff\x06\x00\x00sNaPpY", f"snappy: {_BY_PRODUCER}"),
    (b"\x82SNAPPY\x00", f"snappy: {_BY_PRODUCER}"),
    (b"BZh", f"bzip2: {_BY_PRODUCER}"),
    (b"\xfd7zXZ\x00", f"xz: {_BY_PRODUCER}"),
    *((bytes((0x78, level)), f"zlib (deflate): {_BY_PRODUCER}") for level in (0x01, 0x5E, 0x9C, 0xDA)),
    (b"Obj\x01", "an Avro file: send JSON"),
    (b"\xc3\x01", "an Avro message: send JSON"),
    (b"PAR1", "a Parquet file: send JSON"),
    (b"ORC", "an ORC file: send JSON"),
    (b"PK\x03\x04", "a ZIP file: send JSON"),
    (b"\xff\xfe\x00\x00", "UTF-32: send UTF-8"),
    (b"\x00\x00\xfe\xff", "UTF-32: send UTF-8"),
    (b"{\x00\x00\x00", "UTF-32: send UTF-8"),
    (b"\x00\x00\x00{\x00", "UTF-32: send UTF-8"),
    (b"\xff\xfe", "UTF-16: send UTF-8"),
    (b"\xfe\xff", "UTF-16: send UTF-8"),
    (b"{\x00", "UTF-16: send UTF-8"),
    (b"\x00{\x00", "UTF-16: send UTF-8"),
    (b"\xac\xed\x00\x05", "a serialized Java object: send JSON"),
    (b"\x80\x04\x95", "a pickled Python object: send JSON"),
    (b"{'", "a Python dict as text: write it by json.dumps"),
    (b"eyJ", "Base64: send the JSON itself"),
    (b"\x1e", "JSON text sequences (RFC 7464): send the JSON alone"),
    (b"data:", "server-sent events: send the JSON alone"),
    (b"<", "XML or HTML: send JSON"),
)
_FRAME: Final = 5
"""A zero and four bytes of a schema's id, before each value."""
_GLUE: Final = 18
"""Two bytes and a UUID, before each value: how AWS Glue's registry frames."""
_LONGEST_FRAME: Final = 24
_MORE: Final = 0x80
"""From here on a byte of a Protobuf number says that another one follows."""
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_FIRST_FIELDS: Final = frozenset({b"\x08", b"\x0a", b"\x10", b"\x12"})
_NUMBER: Final = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
# A field's number and kind, then a number, eight or four bytes, or a length.
_FIELD: Final = re.compile(
    rb"(?s:[\x08\x10\x18\x20\x28\x30\x38\x40\x48\x50\x58\x60\x68\x70\x78]"
    + _NUMBER
    + rb"|[\x09\x11\x19\x21\x29\x31\x39\x41\x49\x51\x59\x61\x69\x71\x79].{8}"
    + rb"|[\x0d\x15\x1d\x25\x2d\x35\x3d\x45\x4d\x55\x5d\x65\x6d\x75\x7d].{4}"
    + rb"|[\x0a\x12\x1a\x22\x2a\x32\x3a\x42\x4a\x52\x5a\x62\x6a\x72\x7a](?P<length>"
    + _NUMBER
    + rb"))"
)
_FIELDS_TRIED: Final = 32
_AT: Final = re.compile(r"\(byte (\d+)\)")
_NO_JSON: Final = re.compile(rb"-?(?:NaN|Infinity|nan|inf|None|True|False|undefined)\b")
_SHOWN: Final = 12


def beginning(value: bytes) -> str:
    """Return the first bytes of a value, each by two hexadecimal digits."""
    return value[:_SHOWN].hex(" ")


def looks_like(value: bytes) -> str:
    """Return what a value that is no JSON is by its bytes, and what to do about it; empty when it is not known."""
    at = _json_behind(value)
    if at and _length(value[:at]) == len(value) - at:
        return f"a length of {at} bytes before JSON: send the JSON alone"
    for first, words in _BEGINNINGS:
        if value.startswith(first):
            return words
    if at:
        return _framed(value[:at])
    if value[:1] == b"\x00" and len(value) > _FRAME:
        return f"{_registry(value)} before Avro or Protobuf: use a plain serializer for JSON text"
    return _packed(value)


def not_json(value: bytes, error: Exception) -> str:
    """Say why a text is no JSON, with what its reader said of it: what it is instead, or what stands where it ends."""
    words, said = looks_like(value), why_no_json(error)
    if words:
        return f"{said}; it looks like {words}"
    found = _AT.search(said)
    rest = value[int(found[1]) :] if found else b""
    if (word := _NO_JSON.match(rest)) is not None:
        return f"{said}: {word[0].decode()} is no value of JSON, leave the field out"
    character = rest[:4].decode(errors="ignore")[:1]
    if character and not (character.isascii() and character.isprintable()):
        return f"{said}: U+{ord(character):04X} stands there"
    return said


def why_no_json(error: Exception) -> str:
    """Return what the reader of JSON said, so that who has never seen it understands."""
    said = str(error)
    return "JSON ends before it is whole" if said == "Input data was truncated" else said


def looks_like_json(value: Any) -> str:
    """Return what a JSON value is that is no event, and what to do about it; empty when it is not known."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "several events in one record: send one event in each"
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return "JSON that was encoded twice: send the object itself"
    if isinstance(value, Mapping) and value.keys() == {"schema", "payload"}:
        return "Kafka Connect's JSON with a schema: set value.converter.schemas.enable=false"
    return ""


def _registry(value: bytes) -> str:
    return f"schema-registry framing (schema {int.from_bytes(value[1:_FRAME], 'big')})"


def _json_behind(value: bytes) -> int:
    """Return where whole JSON begins behind a few bytes that are no blanks; 0 if it does not."""
    at = value.find(b'{"', 1, _LONGEST_FRAME + 2)
    return at if at > 0 and value.rstrip()[-1:] == b"}" and not value[:at].isspace() else 0


def _length(frame: bytes) -> int | None:
    """Return the length that is written in front of a value as a Protobuf number, or in four or two bytes."""
    if frame[-1] < _MORE and all(byte >= _MORE for byte in frame[:-1]):
        return sum((byte % _MORE) << 7 * place for place, byte in enumerate(frame))
    if len(frame) not in {2, 4, 8}:
        return None
    big, little = (int.from_bytes(frame, order) for order in ("big", "little"))
    return min(big, little)


def _framed(frame: bytes) -> str:
    if frame[0] == 0 and len(frame) == _FRAME:
        return f"{_registry(frame)} before JSON: use a plain serializer for JSON text"
    if frame[:2] in {b"\x03\x00", b"\x03\x05"} and len(frame) == _GLUE:
        return "framing of AWS Glue's schema registry before JSON: use a plain serializer for JSON text"
    if frame.isascii() and not _CONTROL.search(frame):
        return ""  # text before JSON is for its reader to see
    return f"something of {len(frame)} bytes before JSON: send the JSON alone"


def _packed(value: bytes) -> str:
    """Recognise binary formats that have no beginning of their own: by a first name, by a length, by all fields."""
    first, second = value[:1], value[1:2]
    if b"\x80" < first < b"\x90" and b"\xa0" < second < b"\xc0":
        return "MessagePack: send JSON"
    if (b"\xa0" < first < b"\xb8" or first == b"\xbf") and b"\x60" < second < b"\x78":
        return "CBOR: send JSON"
    if len(value) > _FRAME and int.from_bytes(value[:4], "little") == len(value) and value[-1] == 0:
        return "BSON: send JSON"
    return "Protobuf: send JSON" if _is_protobuf(value) else ""


def _is_protobuf(value: bytes) -> bool:
    """Return whether a value is fields of a Protobuf message, one after the other to its end; not all are read."""
    if value[:1] not in _FIRST_FIELDS or not _CONTROL.search(value):
        return False
    at = fields = 0
    while at < len(value) and fields < _FIELDS_TRIED:
        found = _FIELD.match(value, at)
        if found is None:
            return False
        at = found.end()
        if (length := found["length"]) is not None:
            at += _length(length) or 0
        fields += 1
    return fields > 1 and (at == len(value) or fields == _FIELDS_TRIED)
