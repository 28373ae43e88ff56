"""Sends what people do to cases, each to the partition where the events of its case are."""

from types import TracebackType
from typing import Final, Self

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from streams.events.decode import decode_batch
from streams.loop.acting import CaseAction
from streams.loop.rows import CaseRow
from streams.producers.client import topic_of
from streams.producers.wire import connection_options, open_client
from streams.secured.kafka import kafka_client_options
from streams.settings import Settings

SEND_S: Final = 20.0
"""Longest wait for Kafka to take an action."""
_BLOCK_S: Final = 5.0


class UnsoundActionError(ValueError):
    """An action breaks the contract of events; the text names the field, what came and what is expected."""


class UnsentActionError(Exception):
    """Kafka does not take an action, which may be tried again under the same key."""


class CaseSender:
    """Sends actions over one connection, made when it is needed; to be used by one thread at a time, as a context."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: KafkaProducer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, row: CaseRow, action: CaseAction) -> None:
        """
        Send an action, and wait until Kafka has it.

        By its partition, not by its key: to a customer who has a pseudonym the key alone would lead elsewhere.

        Raises:
            UnsoundActionError: It breaks the contract.
            UnsentActionError: Kafka does not take it.
        """
        event = action.event(row)
        payload = msgspec.json.encode(event)
        _, refusals = decode_batch([payload])
        if refusals:
            raise UnsoundActionError(refusals[0].message)
        topic = topic_of(str(event["channel"]), self._settings.topic_prefix)
        try:
            if self._producer is None:
                options = kafka_client_options(self._settings)
                self._producer = open_client(connection_options(self._settings.kafka, SEND_S, _BLOCK_S, options))
            self._producer.send(topic, payload, key=row.subject.encode(), partition=row.partition).get(SEND_S)
        except (KafkaError, OSError) as error:
            self.close()
            raise UnsentActionError(f"Kafka at {self._settings.kafka} does not take the event: {error}") from error

    def close(self) -> None:
        """Give the connection back."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(_BLOCK_S)
