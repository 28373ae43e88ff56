"""State that is written to an explicit partition of a changelog, and read back after recovery."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from faust.stores import base
from faust.tables.manager import TableManager
from faust.types import TP

from streams import metrics
from streams.engine.copies import ChangelogCopies, LogChange
from streams.engine.fence import CLAIM, NO_FENCE, Fence, LogRecord, PartitionLog, fence_of
from streams.engine.outgoing import Outgoing, StaleGenerationError, StateLostError

if TYPE_CHECKING:
    from streams.engine.app import BatchApp

LOG = logging.getLogger(__name__)

Entry = tuple[int, bytes, bytes | None]
"""Partition, key and value; None deletes the key."""


class FencedTable:
    """Bytes by bytes, per partition, durable before `write` returns.

    Faust declares, assigns and seeks the changelog; what is in it is kept here. Whoever writes has to store, in the
    same record as the state, up to which source offset that state is complete: only single records are atomic.

    Attributes:
        name: Name of the table.
        sources: Topics whose records the state is made of.
        changelog: Name of the changelog topic.
    """

    def __init__(self, app: BatchApp, name: str, sources: Sequence[str] = ()) -> None:
        self.name = name
        self.sources = sources
        self._app = app
        table: Any = app.Table(
            name,
            key_type=bytes,
            value_type=bytes,
            partitions=app.conf.topic_partitions,
        )
        table._data = _Elsewhere(app.conf.store, app, table)  # noqa: SLF001
        self.changelog: str = table.changelog_topic_name
        self._logs: dict[int, PartitionLog] = {}
        self._copies: ChangelogCopies | None = None
        self._certain = True

    # Reading

    def absorb(self, partition: int, records: Sequence[Any]) -> None:
        """Take in records of the changelog as they were fetched."""
        log = self._log(partition)
        before = log.void
        log.apply(_log_records(partition, records))
        if log.void > before:
            metrics.FENCED_RECORDS.labels(self.name, "skipped").inc(log.void - before)

    def load(self, partition: int) -> Mapping[bytes, bytes]:
        """All entries of an owned partition, as recovered and as written since: a view, however many they are."""
        log = self._logs.get(partition)
        return MappingProxyType({} if log is None else log.entries)

    def read_until(self, tp: TP) -> int | None:
        """Offset behind the last record contained of a changelog partition; `None` if nothing is held of it."""
        log = self._logs.get(tp.partition) if tp.topic == self.changelog else None
        return None if log is None else log.next

    def ends(self) -> dict[TP, int]:
        """Offset behind the last record contained, of every changelog partition of which something is held."""
        return {TP(self.changelog, partition): log.next for partition, log in self._logs.items()}

    def keep_only(self, partitions: Iterable[int]) -> None:
        """Forget all other partitions: another worker may change them from now on.

        What is not certain is forgotten too where there are copies, which are right: reading goes on behind them.
        """
        kept = set(partitions) if self._certain or self._copies is None else set()
        self._certain = True
        self._logs = {partition: log for partition, log in self._logs.items() if partition in kept}

    def _log(self, partition: int) -> PartitionLog:
        if partition not in self._logs:
            self._logs[partition] = PartitionLog(changed=None if self._copies is None else set())
        return self._logs[partition]

    # Copying

    def copy_to(self, copies: ChangelogCopies) -> None:
        """From now on take what is not in memory from `copies`, and tell in `changes` what is new for them."""
        self._copies = copies

    def recall(self, partition: int) -> None:
        """Take a partition of which nothing is held from its copy, if there is one."""
        if self._copies is None or partition in self._logs:
            return
        try:
            log = self._copies.load(self.changelog, partition)
        except sqlite3.Error as error:
            LOG.warning("%s/%d: its copy cannot be read, all of it is read anew: %s", self.changelog, partition, error)
            return
        if log is not None:
            log.changed = set()
            self._logs[partition] = log
            LOG.info("%s/%d: copied up to offset %d, %d keys", self.changelog, partition, log.next, len(log.entries))

    def changes(self) -> list[LogChange]:
        """Return what is new since the last call; nothing while what others wrote is being read back."""
        if not self._certain:
            return []
        found = []
        for partition, log in self._logs.items():
            if log.changed:
                entries = [(key, log.entries.get(key)) for key in log.changed]
                found.append(LogChange(self.changelog, partition, log.next, log.fence, entries))
                log.changed = set()
        return found

    def take_back(self, change: LogChange) -> None:
        """Tell a change again in the next call: it could not be copied."""
        log = self._logs.get(change.partition)
        if log is not None and log.changed is not None:
            log.changed.update(key for key, _ in change.entries)

    @contextmanager
    def _reading_back(self) -> Iterator[None]:
        """Until it ends well, what is held may not be what the log says up to `next`: no copy is made of that."""
        self._certain = False
        yield
        self._certain = True

    # Owning

    async def claim(self, generation: int, partitions: Iterable[int]) -> None:
        """Make this worker the owner of recovered partitions.

        Whatever the owner before managed to write until our claim is taken in; what it writes later is void.

        Raises:
            StaleGenerationError: The partitions have moved on.
        """
        before: dict[int, Fence] = {}
        with self._reading_back():
            for partition in partitions:
                log = self._log(partition)
                before[partition] = log.fence
                log.fence = log.fence.after(self._app.lease.generation, int(time.time() * 1000))
            claims = [(partition, CLAIM, None) for partition in before]
            for partition, start, end in await self._append(generation, claims):
                written = await self._read(partition, start, end)
                self._app.require_live(generation)  # else what is held may have been taken from a copy meanwhile
                log = self._logs[partition]
                ours, log.fence, log.next = log.fence, before[partition], start
                log.apply(written)
                if log.fence > ours:
                    raise StaleGenerationError(
                        f"{self.changelog}/{partition} belongs to {log.fence}, and we are {ours}"
                    )
                log.fence, log.next = ours, end + 1

    def require_whole(self, partition: int, begun: int, beginning: int, committed: int) -> None:
        """Refuse to go on with a changelog that lacks what it held, when records have been read that it knows of.

        Args:
            partition: A claimed one.
            begun: Offset of the first record that the broker had when this worker started.
            beginning: Offset of the first record that it has now: compaction leaves it where it is.
            committed: Where the changelog ended when offsets of the sources were committed last.

        Raises:
            StateLostError: It was emptied, cut, or made anew, while workers were running.
        """
        end = self._logs[partition].next
        if beginning > begun or committed > end:
            raise StateLostError(
                f"{self.changelog}/{partition} has offsets {beginning} to {end - 1}, and had {begun} to"
                f" {max(committed, end) - 1}: this worker ends, and the check at its next start restores what can be"
            )

    # Writing

    async def write(self, generation: int, partition: int, entries: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Write `entries` to `partition` and wait until the broker has confirmed them.

        Args:
            generation: Assignment the entries were computed in.
            partition: Partition of the changelog, that of the source records.
            entries: Keys with their new values; `None` deletes the key.

        Raises:
            StaleGenerationError: The partition may belong to another worker by now.
            Exception: A send failed; the application is going down.
        """
        await self.write_many(generation, ((partition, key, value) for key, value in entries))

    async def write_many(self, generation: int, entries: Iterable[Entry]) -> None:
        """Write `(partition, key, value)` entries of several partitions in one go; see `write`."""
        gaps = await self._append(generation, entries)
        with self._reading_back():
            while gaps:
                gaps = await self._append(generation, [entry for gap in gaps for entry in await self._mended(*gap)])

    async def _append(self, generation: int, entries: Iterable[Entry]) -> list[tuple[int, int, int]]:
        """Write entries; return `(partition, start, end)` of offsets that somebody else has written in between."""
        self._app.require_live(generation)
        written = list(entries)
        logs = self._logs
        headers = {partition: [logs[partition].fence.header()] for partition in {one[0] for one in written}}
        offsets = await self._app.produce(
            generation,
            [
                Outgoing(self.changelog, partition, table_key(partition, key), value, headers[partition])
                for partition, key, value in written
            ],
        )
        gaps = []
        for (partition, key, value), offset in zip(written, offsets, strict=True):
            log = logs[partition]
            log.put(key, value)
            if offset > log.next:
                gaps.append((partition, log.next, offset))
            log.next = max(log.next, offset + 1)
        return gaps

    async def _mended(self, partition: int, start: int, end: int) -> list[Entry]:
        """Return our values of the keys that somebody else has written: compaction would keep theirs."""
        log = self._logs[partition]
        foreign = [record for record in await self._read(partition, start, end) if record.fence != log.fence]
        newest = max((record.fence for record in foreign if record.fence is not None), default=NO_FENCE)
        if newest > log.fence:
            raise StaleGenerationError(f"{self.changelog}/{partition} belongs to {newest}, and we are {log.fence}")
        keys = {record.key for record in foreign}
        if keys:
            metrics.FENCED_RECORDS.labels(self.name, "mended").inc(len(keys))
        return [(partition, key, log.entries.get(key)) for key in keys]

    async def _read(self, partition: int, start: int, end: int) -> list[LogRecord]:
        return list(_log_records(partition, await self._app.read_back(TP(self.changelog, partition), start, end)))


async def copy_changes(tables: Iterable[FencedTable], copies: ChangelogCopies) -> None:
    """Bring copies up to date, in a thread.

    Raises:
        sqlite3.Error: They cannot be written; what is new is new for the next call too.
    """
    changes = [(table, change) for table in tables for change in table.changes()]
    try:
        await asyncio.to_thread(copies.keep, [change for _, change in changes])
    except BaseException:
        for table, change in changes:
            table.take_back(change)
        raise


class PromptTables(TableManager):
    """Faust's tables, which are all there before it starts: it waits a second for those that are made meanwhile."""

    async def on_start(self) -> None:
        """Begin at once."""
        await self._update_channels()
        await self.recovery.start()


class _Elsewhere(base.Store[bytes, bytes]):
    """A store for Faust's table that holds nothing: the records were taken in when they were fetched."""

    def persisted_offset(self, tp: Any) -> None:
        """Know nothing: begin_recovery says where reading goes on."""

    def apply_changelog_batch(self, batch: Any, to_key: Any, to_value: Any) -> None:
        """Keep nothing."""

    def __getitem__(self, key: Any) -> Any:
        raise KeyError(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError("a fenced table is written by FencedTable.write")

    def __delitem__(self, key: Any) -> None:
        raise KeyError(key)

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def reset_state(self) -> None:
        """Hold nothing."""

    async def backup_partition(self, tp: Any, flush: bool = True, purge: bool = False, keep: int = 1) -> None:
        """Hold nothing."""

    def restore_backup(self, tp: Any, latest: bool = True, backup_id: int = 0) -> None:
        """Hold nothing."""


def table_key(partition: int, key: bytes) -> bytes:
    """The key of an entry as it stands in the changelog."""
    return _prefix(partition) + key


def _prefix(partition: int) -> bytes:
    return b"%d/" % partition


def _log_records(partition: int, records: Iterable[Any]) -> Iterator[LogRecord]:
    prefix = len(_prefix(partition))
    for record in records:
        yield LogRecord(record.offset, (record.key or b"")[prefix:], record.value, fence_of(record.headers))
