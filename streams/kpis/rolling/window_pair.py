"""The windows of a merge partition twice: as of the newest closed minute, and as of the newest one that has begun."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from streams.kpis.arithmetic.accumulators import add_all
from streams.kpis.language.series import SEPARATOR
from streams.kpis.rolling.admission import Registry
from streams.kpis.rolling.packing import Totals
from streams.kpis.rolling.retention import Archive
from streams.kpis.rolling.windows import Contributions, Windows


class WindowPair:
    """Closed and open windows over the same pages."""

    def __init__(self, names: Sequence[str], registry: Registry, archive: Archive, delayed: Container[str]) -> None:
        """
        Start with nothing.

        Args:
            names: Lengths of the windows.
            registry: All series.
            archive: The pages, hours and totals that windows are made of.
            delayed: Ids of KPIs that count events later than they happen: of no minute do they say that it has begun.

        Raises ValueError for an unknown window.
        """
        self.closed, self.open = (Windows(names, registry.left, registry.lasting) for _ in range(2))
        self._registry = registry
        self._archive = archive
        self._delayed = delayed
        self._begun: int | None = None
        self._unseen: dict[int, Totals] = {}

    @property
    def nothing_open(self) -> bool:
        """Return whether no minute has begun that is not closed."""
        closed, newest = self.closed.as_of, self.open.as_of
        return closed is not None and (newest is None or newest <= closed)

    @property
    def unseen(self) -> int:
        """How many totals of series and minutes came since the open windows were brought up to the pages."""
        return sum(map(len, self._unseen.values()))

    def begin(self, minute: int, keys: Iterable[str]) -> None:
        """Take note that a minute has these series."""
        if self._has_begun(keys):
            self._begun = minute if self._begun is None else max(self._begun, minute)

    def _has_begun(self, keys: Iterable[str]) -> bool:
        """Return whether a minute with these series has begun, or only will hold what was counted ahead."""
        return any(key.partition(SEPARATOR)[0] not in self._delayed for key in keys)

    def add(self, counted: Sequence[tuple[int, Contributions]]) -> None:
        """Add what came, by minute, to the closed windows; the open ones learn of it by `catch_up`."""
        closed = self.closed.as_of
        if closed is not None:
            late = [one for one in counted if one[0] <= closed]
            self.closed.add(late)
            for minute, contributions in late:
                self.closed.pass_by(minute, contributions)
        for minute, contributions in counted:
            add_all(self._unseen.setdefault(minute, {}), contributions)

    def catch_up(self) -> None:
        """Bring the open windows up to the pages: only when they are published, as each series is in all of them."""
        unseen, self._unseen = self._unseen, {}
        as_of = self.open.as_of
        if as_of is not None:
            self.open.add((minute, list(totals.items())) for minute, totals in unseen.items() if minute <= as_of)
        if self._begun is not None and (as_of is None or self._begun > as_of):
            self.open.advance(self._begun, self._archive.pages, self._archive.hours)

    def close(self, minute: int) -> None:
        """Move the closed windows on to a minute; where nothing is open any more, they publish what totals changed."""
        self.closed.advance(minute, self._archive.pages, self._archive.hours)
        if self.nothing_open and self.open.as_of is not None:
            self.closed.take_over(self.open)

    def skip_open(self) -> None:
        """Where nothing is open, have the open windows be as the closed ones, with nothing of them to publish."""
        if self.open.as_of != self.closed.as_of:  # left behind, or not begun: it would miss pages that are evicted
            self.open.copy_from(self.closed)
        self.open.forget_touched()

    def touch(self, minute: int, numbers: Iterable[int]) -> None:
        """Have the windows of series that hold a minute published again."""
        for windows in (self.open, self.closed):
            if windows.as_of is not None and minute <= windows.as_of:
                windows.touch(minute, numbers)
        if self.closed.as_of is not None and minute <= self.closed.as_of:
            self.closed.pass_by(minute, ((number, None) for number in numbers))

    def touch_totals(self) -> None:
        """Have the totals of all series published again."""
        for windows in (self.open, self.closed):
            windows.touch_total()

    def restore(self, newest: int | None, closed: int | None) -> None:
        """Fill the windows from the pages, as of the newest minute and the newest closed one that were saved."""
        names, pages = self._registry.names, self._archive.pages
        begun = pages.newest_where(newest, lambda page: self._has_begun(names[n] for n in page.read()))
        known = [minute for minute in (newest, closed, begun) if minute is not None]
        if not known:
            return
        before, series = self._archive.before(), len(names)
        if closed is None:
            self.open.start(max(known), pages, before, series)
            return
        self.closed.start(closed, pages, before, series, self._archive.hours)
        self.open.copy_from(self.closed)
        if max(known) > closed:
            self.open.advance(max(known), pages, self._archive.hours)
            self.open.forget_touched()
