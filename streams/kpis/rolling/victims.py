"""Which series give way for others, those first in which least was counted for each byte they take."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Mapping
from typing import Final, NamedTuple, TypeAlias

from streams.kpis.rolling.bringers import Bringer

_BETTER: Final = 2  # times the weight of whoever gives way, so that equals do not change places for ever

Group: TypeAlias = tuple[str, tuple[str, ...]]
"""KPI id and names of labels."""


class Weighed(NamedTuple):
    """What a series costs in bytes, and how much was counted in it lately."""

    cost: int
    weight: float

    @property
    def density(self) -> float:
        """How much was counted for each byte."""
        return self.weight / self.cost


class Wanted(NamedTuple):
    """A series that would have room: of which grouping, who brings it, and what it is expected to cost and weigh."""

    group: Group
    by: Bringer
    weighed: Weighed

    def is_better_than(self, other: Weighed) -> bool:
        """Tell whether another is to give way for it: who has just come is expected to take no less than the other."""
        cost = max(self.weighed.cost, other.cost)
        return other.density * _BETTER < self.weighed.weight / cost


class Victims:
    """Series that may give way."""

    def __init__(
        self,
        weighed: Mapping[int, Weighed],
        left: Container[int],
        group_of: Callable[[int], Group],
        brought_by: Callable[[int], Bringer],
    ) -> None:
        """
        Look at all that may give way.

        Args:
            weighed: What they cost and weigh, by number.
            left: Those that gave way; grows.
            group_of: Returns the grouping of a series.
            brought_by: Returns who brought a series.
        """
        self.weighed = weighed
        self._left = left
        self._group_of = group_of
        self._brought_by = brought_by
        self._order: list[int] | None = None
        self._scopes: dict[tuple[Group | None, Bringer | None], deque[int]] = {}

    def lightest(self, group: Group | None = None, by: Bringer | None = None) -> int | None:
        """Return the next to give way: of a grouping, of what somebody brought (None: of any); None if none is left."""
        scope = group, by
        if scope not in self._scopes:
            if self._order is None:
                self._order = sorted(self.weighed, key=lambda n: (self.weighed[n].density, n))
            order = self._order
            if by is not None:
                brought = ((n, self._brought_by(n)) for n in order)
                order = [n for n, of in brought if by in {of, Bringer(of.channel)}]
            if group is not None:
                order = [n for n in order if self._group_of(n) == group]
            self._scopes[scope] = deque(order)
        waiting = self._scopes[scope]
        while waiting and waiting[0] in self._left:
            waiting.popleft()
        return waiting[0] if waiting else None

    def bytes_of_lighter(self, wanted: Wanted) -> int:
        """Return what all those take that would give way for a series."""
        return sum(one.cost for n, one in self.weighed.items() if n not in self._left and wanted.is_better_than(one))
