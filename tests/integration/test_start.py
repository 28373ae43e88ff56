"""Topics, changelogs or the store are lost between two runs: restored, or refused with an advice that really mends."""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest
from faust.types import TP
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove, NewPartitions

from streams.engine.topics import ensure_topics, topic_plan
from streams.kpis.catalogue.catalogue import Catalogue
from streams.producers.readers.base import Touch
from streams.producers.simulator import Plan, emissions
from streams.settings import Settings, load
from streams.start.broker import LiveWorkersError, StartBroker
from streams.start.check import StartRefusedError, check_start, examine
from streams.start.decision import StartVerdict
from streams.storage.connection import address_of
from streams.storage.migrations import migrate
from tests.harness.topics import PATIENCE_S
from tests.harness.wholejob import Pipeline, Worker

START = datetime(2026, 3, 21, 6, 0, tzinfo=UTC)
TOUCHES = [
    Touch(0.0, one.channel, one.subject, one.payload)
    for one in islice(emissions(Plan(start=START, rate=200.0, flat=True, seed=7)), 2_400)
]


class Installation:
    """A pipeline of which parts are lost while no worker runs."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.sent = 0

    @property
    def settings(self) -> Settings:
        return load(environ=self.pipeline.environment)

    @property
    def plan(self) -> list[Any]:
        settings = self.settings
        return topic_plan(settings.partitions, 1, settings.app_id, settings.topic_prefix)

    @property
    def all_topics(self) -> list[str]:
        return [spec.name for spec in self.plan]

    def changelog(self, name: str) -> str:
        return f"{self.settings.app_id}-{name}-changelog"

    def verdict(self) -> StartVerdict:
        return examine(self.settings, address_of(self.settings))

    def refusal(self) -> str:
        with pytest.raises(StartRefusedError) as refused:
            self.check()
        return str(refused.value)

    def check(self, say: Callable[[str], None] = print) -> StartVerdict:
        return check_start(self.settings, address_of(self.settings), Catalogue.load(), say=say)

    def end_claim(self) -> None:
        """End the membership by which a starting worker keeps others waiting, as if it had been paused for too long."""
        admin, group = KafkaAdminClient(bootstrap_servers=self.pipeline.bootstrap), f"{self.settings.app_id}-start"
        try:
            [member] = admin.describe_groups([group])[group]["members"]
            admin.remove_group_members(group, [MemberToRemove(member_id=member["member_id"])])
        finally:
            admin.close()

    def raise_epoch(self) -> None:
        self.pipeline.environment["CX_EPOCH"] = str(self.settings.epoch + 1)

    def delete(self, names: Sequence[str]) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self.pipeline.bootstrap)
        try:
            admin.delete_topics(list(names))
            deadline = time.monotonic() + PATIENCE_S
            while any(topic["error_code"] == 0 for topic in admin.describe_topics(list(names))):
                assert time.monotonic() < deadline, f"{names} do not go away"
                time.sleep(0.05)
        finally:
            admin.close()

    def create(self) -> None:
        assert ensure_topics(self.pipeline.bootstrap, self.plan) == []

    def make_anew(self, names: Sequence[str]) -> None:
        self.delete(names)
        self.create()

    def lose_end(self, changelog: str) -> None:
        """Have a changelog end before what was committed of it, as after a leader that lacked its newest records."""
        with StartBroker(self.settings) as broker:
            [log, *_] = broker.logs({changelog: self.settings.partitions}, broker.committed())[changelog]
            assert log.committed is not None
            assert 0 < log.committed <= log.end
            broker.commit({TP(changelog, 0): log.end + 1})

    def find_end(self, changelog: str) -> None:
        with StartBroker(self.settings) as broker:
            broker.commit({TP(changelog, 0): 1})

    def drop_database(self) -> None:
        database = self.pipeline.database
        database.client.command(f"DROP DATABASE `{database.name}` SYNC")

    def run(self, touches: Sequence[Touch], *, counted: int, workers: int = 1) -> list[Worker]:
        """Send events, have them stored, stop: nothing is lost, nothing counts twice, and KPIs equal the events'."""
        # Nobody has several workers on the embedded broker: its groups take half a minute for each turn.
        embedded = self.pipeline.embedded
        started = [self.pipeline.start_alone()] if embedded else [self.pipeline.start() for _ in range(workers)]
        self.sent += self.pipeline.send(touches)
        assert self.pipeline.wait_stored(self.sent)["counted"] == counted
        for worker in started:
            assert worker.stop() == 0, "\n".join(one.tail() for one in started)
        report = self.pipeline.verify()
        assert report.differences == []
        assert report.checked["minutes"] > 0
        return started


@pytest.fixture
def installation(pipelines: Any) -> Installation:
    return Installation(pipelines())


def test_topics_made_anew(installation: Installation) -> None:
    """Under the same epoch: refused. Under the next: one worker restores, totals go on, known ids are known."""
    installation.run(TOUCHES[:800], counted=800)
    assert installation.verdict().case == "right"

    installation.make_anew(installation.all_topics)
    assert installation.verdict().case == "sources anew"
    assert "set CX_EPOCH=1 for all of them" in installation.refusal()

    installation.raise_epoch()
    assert installation.verdict().case == "epoch raised"
    before = installation.pipeline.total("volume")[1]
    workers = installation.run(TOUCHES[400:1_200], counted=1_200, workers=2)
    # Who loses its claim, on a machine that stands still, looks again: only then has another one begun as well.
    lost = sum("looking again" in worker.said() for worker in workers)
    assert restoring(worker.said() for worker in workers) == 1 + lost
    assert installation.pipeline.total("volume")[1] > before
    assert installation.verdict().case == "right"


@pytest.mark.kafka
@pytest.mark.parametrize("broker", ["kafka"], indirect=True)
class TestOnApacheKafka:
    """What is the same on both brokers is tried on one."""

    def test_changelogs_lost(self, installation: Installation) -> None:
        """Ids come back under the same epoch, sums under the next one; neither while a worker is alive."""
        installation.run(TOUCHES[:800], counted=800)
        ids, sums = installation.changelog("ingest"), installation.changelog("merge")

        installation.delete([ids])
        assert installation.refusal().startswith(f"{ids} missing: `cx topics`")
        installation.create()
        assert installation.verdict().case == "ids lost"
        [worker] = installation.run(TOUCHES[400:1_200], counted=1_200)
        assert "event ids restored" in worker.said()

        for changelog, case in ((ids, "ids lost"), (sums, "sums lost")):
            assert installation.verdict().case == "right"
            installation.lose_end(changelog)
            assert installation.verdict().case == case
            installation.find_end(changelog)

        installation.make_anew([ids, sums])
        assert installation.verdict().case == "sums lost"
        assert "set CX_EPOCH=1 for all of them" in installation.refusal()
        installation.raise_epoch()
        installation.run(TOUCHES[800:1_600], counted=1_600)
        assert installation.verdict().case == "right"

        worker = installation.pipeline.start()
        installation.pipeline.wait(lambda: "merge: partitions" in worker.said(), "the worker to begin")
        with StartBroker(installation.settings) as broker, pytest.raises(LiveWorkersError, match="stop all of them"):
            broker.commit({TP(installation.pipeline.topics.partials, 0): 0})

    def test_database_dropped_and_partitions_raised(self, installation: Installation) -> None:
        """What the topics retain is stored again; enlarged topics are made anew, and the store goes on, whoever loses the claim."""
        installation.run(TOUCHES[:800], counted=800)
        installation.drop_database()
        assert "run `cx migrate`" in installation.refusal()
        migrate(installation.pipeline.database.admin)
        assert installation.verdict().case == "store behind"
        installation.run(TOUCHES[800:1_200], counted=1_200)

        environment = installation.pipeline.environment
        environment["CX_PARTITIONS"] = "6"
        assert installation.refusal().endswith("set CX_PARTITIONS=4")
        admin = KafkaAdminClient(bootstrap_servers=installation.pipeline.bootstrap)
        admin.create_partitions({name: NewPartitions(6) for name in installation.all_topics})
        admin.close()
        refusal = installation.refusal()
        assert "begun with 4 partitions" in refusal
        assert "CX_EPOCH=1" in refusal

        environment["CX_PARTITIONS"] = "4"
        installation.delete(installation.all_topics)
        installation.create()
        installation.raise_epoch()
        steps: list[str] = []

        def say(step: str) -> None:
            steps.append(step)
            if restoring(steps) == 1:
                installation.end_claim()

        assert installation.check(say).case == "right"
        assert restoring(steps) == 2
        assert installation.pipeline.verify().differences == []


def restoring(steps: Iterable[str]) -> int:
    return sum("restoring state from the store" in step for step in steps)
