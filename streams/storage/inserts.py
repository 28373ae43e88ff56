"""
Inserts that take effect once, however often they are sent.

Every insert carries a token built from the exact range of records it came from; the tables remember tokens and drop
what they have. So the answer to every failure that may pass is the same: send the same bytes again under the same
token, until the server says yes. That also makes harmless that the client library repeats inserts by itself.
"""

import copy
import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from clickhouse_connect.driver.client import Client

from streams.settings import is_loopback
from streams.steady import steady
from streams.storage.connection import (
    FAILURES,
    Address,
    PermanentStorageError,
    RefusedRowsError,
    StorageError,
    UnreachableError,
    blames_rows,
    connect,
    explain,
)
from streams.storage.native import Column, native_block
from streams.storage.trouble import Troubles

logger = logging.getLogger(__name__)

ARRIVAL_S: Final = 5.0
"""An insert of a worker takes effect within this time or not at all: shorter than partitions wait to be given away."""

_CLOCK_KEPT_S: Final = 60.0
_LOOK_AGAIN_S: Final = 0.1

ATTEMPTS: Final = 3
"""Failures in a row of an insert, with the server answering, after which its rows are looked at."""


class InsertCancelledError(StorageError):
    """The writer is stopping; the insert may have taken effect, and must be sent again later."""


class Inserts:
    """
    Sends inserts to ClickHouse, blocking until they are stored.

    They may be sent from several threads at once. Nothing connects before the first insert, so this can be made while
    the server is away. `close` may be called from any thread.

    Attributes:
        troubles: What is not being stored just now.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout_s: float = 60.0,
        first_pause_s: float = 0.2,
        longest_pause_s: float = 15.0,
        on_retry: Callable[[str, int, StorageError], None] | None = None,
    ) -> None:
        """
        Prepare a writer.

        Args:
            address: A user of it must be allowed to insert.
            timeout_s: How long a server may take for one insert before it is sent again.
            first_pause_s: Pause before the second attempt; doubles up to `longest_pause_s`.
            longest_pause_s: The longest pause.
            on_retry: Told table, number of failed attempts, and why.
        """
        self._address = address
        self._timeout_s = timeout_s
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self.on_retry = on_retry
        self._stop = threading.Event()
        self._link = _Link(address, timeout_s)
        self._permit: Callable[[], float] = _always
        self.troubles = Troubles()
        self._compression = None if is_loopback(urlsplit(address.url).hostname or "") else "lz4"

    def under(self, permit: Callable[[], float]) -> Self:
        """
        Return a writer that shares the connection and asks `permit` before everything it does.

        It is asked before each attempt, and once more when the server has the head of an insert and waits for its rows:
        what `permit` raises then ends the insert before any of them is stored. It returns for how many seconds it
        holds, and the server refuses what reaches it later than that, or than `ARRIVAL_S`.
        """
        bound = copy.copy(self)
        bound._permit = permit  # noqa: SLF001
        return bound

    @property
    def under_way_s(self) -> float:
        """For how many seconds an insert of which nothing is known may still take effect."""
        return max(0.0, self._link.valid_until - steady())

    def close(self) -> None:
        """Make running inserts give up after their current attempt, and let go of the connections."""
        self._stop.set()
        self._link.close()

    def _insert(
        self, table: str, rows: int, columns: Sequence[Column], token: str, *, attempts: int | None = None
    ) -> None:
        names = [column.name for column in columns]
        self._send(table, names, native_block(rows, columns), token, self._compression, attempts=attempts)

    def _send(
        self,
        table: str,
        names: Sequence[str],
        body: bytes,
        token: str,
        compression: str | None,
        beside: Mapping[str, int] = MappingProxyType({}),
        *,
        attempts: int | None = None,
    ) -> None:
        settings: dict[str, Any] = {
            **beside,
            "async_insert": 0,
            "insert_deduplicate": 1,
            "insert_deduplication_token": token,
            "deduplicate_blocks_in_dependent_materialized_views": 1,
        }

        def send(client: Client) -> None:
            timed = settings | self._link.valid_for(client, min(self._permit(), ARRIVAL_S))
            client.raw_insert(
                table, names, self._permitted(body), settings=timed, fmt="Native", compression=compression
            )
            self._link.arrived()

        self._until_done(table, send, attempts=attempts)

    def _until_done(self, table: str, send: Callable[[Client], object], *, attempts: int | None = None) -> None:
        """
        Send until the server has said yes, or never will.

        What its rows may be to blame for is given up after so many `attempts` with the server answering otherwise.
        """
        pause_s = self._first_pause_s
        failed = suspicious = 0
        while not self._stop.is_set():
            self._permit()
            try:
                send(self._link.client())
            except (StorageError, *FAILURES) as failure:
                error = failure if isinstance(failure, StorageError) else explain(failure, f"inserting into {table}")
                blamed = False if attempts is None else blames_rows(failure)
                if blamed is None:
                    suspicious = suspicious + 1 if self._answers() else 0
                if blamed or (attempts is not None and suspicious >= attempts):
                    by_server = getattr(failure, "code", None) is not None
                    raise RefusedRowsError(str(error), by_server=by_server) from failure
                if isinstance(error, PermanentStorageError):
                    raise error from failure
                failed += 1
                self._link.forget_time()
                self.troubles.tell(table, str(error))
                logger.warning("insert into %s failed %d times, again in %.1f s: %s", table, failed, pause_s, error)
                if self.on_retry is not None:
                    self.on_retry(table, failed, error)
                self._pause(pause_s)
                pause_s = min(2 * pause_s, self._longest_pause_s)
            else:
                self.troubles.over(table)
                return
        raise InsertCancelledError(f"the insert into {table} was cancelled after {failed} failed attempts")

    def _answers(self) -> bool:
        """Whether the server answers a question that needs nothing but the server."""
        try:
            return bool(self._link.client().query("SELECT 1").result_rows)
        except (StorageError, *FAILURES):
            return False

    def _permitted(self, body: bytes) -> Generator[bytes, None, None]:
        # The server has the head by now: whoever looks for inserts under way sees this one.
        self._permit()
        yield body

    def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the end of the permit."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stop.wait(min(left, _LOOK_AGAIN_S)):
            self._permit()


class _Link:
    """
    One connection for a writer and all that are bound to a permit.

    Attributes:
        valid_until: When the newest insert of which nothing is known is refused (`steady` seconds).
    """

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._closed = False
        self._server: tuple[float, float] | None = None
        self.valid_until = 0.0

    def client(self) -> Client:
        with self._lock:
            if self._closed:
                raise UnreachableError("the writer is closed")
            if self._client is None:
                self._client = connect(self._address, timeout_s=self._timeout_s)
            return self._client

    def valid_for(self, client: Client, seconds: float) -> dict[str, str]:
        """Return the settings of an insert that the server shall refuse if it comes later than in so many seconds."""
        if seconds == float("inf"):
            return {}
        now = steady()
        if self._server is None or now - self._server[0] > _CLOCK_KEPT_S:
            [[server_ms]] = client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows
            # It was that late when the server answered: as of now it is later, never earlier.
            now = steady()
            self._server = now, server_ms / 1000
        self.valid_until = now + seconds
        return {"log_comment": f"cx-until {int((self._server[1] + self.valid_until - self._server[0]) * 1000)}"}

    def arrived(self) -> None:
        """Take note that no insert is under way any more."""
        self.valid_until = 0.0

    def forget_time(self) -> None:
        """Ask the server what time it is before the next insert: somebody may have set its clock."""
        self._server = None

    def close(self) -> None:
        with self._lock:
            client, self._client, self._closed = self._client, None, True
        if client is not None:
            client.close()


def _always() -> float:
    """Permit everything for ever."""
    return float("inf")
