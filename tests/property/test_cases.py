"""Cases against plain oracles: events in any order with repeats, and thousands of cases with kills in between."""

import hashlib
import random
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.loop.case import PREFIX, fold
from streams.loop.reading import parse_rules
from streams.loop.writes import name_of
from streams.relations.facts import Fact
from tests.harness.cases import Desk, action, survey

HOUR = 3_600_000
CONTACT, CLOSE, WARNS, REOPENS = 24 * HOUR, 48 * HOUR, 2 * HOUR, 7 * 24 * HOUR
RULES = parse_rules(
    "- {id: low_nps, kind: cause, name: {en: NPS}, reopens: 7d, contact: 24h, close: 48h, warns: 2h,"
    " opens: {events: cx.survey.answered, where: metric == 'nps' and score <= 6}}"
)
_ORDER = ("opened", "reopened", "prioritised", "assigned", "contacted", "held", "resumed", "resolved", "closed")


class Plain:
    """A case by the book: one thing after the other."""

    def __init__(self) -> None:
        self.state = "none"
        self.owner = self.outcome = ""
        self.cycles: list[dict[str, Any]] = []
        self.since = 0

    def play(self, events: list[Fact]) -> "Plain":
        once = {name_of(event): event for event in events}
        ranks = {PREFIX + name: rank for rank, name in enumerate(_ORDER)}
        moves = [event for event in once.values() if event.type in ranks]
        opening = min((e for e in moves if e.type == PREFIX + "opened"), key=lambda e: (e.time, e.source, e.id))
        self.state, self.owner = "open", opening.values.get("owner", "")
        self._begin(opening)
        for event in sorted(moves, key=lambda e: (e.time, ranks[e.type], e.source, e.id)):
            self._move(event.type.removeprefix(PREFIX), event)
        return self

    def _begin(self, event: Fact) -> None:
        dues = event.values.get("contact_due"), event.values.get("due")
        self.cycles.append({"began": event.time, "contacted": None, "closed": None, "dues": list(dues)})

    def _move(self, what: str, event: Fact) -> None:
        cycle = self.cycles[-1]
        if self.state == "closed":
            if what == "reopened":
                self.state = "open"
                self._begin(event)
        elif what == "assigned":
            self.owner = event.values["owner"]
        elif what == "contacted" and cycle["contacted"] is None and event.time >= cycle["began"]:
            cycle["contacted"] = event.time
        elif what == "held" and self.state == "open":
            self.state, self.since = "waiting", event.time
        elif what in {"resumed", "closed"}:
            if self.state == "waiting":
                self.state = "open"
                if cycle["dues"][1] is not None and self.since <= cycle["dues"][1]:
                    cycle["dues"][1] += event.time - self.since
            if what == "closed":
                self.state, cycle["closed"], self.outcome = "closed", event.time, event.values.get("outcome", "")


@st.composite
def histories(draw: st.DrawFn) -> list[Fact]:
    """What happens to one case, opened at some time, with moments that coincide."""
    opened = draw(st.integers(0, 5))
    events = [
        Fact(opened, "/s", "o", PREFIX + "opened", {"case_id": "k", "contact_due": opened + 4, "due": opened + 8})
    ]
    for number in range(draw(st.integers(0, 12))):
        what = draw(st.sampled_from(_ORDER[1:]))
        values = {"owner": draw(st.sampled_from("AB")), "priority": "normal", "outcome": "lost"}
        if what == "reopened":
            values = {}
        events.append(action(draw(st.integers(0, 20)), f"e{number}", what, "k", **values))
    return events


@given(histories(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_the_same_events_in_any_order_and_repeated_are_the_same_case(events: list[Fact], chance: Any) -> None:
    expected = Plain().play(events)
    given_events = events + chance.sample(events, chance.randint(0, len(events)))
    chance.shuffle(given_events)
    case = fold(given_events)
    assert case is not None
    assert (case.state, case.owner) == (expected.state, expected.owner)
    found = [(one.began, one.contacted, one.closed, one.contact_due, one.close_due) for one in case.cycles]
    assert found == [(one["began"], one["contacted"], one["closed"], *one["dues"]) for one in expected.cycles]
    assert case.version == len(events)
    assert fold(sorted(events, key=name_of)) == case


class Book(NamedTuple):
    """What the oracle knows of one customer: cases in order, each with its facts, what is known of it, and notices."""

    ids: list[str]
    facts: dict[str, list[int]]
    known: dict[str, list[Fact]]
    said: dict[str, set[tuple[str, int, str]]]


def expected_notices(book: Book, case_id: str, until: int) -> int:
    """Note what has to be said of a case by a moment, from what is known of it; give its last due time."""
    plain = Plain().play(book.known[case_id])
    said = book.said[case_id]
    for number, cycle in enumerate(plain.cycles):
        contacted = cycle["contacted"] if cycle["contacted"] is not None else cycle["closed"]
        for clock, due, done in (
            ("contact", cycle["dues"][0], contacted),
            ("close", cycle["dues"][1], cycle["closed"]),
        ):
            last = number == len(plain.cycles) - 1
            runs = not (last and clock == "close" and plain.state == "waiting" and plain.since <= due)
            if runs and due <= until and (done is None or done > due):
                said.add(("escalated", number, clock))
            if runs and due - WARNS <= until and (done is None or done > due - WARNS):
                said.add(("warned", number, clock))
            if ("escalated", number, clock) in said and done is not None and done <= due:
                said.add(("cleared", number, clock))
    return max(due for cycle in plain.cycles for due in cycle["dues"])


def test_ten_thousand_cases_with_kills_and_repeats_equal_an_oracle() -> None:
    chance = random.Random(20261129)
    desk, books = Desk(RULES), dict[str, Book]()
    watched: dict[tuple[str, str], int] = {}
    subjects = [f"c-{number}" for number in range(60_000)]
    later: list[tuple[int, str, str, Fact]] = []
    serial, kills = 0, 0
    for step in range(1, 35):
        since, until = (step - 1) * 6 * HOUR, step * 6 * HOUR
        facts: list[tuple[str, Fact]] = []
        # Unhappy answers, in the order of their times.
        times = sorted(chance.randrange(since, until) for _ in range(640 if step < 26 else 0))
        for time in times:
            serial += 1
            subject = chance.choice(subjects)
            fact = survey(time, f"f{serial}", chance.randrange(0, 10))
            facts += [(subject, fact)] * (1 + (serial % 29 == 0))
            if fact.values["score"] <= 6:
                watched[subject, answered(books.setdefault(subject, Book([], {}, {}, {})), subject, fact)] = until
        # What people do, some of it reported late.
        for subject in chance.sample(sorted(books), min(len(books), 400)):
            serial += 1
            case_id = books[subject].ids[-1]
            what = chance.choice(("contacted", "contacted", "assigned", "closed", "held", "resumed"))
            values = {"owner": "A"} if what == "assigned" else {"outcome": "rescued"} if what == "closed" else {}
            time = chance.randrange(max(since, books[subject].facts[case_id][0] + 1), until + 1)
            later.append(
                (
                    step + chance.choice((0, 0, 0, 1, 3)),
                    subject,
                    case_id,
                    action(time, f"a{serial}", what, case_id, **values),
                )
            )
        due = [one for one in later if one[0] <= step]
        later = [one for one in later if one[0] > step]
        for _, subject, case_id, event in due:
            facts += [(subject, event)] * (1 + (len(facts) % 17 == 0))
            books[subject].known[case_id].append(event)
            comes_back(books[subject], case_id)
            watched[subject, case_id] = until
        desk.give(*facts, until=until)
        kill = step % 5 == 0
        kills += kill
        desk.step(chance.randrange(0, 400) if kill else None)
        if kill:
            desk.step()
        for (subject, case_id), last in list(watched.items()):
            if last >= since:
                watched[subject, case_id] = max(last, expected_notices(books[subject], case_id, until))
    cases = desk.cases()
    assert len(cases) == sum(len(book.ids) for book in books.values())
    assert len(cases) > 10_000, "as many as were asked for"
    assert kills >= 6
    wrong = [
        (subject, case_id)
        for subject, book in books.items()
        for case_id in book.ids
        if not agrees(cases[subject, case_id], book, case_id)
    ]
    assert not wrong, (len(wrong), wrong[:3])
    told = {name.split("/", 1)[0] for name in desk.said("opened")}
    assert told == {case_id for book in books.values() for case_id in book.ids}, "every opening was told"
    for what in ("warned", "escalated", "cleared"):
        expected = {
            f"{case_id}/{what}/{number}/{clock}"
            for book in books.values()
            for case_id in book.ids
            for said, number, clock in book.said[case_id]
            if said == what
        }
        assert len(expected) > 100, what
        assert set(desk.said(what)) == expected, "no clock is missed"


def test_history_that_is_read_at_once_says_the_same() -> None:
    """What is said of clocks does not depend on how often one looks: a worker that catches up misses none."""
    chance = random.Random(7)
    facts: list[tuple[str, Fact]] = []
    for number in range(400):
        opened = survey(chance.randrange(0, 20 * HOUR), f"f{number}", 3)
        again = survey(opened.time + chance.randrange(1, 200 * HOUR), f"g{number}", 3)
        subject = f"c-{number}"
        named = f"{subject}\0low_nps\0{opened.source}\0{opened.id}".encode()
        case_id = f"low_nps-{hashlib.sha256(named).hexdigest()[:12]}"
        facts += [(subject, opened), (subject, again)]
        for turn in range(4):
            what = chance.choice(("contacted", "closed", "held", "resumed", "closed"))
            time = opened.time + chance.randrange(1, 120 * HOUR)
            facts.append((subject, action(time, f"a{number}-{turn}", what, case_id, outcome="lost")))
    facts.sort(key=lambda one: one[1].time)
    said = []
    for stride in (400 * HOUR, 5 * HOUR):
        desk = Desk(RULES)
        for until in range(stride, 401 * HOUR, stride):
            desk.give(*(one for one in facts if until - stride <= one[1].time < until), until=until)
            desk.step()
        said.append({(what, name) for what in ("warned", "escalated", "cleared") for name in desk.said(what)})
    assert said[0] == said[1]
    assert len(said[0]) > 500


def answered(book: Book, subject: str, fact: Fact) -> str:
    """Put an unhappy answer where it belongs; give the case."""
    if book.ids:
        newest = book.ids[-1]
        closed = Plain().play(book.known[newest]).cycles[-1]["closed"]
        if closed is None or fact.time <= closed + REOPENS:
            if fact.time not in book.facts[newest]:
                book.facts[newest].append(fact.time)
            comes_back(book, newest)
            return newest
    named = f"{subject}\0low_nps\0{fact.source}\0{fact.id}".encode()
    case_id = f"low_nps-{hashlib.sha256(named).hexdigest()[:12]}"
    book.ids.append(case_id)
    book.facts[case_id], book.said[case_id] = [fact.time], set()
    book.known[case_id] = [begun(case_id, "opened", fact.time, "opened")]
    return case_id


def comes_back(book: Book, case_id: str) -> None:
    """Reopen a case of which a fact has come after its closing."""
    while True:
        closed = Plain().play(book.known[case_id]).cycles[-1]["closed"]
        after = [time for time in book.facts[case_id] if closed is not None and closed < time <= closed + REOPENS]
        event = begun(case_id, "reopened", min(after), f"reopened/{min(after)}") if after else None
        if event is None or any(one.id == event.id for one in book.known[case_id]):
            return
        book.known[case_id].append(event)


def begun(case_id: str, what: str, time: int, name: str) -> Fact:
    values = {"case_id": case_id, "contact_due": time + CONTACT, "due": time + CLOSE}
    return Fact(time, "/cx/cases", f"{case_id}/{name}", PREFIX + what, values)


def agrees(case: Any, book: Book, case_id: str) -> bool:
    plain = Plain().play(book.known[case_id])
    found = [(one.began, one.contacted, one.closed, one.contact_due, one.close_due) for one in case.cycles]
    expected = [(one["began"], one["contacted"], one["closed"], *one["dues"]) for one in plain.cycles]
    said = {(what, number, clock) for number, one in enumerate(case.cycles) for what, clock in one.said}
    return (case.state, found, said) == (plain.state, expected, book.said[case_id])
