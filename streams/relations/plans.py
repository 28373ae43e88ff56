"""What a relation has to do with events of one type, sorted out once and not for each event."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from streams.kpis.language.expressions import TRUE
from streams.relations.definition import NOTHING_KEPT, Kept, Matcher, Take
from streams.relations.facts import Fact
from streams.relations.takes import TAKING

Test: TypeAlias = Callable[[Fact, Kept], bool]
"""A condition, to be asked of events of its types alone."""


class TakePlan(NamedTuple):
    """
    What is taken of an event.

    Attributes:
        place: Of the take among those that it belongs to.
        test: The condition; None: there is none.
        valued: Whether a value is asked for; an event that lacks it is passed over.
        name: The field that holds the value; None: it is worked out.
        read: Works it out; None: it is a field.
        add: As `Taking.add`.
    """

    place: int
    test: Test | None
    valued: bool
    name: str | None
    read: Callable[[Fact, Kept], Any] | None
    add: Callable[[Any, int, Any], Any]


Takes: TypeAlias = Sequence[TakePlan]


class SpanPlan(NamedTuple):
    """
    What a span has to do with events of a type; what is None or empty has nothing to do with them.

    Attributes:
        inside: What is kept of what happens while it is open.
        before: What is remembered for spans that open later.
        asks_kept: Whether a condition asks for what is kept so far.
        goes_on: Whether they change an open span.
        comes_back: Whether they change one that has ended.
    """

    opens: Test | None
    touches: Test | None
    restarts: Test | None
    moves: Test | None
    reopens: Test | None
    splits: Sequence[tuple[str, Test]]
    closes: Sequence[tuple[str, Test]]
    inside: Takes
    before: Takes
    asks_kept: bool
    goes_on: bool
    comes_back: bool


class MemoryPlan(NamedTuple):
    """
    What takes that look back have in common, whatever is remembered.

    Attributes:
        itself: The places of those that the event which looks back counts for too.
        nothing: What each comes to when nothing is remembered for it, by name.
    """

    takes: Sequence[Take]
    itself: Sequence[int]
    nothing: Mapping[str, Any]


class LookbackPlan(NamedTuple):
    """What looking back has to do with events of a type: whether they look back, and what is remembered of them."""

    at: Test | None
    before: Takes


class StagesPlan(NamedTuple):
    """What stages have to do with events of a type: which of them they may mean, and what is kept of them."""

    stages: Sequence[tuple[int, Test]]
    inside: Takes


def test_of(matcher: Matcher | None, event_type: str) -> Test | None:
    """Return the condition of a matcher, None if it does not mean events of a type."""
    return matcher.test if matcher is not None and event_type in matcher.events else None


def tests_of(matchers: Iterable[tuple[str, Matcher]], event_type: str) -> Sequence[tuple[str, Test]]:
    """Return those of named matchers that may mean events of a type."""
    return tuple((name, matcher.test) for name, matcher in matchers if event_type in matcher.events)


def memory_of(takes: Sequence[Take]) -> MemoryPlan:
    """Sort out once what is the same of takes that look back whenever something does."""
    itself = [place for place, take in enumerate(takes) if take.itself]
    return MemoryPlan(takes, itself, {take.name: TAKING[take.take].result(None, 0) for take in takes})


def takes_of(takes: Iterable[tuple[int, Take]], event_type: str) -> Takes:
    """Return what takes, each with its place, have to do with events of a type."""
    return tuple(
        TakePlan(
            place,
            None if take.of.where is TRUE else take.of.test,
            take.value is not None,
            take.reads,
            take.read,
            TAKING[take.take].add,
        )
        for place, take in takes
        if event_type in take.of.events
    )


def taken_of(takes: Takes, fact: Fact) -> list[tuple[TakePlan, Any]]:
    """Return the takes to which an event means something, each with the value that it takes."""
    found: list[tuple[TakePlan, Any]] = []
    for take in takes:
        _, test, valued, name, read, _ = take
        if test is not None and not test(fact, NOTHING_KEPT):
            continue
        value = None
        if valued:
            value = fact.values.get(name) if name is not None else read and read(fact, NOTHING_KEPT)
            if value is None:
                continue
        found.append((take, value))
    return found


def taken_in(kept: list[Any], takes: Takes, fact: Fact) -> None:
    """Add to what is kept, by the places of takes, what they take of an event."""
    for take, value in taken_of(takes, fact):
        kept[take.place] = take.add(kept[take.place], fact.time, value)
