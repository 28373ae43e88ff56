"""Requests that somebody hostile or careless sends to the HTTP door, as bytes, each made from a seed."""

import gzip
import random
import zlib
from collections.abc import Callable
from typing import Final

from tests.fuzz.records import KINDS, example, foreign_name, wire
from tests.unit.test_listener_framing import AMBIGUOUS, CHUNKED, POST

KEY: Final = "public-key-of-the-fuzzed-shop"
_ENDS: Final = "\r\n"
_TYPES: Final = (
    "application/json", "application/cloudevents+json", "application/cloudevents-batch+json", "text/plain", "text/plain;charset=UTF-8",
    "application/json; charset=utf-16", "application/xml", "multipart/form-data; boundary=x", "", "application/x-ndjson", "a" * 300,
    "application/json;;;=", "application/cloudevents+avro",
)  # fmt: skip
_PATHS: Final = (
    "/v1/events", "/v1/events/", "/v1/../v1/events", "//v1/events", "/v1/events?x=y&x=z", "/v1/%65vents", "/", "/health", "/ready",
    "/metrics", "/..%2f..%2fetc/passwd", "/v1/events;a=b", "http://127.0.0.1/v1/events", "*", "/" + "a" * 3_000, "/\xff",
    "/v1/events#f", "/v1/events%00",
)  # fmt: skip
_METHODS: Final = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "post", "P" * 50, "PRI")
_HEADS: Final = (
    ("Origin", "https://evil.example"), ("Origin", "null"), ("Host", "evil.example"), ("Host", ""), ("X-Forwarded-For", "10.0.0.1"),
    ("Expect", "100-continue"), ("Upgrade", "websocket"), ("Connection", "upgrade, keep-alive, close"), ("X-API-Key", "wrong"),
    ("X-API-Key", "\x7f"), ("Authorization", "Bearer " + "a" * 4_000), ("Content-Encoding", "br"), ("Content-Encoding", "gzip, gzip"),
    ("Sec-Fetch-Site", "cross-site"), ("Access-Control-Request-Method", "POST"), ("Cookie", "a=b; " * 500), ("ce-id", "x"),
    ("ce-type", "cx.page.viewed"), ("ce-time", "yesterday"), ("ce-source", "%FF%00"), ("Transfer-Encoding", "identity"),
    ("Range", "bytes=0-"), ("Accept", "*/*;q=" + "9" * 100), ("TE", "trailers"), ("X-\xe9", "é"),
)  # fmt: skip

Make = Callable[[int, random.Random], bytes]


def request(body: bytes, method: str = "POST", path: str = "/v1/events", *heads: tuple[str, str]) -> bytes:
    """Write a request that is framed as it should be."""
    named = {"Host": "127.0.0.1", "Content-Type": "application/json", "X-API-Key": KEY, "Connection": "close"}
    named |= {"Content-Length": str(len(body)), **dict(heads)}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return _ENDS.join([*lines, "", ""]).encode("latin-1", "replace") + body


def _value(number: int, chance: random.Random) -> bytes:
    while True:
        value = chance.choice(list(KINDS.values()))(number, chance) or b""
        if not foreign_name(value, number):
            return value


def _any_body(number: int, chance: random.Random) -> bytes:
    return request(_value(number, chance))


def _any_type(number: int, chance: random.Random) -> bytes:
    return request(_value(number, chance), "POST", "/v1/events", ("Content-Type", chance.choice(_TYPES)))


def _batch(number: int, chance: random.Random) -> bytes:
    values = [_value(1_000 * number + n, chance) for n in range(chance.choice([0, 1, 3, 30]))]
    body = (
        chance.choice([b"[", b"[[", b"", b"{", b" \n["]) + b",".join(values) + chance.choice([b"]", b"", b"]]", b",]"])
    )
    return request(body)


def _good_batch(number: int, chance: random.Random) -> bytes:
    return request(wire([example(1_000 * number + n, chance) for n in range(chance.randrange(1, 20))]))


def _packed(number: int, chance: random.Random) -> bytes:
    body = chance.choice([_value(number, chance), b" " * 2_000_000, b"[" * 500_000])
    coding, pack = chance.choice(
        [("gzip", gzip.compress), ("deflate", zlib.compress), ("gzip", bytes), ("zstd", bytes)]
    )
    packed = pack(body)
    return request(
        packed[: chance.choice([len(packed), len(packed) // 2])], "POST", "/v1/events", ("Content-Encoding", coding)
    )


def _chunked(number: int, chance: random.Random) -> bytes:
    body, size = _value(number, chance)[:20_000], chance.choice([1, 7, 4_000])
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(part), part) for at in range(0, len(body), size) if (part := body[at : at + size])
    )
    head = request(b"", "POST", "/v1/events", ("Transfer-Encoding", "chunked")).replace(b"Content-Length: 0\r\n", b"")
    return head + chunks + chance.choice([b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"", b"zz\r\n"])


def _binary(number: int, chance: random.Random) -> bytes:
    made = example(number, chance)
    heads = [(f"ce-{name}", str(value)) for name, value in made.items() if name != "data"]
    chance.shuffle(heads)
    return request(wire(made["data"]), "POST", "/v1/events", *heads[: chance.randrange(len(heads) + 1)])


def _any_head(number: int, chance: random.Random) -> bytes:
    return request(
        _value(number, chance), "POST", chance.choice(_PATHS[:2]), *chance.sample(_HEADS, chance.randrange(1, 5))
    )


def _any_path(number: int, chance: random.Random) -> bytes:
    return request(_value(number, chance), chance.choice(["POST", *_METHODS]), chance.choice(_PATHS))


def _many_heads(_number: int, chance: random.Random) -> bytes:
    return request(
        b"{}",
        "POST",
        "/v1/events",
        *((f"X-{n}", "a" * chance.randrange(100)) for n in range(chance.choice([20, 95, 3_000]))),
    )


def _wrong_length(number: int, chance: random.Random) -> bytes:
    body = _value(number, chance)[:5_000]
    said = chance.choice([len(body) + 10, max(0, len(body) - 3), 10**9, 0])
    return request(body, "POST", "/v1/events", ("Content-Length", str(said)))


def _ambiguous(_number: int, chance: random.Random) -> bytes:
    return chance.choice(
        [*AMBIGUOUS.values(), *(POST + b"Transfer-Encoding: chunked\r\n\r\n" + one for one in CHUNKED.values())]
    )


def _damaged(number: int, chance: random.Random) -> bytes:
    sent = bytearray(request(_value(number, chance)[:5_000]))
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(min(len(sent), 250))
        sent[at : at + chance.randrange(3)] = chance.choice(
            [b"", b"\r", b"\n", b"\x00", b":", b" ", chance.randbytes(2)]
        )
    return bytes(sent)


def _other_protocol(_number: int, chance: random.Random) -> bytes:
    return chance.choice(
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(100), chance.randbytes(500),
         b"GET /\r\n\r\n", b"\r\n" * 500, b"SSH-2.0-x\r\n", b"", b"POST /v1/events HTTP/0.9\r\n\r\n", b"*1\r\n$4\r\nPING\r\n"]
    )  # fmt: skip


KINDS_OF_REQUESTS: Final[dict[str, Make]] = {
    "any body": _any_body,
    "any body of any type": _any_type,
    "batches": _batch,
    "good batches": _good_batch,
    "packed bodies": _packed,
    "chunks": _chunked,
    "attributes as headers": _binary,
    "any heads": _any_head,
    "any paths and methods": _any_path,
    "many heads": _many_heads,
    "wrong lengths": _wrong_length,
    "two requests in one": _ambiguous,
    "damaged requests": _damaged,
    "other protocols": _other_protocol,
}


def requests(count: int, seed: int) -> list[bytes]:
    """Make so many requests, of all kinds in turn."""
    chance = random.Random(seed)
    kinds = list(KINDS_OF_REQUESTS.values())
    return [kinds[number % len(kinds)](1_000_000 + number, chance) for number in range(count)]
