"""Decisions as events, so that they are counted, alerted on and subscribed to like all others."""

from typing import Final

import msgspec

from streams.asking.deciding import AskingDecision
from streams.asking.definition import DECIDED_HERE, ELIGIBLE, SurveyRules
from streams.events.types import ENVELOPE_FIELDS
from streams.relations.facts import moment_of

_encode: Final = msgspec.json.Encoder().encode


class NoChannelError(ValueError):
    """A decision is about an occasion of which the channel is not known, and every event has one."""


def event_of(rules: SurveyRules, decision: AskingDecision) -> bytes:
    """
    Return a decision as `cx.survey.eligible` or `cx.survey.suppressed`: the same bytes whenever it is decided.

    Raises:
        NoChannelError: Its occasion has no channel.
    """
    trigger = decision.trigger
    survey = rules.survey(trigger.survey)
    if not trigger.channel:
        raise NoChannelError(f"occasion {trigger.id!r} has no 'channel', which an event needs")
    about = {survey.matter: trigger.matter} if trigger.matter and survey.matter in ENVELOPE_FIELDS else {}
    reason = {} if decision.eligible else {"reason": decision.reason}
    return _encode(
        {
            "specversion": "1.0",
            "type": ELIGIBLE if decision.eligible else "cx.survey.suppressed",
            "source": DECIDED_HERE,
            "id": trigger.name(),
            "time": moment_of(trigger.time),
            "subject": trigger.subject,
            "channel": trigger.channel,
            "touchpoint": survey.touchpoint,
            **about,
            "data": {"survey_id": survey.id, **reason},
        }
    )
