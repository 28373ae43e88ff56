"""
Rolling windows: running sums of every series over the last minutes, exact by adding what enters and taking out what
leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, TypeAlias

from streams.kpis.arithmetic.accumulators import (
    Acc,
    add_all,
    cleared,
    count_of,
    is_empty,
    lasting_part,
    leaving_part,
    subtract_acc,
)
from streams.kpis.language.lengths import SHORT_MINUTES, TOTAL, WINDOWS, first_minute, window_minutes
from streams.kpis.rolling.admission import SERIES_BYTES, SHARD_BITS
from streams.kpis.rolling.packing import Totals, add_up
from streams.kpis.rolling.pages import Page, Pages
from streams.kpis.rolling.victims import Weighed

NO_PAGES: Final = Pages()

_LONG_MINUTES: Final = 60
# Of a sum in one of both kinds of windows, open and closed; measured by tests/unit/test_admission_memory.py.
_LIST_BYTES: Final = 220
_BINS_BYTES: Final = 500

Contributions: TypeAlias = Collection[tuple[int, Acc]]
"""Series numbers with accumulators."""

WindowSums: TypeAlias = tuple[str, Sequence[tuple[int, Acc]]]
"""A window and its sums to publish."""


class Window:
    """One length of window as of one minute."""

    __slots__ = ("ended", "gone", "minutes", "name", "sums", "touched")

    def __init__(self, name: str, minutes: int | None) -> None:
        self.name = name
        self.minutes = minutes
        """None: since the beginning."""
        self.sums: Totals = {}
        self.touched: set[int] = set()
        """Series with something added since they were last taken."""
        self.gone: Totals = {}
        """Series that fell out since sums were last taken, with nothing left."""
        self.ended: Totals = {}
        """Series that were let go since sums were last taken, with nothing held."""

    @property
    def is_short(self) -> bool:
        """Return whether what comes in a second is seen in it."""
        return self.minutes is not None and self.minutes <= SHORT_MINUTES

    def holds(self, minute: int, as_of: int) -> bool:
        """Return whether a minute up to `as_of` is inside."""
        return self.minutes is None or minute >= first_minute(as_of, self.minutes)

    def first(self, as_of: int) -> int:
        """Return the first minute inside; not of the total, which has none."""
        return first_minute(as_of, _length(self))

    def add(self, contributions: Contributions) -> None:
        """Add what came for a minute inside."""
        self.touched.update(number for number, _ in contributions)
        add_all(self.sums, contributions)

    def take_out(self, totals: Totals, left: Container[int], lasting: Container[int]) -> None:
        """Take out what was added for a minute that is no longer inside."""
        sums = self.sums
        for number, acc in totals.items():
            known = sums.get(number)
            if known is None:  # it ran empty when something else left, so this can only be a mark without content
                assert is_empty(acc) or number in left, f"series {number} leaves {self.name} with {acc}, not in it"
                continue
            subtract_acc(known, leaving_part(acc) if number in lasting else acc)
            if is_empty(known):
                self.gone[number] = sums.pop(number)


class Windows:
    """Windows of several lengths and the total since the beginning, all as of the same minute."""

    def __init__(
        self,
        names: Sequence[str] = WINDOWS,
        left: AbstractSet[int] = frozenset(),
        lasting: AbstractSet[int] = frozenset(),
    ) -> None:
        """
        Start with nothing.

        Args:
            names: Lengths of the windows.
            left: Series that are not held, whatever pages hold of them; may grow.
            lasting: Series of which only n leaves a window: all else is in every window since the beginning; may grow.

        Raises ValueError for a name that is no window.
        """
        self._left = left
        self._lasting = lasting
        self.as_of: int | None = None
        self._windows = [Window(name, window_minutes(name)) for name in names]
        self._total = Window(TOTAL, None)
        self._all = [*self._windows, self._total]
        self._outwards = sorted(self._windows, key=_length)
        self._said: dict[int, int] = {}
        """As of when it was said last of a series that nothing is in windows which something late had left."""

    @property
    def rows(self) -> int:
        """How many sums an advance yields, about."""
        return sum(len(window.sums) for window in self._windows)

    @property
    def short(self) -> frozenset[str]:
        """The names of short windows."""
        return frozenset(window.name for window in self._all if window.is_short)

    @property
    def waiting(self) -> int:
        """How many windows have sums to which something was added since they were last taken."""
        return sum(1 for window in self._all if window.touched) + bool(self._total.ended)

    def start(self, as_of: int, pages: Pages, before: Totals, series: int, hours: Pages = NO_PAGES) -> None:
        """
        Begin as of a minute, with what pages of minutes and of hours hold, and what came `before` all pages.

        Every page is added once: first the rings between one length and the next, then ring by ring outwards.
        `series` is more than the largest series number.
        """
        self.as_of = as_of
        for window, sums in self._filled(pages, before, series, hours):
            window.sums = {number: acc.copy() for number, acc in sums.items() if number not in self._left}
        self._spread(self._lasting)

    def _spread(self, numbers: Iterable[int]) -> None:
        """Have in all windows what series that last hold since the beginning."""
        for number in numbers:
            total = self._total.sums.get(number)
            if type(total) is list:
                for window in self._windows:
                    known = window.sums.get(number)
                    window.sums[number] = [known[0] if type(known) is list else 0, *total[1:]]

    def take_back(
        self, numbers: AbstractSet[int], pages: Pages, before: Totals, series: int, hours: Pages = NO_PAGES
    ) -> None:
        """Hold series again that had left, and have them published; all else as for `start`."""
        if self.as_of is None:
            return
        shards = {number >> SHARD_BITS for number in numbers}
        for window, sums in self._filled(pages, before, series, hours, shards):
            held = {number: sums[number].copy() for number in numbers if number in sums}
            window.sums.update(held)
            window.touched.update(held)
            for number in held:
                window.ended.pop(number, None)
        back = numbers & self._lasting
        self._spread(back)
        for window in self._windows:
            window.touched.update(number for number in back if number in window.sums)
            for number in back & window.sums.keys():
                window.ended.pop(number, None)

    def let_go(self, numbers: Iterable[int]) -> None:
        """Hold series no more, and have it published that nothing is held of them."""
        for window in self._all:
            for number in numbers:
                window.touched.discard(number)
                acc = window.sums.pop(number, None)
                window.ended[number] = {} if acc is None else cleared(acc)
                self._said.pop(number, None)

    @property
    def let_go_of(self) -> Iterable[int]:
        """Series of which it was not published yet that nothing is held of them."""
        return self._total.ended.keys()

    def waits(self, number: int) -> bool:
        """Return whether what is held of a series since the beginning was not published yet."""
        return number in self._total.touched

    def weighed(self) -> tuple[dict[int, Weighed], int]:
        """Return what each series costs here, and its count in windows of an hour or longer; and how many those are."""
        long = [window for window in self._windows if _length(window) >= _LONG_MINUTES] or self._windows
        cost: dict[int, int] = {}
        weight: dict[int, float] = {}
        for window in self._all:
            counts = window in long
            for number, acc in window.sums.items():
                held = _LIST_BYTES + 25 * len(acc) if type(acc) is list else _BINS_BYTES + 92 * len(acc)
                cost[number] = cost.get(number, SERIES_BYTES) + held
                if counts:
                    weight[number] = weight.get(number, 0.0) + count_of(acc)
        return {number: Weighed(cost[number], weight.get(number, 0.0)) for number in cost}, len(long)

    def _filled(
        self, pages: Pages, before: Totals, series: int, hours: Pages, shards: Container[int] | None = None
    ) -> Iterator[tuple[Window, Totals]]:
        """Yield each window with what pages of these shards hold for it; the same totals, which grow, every time."""
        assert self.as_of is not None
        reach: int = self.as_of
        total: Totals = {}

        def add(after: int | None) -> None:
            ring = [*pages.between(after, reach), *hours.between(after, reach)]
            saved = (page.save() for page in ring if shards is None or page.home in shards)
            add_all(total, add_up(saved, series).items())

        for window in self._outwards:
            start = window.first(self.as_of) - 1
            add(start)
            yield window, total
            reach = start
        add(None)
        add_all(total, before.items())
        yield self._total, total

    def copy_from(self, other: Windows) -> None:
        """Begin with the same sums as another of the same lengths."""
        self.as_of = other.as_of
        for window, model in zip(self._all, other._all, strict=True):
            window.sums = {number: acc.copy() for number, acc in model.sums.items()}

    def add(self, counted: Iterable[tuple[int, Contributions]]) -> None:
        """
        Add what came, by minute, none of which may be later than `as_of`.

        What came for minutes that the same windows hold is added up first: history brings a hundred minutes at once.
        """
        self._enter(sorted(counted, key=_minute_of, reverse=True))

    def _enter(self, counted: Iterable[tuple[int, Contributions]]) -> None:
        """Add what came, newest minute first: from window to longer window only what has been added up by then."""
        assert self.as_of is not None
        outside: list[Window] = []
        held: Contributions = ()
        newest: int | None = None
        totals: Totals | None = None
        for minute, contributions in counted:
            while len(outside) < len(self._outwards):
                window = self._outwards[len(outside)]
                if window.holds(minute, self.as_of):
                    break
                if held:
                    window.add(held)
                outside.append(window)
            if outside and (lasting := [(n, lasting_part(acc)) for n, acc in contributions if n in self._lasting]):
                for window in outside:
                    window.add(lasting)
            if newest is None or minute == newest:  # of one minute every series comes once: nothing to be added up
                held, newest = [*held, *contributions], minute
                continue
            if totals is None:
                totals = {}
                add_all(totals, held)
            add_all(totals, contributions)
            held = totals.items()
        if held:
            for window in [*self._outwards[len(outside) :], self._total]:
                window.add(held)

    def pass_by(self, minute: int, came: Iterable[tuple[int, Acc | None]]) -> None:
        """
        Correct what was published last of windows that a minute has left, since something came late for it.

        What is in a window is published with each minute; of what is not, the newest row may be of when it held that
        minute, and says that nothing was there. Of what came first of all nothing was said before.
        """
        assert self.as_of is not None
        windows = [window for window in self._outwards if not window.holds(minute, self.as_of)]
        totals, said_of = self._total.sums, self._said
        for number, first in came if windows else ():
            acc, said = totals.get(number), said_of.get(number)
            if acc is None or acc == first or number in self._lasting:
                continue
            if said is not None and not windows[-1].holds(minute, said):  # nor does any that is shorter
                continue
            # Of all of them, as one moment is remembered for all.
            said_of[number], empty = self.as_of, cleared(acc)
            for window in windows:
                if number not in window.sums:
                    window.ended.setdefault(number, empty)

    def touch(self, minute: int, numbers: Iterable[int]) -> None:
        """Have series published again although nothing was added for this minute."""
        assert self.as_of is not None
        for window in self._all:
            if window.holds(minute, self.as_of):
                window.touched.update(numbers)
            else:
                window.touched.update(number for number in numbers if number in self._lasting)

    def touch_all(self, numbers: Iterable[int]) -> None:
        """Have series published again wherever they are held."""
        for window in self._all:
            window.touched.update(number for number in numbers if number in window.sums)

    def touch_total(self) -> None:
        """Have the totals of all series published again."""
        self._total.touched.update(self._total.sums)

    @property
    def names(self) -> Sequence[str]:
        """The names of all windows, the total among them."""
        return [window.name for window in self._all]

    def sums(self, name: str) -> Totals:
        """
        Return the sums of a window by series number, to be looked at only.

        Raises KeyError for a window that is not kept.
        """
        for window in self._all:
            if window.name == name:
                return window.sums
        raise KeyError(name)

    def advance(self, to: int, pages: Pages, hours: Pages = NO_PAGES) -> None:
        """
        Move on to a later minute; what lies between is read from pages, so that empty years cost nothing.

        What enters is read from minutes; what leaves, where it is that old already, from hours.

        Series that fell out stay noted until `advanced` or `forget_touched`, over any number of advances.
        """
        before = self.as_of
        assert before is None or to > before
        for window in self._windows:
            if before is not None and window.first(to) > before:
                kept = {number: lasting_part(window.sums[number]) for number in self._lasting & window.sums.keys()}
                window.gone.update((number, cleared(acc)) for number, acc in window.sums.items() if number not in kept)
                window.sums = kept
        self.as_of = to
        self._enter((page.minute, self._entering(page)) for page in reversed(pages.between(before, to)))
        for window in self._windows:
            if before is not None and window.first(before) < window.first(to) <= before:
                leaving = window.first(before) - 1, window.first(to) - 1
                gone = _added_up([*pages.between(*leaving), *hours.between(*leaving)])
                window.take_out(gone, self._left, self._lasting)
            for number in window.gone.keys() & window.sums.keys():
                del window.gone[number]

    def _entering(self, page: Page) -> Contributions:
        """Return what a page holds; windows that it was passed by in one leap note what is gone with it."""
        assert self.as_of is not None
        totals = [(number, acc) for number, acc in page.read().items() if number not in self._left]
        for window in self._windows:
            if not window.holds(page.minute, self.as_of):  # a state lost since may have published what it saw half-way
                window.gone.update((number, cleared(acc)) for number, acc in totals if number not in self._lasting)
        return totals

    def advanced(self) -> Iterator[WindowSums]:
        """Yield all sums after an advance, series that fell out with nothing, and of the total only what changed."""
        for window in self._windows:
            window.touched.clear()
            sums, gone, window.gone = window.sums, window.gone, {}
            gone, window.ended = window.ended | gone, {}
            yield window.name, [*sums.items(), *((number, acc) for number, acc in gone.items() if number not in sums)]
        yield _take_touched(self._total)

    def touched(self, *, short: bool = True, long: bool = True, total: bool = True) -> Iterator[WindowSums]:
        """Yield the sums to which something was added since they were last taken: of windows of these kinds."""
        for window in self._windows:
            if short if window.is_short else long:
                window.gone = {}
                yield _take_touched(window)
        if total:
            yield _take_touched(self._total)

    def take_over(self, other: Windows) -> None:
        """Have published of the total what was added to that of `other`, and not published by it since."""
        self._total.touched |= other._total.touched
        other._total.touched.clear()
        other._total.ended.clear()

    def forget_touched(self) -> None:
        """Publish nothing of what was added until now."""
        for window in self._all:
            window.touched.clear()
            window.gone, window.ended = {}, {}


def _minute_of(counted: tuple[int, Contributions]) -> int:
    return counted[0]


def _added_up(pages: Sequence[Page]) -> Totals:
    """Return the sums of pages, to be looked at only."""
    if len(pages) == 1:
        return pages[0].read()
    totals: Totals = {}
    for page in pages:
        add_all(totals, page.read().items())
    return totals


def _length(window: Window) -> int:
    assert window.minutes is not None
    return window.minutes


def _take_touched(window: Window) -> WindowSums:
    touched, window.touched = window.touched, set()
    ended, window.ended = window.ended, {}
    held = [(number, window.sums[number]) for number in touched if number in window.sums]
    return window.name, [*held, *((number, acc) for number, acc in ended.items() if number not in window.sums)]
