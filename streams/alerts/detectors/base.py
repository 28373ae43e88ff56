"""
What every detection method is: its parameters, as rules write them below `params:`, and how it judges a series.

Values that stand for the KPI (targets, normal values, margins) are in the KPI's own unit, e.g. 85 for 85 %. On which
side trouble lies, the KPI's direction says; a KPI without one is watched on both sides by the methods that can.
Windows are the names of kept windows (`1h`). A *baseline* window ends with the same minute as the rule's window and
leaves it out: it is the longer window minus the shorter, so the two never overlap.

The descriptions of parameters are what `docs/RULES.md` says of each key.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta

from streams.alerts.facts import Facts, OpenReading, SeriesReading, length_of
from streams.alerts.types import Verdict
from streams.kpis.aggregators import ADDITIVE, measure
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.arithmetic.intervals import NOTHING, PER_100, Z95, Measure
from streams.kpis.language.definition import Kpi

BOUNDS: Final = {"percent": (0.0, 100.0), "fraction": (0.0, 1.0), "points": (-100.0, 100.0), PER_100: (0.0, math.inf)}
"""Values that a unit can have."""

Problem: TypeAlias = tuple[str, str]
"""The key it is about, and what is wrong."""

Window: TypeAlias = Annotated[str, Meta(pattern="^[1-9][0-9]{0,3}[mhd]$")]
Positive: TypeAlias = Annotated[float, Meta(gt=0, le=1e9)]
Z: TypeAlias = Annotated[float, Meta(gt=0, le=38)]

WINDOW_KEYS: Final = ("baseline", "long", "short")
"""Keys that name a kept window."""

_DISTANCES: Final = ("delta", "min_change", "margin", "min_effect")


class ParamError(ValueError):
    """
    A parameter that cannot be right.

    Attributes:
        key: The key it stands under.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class Season(NamedTuple):
    """From what history the values are learnt that a time of the week usually has."""

    weeks: int = 6
    min_weeks: int = 3
    """Weeks an hour must have been seen in."""
    calendar: str = ""
    """Calendar whose zone, weekend and holidays tell hours of the week apart; empty: UTC."""


class Detector(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    A method of detection with its parameters, of one rule.

    A subclass is found by being in a module of this package, which is named after its `method`.

    Raises:
        ParamError: A value is of the wrong kind or out of range, or two of them do not go together.
    """

    method: ClassVar[str] = ""
    """The name, as rules write it."""
    aggregators: ClassVar[tuple[str, ...]] = ()
    """Kinds of KPI that the method can judge."""
    sided: ClassVar[bool] = True
    """Whether the method needs a KPI with a better and a worse side."""
    memory: ClassVar[Any] = None
    """Class of what it remembers of a series, a record that comes back the same from msgpack; None: nothing."""
    memory_bytes: ClassVar[int] = 0
    """Bytes that it remembers of a series beyond what most methods do."""
    by_minutes: ClassVar[bool] = False
    """Whether each minute is evidence of its own: of one with untrusted sources it must not hear."""
    sees_silence: ClassVar[bool] = False
    """Whether a series without any data is judged as well: silence may be just what it looks for."""
    lengthens: ClassVar[bool] = False
    """Whether a longer window says the same, only later: then one that holds too little can be lengthened."""
    is_absence: ClassVar[bool] = False
    """Whether its alerts say that nothing comes: they go first, nothing inhibits them, and no `min_n` gates them."""
    summary: ClassVar[str] = "{% if baseline is not none %}, usually {{ baseline | show }}{% endif %}"
    """What the summary of an alert ends with, unless its rule says otherwise."""
    summary_fa: ClassVar[str] = "{% if baseline is not none %}، معمولاً {{ baseline | show }}{% endif %}"
    """The same in Persian."""

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            try:
                msgspec.convert(value, field.type)
            except msgspec.ValidationError as error:
                raise ParamError(field.encode_name, f"{field.encode_name} = {value!r}: {error}") from None
        self.check()

    def check(self) -> None:
        """
        Check what several values have to agree on.

        Raises:
            ParamError: They do not.
        """

    def judge(self, facts: Facts, window: str, reading: SeriesReading, memory: Any) -> tuple[Verdict, Any]:
        """
        Judge one series as of a closed minute; return the verdict, and what to remember.

        Args:
            facts: Of the rule's KPI.
            window: The rule's window, by name.
            reading: The series.
            memory: What the last call returned; None at the beginning.

        Raises:
            KeyError: A window is not kept.
        """
        raise TypeError(f"{type(self).__name__} does not judge")

    @property
    def glances(self) -> bool:
        """Whether it looks for what cannot wait until a minute has closed."""
        return False

    def glance(self, facts: Facts, reading: OpenReading, memory: Any) -> tuple[Verdict, Any] | None:
        """
        Judge what has come since a closed minute; return the verdict, and what to remember, if that cannot wait.

        Args:
            facts: Of the rule's KPI.
            reading: The series.
            memory: What `judge` returned of the closed minute.
        """
        raise TypeError(f"{type(self).__name__} does not look ahead")

    @property
    def memory_key(self) -> str:
        """What its memory depends on, in words."""
        return repr(self)

    def windows(self, window: str) -> frozenset[str]:
        """Return the names of the kept windows that it reads for a rule with this window."""
        named = (getattr(self, key, None) for key in WINDOW_KEYS)
        return frozenset([window, *(name for name in named if name)])

    def season(self) -> Season | None:
        """Return what must be learnt of the hours of the week; None: nothing."""
        return None

    def restore(self, plain: Any) -> Any:
        """
        Return a memory from what it was decoded to: lists and numbers.

        Raises:
            msgspec.ValidationError: It is the memory of another method.
        """
        if plain is None or self.memory is None:
            return None
        return plain if isinstance(plain, self.memory) else msgspec.convert(plain, self.memory)

    def without_evidence(self, memory: Any) -> Any:
        """Return a memory that holds nothing against its series; what is normal stays known."""
        return memory

    def compared_with(self, verdict: Verdict, reading: SeriesReading) -> tuple[int, str] | None:
        """Return how many answers a verdict's value was compared with, and which; None: with none that may be few."""
        return None if verdict.baseline is None else (verdict.baseline_n, "to compare with")

    @classmethod
    def default_min_n(cls, kpi: Kpi) -> int:
        """Return how much a window must hold; of counts and sums few is the finding."""
        return 0 if cls.is_absence or kpi.aggregator in ADDITIVE else kpi.min_n.alert

    def misfits(self, kpi: Kpi, by: tuple[str, ...], window: str) -> Iterable[Problem]:
        """List what of the parameters does not go with the KPI and the rest of the rule."""
        if kpi.aggregator not in self.aggregators:
            if kpi.derive is not None:
                parts = ", ".join(part.kpi for part in kpi.derive.parts)
                yield "kpi", f"no method judges {kpi.id}, which is computed from other KPIs; judge those: {parts}"
                return
            yield "method", f"it judges {', '.join(self.aggregators)}; {kpi.id} is a {kpi.aggregator}"
            return
        if self.sided and kpi.direction == "none":
            yield "method", f"it needs a better and a worse side, and {kpi.id} has none ('direction: none')"
            return
        baseline = getattr(self, "baseline", None)
        if baseline is not None and length_of(baseline) <= length_of(window):
            yield (
                "baseline",
                f"baseline {baseline} must be longer than the window {window}: what is judged is left out of it",
            )
        yield from self.own_misfits(kpi, by)
        low, high = bounds_of(kpi)
        for key in _DISTANCES:
            distance = getattr(self, key, None)
            if distance is not None and distance >= high - low:
                yield key, f"{key} {distance:g} can never be exceeded: values lie from {low:g} to {high:g} {kpi.unit}"

    def own_misfits(self, kpi: Kpi, by: tuple[str, ...]) -> Iterable[Problem]:
        """List what only this method can say; the KPI is of a kind that it judges."""
        return ()

    def page_misfits(self) -> Iterable[Problem]:
        """List what of the parameters is too little to wake somebody."""
        return ()


def bounds_of(kpi: Kpi) -> tuple[float, float]:
    """Return the smallest and the largest value that a KPI can have."""
    return BOUNDS.get(kpi.unit, (-math.inf, math.inf))


def measured(facts: Facts, acc: Acc | None, z: float = Z95) -> Measure:
    """Return the value of a sum with its interval."""
    if acc is None:
        return NOTHING
    return measure(facts.aggregator, acc, facts.scale, unit=facts.unit, q=facts.q, z=z, within=facts.within)
