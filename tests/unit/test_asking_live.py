"""Surveys decided as it happens: as they would be afterwards, whenever a worker is killed, and bounded."""

import json
import random
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from streams.asking.deciding import decide_on_events
from streams.asking.desk import MOST_WAITING, SurveyDesk
from streams.asking.reading import load_surveys, parse_surveys
from streams.asking.sending import event_of
from streams.loop.definition import CaseRules
from streams.loop.desk import CaseDesk
from streams.relations.facts import Fact
from streams.relations.ranges import FactRange
from streams.settings import load
from streams.shipped import SURVEYS
from streams.start.cases import case_entries
from streams.value.valuations import Valuation, Valuations, valuation_of
from tests.harness.golden import golden
from tests.unit.test_asking_golden import DAY_MS, PLAIN, RULES
from tests.unit.test_asking_lines import EVENT

_TYPES = {"delivery": "cx.order.delivered", "chat": "cx.contact.handled", "claim": "cx.case.closed"}
FAR = 1e6 * DAY_MS / 1000


def occasion(time: int, name: str, kind: str, **values: Any) -> Fact:
    return Fact(time, "/s", name, kind, {"channel": "web", **values})


def shown(time: int, name: str, survey: str, **values: Any) -> Fact:
    return Fact(time, "/s", name, "cx.survey.sent", {"survey_id": survey, **values})


class LiveDesk:
    """A desk whose process may be killed between any two writes."""

    def __init__(self, rules: Any, worths: Valuations | None = None) -> None:
        self.rules, self.worths = rules, worths or Valuations()
        self.log: list[list[tuple[str, Fact]]] = []
        self.saved: dict[bytes, bytes] = {}
        self.done = self.fence = -1
        self.told: dict[str, bytes] = {}
        self.desk = SurveyDesk(rules, self.worths)

    def give(self, *facts: tuple[str, Fact]) -> None:
        self.log.append([*facts])
        self._take(len(self.log) - 1)

    def _take(self, position: int) -> None:
        for subject, fact in self.log[position]:
            self.desk.take(subject, fact, position)
        self.done = position

    def step(self, watermark: float | None, stop: int = 1_000_000) -> bool:
        """Take a step; give whether it went to its end, and was not killed after so many writes."""
        if self.desk.begin(watermark):
            for key, value in self.desk.records(self.done):
                if (stop := stop - 1) < 0:
                    return self._restart()
                self.saved.pop(key, None) if value is None else self.saved.__setitem__(key, value)
            self.fence = self.done
            for one in self.desk.decisions():
                if (stop := stop - 1) < 0:
                    return self._restart()
                event = json.loads(one.payload)
                assert self.told.setdefault(event["id"], one.payload) == one.payload, "the same bytes each time"
            key, value = self.desk.end()
            if stop < 1:
                return self._restart()
            self.saved[key] = value or b""
        return True

    def _restart(self) -> bool:
        self.desk = SurveyDesk(self.rules, self.worths)
        self.desk.restore(self.saved.items())
        self.done = self.fence
        for position in range(self.fence + 1, len(self.log)):
            self._take(position)
        return False


def decided(payloads: Iterable[bytes]) -> list[tuple[str, str, str, str | None]]:
    events = [json.loads(one) for one in payloads]
    return sorted(
        (one["time"], one["data"]["survey_id"], one["type"].rpartition(".")[2], one["data"].get("reason"))
        for one in events
    )


def lived(chance: random.Random, who: str, number: int) -> list[Fact]:
    """What one customer does in a year."""
    facts = []
    for n in range(number):
        time, kind = chance.randrange(365 * DAY_MS), chance.choice([*_TYPES.values()])
        order = {"orderid": f"o{time // (60 * DAY_MS)}-{chance.randrange(3)}"} if kind == "cx.order.delivered" else {}
        facts.append(occasion(time, f"{who}-e{n}", kind, **order))
    return facts


def test_22_live_as_the_golden_case_says() -> None:
    case = golden("22-cooldown-rare-survey.yaml")
    desk = LiveDesk(parse_surveys(RULES))
    for number, one in enumerate(case["input"]["triggers_of_one_customer"]):
        desk.give(("c", occasion(one["day"] * DAY_MS, f"t{number:03}", _TYPES[one["survey"]])))
        desk.step(one["day"] * DAY_MS / 1000)
    desk.step(FAR)
    found = [json.loads(one) for one in desk.told.values()]
    eligible = [one for one in found if one["type"] == "cx.survey.eligible"]
    days = {one["time"]: [one["time"], one["data"]["survey_id"]] for one in eligible}
    assert [name for _, (_, name) in sorted(days.items())] == [name for _, name in case["expect"]["shown"]]
    assert len(found) == len(case["expect"]["decisions"])


def test_live_is_as_afterwards_in_whatever_order_it_comes_and_whenever_a_worker_is_killed() -> None:
    rules = parse_surveys(RULES.replace("matter: orderid", "matter: orderid, share: 70"))
    for seed in range(12):
        chance = random.Random(seed)
        lives = {who: lived(chance, who, 60) for who in ("c-0", "c-1", "c-2")}
        wanted = {
            subject: decided(event_of(rules, one) for one in decide_on_events(rules, subject, facts, 0))
            for subject, facts in lives.items()
        }
        arrivals = [(subject, fact) for subject, facts in lives.items() for fact in facts]
        arrivals.sort(key=lambda one: one[1].time + chance.randrange(5 * DAY_MS))
        desk, newest = LiveDesk(rules), 0
        while arrivals:
            number = chance.randrange(1, 9)
            desk.give(*arrivals[:number])
            newest = max(newest, *(fact.time for _, fact in arrivals[:number]))
            arrivals = arrivals[number:]
            # Nothing is older than the newest by more than five days: so far the watermark stays behind.
            while chance.random() < 0.4:
                desk.step(newest / 1000 - 5 * 86_400, stop=chance.randrange(6))
        for _ in range(5):
            desk.step(FAR, stop=chance.randrange(9))
        desk.step(FAR)
        found: dict[str, list[bytes]] = {subject: [] for subject in lives}
        for payload in desk.told.values():
            found[json.loads(payload)["subject"]].append(payload)
        assert {subject: decided(payloads) for subject, payloads in found.items()} == wanted, f"seed {seed}"


def test_what_was_shown_elsewhere_holds_back_and_what_comes_late_keeps_its_distance() -> None:
    desk = LiveDesk(parse_surveys(RULES))
    desk.give(("c", shown(10 * DAY_MS, "s1", "letter")), ("c", shown(10 * DAY_MS, "s1", "letter")))
    desk.give(("c", occasion(20 * DAY_MS, "t1", "cx.contact.handled")))
    assert desk.step(20 * DAY_MS / 1000)
    assert desk.told == {}, "what happens at the watermark itself may still come"
    assert desk.step(41 * DAY_MS / 1000)
    desk.give(("c", occasion(60 * DAY_MS, "t2", "cx.contact.handled")))
    assert desk.step(61 * DAY_MS / 1000)
    desk.give(("c", occasion(40 * DAY_MS, "late", "cx.contact.handled")))
    assert desk.step(61 * DAY_MS / 1000)
    said = [(one[0][5:10], *one[2:]) for one in decided(desk.told.values())]
    assert said == [
        ("01-21", "suppressed", "asked_lately"),
        ("02-10", "suppressed", "same_survey_lately"),
        ("03-02", "eligible", None),
    ]
    assert dict(desk.desk.take_counts()) == {
        ("asked_lately", "chat"): 1, ("eligible", "chat"): 1, ("same_survey_lately", "chat"): 1,
    }  # fmt: skip


def test_what_was_shown_later_holds_nothing_back_that_happened_before() -> None:
    desk = LiveDesk(parse_surveys(RULES))
    desk.give(("c", shown(50 * DAY_MS, "s", "letter")), ("c", occasion(45 * DAY_MS, "t", "cx.contact.handled")))
    assert desk.step(FAR)
    assert [one[2] for one in decided(desk.told.values())] == ["eligible"], "history is decided as it was then"


def test_rules_ask_what_the_customer_is_worth_live_and_afterwards() -> None:
    rules = parse_surveys(
        RULES.replace("opens: {events: cx.contact.handled}",
                      "opens: {events: cx.contact.handled, where: customer_churn_risk >= 0.5}")
        .replace("matter: orderid", "matter: orderid, share: {by: customer_tier, high: 100, other: 0}")
    )  # fmt: skip
    values = {"tier": "high", "churn_risk": 0.7, "channel": "web"}
    valued = Fact(10 * DAY_MS, "/cx/value", "v1", "cx.customer.valued", values)  # type: ignore[arg-type]
    for day, wanted in ((9, "suppressed"), (10, "eligible")):
        delivered = occasion(day * DAY_MS, "d", "cx.order.delivered", orderid="o1")
        called = occasion(200 * DAY_MS, "c", "cx.contact.handled")
        facts = [valued, delivered, called, occasion(5 * DAY_MS, "early", "cx.contact.handled")]
        desk = LiveDesk(rules)
        desk.worths.take("c", valuation_of(valued.time, "v1", valued.values))
        desk.give(*(("c", fact) for fact in facts))
        desk.step(FAR)
        found = decided(desk.told.values())
        assert [(one[1], one[2]) for one in found] == [("delivery", wanted), ("chat", "eligible")]
        assert found == decided(event_of(rules, one) for one in decide_on_events(rules, "c", facts, 0))
    assert rules.reader(answers=False).fields["cx.customer.valued"] == ("churn_risk", "clv", "tier")
    assert "cx.customer.valued" not in parse_surveys(RULES).reader().fields


def test_what_a_customer_was_worth_is_known_however_much_is_said_before_the_decision() -> None:
    opens = "opens: {events: cx.contact.handled, where: customer_tier == 'high'}"
    desk = LiveDesk(parse_surveys(RULES.replace("opens: {events: cx.contact.handled}", opens)))
    desk.worths.take("c", Valuation(DAY_MS, 0, "high", 0.5))
    desk.give(("c", occasion(2 * DAY_MS, "t1", "cx.contact.handled")))
    for day in range(3, 8):
        desk.worths.take("c", Valuation(day * DAY_MS, 0, "low"))
    assert desk.step(9 * DAY_MS / 1000)
    assert [one[2] for one in decided(desk.told.values())] == ["eligible"], "it was high then"
    desk.worths.take("c", Valuation(40 * DAY_MS, 0, "high"))
    desk.give(("c", occasion(43 * DAY_MS, "t2", "cx.contact.handled")))
    desk.worths.take("c", Valuation(42 * DAY_MS, 0, "low"))
    assert desk.step(44 * DAY_MS / 1000)
    assert len(desk.told) == 1, "what comes until the decision counts"
    desk.give(("c", occasion(50 * DAY_MS, "t3", "cx.contact.handled", customer_tier="high")))
    desk.desk.erase(lambda _, time: time <= 45 * DAY_MS)
    desk.worths.erase(lambda _, time: time <= 45 * DAY_MS)
    assert desk.step(51 * DAY_MS / 1000)
    assert len(desk.told) == 1, "what was known before they were forgotten counts no more"


def test_what_is_kept_is_bounded_and_what_holds_nothing_back_is_deleted() -> None:
    rules = parse_surveys(RULES)
    desk = LiveDesk(rules)
    desk.desk = SurveyDesk(rules, desk.worths, most=20)
    desk.give(*((f"c{n}", shown(n * 1000, f"s{n}", "letter")) for n in range(60)))
    assert len(desk.desk) <= 20
    assert desk.desk.take_counts()["forgotten", ""] >= 40
    assert desk.step(61.0)
    assert {f"q/c{n}".encode() for n in range(59, 49, -1)} <= desk.saved.keys()
    assert len(desk.saved) == len(desk.desk) + 1
    desk.give(("late", shown(400 * DAY_MS, "x", "letter")))
    assert desk.step(401 * DAY_MS / 1000)
    assert desk.saved.keys() == {b"q", b"q/late"}, "after the longest gap it says nothing any more"


def test_who_is_forgotten_is_known_of_no_more() -> None:
    desk = LiveDesk(parse_surveys(RULES))
    desk.give(*((who, shown(DAY_MS, f"s-{who}", "letter")) for who in ("a", "b")))
    desk.give(("a", occasion(5 * DAY_MS, "t", "cx.contact.handled")))
    assert desk.step(2 * DAY_MS / 1000)
    desk.desk.erase(lambda subject, time: subject == "a" and time <= 2 * DAY_MS)
    assert desk.step(6 * DAY_MS / 1000)
    assert [one[2] for one in decided(desk.told.values())] == ["eligible"], "nothing of before holds them back"
    desk.desk.erase(lambda subject, time: subject == "a" and time <= 9 * DAY_MS)
    assert desk.step(7 * DAY_MS / 1000)
    assert desk.saved.keys() == {b"q", b"q/b"}


def test_of_who_is_forgotten_no_decision_stays_and_what_is_newer_is_sent() -> None:
    desk = LiveDesk(parse_surveys(RULES.replace("matter: orderid", "matter: orderid, share: 0.000001")))
    desk.give(("a", occasion(DAY_MS, "t-a", "cx.order.delivered", orderid="o1")))
    assert desk.step(2 * DAY_MS / 1000)
    assert [one[2] for one in decided(desk.told.values())] == ["suppressed"], "nothing was shown, and nothing waits"
    desk.give(("b", occasion(3 * DAY_MS, "t-b", "cx.contact.handled")))
    desk.give(("b", occasion(9 * DAY_MS, "t-c", "cx.order.delivered", orderid="o2")))
    assert not desk.step(9.5 * DAY_MS / 1000, stop=1), "saved, and not sent"
    desk.desk.erase(lambda subject, time: time <= 5 * DAY_MS)
    assert desk.step(9.6 * DAY_MS / 1000)
    assert desk.saved.keys() == {b"q", b"q/b"}
    assert b"t-b" not in desk.saved[b"q/b"], "what was decided of before"
    assert [one[0][5:10] for one in decided(desk.told.values())] == ["01-02", "01-10"]


def test_what_comes_late_keeps_its_distance_to_what_was_shown_a_longest_gap_ago() -> None:
    desk = LiveDesk(parse_surveys(PLAIN.replace("matter: orderid", "matter: orderid, share: 0.000001")))
    desk.give(("c", occasion(10 * DAY_MS, "t1", "cx.contact.handled")))
    desk.give(("c", occasion(int(40.5 * DAY_MS), "t2", "cx.order.delivered", orderid="o")))
    assert desk.step(40.6 * DAY_MS / 1000)
    desk.give(("c", occasion(int(39.8 * DAY_MS), "late", "cx.contact.handled")))
    assert desk.step(40.7 * DAY_MS / 1000)
    assert [one[2] for one in decided(desk.told.values())] == ["eligible", "suppressed", "suppressed"]


def test_the_shipped_rules_decide_live_and_a_desk_of_cases_leaves_their_records_alone() -> None:
    rules = load_surveys([SURVEYS])
    worths = Valuations()
    worths.take("c", Valuation(0, 0, "high"))
    desk, of_cases = LiveDesk(rules, worths), CaseDesk(CaseRules({}))
    desk.give(("c", occasion(DAY_MS, "d", "cx.order.delivered", orderid="o1")))
    desk.step(FAR)
    assert len(desk.told) == 2
    of_cases.take(FactRange("web/0", 0, 0, 1.0, True, []), 7)
    key, value = of_cases.fence()
    again = CaseDesk(CaseRules({}))
    again.restore([(key, value or b"")])
    assert (again.position, again.complete) == (7, 7), "what was read before is not taken in again"
    after = SurveyDesk(rules, worths)
    after.restore([*desk.saved.items(), (key, value or b"")])
    assert len(after) == 1


def test_surveys_go_on_from_the_store() -> None:
    sent = {**EVENT, "type": "cx.survey.sent", "data": {"survey_id": "chat", "channel": "sms"}}
    client = SimpleNamespace(query=lambda question, parameters=None: SimpleNamespace(
        result_rows=[(1, json.dumps(sent).encode())] if "cx.survey.sent" in question else []
    ))  # fmt: skip
    settings = load(environ={}, surveys_live=True)
    entries = [*case_entries(client, settings, 1e9)]  # type: ignore[arg-type]
    assert [partition for partition, _, _ in entries] == [1]
    assert [*case_entries(client, load(environ={}), 1e9)] == []  # type: ignore[arg-type]


def test_what_was_shown_holds_back_beside_any_number_of_occasions() -> None:
    world = LiveDesk(parse_surveys(RULES))
    world.give(*(("c", occasion(11 * DAY_MS + n, f"o{n}", _TYPES["chat"])) for n in range(MOST_WAITING)))
    world.give(("c", shown(10 * DAY_MS, "s", "chat")))
    world.step(12 * DAY_MS / 1000)
    assert {json.loads(told)["type"] for told in world.told.values()} == {"cx.survey.suppressed"}
