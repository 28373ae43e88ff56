"""The three kinds of relations: spans, looking back, stages."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from streams.kpis.language.fields import Kind
from streams.relations.clocks import WorkingClock
from streams.relations.definition import COMMON, NOTHING_KEPT, Matcher, Output, Relation, Take
from streams.relations.facts import Fact
from streams.relations.plans import (
    LookbackPlan,
    MemoryPlan,
    SpanPlan,
    StagesPlan,
    memory_of,
    takes_of,
    test_of,
    tests_of,
)
from streams.relations.takes import TAKING


@dataclass(frozen=True)
class Expiry:
    """
    The deadline of a span.

    Attributes:
        outcome: What is said when it ends by that; empty: it does not, the deadline is a target.
        after_ms: So long after its opening, or after the last activity where something touches it; 0: it has `at`.
        at: The field of the opening event that holds the deadline.
        moves: Events that carry a new deadline in the same field.
        reopens_ms: How long after it a closing may still come and take its place.
    """

    outcome: str = ""
    after_ms: int = 0
    at: str = ""
    moves: Matcher | None = None
    reopens_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class SpanRelation(Relation):
    """
    From an opening until one of several closings, or a deadline.

    Attributes:
        each: Whether each opening has a span of its own, though one is open; closings close all of them.
        touches: Activity: the waiting time begins anew.
        restarts: Events by which the clock starts again.
        splits: Events that end a span and open the next, by outcome.
        target: A deadline by which it should have ended, and does not end by.
        reopens: Events that take a closing back, so long after it at most.
        forgets_ms: How long a span without a deadline may stay open.
    """

    kind = "span"
    opens: Matcher
    closes: Mapping[str, Matcher]
    each: bool = False
    touches: Matcher | None = None
    restarts: Matcher | None = None
    splits: Mapping[str, Matcher] = field(default_factory=dict)
    expires: Expiry | None = None
    target: Expiry | None = None
    reopens: Matcher | None = None
    reopens_ms: int = 0
    clock: WorkingClock | None = None
    forgets_ms: int = 0

    @cached_property
    def deadline(self) -> Expiry | None:
        """What its deadline follows from."""
        return self.expires or self.target

    @cached_property
    def by_silence(self) -> bool:
        """Whether it ends when nothing touches it any more."""
        return self.touches is not None and self.expires is not None and self.expires.after_ms > 0

    @cached_property
    def remembers_ms(self) -> int:
        """How long an ended span may still come back."""
        return max(self.reopens_ms, self.expires.reopens_ms if self.expires else 0)

    def matchers(self) -> Iterator[tuple[str, Matcher]]:
        """Yield the keys of the definition that name events, but those of what is kept."""
        yield "opens", self.opens
        moves = self.deadline.moves if self.deadline else None
        for key, matcher in (("touches", self.touches), ("restarts", self.restarts), ("reopens", self.reopens)):
            if matcher:
                yield key, matcher
        if moves:
            yield "moves", moves
        for outcome, matcher in (*self.splits.items(), *self.closes.items()):
            yield outcome, matcher

    def fields(self) -> Iterator[tuple[str, str]]:
        """Yield all event types with the fields that it reads of them."""
        yield from super().fields()
        deadline = self.deadline
        if deadline and deadline.at:
            movers = deadline.moves.events if deadline.moves else frozenset()
            for name in self.opens.events | movers:
                yield name, deadline.at

    def origins(self) -> frozenset[str]:
        """Return the event types that open it."""
        return self.opens.events

    @cached_property
    def before(self) -> tuple[Take, ...]:
        """What is kept of the time before its opening."""
        return tuple(take for take in self.keeps if take.before_ms)

    @cached_property
    def memory(self) -> MemoryPlan:
        """What is remembered for spans that open later."""
        return memory_of(self.before)

    @cached_property
    def begins(self) -> frozenset[str]:
        """The event types that open it, and those that are remembered for what opens later."""
        return self.opens.events.union(*(take.of.events for take in self.before))

    @cached_property
    def results(self) -> tuple[tuple[str, Callable[[Any, int], Any] | None], ...]:
        """What is kept, and what makes a result of it; None: it is one since the opening."""
        return tuple((take.name, TAKING[take.take].result if take.is_inside else None) for take in self.keeps)

    @cached_property
    def plans(self) -> Mapping[str, SpanPlan]:
        """What it has to do with events, by their type."""
        return {name: self._plan(name) for name in self.events}

    def _plan(self, name: str) -> SpanPlan:
        moves = self.deadline.moves if self.deadline else None
        touches, restarts, moves_it = (test_of(one, name) for one in (self.touches, self.restarts, moves))
        splits, closes = tests_of(self.splits.items(), name), tests_of(self.closes.items(), name)
        inside = takes_of([(at, one) for at, one in enumerate(self.keeps) if one.is_inside], name)
        reopens = test_of(self.reopens, name)
        return SpanPlan(
            opens=test_of(self.opens, name),
            touches=touches,
            restarts=restarts,
            moves=moves_it,
            reopens=reopens,
            splits=splits,
            closes=closes,
            inside=inside,
            before=takes_of(enumerate(self.before), name),
            asks_kept=any(one.asks_kept for _, one in self.matchers() if name in one.events),
            goes_on=any((touches, restarts, moves_it, splits, closes, inside)),
            comes_back=bool(closes or reopens),
        )

    def rank(self, event_type: str) -> int:
        """Openings come first, closings last."""
        if event_type in self.opens.events:
            return 0
        return 2 if any(event_type in matcher.events for matcher in self.closes.values()) else 1

    def outcomes(self) -> tuple[str, ...]:
        """Return all that can be said of one."""
        expired = [self.expires.outcome] if self.expires else []
        return tuple(dict.fromkeys([*self.closes, *self.splits, *expired]))

    def outputs(self) -> tuple[Output, ...]:
        """Return the fields of its derived events."""
        clock = f", by the clock {self.clock.name}" if self.clock else ""
        until = "; until the last activity where it ended by silence" if self.touches else ""
        optional = [
            (self.touches, Output("last", Kind.TIME, "last activity")),
            (self.restarts, Output("started", Kind.TIME, "when its clock started")),
            (self.clock, Output("elapsed_s", Kind.NUMBER, "seconds from its start to its end, by no clock")),
            (self.reopens, Output("worked_s", Kind.NUMBER, "duration_s without the time it was held for closed")),
            (self.deadline, Output("due", Kind.TIME, "its deadline", optional=True)),
            (self.deadline, Output("left_s", Kind.NUMBER, "seconds left until then; below zero: late", optional=True)),
        ]
        return (
            *COMMON,
            Output("outcome", Kind.TEXT, "how it ended", values=self.outcomes()),
            Output("opened", Kind.TIME, "when it was opened"),
            Output("duration_s", Kind.NUMBER, f"seconds from its start to its end{clock}{until}"),
            *(output for wanted, output in optional if wanted),
            *self.kept_outputs(),
        )


@dataclass(frozen=True, kw_only=True)
class LookbackRelation(Relation):
    """When something happens, what had happened before."""

    kind = "lookback"
    at: Matcher

    def matchers(self) -> Iterator[tuple[str, Matcher]]:
        """Yield the keys of the definition that name events, but those of what is kept."""
        yield "at", self.at

    def origins(self) -> frozenset[str]:
        """Return the event types that look back."""
        return self.at.events

    @cached_property
    def memory(self) -> MemoryPlan:
        """What is remembered."""
        return memory_of(self.keeps)

    @property
    def begins(self) -> frozenset[str]:
        """All event types that it reads: they look back, or are remembered."""
        return self.events

    @cached_property
    def plans(self) -> Mapping[str, LookbackPlan]:
        """What it has to do with events, by their type."""
        return {one: LookbackPlan(test_of(self.at, one), takes_of(enumerate(self.keeps), one)) for one in self.events}

    def rank(self, event_type: str) -> int:
        """What looks back comes after all else of the moment."""
        return 2 if event_type in self.at.events else 1

    def outputs(self) -> tuple[Output, ...]:
        """Return the fields of its derived events."""
        return (*COMMON, *self.kept_outputs())


MOVED: Final = "moved"
"""The outcome of a movement from one stage to another."""


@dataclass(frozen=True, kw_only=True)
class StagesRelation(Relation):
    """
    Where somebody is, and how they move.

    Attributes:
        stages: The stages in order, each with the events that mean being there.
        completes: The stage that ends the journey well; empty: none does.
        expires: How it ends when nothing happens.
    """

    kind = "stages"
    stages: Mapping[str, Matcher]
    expires: Expiry
    completes: str = ""

    def matchers(self) -> Iterator[tuple[str, Matcher]]:
        """Yield the keys of the definition that name events."""
        yield from self.stages.items()

    def origins(self) -> frozenset[str]:
        """Return the event types that mean a stage."""
        return self.begins

    @cached_property
    def begins(self) -> frozenset[str]:
        """The event types that mean a stage."""
        return frozenset().union(*(matcher.events for matcher in self.stages.values()))

    @cached_property
    def plans(self) -> Mapping[str, StagesPlan]:
        """What it has to do with events, by their type."""
        return {name: self._plan(name) for name in self.events}

    def _plan(self, name: str) -> StagesPlan:
        stages = [(at, one.test) for at, one in enumerate(self.stages.values()) if name in one.events]
        return StagesPlan(stages, takes_of(enumerate(self.keeps), name))

    def rank(self, event_type: str) -> int:
        """Earlier stages come first within one moment."""
        return next((at for at, one in enumerate(self.stages.values()) if event_type in one.events), 0)

    def order(self, fact: Fact) -> tuple[int, int, str, str]:
        """Return the same, where a type may mean several stages."""
        stage = self.stage_of(fact)
        return fact.time, self.ranks[fact.type] if stage is None else stage, fact.source, fact.id

    def stage_of(self, fact: Fact) -> int | None:
        """Return the place of the stage that an event means; None: it means none."""
        plan = self.plans.get(fact.type)
        for at, test in plan.stages if plan else ():
            if test(fact, NOTHING_KEPT):
                return at
        return None

    def outputs(self) -> tuple[Output, ...]:
        """Return the fields of its derived events."""
        names = tuple(self.stages)
        ends = ("completed",) if self.completes else ()
        return (
            *COMMON,
            Output("outcome", Kind.TEXT, "a movement, or the end", values=(MOVED, *ends, self.expires.outcome)),
            Output("from_stage", Kind.TEXT, "where it was", values=names),
            Output("to_stage", Kind.TEXT, "where it went; missing at the end", values=names, optional=True),
            Output("stayed_s", Kind.NUMBER, "seconds it was there"),
            Output("skipped", Kind.NUMBER, "stages between that it has never been in"),
            Output("backward", Kind.BOOL, "whether it went back"),
            Output("first", Kind.BOOL, "whether it is there for the first time"),
            Output("opened", Kind.TIME, "when the journey began"),
            Output("highest", Kind.TEXT, "the furthest stage so far", values=names),
            *self.kept_outputs(),
        )
