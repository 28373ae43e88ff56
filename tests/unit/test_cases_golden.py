"""The closed loop by the golden cases: what opens, joins and reopens; clocks; order; concurrent edits."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from streams.loop.case import PREFIX, fold
from streams.loop.definition import CaseRules, UrgencyPart
from streams.loop.reading import parse_rules
from streams.loop.urgency import Standing, in_urgency, page_of
from streams.loop.writes import CaseAnswer, judge, name_of
from streams.relations.facts import Fact, milliseconds
from tests.harness.cases import Desk, action, at, only, survey

RULES = """
- {id: low_nps, kind: cause, name: {en: NPS}, reopens: 7d, contact: 24h, close: 48h, warns: 2h,
   priorities: {urgent: {contact: 4h}},
   opens: {events: cx.survey.answered, where: metric == 'nps' and score <= 6}}
- {id: low_stars, kind: cause, name: {en: Stars}, reopens: 7d,
   opens: {events: cx.survey.answered, where: metric == 'stars' and score <= 2}}
- {id: damage, kind: cause, name: {en: Damage}, reopens: 7d,
   opens: {events: cx.order.delivered, where: condition == 'damaged'}}
"""
HOUR_MS = 3_600_000
MINUTE_MS = 60_000


def rules(text: str = RULES) -> CaseRules:
    return parse_rules(text)


def of_cause(desk: Desk, subject: str, cause: str) -> list[str]:
    """Ids of a customer's cases of a cause, in the order in which they were opened."""
    found = [
        (case.opened, case.id) for (who, _), case in desk.cases().items() if who == subject and case.cause == cause
    ]
    return [case_id for _, case_id in sorted(found)]


def test_16_one_open_case_per_customer_and_cause() -> None:
    desk = Desk(rules())
    damaged = Fact(at("05-01T12:00"), "/shop", "e3", "cx.order.delivered", {"condition": "damaged"})
    desk.give(("u1", survey(at("05-01T09:00"), "e1", 3)))
    desk.give(("u1", survey(at("05-01T09:00"), "e1", 3)))
    due = only(desk.cases().values()).now.contact_due
    desk.give(("u1", survey(at("05-01T11:00"), "e2", 2)), ("u1", damaged))
    (nps,) = of_cause(desk, "u1", "low_nps")
    assert desk.cases()["u1", nps].now.contact_due == due, "a second fact changes no due time"
    desk.give(("u1", action(at("05-02T10:00"), "a1", "closed", nps, outcome="rescued")))
    desk.give(("u1", survey(at("05-05T08:00"), "e4", 5)))
    assert desk.cases()["u1", nps].state == "open"
    assert desk.cases()["u1", nps].now.began == at("05-05T08:00")
    desk.give(("u1", action(at("05-06T10:00"), "a2", "closed", nps, outcome="informed")))
    desk.give(
        ("u1", survey(at("05-20T08:00"), "e5", 6)),
        ("u2", survey(at("05-20T08:00"), "e6", 7)),
        ("u2", survey(at("05-20T08:01"), "e7", 2, "stars")),
        ("u1", survey(at("05-20T09:00"), "e5b", 9)),
    )
    desk.step()
    first, second = of_cause(desk, "u1", "low_nps")
    row = desk.row(first)
    assert (row.opened, row.facts, row.reopened, row.state) == (at("05-01T09:00"), 3, 1, "closed")
    assert [cycle.closed for cycle in desk.cases()["u1", first].cycles] == [at("05-02T10:00"), at("05-06T10:00")]
    (damage,), (stars,) = of_cause(desk, "u1", "damage"), of_cause(desk, "u2", "low_stars")
    facts = {name: desk.row(name).facts for name in (damage, second, stars)}
    assert facts == {damage: 1, second: 1, stars: 1}
    assert desk.row(second).opened == at("05-20T08:00")
    assert len(desk.cases()) == 4
    assert sum(case.state != "closed" for case in desk.cases().values()) == 3
    assert (len(desk.said("opened")), len(desk.said("reopened"))) == (4, 1)


CALENDARS = """
- {id: tehran, kind: clock, zone: Asia/Tehran, hours: {saturday-wednesday: 09:00-17:00, thursday: 09:00-13:00}}
- {id: nowruz, kind: clock, zone: Asia/Tehran, hours: {saturday-wednesday: 09:00-17:00, thursday: 09:00-13:00},
   holidays: [2025-03-20, 2025-03-21, 2025-03-22, 2025-03-23, 2025-03-24]}
- {id: berlin, kind: clock, zone: Europe/Berlin, hours: {monday-friday: 09:00-17:00}}
- {id: always_berlin, kind: clock, zone: Europe/Berlin, hours: {monday-sunday: 00:00-24:00}}
- {id: always_tehran, kind: clock, zone: Asia/Tehran, hours: {monday-sunday: 00:00-24:00}}
- {id: c, kind: cause, name: {en: C}, clock: CLOCK, contact: LENGTHm, close: 900h,
   opens: {events: cx.survey.answered, where: metric == 'nps'}}
"""


@pytest.mark.parametrize(
    ("clock", "opened", "minutes", "due"),
    [
        ("tehran", "2025-05-07T16:30:00+03:30", 60, "2025-05-08T09:30:00+03:30"),
        ("tehran", "2025-05-08T12:30:00+03:30", 60, "2025-05-10T09:30:00+03:30"),
        ("tehran", "2025-05-09T10:00:00+03:30", 120, "2025-05-10T11:00:00+03:30"),
        ("nowruz", "2025-03-19T16:00:00+03:30", 120, "2025-03-25T10:00:00+03:30"),
        ("berlin", "2025-03-28T16:30:00+01:00", 60, "2025-03-31T09:30:00+02:00"),
        ("always_berlin", "2025-03-29T12:00:00+01:00", 1440, "2025-03-30T13:00:00+02:00"),
        ("always_berlin", "2025-10-25T12:00:00+02:00", 1440, "2025-10-26T11:00:00+01:00"),
        ("always_tehran", "2025-05-07T23:30:00+03:30", 60, "2025-05-08T00:30:00+03:30"),
        ("tehran", "2025-05-10T16:59:00+03:30", 1, "2025-05-10T17:00:00+03:30"),
        ("tehran", "2025-05-10T17:00:00+03:30", 1, "2025-05-11T09:01:00+03:30"),
    ],
    ids="abcdefghij",
)
def test_17_clocks_over_weekend_holidays_and_changes_of_clocks(clock: str, opened: str, minutes: int, due: str) -> None:
    desk = Desk(rules(CALENDARS.replace("CLOCK", clock).replace("LENGTH", str(minutes))))
    desk.give(("u", survey(milliseconds(datetime.fromisoformat(opened)), "e", 1)))
    case = only(desk.cases().values())
    assert case.now.contact_due == milliseconds(datetime.fromisoformat(due))


def test_18_one_warning_and_one_escalation_across_restarts_and_a_late_contact() -> None:
    day = at("05-01T00:00")
    desk = Desk(rules())
    desk.give(("k", survey(day, "e", 2)))
    desk.give(("other", survey(day, "o", 2)))
    desk.step()
    case_id, other = of_cause(desk, "k", "low_nps")[0], of_cause(desk, "other", "low_nps")[0]
    desk.give(("other", action(day + 10 * MINUTE_MS, "o1", "contacted", other)))
    told: list[tuple[str, int, int]] = []

    def pass_to(moment: int, *facts: tuple[str, Fact]) -> None:
        desk.give(*facts, until=moment)
        desk.step()
        told.append((f"{(moment - day) // MINUTE_MS}", len(desk.said("warned")), len(desk.said("escalated"))))

    pass_to(day + 22 * HOUR_MS - 1)
    pass_to(day + 22 * HOUR_MS)
    desk.restart()
    pass_to(day + 22 * HOUR_MS + 5 * MINUTE_MS)
    pass_to(day + 24 * HOUR_MS)
    desk.restart()
    pass_to(day + 24 * HOUR_MS + MINUTE_MS)
    assert told == [("1319", 0, 0), ("1320", 1, 0), ("1325", 1, 0), ("1440", 1, 1), ("1441", 1, 1)]
    assert desk.row(case_id).missed == ["contact"]
    late = action(day + 23 * HOUR_MS + 10 * MINUTE_MS, "c", "contacted", case_id)
    pass_to(day + 24 * HOUR_MS + 30 * MINUTE_MS, ("k", late))
    pass_to(day + 26 * HOUR_MS, ("k", late))
    desk.rules = rules(RULES.replace("contact: 24h, close: 48h", "contact: 48h, close: 96h"))
    desk.restart()
    pass_to(day + 27 * HOUR_MS)
    assert [len(desk.said(what)) for what in ("warned", "escalated", "cleared")] == [1, 1, 1]
    case = desk.cases()["k", case_id]
    assert case.now.met("contact") is True
    assert case.now.contacted is not None
    assert (case.now.contacted - case.opened) // MINUTE_MS == 1390
    assert desk.row(case_id).missed == []
    assert all(other not in name for name in desk.said("warned") + desk.said("escalated"))


PARTS = (
    UrgencyPart("tier", "tier", 2, {"gold": 3, "silver": 2, "bronze": 1, "none": 0}),
    UrgencyPart("severity", "severity", 3),
    UrgencyPart("churn", "churn_risk", 5),
)


def standings() -> list[Standing]:
    listed: list[tuple[str, str, float, float | None, str]] = [
        ("k10", "gold", 2, 0.1, "05-01T10:00"),
        ("k9", "gold", 2, 0.1, "05-01T10:00"),
        ("k7", "none", 3, None, "05-01T08:00"),
        ("k3", "silver", 3, 0.3, "05-01T09:00"),
        ("k4", "gold", 1, 0.6, "05-01T11:00"),
        ("k5", "bronze", 3, 0.3, "05-01T07:00"),
    ]
    return [
        Standing(case_id=name, tier=tier, severity=severity, churn_risk=risk, due=at(due))
        for name, tier, severity, risk, due in listed
    ]


def test_19_order_with_ties_and_unknown_risks() -> None:
    cases = standings()
    ordered = in_urgency(cases, PARTS, lambda case: case, 0)
    assert [case.case_id for case, _ in ordered] == ["k3", "k5", "k9", "k10", "k4", "k7"]
    assert [urgency.score for _, urgency in ordered] == [14.5, 12.5, 12.5, 12.5, 12.0, 9.0]
    assert [tuple(part.points for part in urgency.parts) for _, urgency in ordered] == [
        (4, 9, 1.5), (2, 9, 1.5), (6, 6, 0.5), (6, 6, 0.5), (6, 3, 3.0), (0, 9, 0),
    ]  # fmt: skip
    assert [urgency.parts[2].known for _, urgency in ordered] == [True] * 5 + [False]
    pages = [[case.case_id for case, _ in page_of(ordered, number, 2)] for number in (1, 2, 3)]
    assert pages == [["k3", "k5"], ["k9", "k10"], ["k4", "k7"]]
    assert in_urgency(reversed(cases), PARTS, lambda case: case, 0) == ordered, "whatever the order of arrival"


def test_20_assigning_keeps_the_clock_and_waiting_is_taken_out() -> None:
    day = at("05-01T00:00")
    desk = Desk(rules(RULES + "- {id: all, kind: duty, owner: A}\n"))
    desk.give(("u", survey(day, "e", 2)))
    case_id = of_cause(desk, "u", "low_nps")[0]
    dues = []

    def do(minutes: int, what: str, **values: Any) -> None:
        desk.give(("u", action(day + minutes * MINUTE_MS, f"m{minutes}", what, case_id, **values)))
        dues.append(((desk.cases()["u", case_id].now.contact_due or 0) - day) // MINUTE_MS)

    do(60, "assigned", owner="B")
    do(120, "prioritised", priority="urgent")
    do(150, "assigned", owner="A")
    do(210, "contacted", agentid="A")
    assert dues == [1440, 240, 240, 240]
    assert desk.cases()["u", case_id].now.close_due == day + 48 * HOUR_MS
    do(240, "held")
    do(16 * 60, "resumed")
    do(18 * 60, "assigned", owner="C")
    do(47 * 60, "closed", outcome="rescued")
    case = desk.cases()["u", case_id]
    assert (case.now.contacted or 0) - day == 210 * MINUTE_MS
    assert (case.now.met("contact"), case.now.met("close")) == (True, True)
    assert case.now.close_due == day + 60 * HOUR_MS
    assert (case.now.closed or 0) - case.now.began - case.now.held == 2100 * MINUTE_MS
    assert case.owners == ["A", "B", "A", "C"]
    assert case.now.contacted_by == "A"


def test_20_a_new_priority_after_a_wait_leaves_the_wait_out_as_well() -> None:
    day = at("05-01T00:00")
    desk = Desk(rules())
    desk.give(("u", survey(day, "e", 2)))
    case_id = of_cause(desk, "u", "low_nps")[0]
    dues = []
    for hours, what in [(1, "held"), (13, "resumed"), (14, "prioritised"), (20, "held"), (22, "resumed")]:
        desk.give(("u", action(day + hours * HOUR_MS, f"m{hours}", what, case_id, priority="urgent")))
        dues.append(((desk.cases()["u", case_id].now.close_due or 0) - day) // HOUR_MS)
    assert dues == [48, 60, 60, 60, 62]


def test_21_two_people_on_one_case() -> None:
    day = at("05-01T00:00")
    desk = Desk(rules())
    desk.give(("u", survey(day, "e", 2)))
    case_id = of_cause(desk, "u", "low_nps")[0]
    for number, what in enumerate(("prioritised", "held", "resumed"), 1):
        desk.give(("u", action(day + number, f"before-{number}", what, case_id, priority="normal")))
    desk.step()
    assert desk.row(case_id).version == 4
    before = len(desk.times_told)
    answers: dict[str, CaseAnswer] = {}
    writes: list[tuple[str, str, int, str, Mapping[str, Any]]] = [
        ("w1", "A", 4, "assigned", {"owner": "A"}),
        ("w2", "B", 4, "assigned", {"owner": "B"}),
        ("w1", "A", 4, "assigned", {"owner": "A"}),
        ("w3", "B", 5, "closed", {"outcome": "lost"}),
        ("w4", "A", 5, "contacted", {}),
        ("w5", "A", 6, "contacted", {}),
        ("w6", "A", 1, "closed", {"outcome": "rescued", "case_id": "k999"}),
        ("w7", "B", 6, "closed", {"outcome": "lost"}),
    ]
    said: list[tuple[CaseAnswer, bool]] = []
    for number, (key, by, version, what, values) in enumerate(writes):
        write = action(day + HOUR_MS + number, key, what, case_id, agentid=by, if_version=version)
        write = Fact(write.time, write.source, write.id, write.type, {**write.values, **values})
        name = name_of(write)
        repeat = name in answers
        if not repeat:
            file = {one: file for _, one, file in desk.desk.files()}.get(str(write.values["case_id"]))
            answers[name] = judge(file and file.case(lambda _: None), file.events if file else (), write)
        said.append((answers[name], repeat))
        desk.give(("u", write))
    desk.step()
    assert [(one.code, one.version, repeat) for one, repeat in said] == [
        (200, 5, False), (409, 5, False), (200, 5, True), (200, 6, False), (409, 6, False), (409, 6, False),
        (404, 0, False), (409, 6, False),
    ]  # fmt: skip
    assert [said[place][0].says for place in (1, 4, 5, 7)] == [
        "assigned to A meanwhile, version 5",
        "closed by B meanwhile, version 6",
        "the case is closed; reopen it first",
        "the case is already closed",
    ]
    row = desk.row(case_id)
    assert (row.version, row.state, row.owner, row.outcome) == (6, "closed", "A", "lost")
    taken = [one for one in desk.news.values() if one.change.event and one.change.event.id.startswith("w")]
    assert sum(one.change.taken for one in taken) == 2
    assert sum(bool(line.refused) for line in row.story) == 4, "what was refused is in the story"
    assert len(desk.times_told) - before == 6


def test_what_is_said_of_cases_that_nobody_opens_is_bounded_and_forgotten() -> None:
    desk = Desk(rules())
    for number in range(300):
        desk.give(("u", action(number, f"a{number}", "contacted", f"made-up-{number}")), until=1_000)
    assert len(list(desk.desk.files())) == 100
    assert desk.desk.take_counts()["forgotten", ""] == 200
    for number in range(700):
        desk.give(("v", action(number, f"b{number}", "contacted", "one")), until=1_000)
    (one,) = (file for subject, _, file in desk.desk.files() if subject == "v")
    assert len(one.events) == 500
    desk.step()
    assert desk.saved.keys() >= {b"c/u", b"c/v"}
    desk.give(until=25 * HOUR_MS)
    desk.step()
    desk.step()
    assert list(desk.desk.files()) == []
    assert desk.saved.keys() == {b"f", b"s"}, "nothing is left of them"


def test_a_case_before_its_opening_is_none() -> None:
    assert fold([action(1, "a", "contacted", "k")]) is None
    assert fold([Fact(5, "/s", "o", PREFIX + "opened", {"case_id": "k"}), action(1, "a", "contacted", "k")]) is not None
