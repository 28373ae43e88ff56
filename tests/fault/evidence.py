"""What came of a batch of faults: all that topics and store hold, held against the oracle."""

import json
import time
from collections import Counter
from dataclasses import dataclass, field

from streams.agents import records
from streams.storage.verify import Difference
from tests.fault import derived, oracle
from tests.harness.wholejob import Pipeline

EPOCH_BITS = 40
"""A stored position holds the epoch of its topics above so many bits of the offset."""
SETTLED_S = 60.0
SENT = "topic NOT LIKE '%.derived'"
"""What channels sent, in a condition of SQL."""


@dataclass
class Outcome:
    """What came of one batch of faults."""

    scenario: str
    seed: int
    faults: int = 0
    records: int = 0
    transitions: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict)
    """By kind: bricked, lost, doubled, wrong, verify. All empty: it passed."""
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    """Seconds until records sent after a fault were stored, by kind of fault."""
    ended: list[str] = field(default_factory=list)
    """Workers that ended by themselves, and why; the supervisor started them anew."""
    told: list[str] = field(default_factory=list)
    """What was done when, for people who look for the reason."""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not any(self.problems.values())


class Evidence:
    """
    Reads what there is and compares it.

    Source topics may be deleted and made anew: what they held is kept, and what comes later is told apart by its epoch.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.compares_alerts = True
        self.first_epoch = 0
        """Epoch of what lies in the source topics now."""
        self._pipeline = pipeline
        self._generation = 0
        self._kept: list[oracle.Record] = []

    def next_generation(self, epoch: int) -> None:
        """Keep what the source topics hold: they are about to be deleted, and begin a new epoch."""
        self._kept += self._records()
        self._generation += 1
        self.first_epoch = epoch

    def compare(self, outcome: Outcome) -> None:
        """Compare the store and the topics with the oracle, and have the store verified."""
        expected = oracle.expect([*self._kept, *self._records()], time.time())
        outcome.records = expected.read
        outcome.transitions = len(expected.changes)
        found = self._found()
        if not self.compares_alerts:
            expected.changes, found.alerts, found.stored_alerts = [], [], []
        for kind, wrong in oracle.problems(expected, found).items():
            outcome.problems.setdefault(kind, []).extend(wrong)
        if self._pipeline.relations:
            for kind, wrong in derived.compare(self._pipeline, expected.counted).items():
                outcome.problems.setdefault(kind, []).extend(wrong)
        deadline = time.monotonic() + SETTLED_S
        # What is derived last is counted after all that was sent is stored, and a busy machine stores values late.
        while (differing := self._pipeline.verify(within_s=0).differences) and time.monotonic() < deadline:
            outcome.told.append(f"{len(differing)} values were not verified at first, as {differing[0]}")
            time.sleep(3)
        outcome.problems["verify"] = [f"{one}{self._history(one)}" for one in differing[:1]] + [
            *map(str, differing[1:])
        ]

    def _history(self, wrong: Difference) -> str:
        """Return what was published and stored of a value that is wrong, for people who look for the reason."""
        name, labels = wrong.series, wrong.labels
        published = [
            (record.partition, record.offset, row.window, row.at, row.n, row.revision, row.maturity)
            for record in self._pipeline.consume(self._pipeline.topics.kpis)
            for row in records.decode_kpis(record.value).values
            if (row.kpi, row.labels) == (name, labels)
        ]
        stored = [
            row
            for found, *row in self._pipeline.database.rows(
                "SELECT labels, window, toUnixTimestamp(at), n, revision, maturity, toUnixTimestamp(updated_at)"
                f" FROM kpi_values WHERE kpi = '{name}' ORDER BY window, at, revision"
            )
            if found == labels
        ]
        return f"; published: {published[-60:]}; stored: {stored[-60:]}"

    def _found(self) -> oracle.Found:
        rows, place = self._pipeline.database.rows, self._place
        names = ", ".join(f"'{name}'" for name in oracle.CHECKED_KPIS)
        sums = rows(
            "SELECT kpi, labels['channel'], toUnixTimestamp(minute), fields, bins FROM kpi_minute_sums"
            f" WHERE kpi IN ({names}) AND by IN ('', 'channel')"
        )
        alerts = [json.loads(record.value) for record in self._pipeline.consume(self._pipeline.topics.alerts)]
        stored = rows(
            "SELECT id, labels['channel'], old, new, toUnixTimestamp(at) FROM alerts FINAL"
            f" WHERE rule = '{oracle.RULE}' AND old != new"
        )
        balances = rows(
            f"SELECT topic, partition, first, last, read, {', '.join(oracle.OUTCOMES)} FROM outcomes WHERE {SENT}"
        )
        return oracle.Found(
            ranges=[
                (
                    *place(topic, partition, first),
                    place(topic, partition, last)[2],
                    Counter(dict(zip(("read", *oracle.OUTCOMES), balance, strict=True))),
                )
                for topic, partition, first, last, *balance in balances
            ],
            events=[
                (*place(topic, partition, offset), oracle.Name(source, event_id), outcome)
                for topic, partition, offset, source, event_id, outcome in rows(
                    f"SELECT topic, partition, offset, source, id, outcome FROM events WHERE {SENT}"
                )
            ],
            letters=[
                (place(*where), outcome)
                for *where, outcome in rows("SELECT topic, partition, offset, outcome FROM dead_letters")
            ],
            sums={
                (kpi, channel, minute // 60): Counter(dict(bins))
                if kpi in oracle.BINNED
                else [int(one) for one in flat]
                for kpi, channel, minute, flat, bins in sums
            },
            alerts=[
                (one["id"], oracle.Change(one["labels"]["channel"], one["old"], one["new"], one["minute"]))
                for one in alerts
                if one["rule"] == oracle.RULE and one["old"] != one["new"]
            ],
            stored_alerts=[
                (name, oracle.Change(channel, old, new, at // 60 - 1)) for name, channel, old, new, at in stored
            ],
        )

    def _records(self) -> list[oracle.Record]:
        mark = f"#{self._generation}" if self._generation else ""
        return [
            oracle.Record(record.topic + mark, record.partition, record.offset, record.value)
            for topic in self._pipeline.topics.sources
            for record in self._pipeline.consume(topic)
        ]

    def _place(self, topic: str, partition: int, position: int) -> tuple[str, int, int]:
        """Return a stored position as the topic of its generation, and the offset."""
        epoch, offset = divmod(position, 1 << EPOCH_BITS)
        made_anew = self._generation and epoch >= self.first_epoch
        return (f"{topic}#{self._generation}" if made_anew else topic), partition, offset
