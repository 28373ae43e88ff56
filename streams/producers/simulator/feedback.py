"""What customers say: scores that follow from what they lived through, comments that name it, and the loop after."""

from math import log2
from random import Random
from typing import Any, Final, Literal

import msgspec

from streams.events.families.awareness import ReviewPublished, SocialMentioned
from streams.events.families.feedback import (
    SurveyAnswered,
    SurveyDelivered,
    SurveyDismissed,
    SurveyEligible,
    SurveyOpened,
    SurveySent,
    SurveyStarted,
    SurveySuppressed,
)
from streams.events.families.inferred import SentimentScored
from streams.events.families.loop import CaseAssigned, CaseClosed, CaseContacted, CaseOpened, CaseResolved
from streams.events.scalars import Subchannel
from streams.producers.comments import comment
from streams.producers.population import Customer
from streams.producers.simulator.world import Steps, Trail, World

CONTENT: Final = 0.84
"""Mean satisfaction, 0 to 1, of a customer to whom nothing bad happened."""

MOOD: Final = 0.15
"""Spread of satisfaction that has no cause in what we know."""

ASK_AGAIN_S: Final = 6 * 3600.0
"""Nobody is asked twice within this time."""

CASE_CONTACT_S: Final = (5 * 3600.0, 0.9)
CASE_SOLVE_S: Final = (9 * 3600.0, 0.8)
"""Median and spread of the time until an unhappy customer is contacted, and from there to the solution."""

Metric = Literal["csat", "ces", "nps", "stars"]


class Lived(msgspec.Struct):
    """What somebody lived through: how bad it was in sum, what was worst, and what was good."""

    praise: str
    pain: float = 0.0
    worst: str = ""
    worst_pain: float = 0.0

    def hurt(self, cause: str, pain: float) -> None:
        """Add pain (share of the whole satisfaction scale) of a cause named in `comments.CAUSES`."""
        self.pain += pain
        if pain > self.worst_pain:
            self.worst, self.worst_pain = cause, pain


def wait_pain(wait_s: float) -> float:
    """Return what a wait costs: little below half a minute, then the same for every doubling."""
    return 0.085 * log2(1.0 + max(0.0, wait_s - 10.0) / 30.0)


def score(rng: Random, customer: Customer, pain: float, metric: Metric, scale: int) -> int:
    """Turn what was lived through into a point of the scale."""
    satisfaction = CONTENT + customer.leniency - pain + rng.gauss(0.0, MOOD)
    if metric == "nps":
        return min(10, max(0, round(10.0 * satisfaction + 0.3)))
    return min(scale, max(1, round(1.0 + (scale - 1) * satisfaction)))


class Ask(msgspec.Struct, frozen=True):
    """One way of asking: which question, where, when after the occasion, and how many answer."""

    survey_id: str
    metric: Metric
    object: str
    touchpoint: str
    delay_s: float
    answer_s: float
    answered: float
    scale: int = 5
    subchannel: Subchannel | None = None
    kind: Literal["transactional", "relational"] = "transactional"


def survey(world: World, trail: Trail, ask: Ask, lived: Lived, **facts: Any) -> Steps:
    """Ask a customer, unless they were asked lately, and tell what becomes of it."""
    who = trail.attributes["subject"]
    name, metric = ask.survey_id, ask.metric
    trail.say(SurveyEligible(survey_id=name, metric=metric), ask.touchpoint)
    if world.now - world.asked.get(who, -1e12) < ASK_AGAIN_S:
        trail.say(SurveySuppressed(survey_id=name, metric=metric, reason="asked_lately"), ask.touchpoint)
        return
    world.asked[who] = world.now
    yield world.spread(ask.delay_s, 0.4)
    way = ask.subchannel
    trail.say(SurveySent(survey_id=name, metric=metric, kind=ask.kind, subchannel=way), ask.touchpoint)
    if way is not None:
        yield world.spread(4.0)
        if world.chance(0.03):
            return
        trail.say(SurveyDelivered(survey_id=name, metric=metric, subchannel=way), ask.touchpoint)
    # The very pleased and the very angry answer more often than the indifferent.
    share = min(0.95, ask.answered * (0.9 + abs(lived.pain - 0.1)))
    yield world.spread(ask.answer_s, 0.9)
    if world.chance(share):
        yield from answer(world, trail, ask, lived, **facts)
    elif world.chance(0.4):
        trail.say(SurveyOpened(survey_id=name, metric=metric), ask.touchpoint)
        yield world.spread(8.0)
        trail.say(SurveyDismissed(survey_id=name, metric=metric, after_s=8.0), ask.touchpoint)


def answer(world: World, trail: Trail, ask: Ask, lived: Lived, **facts: Any) -> Steps:
    """Answer a survey that was received."""
    rng, customer = world.rng, trail.customer
    name, metric = ask.survey_id, ask.metric
    trail.say(SurveyOpened(survey_id=name, metric=metric), ask.touchpoint)
    yield world.spread(3.0)
    trail.say(SurveyStarted(survey_id=name, metric=metric), ask.touchpoint)
    took = world.spread(14.0)
    yield took
    given = score(rng, customer, lived.pain, metric, ask.scale)
    share = given / ask.scale
    text = None
    if rng.random() < customer.writes * (1.6 if share <= 0.5 else 0.7):
        text = comment(rng, customer, _about(rng, lived, share), glad=share > 0.7)
    trail.say(
        SurveyAnswered(
            survey_id=name,
            metric=metric,
            scale=ask.scale,  # type: ignore[arg-type]
            score=given,
            kind=ask.kind,
            object=ask.object,
            text=text,
            lang=customer.lang if text else None,
            subchannel=ask.subchannel,
            duration_s=round(took, 1),
            **facts,
        ),
        ask.touchpoint,
    )
    if text is not None:
        yield 1.0
        polarity = max(-1.0, min(1.0, round(2.2 * (share - 0.55) + rng.gauss(0, 0.15), 2)))
        label: Literal["positive", "neutral", "negative"] = (
            "positive" if polarity > 0.25 else "negative" if polarity < -0.25 else "neutral"
        )
        trail.say(SentimentScored(polarity=polarity, label=label, model="lexicon-fa-1"), ask.touchpoint)
    unhappy = given <= 6 if metric == "nps" else share <= 0.4
    if unhappy and world.chance(0.6):
        world.begin(case(world, trail, lived.worst or "neutral", ask.touchpoint))


def _about(rng: Random, lived: Lived, share: float) -> str:
    if share > 0.7:
        return lived.praise if rng.random() < 0.85 else "neutral"
    return lived.worst or "neutral"


def case(world: World, trail: Trail, reason: str, touchpoint: str) -> Steps:
    """Follow up an unhappy customer."""
    yield 5.0
    case_id = world.short_id("case")
    urgent = trail.customer.segment == "vip"
    trail.say(CaseOpened(case_id=case_id, reason=reason, priority="P1" if urgent else "P3"), touchpoint)
    wait = world.spread(600.0 if urgent else 2400.0)
    yield wait
    trail.say(CaseAssigned(case_id=case_id, owner=f"owner-{reason}", wait_s=round(wait, 1)), touchpoint)
    until = world.spread(CASE_CONTACT_S[0] * (0.4 if urgent else 1.0), CASE_CONTACT_S[1])
    yield until
    yield from case_contacted(world, trail, case_id, wait + until, touchpoint)


def case_contacted(world: World, trail: Trail, case_id: str, after_s: float, touchpoint: str) -> Steps:
    """Contact the customer of a case, `after_s` seconds after it was opened, and solve it."""
    trail.say(
        CaseContacted(
            case_id=case_id,
            duration_s=round(after_s, 1),
            reached=world.chance(0.8),
            in_sla=after_s <= 48 * 3600,
        ),
        touchpoint,
    )
    more = world.spread(*CASE_SOLVE_S)
    yield more
    yield from case_solved(world, trail, case_id, after_s + more, touchpoint)


def case_solved(world: World, trail: Trail, case_id: str, after_s: float, touchpoint: str) -> Steps:
    """Solve and close a case."""
    trail.say(CaseResolved(case_id=case_id, duration_s=round(after_s, 1), action="callback"), touchpoint)
    yield 300.0
    outcomes: tuple[Literal["rescued", "satisfied", "unsatisfied", "unreachable"], ...]
    outcomes = ("rescued", "satisfied", "satisfied", "unsatisfied", "unreachable")
    trail.say(
        CaseClosed(
            case_id=case_id,
            duration_s=round(after_s + 300.0, 1),
            in_sla=after_s <= 72 * 3600,
            outcome=world.rng.choice(outcomes),
        ),
        touchpoint,
    )


def review(world: World, trail: Trail, lived: Lived, version: str, *, product: str) -> Steps:
    """Publish a review in an app store or on a product's page."""
    yield world.spread(90.0)
    customer, rng = trail.customer, world.rng
    stars = score(rng, customer, lived.pain * 1.4, "stars", 5)
    text = comment(rng, customer, _about(rng, lived, stars / 5), glad=stars >= 4)
    trail.say(
        ReviewPublished(
            scale=5,
            score=stars,
            text=text,
            lang=customer.lang,
            product=product,
            version=version,
            store="bazaar" if product == "app" else None,
            likes=int(rng.expovariate(0.5)),
        ),
        "app_review" if product == "app" else "reviews",
    )
    if world.chance(0.15):
        yield world.spread(120.0)
        trail.say(
            SocialMentioned(
                network=rng.choice(("instagram", "telegram", "x")),
                text=text,
                lang=customer.lang,
                reach=int(rng.paretovariate(1.1) * 50),
                polarity=round((stars - 3) / 2, 2),
            ),
            "social_media",
        )
