"""Brokers for the tests: every test that takes `broker` runs on the embedded one and on Apache Kafka."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from streams.local.broker import BrokerError, EmbeddedBroker
from tests.harness.kafka import KafkaBroker, KafkaUnavailableError, require_or_skip


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
