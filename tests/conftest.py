"""Real parts for the tests. Every test that takes `broker` runs on the embedded one and on Apache Kafka."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

with warnings.catch_warnings():
    # kafka-python reads its schemas through a deprecated function of the standard library.
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka  # noqa: F401

from streams.local.broker import BrokerError, EmbeddedBroker
from streams.local.clickhouse import EmbeddedClickHouse
from tests.harness.clickhouse import Database, fresh_database, running_server
from tests.harness.kafka import KafkaBroker, KafkaUnavailableError, require_or_skip
from tests.harness.wholejob import Pipeline

# Where byte code is not kept, each process of each run compiles all tests anew, and each command what it imports.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A busy machine is no fault of what is tested, and one run tries what the next one does.
# `--hypothesis-profile=search` looks for new examples instead.
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("search", deadline=None, suppress_health_check=SLOW)
settings.register_profile("same", settings.get_profile("search"), derandomize=True, database=None)
settings.load_profile("same")

# The width of whoever's terminal this is would cut the tables that tests read; tests of widths set their own.
os.environ.pop("COLUMNS", None)


STARTS_SERVERS_S = 1200
"""What a test may take that waits for servers and workers: minutes of waiting here and there are no fault of it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Give tests that start servers the time that a busy machine needs; one that hangs is still ended.

    They come first: a file of them that is begun last would leave all but one process idle.
    """
    for item in items:
        if _starts_servers(item) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(STARTS_SERVERS_S))
    items.sort(key=_starts_servers, reverse=True)


def _starts_servers(item: pytest.Item) -> bool:
    return not {"fault", "integration"}.isdisjoint(item.path.parts)


@dataclass(frozen=True)
class Broker:
    """A running broker: `kind` is `embedded` or `kafka`, `bootstrap` is `host:port`."""

    kind: str
    bootstrap: str


@pytest.fixture(scope="session")
def embedded_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker of the embedded run."""
    broker = EmbeddedBroker(tmp_path_factory.mktemp("embedded") / "broker.log")
    try:
        broker.start()
    except BrokerError as exc:
        pytest.skip(str(exc))
    yield Broker("embedded", broker.bootstrap)
    broker.stop()


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Apache Kafka, one node."""
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    try:
        broker.start()
    except KafkaUnavailableError as exc:
        require_or_skip(str(exc))
    yield Broker("kafka", broker.bootstrap)
    broker.stop()


@pytest.fixture(scope="session", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Both brokers, one after the other."""
    running: Broker = request.getfixturevalue(f"{request.param}_broker")
    return running


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    """The ClickHouse server of the test session."""
    with running_server(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture
def database(clickhouse: EmbeddedClickHouse) -> Iterator[Database]:
    """A migrated database of the test's own."""
    with fresh_database(clickhouse) as fresh:
        yield fresh


@pytest.fixture
def pipelines(broker: Broker, database: Database, tmp_path: Path) -> Iterator[Callable[..., Pipeline]]:
    """Make whole pipelines; their workers are ended with the test."""
    made: list[Pipeline] = []

    def make(**settings: Any) -> Pipeline:
        made.append(Pipeline(broker.bootstrap, database, tmp_path, embedded=broker.kind == "embedded", **settings))
        return made[-1]

    yield make
    for pipeline in made:
        pipeline.close()
