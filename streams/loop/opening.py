"""The event that opens a case, and the times that rules set for what others have opened."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from streams.loop.case import PREFIX, SOURCE, Case
from streams.loop.definition import NORMAL, CaseRules, Cause, can_be
from streams.relations.facts import Fact, Value, origin_of
from streams.value.valuations import Valuation

_BEGINS: Final = frozenset({f"{PREFIX}opened", f"{PREFIX}reopened"})


def opening_of(
    rules: CaseRules, cause: Cause, subject: str, fact: Fact, said: Mapping[str, Any], worth: Valuation | None
) -> tuple[str, dict[str, Value]]:
    """
    Return the id of the case that a fact opens, and what its opening says.

    Args:
        rules: All of them.
        cause: Why it is opened.
        subject: Whose case it is.
        fact: What opens it.
        said: What the cause says of it.
        worth: What the customer was worth then; it counts where the cause says nothing.
    """
    named = f"{subject}\0{cause.id}\0{fact.source}\0{fact.id}".encode()
    case_id = f"{cause.id}-{hashlib.sha256(named).hexdigest()[:12]}"
    known = {name: value for name, value in worth.said().items() if can_be(name, value)} if worth else {}
    values: dict[str, Value] = {**origin_of(fact), **known, **said, "case_id": case_id, "reason": cause.id}
    values.pop("agentid", None)  # whoever that was has not opened it
    values |= cause.due_values(fact.time, str(said.get("priority", NORMAL)))
    if owner := rules.owner_of(cause.id, fact.values.get("touchpoint"), fact.time):
        values["owner"] = owner
    return case_id, values


def stamped(rules: CaseRules, event: Fact, case: Case | None, name: str) -> Fact:
    """Return an event of a case with the times that the rules of now set for it, unless it brings them itself."""
    cause = rules.causes.get(name)
    start = event.time if event.type in _BEGINS else None
    priority = str(event.values.get("priority", case.priority if case else NORMAL))
    if event.type == f"{PREFIX}prioritised" and case is not None:
        start = case.now.began
    if cause is None or start is None:
        return event
    return msgspec.structs.replace(event, values={**cause.due_values(start, priority), **event.values})


def said_of(rules: CaseRules, opening: Fact) -> Mapping[str, Any]:
    """Return what an opening says of its case: of ours, without what is only known of its customer."""
    cause = rules.causes.get(str(opening.values.get("reason")))
    if opening.source != SOURCE or cause is None:
        return opening.values
    return {name: value for name, value in opening.values.items() if name in cause.says}
