"""Surveys as their rules say: what asks for an answer, how long a customer is left alone, and how many are asked."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final

from streams.events.types import ENVELOPE_FIELDS
from streams.kpis.language.expressions import suggest
from streams.relations.definition import Matcher
from streams.relations.facts import Fact, Reader
from streams.value.valuations import CUSTOMER_FIELDS, VALUED, VALUED_FIELDS

SENT: Final = "cx.survey.sent"
ANSWERED: Final = "cx.survey.answered"
ELIGIBLE: Final = "cx.survey.eligible"
DECIDED_HERE: Final = "/cx/surveys"
"""The source of decisions that are made by the rules."""
_DRAWS: Final = 1 << 64


class UnknownSurveyError(ValueError):
    """A trigger names a survey that no rule defines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyTrigger:
    """
    An occasion on which a survey would be shown to a customer.

    Attributes:
        survey: Its id in the rules.
        time: When, in milliseconds since 1970.
        id: Names the occasion, together with `source`; the same once more is a repeat.
        matter: What it is about, such as the id of an order; empty: nothing in particular.
        stratum: The group by which customers are sampled and answers weighted; empty: not known.
        channel: Where it happened; empty: not known.
    """

    survey: str
    subject: str
    time: int
    id: str
    source: str = ""
    matter: str = ""
    stratum: str = ""
    channel: str = ""

    def name(self) -> str:
        """Return a name of its own for it, made of what names it."""
        named = json.dumps([self.survey, self.source, self.id]).encode()
        return blake2b(named, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    """How many answers are wanted in so many milliseconds."""

    answers: int
    every_ms: int


@dataclass(frozen=True, kw_only=True)
class Survey:
    """
    One survey, or an invitation to write a review.

    Attributes:
        touchpoint: Where it asks.
        opens: Events that are an occasion for it.
        again_ms: How long after it was shown it may be shown to the same customer again.
        after_ms: How long after other surveys it may be shown, by their ids, where that is another length than for all.
        after_frequent_ms: How long after a survey that has no such exception itself; None: as after all others.
        matter: The field that names what it is about; empty: none.
        by: The field by which customers are sampled; empty: all alike.
        shares: Percentage that is asked, by the value of that field.
        share: Percentage of all others.
        review: It is an invitation to write a review: surveys and reviews do not hold each other back.
        rank: Its place among the rules.
    """

    id: str
    name: Mapping[str, str] = field(default_factory=dict)
    touchpoint: str = ""
    opens: Matcher
    again_ms: int
    after_ms: Mapping[str, int] = field(default_factory=dict)
    after_frequent_ms: int | None = None
    matter: str = ""
    by: str = ""
    shares: Mapping[str, float] = field(default_factory=dict)
    share: float = 100.0
    plan: AnswerPlan | None = None
    review: bool = False
    rank: int = 0

    @property
    def asks_customer(self) -> bool:
        """Whether it asks what the customer is worth."""
        return not CUSTOMER_FIELDS.keys().isdisjoint({self.by, *self.opens.where.fields})

    @property
    def rare(self) -> bool:
        """Whether it has an exception, so that frequent surveys do not starve it."""
        return self.after_frequent_ms is not None or bool(self.after_ms)

    def share_of(self, stratum: str) -> float:
        """Return the percentage of a group that is asked."""
        return self.shares.get(stratum, self.share)

    def draws(self, trigger: SurveyTrigger) -> bool:
        """
        Tell whether an occasion is in the sample: by a hash, so that it is the same whenever and wherever it is asked.

        One matter is drawn once, whatever happens to it. Who is drawn for a share is drawn for a larger one as well.
        """
        unit = ("matter", trigger.matter) if trigger.matter else ("event", trigger.source, trigger.id)
        named = "\x1f".join((self.id, trigger.subject, *unit)).encode("utf-8", "surrogatepass")
        drawn = int.from_bytes(blake2b(named, digest_size=8).digest(), "big")
        return drawn * 100 < self.share_of(trigger.stratum) * _DRAWS


@dataclass(frozen=True)
class SurveyRules:
    """
    All rules of surveys.

    Attributes:
        surveys: By id.
        gap_ms: How long a customer is left alone after any survey was shown.
    """

    surveys: Mapping[str, Survey]
    gap_ms: int

    def survey(self, name: str) -> Survey:
        """
        Return a survey.

        Raises:
            UnknownSurveyError: There is none of that name.
        """
        found = self.surveys.get(name)
        if found is None:
            listed = suggest(name, self.surveys) or f"; there are {', '.join(self.surveys) or 'none'}"
            raise UnknownSurveyError(f"no survey {name!r}{listed}")
        return found

    def gap_between(self, earlier: str, later: str) -> int:
        """
        Return how long after one survey was shown another may be; one that no rule defines is as any other.

        Exactly so long after is allowed.
        """
        first, second = self.surveys.get(earlier), self.surveys.get(later)
        if second is None:
            return 0 if first and first.review else self.gap_ms
        if earlier == later:
            return second.again_ms
        if first is not None and (first.review or second.review):
            return second.again_ms if first.review and second.review else 0
        if second.review:
            return 0
        if earlier in second.after_ms:
            return second.after_ms[earlier]
        if second.after_frequent_ms is not None and first is not None and not first.rare:
            return second.after_frequent_ms
        return self.gap_ms

    def longest_gap(self) -> int:
        """Return for how long an invitation can hold another one back, in milliseconds."""
        own = (max((one.again_ms, *one.after_ms.values(), one.after_frequent_ms or 0)) for one in self.surveys.values())
        return max((self.gap_ms, *own))

    def grouped_by(self, name: str) -> "SurveyRules":
        """Return the same rules with customers grouped by another field, which no sample is drawn by."""
        return SurveyRules({one.id: replace(one, by=name) for one in self.surveys.values()}, self.gap_ms)

    def reader(self, also: Iterable[str] = (), *, answers: bool = True) -> Reader:
        """Return what makes facts of events: occasions, invitations and `answers`; of these `also` further fields."""
        envelope = {one.matter for one in self.surveys.values() if one.matter in ENVELOPE_FIELDS}
        wanted: dict[str, set[str]] = {
            SENT: {"survey_id", *envelope},
            ELIGIBLE: {"survey_id", *envelope},
        }
        if answers:
            wanted[ANSWERED] = {"survey_id", "metric", "score", *envelope, *also}
        for survey in self.surveys.values():
            for event in survey.opens.events:
                fields = wanted.setdefault(event, set())
                fields.update(survey.opens.where.fields, filter(None, ("channel", survey.matter, survey.by)))
                fields.difference_update(CUSTOMER_FIELDS)
        if any(survey.asks_customer for survey in self.surveys.values()):
            wanted.setdefault(VALUED, set()).update(VALUED_FIELDS)
        return Reader(wanted)

    def triggers_of(self, subject: str, fact: Fact) -> Iterator[SurveyTrigger]:
        """Yield the occasions that an event is."""
        for survey in self.surveys.values():
            if survey.opens.meets(fact):
                yield SurveyTrigger(
                    survey=survey.id,
                    subject=subject,
                    time=fact.time,
                    id=fact.id,
                    source=fact.source,
                    matter=text_of_field(fact, survey.matter),
                    stratum=text_of_field(fact, survey.by),
                    channel=text_of_field(fact, "channel"),
                )


def text_of_field(fact: Fact, name: str) -> str:
    """Return a field of an event as a text; empty: it has none."""
    value = fact.values.get(name) if name else None
    return "" if value is None else str(value)
