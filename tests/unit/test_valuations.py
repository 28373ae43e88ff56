"""What customers are worth beside their cases: by their own times, bounded, and the same after every kill."""

import random
from itertools import permutations

import pytest

from streams.kpis.language.blocks import CatalogueError
from streams.loop.reading import parse_rules
from streams.loop.rows import CaseRow
from streams.loop.urgency import urgency_of
from streams.relations.facts import Fact
from streams.value.valuations import KEPT, Valuation, Valuations, valuation_of
from tests.harness.cases import Desk, action, at, survey

DAY = 86_400_000
RULES = """
- id: low_nps
  kind: cause
  name: {en: NPS}
  opens: {events: cx.survey.answered, where: metric == 'nps' and (score <= 6 or score <= 8 and customer_tier == 'high')}
  severity: 3 if customer_churn_risk >= 0.5 else 1
  contact: 24h
- id: priority
  kind: priority
  parts:
    tier: {of: tier, weight: 2, points: {high: 3, low: 1}}
    churn: {of: churn_risk, weight: 5}
"""


def valued(time: int, name: str, tier: str, churn_risk: float | None = None, clv: float | None = None) -> Fact:
    said = {"tier": tier, "churn_risk": churn_risk, "clv": clv}
    values = {key: value for key, value in said.items() if value is not None}
    return Fact(time, "/cx/value", name, "cx.customer.valued", values)  # type: ignore[arg-type]


def shown(row: CaseRow) -> dict[str, str]:
    return {part.name: part.text for part in urgency_of(parse_rules(RULES).parts, row.standing(), row.opened).parts}


def test_the_newest_by_its_own_time_counts_in_any_order_and_repeated() -> None:
    said = [valuation_of(day * DAY, f"v{day}", {"tier": f"t{day}"}) for day in (1, 2, 3)]
    said.append(valuation_of(3 * DAY, "also", {"tier": "same moment"}))
    newest = max(said[2:], key=lambda one: one.tie)
    for order in permutations(said):
        known = Valuations()
        for one in (*order, *order):
            known.take("c", one)
        assert known.newest("c") == newest
        assert known.as_of("c", 2 * DAY) == said[1]
        assert known.as_of("c", 3 * DAY + 365 * DAY) == newest
        assert known.as_of("c", 3 * DAY + 365 * DAY + 1) is None, "it holds for a year"
    assert KEPT == 3
    assert known.as_of("c", DAY) is None, "of many the newest few are kept"


def test_of_too_many_customers_the_longest_silent_are_forgotten_whenever_a_worker_is_killed() -> None:
    """The floor says who is gone: what is saved, and what is read again, comes to the same."""
    said = [(f"c{number % 40}", Valuation(number * 1_000, number, "t")) for number in range(100)]
    random.Random(5).shuffle(said)
    plain = Valuations(most=20)
    for subject, one in said:
        plain.take(subject, one)
    assert 10 <= len(plain) <= 20
    assert plain.take_forgotten() >= 20
    saved: dict[str, bytes] = {}
    known, step, floor = Valuations(most=20), 0, None
    for number in range(0, 100, 10):
        for killed in (True, False):
            for subject, one in said[number : number + 10]:
                known.take(subject, one)
            for subject, value in known.records(step + 1):
                saved.pop(subject, None) if value is None else saved.__setitem__(subject, value)
            if killed:
                known = Valuations(most=20)
                known.restore(saved.items(), step, floor)
        step, floor = step + 1, known.floor
        for subject in known.tombstones():
            saved.pop(subject, None)
    assert {one: known.newest(one) for one, _ in said} == {one: plain.newest(one) for one, _ in said}
    assert saved.keys() == {one for one, _ in said if known.newest(one)}


def test_what_an_unfinished_step_saved_says_what_was_known_before_it() -> None:
    first, second = Valuation(1, 1, "low"), Valuation(2, 2, "high")
    known = Valuations()
    known.take("c", first)
    saved = dict(known.records(1))
    known.take("c", second)
    saved |= dict(known.records(2))
    after = Valuations()
    after.restore(saved.items(), 1, None)  # type: ignore[arg-type]
    assert after.newest("c") == first
    assert after.changed
    assert after.take("c", second)
    finished = Valuations()
    finished.restore(saved.items(), 2, None)  # type: ignore[arg-type]
    assert (finished.newest("c"), finished.changed) == (second, False)


def test_who_is_erased_and_what_is_old_is_gone_from_the_changelog_too() -> None:
    known = Valuations()
    for subject, time in (("old", DAY), ("erased", 500 * DAY), ("kept", 500 * DAY)):
        known.take(subject, Valuation(time, 0, "low"))
    assert len(dict(known.records(1))) == 3
    known.erase(lambda subject, time: subject == "erased" and time <= 500 * DAY)
    known.expire(450 * DAY)
    assert known.tombstones() == ["erased", "old"]
    assert (len(known), known.changed) == (1, False)
    assert not known.take("other", Valuation(DAY, 0, "low")), "what is that old is not kept any more"


def test_of_who_comes_back_what_was_said_before_they_were_erased_is_gone() -> None:
    known = Valuations()
    known.take("c", Valuation(DAY, 0, "low"))
    saved = dict(known.records(1))
    known.take("c", Valuation(9 * DAY, 0, "high"))
    known.erase(lambda _, time: time <= 5 * DAY)
    assert known.as_of("c", 6 * DAY) is None
    assert known.as_of("c", 9 * DAY) == Valuation(9 * DAY, 0, "high")
    saved |= dict(known.records(2))
    for step, left in ((1, 0), (2, 1)):
        again = Valuations()
        again.restore([(subject, value or b"") for subject, value in saved.items()], step, None)
        assert len(again) == left, "nor is it what was known before"


def test_a_case_that_is_restored_from_its_events_shows_what_is_said_last() -> None:
    rules, noon = parse_rules(RULES), at("05-03T12:00")
    desk = Desk(rules)
    desk.give(("c-1", valued(noon - DAY, "v1", "high", 0.7)), ("c-1", survey(noon, "e1", 2)))
    desk.step()
    (opening,) = (told.change.event for told in desk.news.values() if told.change.event)
    after = Desk(rules)
    after.give(("c-1", valued(noon + DAY, "v2", "low", 0.1)), ("c-1", opening))
    ((_, case_id),) = after.cases()
    assert (after.row(case_id).tier, after.row(case_id).churn_risk, after.row(case_id).severity) == ("low", 0.1, 3)
    after.give(("c-1", valued(noon + 2 * DAY, "v3", "middle")))
    assert (after.row(case_id).tier, after.row(case_id).churn_risk) == ("middle", None)


def test_causes_and_priorities_ask_what_the_customer_is_worth() -> None:
    desk = Desk(parse_rules(RULES))
    noon = at("05-03T12:00")
    desk.give(("c-1", valued(noon - DAY, "v1", "high", 0.7, 210.0)), ("c-2", valued(noon - DAY, "v2", "low", 0.1)))
    desk.give(*((f"c-{n}", survey(noon, f"e{n}", 8)) for n in (1, 2, 3)), ("c-4", survey(noon, "e4", 2)))
    desk.step()
    rows = {subject: desk.row(case_id) for subject, case_id in desk.cases()}
    assert rows.keys() == {"c-1", "c-4"}, "an 8 is a case of the most valuable customers only"
    one = rows["c-1"]
    assert (one.tier, one.churn_risk, one.value, one.severity) == ("high", 0.7, 210.0, 3)
    assert shown(one) == {"tier": "2 × 3 (high)", "churn": "5 × 0.7"}
    assert (rows["c-4"].tier, rows["c-4"].severity) == (None, 1)
    assert shown(rows["c-4"]) == {"tier": "not known", "churn": "not known"}
    (opening,) = (told.change.event for told in desk.news.values() if told.row.subject == "c-1" and told.change.event)
    assert {name: opening.values[name] for name in ("tier", "churn_risk", "value")} == {
        "tier": "high", "churn_risk": 0.7, "value": 210.0,
    }  # fmt: skip


def test_a_case_that_is_open_shows_what_is_said_of_its_customer_later_and_not_what_comes_late() -> None:
    desk = Desk(parse_rules(RULES))
    noon = at("05-03T12:00")
    desk.give(("c-1", survey(noon, "e1", 2)))
    desk.step()
    ((_, case_id),) = desk.cases()
    desk.give(("c-1", valued(noon + DAY, "v2", "high")))
    desk.step()
    assert (desk.row(case_id).tier, desk.row(case_id).churn_risk) == ("high", None)
    before = desk.row(case_id).revision
    desk.give(("c-1", valued(noon - DAY, "v1", "low", 0.9)), ("c-1", valued(noon + DAY, "v2", "high")))
    desk.step()
    assert (desk.row(case_id).tier, desk.row(case_id).revision) == ("high", before)
    desk.give(("c-1", action(noon + DAY, "a1", "closed", case_id)))
    desk.give(("c-1", valued(noon + 2 * DAY, "v3", "low")))
    desk.step()
    assert desk.row(case_id).tier == "high", "of a closed case nothing is shown anew"


def test_what_a_rule_says_itself_stands_whatever_is_said_of_the_customer() -> None:
    rules = parse_rules(RULES.replace("contact: 24h", "contact: 24h\n  tier: segment", 1))
    desk = Desk(rules)
    noon = at("05-03T12:00")
    desk.give(("c-1", valued(noon - DAY, "v1", "low", 0.2)), ("c-1", survey(noon, "e1", 2, segment="gold")))
    desk.give(("c-1", valued(noon + DAY, "v2", "middle", 0.4)))
    desk.step()
    ((_, case_id),) = desk.cases()
    assert (desk.row(case_id).tier, desk.row(case_id).churn_risk) == ("gold", 0.4)


def test_a_desk_that_is_killed_anywhere_decides_the_same() -> None:
    def play(kills: random.Random | None) -> dict[str, CaseRow]:
        chance, desk = random.Random(3), Desk(parse_rules(RULES))
        start, number = at("05-03T12:00"), 0
        for hour in range(60):
            facts = []
            for _ in range(chance.randrange(8)):
                number += 1
                time, subject = start + hour * DAY // 4 - chance.randrange(DAY), f"c-{chance.randrange(6)}"
                tier, risk = chance.choice(("high", "low")), chance.choice((None, 0.2, 0.8))
                made = valued(time, f"v{number}", tier, risk), survey(time, f"e{number}", chance.randrange(9))
                facts.append((subject, chance.choice(made)))
            desk.give(*facts, until=start + hour * DAY // 4)
            if chance.random() < 0.3:
                while kills is not None and kills.random() < 0.6:
                    desk.step(stop=kills.randrange(14))
                desk.step()
        desk.give(until=start + 16 * DAY)
        desk.step()
        return {case_id: desk.row(case_id) for _, case_id in desk.cases()}

    undisturbed = play(None)
    assert len(undisturbed) > 5
    for seed in range(15):
        assert play(random.Random(seed)) == undisturbed, f"seed {seed}"


def test_what_was_decided_without_knowing_is_decided_so_again_though_it_is_saved_by_then() -> None:
    noon = at("05-03T12:00")
    for stop in range(3):
        desk = Desk(parse_rules(RULES))
        desk.give(("c-1", survey(noon, "e1", 8)), ("c-1", valued(noon - DAY, "late", "high")))
        desk.step(stop)
        desk.step()
        assert desk.cases() == {}, f"killed after {stop} writes"
        desk.give(("c-1", survey(noon, "e2", 8)))
        desk.step()
        assert len(desk.cases()) == 1


def test_names_that_are_near_are_suggested() -> None:
    with pytest.raises(CatalogueError) as caught:
        parse_rules(RULES.replace("customer_churn_risk", "customer_churn_rsik"))
    assert "did you mean 'customer_churn_risk'" in str(caught.value.problems)
