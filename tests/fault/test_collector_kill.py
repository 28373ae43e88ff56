"""The HTTP door is killed in the middle of its work: what it answered for is counted, each once."""

import itertools
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.harness.door import DoorProcess
from tests.harness.wholejob import PATIENCE_S, Pipeline
from tests.integration.test_collector import answered

BATCHES = 120
SIZE = 50
SENDERS = 4
KILLS = 3


class Doorway:
    """The door of the moment; a new one stands there after each kill, or after that of one of its processes."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder
        self._numbers = itertools.count()
        self.door = self._new()

    def _new(self) -> DoorProcess:
        return DoorProcess(self._environment, self._folder / f"door-{next(self._numbers)}.log")

    def kill(self) -> None:
        if self._environment.get("CX_COLLECT_PROCESSES", "1") == "1":
            self.door.kill()
            self.door = self._new()
        else:
            os.kill(self.door.children()[0], signal.SIGKILL)


@pytest.fixture(params=[1, 2], ids=["one process", "one of two processes"])
def doorway(
    request: pytest.FixtureRequest, pipelines: Callable[..., Pipeline], tmp_path: Path
) -> Iterator[tuple[Doorway, Pipeline]]:
    pipeline = pipelines()
    made = Doorway({**pipeline.environment, "CX_COLLECT_PROCESSES": str(request.param)}, tmp_path)
    yield made, pipeline
    if made.door.process.poll() is None:
        made.door.kill()


def test_killed_again_and_again_under_load(doorway: tuple[Doorway, Pipeline]) -> None:
    """Senders that repeat what was not answered lose nothing; what came twice counts once, in every KPI."""
    way, pipeline = doorway
    pipeline.start()
    batches = [
        [answered(start + place, (start + place) % 5 + 1) for place in range(SIZE)]
        for start in range(0, BATCHES * SIZE, SIZE)
    ]
    numbers = iter(range(BATCHES))
    done: set[int] = set()
    faults: list[str] = []
    taking = threading.Lock()

    def work() -> None:
        while True:
            with taking:
                number = next(numbers, None)
            if number is None:
                return
            deadline = time.monotonic() + PATIENCE_S
            while (fault := attempt(batches[number])) is not None:
                if time.monotonic() > deadline:
                    faults.append(f"batch {number}: {fault}")
                    return
                time.sleep(0.02)
            done.add(number)

    def attempt(batch: list[dict[str, Any]]) -> str | None:
        try:
            answer = way.door.post(batch)
        except (OSError, HTTPException) as error:
            return repr(error)
        return None if answer.status == 202 else answer.body.decode()

    senders = [threading.Thread(target=work) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    for kill in range(1, KILLS + 1):
        # So that each kill comes while requests are under way.
        pipeline.wait(lambda kill=kill: len(done) >= kill * BATCHES // (KILLS + 1) or bool(faults), "answers")
        way.kill()
    for sender in senders:
        sender.join(2 * PATIENCE_S)
    assert faults == []
    assert len(done) == BATCHES
    # A sender that did not hear the answer: all of it comes again.
    assert attempt(batches[0]) is None
    assert way.door.stop() == 0

    topics = [pipeline.consume(topic) for topic in pipeline.topics.sources]
    ids = Counter(json.loads(record.value)["id"] for records in topics for record in records)
    assert ids.keys() == {one["id"] for batch in batches for one in batch}
    stored = pipeline.wait_stored(ids.total())

    assert stored["counted"] == BATCHES * SIZE
    assert stored["duplicate"] == ids.total() - BATCHES * SIZE >= SIZE
    assert pipeline.total("csat") == (40.0, BATCHES * SIZE)
    assert pipeline.database.value("SELECT uniqExact(id) FROM events") == BATCHES * SIZE
    assert pipeline.verify().differences == []
