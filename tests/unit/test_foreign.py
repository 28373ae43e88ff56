"""What is no JSON is named by its first bytes, in the refusal that its sender and the operator read."""

import base64
import bz2
import gzip
import json
import lzma
import struct
import zlib

import pytest

from streams.events.decode import Refusal, decode_one

EVENT = b'{"specversion": "1.0"}'
LONG = b'{"specversion": "1.0", "id": "' + b"a" * 101 + b'"}'
BRACE = b'{"id": "' + b"a" * 113 + b'"}'  # as long as the code of a brace says
assert len(BRACE) == ord("{")


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
        (EVENT.decode().encode("utf-32"), "not_utf8", "UTF-32"),
        (EVENT.decode().encode("utf-32-le"), "not_json", "UTF-32"),
        (EVENT.decode().encode("utf-32-be"), "not_json", "UTF-32"),
        (zlib.compress(EVENT), "not_utf8", "zlib"),
        (bz2.compress(EVENT), "not_utf8", "bzip2"),
        (lzma.compress(EVENT), "not_utf8", "xz"),
        (b"\x04\x22\x4d\x18\x64", "not_json", "lz4"),
        (b"\xff\x06\x00\x00sNaPpY\x00", "not_utf8", "snappy"),
        (b"\x82SNAPPY\x00\x00", "not_utf8", "snappy"),
        (struct.pack(">I", len(LONG)) + LONG, "not_utf8", "a length of 4 bytes before JSON"),
        (struct.pack("<I", len(LONG)) + LONG, "not_utf8", "a length of 4 bytes before JSON"),
        (struct.pack(">H", len(LONG)) + LONG, "not_utf8", "a length of 2 bytes before JSON"),
        (struct.pack(">I", len(BRACE)) + BRACE, "not_json", "a length of 4 bytes before JSON"),
        (b"\xac\x02" + LONG + b" " * (300 - len(LONG)), "not_utf8", "a length of 2 bytes before JSON"),
        (b"\x03\x00" + bytes(range(16)) + EVENT, "not_json", "framing of AWS Glue's schema registry before JSON"),
        (b"\x01\x02\x03" + EVENT, "not_json", "something of 3 bytes before JSON"),
        (b"\x0a\x05hello\x12\x03abc\x18\x96\x01", "not_utf8", "Protobuf"),
        (b"\x0a\x02\x01\x02" * 40 + b"\xff", "not_utf8", "Protobuf"),
        (b"\x82\xa2id\xa1a\xa4type\xa1b", "not_utf8", "MessagePack"),
        (b"\xa1\x62id\x61a", "not_utf8", "CBOR"),
        (b"\x16\x00\x00\x00\x02hello\x00\x06\x00\x00\x00world\x00\x00", "not_json", "BSON"),
        (b"{'id': 'a'}", "not_json", "a Python dict"),
        (base64.b64encode(EVENT), "not_json", "Base64"),
        (b"\x1e" + EVENT + b"\n", "not_json", "JSON text sequences"),
        (b"data: " + EVENT, "not_json", "server-sent events"),
        (b"<event/>", "not_json", "XML"),
        (b"[" + EVENT + b"]", "not_an_object", "several events in one record"),
        (json.dumps(EVENT.decode()).encode(), "not_an_object", "JSON that was encoded twice"),
        (b'{"schema": {}, "payload": ' + EVENT + b"}", "missing_field", "Kafka Connect's JSON with a schema"),
    ],
)
def test_first_bytes_are_told_in_words(value: bytes, reason: str, words: str) -> None:
    refusal = decode_one(value)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason
    assert f"; it looks like {words}" in refusal.message


@pytest.mark.parametrize(
    "value",
    [
        b"{", b"\0\0", b"hello", b"\xff", b"\n" * 27 + b"x", b'x {"a": 1}', b' \n{"a": 1,}', b"\x0a\x05hello",
        b"\x0a\x05hello\x12\x09abc", b"\x08", b"a,b\n1,2\n", b"5", b'"text"', b"[]", b"[1]",
        b'{"schema": {}, "payload": {}, "x": 1}',
    ],
)  # fmt: skip
def test_nothing_is_guessed(value: bytes) -> None:
    refusal = decode_one(value)
    assert isinstance(refusal, Refusal)
    assert "looks like" not in refusal.message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b'{"a": NaN}', "(byte 6): NaN is no value of JSON, leave the field out"),
        (b'{"a": -Infinity}', "Infinity is no value of JSON"),
        (b'{"a": None}', "None is no value of JSON"),
        ('{\u202d"a": 1, "b": x}'.encode(), "(byte 1): U+202D stands there"),
    ],
)
def test_what_stands_where_json_ends_is_named(value: bytes, words: str) -> None:
    refusal = decode_one(value)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "not_json"
    assert words in refusal.message


@pytest.mark.parametrize("value", [b"", b" ", b"\r\n\t"])
def test_blanks_are_an_empty_record(value: bytes) -> None:
    refusal = decode_one(value)
    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.message) == ("empty_record", "the record is empty")
