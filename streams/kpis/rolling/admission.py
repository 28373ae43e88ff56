"""
Which series exist, under which number, and who gives way when the memory for them is full.

A series costs memory in every window it is in. Each merge partition has a budget of it, of which series that one
channel brought may take a share only, and each grouping of a KPI a number of series. Whatever has no room is counted
under `OTHER`, and remembered as a candidate by how much it was: between two batches the heaviest candidates take the
places of series that weigh less than half as much. So the largest are kept, not those that came first.

Channels have a share of the budget, and their senders a share of that. Who is alone may take more, all but what is
spared for others; once there are others, series beyond the share give way to theirs, whatever they weigh.

Series without labels never give way, and neither does what is remembered of those that did. Whatever that takes, the
heaviest series with labels keep a part of the budget: to lose them all would not bring the rest below it.

Numbers are given in the order of arrival and never taken back, so pages can name series by number. What was decided in
a batch is saved before the pages of the batch: who applies it again after a crash finds every key where it was then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from heapq import nlargest
from typing import Final, NamedTuple

import msgspec

from streams.kpis.arithmetic.accumulators import Acc, count_of
from streams.kpis.language.series import OTHER, parse_series, rest_key
from streams.kpis.rolling.bringers import NOBODY, Bringer, Bringers
from streams.kpis.rolling.departed import Departed
from streams.kpis.rolling.victims import Group, Victims, Wanted, Weighed

SHARD_BITS: Final = 10
SHARD_SERIES: Final = 1 << SHARD_BITS
"""Series of one shard: neighbours in number share pages and records."""

SERIES_BYTES: Final = 300
"""Memory of a series besides what windows hold of it: its name, its number, its place in pages and indexes."""

NEW_BYTES: Final = 2_000
"""Memory of a series that has just come, in all windows; measured by tests/unit/test_admission_memory.py."""

LEFT_BYTES: Final = 500
"""Memory of what is remembered of a series that gave way."""

BUDGET_BYTES: Final = 1 << 26
"""Memory for the series of a merge partition, by default."""

CANDIDATES: Final = 1_024
"""Keys without room that are remembered from one batch to the next; four times as many within one."""

_KEPT = 0.25  # of the budget, for series that may give way
_EASING = 0.999  # a minute: half of it in twelve hours
_FADING = 0.75
_FAINT = 0.25


class SeriesLimits(NamedTuple):
    """How much there is room for in one merge partition."""

    cap: Callable[[str], int]
    """Series of each grouping of a KPI, by KPI id; those of the rest and the whole not counted."""
    budget: int = BUDGET_BYTES
    """Bytes for all series."""
    share: float = 1.0
    """Share of the budget that series brought by one channel may take where there are others."""
    sender_share: float = 1.0
    """Part of that share that series brought by one sender may take where there are others."""
    beside: Callable[[Group], int] = lambda _group: 0
    """Bytes that others remember of each series of a grouping, for as long as it is known: those who judge alerts."""


class Admitted(msgspec.Struct, array_like=True):
    """What was decided up to an offset, as it is saved; series beyond the `series` first ones are not valid."""

    decided: int = -1
    series: int = 0
    channels: dict[str, list[int]] = {}
    """Numbers by the channel that brought the series."""
    left: list[int] = []
    """Series that gave way."""
    leaving: list[int] = []
    """Those of them of which it was not published yet that nothing is held."""
    returning: list[int] = []
    """Series that came back, and were not published since."""
    senders: dict[str, list[int]] = {}
    """Numbers by the sender who brought the series."""
    departed: dict[str, dict[str, list[int]]] = {}
    """Numbers by the channel and the sender for whom they gave way."""


class Changes(NamedTuple):
    """Who gives way and who comes back, by number."""

    leaving: list[int]
    returning: list[int]


class Registry:
    """Numbers of series, within limits."""

    def __init__(self, limits: SeriesLimits, lasting: Container[str] = frozenset()) -> None:
        """`lasting` are the ids of KPIs whose accumulators last."""
        self.numbers: dict[str, int] = {}
        """Of the series that have room."""
        self.names: list[str] = []
        """Of all that ever had."""
        self.left: set[int] = set()
        self.lasting: set[int] = set()
        """Numbers of series whose accumulators last."""
        self.refused: Counter[str] = Counter()
        """Contributions counted under `OTHER` since they were last taken, by KPI id."""
        self.used = 0
        """Bytes that series take, as estimated."""
        self.decided = -1
        """Until this offset everything was decided before: nobody is admitted."""
        self._limits = limits
        self._lasting_kpis = lasting
        self._beside: dict[int, int] = {}
        self._bound: set[int] = set()
        self._bound_bytes = 0
        self._heavy: dict[int, float] = {}
        """What series took when they gave way, if that was more than new ones do; windows let go of it by and by."""
        self._departed = Departed(limits.budget, limits.share, limits.sender_share)
        self._sizes: Counter[Group] = Counter()
        self._brought_by: dict[int, Bringer] = {}
        self._bringers = Bringers(limits.budget, limits.share, limits.sender_share)
        self._candidates: dict[str, tuple[float, Bringer]] = {}
        self._grown: set[int] = set()
        self._changed = False

    @property
    def capacity(self) -> int:
        """Bytes there are."""
        return self._limits.budget

    @property
    def reserved(self) -> int:
        """Bytes that series take and that those need which gave way."""
        return self.used + self._departed.bytes

    def admit(
        self, key: str, acc: Acc | None = None, channel: str = "", offset: int | None = None, sender: str = ""
    ) -> int:
        """Return the number of a series for a contribution; without room that of the series with all labels `OTHER`."""
        number = self.numbers.get(key)
        if number is not None:
            return number
        group = self.group_of(key)
        if not group[1] or (OTHER in key and key == rest_key(*group)):
            return self._append(key, NOBODY, group)
        again = offset is not None and offset <= self.decided
        weight, by = self._candidates.get(key) or (0.0, self._bringers.of(channel, sender))
        self._bringers.note(by)
        self._departed.note(by)
        known = again or key in self._departed.numbers
        if not known and self._has_room(group, by, self._new_cost(group)):
            return self._append(key, by, group)
        rest = rest_key(*group)
        self.refused[group[0]] += 1
        self._changed = True
        self._candidates[key] = weight + (count_of(acc) if acc else 1), by
        if len(self._candidates) > 4 * CANDIDATES:
            self._keep_heaviest()
        number = self.numbers.get(rest)
        return self._append(rest, NOBODY, group) if number is None else number

    def take_refused(self) -> Counter[str]:
        """Return what was counted under `OTHER` since the last call, by KPI id."""
        refused, self.refused = self.refused, Counter()
        return refused

    def rebalance(self, weighed: Mapping[int, Weighed], windows: int) -> Changes:
        """
        Have the heaviest candidates take the places of light series, and make room if there is too little.

        Args:
            weighed: All series that hold anything.
            windows: In how many windows what was counted is part of a weight.
        """
        self.used = self._bound_bytes = 0
        self._heavy = {number: cost * _EASING for number, cost in self._heavy.items() if cost * _EASING > NEW_BYTES}
        self._bringers.begin_anew(by for _, by in self._candidates.values())
        costs = {number: self._cost(number, weighed) for number in self.numbers.values()}
        for number, cost in costs.items():
            self._add_cost(number, cost)
        victims = self._victims(costs, weighed)
        leaving: list[int] = []
        returning: list[int] = []
        while self.reserved > self._limits.budget and not self._is_spared(0):
            victim = victims.lightest()
            if victim is None:
                break
            self._leave(victim, victims.weighed[victim].cost)
            leaving.append(victim)
        heaviest = nlargest(CANDIDATES, self._candidates.items(), key=lambda item: (item[1][0], item[0]))
        for key, (count, by) in heaviest:
            wanted = self._wanted(key, by, count * windows)
            if wanted.weighed.cost > self._new_cost(wanted.group) and not self._could_fit(wanted, victims):
                continue  # those who gave way would do so in vain
            if not self._evict_for(wanted, victims, leaving):
                continue
            if key in self._departed.numbers:
                returning.append(self._return(key))
            else:
                self._append(key, by, wanted.group)
        self._candidates = {
            key: (weight * _FADING, by) for key, (weight, by) in self._candidates.items() if weight * _FADING >= _FAINT
        }
        self._keep_heaviest()
        self._changed = self._changed or bool(leaving or returning)
        return Changes(leaving, returning)

    def grown(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the shards that got new series since the last call, in order, with all their series."""
        for shard in sorted(self._grown):
            yield shard, self.names[shard << SHARD_BITS : (shard + 1) << SHARD_BITS]
        self._changed = self._changed or bool(self._grown)
        self._grown.clear()

    def decide(self, offset: int, unpublished: Changes) -> Admitted | None:
        """Return what makes the decisions since the last call valid, up to an offset; None if there were none."""
        if not self._changed:
            return None
        self._changed = False
        self.decided = max(self.decided, offset)
        channels: dict[str, list[int]] = {}
        senders: dict[str, list[int]] = {}
        for number, by in self._brought_by.items():
            channels.setdefault(by.channel, []).append(number)
            if by.sender:
                senders.setdefault(by.sender, []).append(number)
        return Admitted(
            self.decided, len(self.names), channels, sorted(self.left), *unpublished, senders, self._departed.saved()
        )

    def restore(self, shards: dict[int, list[str]], admitted: Admitted | None = None) -> None:
        """
        Take over saved shards, and what was decided of their series; None: all have room.

        Raises ValueError when a shard is missing in between: the numbers of all later ones would be wrong.
        """
        if admitted is not None:  # of a batch that was cut off
            shards = {shard: keys for shard, keys in shards.items() if shard << SHARD_BITS < admitted.series}
        for expected, shard in enumerate(sorted(shards)):
            if shard != expected or len(self.names) != shard << SHARD_BITS:
                raise ValueError(f"series shard {shard} found after {len(self.names)} series")
            self.names += shards[shard]
        admitted = Admitted(series=len(self.names)) if admitted is None else admitted
        if admitted.series > len(self.names):
            raise ValueError(f"{len(self.names)} series found of {admitted.series}")
        del self.names[admitted.series :]
        self.decided = admitted.decided
        self.left.update(admitted.left)
        senders = {number: sender for sender, numbers in admitted.senders.items() for number in numbers}
        for channel, numbers in admitted.channels.items():
            for number in numbers:
                by = self._brought_by[number] = self._bringers.of(channel, senders.get(number, ""))
                self._bringers.note(by)
                self._departed.note(by)
        given = self._departed.known(admitted.departed)
        for number, key in enumerate(self.names):
            self._note_kind(number, key)
            self._note_beside(number, self.group_of(key))
            if number in self.left:
                self._departed.add(key, number, self._cost_once_left(number), given.get(number, NOBODY))
                continue
            self.numbers[key] = number
            self._sizes[self.group_of(key)] += self.is_bound(key)
            self._add_cost(number, self._cost(number, {}))

    def _cost(self, number: int, weighed: Mapping[int, Weighed]) -> int:
        """Return the memory that a series takes."""
        known = weighed.get(number)
        return (NEW_BYTES if known is None else known.cost) + self._beside.get(number, 0)

    def _new_cost(self, group: Group) -> int:
        """Return the memory that a series of a grouping takes at first."""
        return NEW_BYTES + self._limits.beside(group)

    @staticmethod
    def is_bound(key: str) -> bool:
        """Return whether a series counts against limits: it has labels, and is not that of the rest."""
        _, labels = parse_series(key)
        return any(value != OTHER for _, value in labels)

    @staticmethod
    def group_of(key: str) -> Group:
        """Return the KPI of a series and the names of its labels."""
        kpi, labels = parse_series(key)
        return kpi, tuple([name for name, _ in labels])

    def _has_room(self, group: Group, by: Bringer, cost: int) -> bool:
        if not group[1]:
            return True
        is_capped = self._sizes[group] >= self._limits.cap(group[0])
        return not is_capped and self._fits(cost) and self._bringers.over(by, cost) is None

    def _fits(self, more: int) -> bool:
        """Return whether there is memory for so many bytes more of series that may give way."""
        budget = self._limits.budget
        return self.reserved + more <= budget or (self._is_spared(more) and self._departed.is_within)

    def _is_spared(self, more: int) -> bool:
        """Return whether series that may give way would take no more with so many bytes than what is kept for them."""
        return self._bound_bytes + more <= _KEPT * self._limits.budget

    def _victims(self, costs: Mapping[int, int], weighed: Mapping[int, Weighed]) -> Victims:
        may_leave = {
            number: Weighed(cost, weighed[number].weight if number in weighed else 0.0)
            for number, cost in costs.items()
            if number in self._bound
        }
        return Victims(may_leave, self.left, lambda number: self.group_of(self.names[number]), self.brought_by)

    def _wanted(self, key: str, by: Bringer, weight: float) -> Wanted:
        group = self.group_of(key)
        taken = int(self._heavy.get(self._departed.numbers.get(key, -1), 0))
        return Wanted(group, by, Weighed(max(self._new_cost(group), taken), weight))

    def _could_fit(self, wanted: Wanted, victims: Victims) -> bool:
        """Return whether a series has memory once all have given way that are lighter."""
        return self._fits(wanted.weighed.cost - victims.bytes_of_lighter(wanted))

    def _evict_for(self, wanted: Wanted, victims: Victims, leaving: list[int]) -> bool:
        """Have others give way until there is room: lighter series, and what a sender has beyond its share; tell."""
        limits, (group, by, (cost, _)) = self._limits, wanted
        while not self._has_room(group, by, cost):
            if not self._departed.may_add(by, LEFT_BYTES + limits.beside(group)):
                return False
            over = self._bringers.over(by, cost)
            full = group if self._sizes[group] >= limits.cap(group[0]) else None
            owes = None if over is by and by.sender else self._bringers.debtor(by, over)
            victim = victims.lightest(full, owes) if owes else None
            if victim is None:
                victim = victims.lightest(full, None if full else over)
                if victim is None or not wanted.is_better_than(victims.weighed[victim]):
                    return False
            self._leave(victim, victims.weighed[victim].cost, by)
            leaving.append(victim)
        return True

    def _append(self, key: str, by: Bringer, group: Group) -> int:
        self._candidates.pop(key, None)  # there may be room by itself, too
        number = self.numbers[key] = len(self.names)
        self.names.append(key)
        self._note_kind(number, key)
        self._grown.add(number >> SHARD_BITS)
        if by.channel:
            self._brought_by[number] = by
        self._sizes[group] += self.is_bound(key)
        self._note_beside(number, group)
        self._add_cost(number, self._cost(number, {}))
        return number

    def _note_kind(self, number: int, key: str) -> None:
        if self.is_bound(key):
            self._bound.add(number)
        if parse_series(key)[0] in self._lasting_kpis:
            self.lasting.add(number)

    def _note_beside(self, number: int, group: Group) -> None:
        if beside := self._limits.beside(group):
            self._beside[number] = beside

    def _cost_once_left(self, number: int) -> int:
        return LEFT_BYTES + self._beside.get(number, 0)

    def _leave(self, number: int, cost: int, by: Bringer = NOBODY) -> None:
        key = self.names[number]
        self.left.add(number)
        self._departed.add(key, self.numbers.pop(key), self._cost_once_left(number), by)
        self._heavy[number] = cost
        self._sizes[self.group_of(key)] -= 1
        self._add_cost(number, -cost)

    def _return(self, key: str) -> int:
        self._candidates.pop(key, None)
        number = self._departed.numbers[key]
        self.numbers[key] = self._departed.take_back(key, self._cost_once_left(number))
        self.left.discard(number)
        self._sizes[self.group_of(key)] += 1
        self._add_cost(number, max(self._cost(number, {}), int(self._heavy.pop(number, 0))))
        return number

    def _add_cost(self, number: int, cost: int) -> None:
        self.used += cost
        if number in self._bound:
            self._bound_bytes += cost
        self._bringers.take(self.brought_by(number), cost)

    def brought_by(self, number: int) -> Bringer:
        """Return who brought a series."""
        return self._brought_by.get(number, NOBODY)

    def _keep_heaviest(self) -> None:
        if len(self._candidates) > CANDIDATES:
            self._candidates = dict(nlargest(CANDIDATES, self._candidates.items(), key=lambda item: item[1][0]))
