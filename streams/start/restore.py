"""
Rebuild the state of the workers from the store: the ids of accepted events, the sums that windows and totals need, how
far minutes were closed, and where sources are read on.

Everything here may be done again after it was interrupted. It begins by committing offsets that nobody can mistake for
real ones, which also proves that no worker is alive, and ends by committing the right ones.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from clickhouse_connect.driver.client import Client
from faust.types import TP
from kafka.errors import KafkaError

from streams.agents import records
from streams.engine.app import MAX_RECORD_BYTES
from streams.engine.fence import CLAIM
from streams.engine.outgoing import Outgoing
from streams.engine.state import table_key
from streams.engine.topics import TopicsError
from streams.events.inheritance import inherited_ranges
from streams.events.intake import FrozenRange, SourceHead, Tally
from streams.events.scalars import CHANNELS, DERIVED
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.definition import Kpi
from streams.kpis.language.series import LABEL_FORM, parse_series
from streams.kpis.rolling.inheritance import inherited_records
from streams.kpis.rolling.journal import Marker, marker_record
from streams.kpis.rolling.retention import Retention
from streams.producers.wire import connection_options, open_client
from streams.secured.kafka import kafka_client_options
from streams.settings import Settings, window_names
from streams.start.broker import StartBroker
from streams.start.cases import case_entries
from streams.start.facts import RESTORING, StartFacts, Topic
from streams.storage.connection import FAILURES, Address, StorageError, connect, explain
from streams.storage.history import closed_minutes, kpi_history, left_series, newest_position, source_histories
from streams.storage.repair import redefined, repair
from streams.storage.starts import Start, add_balances, beyond, marks, record_label_form, record_starts, starts

_SEND_TIMEOUT_S: Final = 60.0
_NEVER: Final = float("-inf")


class RestoreError(StorageError):
    """The store cannot be gone on with under these settings."""


@dataclass(slots=True)
class Restored:
    """What was taken over: event ids, KPI series, the ids of KPIs whose sums had to be corrected, and what is lost."""

    ids: int = 0
    series: int = 0
    repaired: tuple[str, ...] = ()
    expired: tuple[tuple[str, int, int], ...] = ()
    """Records that left their topic before they were stored, by topic and partition."""


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


class Restoration:
    """Fills changelogs and sets offsets; needs an account of the store that may insert, and delete KPI rows."""

    def __init__(
        self,
        settings: Settings,
        store: Address,
        catalogue: Catalogue,
        broker: StartBroker,
        *,
        confirm: Callable[[], None],
        say: Callable[[str], None],
        wait_s: float,
    ) -> None:
        """
        Prepare; nothing is changed.

        Args:
            settings: Of the workers.
            store: Where everything is kept.
            catalogue: Only its KPIs are taken over.
            broker: Connected.
            confirm: Raises ClaimLostError if another worker may be restoring; asked before each change of topics.
            say: Told what takes time.
            wait_s: How long to wait for workers that were killed to be given up by the broker.
        """
        self._settings = settings
        self._store = store
        self._catalogue = catalogue
        self._broker = broker
        self._confirm = confirm
        self._say = say
        self._wait_s = wait_s

    def everything(self, facts: StartFacts, now: float, *, clean: bool) -> Restored:
        """
        Restore ids, sums and read positions under an epoch of which nothing is stored yet.

        Args:
            facts: As looked at.
            now: Unix s.
            clean: Whether the last run stored all it had taken in. If not, if series are named by labels of an earlier
                version, and for KPIs whose definition is new or has changed, the sums are recomputed from the stored
                events first, and corrected where they differ.

        Raises:
            LiveWorkersError: workers are running.
            RestoreError: the store was filled with more partitions than there are now.
            StorageError: the store does not answer, or refuses.
            TopicsError: the broker does not answer, or refuses.
        """
        settings, done = self._settings, Restored()
        self._commit({TP(facts.partials.name, p): RESTORING for p in self._partitions}, self._wait_s)
        with closing(connect(self._store, timeout_s=600.0)) as client:
            try:
                resumed = _resumed(facts, marks(client), starts(client), done)
                add_balances(client, beyond(client))
                closed = _closed_by_partition(client, self._catalogue, settings.partitions)
                clean = clean and not (facts.store and facts.store.named_otherwise)
                suspect = redefined(client, self._catalogue) if clean else list(self._catalogue)
                if not clean:
                    self._say("KPIs are compared with the stored events")
                done.repaired = tuple(repair(client, suspect, records.position(settings.epoch, 0) - 1))
                if done.repaired:
                    self._say(f"recomputed from the stored events: {', '.join(done.repaired)}")
                if facts.store and facts.store.labels not in (None, LABEL_FORM):
                    record_label_form(client)
                ids = self._ids(client, facts, self._partitions, now, done)
                sums = self._sums(client, closed, done)
                self._replace(facts.ingest, self._partitions, ids, now)
                self._replace(facts.merge, self._partitions, sums, now)
                self._replace(facts.relate, self._partitions, (), now)
                self._replace(facts.cases, self._partitions, case_entries(client, settings, now), now)
                read_on = (facts.partials, facts.blocks, facts.kpis, facts.facts, facts.case_facts)
                ends = {topic.name: _ends(topic) for topic in read_on}
                read = {TP(name, p): end for name in ends for p, end in enumerate(ends[name])}
                self._commit(resumed | read | _refilled(facts.ingest, facts.merge, facts.relate, facts.cases))
                begins = {name: tuple(offsets) for name, offsets in ends.items()}
                for changelog in (facts.ingest, facts.merge, facts.relate, facts.cases):
                    begins[changelog.name] = tuple(log.start for log in changelog.logs)
                for source in facts.sources:
                    begins[source.name] = tuple(resumed.get(TP(source.name, p), 0) for p in self._partitions)
                record_starts(client, starts_of(facts, begins))
            except FAILURES as error:
                raise explain(error, "restoring the state of workers from the store") from error
        return done

    def ids(self, facts: StartFacts, now: float) -> Restored:
        """Restore the changelog of ids alone, when exactly what sources have read is stored. Raises as `everything`."""
        done, partitions = Restored(), facts.lost_ingest() or list(self._partitions)
        read_on = {
            TP(source.name, p): mark + 1
            for source in facts.sources
            for p in partitions
            if (mark := facts.mark(source.name, p)) is not None
        }
        self._commit(dict.fromkeys(read_on, RESTORING), self._wait_s)
        with closing(connect(self._store, timeout_s=600.0)) as client:
            try:
                self._replace(facts.ingest, partitions, self._ids(client, facts, partitions, now, done), now)
                self._commit(read_on | _refilled(facts.ingest))
                record_starts(client, starts_of(facts, _begins_with(facts, partitions)))
            except FAILURES as error:
                raise explain(error, "restoring event ids from the store") from error
        return done

    def refill(self, facts: StartFacts) -> None:
        """Have everything stored again that topics retain of this epoch. Raises as `everything`."""
        topics = (facts.blocks, facts.kpis, facts.alerts)
        self._commit({TP(topic.name, p): topic.begin(p) for topic in topics for p in self._partitions}, self._wait_s)

    def _commit(self, offsets: Mapping[TP, int], wait_s: float = 0.0) -> None:
        self._confirm()
        self._broker.commit(offsets, wait_s)

    @property
    def _partitions(self) -> range:
        return range(self._settings.partitions)

    def _replace(
        self, changelog: Topic, partitions: Iterable[int], entries: Iterable[tuple[int, bytes, bytes]], now: float
    ) -> None:
        """Replace what partitions of a changelog hold; whatever an owner from before still sends is void then."""
        self._confirm()
        held = self._broker.contents(changelog.name, {p: changelog.logs[p].end for p in partitions})
        headers = {p: [log.fence.after(1, int(1000 * now)).header()] for p, log in held.items()}
        claims = [(p, table_key(p, CLAIM), None) for p in held]
        gone = [(p, key, None) for p, log in held.items() for key in log.entries]
        written = ((p, table_key(p, key), value) for p, key, value in entries)
        _send(
            self._settings,
            (Outgoing(changelog.name, p, key, value, headers[p]) for p, key, value in chain(claims, gone, written)),
        )

    def _ids(
        self, client: Client, facts: StartFacts, partitions: Sequence[int], now: float, done: Restored
    ) -> Iterator[tuple[int, bytes, bytes]]:
        settings = self._settings
        channels = dict(zip((source.name for source in facts.sources), (*CHANNELS, DERIVED), strict=True))
        # One that nothing is known of is written all the same: a changelog that is empty is one that was lost.
        silent = {(channel, partition) for channel in channels.values() for partition in partitions}
        for history in source_histories(client, settings.dedup_ids):
            if history.topic not in channels:
                continue
            if history.partition >= settings.partitions:
                raise RestoreError(
                    f"the store was filled from {history.topic}/{history.partition}, but there are"
                    f" {settings.partitions} partitions now: set CX_PARTITIONS as it was, or use another store"
                )
            channel = channels[history.topic]
            if history.partition not in partitions:
                continue
            done.ids += len(history.ids)
            for one in inherited_ranges(
                f"{channel}/{history.partition}",
                list(zip(history.sources, history.ids, history.contents, strict=True)),
                history.times,
                forgotten_newest=history.forgotten_newest,
                tally=Tally(*history.balance),
                now=now,
                dedup_ids=settings.dedup_ids,
            ):
                silent.discard((channel, history.partition))
                yield history.partition, one.key(), records.encode(one)
        for channel, partition in sorted(silent):
            nothing = FrozenRange(
                f"{channel}/{partition}", -1, -1, now, SourceHead(), SourceHead(), b"", _NEVER, marks=b""
            )
            yield partition, nothing.key(), records.encode(nothing)

    def _sums(self, client: Client, closed: dict[int, int], done: Restored) -> Iterator[tuple[int, bytes, bytes]]:
        settings, catalogue = self._settings, self._catalogue
        fence = records.position(settings.epoch, 0) - 1
        left = left_series(client)  # all have room again, until it is known what is heavy
        by_partition: dict[int, list[Kpi]] = {partition: [] for partition in self._partitions}
        for kpi in catalogue:
            if kpi.derive is None:  # the others are made of these whenever they are published
                by_partition[catalogue.partition_of(kpi.id, settings.partitions)].append(kpi)
        for partition, kpis in by_partition.items():
            history = kpi_history(client, kpis, closed.get(partition), Retention.of(window_names(settings), 60))
            if history.unfit:
                raise RestoreError(f"sums of {', '.join(sorted(history.unfit))} do not fit the definition")
            pieces = (*history.hours, *history.minutes)
            series = {*history.before, *(key for _, of_piece in pieces for key in of_piece)}
            done.series += len(series)
            entries = list(
                inherited_records(
                    history.before,
                    history.minutes,
                    closed=closed.get(partition),
                    fence=fence,
                    hours=history.hours,
                    delayed={kpi.id for kpi in kpis if kpi.delayed},
                    publish_again=[key for key in series if key in left or parse_series(key)[0] in done.repaired],
                )
            )
            for key, value in entries or [marker_record(Marker(fence=fence))]:
                if value is not None:
                    yield partition, key, value


def starts_of(facts: StartFacts, begins: Mapping[str, tuple[int, ...]] | None = None) -> list[Start]:
    """Return what is recorded of the topics of this epoch, which begins where it did, and in new topics at zero."""
    if begins is None:
        begins = _begins(facts)
    return [
        Start(facts.epoch, topic.name, topic.id, facts.partitions, begins.get(topic.name, ())) for topic in facts.topics
    ]


def _begins(facts: StartFacts) -> dict[str, tuple[int, ...]]:
    return {topic.name: topic.begins for topic in facts.topics if topic.known_id == topic.id}


def _begins_with(facts: StartFacts, restored: Collection[int]) -> dict[str, tuple[int, ...]]:
    """Return where topics begin when some partitions of the changelog of ids have just been restored."""
    ids = facts.ingest
    starts = tuple(log.start if p in restored else ids.begun(p) for p, log in enumerate(ids.logs))
    return _begins(facts) | {ids.name: starts}


def _resumed(
    facts: StartFacts, known: Mapping[tuple[str, int], int], recorded: Sequence[Start], done: Restored
) -> dict[TP, int]:
    """Return the offsets to read sources on from: behind what is stored, or from the beginning of one made anew."""
    ids = {(start.epoch, start.topic): start.topic_id for start in recorded}
    found, expired = {}, []
    for source in facts.sources:
        for p, log in enumerate(source.logs):
            mark = known.get((source.name, p))
            if mark is None:
                if log.committed is not None:
                    found[TP(source.name, p)] = log.start
                continue
            epoch = records.epoch_of(mark)
            behind = mark - records.position(epoch, 0) + 1
            then = ids.get((epoch, source.name), "")
            # Without names only an offset that is still committed, and still in the log, tells that it is the same.
            same = then == source.id if then and source.id else log.committed is not None and not source.anew
            if not same or behind > log.end:
                if log.committed is not None or same:
                    found[TP(source.name, p)] = log.end if same else log.start
                continue
            found[TP(source.name, p)] = max(behind, log.start)
            if behind < log.start:
                expired.append((source.name, p, log.start - behind))
    done.expired = tuple(expired)
    return found


def _refilled(*changelogs: Topic) -> dict[TP, int]:
    """Return offsets for changelogs that hold something else now: where they end is for the next worker to say."""
    return {TP(topic.name, p): 0 for topic in changelogs for p in range(len(topic.logs))}


def _ends(topic: Topic) -> list[int]:
    return [log.end for log in topic.logs]


def _closed_by_partition(client: Client, catalogue: Catalogue, partitions: int) -> dict[int, int]:
    closed: dict[int, int] = {}
    for kpi, minute in closed_minutes(client).items():
        partition = catalogue.partition_of(kpi, partitions)
        closed[partition] = max(minute, closed.get(partition, minute))
    return closed


def _send(settings: Settings, outgoing: Iterable[Outgoing]) -> None:
    options: dict[str, Any] = {"max_request_size": 2 * MAX_RECORD_BYTES, **kafka_client_options(settings)}
    try:
        producer = open_client(connection_options(settings.kafka, _SEND_TIMEOUT_S, 10.0, options))
        try:
            sent = [
                producer.send(
                    one.topic, one.value, key=one.key, partition=one.partition, headers=list(one.headers or ())
                )
                for one in outgoing
            ]
            for future in sent:
                future.get(_SEND_TIMEOUT_S)
        finally:
            producer.close(5.0)
    except (KafkaError, OSError) as error:
        raise TopicsError(f"{settings.kafka} does not take the state over: {error}") from error
