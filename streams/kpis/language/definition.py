"""What a KPI is: one frozen record, from which folding, merging, verifying and reading all take their orders."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from streams.events.types import PIPELINE_TYPES
from streams.kpis.arithmetic.intervals import Range, range_of
from streams.kpis.language.derivation import Derivation
from streams.kpis.language.expressions import Expression
from streams.kpis.language.tree import Param

Direction: TypeAlias = Literal["up", "down", "none"]
Class: TypeAlias = Literal["A", "B", "C", "D"]
Maturity: TypeAlias = Literal["immediate", "provisional", "matured"]
Method: TypeAlias = Literal["floor", "ztest", "ewma", "cusum", "seasonal", "burn_rate", "absence"]

LONGEST_DELAY_S: Final = 100 * 86_400
"""The longest an event can wait to be counted."""


@dataclass(frozen=True, slots=True)
class Delay:
    """
    When an event is counted, if not when it happened.

    Attributes:
        seconds: How much later; an event on which it is missing, negative or beyond `LONGEST_DELAY_S` is not counted.
        hourly: Whether it is counted in the first minute of an hour, the next one if it falls inside.
    """

    seconds: Expression
    hourly: bool = False


@dataclass(frozen=True, slots=True)
class Selector:
    """
    Which events, and what of them.

    Attributes:
        events: Their types.
        written: The same as the definition writes them: names and patterns.
        where: The condition they must meet.
        value: What is measured on each; an event on which it is missing is not counted. Of a ratio: for how many
            trials or hits it stands, if not for one.
        delay: When they are counted; None: when they happen.
    """

    events: tuple[str, ...]
    written: tuple[str, ...]
    where: Expression
    value: Expression | None = None
    delay: Delay | None = None

    def content(self) -> list[object]:
        """Return what determines its numbers, for a hash."""
        found: list[object] = [sorted(self.written), self.where.text, None if self.value is None else self.value.text]
        return found if self.delay is None else [*found, self.delay.seconds.text, self.delay.hourly]


@dataclass(frozen=True, slots=True)
class Gates:
    """How many answers a value needs before it is shown, coloured by its target, and alerted on."""

    show: int = 1
    colour: int = 10
    alert: int = 30


@dataclass(frozen=True, slots=True)
class Alert:
    """
    When its owner wants to hear of a KPI, unless a rule of the user's says otherwise.

    Attributes:
        method: How a change is distinguished from noise.
        target: What the value is held against, in the KPI's unit; on which side trouble lies, the direction says.
        window: The rolling window that is looked at.
        for_minutes: How long it must last.
        place: File and line of its definition.
    """

    method: Method
    target: float | None
    window: str
    for_minutes: int
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kpi:
    """
    One KPI.

    Attributes:
        question: What its readers want to know.
        formula: How it is computed, in words.
        source: Where the definition comes from.
        aggregator: Name of one of `aggregators.AGGREGATORS`, or `derived`.
        groupings: The label sets it is kept for, `()` being the whole; label names in alphabetical order.
        maturity: Whether later events may still change what an event counts for; `immediate` if not.
        scale: Steps per unit in which values are kept.
        range: Of a mean: least and greatest value of a single answer, where the unit does not tell.
        quantiles: Which quantiles are published, the headline first.
        of: What is counted or measured; of a ratio the trials, of a share the whole.
        hits: Of a ratio the successes, of a share the part; `nested` if among the events of `of`.
        alert: The alert it comes with, if any.
        derive: How it is made of other KPIs; then it has no events of its own.
        touchpoints: Of a KPI by touchpoint, those that have a series of their own; None: all.
        name_fa: Its name in Persian; empty: as in English.
        declared: Channels that are known to send its hits though none came yet; an empty name stands for all.
    """

    id: str
    name: str
    question: str
    unit: str
    direction: Direction
    class_: Class
    aggregator: str
    formula: str
    source: str
    owner: str
    groupings: tuple[tuple[str, ...], ...]
    of: Selector
    hits: Selector | None = None
    nested: bool = False
    min_n: Gates = Gates()
    maturity: Maturity = "immediate"
    scale: int = 1000
    range: Range | None = None
    quantiles: tuple[float, ...] = ()
    alert: Alert | None = None
    derive: Derivation | None = None
    params: Mapping[str, Param]
    touchpoints: frozenset[str] | None = None
    declared: frozenset[str] = frozenset()
    name_fa: str = ""

    @property
    def within(self) -> Range:
        """The range of single answers: an interval of their mean does not leave it."""
        return range_of(self.unit) if self.range is None else self.range

    @property
    def target(self) -> float | None:
        """What its owner aims at, in its unit: the one target that page, dashboards and documents judge it by."""
        return self.alert.target if self.alert else None

    @property
    def definition_id(self) -> str:
        """Name what the numbers mean: the id, and a hash that changes with whatever determines them."""
        selectors = [None if s is None else s.content() for s in (self.of, self.hits)]
        if self.derive is not None:
            selectors = [self.derive.content()]
        scale = self.scale if self.of.value or self.scale > 1 else None
        content: list[object] = [self.aggregator, scale, self.nested, selectors]
        if self.touchpoints is not None:
            content.append(sorted(self.touchpoints))
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        return f"{self.id}@{digest[:8]}"

    def with_touchpoints(self, known: frozenset[str] | None) -> "Kpi":
        """Return the KPI where of touchpoints, if it is kept by them, only these have a series of their own."""
        return replace(self, touchpoints=known) if any("touchpoint" in one for one in self.groupings) else self

    @property
    def delayed(self) -> bool:
        """Whether it counts anything later than it happens, or by the clock: its minutes may be ahead of time."""
        later = self.of.delay is not None or (self.hits is not None and self.hits.delay is not None)
        return later or self.of_pipeline

    @property
    def of_pipeline(self) -> bool:
        """Whether it is about records and not about customers: what is wrong with records, it tells."""
        return not PIPELINE_TYPES.isdisjoint(self.event_types)

    @property
    def event_types(self) -> frozenset[str]:
        """The event types it looks at."""
        return frozenset(self.of.events) | frozenset(self.hits.events if self.hits else ())
