"""Runs scenarios: keeps broker and ClickHouse between them, and makes each its installation."""

import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from streams.definitions import catalogue_of
from streams.local.broker import EmbeddedBroker
from streams.local.clickhouse import EmbeddedClickHouse
from streams.local.ports import free_port
from streams.settings import Settings
from tests.fault.evidence import Outcome
from tests.fault.oracle import RULES
from tests.fault.rig import BrickedError, Rig
from tests.fault.scenarios import Scenario
from tests.fault.traffic import Lives, Traffic
from tests.harness.clickhouse import fresh_database, running_server
from tests.harness.kafka import KafkaBroker, KafkaCluster
from tests.harness.proxy import Proxy
from tests.harness.wholejob import Pipeline

DISK_MB = 400


class ImpossibleError(Exception):
    """This machine cannot do that; the text says what is missing."""


class Stage:
    """A broker and a ClickHouse for all scenarios that leave them well; a cluster is started when one needs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._brokers: dict[int, KafkaBroker | KafkaCluster | EmbeddedBroker] = {}
        self._clickhouse: EmbeddedClickHouse | None = None
        self._advertised = free_port()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def broker(self, nodes: int = 1) -> KafkaBroker | KafkaCluster | EmbeddedBroker:
        """Return the broker, the cluster, or of no nodes the embedded one."""
        if nodes not in self._brokers:
            folder = self.folder / f"kafka-{nodes}"
            folder.mkdir()
            made: KafkaBroker | KafkaCluster | EmbeddedBroker = KafkaCluster(folder)
            if nodes < 2:
                made = KafkaBroker(folder, advertised=self._advertised) if nodes else EmbeddedBroker(folder / "log")
            self._stack.callback(made.stop)
            made.start()
            self._brokers[nodes] = made
        return self._brokers[nodes]

    def clickhouse(self) -> EmbeddedClickHouse:
        """Return the ClickHouse server, which is started again whenever it ends."""
        if self._clickhouse is None:
            self._clickhouse = self._stack.enter_context(running_server(self.folder / "clickhouse"))
        return self._clickhouse

    def folder_of(self, outcome: Outcome) -> Path:
        """Return where the logs of a batch lie."""
        return self.folder / f"{outcome.scenario}-{outcome.seed}"

    def clear(self, outcome: Outcome) -> None:
        """Delete the logs of a batch."""
        shutil.rmtree(self.folder_of(outcome))

    def run(self, scenario: Scenario, seed: int, *, rate: float, faults: int = 0) -> Outcome:
        """Run one batch of a scenario."""
        outcome = Outcome(scenario.name, seed)
        folder = self.folder_of(outcome)
        folder.mkdir()
        began = time.monotonic()
        broker = self.broker(scenario.nodes)
        with ExitStack() as stack:
            server = stack.enter_context(_on_a_small_disk(folder)) if scenario.own_store else self.clickhouse()
            database = stack.enter_context(fresh_database(server))
            settings = {"rules_path": _rules(folder), "idle_s": 3600, **scenario.settings}
            settings |= {"relations": "all"} if scenario.lives else {}
            settings |= (
                {} if scenario.nodes else {"changelog_copy": "true", "sole_worker": "true"}
            )  # as `cx up` sets it
            pipeline = Pipeline(broker.bootstrap, database, folder, replication=max(1, scenario.nodes), **settings)
            if scenario.lives:
                pipeline.catalogue = catalogue_of(Settings(relations="all"))
            proxies = self._proxies(stack, broker, server) if scenario.proxied else None
            if proxies is not None:
                pipeline.environment["CX_KAFKA"] = f"127.0.0.1:{proxies['kafka'].port}"
                pipeline.environment["CX_CLICKHOUSE"] = f"http://127.0.0.1:{proxies['clickhouse'].port}"
            chance = random.Random(f"{scenario.name}-{seed}")
            speed = scenario.speed or chance.choice((1.0, 8.0))
            kind = Lives if scenario.lives else Traffic
            traffic = kind(pipeline.producer, seed, rate=rate, speed=speed, plain=scenario.plain)
            rig = stack.enter_context(
                Rig(outcome, pipeline, traffic, chance, broker=broker, server=server, proxies=proxies)
            )
            rig.tell(f"event time goes {speed:.0f} times as fast as the clock")
            try:
                scenario.play(rig, faults or scenario.faults)
                rig.finish()
            except BrickedError as error:
                outcome.problems.setdefault("bricked", []).append(str(error))
        outcome.seconds = time.monotonic() - began
        return outcome

    def _proxies(
        self, stack: ExitStack, broker: KafkaBroker | KafkaCluster | EmbeddedBroker, server: EmbeddedClickHouse
    ) -> dict[str, Proxy]:
        assert isinstance(broker, KafkaBroker)
        kafka, clickhouse = Proxy(self._advertised), Proxy()
        stack.callback(kafka.start(broker.behind).stop)
        stack.callback(clickhouse.start(server.http_port, http=True).stop)
        return {"kafka": kafka, "clickhouse": clickhouse}


def _rules(folder: Path) -> Path:
    rules = folder / "rules.yaml"
    rules.write_text(RULES)
    return rules


@contextmanager
def _on_a_small_disk(folder: Path) -> Iterator[EmbeddedClickHouse]:
    """Run a ClickHouse on a disk of its own, in memory; only root may make one."""
    disk = folder / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise ImpossibleError(f"no small disk can be made here: {made.stderr.strip()}")
    try:
        with running_server(disk) as server:
            yield server
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
