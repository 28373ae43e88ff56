"""What is no JSON is named by its first bytes, in the refusal that its sender and the operator read."""

import gzip
import struct

import pytest

from streams.events.decode import Refusal, decode_one

EVENT = b'{"specversion": "1.0"}'


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (b"\0" + struct.pack(">I", 42) + EVENT, "not_json", "schema-registry framing (schema 42) before JSON"),
        (b"\0" + struct.pack(">I", 7) + b"\x02\x06abc", "not_json", "schema-registry framing (schema 7) before Avro"),
        (gzip.compress(EVENT, mtime=0), "not_utf8", "gzip"),
        (b"\x28\xb5\x2f\xfd\x20\x01", "not_utf8", "zstd"),
        (b"Obj\x01\x04", "not_json", "an Avro file"),
        (b"\xc3\x01\x99\x99", "not_utf8", "an Avro message"),
        (EVENT.decode().encode("utf-16"), "not_utf8", "UTF-16"),
        (EVENT.decode().encode("utf-16-le"), "not_json", "UTF-16"),
        (EVENT.decode().encode("utf-16-be"), "not_json", "UTF-16"),
        (b"\xac\xed\x00\x05t", "not_utf8", "a serialized Java object"),
    ],
)
def test_first_bytes_are_told_in_words(value: bytes, reason: str, words: str) -> None:
    refusal = decode_one(value)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason
    assert f"; it looks like {words}" in refusal.message


@pytest.mark.parametrize("value", [b"{", b"\0\0", b"hello", b"\xff"])
def test_nothing_is_guessed(value: bytes) -> None:
    refusal = decode_one(value)
    assert isinstance(refusal, Refusal)
    assert "looks like" not in refusal.message
