"""
Kinds of records that somebody hostile or careless writes to a topic, each made from a seed.

All shapes of `tests.harness.hostile`, at the present time, and beside them what only Kafka knows (records without a value,
odd keys and headers), good events of every type with anything changed in them, and bytes that are nothing.
"""

import gzip
import json
import random
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias
from zlib import crc32

from streams.events import examples
from streams.events.decode import Refusal, decode_one
from streams.events.types import EVENT_TYPES
from tests.harness.hostile import SHAPES, START

CHANNELS: Final = ("web", "app", "store", "call_center")
_BEGINNING: Final = START.strftime("%Y-%m-%dT%H:%M:").encode()
_TEXTS: Final = (
    "", " ", "\x00", "\u200b", "\u202e10", "\ufeff", "۱۲۳", "😀" * 50, "a" * 300, "\r\nX: y", "\x1b[2J", "(other)",
    "'; DROP TABLE events; --", "{{ labels }}", "${jndi:ldap://127.0.0.1/a}", "<script>alert(1)</script>", "../../etc/passwd",
    "=1+1", "%s%n", "NaN", "null", "unknown", "__proto__", "2026-01-01T00:00:00Z", "\u202e", "\u06cc\u200c\u06a9", "\ud7ff\ue000", "\uffff",
)  # fmt: skip
_VALUES: Final = (
    None, True, False, 0, -1, 1e308, 10**18, 2**63, 2**64, 10**30, -(10**400), 0.1 + 0.2, [], {}, [[]], {"a": {"b": [1]}}, "4", "۴",
    "4.0", "+4", " 4 ", "0x4",
)  # fmt: skip
_ODD: Final = (
    b"1e400", b"-1e999", b"9" * 400, b"NaN", b"Infinity", b"-0", b"1.", b"01", b'"\\ud800"', b'"\\u0000"', b"[[", b"}{", b"\xed\xa0\x80",
    b"\xff", b"\\n", b"\xc0\x80", b"\xef\xbb\xbf", b"/* */", b",,", b'"', b"\x00", b"\xe2\x80\x8b", b"'", b"0" * 1_001,
)  # fmt: skip

Header: TypeAlias = tuple[str, bytes]
Make: TypeAlias = Callable[[int, random.Random], bytes | None]


class Sent(NamedTuple):
    """A record as it is written."""

    value: bytes | None
    key: bytes | None
    headers: list[Header]


@cache
def _examples() -> list[str]:
    return [json.dumps(made) for name in sorted(EVENT_TYPES) for made in examples.good(name).values()]


def example(number: int, chance: random.Random) -> dict[str, Any]:
    """Return a good event of any type, of now, under a name of its own."""
    made: dict[str, Any] = json.loads(chance.choice(_examples()))
    at = datetime.now(UTC) - timedelta(seconds=chance.randrange(90))
    return made | {"id": f"fuzz-{number}", "source": "/fuzz", "time": at.isoformat()}


def wire(made: Any) -> bytes:
    return json.dumps(made, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _part(made: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    data = made.get("data")
    return data if isinstance(data, dict) and data and chance.random() < 0.6 else made


def _changed(change: Callable[[dict[str, Any], str, random.Random], None]) -> Make:
    """Change up to three fields of a good event."""

    def make(number: int, chance: random.Random) -> bytes:
        made = example(number, chance)
        for _ in range(chance.randrange(1, 4)):
            part = _part(made, chance)
            if part:
                change(part, chance.choice(sorted(part)), chance)
        return wire(made)

    return make


def _put(values: tuple[Any, ...]) -> Make:
    return _changed(lambda part, name, chance: part.update({name: deepcopy(chance.choice(values))}))


def _misspelt(part: dict[str, Any], name: str, chance: random.Random) -> None:
    at = chance.randrange(len(name) + 1)
    part[name[:at] + chance.choice(["s", "_", "\u200b", " ", "é", ""]) + name[at + chance.randrange(2) :]] = part.pop(
        name
    )


def _noise(part: dict[str, Any], name: str, chance: random.Random) -> None:
    points = (chance.choice([chance.randrange(0x20, 0x3000), chance.randrange(0xE000, 0x110000)]) for _ in range(20))
    part[name] = "".join(map(chr, points))


def _timed(text: Callable[[datetime, random.Random], str]) -> Make:
    def make(number: int, chance: random.Random) -> bytes:
        return wire(example(number, chance) | {"time": text(datetime.now(UTC), chance)})

    return make


def _strange_time(now: datetime, chance: random.Random) -> str:
    day, second = now.strftime("%Y-%m-%d"), now.strftime("%Y-%m-%dT%H:%M:%S")
    return chance.choice(
        [second, f"{second}.{'1' * 40}Z", f"{second}+23:59", f"{second}-23:59", f"{day} 00:00:60Z", "0001-01-01T00:00:00Z",
         "9999-12-31T23:59:59Z", f"{day}T24:00:00Z", str(now.timestamp()), f"{second}z", day, "-2026-01-01T00:00:00Z"]
    )  # fmt: skip


def _damaged(places: int) -> Make:
    """Cut out, double or replace bytes of a good event."""

    def make(number: int, chance: random.Random) -> bytes:
        value = wire(example(number, chance))
        for _ in range(places):
            start = chance.randrange(len(value) + 1)
            end = min(len(value), start + chance.randrange(12))
            new = chance.choice([chance.randbytes(chance.randrange(6)), chance.choice(_ODD), value[start:end] * 2, b""])
            value = value[:start] + new + value[end:]
        return value

    return make


def _encoded(encode: Callable[[bytes], bytes]) -> Make:
    return lambda number, chance: encode(wire(example(number, chance)))


def _json(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randrange(4 if depth > 6 else 6)
    if kind == 4:
        return [_json(chance, depth + 1) for _ in range(chance.randrange(4))]
    if kind == 5:
        return {chance.choice(_TEXTS): _json(chance, depth + 1) for _ in range(chance.randrange(4))}
    return chance.choice(_VALUES if kind % 2 else _TEXTS)


def _own(**changes: Callable[[int], Any]) -> Make:
    """Give attributes of a good event values that nobody else has."""
    return lambda number, chance: wire(
        example(number, chance) | {name: change(number) for name, change in changes.items()}
    )


def _own_labels(number: int, chance: random.Random) -> bytes:
    return wire(
        example(number, chance)
        | {"labels": {f"k{number % 20}{chance.choice('__-')}{n}": f"v{number}" for n in range(chance.randrange(12))}}
    )


def _twice(number: int, chance: random.Random) -> bytes:
    """Repeat an id with other content every second time."""
    return wire(example(number, chance) | {"id": f"fuzz-twice-{number // 40}", "subject": f"c{number // 40}"})


def _large(number: int, chance: random.Random) -> bytes:
    made = example(number, chance)
    made["x"] = "ab\\\n" * (250_000 // 4)
    return wire(made)


def _present(make: Callable[[int, random.Random], bytes]) -> Make:
    def at_present(number: int, chance: random.Random) -> bytes:
        return make(number, chance).replace(
            _BEGINNING, (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:").encode()
        )

    return at_present


KINDS: Final[dict[str, Make]] = {
    **{name: _present(make) for name, make in SHAPES.items()},
    "no value": lambda _number, _chance: None,
    "good of any type": lambda number, chance: wire(example(number, chance)),
    "texts put anywhere": _put(_TEXTS),
    "values put anywhere": _put(_VALUES),
    "fields taken away": _changed(lambda part, name, _: part.pop(name) and None),
    "names misspelt": _changed(_misspelt),
    "noise in texts": _changed(_noise),
    "objects in fields": _changed(lambda part, name, chance: part.update({name: _json(chance)})),
    "bytes damaged": _damaged(1),
    "bytes damaged all over": _damaged(8),
    "strange times": _timed(_strange_time),
    "minutes ahead": _timed(lambda now, chance: (now + timedelta(seconds=chance.randrange(1_200))).isoformat()),
    "hours ago": _timed(lambda now, chance: (now - timedelta(seconds=chance.randrange(100_000))).isoformat()),
    "any bytes": lambda _number, chance: chance.randbytes(chance.randrange(1, 2_000)),
    "any JSON": lambda _number, chance: wire(_json(chance)),
    "UTF-16": _encoded(lambda value: value.decode("utf-8", "ignore").encode("utf-16")),
    "gzip": _encoded(gzip.compress),
    "framed by a schema registry": _encoded(lambda value: b"\x00\x00\x00\x00\x2a" + value),
    "a mark in front": _encoded(lambda value: b"\xef\xbb\xbf" + value),
    "JSON in JSON": _encoded(lambda value: json.dumps(value.decode()).encode()),
    "a list of events": _encoded(lambda value: b"[" + value + b"," + value + b"]"),
    "names twice": _encoded(lambda value: value[:-1] + b"," + value[1:]),
    "a type of the pipeline itself": _own(type=lambda n: ("pipeline.range", "pipeline.refused", "cx.pipeline.range")[n % 3]),
    "invented sources": _own(source=lambda n: f"/invented/{n}"),
    "invented touchpoints": _own(touchpoint=lambda n: f"invented-{n}"),
    "invented units and agents": _own(unitid=lambda n: f"unit-{n}", agentid=lambda n: f"agent-{n}"),
    "labels of one's own": _own_labels,
    "one id again and again": _twice,
    "large": _large,
}  # fmt: skip


def _key(number: int, chance: random.Random) -> bytes | None:
    return chance.choice([None, b"", b"c%d" % (number % 50), chance.randbytes(8), b"\xff" * 2_000, "مشتری".encode()])


def _headers(chance: random.Random) -> list[Header]:
    if chance.random() < 0.8:
        return []
    return [(chance.choice(["traceparent", "", "ce_id", "x" * 200, "ø"]), chance.choice([b"", chance.randbytes(30)]))
            for _ in range(chance.choice([1, 5, 200]))]  # fmt: skip


def foreign_name(value: bytes | None, number: int) -> bytes:
    """
    Return source and id of an event that has not the id of its number; empty for all else.

    What is sent again must come to the same partition: no producer that keeps the contract does otherwise, and in two
    partitions nobody can see that it is the same.
    """
    event = decode_one(value)
    if isinstance(event, Refusal) or event.id in {f"fuzz-{number}", f"e{number}"}:
        return b""
    return f"{event.source} {event.id}".encode()


def records(count: int, seed: int) -> list[tuple[str, Sent]]:
    """Make so many records, of all kinds in turn, shuffled; returns each with its topic's channel."""
    chance = random.Random(seed)
    kinds = list(KINDS.values())
    made = []
    for number in range(count):
        value = kinds[number % len(kinds)](number, chance)
        key = b"tombstone" if value is None else _key(number, chance)  # clients write no record of nothing
        channel = chance.choice(CHANNELS)
        if named := foreign_name(value, number):
            key, channel = named, CHANNELS[crc32(named) % len(CHANNELS)]
        made.append((channel, Sent(value, key, _headers(chance))))
    chance.shuffle(made)
    return made
