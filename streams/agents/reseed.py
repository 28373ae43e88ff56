"""
Rebuild the state of the workers from the store, into changelogs that are new and empty.

For an installation whose topics are gone and whose store is kept, as after each end of the embedded broker: the ids of
accepted events, the sums that windows and totals need, and how far minutes were closed. Without it, events sent again
would be counted again, and windows and totals would start from nothing.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from clickhouse_connect.driver.client import Client
from kafka.errors import KafkaError

from streams.agents import records
from streams.engine.app import MAX_RECORD_BYTES
from streams.engine.names import Topics
from streams.engine.outgoing import Outgoing
from streams.engine.state import table_key
from streams.engine.topics import TopicsError
from streams.events.dedup import digest
from streams.events.inheritance import inherited_ranges
from streams.events.intake import Tally
from streams.kpis.catalogue import Catalogue
from streams.kpis.definition import Kpi
from streams.kpis.inheritance import inherited_records
from streams.kpis.retention import Retention
from streams.kpis.series import parse_series
from streams.producers.wire import connection_options, open_client
from streams.secured.kafka import kafka_client_options
from streams.settings import Settings, window_names
from streams.storage.connection import FAILURES, Address, StorageError, connect, explain
from streams.storage.history import closed_minutes, kpi_history, newest_position, source_histories
from streams.storage.repair import redefined, repair

_SEND_TIMEOUT_S: Final = 60.0


class ReseedError(StorageError):
    """The store cannot be gone on with under these settings."""


@dataclass(slots=True)
class Reseeded:
    """What was taken over: event ids, KPI series, and the ids of KPIs whose sums had to be corrected first."""

    ids: int = 0
    series: int = 0
    repaired: tuple[str, ...] = ()


def next_epoch(store: Address, at_least: int = 0) -> int:
    """
    Return the lowest epoch, from `at_least`, whose positions are all above those in the store.

    Raises:
        StorageError: the store does not answer.
    """
    with closing(connect(store)) as client:
        try:
            newest = newest_position(client)
        except FAILURES as error:
            raise explain(error, "asking for the newest position") from error
    return at_least if newest is None else max(at_least, records.epoch_of(newest) + 1)


def reseed(
    settings: Settings,
    store: Address,
    catalogue: Catalogue,
    *,
    now: float,
    clean: bool,
    say: Callable[[str], None] = lambda _text: None,
) -> Reseeded:
    """
    Fill the changelogs of `settings.app_id` with what the store knows; they must be empty, and no worker may run.

    Args:
        settings: With the epoch of the new topics.
        store: An account that may insert and delete.
        catalogue: Only its KPIs are taken over.
        now: Unix s.
        clean: Whether the last run stored all it had taken in. If not, and for KPIs whose definition is new or has
            changed, the sums are recomputed from the stored events first, and corrected where they differ.
        say: Told what takes time.

    Raises:
        ReseedError: the store was filled with more partitions than there are now.
        StorageError: the store does not answer, or refuses.
        TopicsError: the broker does not answer, or refuses.
    """
    done = Reseeded()
    with closing(connect(store, timeout_s=600.0)) as client:
        try:
            closed = _closed_by_partition(client, catalogue, settings.partitions)
            suspect = list(catalogue) if not clean else redefined(client, catalogue)
            if not clean:
                say("the last run did not end by itself: its KPIs are recomputed from the stored events")
            done.repaired = tuple(repair(client, suspect, records.position(settings.epoch, 0) - 1))
            if done.repaired:
                say(f"recomputed from the stored events: {', '.join(done.repaired)}")
            _send(settings, [*_ingest(client, settings, now, done), *_merge(client, settings, catalogue, closed, done)])
        except FAILURES as error:
            raise explain(error, "reading what earlier runs have stored") from error
    return done


def _closed_by_partition(client: Client, catalogue: Catalogue, partitions: int) -> dict[int, int]:
    closed: dict[int, int] = {}
    for kpi, minute in closed_minutes(client).items():
        partition = catalogue.partition_of(kpi, partitions)
        closed[partition] = max(minute, closed.get(partition, minute))
    return closed


def _ingest(client: Client, settings: Settings, now: float, done: Reseeded) -> Iterator[Outgoing]:
    topics = Topics(settings.topic_prefix)
    changelog = f"{settings.app_id}-ingest-changelog"
    for history in source_histories(client, settings.dedup_ids):
        if history.topic not in topics.sources:
            continue
        if history.partition >= settings.partitions:
            raise ReseedError(
                f"the store was filled from {history.topic}/{history.partition}, but there are {settings.partitions}"
                " partitions now: set CX_PARTITIONS as it was, or use another store"
            )
        done.ids += len(history.ids)
        ranges = inherited_ranges(
            f"{topics.channel_of(history.topic)}/{history.partition}",
            list(map(digest, history.ids)),
            history.times,
            forgotten_newest=history.forgotten_newest,
            tally=Tally(*history.balance),
            now=now,
            dedup_ids=settings.dedup_ids,
        )
        for one in ranges:
            yield _entry(changelog, history.partition, one.key(), records.encode(one))


def _merge(
    client: Client, settings: Settings, catalogue: Catalogue, closed: dict[int, int], done: Reseeded
) -> Iterator[Outgoing]:
    by_partition: dict[int, list[Kpi]] = {}
    for kpi in catalogue:
        if kpi.derive is not None:  # made of the others whenever they are published
            continue
        by_partition.setdefault(catalogue.partition_of(kpi.id, settings.partitions), []).append(kpi)
    for partition, kpis in by_partition.items():
        history = kpi_history(client, kpis, closed.get(partition), Retention.of(window_names(settings), 60))
        if history.unfit:
            raise ReseedError(f"sums of {', '.join(sorted(history.unfit))} do not fit the definition")
        pieces = (*history.hours, *history.minutes)
        series = {*history.before, *(key for _, of_piece in pieces for key in of_piece)}
        done.series += len(series)
        entries = inherited_records(
            history.before,
            history.minutes,
            closed=closed.get(partition),
            fence=records.position(settings.epoch, 0) - 1,
            hours=history.hours,
            delayed={kpi.id for kpi in kpis if kpi.delayed},
            publish_again=[key for key in series if parse_series(key)[0] in done.repaired],
        )
        for key, value in entries:
            yield _entry(f"{settings.app_id}-merge-changelog", partition, key, value)


def _entry(changelog: str, partition: int, key: bytes, value: bytes | None) -> Outgoing:
    return Outgoing(changelog, partition, table_key(partition, key), value)


def _send(settings: Settings, outgoing: Iterable[Outgoing]) -> None:
    options: dict[str, Any] = {"max_request_size": 2 * MAX_RECORD_BYTES, **kafka_client_options(settings)}
    try:
        producer = open_client(connection_options(settings.kafka, _SEND_TIMEOUT_S, 10.0, options))
        try:
            sent = [producer.send(one.topic, one.value, key=one.key, partition=one.partition) for one in outgoing]
            for future in sent:
                future.get(_SEND_TIMEOUT_S)
        finally:
            producer.close(5.0)
    except (KafkaError, OSError) as error:
        raise TopicsError(f"{settings.kafka} does not take the state over: {error}") from error
