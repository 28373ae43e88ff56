"""What is remembered of series that gave way, and for whom they did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from streams.kpis.rolling.bringers import NOBODY, Bringer, Bringers


class Departed:
    """
    Series without room, by key; no more of them than fit half of the memory.

    Their numbers are never used again, so what is remembered only grows, unless they come back. Whoever brings ever
    new series has no more of it than a share: then others give way for it no longer, but still for anybody else.
    """

    def __init__(self, budget: int, share: float, sender_share: float) -> None:
        """
        Remember nothing yet.

        Args:
            budget: Bytes for all series.
            share: Part of half of it for series that gave way to those of one channel, where there are others.
            sender_share: Part of that for each sender where there are others.
        """
        self.numbers: dict[str, int] = {}
        """By key."""
        self.bytes = 0
        """What remembering them takes."""
        self._room = budget / 2
        self._bringers = Bringers(budget // 2, share, sender_share)
        self._given: Counter[Bringer] = Counter()

    @property
    def is_within(self) -> bool:
        """Whether they take no more than there is for them."""
        return self.bytes <= self._room

    def note(self, by: Bringer) -> None:
        """Take note of who brings or would bring series."""
        self._bringers.note(by)

    def may_add(self, by: Bringer, cost: int) -> bool:
        """Return whether a series may give way for one that somebody brings, at a cost in bytes."""
        return self.bytes + cost <= self._room and self._bringers.over(by, cost) is None

    def add(self, key: str, number: int, cost: int, by: Bringer = NOBODY) -> None:
        """Remember a series that gave way for somebody; nobody: for want of memory."""
        self.numbers[key] = number
        self.bytes += cost
        self._charge(by, cost)

    def take_back(self, key: str, cost: int, by: Bringer) -> int:
        """Forget that a series gave way, which somebody has brought again; return its number."""
        self.bytes -= cost
        self._charge(by, -min(cost, self._given[by]))
        return self.numbers.pop(key)

    def saved(self) -> dict[str, dict[str, int]]:
        """Return what is remembered for whom: bytes by channel and sender."""
        found: dict[str, dict[str, int]] = {}
        for by, cost in self._given.items():
            if cost:
                found.setdefault(by.channel, {})[by.sender] = cost
        return found

    def restore(self, saved: Mapping[str, Mapping[str, int]]) -> None:
        """Take over what was saved."""
        for channel, senders in saved.items():
            for sender, cost in senders.items():
                self._charge(self._bringers.of(channel, sender), cost)

    def _charge(self, by: Bringer, cost: int) -> None:
        if by.channel and cost:
            self._given[by] += cost
            self._bringers.take(by, cost)
