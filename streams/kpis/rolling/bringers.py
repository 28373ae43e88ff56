"""Who brought the series of a merge partition, and what of its memory they take and may take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

from streams.kpis.folding.fold import SPARED


class Bringer(NamedTuple):
    """Who brought a series first; empty: not known. Without a sender it stands for all of a channel."""

    channel: str
    sender: str = ""


NOBODY: Final = Bringer("")


class Bringers:
    """
    Channels and their senders.

    Channels have a share of the budget each, senders of a channel a share of that. Who is alone may take more, all but
    what is spared for others.
    """

    def __init__(self, budget: int, share: float, sender_share: float) -> None:
        """
        Know nobody yet.

        Args:
            budget: Bytes for all series.
            share: Part of it for series brought by one channel where there are others.
            sender_share: Part of that for each sender where there are others.
        """
        self._budget = budget
        self._share = share
        self._sender_share = sender_share
        self._known: dict[tuple[str, str], Bringer] = {}
        self._taken: Counter[Bringer] = Counter()
        self._channels: set[str] = set()
        self._debtors: dict[str, list[Bringer]] = {}
        self._alone: dict[str, str] = {}
        """The only sender of each channel; empty: there are more of them."""

    def of(self, channel: str, sender: str = "") -> Bringer:
        """Return the one object that stands for who brings a series, however many they bring."""
        known = self._known.get((channel, sender))
        if known is None:
            known = self._known[channel, sender] = Bringer(channel, sender)
        return known

    def note(self, by: Bringer) -> None:
        """Take note of who brings or would bring series."""
        if by.channel:
            self._channels.add(by.channel)
        if by.sender and self._alone.setdefault(by.channel, by.sender) != by.sender:
            self._alone[by.channel] = ""

    def take(self, by: Bringer, cost: int) -> None:
        """Add the bytes of a series that somebody brought; below zero: it is gone."""
        self._taken[self.of(by.channel)] += cost
        if by.sender:
            self._taken[by] += cost

    def begin_anew(self, waiting: Iterable[Bringer]) -> None:
        """Forget what is taken, and all but those who brought what has room, or what is waiting for it."""
        here = [by for by, taken in self._taken.items() if taken]
        self._taken.clear()
        self._channels.clear()
        self._alone.clear()
        self._debtors.clear()
        for by in (*here, *waiting):
            self.note(by)

    def over(self, by: Bringer, cost: int) -> Bringer | None:
        """Return who would take more than allowed by so many bytes more: the sender, its channel, or None."""
        channel = self.of(by.channel)
        for one in (by, channel) if by.sender else (channel,):
            if self._taken[one] + cost > self._allowed(one):
                return one
        return None

    def debtor(self, by: Bringer, over: Bringer | None) -> Bringer | None:
        """
        Return who takes more than its share of what somebody lacks: another channel, or sender of the same channel.

        `over` is what `over` says. Of those that did so when this was asked first since all began anew: nobody comes to
        it by what is admitted.
        """
        scope = by.channel if over else ""
        debtors = self._debtors.get(scope)
        if debtors is None:
            rivals = [
                one for one in self._taken if (one.sender and one.channel == scope) or (not one.sender and not scope)
            ]
            debtors = self._debtors[scope] = [one for one in rivals if self._owes(one)]
        return next((one for one in debtors if one not in (by, self.of(by.channel)) and self._owes(one)), None)

    def _owes(self, by: Bringer) -> bool:
        return bool(by.channel) and self._taken[by] > self._allowed(by)

    def _allowed(self, by: Bringer) -> float:
        alone = len(self._channels) == 1 and by.channel in self._channels
        room = self._budget * (max(self._share, 1 - SPARED / 2) if alone else self._share)
        if not by.sender:
            return room
        alone = self._alone.get(by.channel) == by.sender
        return room * (max(self._sender_share, 1 - SPARED) if alone else self._sender_share)
