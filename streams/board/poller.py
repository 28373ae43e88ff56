"""
The one poller: asks ClickHouse for all viewers together, and tells them when there is something new.

Nobody looking means nothing asked. Fifty viewers of the same page cost the same questions as one.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from streams.board.advice import StoredAction
from streams.board.compare import EarlierValue
from streams.board.feed import VERBATIMS_SHOWN, AlertRow, Verbatim
from streams.board.health import Counts, PipelineHealth, Rate
from streams.board.heat import heat_kpis
from streams.board.readings import ALL, ChangeMarker, KpiInfo, PublishedReading, SeriesKey, Values, overlaid
from streams.board.rounds import LINGER_S, Rounds, Step, StoreState
from streams.board.scripted import ScriptedPath
from streams.board.store import BoardStore
from streams.board.tiles import HEADLINE, asked_span, detail_step
from streams.board.workers import WorkerTrouble
from streams.kpis.language.lengths import TOTAL, window_minutes
from streams.storage.connection import PermanentStorageError

log = logging.getLogger(__name__)

EVERY_S: Final = 2.0
TRENDS_S: Final = 0.8
"""Time that a round gives to lines."""
REVISED_S: Final = 300
"""Values so much older than the newest are asked for again: KPIs close their minutes at different times."""
LOOK_BACK_S: Final = 6 * 3_600
"""Verbatims are looked for so far back."""
WEEK_S: Final = 7 * 86_400
SCRIPTED_BACK_S: Final = 86_400
"""A synthetic path that has not run for so long is no longer one."""
ALERTS_BACK_S: Final = 3 * 86_400
"""Transitions of alerts are looked for so far back."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is known of one window."""

    values: Values = field(default_factory=dict)
    baselines: Mapping[SeriesKey, Sequence[EarlierValue]] = field(default_factory=dict)
    trends: Mapping[SeriesKey, Sequence[PublishedReading]] = field(default_factory=dict)
    steps: Mapping[str, int] = field(default_factory=dict)
    """Seconds between two points of the trends of a KPI."""
    closed_until: int = 0
    """End of the newest closed window, unix s."""
    read_until: int = 0
    """Newest minute of the store when the values were read."""


@dataclass(frozen=True, slots=True)
class Detail:
    """What is known of one KPI in one window."""

    trends: Mapping[SeriesKey, Sequence[PublishedReading]]
    step: int
    """Seconds between two points of the trends."""
    labels: Sequence[tuple[str, Mapping[str, str], PublishedReading]]
    changes: Sequence[ChangeMarker] = ()
    """What went live or began in its time."""
    earlier: Mapping[SeriesKey, Sequence[PublishedReading]] = field(default_factory=dict)
    """The course a week before, with the times of now; none while there is no such history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known(StoreState):
    """All that the page can show at one moment; replaced as a whole, never changed."""

    infos: Mapping[str, KpiInfo] = field(default_factory=dict)
    windows: Sequence[str] = ()
    numbers: Mapping[str, Numbers] = field(default_factory=dict)
    details: Mapping[tuple[str, str], Detail] = field(default_factory=dict)
    alerts: Sequence[AlertRow] | None = None
    """None: the store has no table of alerts."""
    verbatims: Sequence[Verbatim] = ()
    actions: Sequence[StoredAction] = ()
    """What to do first."""
    scripted: Sequence[ScriptedPath] = ()
    """Synthetic paths."""
    health: PipelineHealth = field(default_factory=PipelineHealth)
    troubles: Sequence[WorkerTrouble] = ()
    """What workers say does not go on."""
    newest: int = 0


class Poller(Rounds[Known]):
    """Keeps `known` up to date while somebody looks."""

    def __init__(
        self,
        store: BoardStore,
        *,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
        troubles: Callable[[], Sequence[WorkerTrouble]] = tuple,
    ) -> None:
        super().__init__(store, Known(), every_s, clock)
        self._ask_workers = troubles
        self._wanted_windows: dict[str, float] = {}
        self._wanted_details: dict[tuple[str, str], float] = {}
        self._rates: dict[str, Rate] = {}
        self._first: dict[tuple[str, str], int] = {}

    # -- what viewers want ---------------------------------------------------------------------------------------

    def want(self, window: str, kpi: str = "") -> None:
        """Keep a window, and a KPI's details in it, up to date for a while; call it again while somebody looks."""
        until = self._clock() + LINGER_S
        if window not in self._wanted_windows or (kpi and (kpi, window) not in self._wanted_details):
            self._wake.set()
        self._wanted_windows[window] = until
        if kpi:
            self._wanted_details[kpi, window] = until

    def has(self, window: str, kpi: str = "") -> bool:
        """Return whether there is something to show, be it that the store is away."""
        known = self.known
        if known.down:
            return True
        return window in known.numbers and (not kpi or (kpi, window) in known.details)

    # -- rounds --------------------------------------------------------------------------------------------------

    def _wanted(self) -> bool:
        now = self._clock()
        self._wanted_windows = {key: until for key, until in self._wanted_windows.items() if until > now}
        self._wanted_details = {key: until for key, until in self._wanted_details.items() if until > now}
        return bool(self._wanted_windows)

    def _steps(self) -> Sequence[Step]:
        return self._workers, self._essentials, self._rest, self._trends

    def _asks_store(self, step: Step) -> bool:
        return step != self._workers

    def _workers(self) -> None:
        """Ask the workers, also while the store is away: they know what is not stored."""
        if self._is_due("workers", 4) and (troubles := self._ask_workers()) != self.known.troubles:
            self.known = replace(self.known, troubles=troubles)

    def _essentials(self) -> None:
        """Ask for what a reader sees first."""
        store, known = self.store, self.known
        if not known.infos or self._is_due("catalogue", 60):
            known = replace(known, infos=store.catalogue())
        newest = store.newest()
        if not known.windows or self._is_due("windows", 60):
            known = replace(known, windows=_ordered(store.windows(newest)))
        kpis = {*HEADLINE, *(info.id for info in heat_kpis(known.infos.values()))}
        numbers = {window: one for window, one in known.numbers.items() if window in self._wanted_windows}
        for window in list(self._wanted_windows):
            if window == TOTAL and window in numbers and not self._is_due("total", 10):
                continue
            before = numbers.get(window, Numbers())
            # A window that runs empty says so in its newest row; a series without rows is over.
            oldest = 0 if window == TOTAL else newest - max(2 * _seconds(window), 3_600)
            after = max(oldest, before.read_until - REVISED_S) if before.values else oldest
            kept = {key: latest for key, latest in before.values.items() if latest.at > oldest}
            values = kept | overlaid(kept, store.values(window, after, kpis, known.infos))
            closed = max((one.closed.at for one in values.values() if one.closed), default=0)
            numbers[window] = replace(before, values=values, closed_until=closed, read_until=newest)
        if known.away_since is not None:
            log.warning("AWAY => ANSWERS: ClickHouse at %s", store.address.url)
        # What was said of the store before is over as soon as it answers the first questions of a round.
        self.known = replace(known, numbers=numbers, newest=newest, away_since=None, refusal="")

    def _rest(self) -> None:
        """Ask for what may come a moment later."""
        self._details()
        self._comparisons()
        self._feed()
        self._actions()
        self._scripted()
        self._pipeline()

    def _details(self) -> None:
        """Ask for what readers have opened."""
        known, store, details = self.known, self.store, {}
        for kpi, window in list(self._wanted_details):
            before = known.details.get((kpi, window))
            if kpi not in known.infos:
                continue
            if before is not None and not self._is_due(f"detail {kpi} {window}", 10):
                details[kpi, window] = before
                continue
            info = known.infos[kpi]
            closed = _closed(known, window)
            history_s = closed - self._first_of(kpi, closed)
            step = detail_step(window, history_s)
            since = max(closed - asked_span(window), closed - history_s - step)
            trends = store.trend(info, since, closed, step)
            after = 0 if window == TOTAL else closed - max(2 * _seconds(window), 3_600)
            whole_before = closed - since < WEEK_S <= history_s - (closed - since)
            earlier = self._week_before(info, since, closed, step) if whole_before else {}
            labels = store.by_label(info, window, after)
            details[kpi, window] = Detail(trends, step, labels, store.changes(since, closed), earlier)
        self.known = replace(known, details=details)

    def _week_before(self, info: KpiInfo, since: int, until: int, step: int) -> dict[SeriesKey, list[PublishedReading]]:
        """Return the course a week before, with the times of now."""
        found = self.store.trend(info, since - WEEK_S, until - WEEK_S, step)
        return {
            key: [replace(one, at=one.at + WEEK_S, since=one.since + WEEK_S) for one in curve]
            for key, curve in found.items()
        }

    def _first_of(self, kpi: str, closed: int) -> int:
        """Return the end of the first minute of a KPI, unix s; of one without any, now."""
        if (kpi, ALL) not in self._first:
            self._first |= self.store.first([kpi])
        return self._first.get((kpi, ALL), closed)

    def _comparisons(self) -> None:
        """Ask what the newest closed values are held against: once for each closed minute."""
        known, numbers = self.known, dict(self.known.numbers)
        for window, one in numbers.items():
            if window == TOTAL or not one.closed_until or not self._is_due(f"baseline {window} {one.closed_until}", 60):
                continue
            self._due = {job: due for job, due in self._due.items() if due > self._clock()}
            if not {kpi for kpi, _ in self._first} & set(HEADLINE) or self._is_due("first", 600):
                self._first = self.store.first(HEADLINE)
            numbers[window] = replace(
                one,
                baselines=self.store.baselines(
                    window, _seconds(window), one.closed_until, self._first, HEADLINE, known.infos
                ),
            )
        self.known = replace(known, numbers=numbers)

    def _feed(self) -> None:
        """Ask for alerts and verbatims."""
        known = self.known
        kept = {verbatim.id: verbatim for verbatim in known.verbatims}
        newest = max((verbatim.at for verbatim in known.verbatims), default=0.0)
        # Partitions are stored one after the other, so a younger event may be there before an older one.
        after = max(newest - 120, known.newest - LOOK_BACK_S) if newest else known.newest - LOOK_BACK_S
        if self._is_due("verbatims", 4):
            kept |= {verbatim.id: verbatim for verbatim in self.store.verbatims(after)}
        by_channel: dict[str, int] = {}
        verbatims = []
        for verbatim in sorted(kept.values(), key=lambda one: one.at, reverse=True):
            by_channel[verbatim.channel] = by_channel.get(verbatim.channel, 0) + 1
            if by_channel[verbatim.channel] <= VERBATIMS_SHOWN:
                verbatims.append(verbatim)
        self.known = replace(known, verbatims=verbatims, alerts=self.store.alerts(known.newest - ALERTS_BACK_S))

    def _actions(self) -> None:
        """Ask what to do first, which a timer works out once a day."""
        if self._is_due("actions", 60):
            self.known = replace(self.known, actions=self.store.actions())

    def _scripted(self) -> None:
        """Ask how synthetic paths do, where there are any."""
        if self._is_due("scripted", 10):
            self.known = replace(self.known, scripted=self.store.scripted(self.known.newest - SCRIPTED_BACK_S))

    def _pipeline(self) -> None:
        """Ask how the pipeline does."""
        known, store = self.known, self.store
        if self._is_due("recount", 600):
            store.recount()
        channels = store.counts()
        whole = Counts()
        for channel, counts in channels.items():
            whole = whole.plus(counts)
            self._rates.setdefault(channel, Rate()).tell(self._clock(), counts.read)
        self._rates.setdefault(ALL, Rate()).tell(self._clock(), whole.read)
        health = replace(
            known.health,
            channels=channels,
            rates={channel: rate.per_second() for channel, rate in self._rates.items()},
        )
        if self._is_due("closed", 4):
            health = replace(health, closed_until=store.closed_until(known.newest))
        if self._is_due("seldom", 10):
            health = replace(health, delay_s=store.delays(), refused=store.refused())
            health = self._parts(health)
        self.known = replace(known, health=health)

    def _parts(self, health: PipelineHealth) -> PipelineHealth:
        """Ask for ClickHouse's own state, which a reader may not be allowed to see."""
        try:
            fullest, merges = self.store.parts()
        except PermanentStorageError:
            return replace(health, fullest=None, merges=None)
        return replace(health, fullest=fullest, merges=merges)

    def _trends(self) -> None:
        """
        Bring lines up to date: all of a line at first, then only what may have changed.

        Each KPI is a question of its own, and a slow one; a round asks as many as fit its time, at least one.
        """
        started = self._clock()
        for window in list(self.known.numbers):
            end = _closed(self.known, window)
            for kpi in HEADLINE:
                if not end or kpi not in self.known.infos or not self._is_due(f"course {window} {kpi}", 60):
                    continue
                numbers = self.known.numbers[window]
                step = detail_step(window, end - self._first_of(kpi, end))
                kept = numbers.trends if numbers.steps.get(kpi, step) == step else {}
                fresh = self._trend(self.known.infos[kpi], window, end, step, kept)
                others = {key: points for key, points in numbers.trends.items() if key[0] != kpi}
                numbers = replace(numbers, trends={**others, **fresh}, steps={**numbers.steps, kpi: step})
                numbers_by_window = {**self.known.numbers, window: numbers}
                self.known = replace(self.known, numbers=numbers_by_window)
                if self._clock() - started > TRENDS_S:
                    return

    def _trend(
        self, info: KpiInfo, window: str, end: int, step: int, before: Mapping[SeriesKey, Sequence[PublishedReading]]
    ) -> dict[SeriesKey, Sequence[PublishedReading]]:
        first = end - asked_span(window)
        known = [key for key in before if key[0] == info.id]
        # Nobody may have looked for long: from a little before the newest known point, where it may have changed.
        newest = max((point.at for key in known for point in before[key]), default=first)
        start = max(first, newest - 3 * step)
        fresh = self.store.trend(info, start, end, step)
        points = {
            key: {point.at: point for point in (*before.get(key, ()), *fresh.get(key, ())) if point.at > first}
            for key in {*known, *fresh}
        }
        return {key: [found[at] for at in sorted(found)] for key, found in points.items()}


def _seconds(window: str) -> int:
    return 86_400 if window == TOTAL else 60 * window_minutes(window)


def _closed(known: Known, window: str) -> int:
    numbers = known.numbers.get(window)
    return numbers.closed_until if numbers and numbers.closed_until else known.newest


def _ordered(windows: Sequence[str]) -> list[str]:
    return sorted(windows, key=lambda name: (name == TOTAL, _seconds(name)))
