"""What answers count for: one matter is one opinion, however many parcels, invitations and corrections it had."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyReply:
    """
    One answer to a survey.

    Attributes:
        id: Names it, together with `source`; the same once more is a repeat.
        time: When, in milliseconds since 1970.
        matter: What it is about, such as the id of an order; empty: nothing in particular, so it stands alone.
        score: None: the question was closed without an answer.
    """

    id: str
    source: str = ""
    time: int
    subject: str
    touchpoint: str
    metric: str
    matter: str = ""
    score: int | None

    @property
    def unit(self) -> tuple[str, ...]:
        """What has one opinion: a customer on a matter, at a touchpoint, by a metric."""
        about = ("matter", self.matter) if self.matter else ("reply", self.source, self.id)
        return (self.subject, self.touchpoint, self.metric, *about)


@dataclass(frozen=True)
class Opinions:
    """
    What counts of some answers.

    Attributes:
        counted: The last complete answer of each unit, in the order of time.
        replaced: Complete answers that a later one of the same unit replaces.
        repeated: How many came again with an id that was there already.
        incomplete: How many hold no answer.
    """

    counted: list[SurveyReply] = field(default_factory=list)
    replaced: list[SurveyReply] = field(default_factory=list)
    repeated: int = 0
    incomplete: int = 0


def opinions(replies: Iterable[SurveyReply]) -> Opinions:
    """
    Find what counts of answers, in whatever order they come: of one unit the last complete one.

    At one moment the one with the greater source and id is the last. Of those with one id the first that comes counts.
    """
    first: dict[tuple[str, str], SurveyReply] = {}
    repeated = 0
    for reply in replies:
        repeated += (reply.source, reply.id) in first
        first.setdefault((reply.source, reply.id), reply)
    last: dict[tuple[str, ...], SurveyReply] = {}
    replaced, incomplete = [], 0
    for reply in sorted(first.values(), key=lambda one: (one.time, one.source, one.id)):
        if reply.score is None:
            incomplete += 1
            continue
        if former := last.pop(reply.unit, None):
            replaced.append(former)
        last[reply.unit] = reply
    return Opinions([*last.values()], replaced, repeated, incomplete)
