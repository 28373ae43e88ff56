"""What follows of a case as it stands: what it takes in, whether it comes back, and what is said of its clocks."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from streams.loop.case import CLOCKS, PREFIX, SOURCE, Case, ClockName
from streams.loop.definition import Cause
from streams.loop.files import CaseFile
from streams.relations.facts import Fact

_FORGETS_MS: Final = 30 * 86_400_000
"""How long a closed case is remembered after it could have been reopened."""
_AWAITS_MS: Final = 86_400_000
"""How long what happened to a case is kept before its opening has come."""


def takes_in(case: Case, fact: Fact, cause: Cause) -> bool:
    """Return whether a case takes in a further fact of its cause; else that is one for another case."""
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


class DueNotice(NamedTuple):
    """What is to be said of a clock of a cycle, the first being 0, when its time comes (milliseconds)."""

    cycle: int
    what: str
    clock: ClockName
    at: int
    due: int


def notices_of(case: Case, cause: Cause | None) -> Iterator[DueNotice]:
    """Yield what is still to be said of the clocks of a case: of earlier cycles too, while history is read."""
    warns = cause.warns_ms if cause else 0
    for number, cycle in enumerate(case.cycles):
        for clock in CLOCKS:
            due, done = cycle.due(clock), cycle.done(clock)
            stands = clock == "close" and cycle is case.now and case.holding is not None
            if due is None or (stands and (case.holding or 0) <= due):
                continue
            for what, at in (("warned", due - warns), ("escalated", due)):
                if (what == "escalated" or warns) and (what, clock) not in cycle.said and (done is None or done > at):
                    yield DueNotice(number, what, clock, max(at, cycle.began), due)


def next_look(case: Case | None, file: CaseFile, cause: Cause | None) -> int | None:
    """Return when a case has to be looked at though nothing comes, in milliseconds; None: never."""
    if case is None:
        return min(event.time for event in file.events) + _AWAITS_MS
    moments = [one.at for one in notices_of(case, cause)]
    if case.now.closed is not None:
        moments.append(case.now.closed + (cause.reopens_ms if cause else 0) + _FORGETS_MS)
    return min(moments, default=None)
