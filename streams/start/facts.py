"""What is found when a worker starts: values only, so that every combination can be made by a test."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from streams.agents.records import epoch_of, position

RESTORING: Final = 1 << 62
"""Committed while state is being restored, and replaced at its end: whoever sees it knows that it was interrupted."""

Place: TypeAlias = tuple[str, int]
"""Topic and partition."""


class Log(NamedTuple):
    """
    A partition of a topic: first offset that is retained, end, and what the workers' group has committed.

    Of a changelog, which nobody reads on, the group commits where it ended.
    """

    start: int = 0
    end: int = 0
    committed: int | None = None

    @property
    def cut(self) -> bool:
        """Whether it lost its end."""
        return self.committed is not None and self.end < self.committed < RESTORING


@dataclass(frozen=True, slots=True)
class Topic:
    """
    A topic.

    Attributes:
        id: What the broker calls it, another one whenever it is made anew; empty: not told.
        known_id: What it was called when this epoch began; empty: not recorded.
        begins: Offset by partition at which this epoch began, or a changelog was restored; empty: at zero.
    """

    name: str
    logs: tuple[Log, ...] = ()
    id: str = ""
    known_id: str = ""
    begins: tuple[int, ...] = ()

    @property
    def anew(self) -> bool:
        """Whether it is another topic than the one that was read, or lost its end."""
        return self.renamed or any(log.cut for log in self.logs)

    @property
    def renamed(self) -> bool:
        """Whether it is another topic than the one that this epoch began with, by the broker's own names."""
        return bool(self.id and self.known_id) and self.id != self.known_id

    @property
    def committed(self) -> bool:
        """Whether anything of it was read."""
        return any(log.committed is not None for log in self.logs)

    @property
    def interrupted(self) -> bool:
        """Whether a restoration of what hangs on it did not come to its end."""
        return any(log.committed == RESTORING for log in self.logs)

    def whole(self, partition: int) -> bool:
        """Of a changelog: whether it holds something, and nothing was taken away but what newer records replace."""
        log = self.logs[partition]
        return log.start <= self.begun(partition) < log.end and not log.cut

    def begin(self, partition: int) -> int:
        """Return the first offset of this epoch that is retained."""
        return max(self.logs[partition].start, self.begun(partition))

    def retained(self, partition: int) -> bool:
        """Whether all of this epoch is retained."""
        return self.logs[partition].start <= self.begun(partition)

    def begun(self, partition: int) -> int:
        """Return the offset at which this epoch began."""
        return self.begins[partition] if partition < len(self.begins) else 0


class Held(NamedTuple):
    """Whether the store has the record before the committed offset, and the first retained one; None: there is none."""

    last: bool | None = None
    first: bool | None = None


@dataclass(frozen=True, slots=True)
class StoredSource:
    """
    What the store says.

    Attributes:
        tables: Whether its tables are there.
        epoch: The newest under which something was stored or workers have started; None: empty.
        partitions: Of the topics, when they were recorded first; None: not recorded.
        marks: Newest position whose balance is stored, by source.
        beyond: Sources of which records behind that are stored without their balance; None: not looked at.
        labels: Rule by which workers of the newest epoch make labels; None: none have started.
        named_otherwise: KPI series whose labels are in another form than workers make them now.
    """

    tables: bool = True
    epoch: int | None = None
    partitions: int | None = None
    marks: Mapping[Place, int] = field(default_factory=dict)
    beyond: frozenset[Place] | None = frozenset()
    labels: int | None = None
    named_otherwise: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFacts:
    """
    All that is compared.

    Attributes:
        epoch: As set.
        partitions: As set.
        missing: Topics that are not there; the others are not looked at then.
        counts: Partitions by topic.
        sources: The touchpoint topics, that of derived events too.
        ingest: Changelog of what sources have read.
        merge: Changelog of KPI sums.
        relate: Changelog of what relations know of customers.
        facts: What relations read.
        cases: Changelog of cases about unhappy customers.
        case_facts: What opens cases, and what happens to them.
        case_rows: Cases as they stand, on their way to the store.
        newest: Newest epoch in `cx.blocks`; None: it holds nothing.
        store: None: it does not answer.
        blocks_held: By partition.
        kpis_held: By partition.
    """

    epoch: int
    partitions: int
    missing: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    sources: tuple[Topic, ...] = ()
    ingest: Topic = Topic("")
    merge: Topic = Topic("")
    relate: Topic = Topic("")
    facts: Topic = Topic("")
    cases: Topic = Topic("")
    case_facts: Topic = Topic("")
    case_rows: Topic = Topic("")
    partials: Topic = Topic("")
    blocks: Topic = Topic("")
    kpis: Topic = Topic("")
    alerts: Topic = Topic("")
    notifications: Topic = Topic("")
    newest: int | None = None
    store: StoredSource | None = None
    blocks_held: tuple[Held, ...] = ()
    kpis_held: tuple[Held, ...] = ()

    @property
    def topics(self) -> tuple[Topic, ...]:
        """All topics."""
        return (*self.sources, self.ingest, self.merge, self.relate, self.facts, self.cases, self.case_facts,
                self.case_rows, self.partials, self.blocks, self.kpis, self.alerts, self.notifications)  # fmt: skip

    @property
    def known_epoch(self) -> int | None:
        """The newest epoch that anything knows of."""
        known = [epoch for epoch in (self.newest, self.store.epoch if self.store else None) if epoch is not None]
        return max(known, default=None)

    def mark(self, topic: str, partition: int) -> int | None:
        """Return the newest offset of a source that is stored under this epoch; None: nothing."""
        mark = self.store.marks.get((topic, partition)) if self.store else None
        if mark is None or epoch_of(mark) != self.epoch:
            return None
        return mark - position(self.epoch, 0)

    def used(self) -> bool:
        """Return whether anything was taken in under this epoch."""
        marks = self.store.marks.values() if self.store else ()
        return self.newest == self.epoch or any(epoch_of(mark) == self.epoch for mark in marks)

    def lost_ingest(self) -> list[int]:
        """Return the partitions whose sources were read, and whose state is not there."""
        read = {p for source in self.sources for p, log in enumerate(source.logs) if log.committed is not None}
        return sorted(p for p in read if self.ingest.renamed or not self.ingest.whole(p))

    def lost_merge(self) -> list[int]:
        """
        Return the partitions whose partials were read, and whose sums are not there.

        Who takes anything in has claimed all partitions before, and each of them holds something since.
        """
        used = self.used()
        read = [p for p, log in enumerate(self.partials.logs) if used or log.committed is not None]
        return [p for p in read if self.merge.renamed or not self.merge.whole(p)]

    def lost_relations(self) -> list[int]:
        """Return the partitions of which facts were read, and what relations know of their customers is not there."""
        read = [p for p, log in enumerate(self.facts.logs) if log.committed is not None]
        return [p for p in read if self.relate.renamed or not self.relate.whole(p)]

    def lost_cases(self) -> list[int]:
        """Return the partitions of which facts were read, and what was known of their cases is not there."""
        read = [p for p, log in enumerate(self.case_facts.logs) if log.committed is not None]
        return [p for p in read if self.cases.renamed or not self.cases.whole(p)]

    def unstored(self) -> bool:
        """Return whether sources have finished records that the store does not have."""
        return any(
            (log.committed or 0) > max(source.begun(p), self._stored_to(source.name, p))
            for source in self.sources
            for p, log in enumerate(source.logs)
        )

    def _stored_to(self, topic: str, partition: int) -> int:
        mark = self.mark(topic, partition)
        return 0 if mark is None else mark + 1
