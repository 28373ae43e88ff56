"""Whether enough customers are heard: occasions, of which of them customers were asked, and who answered."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from streams.asking.definition import ANSWERED, SENT, Survey, SurveyRules, SurveyTrigger, text_of_field
from streams.asking.replies import SurveyReply, opinions
from streams.asking.weighting import Stratum
from streams.relations.facts import Fact

NO_GROUP: Final = "(none)"
"""The group of customers of whom the field that groups them is not known."""


@dataclass(slots=True)
class SurveyOccasion:
    """
    One matter, or one event, on which a survey could ask a customer.

    Attributes:
        trigger: The first event of it.
        asked: Whether an invitation followed.
        answers: Answers that followed, in the order of time.
    """

    trigger: SurveyTrigger
    asked: bool = False
    answers: list[Fact] = field(default_factory=list)

    @property
    def matter(self) -> str:
        """What tells it apart among those of a customer and a survey."""
        return self.trigger.matter or f"{self.trigger.source} {self.trigger.id}"


@dataclass
class CustomerOccasions:
    """
    The occasions of one customer with their answers.

    Attributes:
        occasions: By survey, in the order of time.
        replies: All answers to surveys that have rules, those of no occasion too.
        unasked_for: Invitations by survey that belong to no occasion.
    """

    occasions: dict[str, list[SurveyOccasion]]
    replies: list[SurveyReply] = field(default_factory=list)
    unasked_for: Counter[str] = field(default_factory=Counter)


def occasions_of(rules: SurveyRules, subject: str, facts: Iterable[Fact]) -> CustomerOccasions:
    """
    Put the events of a customer together: occasions, and the invitations and answers that belong to them.

    What names the matter belongs to its occasion, all else to the last one before. An answer says that its customer was
    asked, whether the invitation is known or not.
    """
    ordered = sorted(facts, key=lambda fact: (fact.time, fact.source, fact.id))
    found: dict[str, dict[str, SurveyOccasion]] = defaultdict(dict)
    for fact in ordered:
        for trigger in rules.triggers_of(subject, fact):
            one = SurveyOccasion(trigger)
            found[trigger.survey].setdefault(one.matter, one)
    customer = CustomerOccasions({name: [*group.values()] for name, group in found.items()})
    for fact in ordered:
        survey = rules.surveys.get(str(fact.values.get("survey_id"))) if fact.type in {SENT, ANSWERED} else None
        if survey is None or survey.review:
            continue
        occasion = _occasion(found[survey.id], customer.occasions.get(survey.id, []), survey, fact)
        if occasion is not None:
            occasion.asked = True
        if fact.type == ANSWERED:
            _answer(customer, survey, subject, occasion, fact)
        elif occasion is None:
            customer.unasked_for[survey.id] += 1
    return customer


def _occasion(
    named: Mapping[str, SurveyOccasion], ordered: list[SurveyOccasion], survey: Survey, fact: Fact
) -> SurveyOccasion | None:
    matter = text_of_field(fact, survey.matter)
    if matter:
        return named.get(matter)
    before = bisect_right(ordered, fact.time, key=lambda one: one.trigger.time)
    return ordered[before - 1] if before else None


def _answer(
    customer: CustomerOccasions, survey: Survey, subject: str, occasion: SurveyOccasion | None, fact: Fact
) -> None:
    score = fact.values.get("score")
    customer.replies.append(
        SurveyReply(
            id=fact.id,
            source=fact.source,
            time=fact.time,
            subject=subject,
            touchpoint=survey.touchpoint,
            metric=str(fact.values.get("metric", "")),
            matter=occasion.matter if occasion else text_of_field(fact, survey.matter),
            score=score if isinstance(score, int) else None,
        )
    )
    if occasion is not None:
        occasion.answers.append(fact)


@dataclass
class TouchpointCoverage:
    """
    How well customers are heard at one touchpoint.

    Attributes:
        surveys: Those that ask there.
        occasions: Customers' matters on which they could ask.
        asked: Those of them on which one did.
        answered: Those of them with an answer.
        answers: What counts of the answers: one opinion for a matter and a metric, those of no occasion too.
        wanted: Answers that the plans of its surveys want in the span; None: there is no plan.
    """

    touchpoint: str
    surveys: tuple[str, ...]
    occasions: int = 0
    asked: int = 0
    answered: int = 0
    answers: int = 0
    wanted: int | None = None

    @property
    def on_plan(self) -> bool | None:
        """Whether there are as many answers as planned; None: there is no plan."""
        return None if self.wanted is None else self.answers >= self.wanted

    def advice(self) -> str:
        """Say what would bring answers up to the plan; empty: nothing is missing."""
        if self.on_plan is not False:
            return ""
        missing = (self.wanted or 0) - self.answers
        if not self.occasions:
            return "no occasion: do the events come that `opens` names?"
        if not self.asked:
            return f"nobody is asked on {self.occasions:,} occasions"
        if not self.answered:
            return f"none of {self.asked:,} answers: look at the way of asking"
        left, needed = self.occasions - self.asked, ceil(missing * self.asked / self.answered)
        if needed > left:
            return f"{missing:,} missing: asking all brings {left * self.answered // self.asked:,}, raise the response"
        return f"{missing:,} missing: ask on {needed:,} of the {left:,} occasions left"


class CoverageTally:
    """Adds up occasions of customers, by touchpoint and by group."""

    def __init__(self, rules: SurveyRules, span_ms: int) -> None:
        """Count for the surveys of some rules, whose plans are held against a span of so many milliseconds."""
        self._rules = rules
        self._found: dict[str, TouchpointCoverage] = {}
        self.unasked_for: Counter[str] = Counter()
        for survey in rules.surveys.values():
            if not survey.review:
                one = self._found.setdefault(survey.touchpoint, TouchpointCoverage(survey.touchpoint, ()))
                one.surveys = (*one.surveys, survey.id)
                if survey.plan is not None:
                    one.wanted = (one.wanted or 0) + ceil(survey.plan.answers * span_ms / survey.plan.every_ms)

    def add(self, customer: CustomerOccasions) -> None:
        """Add one customer, of whom nothing was added before."""
        self.unasked_for.update(customer.unasked_for)
        for one in self._found.values():
            matters: dict[str, list[SurveyOccasion]] = defaultdict(list)
            for survey in one.surveys:
                for occasion in customer.occasions.get(survey, ()):
                    matters[occasion.matter].append(occasion)
            one.occasions += len(matters)
            one.asked += sum(any(each.asked for each in same) for same in matters.values())
            one.answered += sum(any(each.answers for each in same) for same in matters.values())
        for reply in opinions(customer.replies).counted:
            self._found[reply.touchpoint].answers += 1

    def touchpoints(self) -> list[TouchpointCoverage]:
        """Return them in the order of the rules."""
        return [*self._found.values()]


class StrataTally:
    """Adds up occasions of customers by group: how many there were, who answered, and who of those is satisfied."""

    def __init__(self, surveys: Iterable[str], counts: Callable[[Fact], bool], hits: Callable[[Fact], bool]) -> None:
        """Count occasions of some surveys; `counts` says which answers count, `hits` which of them are satisfied."""
        self._surveys, self._counts, self._hits = tuple(surveys), counts, hits
        self._sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])

    def add(self, customer: CustomerOccasions) -> None:
        """Add one customer, whose occasions are each in their stratum; of several answers to one the last counts."""
        for occasion in (one for name in self._surveys for one in customer.occasions.get(name, ())):
            sums = self._sums[occasion.trigger.stratum or NO_GROUP]
            answers = [fact for fact in occasion.answers if self._counts(fact)]
            sums[0] += 1
            sums[1] += bool(answers)
            sums[2] += bool(answers) and self._hits(answers[-1])

    def strata(self) -> Iterator[Stratum]:
        """Yield the groups in the order of their names."""
        for name, (served, answers, satisfied) in sorted(self._sums.items()):
            yield Stratum(name, served, answers, satisfied / answers if answers else None)
