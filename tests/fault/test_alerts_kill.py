"""
Kill a worker while alerts are pending, firing, or kept firing, or have others join and leave: the log of transitions is
that of an undisturbed run.

Several incidents on several channels, judged at event time, so that the same events always give the same transitions.
"""

import json
import random
import re
import time

import pytest

from streams.local.observe import worker_state
from tests.harness.clickhouse import fresh_database
from tests.harness.incident import RULES, answers
from tests.harness.receiver import Receiver

MINUTES = 120
PIECES = 12
SEED = 5
SOURCES = 16
"""Partitions of all channels."""

INCIDENTS = {"app": [range(20, 34), range(38, 44)], "web": [range(60, 80)]}
"""Two of them on one channel, so near each other that the alert is still kept firing."""


@pytest.fixture
def receiver():
    with Receiver() as made:
        yield made


def prepared(pipelines, tmp_path, receiver, **settings):
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES)
    # No source is ever left behind for its silence: who stalls would change what is judged.
    return pipelines(rules_path=rules, webhooks=f"{receiver.url}/hook", idle_s=3600, **settings)


def transitions(pipeline):
    """Read the log as receivers do: what comes again under a known id is dropped, and must say the same."""
    log = {}
    for record in pipeline.consume(pipeline.topics.alerts):
        alert = json.loads(record.value)
        told = told_of(alert)
        assert log.setdefault(alert["id"], told) == told, f"{alert['id']} changed when it was sent again"
    return [log[key] for key in sorted(log, key=lambda key: [int(part) for part in key.split("/")])]


def told_of(alert):
    """All of a transition but what the store adds, which depends on how much it has stored by then."""
    evidence = {
        name: value for name, value in alert["evidence"].items() if name not in {"movements", "verbatims", "links"}
    }
    annotations = {name: text for name, text in alert["annotations"].items() if name != "incomplete"}
    return {**alert, "evidence": evidence, "annotations": annotations, "published": 0}


def relative(log, start):
    """Transitions of the test's rule with times counted from the first event, so that two runs compare."""
    told = []
    for one in log:
        if one["rule"] != "CsatLow":
            continue
        minute = one["minute"] - int(start // 60)
        evidence = {name: value for name, value in one["evidence"].items() if name != "definition"}
        told.append((one["id"].split("/")[2], one["old"], one["new"], minute, one["labels"], one["why"], evidence))
    return told


def run(pipeline, touches, start, disturb):
    """Send everything in pieces; `disturb` is called between them. Return the log once the last incident has ended."""
    worker = pipeline.start()
    size = len(touches) // PIECES + 1
    for piece in range(PIECES):
        pipeline.send(touches[piece * size : (piece + 1) * size])
        worker = disturb(pipeline, worker, piece)

    def over():
        rows = pipeline.database.rows("SELECT DISTINCT labels['channel'] FROM alerts FINAL WHERE new = 'resolved'")
        return worker_state(worker.port) is not None and {channel for (channel,) in rows} >= {"app", "web"}

    pipeline.wait(over, "the end of both alerts")
    pipeline.wait_stored(len(touches))
    return relative(transitions(pipeline), start)


def delivered(receiver):
    """What the receiver was told of the test's rule, each once; what came again says the same."""
    found = {}
    for request in list(receiver.received):
        told = told_of(request.json)
        assert found.setdefault(request.headers["idempotency-key"], told) == told
    return [told for told in found.values() if told["rule"] == "CsatLow"]


def leave_alone(_pipeline, worker, _piece):
    return worker


class Killer:
    """Kills the worker now and then, not later than the work of a piece takes: so it dies in the middle of something."""

    def __init__(self):
        self.chance = random.Random(SEED)
        self.times = 0

    def __call__(self, pipeline, worker, _piece):
        time.sleep(self.chance.uniform(0.0, 4.0))
        if self.chance.random() < 0.6:
            worker.kill()
            self.times += 1
            return pipeline.start()
        return worker


class Mover:
    """Has a second worker join, the first one leave, and a third one join, each time while something is read."""

    def __init__(self):
        self.times = 0

    def __call__(self, pipeline, worker, piece):
        match piece:
            case 0:
                pipeline.wait(lambda: shares(worker) > 0, "the first worker to begin")
            case 2 | 8:
                joining = pipeline.start()
                pipeline.wait(lambda: shares(joining) > 0, "a second worker to get its share")
                self.times += 1
                return worker
            case 5:
                remaining = pipeline.workers[-1]
                assert worker.stop() == 0, worker.tail()
                pipeline.wait(lambda: shares(remaining) == SOURCES, "the other worker to take over all")
                self.times += 1
                return remaining
        return worker


def shares(worker):
    """How many source partitions a worker took over last."""
    taken = re.findall(r"ingest: (\d+) source partitions taken over", worker.said())
    return int(taken[-1]) if taken else 0


def test_killed_or_moved_at_any_moment_the_transitions_are_the_same(pipelines, tmp_path, receiver):
    start = time.time() // 60 * 60 - (MINUTES + 20) * 60
    touches = answers(start, MINUTES, INCIDENTS)
    undisturbed = prepared(pipelines, tmp_path, receiver)
    expected = run(undisturbed, touches, start, leave_alone)
    undisturbed.close()
    assert [(one[1], one[2]) for one in expected if one[4] == {"channel": "web"}][:3] == [
        ("inactive", "pending"), ("pending", "firing"), ("firing", "resolved")
    ]  # fmt: skip
    people = len([one for one in expected if one[2] in {"firing", "resolved"}])
    for disturb, times in ((Killer(), 4), (Mover(), 3)):
        receiver.received.clear()
        with fresh_database(undisturbed.database.server) as database:
            disturbed = prepared(pipelines, tmp_path, receiver)
            disturbed.folder = tmp_path / type(disturb).__name__
            disturbed.folder.mkdir()
            disturbed.database = database
            disturbed.environment["CX_CLICKHOUSE_DATABASE"] = database.name
            found = run(disturbed, touches, start, disturb)
            assert disturb.times >= times
            assert found == expected
            stored = database.rows("SELECT count(), uniqExact(id) FROM alerts FINAL")
            assert stored[0][0] == stored[0][1]
            disturbed.wait(lambda: len(delivered(receiver)) >= people, "all messages")
            assert len(delivered(receiver)) == people
            assert disturbed.verify().differences == []
            disturbed.close()
