"""What a record is when it is no JSON: told by its first bytes, in words by which its sender can be found."""

from typing import Final

_BEGINNINGS: Final = (
    (b"\x1f\x8b", "gzip: compress by the producer's `compression.type`, not the value itself"),
    (b"\x28\xb5\x2f\xfd", "zstd: compress by the producer's `compression.type`, not the value itself"),
    (b"Obj\x01", "an Avro file: send JSON"),
    (b"\xc3\x01", "an Avro message: send JSON"),
    (b"\xff\xfe", "UTF-16: send UTF-8"),
    (b"\xfe\xff", "UTF-16: send UTF-8"),
    (b"{\x00", "UTF-16: send UTF-8"),
    (b"\x00{\x00", "UTF-16: send UTF-8"),
    (b"\xac\xed\x00\x05", "a serialized Java object: send JSON"),
)
_FRAME: Final = 5
"""A zero and four bytes of a schema's id, before each value."""


_SHOWN: Final = 12


def beginning(value: bytes) -> str:
    """Return the first bytes of a value, each by two hexadecimal digits."""
    return value[:_SHOWN].hex(" ")


def looks_like(value: bytes) -> str:
    """Return what a value is by its beginning, and what to do about it; empty when nothing is recognised."""
    for beginning, words in _BEGINNINGS:
        if value.startswith(beginning):
            return words
    if value[:1] == b"\x00" and len(value) > _FRAME:
        schema = int.from_bytes(value[1:_FRAME], "big")
        kind = "JSON" if value[_FRAME:].lstrip()[:1] in {b"{", b"["} else "Avro or Protobuf"
        return f"schema-registry framing (schema {schema}) before {kind}: use a plain serializer for JSON text"
    return ""
