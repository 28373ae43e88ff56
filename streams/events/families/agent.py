"""The people who serve: their states, the assessment of their work, coaching, transcripts."""

from typing import Literal

from streams.events.envelope import Data, event
from streams.events.scalars import Label, Language, Percent, Polarity, Position, Seconds, Text


@event("cx.agent.state_changed", counts="states that agents left")
class AgentStateChanged(Data, frozen=True, kw_only=True):
    """An agent left one state for another, after `duration_s` in the former."""

    state: Literal["idle", "ringing", "busy", "wrapup", "break", "training", "offline"]
    previous: Literal["idle", "ringing", "busy", "wrapup", "break", "training", "offline"] | None = None
    duration_s: Seconds | None = None
    queue: Label | None = None


@event("cx.agent.evaluation_scored", counts="assessments (a contact that is assessed again has another one)")
class AgentEvaluationScored(Data, frozen=True, kw_only=True):
    """A contact's quality was assessed, in percent of the weighted points; a critical failure makes it 0."""

    quality: Percent
    form: Label | None = None
    critical_failed: bool | None = None
    automatic: bool | None = None


@event("cx.agent.coaching_given", counts="coachings (not agents)")
class AgentCoachingGiven(Data, frozen=True, kw_only=True):
    """An agent was coached."""

    topic: Label | None = None
    duration_s: Seconds | None = None


@event("cx.agent.transcript_turn", counts="turns of conversations (not contacts)")
class AgentTranscriptTurn(Data, frozen=True, kw_only=True):
    """One turn of a transcribed conversation."""

    speaker: Literal["customer", "agent", "bot"]
    position: Position | None = None
    text: Text | None = None
    lang: Language | None = None
    polarity: Polarity | None = None
    talk_s: Seconds | None = None
    silence_s: Seconds | None = None
