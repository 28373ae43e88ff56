"""What a relation keeps of events, in the vocabulary of sequences: first, last, count, sum, and so on."""

from collections.abc import Iterable
from math import floor
from typing import Any, Final, Literal, Protocol, TypeAlias, get_args

from streams.events.text import normalise
from streams.kpis.language.fields import Kind

TakeName: TypeAlias = Literal[
    "first", "last", "count", "sum", "min", "max", "distinct", "changes", "since_first", "since_last"
]
TAKES: Final = get_args(TakeName)
VALUELESS: Final = frozenset({"count", "since_first", "since_last"})
"""Takes that ask for no value."""
_SCALE: Final = 1000
"""Sums are of whole thousandths, so that they are exact in any order."""
_MOST_DISTINCT: Final = 100
"""Different values that are counted; more count as so many."""


class Taking(Protocol):
    """
    How something is kept: plain values that can be packed, made from one event after the other.

    Attributes:
        numbers: Whether values must be numbers.
    """

    numbers: bool

    def add(self, kept: Any, time: int, value: Any) -> Any:
        """Return what is kept with one more event; None is kept before the first."""
        ...

    def result(self, kept: Any, now: int) -> Any:
        """Return what it comes to at a moment; None: nothing."""
        ...

    def kind(self, value: Kind) -> Kind:
        """Return the kind of what it comes to, by that of the values."""
        ...


class _Chosen:
    """One of the values."""

    numbers = False

    def result(self, kept: Any, now: int) -> Any:  # noqa: ARG002
        return kept

    def kind(self, value: Kind) -> Kind:
        return value


class _First(_Chosen):
    def add(self, kept: Any, time: int, value: Any) -> Any:  # noqa: ARG002
        return value if kept is None else kept


class _Last(_Chosen):
    def add(self, kept: Any, time: int, value: Any) -> Any:  # noqa: ARG002
        return value


class _Extreme(_Chosen):
    numbers = True

    def __init__(self, best: Any) -> None:
        self._best = best

    def add(self, kept: Any, time: int, value: Any) -> Any:  # noqa: ARG002
        return value if kept is None else self._best(kept, value)


class _Number:
    """A number that is there from the beginning."""

    numbers = False

    def result(self, kept: Any, now: int) -> Any:  # noqa: ARG002
        return kept or 0

    def kind(self, value: Kind) -> Kind:  # noqa: ARG002
        return Kind.NUMBER


class _Count(_Number):
    def add(self, kept: Any, time: int, value: Any) -> Any:  # noqa: ARG002
        return (kept or 0) + 1


class _Sum(_Number):
    numbers = True

    def add(self, kept: Any, time: int, value: Any) -> Any:  # noqa: ARG002
        return (kept or 0) + floor(value * _SCALE + 0.5)

    def result(self, kept: Any, now: int) -> Any:  # noqa: ARG002
        whole, rest = divmod(kept or 0, _SCALE)
        return whole if not rest else (kept or 0) / _SCALE


def _compared(value: Any) -> Any:
    return normalise(value) if isinstance(value, str) else value


class _Distinct(_Number):
    def add(self, kept: Any, time: int, value: Any) -> Any:  # noqa: ARG002
        kept, value = kept or [], _compared(value)
        return kept if value in kept or len(kept) == _MOST_DISTINCT else [*kept, value]

    def result(self, kept: Any, now: int) -> Any:  # noqa: ARG002
        return len(kept or ())


class _Changes(_Number):
    """How often the value was another one than before: channels app, web, app are two changes."""

    def add(self, kept: Any, time: int, value: Any) -> Any:  # noqa: ARG002
        value = _compared(value)
        return [value, 0] if kept is None else [value, kept[1] + (value != kept[0])]

    def result(self, kept: Any, now: int) -> Any:  # noqa: ARG002
        return kept[1] if kept else 0


class _Since:
    """Seconds since one of the events."""

    numbers = False

    def __init__(self, *, first: bool) -> None:
        self._first = first

    def add(self, kept: Any, time: int, value: Any) -> Any:  # noqa: ARG002
        return kept if self._first and kept is not None else time

    def result(self, kept: Any, now: int) -> Any:
        return None if kept is None else seconds(now - kept)

    def kind(self, value: Kind) -> Kind:  # noqa: ARG002
        return Kind.NUMBER


TAKING: Final[dict[TakeName, Taking]] = {
    "first": _First(),
    "last": _Last(),
    "count": _Count(),
    "sum": _Sum(),
    "min": _Extreme(min),
    "max": _Extreme(max),
    "distinct": _Distinct(),
    "changes": _Changes(),
    "since_first": _Since(first=True),
    "since_last": _Since(first=False),
}


def seconds(length: int) -> int | float:
    """Return milliseconds as seconds, whole where they are."""
    return length // 1000 if length % 1000 == 0 else length / 1000


def taken(take: TakeName, entries: Iterable[tuple[int, Any]], now: int) -> Any:
    """Return what a take comes to on events with their times and values, in order."""
    return TAKING[take].result(added(take, entries), now)


def added(take: TakeName, entries: Iterable[tuple[int, Any]]) -> Any:
    """Return what a take keeps of events with their times and values, in order."""
    taking, kept = TAKING[take], None
    for time, value in entries:
        kept = taking.add(kept, time, value)
    return kept
