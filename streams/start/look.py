"""Look at everything that must agree when a worker starts; changes nothing."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Final

from clickhouse_connect.driver.client import Client
from faust.types import TP

from streams.agents import records
from streams.engine.names import Topics
from streams.engine.topics import topic_plan
from streams.kpis.language.series import LABEL_FORM
from streams.settings import Settings
from streams.start.broker import StartBroker
from streams.start.facts import Held, Log, StartFacts, StoredSource, Topic
from streams.storage.connection import FAILURES, Address, UnreachableError, connect, explain
from streams.storage.relabel import named_otherwise
from streams.storage.starts import Start, beyond, has_minute, has_tables, has_value, marks, starts

VALUES_KEPT_S: Final = 20 * 3600.0
"""Rolling values may leave the store after a day: the absence of older ones proves nothing."""


def look(settings: Settings, store: Address, broker: StartBroker, now: float) -> StartFacts:
    """
    Compare nothing yet, only look.

    Args:
        settings: Of the workers.
        store: An account that may read.
        broker: Connected.
        now: Unix s.

    Raises:
        TopicsError: Kafka does not answer.
        PermanentStorageError: the store refuses.
    """
    names = Topics(settings.topic_prefix)
    plan = [spec.name for spec in topic_plan(settings.partitions, 1, settings.app_id, settings.topic_prefix)]
    described = broker.describe(plan)
    counts = {name: found.partitions for name, found in described.items()}
    missing = tuple(name for name in plan if name not in described)
    comparable = not missing and set(counts.values()) == {settings.partitions}
    # Workers may be going on meanwhile: what is committed is stored, and what is stored was in its topic.
    committed = broker.committed()
    recorded = _recorded(store)
    read = {name: count for name, count in counts.items() if name != names.dead_letters}  # which nobody of us reads
    logs = broker.logs(read, committed) if comparable else {}

    def topic(name: str) -> Topic:
        then = recorded[1].get((settings.epoch, name)) if recorded else None
        known_id, begins = (then.topic_id, then.begins) if then else ("", ())
        return Topic(name, logs.get(name, ()), described[name].id if name in described else "", known_id, begins)

    facts = StartFacts(
        epoch=settings.epoch,
        partitions=settings.partitions,
        missing=missing,
        counts=counts,
        sources=tuple(map(topic, names.all_sources)),
        ingest=topic(f"{settings.app_id}-ingest-changelog"),
        merge=topic(f"{settings.app_id}-merge-changelog"),
        relate=topic(f"{settings.app_id}-relate-changelog"),
        facts=topic(names.facts),
        cases=topic(f"{settings.app_id}-cases-changelog"),
        case_facts=topic(names.case_facts),
        case_rows=topic(names.cases),
        partials=topic(names.partials),
        blocks=topic(names.blocks),
        kpis=topic(names.kpis),
        alerts=topic(names.alerts),
        notifications=topic(names.notifications),
        store=recorded[0] if recorded else None,
    )
    if not comparable:
        return facts
    facts = replace(facts, newest=_newest_epoch(facts, broker))
    return _held_of(facts, store, broker, now) if facts.store is not None and facts.store.tables else facts


def _recorded(store: Address) -> tuple[StoredSource, Mapping[tuple[int, str], Start]] | None:
    """Return what is stored, and the topics of every epoch; None when the store does not answer."""
    try:
        if not has_tables(store):
            return StoredSource(tables=False), {}
        with closing(connect(store)) as client:
            try:
                known, recorded = marks(client), starts(client)
                newest = max(recorded, key=lambda start: (start.epoch, start.labels), default=None)
                # Looked at once: what workers of now have begun with, they name as they do now.
                named_now = newest is not None and newest.labels == LABEL_FORM
                found = {} if named_now else named_otherwise(client, by_another_rule=newest is not None)
            except FAILURES as error:
                raise explain(error, "looking at what is stored") from error
    except UnreachableError:
        return None
    epochs = [*map(records.epoch_of, known.values()), *(start.epoch for start in recorded)]
    stored = StoredSource(
        epoch=max(epochs, default=None),
        partitions=newest.partitions if newest is not None else None,
        marks=known,
        labels=newest.labels if newest is not None else None,
        named_otherwise=sum(found.values()),
    )
    return stored, {(start.epoch, start.topic): start for start in recorded}


def _newest_epoch(facts: StartFacts, broker: StartBroker) -> int | None:
    """Tell of which epoch the newest records of the blocks are."""
    wanted = {TP(facts.blocks.name, p): log.end - 1 for p, log in enumerate(facts.blocks.logs) if log.end > log.start}
    found = [records.decode_block(value).last for value in broker.records(wanted).values()]
    return max(map(records.epoch_of, found), default=None)


def _held_of(facts: StartFacts, store: Address, broker: StartBroker, now: float) -> StartFacts:
    """Add whether the store has what was finished."""
    assert facts.store is not None
    known = facts.store.marks
    try:
        with closing(connect(store)) as client:
            try:
                if facts.lost_ingest() or any(source.interrupted for source in facts.sources):
                    found = frozenset((one.topic, one.partition) for one in beyond(client))
                    facts = replace(facts, store=replace(facts.store, beyond=found))
                return replace(
                    facts,
                    blocks_held=_held(facts.blocks, broker, lambda value: _has_block(known, value)),
                    kpis_held=_held(facts.kpis, broker, lambda value: _has_rows(client, value, now)),
                )
            except FAILURES as error:
                raise explain(error, "looking at what is stored") from error
    except UnreachableError:
        return replace(facts, store=None)


def _held(topic: Topic, broker: StartBroker, has: Callable[[bytes], bool | None]) -> tuple[Held, ...]:
    """Ask after the last records that are finished; after the first ones only if one of those is not there."""
    last = _asked(topic, broker, has, lambda log, begin: (log.committed or 0) - 1 if log.committed != begin else -1)
    first: Mapping[int, bool | None] = {}
    if any(one is False for one in last.values()):
        first = _asked(topic, broker, has, lambda _log, begin: begin)
    return tuple(Held(last.get(p), first.get(p)) for p in range(len(topic.logs)))


def _asked(
    topic: Topic, broker: StartBroker, has: Callable[[bytes], bool | None], place: Callable[[Log, int], int]
) -> dict[int, bool | None]:
    wanted = {}
    for p, log in enumerate(topic.logs):
        offset = place(log, topic.begin(p))
        if topic.begin(p) <= offset < log.end:
            wanted[TP(topic.name, p)] = offset
    return {tp.partition: has(value) for tp, value in broker.records(wanted).items()}


def _has_block(known: Mapping[tuple[str, int], int], value: bytes) -> bool:
    block = records.decode_block(value)
    return block.last <= known.get((block.topic, block.partition), -1)


def _has_rows(client: Client, value: bytes, now: float) -> bool | None:
    """Return whether a published record is stored, by its last row."""
    record = records.decode_kpis(value)
    if record.minutes:
        minute = record.minutes[-1]
        return has_minute(client, minute.kpi, minute.labels, minute.minute, minute.revision)
    if record.values and now - record.at < VALUES_KEPT_S:
        row = record.values[-1]
        return has_value(client, row.kpi, row.labels, row.at, row.revision)
    return None
