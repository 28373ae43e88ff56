"""
Cases: what customers were unhappy about in; decisions about cases out, as events of the channels, rows and messages.

The order of a step is the guarantee: what was decided, then everything that tells of it, then that it is told. See
streams/loop/desk.py. Events that are made here go the way of all others: counted, stored, and read here again, where
they are known.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from streams import metrics
from streams.agents import records
from streams.agents.sources import source_name
from streams.asking.definition import SurveyRules
from streams.asking.desk import SurveyDesk, is_of_surveys
from streams.engine.app import BatchApp
from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.names import Topics
from streams.engine.outgoing import Outgoing
from streams.engine.stage import Done, Emit, Save, Saved, Stage, Steps
from streams.events.scalars import CHANNELS
from streams.loop.definition import CaseRules
from streams.loop.desk import CaseDesk, CaseNews
from streams.loop.sending import channel_of, encoded, message_of
from streams.privacy.forgotten import Forgotten
from streams.settings import Settings

log = logging.getLogger(__name__)

BATCHES_UNSAVED: Final = 20
"""So many batches that changed nothing are read again after a crash, rather than write for each how far it was read."""

_encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _DeskShard:
    """One partition, and what was read of it that is not acknowledged."""

    partition: int
    desk: CaseDesk
    surveys: SurveyDesk | None = None
    waiting: list[RecordBatch] = field(default_factory=list)
    erased: int = 0
    """Up to which change of the list of forgotten people it has forgotten them."""


class Cases(Stage):
    """The stage of cases of one worker."""

    name = "cases"
    stall_limit_s = None  # what changes nothing is acknowledged now and then

    def __init__(
        self,
        app: BatchApp,
        settings: Settings,
        topics: Topics,
        rules: CaseRules,
        forgotten: Forgotten | None = None,
        survey_rules: SurveyRules | None = None,
    ) -> None:
        """Show nothing more of people who were `forgotten` since; with `survey_rules` decide who may be asked, too."""
        self._forgotten = forgotten
        self._settings = settings
        self._topics = topics
        self._rules = rules
        self._survey_rules = survey_rules
        self._webhooks = bool(settings.case_webhooks)
        self._shards: dict[int, _DeskShard] = {}
        for cause in rules.causes:
            for what in ("opened", "reopened", "joined", "suppressed"):
                metrics.CASES.labels(what, cause)  # so that the first one is an increase
        for clock in ("contact", "close"):
            for what in ("warned", "escalated", "cleared"):
                metrics.CASE_NOTICES.labels(what, clock)
        super().__init__(app, [topics.case_facts], flush_s=settings.ingest_flush_s)

    async def restore(self, assignment: Assignment, saved: Saved) -> None:
        """Restore the cases of every owned partition."""
        metrics.CASES_OPEN.clear()  # partitions may be another worker's now
        self._shards = {}
        for partition in assignment.owned:
            desk = CaseDesk(
                self._rules,
                partition=partition,
                base=records.position(self._settings.epoch, 0),
                idle_s=self._settings.idle_s,
                grace_s=self._settings.idle_s,
                expected=[source_name(channel, partition) for channel in CHANNELS],
            )
            records_of_cases = [entry for entry in saved[partition].items() if not is_of_surveys(entry[0])]
            desk.restore(records_of_cases)
            surveys = SurveyDesk(self._survey_rules, desk.worths) if self._survey_rules else None
            if surveys is not None:
                surveys.restore(saved[partition].items())
            self._shards[partition] = _DeskShard(partition, desk, surveys)
        log.info("cases: partitions %s taken over", sorted(self._shards))

    async def take(self, batch: RecordBatch) -> None:
        """Take in what opens cases and what happens to them."""
        shard = self._shards[batch.partition]
        for one, position in records.fact_ranges(batch, self._settings.epoch):
            if shard.desk.take(one, position) and shard.surveys is not None:
                for subject, fact in one.facts:
                    shard.surveys.take(subject, fact, position)
        shard.waiting.append(batch)
        batch.release()

    async def steps(self) -> Steps:
        """Take the step of each partition in which something has changed."""
        for shard in list(self._shards.values()):
            waiting, shard.waiting = shard.waiting, []
            desk, partition = shard.desk, shard.partition
            self._erase(shard)
            surveys = shard.surveys
            changed, asked = desk.begin(time.time()), surveys is not None and surveys.begin(desk.watermarks.value)
            if changed or asked:
                saved = [] if surveys is None else [*surveys.records(desk.complete)]
                yield Save([(partition, key, value) for key, value in (*saved, *desk.records())])
                decisions = [] if surveys is None else self._decisions(partition, surveys)
                yield Emit([*self._outgoing(partition, desk.news), *decisions])
                ends = [desk.end(), *([] if surveys is None else [surveys.end()])]
                yield Save([(partition, key, value) for key, value in ends])
            elif len(waiting) >= BATCHES_UNSAVED:
                yield Save([(partition, *desk.fence())])
            else:
                shard.waiting = waiting + shard.waiting
                continue
            yield Done(waiting)

    def _erase(self, shard: _DeskShard) -> None:
        """Forget what people were worth who were forgotten since it was said."""
        forgotten = self._forgotten
        if forgotten and shard.erased != forgotten.changes:
            shard.erased = forgotten.changes
            for one in (shard.desk.worths, shard.surveys):
                if one is not None:
                    one.erase(lambda subject, at: forgotten.includes(subject, at / 1000))

    def _outgoing(self, partition: int, news: Sequence[CaseNews]) -> Iterator[Outgoing]:
        published = time.time()
        if self._forgotten:
            news = [one for one in news if not self._forgotten.includes(one.row.subject, one.row.opened / 1000)]
        for one in news:
            change, row = one
            key = row.subject.encode()
            if change.ours and change.event is not None:
                topic = self._topics.source_of(channel_of(change.event))
                yield Outgoing(topic, partition, key, encoded(row.subject, change.event))
            if self._webhooks and change.event is not None:
                value = _encode(message_of(change, row, published))
                yield Outgoing(self._topics.notifications, partition, key, value)
        # The rows of a step are all the same for one case.
        for row in {one.row.case_id: one.row for one in news}.values():
            yield Outgoing(self._topics.cases, partition, row.case_id.encode(), _encode(row))

    def _decisions(self, partition: int, surveys: SurveyDesk) -> Iterator[Outgoing]:
        """Yield who may be asked, as events of the channels."""
        for one in surveys.decisions():
            if not (self._forgotten and self._forgotten.includes(one.subject, one.time / 1000)):
                yield Outgoing(self._topics.source_of(one.channel), partition, one.subject.encode(), one.payload)

    def observe(self) -> None:
        """Set the metrics of all owned partitions."""
        for partition, shard in self._shards.items():
            standing = Counter(shard.desk.standing.values())
            for state in ("open", "missed"):
                metrics.CASES_OPEN.labels(str(partition), state).set(standing[state])
            for (what, of), number in shard.desk.take_counts().items():
                family = metrics.CASE_NOTICES if what in {"warned", "escalated", "cleared"} else metrics.CASES
                family.labels(what, of).inc(number)
            for (what, survey), number in shard.surveys.take_counts().items() if shard.surveys else ():
                metrics.SURVEYS.labels(what, survey).inc(number)
            metrics.CASES.labels("unvalued", "").inc(shard.desk.worths.take_forgotten())
            # What waits changes nothing: nobody is behind with it.
            self.lane.report_lag(self._topics.case_facts, partition)
