"""KPIs of the closed loop are made of what the desk decides and what people do, by the relations that there are."""

import msgspec
import pytest

from streams.events.decode import decode_one
from streams.events.types import Envelope
from streams.kpis.catalogue.catalogue import Catalogue
from streams.loop.case import PREFIX
from streams.loop.reading import load_rules
from streams.loop.sending import encoded
from streams.relations.facts import Fact, milliseconds
from streams.relations.timelines import Arrival
from streams.shipped import CASES
from tests.harness.cases import Desk, action, survey
from tests.harness.derived import derived_of, sums_of, value

HOUR = 3_600_000
START = 1_777_883_400_000


def arrivals(desk: Desk, late: dict[str, int]) -> list[Arrival]:
    """What the desk has sent and people have, as the workers read it: at its own time, or when it is reported late."""
    found = []
    for one in desk.news.values():
        assert one.change.event is not None
        event = decode_one(encoded(one.row.subject, one.change.event))
        assert isinstance(event, Envelope), event
        found.append(Arrival(event, late.get(event.id, milliseconds(event.time))))
    return sorted(found, key=lambda one: one.at)


@pytest.fixture(scope="module")
def loop() -> list[Arrival]:
    """Four unhappy customers: one contacted at once, one late, one in time but reported late, one never."""
    desk = Desk(load_rules([CASES]))
    for number in range(4):
        desk.give((f"c-{number}", survey(START, f"e{number}", 2, channel="web", survey_id="s")))
    desk.step()
    ids = dict(desk.cases().keys())
    desk.give(("c-0", action(START + HOUR, "in-time", "contacted", ids["c-0"], duration_s=3600.0)))
    desk.give(("c-1", action(START + 30 * HOUR, "late", "contacted", ids["c-1"], duration_s=108_000.0)))
    desk.give(("c-2", action(START + 23 * HOUR, "told-late", "contacted", ids["c-2"], duration_s=82_800.0)))
    done = {"outcome": "rescued", "duration_s": 144_000.0}
    desk.give(("c-0", action(START + 40 * HOUR, "closed", "closed", ids["c-0"], **done)), until=START + 60 * HOUR)
    desk.step()
    return arrivals(desk, {"told-late": START + 25 * HOUR})


def test_time_limits_of_cases_are_kept_or_not(loop: list[Arrival]) -> None:
    contacts = value(derived_of(loop), "cases_contacted_in_time")
    assert (contacts.value, contacts.n) == (50.0, 4)
    settled = value(derived_of(loop), "cases_settled_in_time")
    assert (settled.value, settled.n) == (100.0, 1)


def test_cases_are_counted(loop: list[Arrival]) -> None:
    sums = sums_of([one.event for one in loop], Catalogue.load())
    assert sums["cases_opened"] == [4]
    assert sums["cases_contacted"] == [3]
    assert sums["cases_closed"] == [1]
    assert {one.event.type for one in loop} >= {PREFIX + "warned", PREFIX + "escalated"}


def test_an_event_of_the_desk_is_the_same_bytes_each_time() -> None:
    event = Fact(START, "/cx/cases", "k/opened", PREFIX + "opened", {"case_id": "k", "due": START + HOUR})
    assert encoded("c", event) == encoded("c", msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=Fact))
