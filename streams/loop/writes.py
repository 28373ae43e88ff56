"""
What becomes of what people do to a case: taken, refused with what happened meanwhile, or known already.

Whoever says on which version of a case an action rests (`if_version`) is refused when the case is another one by now.
Whoever does not, as a ticket system that reports what was done, is always heard: what it means follows from its time.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from streams.loop.case import NOTICES, PREFIX, Case, in_order
from streams.relations.facts import Fact

TAKEN: Final = 200
CONFLICT: Final = 409
UNKNOWN: Final = 404


class CaseAnswer(msgspec.Struct, frozen=True, array_like=True):
    """
    What became of an action.

    Attributes:
        code: 200 taken, 404 no such case, 409 the case is another one by now.
        version: Of the case afterwards.
        says: Why it was refused.
    """

    code: int
    version: int
    says: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was taken."""
        return self.code == TAKEN


def name_of(event: Fact) -> str:
    """Return what names an action for ever: its source and id."""
    return f"{event.source} {event.id}"


def judge(case: Case | None, events: Iterable[Fact], action: Fact) -> CaseAnswer:
    """
    Return what becomes of an action that was not seen before.

    Args:
        case: As it stands; None: there is none.
        events: What has happened to it, in any order.
        action: An event of a case.
    """
    wanted = action.values.get("if_version")
    if wanted is None:
        return CaseAnswer(TAKEN, (case.version if case else 0) + 1)
    if case is None:
        return CaseAnswer(UNKNOWN, 0, f"there is no case {action.values['case_id']}")
    if wanted != case.version:
        return CaseAnswer(CONFLICT, case.version, _meanwhile(case, events, int(wanted)))
    if refusal := _REFUSED.get((case.state, action.type.removeprefix(PREFIX))):
        return CaseAnswer(CONFLICT, case.version, refusal)
    return CaseAnswer(TAKEN, case.version + 1)


_REOPEN: Final = "the case is closed; reopen it first"
_REFUSED: Final = {
    ("closed", "closed"): "the case is already closed",
    **dict.fromkeys((("closed", one) for one in ("contacted", "assigned", "prioritised", "held", "resumed")), _REOPEN),
    ("open", "reopened"): "the case is open",
    ("waiting", "reopened"): "the case is open",
    ("waiting", "held"): "the case waits for the customer already",
    ("open", "resumed"): "the case does not wait for the customer",
}


def _meanwhile(case: Case, events: Iterable[Fact], wanted: int) -> str:
    """Say what has made another version of a case."""
    moves = [event for event in in_order(events) if event.type.removeprefix(PREFIX) not in NOTICES]
    since = moves[wanted:]
    if not since:
        return f"the case is at version {case.version}, there is no version {wanted} yet"
    closings = [event for event in since if event.type == f"{PREFIX}closed"]
    if case.state == "closed" and closings:
        return f"closed{_by(closings[-1])} meanwhile, version {case.version}"
    return f"{done(since[-1])} meanwhile, version {case.version}"


def done(event: Fact) -> str:
    """Say in words what an event has done to a case."""
    values = event.values
    by = _by(event)
    match event.type.removeprefix(PREFIX):
        case "opened":
            return f"opened{_with(values.get('reason'), ': ')}"
        case "assigned":
            return f"assigned to {values['owner']}{by if values.get('agentid') != values['owner'] else ''}"
        case "prioritised":
            return f"priority {values['priority']}{by}"
        case "contacted":
            return f"contacted{', not reached' if values.get('reached') is False else ''}{by}"
        case "held":
            return f"set to wait for the customer{by}"
        case "closed":
            return f"closed{by}{_with(values.get('outcome'), ': ')}"
        case "warned":
            return f"time to {values['clock']} ends soon"
        case "escalated":
            return f"time to {values['clock']} is over"
        case "cleared":
            return f"time to {values['clock']} was kept after all"
        case name:
            return f"{name}{by}"


def _by(event: Fact) -> str:
    return f" by {event.values['agentid']}" if "agentid" in event.values else ""


def _with(value: object, before: str) -> str:
    return "" if value is None else f"{before}{value}"
