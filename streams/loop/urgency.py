"""Which case comes first, and why: the parts of its priority, and an order that is the same for everybody."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from streams.loop.definition import UrgencyPart

T = TypeVar("T")

_HOUR_MS: Final = 3_600_000


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is known of a case when it is put in its place; times in milliseconds since 1970.

    Attributes:
        due: The next of its clocks that ends; None: none runs.
    """

    case_id: str
    tier: str | None = None
    segment: str | None = None
    priority: str = "normal"
    cause: str = ""
    severity: float | None = None
    churn_risk: float | None = None
    value: float | None = None
    reopened: int = 0
    missed: int = 0
    opened: int = 0
    due: int | None = None


class Scored(NamedTuple):
    """
    One part of the priority of a case.

    Attributes:
        known: Whether the case says anything; if not it adds nothing, which is not the same as a nought.
        text: How it came about.
    """

    name: str
    points: float
    known: bool
    text: str


class Urgency(NamedTuple):
    """The priority of a case: the sum of its parts."""

    score: float
    parts: tuple[Scored, ...]


KINDS_OF: Final[Mapping[str, Callable[[Standing, int], float | str | None]]] = {
    "tier": lambda case, _: case.tier,
    "segment": lambda case, _: case.segment,
    "priority": lambda case, _: case.priority,
    "cause": lambda case, _: case.cause,
    "severity": lambda case, _: case.severity,
    "churn_risk": lambda case, _: case.churn_risk,
    "value": lambda case, _: case.value,
    "reopened": lambda case, _: case.reopened,
    "missed": lambda case, _: case.missed,
    "age_h": lambda case, now: max(0, now - case.opened) / _HOUR_MS,
}
"""What a part of the priority may be of."""
NUMBERS: Final = KINDS_OF.keys() - {"tier", "segment", "priority", "cause"}


def urgency_of(parts: Iterable[UrgencyPart], case: Standing, now: int) -> Urgency:
    """Return the priority of a case at `now` (milliseconds since 1970), with its parts."""
    scored = tuple(_scored(part, KINDS_OF[part.of](case, now)) for part in parts)
    return Urgency(round(sum(one.points for one in scored), 6), scored)


def _scored(part: UrgencyPart, found: float | str | None) -> Scored:
    if found is None:
        return Scored(part.name, 0.0, known=False, text="not known")
    number = part.points.get(found, 0.0) if isinstance(found, str) else found
    counted = number if part.most is None else min(part.most, number)
    text = f"{part.weight:g} × {counted:.4g}" + (f" ({found})" if isinstance(found, str) else "")
    return Scored(part.name, round(part.weight * counted, 6), known=True, text=text)


def in_urgency(
    cases: Iterable[T], parts: Sequence[UrgencyPart], standing: Callable[[T], Standing], now: int
) -> list[tuple[T, Urgency]]:
    """Return cases with their priority, the most urgent first; ties by what is due first, then by id."""
    scored = [(case, standing(case)) for case in cases]
    ranked = [(case, one, urgency_of(parts, one, now)) for case, one in scored]
    ranked.sort(key=lambda entry: (-entry[2].score, *_tie(entry[1])))
    return [(case, urgency) for case, _, urgency in ranked]


def _tie(case: Standing) -> tuple[bool, int, list[tuple[bool, int, str]]]:
    return case.due is None, case.due or 0, natural(case.case_id)


def natural(text: str) -> list[tuple[bool, int, str]]:
    """Return what sorts names as people do: `k9` before `k10`."""
    parts = re.findall(r"\d+|\D+", text)
    return [(False, int(part), "") if part.isdecimal() else (True, 0, part) for part in parts]


def page_of(cases: Sequence[T], number: int, size: int) -> Sequence[T]:
    """Return one page, counted from 1."""
    return cases[(number - 1) * size : number * size]
