"""
Whether a survey may be shown to a customer: by what was shown before, not by what was answered.

Nothing here knows a clock: the order of what is given decides, and times are those of the occasions.
"""

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Final

from streams.asking.definition import DECIDED_HERE, ELIGIBLE, SENT, Survey, SurveyRules, SurveyTrigger, text_of_field
from streams.relations.facts import Fact, moment_of, with_fields
from streams.value.valuations import VALUED, Valuations, valuation_of

SAME_MATTER: Final = "same_matter"
ASKED_LATELY: Final = "asked_lately"
SAME_SURVEY_LATELY: Final = "same_survey_lately"
NOT_SAMPLED: Final = "not_sampled"
REASONS: Final = (SAME_MATTER, ASKED_LATELY, SAME_SURVEY_LATELY, NOT_SAMPLED)
_DAY_MS: Final = 86_400_000
_UNITS: Final = ((_DAY_MS, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms"))


@dataclass(frozen=True, slots=True)
class Invitation:
    """A survey that was shown, when in milliseconds since 1970, and about what."""

    survey: str
    time: int
    matter: str = ""


@dataclass(frozen=True, slots=True)
class AskingDecision:
    """
    Whether a customer may be asked, and why not.

    Attributes:
        reason: One of `REASONS`; empty: the customer may be asked.
        held_by: The invitation that stands against it; None: none does.
        gap_ms: How far from that it would have to be; 0: it is about the same matter.
        again: From when on the same survey may be shown to the customer about another matter, as far as is known by
            now, in milliseconds since 1970.
        share: Percentage of such occasions that is in the sample: 100 / share is what an answer stands for.
    """

    trigger: SurveyTrigger
    reason: str
    held_by: Invitation | None
    gap_ms: int
    again: int
    share: float

    @property
    def eligible(self) -> bool:
        """Whether the customer may be asked."""
        return not self.reason

    def words(self, zone: tzinfo = UTC) -> str:
        """Return why a customer is not asked, in words, with moments of a zone; empty: they are."""
        if self.reason == NOT_SAMPLED:
            return f"not among the {self.share:g} % of the sample"
        if self.held_by is None:
            return ""
        shown = f"{self.held_by.survey} shown at {moment_of(self.held_by.time).astimezone(zone):%Y-%m-%d %H:%M:%S}"
        if self.reason == SAME_MATTER:
            return f"{shown}, about {self.trigger.matter}"
        return f"{shown}, gap {length_text(self.gap_ms)}"


class CustomerAsking:
    """
    What one customer was shown, and what is decided on each occasion.

    An occasion may come late: what was shown after it holds it back as well, so that no two invitations are ever nearer
    to each other than the rules say.
    """

    def __init__(self, rules: SurveyRules) -> None:
        self._rules, self._reach = rules, rules.longest_gap()
        self._shown: list[Invitation] = []
        self._about: dict[tuple[object, ...], Invitation] = {}
        self._decided: dict[tuple[str, str, str], AskingDecision] = {}

    def shown(self, invitation: Invitation) -> None:
        """Note what was shown, whatever the rules say of it."""
        insort(self._shown, invitation, key=_time)
        survey = self._rules.surveys.get(invitation.survey)
        if survey is not None and invitation.matter:
            self._about.setdefault(_matter(survey, invitation.matter), invitation)

    def knows(self, trigger: SurveyTrigger) -> bool:
        """Return whether an occasion came before."""
        return (trigger.survey, trigger.source, trigger.id) in self._decided

    def decide(self, trigger: SurveyTrigger) -> AskingDecision:
        """
        Decide on an occasion; who may be asked counts as asked from then on. One that came before is decided as then.

        Raises:
            UnknownSurveyError: No rule defines its survey.
        """
        survey = self._rules.survey(trigger.survey)
        name = trigger.survey, trigger.source, trigger.id
        if name not in self._decided:
            self._decided[name] = found = self._judged(survey, trigger)
            if found.eligible:
                self.shown(Invitation(trigger.survey, trigger.time, trigger.matter))
        return self._decided[name]

    def _judged(self, survey: Survey, trigger: SurveyTrigger) -> AskingDecision:
        first = bisect_left(self._shown, trigger.time - self._reach, key=_time)
        last = bisect_right(self._shown, trigger.time + self._reach, key=_time)
        around = self._shown[first:last]
        reason, held_by, gap_ms = "", None, 0
        if trigger.matter and (same := self._about.get(_matter(survey, trigger.matter))):
            reason, held_by = SAME_MATTER, same
        elif near := [one for one in around if abs(trigger.time - one.time) < self._gap(trigger, one)]:
            held_by = _newest(near, trigger.time)
            gap_ms = self._gap(trigger, held_by)
            reason = SAME_SURVEY_LATELY if held_by.survey == trigger.survey else ASKED_LATELY
        elif not survey.draws(trigger):
            reason = NOT_SAMPLED
        known = around if reason else [*around, Invitation(survey.id, trigger.time)]
        again = max((trigger.time, *(one.time + self._rules.gap_between(one.survey, survey.id) for one in known)))
        return AskingDecision(trigger, reason, held_by, gap_ms, again, survey.share_of(trigger.stratum))

    def _gap(self, trigger: SurveyTrigger, shown: Invitation) -> int:
        """Return how far an occasion has to be from what was shown before it, or after it."""
        pair = (shown.survey, trigger.survey) if shown.time <= trigger.time else (trigger.survey, shown.survey)
        return self._rules.gap_between(*pair)


def decide_all(
    rules: SurveyRules, triggers: Iterable[SurveyTrigger], shown: Iterable[tuple[str, Invitation]] = ()
) -> Iterator[AskingDecision]:
    """
    Decide on the occasions of many customers, each once, in the order of time whatever order they come in.

    At one moment a rare survey comes before a frequent one, then the one that stands first among the rules.

    Args:
        rules: The rules.
        triggers: The occasions; those that come again with the same source and id are left out.
        shown: Customers, and what they were shown before all of that.

    Raises:
        UnknownSurveyError: No rule defines the survey of an occasion.
    """
    customers: dict[str, CustomerAsking] = defaultdict(lambda: CustomerAsking(rules))
    for subject, invitation in shown:
        customers[subject].shown(invitation)

    for trigger in sorted(triggers, key=lambda one: turn_of(rules, one)):
        customer = customers[trigger.subject]
        if not customer.knows(trigger):
            yield customer.decide(trigger)


def turn_of(rules: SurveyRules, trigger: SurveyTrigger) -> tuple[int, bool, int, str, str]:
    """Return what puts the occasions of a customer in order. Raises UnknownSurveyError."""
    survey = rules.survey(trigger.survey)
    return trigger.time, not survey.rare, survey.rank, trigger.source, trigger.id


def decide_on_events(
    rules: SurveyRules,
    subject: str,
    facts: Iterable[Fact],
    since: int,
    listed: Iterable[SurveyTrigger] = (),
    shown: Iterable[Invitation] = (),
) -> list[AskingDecision]:
    """
    Decide on what happened to one customer from a moment on, in milliseconds since 1970, as if the rules had held.

    Occasions that are listed, and what else was shown, hold back and are held back as events are.

    Surveys that were sent before count as shown, and so does what was decided here, which may be on its way. What was
    sent later does not, for the rules say what is.
    """
    triggers, known, worths = [*listed], [(subject, one) for one in shown], Valuations()
    # What was said of a moment is known to what happened at it.
    for fact in sorted(facts, key=lambda one: (one.time, one.type != VALUED)):
        if fact.type == VALUED:
            worths.take(subject, valuation_of(fact.time, f"{fact.source} {fact.id}", fact.values))
        if fact.time >= since:
            worth = worths.newest(subject)
            triggers += rules.triggers_of(subject, with_fields(fact, worth.fields()) if worth else fact)
        elif (invited := invitation_of(rules, fact)) is not None:
            known.append((subject, invited))
    return [*decide_all(rules, triggers, known)]


def invitation_of(rules: SurveyRules, fact: Fact) -> Invitation | None:
    """Return what an event says was shown, or may be on its way; None: it says nothing of that."""
    if fact.type != SENT and (fact.type != ELIGIBLE or fact.source != DECIDED_HERE):
        return None
    name = str(fact.values.get("survey_id"))
    survey = rules.surveys.get(name)
    return Invitation(name, fact.time, text_of_field(fact, survey.matter) if survey else "")


def _time(invitation: Invitation) -> int:
    return invitation.time


def _matter(survey: Survey, matter: str) -> tuple[object, ...]:
    """Return what two invitations about one matter have in common: a review about it is another thing."""
    return survey.review, survey.touchpoint, survey.matter, matter


def _newest(shown: Iterable[Invitation], time: int) -> Invitation:
    """Return what was shown last up to a moment, or else first after it."""
    before = [one for one in shown if one.time <= time]
    return max(before, key=_time) if before else min(shown, key=_time)


def length_text(length_ms: int) -> str:
    """Write a length of time as rules do, such as `30d`."""
    size, unit = next((size, unit) for size, unit in _UNITS if length_ms % size == 0)
    return f"{length_ms // size}{unit}"
