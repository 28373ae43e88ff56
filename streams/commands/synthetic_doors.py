"""The doors through which events of synthetic paths go: Kafka, by the client of the channels, and HTTP."""

import http.client
import json
import ssl
import threading
import time
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from streams.producers.client import (
    BufferFullError,
    EventTooLargeError,
    InvalidEventError,
    TouchpointProducer,
)
from streams.producers.delivery import ProducerClosedError, Receipt
from streams.secured.kafka import kafka_client_options
from streams.settings import Settings, read_secret

TRIED_S: Final = 10.0
"""An event is tried so long, less if the run ends before."""
_LONGEST_ANSWER: Final = 65_536


class DoorAnswer(NamedTuple):
    """Why an event was not accepted, as a word and for people; empty: it was."""

    reason: str = ""
    text: str = ""


class EventDoor(Protocol):
    """What a run sends through."""

    def send(self, event: dict[str, Any], timeout_s: float) -> DoorAnswer:
        """Send an event, and return what the door says of it; waits so long at most."""
        ...


class KafkaDoor:
    """Kafka, as channels reach it."""

    def __init__(self, settings: Settings) -> None:
        """Begin to connect."""
        self._answers: dict[str, tuple[threading.Event, list[str]]] = {}
        self._producer = TouchpointProducer(
            settings.kafka,
            topic_prefix=settings.topic_prefix,
            security=kafka_client_options(settings),
            delivery_timeout_s=TRIED_S,
            max_block_s=1.0,
            options={"linger_ms": 0},
            on_delivery=self._delivered,
        )

    def send(self, event: dict[str, Any], timeout_s: float) -> DoorAnswer:
        """Send an event, and return whether Kafka has it on all replicas in sync."""
        answered, said = self._answers[event["id"]] = threading.Event(), list[str]()
        try:
            self._producer.send(event)
        except InvalidEventError as error:
            return DoorAnswer(error.refusal.reason, error.refusal.message)
        except (BufferFullError, EventTooLargeError, ProducerClosedError) as error:
            return DoorAnswer("not_accepted", str(error))
        if not answered.wait(max(0.0, min(timeout_s, TRIED_S))):
            return DoorAnswer("not_accepted", "Kafka has not confirmed it in time")
        return DoorAnswer("not_accepted", said[0]) if said else DoorAnswer()

    def close(self) -> None:
        """Give up what is still tried."""
        self._producer.close(timeout_s=0.1)

    def _delivered(self, event: object, result: Receipt | str) -> None:
        waiting = self._answers.pop(event["id"], None) if isinstance(event, dict) else None
        if waiting is not None:
            waiting[1].extend([result] if isinstance(result, str) else [])
            waiting[0].set()


class HttpDoor:
    """The HTTP door (`cx collect`); asked once for each event, never again, and wherever it points on, not followed."""

    def __init__(self, settings: Settings) -> None:
        """
        Know where it is.

        Raises:
            ConfigError: The file of the key cannot be read.
        """
        self._url = urlsplit(settings.synthetic_door or f"http://{settings.collect_host}:{settings.collect_port}")
        key = read_secret("synthetic_key_file", settings.synthetic_key_file)
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}

    def send(self, event: dict[str, Any], timeout_s: float) -> DoorAnswer:
        """Send an event, and return what the door answers."""
        host, port = self._url.hostname or "", self._url.port
        timeout_s = max(0.1, min(timeout_s, TRIED_S))
        connection = (
            http.client.HTTPSConnection(host, port, timeout=timeout_s, context=ssl.create_default_context())
            if self._url.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=timeout_s)
        )
        try:
            connection.request("POST", f"{self._url.path.rstrip('/')}/v1/events", json.dumps([event]), self._headers)
            answer = connection.getresponse()
            return _answer_of(answer.status, answer.read(_LONGEST_ANSWER))
        except (OSError, http.client.HTTPException) as error:
            return DoorAnswer("not_accepted", f"the door at {host} does not answer: {type(error).__name__}: {error}")
        finally:
            connection.close()


def _answer_of(status: int, body: bytes) -> DoorAnswer:
    try:
        [one] = json.loads(body)["events"]
        if one["outcome"] == "accepted":
            return DoorAnswer()
        if one["outcome"] == "refused":
            return DoorAnswer(str(one["reason"]), str(one["message"]))
    except (ValueError, KeyError, TypeError):
        return DoorAnswer("not_accepted", f"the door answers {status}, and not of the event")
    return DoorAnswer("not_accepted", f"the door answers {status}: the event is {one['outcome']}")


def publish(door: KafkaDoor, events: list[dict[str, Any]], timeout_s: float) -> str:
    """Send the results of a run; return why they are not all in Kafka, empty if they are."""
    until = time.monotonic() + timeout_s
    for event in events:
        said = door.send(event, until - time.monotonic())
        if said.reason:
            return said.text
    return ""
