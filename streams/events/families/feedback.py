"""What customers and employees say when asked: surveys on all their ways, and free text."""

from typing import Literal

from streams.events.envelope import Data, Rated, event
from streams.events.scalars import Days, Label, Language, Percent, Seconds, Subchannel, Text

Metric = Literal["csat", "ces", "nps", "enps", "stars"]
Kind = Literal["transactional", "relational"]
KanoAnswer = Literal["like", "expect", "neutral", "tolerate", "dislike"]


@event("cx.survey.eligible", counts="occasions for a survey (not customers)")
class SurveyEligible(Data, frozen=True, kw_only=True):
    """A customer could have been asked."""

    survey_id: Label
    metric: Metric | None = None


@event("cx.survey.suppressed", counts="surveys that were not sent")
class SurveySuppressed(Data, frozen=True, kw_only=True):
    """A customer was not asked although eligible, to spare them or for another reason."""

    survey_id: Label
    reason: Label
    metric: Metric | None = None


@event("cx.survey.sent", counts="surveys sent (not customers)")
class SurveySent(Data, frozen=True, kw_only=True):
    """A survey was sent or shown."""

    survey_id: Label
    metric: Metric | None = None
    kind: Kind | None = None
    subchannel: Subchannel | None = None


@event("cx.survey.delivered", counts="surveys delivered")
class SurveyDelivered(Data, frozen=True, kw_only=True):
    """A survey reached the customer's device."""

    survey_id: Label
    metric: Metric | None = None
    subchannel: Subchannel | None = None


@event("cx.survey.opened", counts="openings of a survey")
class SurveyOpened(Data, frozen=True, kw_only=True):
    """A survey was opened."""

    survey_id: Label
    metric: Metric | None = None


@event("cx.survey.started", counts="surveys begun")
class SurveyStarted(Data, frozen=True, kw_only=True):
    """The first question was answered."""

    survey_id: Label
    metric: Metric | None = None


@event("cx.survey.answered", counts="answers (one that a customer gives anew counts again, as the earlier one does)")
class SurveyAnswered(Rated, frozen=True, kw_only=True):
    """
    A rating was given: NPS and eNPS from 0 to 10, all others from 1 to the scale's points.

    `delivery`, `wait_s`, `resolved` and `days_since` tell what the customer had lived through.
    """

    survey_id: Label
    metric: Metric
    kind: Kind | None = None
    object: Label | None = None
    text: Text | None = None
    lang: Language | None = None
    subchannel: Subchannel | None = None
    delivery: Literal["on_time", "late", "not_delivered"] | None = None
    wait_s: Seconds | None = None
    resolved: bool | None = None
    days_since: Days | None = None
    duration_s: Seconds | None = None

    def __post_init__(self) -> None:
        """
        Settle the rating as an int within the scale of its metric.

        Raises:
            ValueError: It is no whole number, outside the scale, or NPS is asked on another scale than 0 to 10.
        """
        metric = self.metric
        if metric == "nps" or metric == "enps":  # noqa: PLR1714 - twice as fast as a set, and on the hot path
            if self.scale != 10:
                raise ValueError("NPS is asked on the scale of 10")
            self.check_score(0)
        else:
            self.check_score(1)


@event("cx.survey.dismissed", counts="surveys closed")
class SurveyDismissed(Data, frozen=True, kw_only=True):
    """A survey was closed without an answer."""

    survey_id: Label
    metric: Metric | None = None
    after_s: Seconds | None = None


@event("cx.feedback.given", counts="texts (not customers)")
class FeedbackGiven(Data, frozen=True, kw_only=True):
    """Free text, without a rating: a complaint, praise, a wish."""

    text: Text
    lang: Language | None = None
    kind: Literal["complaint", "praise", "suggestion", "question"] | None = None
    topic: Label | None = None


@event("cx.kano.answered", counts="pairs of answers (who answers again counts again)")
class KanoAnswered(Data, frozen=True, kw_only=True):
    """The pair of answers on one feature: how it would be with it, and without it."""

    feature: Label
    functional: KanoAnswer
    dysfunctional: KanoAnswer
    survey_id: Label | None = None


@event("cx.employee.feedback_given", counts="answers of employees (not employees)")
class EmployeeFeedbackGiven(Rated, frozen=True, kw_only=True):
    """An employee's rating of working here, or of serving customers here."""

    survey_id: Label
    object: Label | None = None
    text: Text | None = None
    lang: Language | None = None


@event("cx.self.assessed", counts="estimates (each counts, not only a team's latest)")
class SelfAssessed(Data, frozen=True, kw_only=True):
    """A team's own estimate of its customers' satisfied share, to hold against what customers say."""

    metric: Metric
    estimate: Percent
    object: Label | None = None
