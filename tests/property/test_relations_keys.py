"""Keys of one person in several partitions: whoever reads first, dies or waits, they come to what the person's events say."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events.decode import decode_one
from streams.events.types import Envelope
from streams.relations import partition
from streams.relations.timelines import play, standing
from tests.harness.partitions import Partitions
from tests.property.test_relations import HISTORIES as EVENTS
from tests.property.test_relations import HOUR, LATENESS, MINUTE, RELATIONS, START, event, holding, in_time, iso

KEYS = ["c-1", "c-2", "a-1", "a-2", "a-3"]
LINKS = st.lists(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(KEYS), st.booleans(), st.integers(0, 20 * 60)),
    min_size=1,
    max_size=5,
)


def link(number: int, subject: str, other: str, at: int, *, merged: bool = False, synthetic: bool = False) -> Envelope:
    raw: dict[str, Any] = {"specversion": "1.0", "id": f"l{number}", "source": "s", "time": iso(at), "subject": subject}
    raw |= {"type": "cx.identity.merged", "data": {"merged_into": other}} if merged else {
        "type": "cx.identity.linked", "data": {"alias": other}
    }  # fmt: skip
    found = decode_one(json.dumps({**raw, "channel": "web", "synthetic": synthetic}).encode())
    assert isinstance(found, Envelope), found
    return found


def run(events: list[Envelope], seed: int, kill: float, partitions: int = 3) -> Partitions:
    world = Partitions(RELATIONS, partitions, random.Random(seed), kill)
    world.feed(events, LATENESS, START + 400 * 24 * HOUR)
    return world


def found(world: Partitions) -> dict[str, Any]:
    return {span: (one.relation, one.at, one.data) for span, one in standing(world.sent).items()}


@settings(max_examples=25, deadline=None)
@given(EVENTS, st.lists(st.sampled_from(KEYS), min_size=25, max_size=25), LINKS, st.integers(0, 1000), st.booleans())
def test_partitions_come_to_what_the_events_of_persons_say(
    history: Any, whose: list[str], links: Any, seed: int, troubled: bool
) -> None:
    """Chains, circles, and links said twice among them; `troubled`: processes die, and too much waits for too little room."""
    events = [event(number, choice, START + at, whose[number]) for number, (choice, at) in enumerate(history)]
    events += [
        link(number, one, other, START + at * MINUTE + 1, merged=merged)
        for number, (one, other, merged, at) in enumerate(links)
    ]
    expected = holding(play(RELATIONS, in_time(events), LATENESS))
    with pytest.MonkeyPatch.context() as patch:
        if troubled:
            patch.setattr(partition, "MOST_HELD", 3)
            patch.setattr(partition, "MOST_TAKEN", 2)
            patch.setattr(partition, "AT_ONCE", 2)
        assert found(run(events, seed, 0.02 if troubled else 0.0)) == expected
