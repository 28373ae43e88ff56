"""Runs scenarios: keeps broker and ClickHouse between them, and makes each its installation."""

import random
import shutil
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from streams.local.clickhouse import EmbeddedClickHouse
from tests.fault.oracle import RULES
from tests.fault.rig import BrickedError, Outcome, Rig
from tests.fault.scenarios import Scenario
from tests.harness.clickhouse import fresh_database
from tests.harness.kafka import KafkaBroker, KafkaCluster
from tests.harness.wholejob import Pipeline


class Stage:
    """A broker and a ClickHouse for all scenarios that leave them well; a cluster is started when one needs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._brokers: dict[int, KafkaBroker | KafkaCluster] = {}
        self._clickhouse: EmbeddedClickHouse | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def broker(self, nodes: int = 1) -> KafkaBroker | KafkaCluster:
        """Return the broker, or the cluster."""
        if nodes not in self._brokers:
            folder = self.folder / f"kafka-{nodes}"
            folder.mkdir()
            made = KafkaBroker(folder) if nodes == 1 else KafkaCluster(folder)
            self._stack.callback(made.stop)
            made.start()
            self._brokers[nodes] = made
        return self._brokers[nodes]

    def clickhouse(self) -> EmbeddedClickHouse:
        """Return the ClickHouse server, which is started again whenever it ends."""
        if self._clickhouse is None:
            self._clickhouse = self._stack.enter_context(EmbeddedClickHouse(self.folder / "clickhouse"))
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
        chance = random.Random(f"{scenario.name}-{seed}")
        speed = scenario.speed or chance.choice((1.0, 8.0))
        folder = self.folder_of(outcome)
        folder.mkdir()
        rules = folder / "rules.yaml"
        rules.write_text(RULES)
        began = time.monotonic()
        broker, server = self.broker(scenario.nodes), self.clickhouse()
        settings = {"rules_path": rules, "idle_s": 3600, **scenario.settings}
        with fresh_database(server) as database:
            pipeline = Pipeline(broker.bootstrap, database, folder, replication=min(3, scenario.nodes), **settings)
            with Rig(outcome, pipeline, chance, rate=rate, speed=speed, broker=broker, server=server) as rig:
                rig.tell(f"event time goes {speed:.0f} times as fast as the clock")
                try:
                    scenario.play(rig, faults or scenario.faults)
                    rig.finish()
                except BrickedError as error:
                    outcome.problems.setdefault("bricked", []).append(str(error))
        outcome.seconds = time.monotonic() - began
        return outcome
