"""A producer that looks at the lease once more where records go on the wire.

Between the decision to send and the sending lie queues, retries, and whatever stops a process. What waited there
while the membership ended must never be sent: somebody else owns the partitions by then.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.protocol.produce import ProduceRequest
from faust.transport.drivers import aiokafka as driver

from streams.engine.outgoing import LeaseLostError

#: Seconds between two attempts to connect a new client.
_RETRY_S = 0.5


class LeasedProducer(driver.Producer):
    """Faust's producer; one aiokafka client for each membership."""

    #: The membership under which records are sent.
    term = 0
    app: Any
    _producer: Any

    def _new_producer(self, transactional_id: str | None = None) -> Any:
        producer = super()._new_producer(transactional_id)
        lease, client = self.app.lease, producer.client
        term, send = lease.term, client.send
        self.term = term

        async def leased(node_id: int, request: Any, **options: Any) -> Any:
            if isinstance(request, ProduceRequest):
                await client.ready(node_id)  # nothing may be waited for behind the look at the lease
                if lease.term != term or not (lease.is_held or await lease.renewed(term)):
                    raise LeaseLostError
            return await send(node_id, request, **options)

        client.send = leased
        return producer

    async def renew(self) -> None:
        """Give up all that was not confirmed, and go on with a new client under the present membership."""
        old, new = self._producer, self._new_producer()
        while True:
            try:
                await new.start()
                break
            except KafkaError as exc:
                self.log.warning("No connection for a new producer yet: %r", exc)
                await asyncio.sleep(_RETRY_S)
                new = self._new_producer()
        self._producer = new
        if old is not None:
            await _abandon(old)

    @property
    def has_unconfirmed(self) -> bool:
        """Whether records are queued, or on their way, whose arrival is not known."""
        if self._producer is None:
            return False
        accumulator = self._producer._message_accumulator  # noqa: SLF001
        return any(accumulator._batches.values()) or bool(accumulator._pending_batches)  # noqa: SLF001


async def _abandon(producer: Any) -> None:
    """Close a client without sending what it holds; whoever waits for that hears LeaseLostError."""
    producer._closed = True  # noqa: SLF001
    accumulator = producer._message_accumulator  # noqa: SLF001
    accumulator.fail_all(LeaseLostError())
    await producer.client.close()
    await producer._sender.close()  # noqa: SLF001
    # What was on the wire has been queued again meanwhile.
    accumulator.fail_all(LeaseLostError())
