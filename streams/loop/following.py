"""What follows of a case as it stands: what it takes in, whether it comes back, and what is said of its clocks."""

from collections.abc import Iterator

from streams.loop.case import CLOCKS, PREFIX, SOURCE, Case, ClockName
from streams.loop.definition import Cause
from streams.loop.files import CaseFile
from streams.relations.facts import Fact


def takes_in(case: Case, fact: Fact, cause: Cause) -> bool:
    """Tell whether a case takes in a further fact of its cause; else that is one for another case."""
    closed = case.now.closed
    return closed is None or fact.time <= closed + cause.reopens_ms


def comes_back(case: Case, file: CaseFile, cause: Cause) -> int | None:
    """Return when a fact that the case is about has come after its closing; None: none has."""
    closed = case.now.closed
    if closed is None:
        return None
    tried = {event.time for event in file.events if event.type == f"{PREFIX}reopened" and event.source == SOURCE}
    until = closed + cause.reopens_ms
    return min((at for at, _, _ in file.facts if closed < at <= until and at not in tried), default=None)


def notices_of(case: Case, cause: Cause | None) -> Iterator[tuple[str, ClockName, int]]:
    """Yield what is to be said of the clocks of a case when their time comes, and when that is (milliseconds)."""
    now = case.now
    warns = cause.warns_ms if cause else 0
    for clock in CLOCKS:
        due, done = now.due(clock), now.done(clock)
        if due is None or (clock == "close" and case.holding is not None):
            continue
        for what, at in (("warned", due - warns), ("escalated", due)):
            if (what == "escalated" or warns) and (what, clock) not in now.said and (done is None or done > at):
                yield what, clock, max(at, now.began)
