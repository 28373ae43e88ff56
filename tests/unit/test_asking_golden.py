"""Surveys by the golden cases: who may be asked, what answers stand for, one opinion for an order, keys of a telephone."""

from typing import Any

import pytest

from streams.asking.deciding import SAME_MATTER, CustomerAsking, decide_all
from streams.asking.definition import SurveyRules, SurveyTrigger
from streams.asking.keypad import CallAnswers, KeyPress, KeyQuestion, read_call, summarise
from streams.asking.reading import parse_surveys
from streams.asking.replies import SurveyReply, opinions
from streams.asking.weighting import Stratum, weigh
from streams.kpis.arithmetic.intervals import wilson
from streams.loop.reading import parse_rules
from streams.relations.facts import Fact
from tests.harness.cases import Desk, at
from tests.harness.golden import golden

DAY_MS = 86_400_000
RULES = """
- {id: limits, kind: limits, gap: 30d}
- {id: delivery, kind: survey, name: {en: D}, touchpoint: delivery, opens: {events: cx.order.delivered}, matter: orderid}
- {id: chat, kind: survey, name: {en: C}, touchpoint: chat, opens: {events: cx.contact.handled}}
- {id: claim, kind: survey, name: {en: R}, touchpoint: claims, opens: {events: cx.case.closed}, after: 3d, again: 180d}
"""
PLAIN = RULES.replace("after: 3d, ", "").replace(", again: 180d", "")


def triggers_of(case: dict[str, Any]) -> list[SurveyTrigger]:
    return [
        SurveyTrigger(survey=one["survey"], subject="c", time=one["day"] * DAY_MS, id=f"t{number:03}")
        for number, one in enumerate(case["input"]["triggers_of_one_customer"])
    ]


def shown_by(rules: SurveyRules, triggers: list[SurveyTrigger]) -> list[list[Any]]:
    return [
        [one.trigger.time // DAY_MS, one.trigger.survey] for one in decide_all(rules, triggers) if one.eligible
    ]  # fmt: skip


def test_22_a_rare_survey_is_not_starved_by_a_frequent_one() -> None:
    case = golden("22-cooldown-rare-survey.yaml")
    rules, wanted = parse_surveys(RULES), case["expect"]
    found = []
    for one in decide_all(rules, triggers_of(case)):
        said = {"day": one.trigger.time // DAY_MS, "survey": one.trigger.survey}
        if one.eligible:
            found.append({**said, "result": "eligible"})
        else:
            assert one.held_by is not None
            day, gap = one.held_by.time // DAY_MS, one.gap_ms // DAY_MS
            by = f"{one.held_by.survey} shown on day {day}, gap {gap}"
            found.append({**said, "result": "suppressed", "by": by})
    assert found == wanted["decisions"]
    assert shown_by(rules, triggers_of(case)) == wanted["shown"]
    plain = shown_by(parse_surveys(PLAIN), triggers_of(case))
    assert plain == wanted["plain_rule_shows"]
    claims = {
        "this_rule": sum(one == "claim" for _, one in wanted["shown"]), "plain_rule": sum(one == "claim" for _, one in plain)
    }  # fmt: skip
    assert claims == wanted["claims_shown"]


def test_22_says_when_the_customer_may_be_asked_again() -> None:
    case = golden("22-cooldown-rare-survey.yaml")
    again = [one.again // DAY_MS for one in decide_all(parse_surveys(RULES), triggers_of(case))]
    assert again == [30, 3, 185, 35, 35, 35, 65, 185, 65, 370]


def test_23_answers_are_weighted_to_all_who_were_served() -> None:
    case = golden("23-sampling-bias-weights.yaml")
    strata = [
        Stratum(one["channel"], one["served"], one["answers"], one["share_satisfied"])
        for one in case["input"]["strata"]
    ]
    found, wanted = weigh(strata, case["input"]["n_min_per_stratum"]), case["expect"]
    assert found.naive is not None
    assert found.weighted is not None
    assert 100 * found.naive == pytest.approx(wanted["naive_pct"], abs=5e-5)
    assert 100 * found.weighted.value == pytest.approx(wanted["weighted_pct"], abs=5e-5)
    assert 100 * found.weighted.se == pytest.approx(wanted["weighted_se_pp"], abs=5e-5)
    interval = [100 * found.weighted.lo, 100 * found.weighted.hi]
    assert interval == pytest.approx(wanted["weighted_ci95_pp"], abs=5e-4)
    assert found.weighted.weights == pytest.approx(wanted["weights"], abs=5e-5)
    assert found.weighted.effective_n == pytest.approx(wanted["effective_n_kish"], abs=5e-5)
    responses = {one.name: 100 * one.answers / one.served for one in strata}
    assert responses == wanted["response_pct"]
    assert found.not_covered == ("store",)
    assert 100 * found.covered_share == pytest.approx(96.2, abs=0.05)
    assert weigh([Stratum("as many as must be", 90, 10, 0.5)], 10).not_covered == ()
    left_out = weigh([one for one in strata if one.name != "store"], 10)
    assert found.covered == left_out.weighted


def test_24_one_order_is_one_opinion() -> None:
    case = golden("24-two-surveys-one-order.yaml")
    replies = [
        SurveyReply(
            id=one["id"], time=at(f"05-01T{one['t']}"), subject="u1", touchpoint=one["touchpoint"], metric="nps",
            matter=one["order"], score=one["nps"],
        )
        for one in case["input"]["answers"]
    ]  # fmt: skip
    found, wanted = opinions(replies), case["expect"]
    delivery = {one.matter: one.score for one in found.counted if one.touchpoint == "delivery"}
    assert delivery == wanted["delivery"]["scores_used"]
    assert len(delivery) == wanted["delivery"]["n"]
    scores = [one for one in delivery.values() if one is not None]
    promoters, detractors = sum(one >= 9 for one in scores), sum(one <= 6 for one in scores)
    assert (promoters, detractors) == (wanted["delivery"]["promoters"], wanted["delivery"]["detractors"])
    assert 100 * (promoters - detractors) / len(scores) == wanted["delivery"]["nps"]
    [checkout] = [one for one in found.counted if one.touchpoint == "checkout"]
    assert (checkout.matter, checkout.score) == ("o1", 10)
    assert [one.id for one in found.replaced] == wanted["answers_replaced"]
    assert (found.repeated, found.incomplete) == (1, 1)


def test_24_the_second_invitation_for_an_order_is_suppressed() -> None:
    customer = CustomerAsking(parse_surveys(RULES))
    first = customer.decide(SurveyTrigger(survey="delivery", subject="u1", time=0, id="parcel1", matter="o1"))
    second = customer.decide(SurveyTrigger(survey="delivery", subject="u1", time=300_000, id="parcel2", matter="o1"))
    late = customer.decide(SurveyTrigger(survey="delivery", subject="u1", time=90 * DAY_MS, id="parcel3", matter="o1"))
    assert (first.eligible, second.reason, late.reason) == (True, SAME_MATTER, SAME_MATTER)


def cases_opened(rule: str, facts: list[tuple[str, Fact]]) -> list[str]:
    desk = Desk(
        parse_rules(
            f"- {{id: low, kind: cause, name: {{en: Low}}, opens: {{events: cx.survey.answered, where: {rule}}}}}"
        )
    )
    for fact in facts:
        desk.give(fact)
        desk.step()
    return [subject for subject, _ in desk.cases()]


def test_24_the_low_answer_opens_one_case() -> None:
    case = golden("24-two-surveys-one-order.yaml")
    facts = [
        ("u1", Fact(at(f"05-01T{one['t']}"), "/crm", one["id"], "cx.survey.answered", {"metric": "nps", "score": one["nps"]}))
        for one in case["input"]["answers"]
        if one["nps"] is not None
    ]  # fmt: skip
    assert cases_opened("metric == 'nps' and score <= 6", facts) == ["u1"]


QUESTIONS = (KeyQuestion("q1", 1, 5), KeyQuestion("q2", 1, 5))


def presses_of(*answers: str | None) -> list[KeyPress]:
    """Keys of questions: apart by commas, or within 300 ms of each other; None: the caller had hung up."""
    found, now = [], 0
    for question, keys in zip(QUESTIONS, answers, strict=True):
        for group in keys.split(",") if keys is not None else ():
            found += [KeyPress(key, now + 200 * number, question.id) for number, key in enumerate(group)]
            now += 5_000
    return found


@pytest.mark.parametrize(
    ("q1", "q2", "scores"),
    [
        ("5,3", "4", (5, 4)), ("#,5", "4", (None, 4)), ("55", "5", (5, 5)), ("5,5", "5", (5, 5)), ("9", "4", (None, 4)),
        ("6,7,8", None, (None, None)), (None, "3", (None, 3)), ("#", "#", (None, None)), ("٤", "۵", (4, 5)), ("*,0,2", "1,2", (2, 1)),
    ],
)  # fmt: skip
def test_25_further_calls_by_the_same_rule(q1: str | None, q2: str | None, scores: tuple[int | None, ...]) -> None:
    found = read_call(presses_of(q1, q2), QUESTIONS)
    assert (found.score("q1"), found.score("q2")) == scores


def calls() -> dict[str, CallAnswers]:
    case = golden("25-ivr-survey-partial.yaml")
    return {
        one["call"]: read_call(presses_of(one["q1_keys"], one["q2_keys"]), QUESTIONS) for one in case["input"]["calls"]
    }


def test_25_keys_of_a_telephone() -> None:
    wanted, found = golden("25-ivr-survey-partial.yaml")["expect"], calls()
    for question in ("q1", "q2"):
        scores = {name: call.score(question) for name, call in found.items() if call.score(question) is not None}
        assert scores == wanted[question]
    summary = summarise(found.values())
    assert (summary.started, summary.complete) == (wanted["started"], wanted["complete"])
    assert (len(summary.scores["q1"]), len(summary.scores["q2"])) == (wanted["q1_n"], wanted["q2_n"])
    assert summary.completion is not None
    assert 100 * summary.completion == wanted["completion_pct"]
    satisfied = sum(score >= 4 for score in summary.scores["q1"])
    assert 100 * satisfied / wanted["q1_n"] == wanted["csat_top2_pct"]
    interval = [100 * end for end in wilson(satisfied, wanted["q1_n"])]
    assert interval == pytest.approx(wanted["csat_wilson95"], abs=5e-5)
    assert sum(summary.scores["q2"]) / len(summary.scores["q2"]) == pytest.approx(wanted["q2_mean"])
    states = {state: [name for name, call in found.items() if call.state == state] for state in ("none", "partial")}
    assert (states["none"], states["partial"]) == (wanted["no_answer_at_all"], wanted["partial"])


def test_25_a_low_first_answer_of_a_partial_call_opens_a_case() -> None:
    facts = [
        (name, Fact(at("05-01T09:00") + number, "/ivr", name, "cx.survey.answered", {"metric": "csat", "score": score}))
        for number, (name, call) in enumerate(calls().items())
        if (score := call.score("q1")) is not None
    ]
    assert cases_opened("metric == 'csat' and score <= 2", facts) == golden("25-ivr-survey-partial.yaml")["expect"][
        "cases_opened_for_q1_le_2"
    ]  # fmt: skip
