"""The clocks of a worker, and the references it compares them with."""

import asyncio
import logging
import time
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from streams import metrics
from streams.aside import Aside
from streams.events.clock import Clock, ClockReading
from streams.steady import steady
from streams.storage.connection import FAILURES, Address, connect, explain

log = logging.getLogger(__name__)

EVERY_S: Final = 10.0
TIMEOUT_S: Final = 5.0


def read(clock: Clock) -> ClockReading:
    """Judge the worker's clock as of now."""
    return clock.read(time.time(), steady())


def store_time(client: Client) -> tuple[float, float]:
    """
    Ask ClickHouse what time it is; return its answer as of now (Unix s), and how far that may be off.

    Raises:
        StorageError: It does not tell.
    """
    began = steady()
    try:
        rows = client.query("SELECT toUnixTimestamp64Milli(now64(3))").result_rows
        said = float(rows[0][0]) / 1000
    except (*FAILURES, LookupError, TypeError, ValueError) as error:
        raise explain(error, "asking ClickHouse what time it is") from error
    half_s = (steady() - began) / 2
    return said + half_s, half_s


class References:
    """Compares a worker's clock with ClickHouse's, again and again, and with Kafka's, whenever that tells it."""

    def __init__(self, clock: Clock, address: Address) -> None:
        self._clock = clock
        self._address = address
        self._client: Client | None = None
        self._aside = Aside("clocks", first_pause_s=EVERY_S)
        self._known: ClockReading = ClockReading("unknown")

    def broker_said(self, said: float, within_s: float) -> None:
        """Take note of the time (Unix s) at which a broker took a record just now."""
        self._clock.measured("kafka", said, within_s, steady())

    async def keep_comparing(self) -> None:
        """Compare until cancelled."""
        await self._aside.keep(self._compare)

    async def _compare(self) -> Any:
        while True:
            try:
                said, within_s, at = await asyncio.to_thread(self._ask)
                self._clock.measured("clickhouse", said, within_s, at)
            finally:
                self._clock.awaited = False
                self._tell()
            await asyncio.sleep(EVERY_S)

    def _ask(self) -> tuple[float, float, float]:
        if self._client is None:
            self._client = connect(self._address, timeout_s=TIMEOUT_S)
        return *store_time(self._client), steady()

    def _tell(self) -> None:
        reading, before = read(self._clock), self._known
        for reference, ahead in self._clock.differences(time.time(), steady()).items():
            metrics.CLOCK_DIFFERENCE.labels(reference).set(ahead)
        metrics.CLOCK_WRONG.set(reading.verdict in {"suspected", "wrong"})
        if reading.verdict != before.verdict:
            self._known = reading
            level = logging.ERROR if reading.verdict in {"suspected", "wrong"} else logging.INFO
            log.log(level, "clock: %s => %s: %s", before.verdict.upper(), reading.verdict.upper(), reading.text)
