"""What a hostile or careless sender may put into a valid event: it is read as the workers read it, and at a fair price."""

import json
import time
from typing import Any

import cramjam
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.events.decode import Refusal, canonical, decode_one, unambiguous
from streams.events.limits import MAX_VALUES
from streams.storage.balance import check_balance
from streams.storage.connection import connect
from streams.storage.native import Column, native_block, string
from streams.storage.rows import COUNTED, EVENT_COLUMNS, Block, pack_events
from streams.storage.writer import Writer
from tests.harness.clickhouse import TOPIC, Database, block_of, event

BYTES = 99_000
COPIES = 10
DEARER = 10.0
"""A hostile event costs at most so many times what a good one of the same length does."""
MEMORY = 200_000_000


def event_with(more: str = "", envelope: str = "", tail: str = "") -> bytes:
    return (
        '{"specversion":"1.0","id":"x","source":"/t","type":"cx.survey.answered","time":"2026-03-01T10:00:30Z",'
        f'"subject":"c","channel":"web"{envelope},"data":{{"survey_id":"s","metric":"csat","scale":5,"score":5{more}}}'
        f"{tail}}}"
    ).encode()


def many(piece: str, number: int = 10**9) -> str:
    """Repeat a piece until the event is long enough; `#` in it is a number of its own."""
    length = len(piece.encode()) + 4 * piece.count("#")
    number = min(number, BYTES // length)
    return "".join(piece.replace("#", f"{n:05}") for n in range(number)) if "#" in piece else piece * number


def listed(item: str, number: int = 10**9) -> str:
    return f',"a":[{many(item + ",", number)}{item}]'


GOOD = event_with(f',"text":"{many("x ")}"')
SHAPES = {
    # Beyond the limits of a record: the store must bear what an older worker or another limit let through.
    "one key, ten thousand times": event_with(many(',"k":1')),
    "the empty key": event_with(many(',"":0')),
    "as many keys, one of them twice": event_with(many(',"k#":1') + ',"k00000":2'),
    "every key twice": event_with(many(',"k#":1,"k#":2')),
    "one key of the envelope": event_with(envelope=many(',"k":1')),
    "many keys of the envelope": event_with(envelope=many(',"k#":1')),
    "a known key": event_with(many(',"score":5')),
    "the data themselves": event_with(tail=many(',"data":{"survey_id":"s","metric":"csat","scale":5,"score":5}')),
    "the time": event_with(envelope=many(',"time":"2026-03-01T10:00:30Z"')),
    "items": event_with(listed("1")),
    "objects": event_with(listed("{}")),
    "objects in lists in objects": event_with(listed('{"a":[1,{"b":2}]}')),
    "texts beside a number beyond a double": event_with(listed('""') + ',"b":1e999'),
    "numbers beyond a double": event_with(listed("1e999")),
    "digits": event_with(f',"a":{many("1")}'),
    "digits beyond a double": event_with(f',"a":{many("1")}.5'),
    "digits of a fraction": event_with(f',"a":0.{many("1")}'),
    "depth, again and again": event_with(many(f',"a":{"[" * 390}{"]" * 390}')),
    # Within them.
    "long values of one key": event_with(many(f',"k":"{"v" * 200}"')),
    "depth around a text": event_with(f',"a":{"[" * 390}"{many("x")}"{"]" * 390}'),
    "a long key, twice": event_with(f',"{"k" * (BYTES // 2)}":1' * 2),
    "escaped letters": event_with(f',"note":"{many(chr(92) + "u0041")}"'),
    "escaped zeros": event_with(f',"note":"{many(chr(92) + "u0000")}"'),
    "escaped quotes": event_with(f',"note":"{many(chr(92) + chr(34))}"'),
    "escapes beside a number beyond a double": event_with(f',"b":1e999,"note":"{many(chr(92) * 2)}"'),
    "halves of letters": event_with(f',"note":"{many(chr(92) + "ud83d" + chr(92) + "ude00")}"'),
    "Persian": event_with(f',"note":"{many("سلام")}"'),
    "letters of four bytes": event_with(f',"note":"{many("😀")}"'),
    "blanks": event_with(many(" ")),
    "the look of numbers in a text": event_with(f',"b":1e999,"note":"{many(": 1e999,")}"'),
}  # fmt: skip


def cost(client: Any, payload: bytes) -> tuple[float, int]:
    """Store some copies: CPU-bound seconds of the best of three, and the peak of memory."""
    block = pack_events(TOPIC, 0, range(COPIES), [payload] * COPIES)
    seconds, memory = [], 0
    for _ in range(3):
        started = time.perf_counter()
        done = client.raw_insert(
            "events", EVENT_COLUMNS, block.frame, fmt="Native", compression="zstd", settings={"async_insert": 0}
        )
        seconds.append(time.perf_counter() - started)
        memory = max(memory, int(done.summary["memory_usage"]))
    return min(seconds), memory


def test_no_shape_of_an_event_is_dear_to_store(database: Database) -> None:
    """Time against a good event of the same length, and memory; a shape that seems dear is measured again."""
    assert len(SHAPES) >= 20
    client = connect(database.writer)
    cost(client, GOOD)
    dear: dict[str, str] = {}
    for name, payload in SHAPES.items():
        assert 0.9 * BYTES < len(payload) < 1.1 * BYTES, name
        for _ in range(3):
            (good, _), (seconds, memory) = cost(client, GOOD), cost(client, payload)
            dear[name] = f"{seconds / good:.1f} times the time of a good event, {memory:,} bytes"
            if seconds <= DEARER * good and memory <= MEMORY:
                del dear[name]
                break
    client.close()
    assert not dear
    [(stored, as_sent, read)] = database.rows(
        "SELECT count(), countIf(payload LIKE '{\"specversion\"%'), countIf(id = 'x' AND score = 5) FROM events"
    )
    assert stored == as_sent == read


def marked_wrongly(database: Database) -> list[str]:
    return [one.when for one in check_balance(database.client).found if one.check == "unambiguous"]


def test_odd_events_are_stored_as_they_are_and_a_mark_that_is_wrong_is_found(database: Database) -> None:
    """The event that once stopped the store has more members than a record may, and the store would bear it."""
    payload = SHAPES["one key, ten thousand times"]
    found = decode_one(payload)
    assert isinstance(found, Refusal)
    assert (found.reason, found.expected) == ("too_many_values", f"at most {MAX_VALUES} values")
    writer = Writer(database.writer)
    writer.insert_block(block_of([event(0), payload, event(2)]))
    assert database.rows("SELECT id, score, JSONExtractInt(data, 'k') FROM events ORDER BY offset") == [
        ("e0", 5, 0), ("x", 5, 1), ("e2", 5, 0),
    ]  # fmt: skip

    # Of what is marked the first of two values is read; an earlier release sends no mark, in the same insert.
    twice = [event_with(f',"score":{score}') for score in (3, 4)]
    beyond = event_with(',"b":1e999')
    marked = pack_events(TOPIC, 0, range(3, 6), [GOOD, twice[0], beyond], (), b"\1\0\0").frame
    earlier = native_block(
        1,
        [
            Column("offset", "UInt64", (6).to_bytes(8, "little")),
            Column("outcome", "Enum8('counted' = 1, 'late' = 2)", COUNTED),
            Column("payload", "String", string(twice[1])),
            Column("topic", "String", string(TOPIC.encode())),
            Column("partition", "UInt32", bytes(4)),
        ],
    )
    names = list(EVENT_COLUMNS)
    writer._send("events", names, marked + bytes(cramjam.zstd.compress(earlier)), "a", "zstd")
    read = "SELECT offset, unambiguous, score FROM events WHERE offset > 2 ORDER BY offset"
    assert database.rows(read) == [(3, True, 5), (4, False, 3), (5, False, 5), (6, False, 4)]
    assert marked_wrongly(database) == []

    lies = pack_events(TOPIC, 0, [7], [twice[1]], (), b"\1").frame
    writer._send("events", names, lies, "b", "zstd")
    writer.close()
    assert database.rows(f"{read} LIMIT 1 OFFSET 4") == [(7, True, 5)]
    assert marked_wrongly(database) == ["offset 7"]


# Values that readers of JSON disagree about, of fields that nobody knows and of a text that somebody does.
ODD = st.sampled_from([
    "1e999", "-1E+400", "9" * 330 + ".5", "9" * 400, '[1e999, {"a": -1e999}]', "1e-400", "-0", "0e999", "null",
    '{"id": "no", "score": 1, "score": 2}', '""', '"1e999"', r'"\\"', r'"\""', '"[: 1e999, "', "18446744073709551616",
    "0.1000000000000000055511151231257827", "true", "[]", "{}",
])  # fmt: skip
TEXTS = st.text(max_size=12) | st.sampled_from([": 1e999", '"', "\\", '\\"', "\0", "{", ",", "سلام", "😀", ': 1e999 "'])
KEYS = st.sampled_from(["k", "", "id ", "Score", "data", "text", "\\", '"', "time"]) | st.text(max_size=6)


@st.composite
def quoted(draw: Any, value: str) -> str:
    """A text in one of the ways that JSON has."""
    plain = json.dumps(value, ensure_ascii=draw(st.booleans()))
    if value and draw(st.booleans()) and value[0].isascii():
        return f'"\\u{ord(value[0]):04x}{json.dumps(value[1:])[1:]}'
    return plain


@st.composite
def objects(draw: Any, known: dict[str, Any]) -> str:
    """An object with these members, strange ones among them, and some of both again: the last one counts."""
    members = []
    for name, values in known.items():
        given = [draw(values) for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3])))]
        members += [(draw(quoted(name)), value) for value in given]
    members = draw(st.permutations(members))
    for _ in range(draw(st.integers(0, 4))):
        key = draw(KEYS.filter(lambda key: key not in known))
        members.insert(draw(st.integers(0, len(members))), (draw(quoted(key)), draw(ODD)))
    blank = draw(st.sampled_from(["", " ", "\n\t"]))
    return "{" + ",".join(f"{blank}{name}{blank}:{blank}{value}" for name, value in members) + blank + "}"


def texts(values: Any) -> Any:
    return values.flatmap(quoted)


NAMES = TEXTS.filter(bool)
DATA = objects({
    "survey_id": texts(NAMES), "metric": st.just('"csat"'), "scale": st.just("5"),
    "score": st.sampled_from(["1", "4.0", "50e-1", '"3"', '"۴"', '"٢"']),
    "text": texts(TEXTS), "wait_s": st.floats(0, 1e9).map(repr) | st.sampled_from(["1e-400", "0.1e1", "7"]),
    "resolved": st.sampled_from(["true", "false"]),
})  # fmt: skip
DOCUMENTS = objects({
    "specversion": st.just('"1.0"'), "type": st.just('"cx.survey.answered"'), "id": texts(NAMES), "source": texts(NAMES),
    "subject": texts(NAMES), "channel": st.sampled_from(['"web"', '"app"']), "touchpoint": texts(NAMES),
    "time": st.sampled_from(['"2026-03-01T13:30:59.9999996+03:30"', '"2026-03-01T10:00:30Z"', '"2025-12-31t23:59:59.5z"']),
    "synthetic": st.sampled_from(["true", "false"]), "data": DATA,
})  # fmt: skip

_COLUMNS = "id, source, subject, channel, touchpoint, toUnixTimestamp64Milli(time), synthetic, score, payload, data"


@settings(max_examples=6, suppress_health_check=[*HealthCheck])
@given(documents=st.lists(DOCUMENTS, min_size=20, max_size=40))
def test_what_clickhouse_reads_is_what_python_reads(database: Database, documents: list[str]) -> None:
    """Of any valid event, whatever stands in it twice, escaped, beyond a double, or only looks like it."""
    payloads = [text.encode() for text in documents]
    events = [decode_one(payload) for payload in payloads]
    database.client.command("TRUNCATE TABLE events")
    good = [n for n, one in enumerate(events) if not isinstance(one, Refusal)]
    assert len(good) > len(events) // 2, events
    client = connect(database.writer)
    sent: list[Any] = [[payloads[n], events[n]] for n in good]
    # Every event once more as we would write it: that is known to read alike.
    sent += [[canonical(one), one] for _, one in sent]
    alike = unambiguous([payload for payload, _ in sent], [canonical(one) for _, one in sent])
    assert alike.endswith(b"\1" * len(good))
    packed = pack_events(TOPIC, 0, range(len(sent)), [payload for payload, _ in sent], (), alike)
    client.raw_insert(
        "events", EVENT_COLUMNS, packed.frame, fmt="Native", compression="zstd", settings={"async_insert": 0}
    )
    client.close()
    rows = database.rows(f"SELECT {_COLUMNS} FROM events ORDER BY offset")
    assert not marked_wrongly(database)
    for (written, one), (*envelope, score, payload, data) in zip(sent, rows, strict=True):
        at_ms = int(one.time.timestamp() * 1_000_000 + 0.5) // 1000
        assert envelope == [one.id, one.source, one.subject, one.channel, one.touchpoint or "", at_ms, one.synthetic]
        assert (score, payload.encode()) == (one.data.score, written)
        read = json.loads(data)
        known = {k: v for k, v in msgspec.to_builtins(one.data).items() if k != "score" and v is not None}
        assert {name: read[name] for name in known} == known
    # Those that are alike, sent as what needs no second look, are read as they were beside the others.
    database.client.command("TRUNCATE TABLE events")
    places = [place for place, mark in enumerate(alike) if mark]
    packed = pack_events(TOPIC, 0, places, [sent[place][0] for place in places], (), b"\1" * len(places))
    writer = Writer(database.writer)
    writer.insert_block(Block(topic=TOPIC, partition=0, first=0, last=len(sent) - 1, events=packed))
    writer.close()
    assert packed.alike
    assert database.rows(f"SELECT {_COLUMNS} FROM events ORDER BY offset") == [rows[place] for place in places]
