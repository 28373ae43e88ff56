"""
The judges of a worker: one for each merge partition it owns, stepped by the merge agent as minutes close.

Within a flush of the merge agent, in this order; after a crash between any two, the rest is done again:

1. `step` each closed minute (no I/O);
2. `enrich` what begins to fire;
3. write `entries`, and wait: from now on the transitions are facts;
4. send `emissions`, and wait; then `confirm`;
5. write `sent_entries`, which say what was sent, with the markers.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from streams import metrics
from streams.agents import records
from streams.agents.enrich import Enricher
from streams.agents.notices import notice_of
from streams.agents.seasonal import SeasonalBaselines
from streams.alerts.judging.judge import Judge
from streams.alerts.judging.view import AheadView, MinuteView
from streams.alerts.judging.watch import bytes_of_series
from streams.alerts.rules.rules import SEVERITIES, RuleBook
from streams.alerts.types import Transition
from streams.aside import Aside
from streams.delivery.alertmanager import Alertmanagers
from streams.engine.names import Topics
from streams.engine.outgoing import Outgoing
from streams.kpis.rolling.closed import ClosedMinute, OpenMinutes
from streams.kpis.rolling.journal import Record
from streams.settings import Settings, window_names
from streams.wording.moments import ZoneTimes

log = logging.getLogger(__name__)

STRETCH_S: Final = 0.25
"""How long minutes may be judged one after the other before everything else has its turn."""


class Judges:
    """All judges of a worker, and what they have to say."""

    def __init__(
        self,
        settings: Settings,
        topics: Topics,
        rules: RuleBook,
        enricher: Enricher,
        alertmanagers: Alertmanagers,
        baselines: SeasonalBaselines,
    ) -> None:
        self.horizon_s = settings.alert_horizon_h * 3600
        self._rules = rules
        self._times = ZoneTimes(rules.zone)
        self.bytes_of_series = bytes_of_series(rules)
        """How much each series of a grouping takes."""
        self._windows = window_names(settings)
        self._topics = topics
        self._epoch = settings.epoch
        self._webhooks = bool(settings.webhooks)
        self._enricher = enricher
        self._alertmanagers = alertmanagers
        self._baselines = baselines
        self._enriching, self._notifying = Aside("enriching"), Aside("alertmanager")
        self._judges: dict[int, Judge] = {}
        self._fresh: list[Transition] = []
        self._stretch_ends = 0.0

    async def take_over(self, saved: Mapping[int, Iterable[Record]]) -> None:
        """
        Restore the judges of the partitions that are owned now.

        Args:
            saved: By partition, the records of its changelog.

        Raises:
            ValueError: The records are not whole, or a rule reads a window that is not kept.
        """
        await self._baselines.ready()
        self._judges, self._fresh = {}, []
        for partition, entries in saved.items():
            judge = self._judges[partition] = Judge(self._rules, windows=self._windows)
            judge.restore(entries)
            self._tell_alertmanagers(partition)
        self._alertmanagers.keep_only(self._judges)

    def start_stretch(self) -> None:
        """Begin to count the time that judging takes."""
        self._stretch_ends = time.monotonic() + STRETCH_S

    def step(self, partition: int, view: ClosedMinute) -> bool:
        """Judge a closed minute; tell whether there is time for another one."""
        judge = self._judges[partition]
        with metrics.STAGE_SECONDS.labels("merge", "judge").time():
            transitions = judge.step(MinuteView(view), baselines=self._baselines)
        metrics.EVALUATIONS.inc(judge.instances)
        metrics.JUDGED.labels(str(partition)).set((view.minute + 1) * 60)
        self._note(judge, transitions)
        return time.monotonic() < self._stretch_ends

    def glance(self, partition: int, view: OpenMinutes) -> None:
        """Look at what has come since the newest closed minute for what cannot wait until the next one closes."""
        judge = self._judges[partition]
        with metrics.STAGE_SECONDS.labels("merge", "judge").time():
            transitions = judge.glance(AheadView(view))
        self._note(judge, transitions)

    def _note(self, judge: Judge, transitions: list[Transition]) -> None:
        for transition in transitions:
            log.info(
                "alert %s{%s} %s",
                transition.rule,
                ", ".join(f"{name}={value}" for name, value in transition.labels.items()),
                transition.why,
            )
            metrics.TRANSITIONS.labels(transition.new).inc()
        for fault in judge.take_faults():
            log.error("alert rule %s, minute %d: %s", fault.rule, fault.minute, fault.reason)
        self._fresh += transitions

    async def enrich(self) -> None:
        """Add to what begins to fire what the store knows of it."""
        fresh, self._fresh = self._fresh, []
        begun = [one for one in fresh if one.new == "firing" and one.inhibited_by is None]
        if begun:
            with self._enriching.attempt():
                await self._enricher.enrich(begun)

    def entries(self) -> list[tuple[int, bytes, bytes | None]]:
        """Return what has to be saved: of each partition what changed, and then the record that makes it valid."""
        entries: list[tuple[int, bytes, bytes | None]] = []
        for partition, judge in self._judges.items():
            if judge.is_dirty:
                for key, value in [*judge.dirty_records(), judge.commit_record()]:
                    entries.append((partition, key, value))
        return entries

    def emissions(self) -> Iterator[Outgoing]:
        """Yield all transitions that are facts and not known to be sent."""
        now = time.time()
        for partition, judge in self._judges.items():
            for transition in judge.outbox:
                record = records.alert_of(transition, partition, self._epoch, now)
                value = records.encode_alert(record)
                key = transition.episode.encode()
                yield Outgoing(self._topics.alerts, partition, key, value)
                if self._webhooks and concerns_receivers(transition):
                    yield Outgoing(self._topics.notifications, partition, key, value)

    def confirm(self) -> None:
        """Take note that all emissions were sent, and tell Alertmanagers what fires."""
        firing = Counter[str]()
        for partition, judge in self._judges.items():
            if judge.outbox:
                judge.confirm(judge.outbox[-1].seq)
            self._tell_alertmanagers(partition)
            for active in judge.active(judge.judged or 0):
                firing[active.transition.severity] += active.ended is None
        for severity in SEVERITIES:
            metrics.FIRING.labels(severity).set(firing[severity])

    def sent_entries(self) -> list[tuple[int, bytes, bytes | None]]:
        """Return what has to be saved of what was sent."""
        return [(p, key, value) for p, judge in self._judges.items() for key, value in judge.sent_records()]

    def _tell_alertmanagers(self, partition: int) -> None:
        judge = self._judges[partition]
        if judge.judged is not None:
            with self._notifying.attempt():
                notices = [notice_of(active, self._times) for active in judge.active(judge.judged)]
                self._alertmanagers.put(partition, notices)


def concerns_receivers(transition: Transition) -> bool:
    """Return whether people should hear of a transition: something fires, or has ended, that nothing holds back."""
    return transition.new in {"firing", "resolved"} and transition.inhibited_by is None
