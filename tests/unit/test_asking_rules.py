"""Rules of surveys: what cannot be right is refused with its line, and who may be asked does not depend on luck."""

import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.asking.deciding import (
    ASKED_LATELY,
    NOT_SAMPLED,
    SAME_MATTER,
    SAME_SURVEY_LATELY,
    CustomerAsking,
    Invitation,
    decide_all,
    length_text,
)
from streams.asking.definition import SurveyTrigger, UnknownSurveyError
from streams.asking.keypad import KeyPress, KeyQuestion, read_call
from streams.asking.reading import load_surveys, parse_surveys
from streams.asking.replies import SurveyReply, opinions
from streams.asking.weighting import Stratum, weigh
from streams.kpis.language.blocks import CatalogueError
from streams.relations.facts import Fact
from streams.shipped import SURVEYS

DAY = 86_400_000
SOUND = """- id: limits
  kind: limits
  gap: 30d
- id: delivery
  kind: survey
  name: {en: Delivery}
  touchpoint: delivery
  opens: {events: cx.order.delivered}
  matter: orderid
  share: {by: channel, web: 10, other: 25}
  plan: {answers: 100, every: 7d}
- id: claim
  kind: survey
  name: {en: Claim}
  touchpoint: support_portal
  opens: {events: cx.case.closed}
  after: {delivery: 3d}
  again: 180d
- id: review
  kind: review
  name: {en: Review}
  touchpoint: reviews
  opens: {events: cx.survey.answered, where: metric == 'nps' and score >= 9}
  again: 90d
"""
EVERYBODY = SOUND.replace("  share: {by: channel, web: 10, other: 25}\n", "")
RULES = parse_surveys(EVERYBODY)


def trigger(survey: str, day: float, name: str = "", **values: str) -> SurveyTrigger:
    return SurveyTrigger(survey=survey, subject="c", time=round(day * DAY), id=name or f"{survey}{day}", **values)


def test_sound_rules_are_read() -> None:
    found = parse_surveys(SOUND)
    delivery, claim, review = found.surveys.values()
    assert (found.gap_ms, delivery.again_ms, claim.again_ms, review.again_ms) == (
        30 * DAY,
        30 * DAY,
        180 * DAY,
        90 * DAY,
    )
    assert (delivery.by, delivery.share_of("web"), delivery.share_of("app")) == ("channel", 10, 25)
    assert (delivery.matter, claim.rare, review.review, claim.after_ms) == (
        "orderid",
        True,
        True,
        {"delivery": 3 * DAY},
    )
    assert delivery.plan is not None
    assert (delivery.plan.answers, delivery.plan.every_ms) == (100, 7 * DAY)


def test_the_shipped_rules_are_sound() -> None:
    assert len(load_surveys([SURVEYS]).surveys) == 5


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("  gap: 30d\n", "", 1, "'gap' is missing"),
        ("gap: 30d", "gap: 30", 3, "expected a length of time"),
        ("gap: 30d", "gap: 0d", 3, "more than nothing"),
        ("gap: 30d", "gap: 30d\n- {id: more, kind: limits, gap: 3d}", 4, "one 'limits' only"),
        ("- id: limits\n  kind: limits\n  gap: 30d\n", "", 1, "there is no 'limits'"),
        ("kind: survey", "kind: servey", 5, "'kind' cannot be 'servey'"),
        ("  kind: survey\n", "", 4, "'kind' is missing"),
        ("id: claim", "id: delivery", 12, "delivery is defined already at <text>:4"),
        ("id: claim", f"id: {'x' * 129}", 12, "must be what events carry as 'survey_id'"),
        ("id: claim", 'id: "two\\nlines"', 12, "must be what events carry as 'survey_id'"),
        ("name: {en: Delivery}", "name: {fa: D}", 6, "'en' is missing"),
        ("cx.order.delivered", "cx.order.deliverd", 8, "unknown event type 'cx.order.deliverd'; did you mean"),
        ("cx.order.delivered", "cx.survey.sent", 8, "is what becomes of surveys"),
        ("score >= 9", "scor >= 9", 23, "scor"),
        ("matter: orderid", "matter: order", 9, "'order' is no text that these events have"),
        ("matter: orderid", "matter: orderid\n  mater: x", 10, "unknown key 'mater'"),
        ("web: 10", "web: 101", 10, "'web' must be a percentage from 0 to 100, not 101"),
        ("web: 10", "web: .nan", 10, "must be finite"),
        ("web: 10", "web: many", 10, "must be a number"),
        ("by: channel", "by: chanel", 10, "'chanel' is no text"),
        (", other: 25", "", 10, "'other', the percentage of all other values"),
        ("answers: 100", "answers: 0", 11, "a whole number from 1"),
        ("every: 7d", "each: 7d", 11, "unknown key 'each'"),
        ("delivery: 3d", "deliver: 3d", 17, "there is no survey 'deliver'; did you mean"),
        ("delivery: 3d", "claim: 3d", 17, "'again' says how long after itself"),
        ("delivery: 3d", "review: 3d", 17, "there is no survey 'review'"),
        ("{delivery: 3d}", "30d", 17, "must be shorter than the gap of 30d"),
        ("{delivery: 3d}", "{}", 17, "'after' is empty"),
        ("again: 180d", "again: 29d", 18, "cannot be shorter than the gap of 30d"),
        ("again: 90d\n", "after: 3d\n", 24, "unknown key 'after'"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_line(old: str, new: str, line: int, said: str) -> None:
    assert old in SOUND
    with pytest.raises(CatalogueError) as caught:
        parse_surveys(SOUND.replace(old, new, 1))
    assert [one for one in caught.value.problems if said in one and one.startswith(f"<text>:{line}: ")], caught.value


def test_rules_without_an_id_are_not_taken_for_one_another() -> None:
    with pytest.raises(CatalogueError) as caught:
        parse_surveys(SOUND.replace("id: delivery", "id: 5").replace("id: claim", "id: 6"))
    assert not [one for one in caught.value.problems if "defined already" in one], caught.value


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no such file or folder"):
        load_surveys([tmp_path / "none.yaml"])


def test_a_touchpoint_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(SOUND)
    assert load_surveys([tmp_path], {"delivery", "support_portal", "reviews"}).surveys
    with pytest.raises(
        CatalogueError, match=r"rules.yaml:7: rule delivery: no touchpoint 'delivery'; did you mean 'delivry'"
    ):
        load_surveys([tmp_path], {"delivry", "support_portal", "reviews"})


def test_an_unknown_survey_is_said_with_what_was_meant() -> None:
    with pytest.raises(UnknownSurveyError, match="no survey 'delivry'; did you mean 'delivery'"):
        CustomerAsking(RULES).decide(trigger("delivry", 0))


def test_exactly_the_gap_is_allowed_and_a_millisecond_less_is_not() -> None:
    customer = CustomerAsking(RULES)
    customer.shown(Invitation("delivery", 0))
    early = customer.decide(trigger("delivery", 30, "early"))
    assert early.eligible
    other = CustomerAsking(RULES)
    other.shown(Invitation("delivery", 1))
    assert other.decide(trigger("delivery", 30)).reason == SAME_SURVEY_LATELY


def test_a_repeat_is_decided_as_before_and_asks_nobody_twice() -> None:
    customer = CustomerAsking(RULES)
    first = customer.decide(trigger("delivery", 0, "t1"))
    assert customer.decide(trigger("delivery", 0, "t1")) is first
    assert customer.decide(trigger("delivery", 400, "t1")) is first, "an id names one occasion, whatever else it says"
    assert len([*decide_all(RULES, [trigger("delivery", 0, "t1")] * 3)]) == 1
    sources = [trigger("delivery", day, "t1", source=source) for day, source in ((0, "/a"), (40, "/b"))]
    assert [one.eligible for one in decide_all(RULES, sources)] == [True, True]


def test_at_one_moment_the_rare_survey_comes_first() -> None:
    both = [trigger("delivery", 1, "a"), trigger("claim", 1, "b")]
    for given_order in (both, both[::-1]):
        found = [(one.trigger.survey, one.reason) for one in decide_all(RULES, given_order)]
        assert found == [("claim", ""), ("delivery", ASKED_LATELY)]


def test_what_comes_late_keeps_its_distance_to_what_was_shown_after_it() -> None:
    customer = CustomerAsking(RULES)
    assert customer.decide(trigger("delivery", 50)).eligible
    late = customer.decide(trigger("delivery", 30, "late"))
    assert (late.reason, late.held_by) == (SAME_SURVEY_LATELY, Invitation("delivery", 50 * DAY))
    assert late.again == 80 * DAY
    assert not customer.decide(trigger("claim", 52)).eligible, "three days after a delivery"
    assert customer.decide(trigger("claim", 20)).eligible, "a delivery comes 30 days after a claim"


def test_reviews_and_surveys_do_not_hold_each_other_back() -> None:
    customer = CustomerAsking(RULES)
    given_ = [
        trigger("delivery", 0),
        trigger("review", 0.01),
        trigger("claim", 3),
        trigger("review", 89),
        trigger("review", 91),
    ]
    assert [customer.decide(one).eligible for one in given_] == [True, True, True, False, True]


def test_a_survey_without_a_rule_holds_back_like_any_other() -> None:
    customer = CustomerAsking(RULES)
    customer.shown(Invitation("old-survey", 0))
    assert (customer.decide(trigger("claim", 29)).reason, customer.decide(trigger("claim", 30)).reason) == (
        ASKED_LATELY,
        "",
    )


def test_what_was_suppressed_holds_nothing_back() -> None:
    customer = CustomerAsking(RULES)
    days = [customer.decide(trigger("delivery", day)).eligible for day in (0, 29, 30, 59, 60)]
    assert days == [True, False, True, False, True]


def test_a_matter_without_a_name_is_no_matter() -> None:
    customer = CustomerAsking(RULES)
    assert customer.decide(trigger("delivery", 0)).eligible
    assert customer.decide(trigger("delivery", 40)).eligible
    assert customer.decide(trigger("delivery", 80, matter="o1")).eligible
    assert customer.decide(trigger("delivery", 200, matter="o1")).reason == SAME_MATTER


def test_events_become_occasions_by_their_condition() -> None:
    rules = parse_surveys(SOUND)
    good = Fact(7, "/s", "e1", "cx.survey.answered", {"metric": "nps", "score": 9})
    bad = Fact(7, "/s", "e1", "cx.survey.answered", {"metric": "nps", "score": 8})
    order = Fact(8, "/s", "e2", "cx.order.delivered", {"orderid": "o1", "channel": "web"})
    assert [one.survey for one in rules.triggers_of("c", good)] == ["review"]
    assert [*rules.triggers_of("c", bad)] == []
    [found] = rules.triggers_of("c", order)
    assert (found.matter, found.stratum, found.time, found.source) == ("o1", "web", 8, "/s")


def test_the_sample_is_as_large_as_planned_and_stays_the_same() -> None:
    rules = parse_surveys(SOUND)
    delivery = rules.surveys["delivery"]
    found = {}
    for stratum, share in (("web", 0.10), ("app", 0.25)):
        drawn = [
            delivery.draws(SurveyTrigger(survey="delivery", subject=f"c{n}", time=0, id=f"{n}", stratum=stratum))
            for n in range(20_000)
        ]
        assert sum(drawn) / len(drawn) == pytest.approx(share, abs=4 * (share * (1 - share) / len(drawn)) ** 0.5)
        found[stratum] = drawn
    assert all(app for web, app in zip(found["web"], found["app"], strict=True) if web), "more takes in who was in"
    one = trigger("delivery", 0, matter="o1", stratum="web")
    assert {delivery.draws(replace(one, id=f"p{n}", time=n)) for n in range(50)} == {delivery.draws(one)}
    assert not replace(delivery, shares={}, share=0.0).draws(one)
    refused = [
        one
        for n in range(200)
        if (one := CustomerAsking(rules).decide(trigger("delivery", 0, f"{n}", stratum="web"))).reason
    ]
    assert {one.reason for one in refused} == {NOT_SAMPLED}
    assert refused[0].words() == "not among the 10 % of the sample"
    assert refused[0].again == 0, "the next occasion may be drawn"


OCCASIONS = st.lists(
    st.tuples(st.sampled_from(["delivery", "claim", "review"]), st.integers(0, 400), st.sampled_from(["", "o1", "o2"])),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(OCCASIONS, st.randoms())
def test_no_two_invitations_are_nearer_than_the_rules_say(
    occasions: list[tuple[str, int, str]], chance: random.Random
) -> None:
    """In whatever order occasions come; and sorted, the order in which they come changes nothing."""
    made = [trigger(survey, day, f"t{n}", matter=matter) for n, (survey, day, matter) in enumerate(occasions)]
    customer = CustomerAsking(RULES)
    shown = sorted((one.trigger for one in map(customer.decide, made) if one.eligible), key=lambda one: one.time)
    surveys = [one for one in shown if one.survey != "review"]
    for group in (surveys, [one for one in shown if one.survey == "review"]):
        for first, second in pairwise(group):
            gaps = {
                RULES.gap_between(first.survey, second.survey),
                *([RULES.gap_between(second.survey, first.survey)] if first.time == second.time else []),
            }
            assert second.time - first.time >= min(gaps)
    for survey in RULES.surveys:
        matters = [one.matter for one in shown if one.survey == survey and one.matter]
        assert len(matters) == len(set(matters))
    mixed = [*made, *made]
    chance.shuffle(mixed)
    assert [*decide_all(RULES, mixed)] == [*decide_all(RULES, made)]


def test_lengths_are_written_as_rules_write_them() -> None:
    assert [length_text(one) for one in (30 * DAY, 36 * 3_600_000, 90_000, 1500)] == ["30d", "36h", "90s", "1500ms"]


# -- answers, weights, keys --------------------------------------------------------------------------------------


def reply(name: str, time: int, score: int | None, matter: str = "o1", source: str = "") -> SurveyReply:
    return SurveyReply(
        id=name, source=source, time=time, subject="c", touchpoint="t", metric="nps", matter=matter, score=score
    )


def test_the_last_complete_answer_counts_in_any_order() -> None:
    given_ = [reply("a", 1, 9), reply("b", 3, 4), reply("c", 2, 7), reply("d", 9, None), reply("b", 3, 4)]
    for seed in range(10):
        random.Random(seed).shuffle(given_)
        found = opinions(given_)
        assert [one.id for one in found.counted] == ["b"]
        assert [one.id for one in found.replaced] == ["a", "c"]
        assert (found.repeated, found.incomplete) == (1, 1)


def test_answers_about_nothing_in_particular_stand_alone() -> None:
    assert len(opinions([reply("a", 1, 9, ""), reply("b", 2, 4, "")]).counted) == 2
    assert len(opinions([reply("a", 1, 9, "", "/x"), reply("a", 2, 4, "", "/y")]).counted) == 2


def test_at_one_moment_the_greater_id_is_the_last() -> None:
    assert [one.score for one in opinions([reply("b", 1, 4), reply("a", 1, 9)]).counted] == [4]


@pytest.mark.parametrize(
    ("served", "answers", "share"),
    [(-1, 0, None), (5, 6, 0.5), (5, -1, 0.5), (5, 2, 1.1), (5, 2, float("nan")), (5, 2, None), (5, 0, 0.5)],
)
def test_numbers_that_no_group_has_are_refused(served: int, answers: int, share: float | None) -> None:
    with pytest.raises(ValueError, match="web: expected"):
        Stratum("web", served, answers, share)


def test_weights_of_hard_cases() -> None:
    with pytest.raises(ValueError, match="twice"):
        weigh([Stratum("a", 5, 2, 0.5), Stratum("a", 5, 2, 0.5)])
    nothing = weigh([])
    assert (nothing.naive, nothing.weighted, nothing.covered, nothing.covered_share) == (None, None, None, 0.0)
    silent = weigh([Stratum("a", 90, 20, 0.5), Stratum("b", 10, 0, None), Stratum("c", 0, 0, None)])
    assert (silent.weighted, silent.not_covered, silent.covered_share) == (None, ("b",), 0.9)
    assert silent.covered is not None
    assert silent.covered.weights == {"a": 1.0}
    alike = weigh([Stratum("a", 50, 20, 1.0), Stratum("b", 50, 20, 1.0)]).weighted
    assert alike is not None
    assert (alike.value, alike.hi) == (1.0, 1.0)
    assert 0.85 < alike.lo < 0.95, "forty satisfied customers prove no certainty"
    one = weigh([Stratum("a", 100, 40, 0.5)]).weighted
    assert one is not None
    assert (one.value, one.effective_n) == (0.5, pytest.approx(40))


QUESTIONS = (KeyQuestion("q1", 1, 5), KeyQuestion("q2", 1, 5))


@pytest.mark.parametrize(
    ("keys", "scores", "again"),
    [
        ([("5", 0), ("5", 250), ("3", 2000)], (5, 3), (0, 0)),
        ([("5", 0), ("5", 300), ("3", 2000)], (5, 3), (0, 0)),
        ([("5", 0), ("5", 301)], (5, 5), (0, 0)),
        ([("5", 0), ("5", 200), ("5", 400), ("5", 600)], (5, None), (0, 0)),
        ([("7", 0), ("7", 100), ("4", 900)], (4, None), (1, 0)),
        ([("1", 0), ("4", 100)], (1, 4), (0, 0)),
        ([("#", 0), ("#", 100), ("4", 900)], (None, 4), (0, 0)),
        ([("*", 0), ("A", 500), ("٣", 900), ("۲", 2000)], (3, 2), (2, 0)),
        ([("2", 900), ("9", 0)], (2, None), (1, 0)),
        ([("4", 0), ("5", 900), ("1", 2000)], (4, 5), (0, 0)),
        ([("", 0), ("10", 400), ("²", 900)], (None, None), (3, 0)),
        ([], (None, None), (0, 0)),
    ],
)
def test_keys_are_read_as_they_were_meant(
    keys: list[tuple[str, int]], scores: tuple[int | None, ...], again: tuple[int, ...]
) -> None:
    """Also where a key bounces into the next question, and where keys come after the last one."""
    found = read_call([KeyPress(key, at) for key, at in keys], QUESTIONS)
    assert tuple(one.score for one in found.answers) == scores
    assert tuple(one.asked_again for one in found.answers) == again


def test_scales_and_questions_that_cannot_be_are_refused() -> None:
    for low, high in ((0, 10), (3, 3), (-1, 4)):
        with pytest.raises(ValueError, match="one key answers a scale within 0 to 9"):
            KeyQuestion("q", low, high)
    for questions in ((), (QUESTIONS[0], QUESTIONS[0])):
        with pytest.raises(ValueError, match="questions with ids of their own"):
            read_call([], questions)
    with pytest.raises(ValueError, match="no question 'q3' is asked; there are q1, q2"):
        read_call([KeyPress("1", 0, "q3")], QUESTIONS)


def test_keys_of_a_question_that_is_over_mean_nothing() -> None:
    """Also one that bounces into the next question, and one of a question that the switch went on from."""
    pressed = [("5", 0, "q1"), ("3", 900, "q1"), ("4", 2000, "q2"), ("4", 2100, "q2"), ("1", 4000, "q1")]
    assert [one.score for one in read_call([KeyPress(*one) for one in pressed], QUESTIONS).answers] == [5, 4]
    bounced = read_call([KeyPress("5", 0, "q1"), KeyPress("5", 250, "q2"), KeyPress("2", 900, "q2")], QUESTIONS)
    assert [one.score for one in bounced.answers] == [5, 2]
    late = read_call([KeyPress("4", 0, "q2"), KeyPress("5", 900, "q1")], QUESTIONS)
    assert [one.outcome for one in late.answers] == ["unanswered", "answered"]
