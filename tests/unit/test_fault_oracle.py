"""The oracle of the fault suite finds what is wrong, and nothing where all is right."""

import json
from collections import Counter
from copy import deepcopy
from datetime import UTC, datetime

import pytest

from tests.fault import oracle

TOPIC = "t.touchpoints.web"
START = 1_774_000_020.0


def record(offset, **changes):
    data = {"survey_id": "s", "metric": "csat", "scale": 5, "score": 5, **changes.pop("data", {})}
    at = datetime.fromtimestamp(START + changes.pop("at", offset), UTC).isoformat()
    event = {
        "id": f"e{offset}",
        "source": "/a",
        "type": "cx.survey.answered",
        "subject": "c",
        "channel": "web",
        "time": at,
    }
    return oracle.Record(TOPIC, 0, offset, json.dumps({**event, "data": data, **changes}).encode())


def order(offset, **changes):
    return record(offset, type="cx.order.placed", **changes)


RECORDS = [
    record(0),
    record(1, id="e0", at=0),
    record(2, at=-2 * 86_400),
    oracle.Record(TOPIC, 0, 3, b"{"),
    record(4, subject=""),
    record(5, data={"score": 2}),
    record(6, id="e0", source="/b", data={"score": 1}),
    record(7, id="e0", at=0, data={"score": 4}),
]


def name(event_id, source="/a"):
    return oracle.Name(source, event_id)


def test_every_record_gets_its_outcome():
    expected = oracle.expect(RECORDS, START + 100)
    assert expected.outcomes == {(TOPIC, 0): Counter(read=8, counted=3, duplicate=1, late=1, bad=2, conflict=1)}
    assert expected.sums["csat", "web", int(START // 60)] == [3, 1]
    assert expected.sums["csat_mean", "", int(START // 60)] == [3, 8, 30]
    assert set(expected.stored) == {name("e0"), name("e2"), name("e5"), name("e0", "/b")}
    assert expected.refused == {(TOPIC, 0, 3): "bad", (TOPIC, 0, 4): "bad", (TOPIC, 0, 7): "conflict"}


def test_an_event_that_comes_first_is_never_late():
    assert oracle.expect([record(0, at=-9 * 86_400)], START).outcomes[TOPIC, 0]["late"] == 0


@pytest.mark.parametrize(("steps", "number"), [(1, 0), (2, 35), (1000, 346)])
def test_bins_hold_what_lies_between_two_powers(steps, number):
    assert oracle._bin(steps) == number


def test_an_alert_lives_from_pending_to_inactive():
    minutes = [(100, 95)] * 3 + [(100, 10)] * 4 + [(100, 95)] * 20
    answers = {minute: list(held) for minute, held in enumerate(minutes)}
    found = [(change.old, change.new, change.minute) for change in oracle._life("web", answers, 0, len(minutes) - 1)]
    assert found == [
        ("inactive", "pending", 3),
        ("pending", "firing", 4),
        ("firing", "resolved", 8),
        ("resolved", "inactive", 23),
    ]


def right():
    """What a store holds after the records above."""
    expected = oracle.expect(RECORDS, START + 100)
    events = [
        (TOPIC, 0, 0, name("e0"), "counted"), (TOPIC, 0, 2, name("e2"), "late"), (TOPIC, 0, 5, name("e5"), "counted"),
        (TOPIC, 0, 6, name("e0", "/b"), "counted"),
    ]  # fmt: skip
    letters = [((TOPIC, 0, 3), "bad"), ((TOPIC, 0, 4), "bad"), ((TOPIC, 0, 7), "conflict")]
    balance = Counter(read=8, counted=3, duplicate=1, late=1, bad=2, conflict=1)
    change = oracle.Change("web", "inactive", "pending", 7)
    expected.changes.append(change)
    return expected, oracle.Found(
        ranges=[(TOPIC, 0, 0, 7, balance)], events=events, letters=letters,
        sums=deepcopy(expected.sums), alerts=[("0/0/1", change)] * 2, stored_alerts=[("0/0/1", change)],
    )  # fmt: skip


def test_nothing_is_found_where_all_is_right():
    assert not any(oracle.problems(*right()).values())


def drop_event(found):
    del found.events[0]


def double_event(found):
    found.events.append(found.events[0])


def double_identity(found):
    found.events.append((TOPIC, 0, 1, name("e0"), "counted"))


def store_conflict(found):
    found.letters.pop()
    found.events.append((TOPIC, 0, 7, name("e0"), "counted"))


def confuse_sources(found):
    found.events[3] = (TOPIC, 0, 6, name("e0"), "counted")


def change_letter(found):
    found.letters[2] = (found.letters[2][0], "bad")


def double_range(found):
    found.ranges.append(found.ranges[0])


def overlap_range(found):
    found.ranges.append((TOPIC, 0, 7, 7, Counter(read=1, conflict=1)))


def drop_range(found):
    found.ranges.clear()


def change_balance(found):
    found.ranges[0][4].update(late=1, counted=-1)


def double_letter(found):
    found.letters.append(found.letters[0])


def drop_letter(found):
    found.letters.pop()


def refuse_good(found):
    found.letters.append(((TOPIC, 0, 0), "bad"))


def change_sum(found):
    found.sums["csat", "web", int(START // 60)][0] += 1


def drop_sum(found):
    del found.sums["csat", "", int(START // 60)]


def drop_transition(found):
    found.alerts.clear()


def double_transition(found):
    found.alerts.append(("0/0/2", found.alerts[0][1]))


def change_transition(found):
    found.alerts.append((found.alerts[0][0], found.alerts[0][1]._replace(minute=8)))


def drop_stored_transition(found):
    found.stored_alerts.clear()


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (drop_event, "lost"), (double_event, "doubled"), (double_identity, "doubled"), (double_range, "doubled"),
        (store_conflict, "doubled"), (confuse_sources, "lost"), (change_letter, "wrong"), (overlap_range, "doubled"), (drop_range, "lost"), (change_balance, "wrong"), (double_letter, "doubled"),
        (drop_letter, "lost"), (refuse_good, "wrong"), (change_sum, "wrong"), (drop_sum, "wrong"),
        (drop_transition, "lost"), (double_transition, "doubled"), (change_transition, "wrong"),
        (drop_stored_transition, "lost"),
    ],
)  # fmt: skip
def test_every_kind_of_damage_is_found(damage, kind):
    expected, found = right()
    damage(found)
    assert oracle.problems(expected, found)[kind]
