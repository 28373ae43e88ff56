"""The register of event types and what it tells about fields."""

import json
import re
from datetime import UTC, datetime

import msgspec
import pytest

from streams.events.decode import decode_one, encode
from streams.events.envelope import Data, Envelope, event, new_event, version_of
from streams.events.families.contact import ContactQueueLeft
from streams.events.families.feedback import SurveyAnswered
from streams.events.types import DATA_TYPES, ENVELOPE_FIELDS, EVENT_TYPES, VERBATIM_TYPES, data_fields, fields_of
from streams.storage.migrations import views

AT = datetime(2026, 3, 21, 6, 0, tzinfo=UTC)


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_every_type_is_named_and_built_alike(name):
    struct, data = EVENT_TYPES[name], DATA_TYPES[name]

    assert re.fullmatch(r"cx\.[a-z]+\.[a-z]+(_[a-z]+)*", name)
    assert struct.type == name
    assert issubclass(struct, Envelope)
    assert struct.__struct_config__.frozen
    assert not struct.__struct_config__.gc
    assert data.__struct_config__.frozen
    assert not data.__struct_config__.gc
    assert re.fullmatch(r"\d+-\d+-\d+", version_of(name))


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_no_field_of_data_hides_an_attribute_of_the_envelope(name):
    assert not data_fields(name).keys() & ENVELOPE_FIELDS.keys()
    assert fields_of(name).keys() == data_fields(name).keys() | ENVELOPE_FIELDS.keys()


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_every_number_is_bounded_so_that_sums_stay_exact(name):
    for field in data_fields(name).values():
        if field.kind == "numeric" and not field.values:
            assert field.low is not None, field.name
            assert field.high is not None, field.name


def test_fields_tell_kind_and_whether_null_may_stand():
    fields = fields_of("cx.survey.answered")

    assert (fields["score"].kind, fields["score"].rating, fields["score"].nullable) == ("numeric", True, False)
    assert (fields["scale"].kind, fields["scale"].values) == ("numeric", (3, 4, 5, 6, 7, 10))
    assert (fields["metric"].kind, fields["metric"].required) == ("enum", True)
    assert set(fields["metric"].values) == {"csat", "ces", "nps", "enps", "stars"}
    assert (fields["wait_s"].kind, fields["wait_s"].nullable, fields["wait_s"].low) == ("numeric", True, 0)
    assert (fields["resolved"].kind, fields["resolved"].nullable) == ("bool", True)
    assert (fields["text"].kind, fields["text"].high) == ("text", 20_000)
    assert (fields["segment"].kind, fields["segment"].part) == ("text", "envelope")
    assert (fields["synthetic"].kind, fields["synthetic"].default) == ("bool", False)
    assert "cx.survey.answered" in fields["type"].values
    assert data_fields("cx.promise.made")["due"].kind == "time"


def test_fields_of_an_unknown_type_are_an_error():
    with pytest.raises(KeyError, match="invented"):
        fields_of("cx.survey.invented")


def test_a_type_is_listed_once():
    with pytest.raises(ValueError, match="answered is registered twice: SurveyAnswered, Again"):

        @event("cx.survey.answered", counts="answers")
        class Again(Data, frozen=True, kw_only=True):
            """Comes too late."""

    assert DATA_TYPES["cx.survey.answered"] is SurveyAnswered


def test_an_event_survives_the_wire_and_leaves_nothings_out():
    left = ContactQueueLeft(queue="orders", reason="abandoned", wait_s=31.5)
    sent = new_event(left, id="e1", source="/acd", time=AT, subject="c1", channel="call_center", agentid="a7")

    wire = encode(sent)

    assert decode_one(wire) == sent
    assert msgspec.json.decode(wire) == {
        "type": "cx.contact.queue_left",
        "specversion": "1.0",
        "id": "e1",
        "source": "/acd",
        "time": "2026-03-21T06:00:00Z",
        "subject": "c1",
        "channel": "call_center",
        "agentid": "a7",
        "data": {"queue": "orders", "reason": "abandoned", "wait_s": 31.5},
    }


def test_an_unknown_attribute_is_refused_when_an_event_is_made():
    left = ContactQueueLeft(queue="orders", reason="abandoned", wait_s=1)

    with pytest.raises(TypeError, match="agent_id"):
        new_event(left, id="e", source="s", time=AT, subject="c", channel="web", agent_id="a7")


def test_a_rating_is_held_against_its_scale_when_made_in_python_too():
    with pytest.raises(ValueError, match="outside its scale"):
        SurveyAnswered(survey_id="s", metric="csat", scale=5, score=6)


def test_one_list_says_which_texts_customers_wrote() -> None:
    """The view of verbatims names the same types; all have a text, and nobody but customers writes in any of them."""
    [view] = [view for view in views() if view.name == "verbatims"]
    named = re.search(r"WHERE type IN \(([^)]*)\)", view.text)
    assert named is not None
    assert tuple(re.findall(r"'([^']+)'", named[1])) == VERBATIM_TYPES
    for event_type in VERBATIM_TYPES:
        assert fields_of(event_type)["text"].kind == "text"
        assert not {"by", "speaker"} & fields_of(event_type).keys()


@pytest.mark.parametrize(
    ("labels", "taken"),
    [
        (None, True), ({}, True), ({"plan": "gold"}, True), ({f"k{n}": "x" for n in range(8)}, True),
        ({f"k{n}": "x" for n in range(9)}, False), ({"Plan": "x"}, False), ({"a": "x" * 129}, False), ({"a": ""}, False),
        ({"a": 3}, False), ("gold", False), ({"a": {"b": "c"}}, False),
    ],
)  # fmt: skip
def test_own_labels_are_few_and_short(labels, taken: bool) -> None:
    record = json.loads(encode(new_event(
        SurveyAnswered(survey_id="s", metric="csat", scale=5, score=4), id="1", source="/t", time=AT, subject="c", channel="web"
    )))  # fmt: skip
    found = decode_one(json.dumps({**record, "labels": labels}).encode())
    assert isinstance(found, Envelope) == taken
    if isinstance(found, Envelope):
        assert found.labels == labels
    else:
        assert "labels" in found.message
