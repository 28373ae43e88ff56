"""Going scripted paths: one run sends its steps, looks for them in the store, and is over in its time."""

import random
import string
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Final

from clickhouse_connect.driver.client import Client

from streams.commands.synthetic_doors import EventDoor
from streams.settings import Settings
from streams.storage.connection import StorageError, address_of, connect
from streams.storage.synthetic import RunStore
from streams.synthetic.definition import SyntheticPath, event_of
from streams.synthetic.journey import PathRun, RunReport

_EVERY_S: Final = 0.2
"""How often the store is asked."""
_ASKED_S: Final = 5.0
"""How long one question may take."""


def new_run(path: str) -> str:
    """Return a name for a run: letters alone, which nobody takes for a number of somebody."""
    return f"{path}-{''.join(random.SystemRandom().choices(string.ascii_lowercase, k=12))}"


class PathRunner:
    """Goes one path, once."""

    def __init__(self, settings: Settings, path: SyntheticPath, door: EventDoor, running: frozenset[str]) -> None:
        """Prepare a run; `running` are the derived event types that are worked out now."""
        self._settings, self._path, self._door = settings, path, door
        self._since = datetime.now(UTC) - timedelta(seconds=60)
        self._journey = PathRun(path, new_run(path.id), time.monotonic(), running)
        self._client: Client | None = None
        self._trouble = ""

    def go(self, stop: threading.Event) -> RunReport | None:
        """Go it; return what came of it, None if it was stopped on the way. Never raises, never outlasts its time."""
        journey = self._journey
        try:
            if self._send_all(stop):
                while not journey.is_done(time.monotonic()) and not stop.wait(_EVERY_S):
                    self._look()
            return None if stop.is_set() else journey.report(time.monotonic(), self._why())
        finally:
            if self._client is not None:
                self._client.close()

    def _send_all(self, stop: threading.Event) -> bool:
        """Send the steps in turn; tell whether all were answered as they were to be."""
        journey = self._journey
        due = time.monotonic()
        for number, step in enumerate(self._path.steps):
            due += step.wait_s
            while (left := due - time.monotonic()) > 0:
                self._look()
                if stop.wait(min(left, _EVERY_S)):
                    return False
            event = event_of(self._path, number, journey.run, datetime.now(UTC))
            for _ in range(step.times):
                sent = time.monotonic()
                answer = self._door.send(event, journey.deadline - sent)
                if not journey.answered(number, sent, time.monotonic(), *answer):
                    self._look()
                    return False
            due = max(due, time.monotonic())
        return True

    def _look(self) -> None:
        journey = self._journey
        ids = journey.awaited()
        if not ids:
            return
        try:
            store = self._store()
            journey.stored(store.rows(ids), time.monotonic())
            if journey.awaits_derived and journey.subject:
                journey.derived(store.derived(journey.awaits_derived, journey.subject), time.monotonic())
            self._trouble = ""
        except StorageError as error:
            self._trouble = str(error)
            self._client = None

    def _store(self) -> RunStore:
        if self._client is None:
            left = self._journey.deadline - time.monotonic()
            self._client = connect(address_of(self._settings), timeout_s=max(1.0, min(_ASKED_S, left)))
        return RunStore(self._client, self._path, self._since)

    def _why(self) -> Mapping[int, str]:
        """Say of what did not come what is known of it."""
        missing = self._journey.missing()
        if self._trouble or not missing:
            return dict.fromkeys(missing, self._trouble)
        try:
            with closing(connect(address_of(self._settings), timeout_s=_ASKED_S)) as client:
                store = RunStore(client, self._path, self._since)
                return {number: store.dead_letter(self._journey.id_of(number)) for number in missing}
        except StorageError as error:
            return dict.fromkeys(missing, str(error))
