"""Decoding: what is accepted, what is refused and why, and that no record harms its neighbours."""

import copy
import json
import sys
import time

import msgspec
import pytest

from streams.events import envelope
from streams.events.decode import Refusal, canonical, decode_batch, decode_one, encode, unambiguous
from streams.events.examples import good
from streams.events.limits import MAX_BYTES, MAX_DEPTH, MAX_DIGITS, MAX_VALUES, RecordLimits
from streams.events.refusal import REASONS
from streams.events.types import DATA_TYPES, data_fields

SCHEMA = "events/survey/answered/1-0-0.json"
ANSWER = {
    "specversion": "1.0",
    "type": "cx.survey.answered",
    "id": "e1",
    "source": "/web",
    "time": "2026-03-21T09:30:00+03:30",
    "subject": "c1",
    "channel": "web",
    "data": {"survey_id": "after_delivery", "metric": "csat", "scale": 5, "score": 4},
}


def record(path=None, value=None, **data):
    """The good answer with one attribute (`path`) or some fields of its data replaced; `...` removes."""
    changed = copy.deepcopy(ANSWER)
    for target, name, new in [(changed, path, value), *((changed["data"], k, v) for k, v in data.items())]:
        if name is None:
            continue
        target[name] = new
        if new is ...:
            del target[name]
    return json.dumps(changed, ensure_ascii=False).encode()


@pytest.mark.parametrize("score", [4, 4.0, "4", "۴", "٤", "04", "۰۰۴"])
def test_a_rating_is_an_int_however_it_was_written(score):
    event = decode_one(record(score=score))

    assert event.data.score == 4
    assert type(event.data.score) is int


@pytest.mark.parametrize(
    ("metric", "scale", "lowest"), [("csat", 5, 1), ("ces", 7, 1), ("stars", 10, 1), ("nps", 10, 0), ("enps", 10, 0)]
)
def test_a_rating_may_take_every_point_of_its_scale_and_no_other(metric, scale, lowest):
    accepted = [
        score
        for score in range(-2, 13)
        if not isinstance(decode_one(record(metric=metric, scale=scale, score=score)), Refusal)
    ]

    assert accepted == list(range(lowest, scale + 1))


REFUSED = [
    (None, "null_record", "", "null"),
    (b"", "empty_record", "", "0 bytes"),
    (b"\xff{}", "not_utf8", "", "byte 0xff at 0"),
    (record(unknown="?").replace(b"?", b"\xff"), "not_utf8", "", None),
    (record(data={"unknown": "?"}).replace(b"?", b"\xed\xa0\x80"), "not_utf8", "", None),
    (record()[:-1], "not_json", "", "JSON ends before it is whole"),
    (record() + record(), "not_json", "", None),
    (b'{"id": "\\ud800"}', "not_json", "", None),
    (b"NaN", "not_json", "", None),
    (b"[1e400", "not_json", "", None),
    (b'{"a": 1e400 x}', "not_json", "", None),
    (record()[:-1] + b', "x": 1e400', "not_json", "", None),
    (record(x=0, unitid="half").replace(b"half", b"\\ud800").replace(b'"x": 0', b'"x": 1e400'), "not_json", "", None),
    (b'{"x": 1e400, "type": "cx.\\udc00"}', "not_json", "", None),
    (b"[]", "not_an_object", "", "a list of 0"),
    (b"7", "not_an_object", "", "7"),
    (b"9" * 900, "not_an_object", "", "a number beyond all limits"),
    (b"null", "not_an_object", "", "null"),
    (b"{}", "missing_field", "type", "nothing"),
    (record("type", ...), "missing_field", "type", "nothing"),
    (record("type", 7), "wrong_type", "type", "7"),
    (record("type", "cx.survey.asked"), "unknown_type", "type", "cx.survey.asked"),
    (record("specversion", "0.3"), "not_in_enum", "specversion", '"0.3"'),
    (record("specversion", 1.0), "wrong_type", "specversion", "1.0"),
    (record("id", ""), "bad_length", "id", "text of 0 characters"),
    (record("id", "x" * 129), "bad_length", "id", "text of 129 characters"),
    (record("id", 7), "wrong_type", "id", "7"),
    (record("subject", ""), "bad_length", "subject", "text of 0 characters"),
    (record("subject", None), "wrong_type", "subject", "null"),
    (record("segment", "x" * 129), "bad_length", "segment", "text of 129 characters"),
    (record("time", "2026-03-21T09:30:00"), "bad_time", "time", '"2026-03-21T09:30:00"'),
    (record("time", "yesterday"), "bad_time", "time", '"yesterday"'),
    (record("time", 1774072800), "bad_time", "time", "1774072800"),
    (record("channel", "fax"), "not_in_enum", "channel", '"fax"'),
    (record("labels", 7), "wrong_type", "labels", "7"),
    (record("labels", {"a-b": "c"}), "bad_format", "labels", '"a-b"'),
    (record("labels", {"plan": ""}), "bad_length", "labels.plan", "text of 0 characters"),
    (record("labels", {"plan": 7}), "wrong_type", "labels.plan", "7"),
    (record("labels", {**{f"k{n}": "v" for n in range(7)}, "plan": 7}), "wrong_type", "labels.plan", "7"),
    (record("labels", {f"k{n}": "v" for n in range(9)}), "bad_length", "labels", "an object with 9 members"),
    (record("synthetic", "yes"), "wrong_type", "synthetic", '"yes"'),
    (record("data", ...), "missing_field", "data", "nothing"),
    (record("data", None), "wrong_type", "data", "null"),
    (record("data", [1]), "wrong_type", "data", "a list of 1"),
    (record("dataschema", SCHEMA.replace("1-0-0", "1-0-7")), "bad_format", "dataschema", None),
    (record("dataschema", SCHEMA.replace("answered", "sent")), "bad_format", "dataschema", None),
    (record("dataschema", f"x{SCHEMA}"), "bad_format", "dataschema", None),
    (record("dataschema", f"{SCHEMA}#"), "bad_format", "dataschema", None),
    (record("dataschema", "x" * 257), "bad_length", "dataschema", None),
    (record("dataschema", 1), "wrong_type", "dataschema", "1"),
    (record(survey_id=...), "missing_field", "data.survey_id", "nothing"),
    (record(score=...), "missing_field", "data.score", "nothing"),
    (record(score=4.5), "bad_rating", "data.score", "4.5"),
    (record(score=""), "bad_rating", "data.score", '""'),
    (record(score="4 4"), "bad_rating", "data.score", '"4 4"'),
    (record(score="four"), "bad_rating", "data.score", '"four"'),
    (record(score=True), "bad_rating", "data.score", "true"),
    (record(score={}), "bad_rating", "data.score", "an object with 0 members"),
    (record(score=6), "out_of_range", "data.score", "6"),
    (record(score="۶"), "out_of_range", "data.score", "6"),
    (record(score=0), "out_of_range", "data.score", "0"),
    (record(score=-1), "out_of_range", "data.score", "-1"),
    (record(score=10**400), "bad_rating", "data.score", "a number beyond all limits"),
    (record(metric="nps"), "not_in_enum", "data.scale", "5"),
    (record(scale=8), "not_in_enum", "data.scale", "8"),
    (record(scale="5"), "wrong_type", "data.scale", '"5"'),
    (record(metric="joy"), "not_in_enum", "data.metric", '"joy"'),
    (record(wait_s=-0.5), "out_of_range", "data.wait_s", "-0.5"),
    (record(wait_s=2e9), "out_of_range", "data.wait_s", "2000000000.0"),
    (record(wait_s="5"), "wrong_type", "data.wait_s", '"5"'),
    (record(wait_s=7).replace(b"7}", b"1e999}"), "out_of_range", "data.wait_s", "a number beyond all limits"),
    (record(resolved=1), "wrong_type", "data.resolved", "1"),
    (record(text="x" * 20_001), "bad_length", "data.text", "text of 20001 characters"),
    (record()[:-1] + b', "id": 5, "id": "e1"}', "duplicate_key", "id", "the key twice"),
    (record().replace(b'"scale": 5', b'"scale": 8, "scale": 5'), "duplicate_key", "data.scale", "the key twice"),
    (b'"' + b"x" * MAX_BYTES + b'"', "too_large", "", f"{MAX_BYTES + 2} bytes"),
    (b"[" * 100_000, "too_deep", "", "more than 400 levels"),
    (record(x=[0] * MAX_VALUES), "too_many_values", "", "more than 2000 values"),
    (record(x=10**MAX_DIGITS), "number_too_long", "", "a number of more than 1000 digits"),
]


@pytest.mark.parametrize(("value", "reason", "path", "got"), REFUSED, ids=[f"{r}-{p}-{g}" for _, r, p, g in REFUSED])
def test_a_refusal_names_the_reason_the_field_and_what_came(value, reason, path, got):
    refusal = decode_one(value)

    assert isinstance(refusal, Refusal)
    assert (refusal.reason, refusal.path) == (reason, path)
    assert got is None or refusal.got == got
    assert refusal.message
    assert refusal.expected


def test_every_reason_but_those_of_the_clock_is_tested():
    # `invalid` is the net below the others; no record is known that falls into it. What the store refuses, and a conflict, is valid.
    untested = set(REASONS) - {reason for _, reason, _, _ in REFUSED}

    assert untested == {"conflict", "time_too_old", "time_in_future", "invalid", "refused_by_store"}


@pytest.mark.parametrize("where", ["", "/", "schemas/", "https://cx.example.org/schemas/"])
def test_an_event_may_name_its_schema_wherever_that_is_served(where):
    assert decode_one(record("dataschema", where + SCHEMA)).dataschema == where + SCHEMA


def test_the_schemas_an_event_may_name_are_told_when_it_names_another():
    refusal = decode_one(record("dataschema", "events/survey/answered/2-0-0.json"))

    assert refusal.expected.endswith(r"like ^(.*/)?events/survey/answered/(1-0-0)\.json$ or null")


def test_an_earlier_version_is_still_taken(monkeypatch):
    monkeypatch.setattr(envelope, "_events", {})
    monkeypatch.setattr(envelope, "_versions", {})

    @envelope.event("cx.test.happened", "1-1-0", counts="tests", earlier=("1-0-0", "1-0-1"))
    class Happened(envelope.Data, frozen=True, kw_only=True):
        """Something."""

    decode = msgspec.json.Decoder(envelope._events["cx.test.happened"]).decode
    sent = {**ANSWER, "type": "cx.test.happened", "data": {}}
    taken = []
    for version in ("1-0-0", "1-0-1", "1-0-2", "1-1-0"):
        try:
            decode(json.dumps({**sent, "dataschema": f"events/test/happened/{version}.json"}))
        except msgspec.ValidationError:
            continue
        taken.append(version)
    assert taken == ["1-0-0", "1-0-1", "1-1-0"]
    assert envelope.version_of("cx.test.happened") == "1-1-0"


def test_an_order_needs_no_amount_and_a_search_no_results():
    order = decode_one(json.dumps({**ANSWER, "type": "cx.order.placed", "data": {}}).encode())
    search = decode_one(json.dumps({**ANSWER, "type": "cx.search.performed", "data": {}}).encode())

    assert (order.data.amount, order.data.currency, search.data.results) == (None, None, None)


def test_a_text_of_the_wrong_form_is_told_from_one_of_the_wrong_length():
    paid = {**ANSWER, "type": "cx.payment.succeeded", "data": {"currency": "irr"}}

    refusal = decode_one(json.dumps(paid).encode())

    assert (refusal.reason, refusal.path, refusal.got) == ("bad_format", "data.currency", '"irr"')


def test_a_misspelt_type_or_field_gets_a_suggestion():
    assert decode_one(record("type", "cx.survey.answerd")).expected == "cx.survey.answered"
    assert decode_one(record("type", "cx.zzz.zzz")).expected == "a known event type"

    shifted = json.loads(record(survey_id=...))
    shifted["data"]["surveyId"] = "s"
    assert "(there is surveyId)" in decode_one(json.dumps(shifted).encode()).message


def test_what_a_customer_wrote_is_not_repeated_in_a_refusal():
    refusal = decode_one(record(text="my card is 6037-9912 " * 1000))

    assert refusal.reason == "bad_length"
    assert "6037" not in refusal.got + refusal.message


def test_long_values_are_cut():
    refusal = decode_one(record("channel", "x" * 100_000))

    assert len(refusal.got) <= 200
    assert len(refusal.message) <= 400


@pytest.mark.parametrize("value", [record("colour", "red"), record(colour="red"), record()[:-1] + b', "x": 1e999}'])
def test_what_is_unknown_is_ignored(value):
    assert decode_one(value).id == "e1"


def test_a_bad_record_costs_its_neighbours_nothing():
    good = [record("id", f"g{n}") for n in range(5)]
    values = [None, good[0], b"{", good[1], b"", b"[" * 5000, good[2], good[3], b"\xff", good[4], b"{}"]

    events, refusals = decode_batch(values)

    assert [event and event.id for event in events] == [
        None, "g0", None, "g1", None, None, "g2", "g3", None, "g4", None,
    ]  # fmt: skip
    assert [(r.index, r.reason) for r in refusals] == [
        (0, "null_record"),
        (2, "not_json"),
        (4, "empty_record"),
        (5, "too_deep"),
        (8, "not_utf8"),
        (10, "missing_field"),
    ]


def test_halves_of_a_record_do_not_merge_across_records():
    first, second = record()[:20], record()[20:]
    two = record() + b"," + record()

    events, refusals = decode_batch([first, second, two, b"[", b"]"])

    assert events == [None] * 5
    assert {refusal.reason for refusal in refusals} == {"not_json"}


def test_an_empty_batch_gives_nothing():
    assert decode_batch([]) == ([], [])


def test_a_good_batch_decodes_every_record_once(monkeypatch):
    from streams.events import decode

    calls = []
    original = decode._decode_sent
    monkeypatch.setattr(decode, "_decode_sent", lambda value: calls.append(value) or original(value))
    values = [record("id", str(n)) for n in range(300)]
    values[150] = b"{"

    events, refusals = decode_batch(values)

    assert len(calls) == 300
    assert (len(events), len(refusals)) == (300, 1)


@pytest.mark.parametrize(("depth", "accepted"), [(MAX_DEPTH - 1, True), (MAX_DEPTH, False)])
def test_the_limit_of_depth_does_not_depend_on_how_deep_the_caller_stands(depth, accepted):
    # The record itself is one level of the depth.
    nested = record()[:-1] + b', "x": ' + b"[" * depth + b"]" * depth + b"}"

    def deep(levels):
        return decode_one(nested) if levels == 0 else deep(levels - 1)

    limit = sys.getrecursionlimit()
    for levels in (0, (limit - MAX_DEPTH) // 2):
        assert isinstance(deep(levels), Refusal) is not accepted


def test_brackets_in_text_are_no_nesting():
    assert decode_one(record(text="[{" * 2000 + '\\"' + "[" * 2000)).id == "e1"


def with_data(more: bytes) -> bytes:
    return record()[:-2] + b", " + more + b"}}"


ROOM = MAX_VALUES - record().count(b",") - record().count(b"{")


@pytest.mark.parametrize("beyond", [0, 2])
@pytest.mark.parametrize(
    ("made", "values"),
    [
        (lambda n: b",".join([b'"k%d": []' % i for i in range(n // 2)]), "members"),
        (lambda n: b",".join([b'"k": [1]'] * (n // 2)), "a key that is repeated"),
        (lambda n: b'"k": [' + b",".join([b"1"] * (n - 1)) + b"]", "items"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_members_and_items_are_bounded_wherever_they_stand(made, values, beyond):
    found = decode_one(with_data(made(ROOM + beyond)))
    assert isinstance(found, Refusal) is bool(beyond), values


@pytest.mark.parametrize(
    ("limits", "more", "reason", "expected"),
    [
        (RecordLimits(bytes=1_500), b'"k": "' + b"x" * 1_500 + b'"', "too_large", "at most 1500 bytes"),
        (RecordLimits(depth=8), b'"k": ' + b"[" * 7 + b"]" * 7, "too_deep", "at most 8 levels"),
        (RecordLimits(values=64), b'"k": [' + b",".join([b"1"] * 64) + b"]", "too_many_values", "at most 64 values"),
        (RecordLimits(digits=20), b'"k": 1' + b"0" * 20, "number_too_long", "at most 20 digits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_installation_may_allow_less(limits, more, reason, expected):
    value = with_data(more)
    assert not isinstance(decode_one(value), Refusal)
    (good, bad, after), [refusal] = decode_batch([record(), value, record()], limits=limits)
    assert (bad, good.id, after.id) == (None, "e1", "e1")
    assert (refusal.index, refusal.reason, refusal.expected) == (1, reason, expected)


def test_what_a_text_holds_is_no_value_and_no_number():
    text = ",[{" * 1500 + '\\"' + "1" * 5_000
    assert decode_one(record(text=text, note=text)).data.text == text


@pytest.mark.parametrize("before", range(0, 1200, 100))
@pytest.mark.parametrize("digits", [MAX_DIGITS, MAX_DIGITS + 1])
def test_a_number_is_bounded_wherever_it_stands(before, digits):
    found = decode_one(with_data(b'"x": "' + b"x" * before + b'", "y": 0.' + b"1" * digits))
    assert isinstance(found, Refusal) is (digits > MAX_DIGITS)


@pytest.mark.parametrize("piece", [b'\\"[', b'"[', b'"', b"\\", b"[", b'"a":[1e400,', b"-"])
@pytest.mark.parametrize("head", [b'{"', b"{"])
def test_no_broken_record_holds_its_partition_up(head, piece):
    started = time.process_time()
    assert isinstance(decode_one(head + piece * (MAX_BYTES // len(piece) - 1)), Refusal)
    assert time.process_time() - started < 10  # a tenth of a second, where it once was an hour


def test_other_types_than_bytes_are_an_error_of_the_caller():
    with pytest.raises(TypeError):
        decode_batch([{"id": "e1"}])


def test_no_field_takes_a_number_that_is_none():
    fields = {name: (kind, info) for kind in DATA_TYPES for name, info in data_fields(kind).items()
              if info.kind == "numeric"}  # fmt: skip
    assert len(fields) > 50
    for name, (kind, _) in fields.items():
        example = good(kind)["full"]
        for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b'"NaN"', b'"Infinity"'):
            changed = {**example, "data": {**example["data"], name: msgspec.Raw(number)}}
            assert isinstance(decode_one(msgspec.json.encode(changed)), Refusal), (kind, name, number)


def known_to_read_alike(*values):
    return [bool(one) for one in unambiguous(list(values), [canonical(decode_one(value)) for value in values])]


@pytest.mark.parametrize(
    "value",
    [
        encode(decode_one(record())),
        canonical(decode_one(record("labels", {"b": 'a "quoted" text', "a": "x"}))),
        record(),
        record(text="خوب بود"),
        record("labels", {"b": "1", "a": "2"}),
        json.dumps(dict(reversed(ANSWER.items())), indent=2).encode(),
        record("time", "2026-03-21T06:00:00.000Z"),
        record(score=4.0),
    ],
)
def test_what_differs_in_order_blanks_and_writing_alone_reads_alike(value):
    assert known_to_read_alike(value) == [True]


@pytest.mark.parametrize(
    "value",
    [
        record().replace(b'"scale": 5', b'"scale": 4, "scale": 5'),
        record().replace(b'"channel": "web"', b'"channel": "app", "channel": "web"'),
        record("labels", {"a": "2"}).replace(b'"a"', b'"a": "1", "a"'),
        record("x", 1),
        record(x=1).replace(b"1}", b"1e999}"),
        record(text="a \\ b"),
        record(score="4"),
    ],
)
def test_what_readers_may_see_otherwise_or_is_not_known_is_not_said_to_read_alike(value):
    ours = encode(decode_one(record()))
    assert known_to_read_alike(ours, value, ours) == [True, False, True]
