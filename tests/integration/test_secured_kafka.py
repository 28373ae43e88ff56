"""Apache Kafka that asks who we are and lets nobody do what was not granted: the whole job, and each thing wrong."""

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, TopicAuthorizationFailedError

from streams.engine.names import Topics
from streams.engine.rights import Role, rights_of
from streams.engine.topics import TopicsError, check_topics, ensure_topics, topic_plan
from streams.producers.client import TouchpointProducer
from streams.secured.kafka import kafka_client_options, knock, server_address
from streams.settings import ConfigError, load
from tests.harness.clickhouse import Database
from tests.harness.door import DoorProcess, event
from tests.harness.kafka import KafkaUnavailableError, require_or_skip
from tests.harness.rights import Rights, eventually
from tests.harness.secured import Authority, SecuredKafka, secured_kafka
from tests.harness.wholejob import ROOT, Pipeline, Worker

pytestmark = pytest.mark.kafka

PROMPT_S = 15.0
PASSWORDS = {name: f"{name}-secret-{number}" for number, name in enumerate(("topics", "worker", "door", "producer"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secured")
    for name, password in PASSWORDS.items():
        (folder / f"{name}.password").write_text(f"{password}\n")
    return folder


@pytest.fixture(scope="module")
def kafka(folder: Path) -> Iterator[SecuredKafka]:
    try:
        with secured_kafka(folder, PASSWORDS) as broker:
            yield broker
    except KafkaUnavailableError as exc:
        require_or_skip(str(exc))


@pytest.fixture
def rights(kafka: SecuredKafka) -> Iterator[Rights]:
    rights = Rights(kafka.bootstrap)
    yield rights
    rights.close()


def by_password(kafka: SecuredKafka, folder: Path, who: str) -> dict[str, str]:
    return {
        "kafka": kafka.scram,
        "kafka_security": "SASL_SSL",
        "kafka_user": who,
        "kafka_password_file": str(folder / f"{who}.password"),
        "kafka_ca_file": str(kafka.ca.file),
    }


def by_certificate(kafka: SecuredKafka, who: str) -> dict[str, str]:
    certificate = kafka.ca.issue(f"{who}-certificate", common_name=who)
    return {
        "kafka": kafka.mtls,
        "kafka_security": "SSL",
        "kafka_ca_file": str(kafka.ca.file),
        "kafka_cert_file": str(certificate),
    }


def by_token(kafka: SecuredKafka, folder: Path, who: str) -> dict[str, str]:
    token = folder / f"{who}.token"
    token.write_text(kafka.issuer.token(who))
    return {
        "kafka": kafka.bearer,
        "kafka_security": "SASL_SSL",
        "kafka_sasl_mechanism": "OAUTHBEARER",
        "kafka_token_file": str(token),
        "kafka_ca_file": str(kafka.ca.file),
    }


def environment(settings: dict[str, str]) -> dict[str, str]:
    return {f"CX_{name.upper()}": value for name, value in settings.items()}


def refusal(settings: dict[str, str]) -> str:
    """Say what is wrong with these settings, found in seconds."""

    def connect() -> None:
        loaded = load(environ={}, **settings)
        knock([server_address(loaded.kafka)], kafka_client_options(loaded))

    began = time.monotonic()
    with pytest.raises((ConnectionError, ConfigError)) as error:
        connect()
    assert time.monotonic() - began < PROMPT_S
    assert not any(password in str(error.value) for password in PASSWORDS.values())
    return str(error.value)


def test_whatever_is_wrong_is_said(kafka: SecuredKafka, folder: Path) -> None:
    """One sentence per cause, at once, that names the setting."""
    password = by_password(kafka, folder, "worker")
    certificate = by_certificate(kafka, "worker")
    token = by_token(kafka, folder, "worker")
    stranger = Authority(folder, "stranger")
    (folder / "wrong").write_text("not it")
    wrong_password = refusal(password | {"kafka_password_file": str(folder / "wrong")})
    assert "wrong kafka_user or kafka_password_file" in wrong_password
    assert "of another authority than those trusted (kafka_ca_file)" in refusal(
        password | {"kafka_ca_file": str(stranger.file)}
    )
    assert "for another host name" in refusal(password | {"kafka": kafka.scram.replace("127.0.0.1", "localhost")})
    absent = str(folder / "absent")
    for name in ("kafka_password_file", "kafka_ca_file"):
        assert absent in refusal(password | {name: absent})
        assert refusal(password | {name: absent}).startswith(name)
    assert "does not know kafka_sasl_mechanism PLAIN; it knows SCRAM-SHA-512" in refusal(
        password | {"kafka_sasl_mechanism": "PLAIN"}
    )
    assert "kafka_sasl_mechanism = 'SCRAM'" in refusal(password | {"kafka_sasl_mechanism": "SCRAM"})
    assert "does not speak TLS" in refusal(password | {"kafka": kafka.bootstrap})
    assert "speaks TLS at this port" in refusal({"kafka": kafka.scram})
    assert "it asks who we are (SASL)" in refusal(
        {"kafka": kafka.scram, "kafka_security": "SSL", "kafka_ca_file": str(kafka.ca.file)}
    )
    assert "takes no SASL at this port" in refusal({
        "kafka": kafka.bootstrap, "kafka_security": "SASL_PLAINTEXT", "kafka_user": "worker",
        "kafka_password_file": password["kafka_password_file"],
    })  # fmt: skip
    assert "kafka_cert_file" in refusal({name: certificate[name] for name in certificate if name != "kafka_cert_file"})
    assert "the certificate in kafka_cert_file" in refusal(
        certificate | {"kafka_cert_file": str(stranger.issue("strange", common_name="worker"))}
    )
    expired = refusal(certificate | {"kafka_cert_file": str(kafka.ca.issue("old", expired=True))})
    assert expired.startswith("kafka_cert_file: the certificate in")
    assert "expired on Jan  2" in expired
    assert "is not the key of kafka_cert_file" in refusal(certificate | {"kafka_key_file": str(kafka.ca.issue("k2"))})
    (folder / "old.token").write_text(kafka.issuer.token("worker", life_s=-60))
    assert "it is no longer renewed" in refusal(token | {"kafka_token_file": str(folder / "old.token")})
    (folder / "none.token").write_text(kafka.issuer.token("worker").rpartition(".")[0] + ".c2lnbmVk")
    assert "token refused; the server says" in refusal(token | {"kafka_token_file": str(folder / "none.token")})


@pytest.mark.parametrize("command", [["topics", "--check"], ["doctor"], ["worker"], ["collect", "--port", "0"]])
def test_commands_say_a_wrong_password_at_once(kafka: SecuredKafka, folder: Path, command: list[str]) -> None:
    """In one line; the door says so and goes on, since senders are told that it is not ready."""
    (folder / "wrong").write_text("hunter2-is-wrong")
    settings = by_password(kafka, folder, "worker") | {"kafka_password_file": str(folder / "wrong")}
    settings |= {"collect_metrics_port": "0", "metrics_port": "0", "data_dir": str(folder / "data")}
    said = ""
    with subprocess.Popen(
        [sys.executable, "-m", "streams", *command], cwd=ROOT, env={"PATH": "/usr/bin:/bin", **environment(settings)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        for line in process.stdout:
            said += line
            if "wrong kafka_user or kafka_password_file" in line and command[0] == "collect":
                process.terminate()
    assert "wrong kafka_user or kafka_password_file" in said
    assert "Traceback" not in said
    assert "hunter2" not in said
    assert process.returncode == (0 if command[0] == "collect" else 1)


def granted(rights: Rights, who: Role, name: str) -> None:
    rights.grant(who, rights_of(who, name, name))


def test_the_whole_job_runs_with_the_least_rights(
    kafka: SecuredKafka, rights: Rights, folder: Path, database: Database, tmp_path: Path
) -> None:
    """Workers by password, certificate and token side by side, a producer by certificate, the door by token."""
    pipeline = Pipeline(kafka.bootstrap, database, tmp_path, partitions=3)
    name = pipeline.environment["CX_APP_ID"]
    for who in ("worker", "door", "producer"):
        granted(rights, who, name)
    ways = (
        by_password(kafka, folder, "worker"), by_certificate(kafka, "worker"), by_token(kafka, folder, "worker"),
    )  # fmt: skip
    try:
        for number, way in enumerate(ways):
            worker = Worker(pipeline.environment | environment(way), tmp_path, f"worker-{number}")
            pipeline.workers.append(worker)
        options = kafka_client_options(load(environ={}, **by_certificate(kafka, "producer")))
        with TouchpointProducer(
            kafka.mtls, source="/shop/web", channel="web", topic_prefix=name, security=options
        ) as producer:
            for number in range(300):
                producer.send(_answer(number))
        door = DoorProcess(pipeline.environment | environment(by_token(kafka, folder, "door")), tmp_path / "door.log")
        assert door.post(event()).outcomes == ["accepted"]
        assert door.ask("GET", "/ready").status == 200
        assert door.stop() == 0
        pipeline.wait_stored(301)
        assert pipeline.verify().ok
        assert all(worker.process.poll() is None for worker in pipeline.workers)
        assert {worker.stop() for worker in pipeline.workers} == {0}
    finally:
        pipeline.close()


def _answer(number: int) -> dict[str, Any]:
    return {
        "type": "cx.survey.answered", "subject": f"customer-{number}", "touchpoint": "checkout",
        "time": datetime.now(UTC).isoformat(),
        "data": {"survey_id": "s-1", "metric": "csat", "scale": 5, "score": 1 + number % 5},
    }  # fmt: skip


def test_one_right_less_and_the_worker_names_it(kafka: SecuredKafka, rights: Rights, folder: Path) -> None:
    """Every single one is needed, and missed at the start by its name."""
    plan = topic_plan(1, 1, "less", "less")
    ensure_topics(kafka.bootstrap, plan)
    granted(rights, "worker", "less")
    needed = rights_of("worker", "less", "less")
    options = kafka_client_options(load(environ={}, **by_password(kafka, folder, "worker")))

    def problems() -> list[str]:
        return check_topics(kafka.scram, plan, needed, **options)

    assert eventually(problems, lambda found: not found) == []
    for right in needed:
        for operation in right.operations:
            with rights.without("worker", right, operation):
                [problem] = eventually(problems, lambda found: len(found) == 1)
            assert right.name in problem
            assert operation in problem
            assert eventually(problems, lambda found: not found) == []


def test_topics_are_made_with_the_least_rights(kafka: SecuredKafka, rights: Rights, folder: Path) -> None:
    """Without CREATE on one of them, that one is named."""
    plan = topic_plan(1, 1, "made", "made")
    options = kafka_client_options(load(environ={}, **by_password(kafka, folder, "topics")))
    granted(rights, "topics", "made")
    last = rights_of("topics", "made", "made")[-1]

    def attempt() -> str | list[str]:
        try:
            return ensure_topics(kafka.scram, plan, **options)
        except TopicsError as error:
            return str(error)

    with rights.without("topics", last, "CREATE"):
        assert f"refuses to create {last.name}" in eventually(attempt, lambda found: last.name in found)
    assert eventually(attempt, lambda found: found == []) == []


def test_a_producer_can_do_nothing_else(kafka: SecuredKafka, rights: Rights, folder: Path) -> None:
    """It writes its sources; it neither reads what customers did nor touches what is ours."""
    plan = topic_plan(1, 1, "fence", "fence")
    ensure_topics(kafka.bootstrap, plan)
    granted(rights, "producer", "fence")
    settings = load(environ={}, **by_password(kafka, folder, "producer"))
    options = kafka_client_options(settings)
    sources = Topics("fence").sources
    producer = KafkaProducer(bootstrap_servers=settings.kafka, max_block_ms=30_000, **options)
    consumer = KafkaConsumer(bootstrap_servers=settings.kafka, **options)
    try:
        for spec in plan:
            if spec.name in sources:
                assert eventually(lambda topic=spec.name: _write(producer, topic), lambda found: found is None) is None
            else:
                assert isinstance(_write(producer, spec.name), TopicAuthorizationFailedError)
            assert _read(consumer, spec.name) == []
        everything = KafkaConsumer(bootstrap_servers=kafka.bootstrap)
        assert _read(everything, sources[0], 60_000) != []
        everything.close()
    finally:
        producer.close(5)
        consumer.close()


def _read(consumer: KafkaConsumer, topic: str, timeout_ms: int = 1_000) -> list[Any]:
    place = TopicPartition(topic, 0)
    consumer.assign([place])
    consumer.seek(place, 0)
    try:
        return list(consumer.poll(timeout_ms).values())
    except TopicAuthorizationFailedError:
        return []


def _write(producer: KafkaProducer, topic: str) -> KafkaError | None:
    try:
        producer.send(topic, b"{}").get(30)
    except KafkaError as error:
        return error
    return None
