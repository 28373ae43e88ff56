"""Whatever bytes come: no exception, one outcome per record, and the same outcome among any neighbours."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events import examples
from streams.events.decode import Refusal, canonical, decode_batch, decode_one, encode, unambiguous
from streams.events.refusal import REASONS
from streams.events.types import EVENT_TYPES

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
VALUES = JSON | st.sampled_from(["", "x" * 200, "4", "۴", -1, 4.0, 10**30, 1e308, "2026-01-01T00:00:00Z", "web"])
TYPES = st.sampled_from(sorted(EVENT_TYPES))


def wire(value):
    # Surrogates and NaN are written as they are: the decoder has to cope.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


@st.composite
def mutated(draw):
    """A good record of any type with some fields replaced, removed or added."""
    record = json.loads(json.dumps(examples.good(draw(TYPES))[draw(st.sampled_from(["minimal", "full"]))]))
    for _ in range(draw(st.integers(0, 3))):
        part = draw(st.sampled_from([record, record.get("data")]))
        if not isinstance(part, dict):
            continue
        name = draw(st.sampled_from(sorted(part)) | st.text(max_size=8)) if part else draw(st.text(max_size=8))
        if draw(st.booleans()):
            part[name] = draw(VALUES)
        else:
            part.pop(name, None)
    return wire(record)


# What readers of JSON disagree about, or notice at different places.
ODD = st.sampled_from(
    [
        b"1e400",
        b"-1e999",
        b"9" * 400,
        b"NaN",
        b"-0",
        b"1.",
        b'"\\ud800"',
        b"\\u0000",
        b"[[",
        b"}{",
        b"\xed\xa0",
        b"\\n\xff",
    ]
)


@st.composite
def damaged(draw):
    """A good record with some bytes cut out, doubled or replaced, at up to three places."""
    value = wire(examples.good(draw(TYPES))["minimal"])
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(value)))
        end = draw(st.integers(start, min(len(value), start + 12)))
        value = value[:start] + draw(st.binary(max_size=6) | ODD | st.just(value[start:end] * 2)) + value[end:]
    return value


RECORDS = (
    st.binary(max_size=60)
    | st.lists(ODD | st.binary(max_size=3), max_size=6).map(b"".join)
    | JSON.map(wire)
    | mutated()
    | damaged()
    | st.none()
)


@settings(max_examples=400, deadline=None)
@given(st.lists(RECORDS, max_size=8))
def test_every_record_has_one_outcome_and_its_neighbours_do_not_matter(values):
    events, refusals = decode_batch(values)

    assert len(events) == len(values)
    assert [refusal.index for refusal in refusals] == [n for n, event in enumerate(events) if event is None]
    for index, value in enumerate(values):
        alone = decode_one(value)
        if isinstance(alone, Refusal):
            assert events[index] is None
        else:
            assert events[index] == alone


@settings(max_examples=600, deadline=None)
@given(mutated() | damaged())
def test_every_refusal_is_explained_by_a_reason_of_the_list(value):
    refusal = decode_one(value)

    if isinstance(refusal, Refusal):
        assert refusal.reason in REASONS
        assert refusal.reason != "invalid", (refusal, value)
        assert len(refusal.got) <= 200
        assert len(refusal.message) <= 400
        json.dumps(refusal.message).encode()
        refusal.got.encode()


@settings(deadline=None)
@given(mutated())
def test_what_was_accepted_can_be_sent_again(value):
    event = decode_one(value)

    if not isinstance(event, Refusal):
        assert decode_one(encode(event)) == event


@st.composite
def repeated(draw):
    """A good record in any order of its members and with blanks, some of them twice or unknown, with odd numbers."""

    def written(members):
        pairs = [(name, json.dumps(value, ensure_ascii=draw(st.booleans()))) for name, value in members.items()]
        for _ in range(draw(st.integers(0, 2))):
            name = draw(st.sampled_from(sorted(members)) | st.text("xyz", max_size=2)) if members else "x"
            value = draw(st.sampled_from(['"a"', "1", "1e999", "9" * 400, "{}", '"\\""', "null"]))
            pairs.append((name, draw(st.sampled_from([text for _, text in pairs if _ == name])) if name in members
                          else value))  # fmt: skip
        return "{" + ", ".join(f'"{name}":{text}' for name, text in draw(st.permutations(pairs))) + "}"

    record = examples.good(draw(TYPES))[draw(st.sampled_from(["minimal", "full"]))]
    data, more = written(record["data"]), {name: value for name, value in record.items() if name != "data"}
    return written({**more, "data": 0}).replace('"data":0', f'"data":{data}').encode()


def once(pairs):
    """Read an object whose keys stand there once."""
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


@settings(max_examples=400, deadline=None)
@given(repeated() | damaged())
def test_a_record_that_is_said_to_read_alike_holds_no_key_twice_and_none_unknown(value):
    event = decode_one(value)

    if not isinstance(event, Refusal) and unambiguous([value], [canonical(event)]) == b"\1":
        sent, said = json.loads(value, object_pairs_hook=once), json.loads(encode(event))
        assert sent.keys() == said.keys()
        assert sent["data"].keys() == said["data"].keys()
