"""What relations say is events like all others: of types made of the definitions, and read by the one decoder."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.alerts.rules.parsing import load_rules
from streams.definitions import catalogue_of, kpis_of, relations_of
from streams.events import derived
from streams.events.decode import decode_derived, decode_one, decode_stored
from streams.events.derived import DerivedField, DerivedType, declare, shipped, written
from streams.events.refusal import Refusal
from streams.events.types import DERIVED_TYPES, ENVELOPE_FIELDS, EVENT_TYPES, Envelope, data_fields, fields_of
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Folder
from streams.kpis.language.blocks import CatalogueError
from streams.kpis.language.fields import fields_of as kpi_fields
from streams.relations.catalogue import load, parse
from streams.relations.events import types_of
from streams.relations.results import event_of
from streams.relations.timelinefiles import Timeline, load_timelines
from streams.relations.timelines import play
from streams.settings import Settings
from streams.shipped import KPIS_OF_RELATIONS, RULES

RELATIONS = Path(__file__).resolve().parents[2] / "deploy" / "relations"
SHIPPED = load([RELATIONS])
TIMELINES = load_timelines([RELATIONS / "tests"], SHIPPED)
OWN = """
- id: complaint_after_damage
  kind: span
  name: {en: Complaint after damage}
  question: Do customers complain within three days of a damaged delivery?
  owner: logistics
  opens: {events: cx.order.delivered, where: condition == 'damaged'}
  closes:
    complained: {events: cx.contact.opened}
  expires: {after: 3d, as: silent}
  keeps:
    topic: {events: cx.contact.opened, take: last, value: topic}
  emits: cx.damage.judged
"""
OWN_KPI = """
- id: complaints_after_damage
  name: Complaints after damage
  question: Which share of damaged deliveries leads to a complaint?
  unit: percent
  direction: down
  class: C
  maturity: matured
  aggregator: ratio
  formula: Damaged deliveries with a contact within three days, of all.
  source: Own
  owner: logistics
  groupings: [[], [channel], [topic]]
  of: {events: cx.damage.judged}
  hits: {where: outcome == 'complained'}
"""


def results(timeline: Timeline) -> list[dict[str, Any]]:
    played = play(timeline.relations, timeline.arrivals, timeline.lateness_ms, stops=timeline.stops)
    return [event_of(timeline.relations[one.relation], one) for _, one in played.results]


def test_the_shipped_types_are_what_the_relations_say() -> None:
    assert written(shipped()) == written(types_of(SHIPPED.values())), "run `cx relations docs`"
    assert {relation.emits for relation in SHIPPED.values()} <= DERIVED_TYPES.keys()
    assert DERIVED_TYPES.keys().isdisjoint(EVENT_TYPES)


def test_every_result_of_every_timeline_is_read_as_it_was_said() -> None:
    met = set()
    for timeline in TIMELINES:
        for said in results(timeline):
            if said["type"] not in {one.emits for one in SHIPPED.values()}:
                continue
            met.add(said["type"])
            event = decode_derived(msgspec.json.encode(said))
            assert isinstance(event, Envelope), (timeline.name, event)
            again = json.loads(msgspec.json.encode(event))
            assert {**again["data"]}.keys() >= said["data"].keys(), "no field is unknown"
            assert event.data.withdrawn == said["data"]["withdrawn"]
    assert met == {one.emits for one in SHIPPED.values()}


def test_no_channel_can_send_what_is_derived_and_nothing_is_derived_that_channels_send() -> None:
    said = msgspec.json.encode(next(one for one in results(TIMELINES[0])))
    refused = decode_one(said)
    assert isinstance(refused, Refusal)
    assert (refused.reason, refused.path) == ("unknown_type", "type")
    assert "derived of other events, not sent" in refused.message
    assert isinstance(decode_stored(said), Envelope)

    sent = {**json.loads(said), "type": "cx.cart.added", "data": {"product": "p"}}
    refused = decode_derived(json.dumps(sent).encode())
    assert isinstance(refused, Refusal)
    assert "sent by channels, not derived" in refused.message


@pytest.mark.parametrize("name", sorted(one.name for one in shipped()))
def test_fields_of_a_derived_type_hide_nothing_and_are_bounded(name: str) -> None:
    assert not data_fields(name).keys() & ENVELOPE_FIELDS.keys()
    assert fields_of(name).keys() == data_fields(name).keys() | ENVELOPE_FIELDS.keys()
    for field in data_fields(name).values():
        if field.kind == "numeric" and not field.values:
            assert field.low is not None, field.name
            assert field.high is not None, field.name


def test_fields_are_as_exact_as_what_they_are_made_of() -> None:
    cart, joined = data_fields("cx.cart.ended"), data_fields("cx.experience.joined")
    assert set(cart["outcome"].values) == {"ordered", "bought_in_store", "abandoned"}
    assert (cart["items"].integer, cart["value"].integer, cart["last_step"].high) == (True, False, 128)
    assert (cart["opened"].kind, cart["due"].nullable) == ("time", True)
    assert (joined["metric"].kind, joined["score"].integer, joined["delay_h"].integer) == ("enum", True, False)


def test_a_relation_of_a_users_own_brings_its_type_and_kpis_on_it(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    (tmp_path / "kpis.yaml").write_text(OWN_KPI)
    settings = Settings(relations_path=str(tmp_path / "own.yaml"), kpis_path=str(tmp_path / "kpis.yaml"))

    relation = relations_of(settings)["complaint_after_damage"]
    catalogue = catalogue_of(settings)

    said = {"specversion": "1.0", "id": "s.0", "source": "relations/complaint_after_damage", "type": "cx.damage.judged"}
    said |= {"time": "2026-05-01T10:00:00Z", "subject": "c", "channel": "web"}
    data = {"span": "s", "revision": 0, "withdrawn": False, "outcome": "complained", "opened": "2026-05-01T09:00:00Z"}
    event = decode_derived(msgspec.json.encode({**said, "data": {**data, "duration_s": 3600, "topic": "damage"}}))
    assert isinstance(event, Envelope), event
    assert relation.emits == event.type
    (minute,) = Folder([catalogue["complaints_after_damage"]]).fold([event]).values()
    assert minute == {key: [1, 1] for key in minute}
    assert len(minute) == 3


def test_what_a_kpi_asks_of_a_derived_type_is_checked_as_strictly() -> None:
    declare(types_of(parse(OWN).values()))
    wrong = OWN_KPI.replace("== 'complained'", "== 'complaint'").replace("[topic]", "[topik]")
    with pytest.raises(CatalogueError) as refused:
        Catalogue.parse(wrong)
    assert "complained" in str(refused.value)
    assert "did you mean topic" in str(refused.value).replace("'", "")
    with pytest.raises(CatalogueError, match=r"did you mean .?cx\.damage\.judged"):
        Catalogue.parse(OWN_KPI.replace("cx.damage.judged", "cx.damage.juged"))
    mixed = OWN_KPI.replace("{where: outcome == 'complained'}", "{events: cx.contact.opened}")
    with pytest.raises(CatalogueError, match="a KPI is of either"):
        Catalogue.parse(mixed)


def test_a_pattern_means_what_is_sent_alone() -> None:
    assert not DERIVED_TYPES.keys() & set(Catalogue.load()["volume"].of.events)


def test_what_relations_keep_cannot_hide_an_attribute() -> None:
    with pytest.raises(CatalogueError, match="the name 'source' is taken"):
        parse(OWN.replace("    topic:", "    source:"))


def test_a_type_that_is_declared_anew_is_as_it_is_now() -> None:
    one = DerivedType("cx.anew.said", "anew", "Is it new?", (DerivedField("n", "whole", "how many"),))
    said = {"specversion": "1.0", "id": "s.0", "source": "relations/anew", "type": "cx.anew.said", "subject": "c"}
    said |= {"time": "2026-05-01T10:00:00Z", "channel": "web"}
    data = {"span": "s", "revision": 0, "withdrawn": False}
    declare([one])
    declare([one])
    assert isinstance(decode_derived(msgspec.json.encode({**said, "data": {**data, "n": 1}})), Envelope)
    assert "n" in fields_of("cx.anew.said")
    declare([msgspec.structs.replace(one, fields=(DerivedField("m", "flag", "whether"),))])
    refused = decode_derived(msgspec.json.encode({**said, "data": {**data, "n": 1}}))
    assert isinstance(refused, Refusal)
    assert (refused.reason, refused.path) == ("missing_field", "data.m")
    assert fields_of("cx.anew.said").keys() - ENVELOPE_FIELDS.keys() == {"span", "revision", "withdrawn", "m"}
    assert "m" in kpi_fields("cx.anew.said")
    assert derived.DERIVED_DATA["cx.anew.said"].__doc__ == "Is it new? What the relation anew says."


def test_kpis_of_shipped_relations_are_counted_where_their_relations_run() -> None:
    shipped_kpis = {kpi.id for kpi in Catalogue.load([KPIS_OF_RELATIONS], built_in=False)}
    everything = {kpi.id for kpi in Catalogue.load()}
    assert {kpi.id for kpi in kpis_of(Settings())} == everything
    counted = kpis_of(Settings(relations="all"))
    assert {kpi.id for kpi in counted} == everything | shipped_kpis
    some = {kpi.id for kpi in catalogue_of(Settings(relations="cart, survey"))} - everything
    assert some == {"cart_abandonment", "survey_response", "survey_response_provisional"}
    alerts = load_rules([RULES], counted)
    assert {"cart_abandonment", "promise_kept", "first_contact_resolution"} <= {rule.kpi.id for rule in alerts}
