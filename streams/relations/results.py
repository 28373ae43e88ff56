"""Derived events: what is said of a matter, what takes its place, and what takes it back."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from streams.kpis.language.fields import OWN
from streams.relations.definition import Relation
from streams.relations.facts import Values
from streams.relations.machine import Statement

SOURCE: Final = "relations"
"""Of derived events; behind a slash the relation is named."""


class Given(msgspec.Struct, array_like=True, frozen=True):
    """What was said last of a matter."""

    statement: Statement
    subject: str
    revision: int = 0
    withdrawn: bool = False


class DerivedEvent(msgspec.Struct, frozen=True):
    """
    One derived event. Its bytes follow from the events that it is made of.

    A matter has one result at most: one with a higher revision takes the place of the lower one, which is withdrawn
    first. So sums are right that add what is said and subtract what is withdrawn.

    Attributes:
        span: Names the matter.
        withdrawn: Whether it takes back what the same revision said; all else is as it was said then.
        at: When it became so, by event time, in milliseconds.
        origin: Attributes of the event that it is made of.
        data: What is said; times in milliseconds.
    """

    relation: str
    type: str
    span: str
    revision: int
    withdrawn: bool
    at: int
    subject: str
    origin: Values
    data: dict[str, Any]

    @property
    def id(self) -> str:
        """The id of the event: of every revision, and of taking it back, another one."""
        return f"{self.span}.{self.revision}{'-' if self.withdrawn else ''}"

    @property
    def version(self) -> int:
        """A number that grows with each event of the same matter."""
        return 2 * self.revision + self.withdrawn


def result_of(relation: Relation, given: Given, *, withdrawn: bool = False) -> DerivedEvent:
    """Return the derived event that says, or takes back, what is given."""
    said = given.statement
    assert said.data is not None
    return DerivedEvent(
        relation.id,
        relation.emits,
        said.span,
        given.revision,
        withdrawn,
        said.at,
        given.subject,
        said.origin,
        said.data,
    )


def event_of(relation: Relation, result: DerivedEvent) -> dict[str, Any]:
    """Return a derived event as it goes over the wire: a CloudEvent of plain values."""
    times = relation.times
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": result.id,
        "source": f"{SOURCE}/{result.relation}",
        "type": result.type,
        "time": _iso(result.at),
        "subject": result.subject,
    }
    labels = {}
    for name, value in result.origin.items():
        if name.startswith(OWN):
            labels[name.removeprefix(OWN)] = value
        else:
            event[name] = value
    if labels:
        event["labels"] = labels
    data = {"span": result.span, "revision": result.revision, "withdrawn": result.withdrawn, **result.data}
    for name in times:
        if name in data:
            data[name] = _iso(data[name])
    event["data"] = data
    return event


def _iso(time: int) -> str:
    second, rest = divmod(time, 1000)
    return f"{_second(second)}.{rest:03d}Z"


@lru_cache(maxsize=4096)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:19]
