"""A worker whose clock is wrong: nothing becomes a dead letter for it, and it goes on when the clock is right again."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

from streams.local.observe import worker_state
from streams.producers.readers.base import Touch

SHIFTED = Path(__file__).with_name("shifted.py")


def present(first: int, count: int) -> list[Touch]:
    """Events of this very moment, from so many shops."""
    touches = []
    for number in range(first, first + count):
        at = time.time()
        event = {
            "specversion": "1.0", "id": f"e{number}", "source": f"/shop/{number % 2}", "type": "cx.session.started",
            "time": datetime.fromtimestamp(at, UTC).isoformat(), "subject": f"c{number}", "channel": "web", "data": {},
        }  # fmt: skip
        touches.append(Touch(at, "web", f"c{number}", json.dumps(event).encode()))
    return touches


def test_a_clock_20_minutes_behind_loses_nothing(pipelines, tmp_path):
    """From the first record on: they wait, and are counted once it is set right."""
    clock = tmp_path / "clock"
    clock.write_text("-1200")
    pipeline = pipelines()
    sent = pipeline.send(present(0, 500))
    worker = pipeline.start(command=(str(SHIFTED), str(clock), "worker"))

    def waits():
        state = worker_state(worker.port)
        return state is not None and state.waiting and state.clock_wrong

    pipeline.wait(waits, "partitions that wait for a right clock")
    sent += pipeline.send(present(500, 500))
    assert "waits from offset" in worker.said()
    assert "1200 s behind" in worker.said()
    assert pipeline.records()["read"] == 0

    clock.write_text("0")
    records = pipeline.wait_stored(sent)
    assert (records["counted"], records["bad"]) == (sent, 0)
    pipeline.wait(
        lambda: (state := worker_state(worker.port)) is not None and not state.clock_wrong,
        "the clock to be known as right",
    )

    sent += pipeline.send(present(1_000, 500))
    records = pipeline.wait_stored(sent)
    assert (records["counted"], records["bad"]) == (sent, 0)
    assert pipeline.verify().differences == []
