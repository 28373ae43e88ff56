"""What is remembered of series that gave way, and for whom they did."""

from __future__ import annotations

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
        self._for: dict[int, Bringer] = {}
        """For whom, by number; those that gave way for want of memory are left out."""

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
        if by.channel:
            self._for[number] = by
            self._bringers.take(by, cost)

    def take_back(self, key: str, cost: int) -> int:
        """Forget that a series gave way, which has room again; return its number."""
        number = self.numbers.pop(key)
        self.bytes -= cost
        if (by := self._for.pop(number, None)) is not None:
            self._bringers.take(by, -cost)
        return number

    def saved(self) -> dict[str, dict[str, list[int]]]:
        """Return numbers by the channel and the sender for whom they gave way."""
        found: dict[str, dict[str, list[int]]] = {}
        for number, by in self._for.items():
            found.setdefault(by.channel, {}).setdefault(by.sender, []).append(number)
        return found

    def known(self, saved: Mapping[str, Mapping[str, list[int]]]) -> dict[int, Bringer]:
        """Return what was saved, by number."""
        return {
            number: self._bringers.of(channel, sender)
            for channel, senders in saved.items()
            for sender, numbers in senders.items()
            for number in numbers
        }
