"""State that is written to an explicit partition of a changelog, and read back after recovery."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from streams.engine.outgoing import Outgoing

if TYPE_CHECKING:
    from streams.engine.app import BatchApp


class FencedTable:
    """Bytes by bytes, per partition, durable before `write` returns.

    Faust declares, assigns and recovers the changelog; nothing else of its tables is used. Whoever writes
    has to store, in the same record as the state, up to which source offset that state is complete: only
    single records are atomic.

    Attributes:
        name: Name of the table.
        changelog: Name of the changelog topic.
    """

    def __init__(self, app: BatchApp, name: str) -> None:
        self.name = name
        self._app = app
        table: Any = app.Table(
            name,
            key_type=bytes,
            value_type=bytes,
            partitions=app.conf.topic_partitions,
        )
        self._table = table
        self.changelog: str = table.changelog_topic_name

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

    async def write_many(self, generation: int, entries: Iterable[tuple[int, bytes, bytes | None]]) -> None:
        """Write `(partition, key, value)` entries of several partitions in one go; see `write`."""
        self._app.require_live(generation)
        records = []
        local = self._table.data
        for partition, key, value in entries:
            full_key = table_key(partition, key)
            if value is None:
                local.pop(full_key, None)
            else:
                local[full_key] = value
            records.append(Outgoing(self.changelog, partition, full_key, value))
        await self._app.produce(generation, records)

    def load(self, partition: int) -> dict[bytes, bytes]:
        """All entries of an owned partition, as recovered and as written since."""
        prefix = _prefix(partition)
        return {
            bytes(key[len(prefix) :]): bytes(value) for key, value in self._table.data.items() if key.startswith(prefix)
        }

    def keep_only(self, partitions: set[int]) -> None:
        """Forget the entries of all other partitions: another worker may change them from now on."""
        local = self._table.data
        for key in [key for key in local if int(bytes(key).partition(b"/")[0]) not in partitions]:
            del local[key]


def table_key(partition: int, key: bytes) -> bytes:
    """The key of an entry as it stands in the changelog."""
    return _prefix(partition) + key


def _prefix(partition: int) -> bytes:
    return b"%d/" % partition
