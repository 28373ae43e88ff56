"""The topics of an installation, declared once: created where missing, and checked where they exist.

Partition counts are a guarantee, not a tuning: equal counts are what puts a changelog partition on the
worker that reads the source partition of the same number.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any, Self

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
)

from streams.engine.app import MAX_RECORD_BYTES
from streams.engine.names import TABLES, Topics
from streams.engine.rights import Right
from streams.secured.kafka import knock, server_address

log = logging.getLogger(__name__)

_VISIBLE_TIMEOUT_S = 60.0
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_MIB = 1024 * 1024

#: A source keeps what a worker or store that was away for a week still has to read.
_SOURCE = {"cleanup.policy": "delete", "retention.ms": str(7 * _DAY_MS), "max.message.bytes": str(_MIB)}
#: The broker's own time: a worker whose clock is wrong has its records neither refused nor deleted early.
_BROKER_TIME = {"message.timestamp.type": "LogAppendTime"}
_INTERNAL = {
    **_BROKER_TIME,
    "cleanup.policy": "delete",
    "retention.ms": str(7 * _DAY_MS),
    "max.message.bytes": str(MAX_RECORD_BYTES + _MIB),
}
_LONGER = {**_INTERNAL, "retention.ms": str(30 * _DAY_MS)}
#: Only closed segments are compacted: small ones keep what a restarted worker has to read short.
_CHANGELOG = {
    **_BROKER_TIME,
    "cleanup.policy": "compact",
    "max.message.bytes": str(MAX_RECORD_BYTES + _MIB),
    "segment.ms": str(_HOUR_MS // 6),
    "segment.bytes": str(64 * _MIB),
    "min.cleanable.dirty.ratio": "0.2",
    "delete.retention.ms": str(_DAY_MS),
}

#: Settings whose value decides about loss; the others may be tuned by whoever runs the broker.
_CHECKED = ("cleanup.policy", "max.message.bytes")


class TopicsError(RuntimeError):
    """The broker refused to list or create topics; the text says which and why."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it has to be.

    Attributes:
        name: Name on the broker.
        partitions: Number of partitions, equal for all topics that agents read.
        replication: Copies of each partition.
        config: Topic settings by their Kafka names.
    """

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str] = field(default_factory=dict)


def topic_plan(
    partitions: int, replication: int, app_id: str, prefix: str, tables: Sequence[str] = TABLES
) -> list[TopicSpec]:
    """All topics of one installation.

    Args:
        partitions: Partitions of every topic.
        replication: Copies of each partition; with three or more, two must confirm a write.
        app_id: Faust application id, the prefix of changelogs.
        prefix: Prefix of all other topics.
        tables: Names of the fenced tables.
    """
    durable = {"min.insync.replicas": "2"} if replication >= 3 else {}
    names = Topics(prefix)
    configs: dict[str, Mapping[str, str]] = {
        **dict.fromkeys(names.all_sources, _SOURCE),
        names.facts: _INTERNAL,
        names.case_facts: _INTERNAL,
        names.cases: _LONGER,
        names.partials: _INTERNAL,
        names.blocks: _INTERNAL,
        names.kpis: _INTERNAL,
        names.alerts: _LONGER,
        names.notifications: _INTERNAL,
        names.control: _INTERNAL,
        names.dead_letters: _LONGER,
        **{f"{app_id}-{table}-changelog": _CHANGELOG for table in tables},
    }
    return [TopicSpec(name, partitions, replication, {**config, **durable}) for name, config in configs.items()]


def check_topics(
    brokers: str, plan: Iterable[TopicSpec], rights: Iterable[Right] = (), **client_options: Any
) -> list[str]:
    """Compare the broker with the plan, and what it lets us do with what we have to.

    Returns:
        One sentence per problem; an empty list when all is well. A broker that does not tell its
        settings (the embedded one) is checked for names and partitions only.

    Raises:
        TopicsError: The broker cannot be asked.
    """
    with _Admin(brokers, client_options) as admin:
        return admin.problems(plan, rights)


def ensure_topics(brokers: str, plan: Iterable[TopicSpec], **client_options: Any) -> list[str]:
    """Create the topics that are missing, then compare the broker with the plan.

    Nothing that exists is changed: a topic with the wrong number of partitions or the wrong clean-up
    holds data that somebody has to decide about.

    Returns:
        One sentence per problem that is left.

    Raises:
        TopicsError: The broker cannot be asked, or refuses to create a topic.
    """
    plan = list(plan)
    with _Admin(brokers, client_options) as admin:
        admin.create_missing(plan)
        return admin.problems(plan)


class _Admin:
    def __init__(self, brokers: str, client_options: Mapping[str, Any]) -> None:
        self._brokers = brokers
        self._options = {"client_id": "cx-topics", **client_options}

    def __enter__(self) -> Self:
        servers = [server.strip() for server in self._brokers.split(",") if server.strip()]
        try:
            knock(list(map(server_address, servers)), self._options)
            self._client = KafkaAdminClient(bootstrap_servers=servers, **self._options)
        except (KafkaError, ConnectionError, ValueError) as exc:
            raise TopicsError(f"no broker answers at {self._brokers}: {exc}") from exc
        return self

    def __exit__(self, *_exc: object) -> None:
        self._client.close()

    def _described(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        if not names:
            return {}
        try:
            return {topic["name"]: topic for topic in self._client.describe_topics(list(names))}
        except KafkaError as exc:
            raise TopicsError(f"{self._brokers} does not list its topics: {exc}") from exc

    def _found(self, plan: Sequence[TopicSpec]) -> dict[str, int]:
        described = self._described([spec.name for spec in plan])
        return {name: len(topic["partitions"]) for name, topic in described.items() if topic["error_code"] == 0}

    def _refusals(self, rights: Sequence[Right]) -> list[str]:
        """Return what the broker does not let us do; a broker that knows no rights refuses nothing."""
        described = self._described([right.name for right in rights if right.resource == "TOPIC"])
        problems = []
        for right in rights:
            if right.resource == "GROUP":
                problems += self._group_refusals(right)
                continue
            topic = described[right.name]
            hidden = topic["error_code"] == TopicAuthorizationFailedError.errno
            allowed = () if hidden else topic["authorized_operations"]
            missing = [operation for operation in right.operations if allowed is not None and operation not in allowed]
            if missing:
                problems.append(_refused(right.name, missing))
        return problems

    def _group_refusals(self, right: Right) -> list[str]:
        try:
            self._client.list_group_offsets({right.name: None})
        except GroupAuthorizationFailedError:
            return [_refused(f"group {right.name}", right.operations)]
        except KafkaError as exc:
            # A broker that is new has no coordinator yet, and a group that never was has no offsets.
            log.debug("group %s is not described: %s", right.name, exc)
        return []

    def create_missing(self, plan: Sequence[TopicSpec]) -> None:
        found = self._found(plan)
        missing = [spec for spec in plan if spec.name not in found]
        for spec in missing:
            topic = NewTopic(spec.name, spec.partitions, spec.replication, topic_configs=dict(spec.config))
            try:
                self._client.create_topics([topic])
            except TopicAlreadyExistsError:
                continue  # another worker was faster; the check follows
            except KafkaError as exc:
                raise TopicsError(f"{self._brokers} refuses to create {spec.name}: {exc}") from exc
        # A broker answers for a new topic only when it has heard of it from the controller.
        deadline = monotonic() + _VISIBLE_TIMEOUT_S
        while len(self._found(missing)) < len(missing) and monotonic() < deadline:
            sleep(0.05)

    def problems(self, plan: Iterable[TopicSpec], rights: Iterable[Right] = ()) -> list[str]:
        plan = list(plan)
        asked = {right.name: right for right in rights}
        for spec in plan:
            asked.setdefault(spec.name, Right("TOPIC", spec.name, ("DESCRIBE",)))
        described = self._described([spec.name for spec in plan])
        found = {name: len(topic["partitions"]) for name, topic in described.items() if topic["error_code"] == 0}
        configs = self._configs([spec for spec in plan if spec.name in found])
        problems = []
        for spec in plan:
            partitions = found.get(spec.name)
            if partitions is None and described[spec.name]["error_code"] == TopicAuthorizationFailedError.errno:
                continue
            if partitions is None:
                problems.append(f"{spec.name} is missing: `cx topics` creates it")
                continue
            if partitions != spec.partitions:
                problems.append(
                    f"{spec.name} has {partitions} partitions, expected {spec.partitions}: all topics of an "
                    "installation have equally many, or state and records of a partition part company"
                )
            problems += _config_problems(spec, configs.get(spec.name, {}))
        return problems + self._refusals(list(asked.values()))

    def _configs(self, specs: Sequence[TopicSpec]) -> dict[str, dict[str, str]]:
        if not specs:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, spec.name) for spec in specs]
        try:
            described = self._client.describe_configs(resources, config_filter="all")
        except KafkaError as exc:
            raise TopicsError(f"{self._brokers} does not tell its topics' settings: {exc}") from exc
        return {
            name: {key: str(entry["value"]) for key, entry in entries.items()}
            for name, entries in described.get("topic", {}).items()
        }


def _refused(name: str, operations: Iterable[str]) -> str:
    return f"{name}: the broker does not allow us {', '.join(operations)}; docs/SECURITY.md lists what we need"


def _config_problems(spec: TopicSpec, config: Mapping[str, str]) -> list[str]:
    problems = []
    for key in _CHECKED:
        actual, expected = config.get(key), spec.config.get(key)
        if actual is None or expected is None:
            continue
        if key == "max.message.bytes":
            if int(actual) < int(expected):
                problems.append(
                    f"{spec.name} takes records up to {actual} bytes ({key}), expected {expected}: larger "
                    "ones are refused"
                )
        elif set(actual.split(",")) != set(expected.split(",")):
            problems.append(
                f"{spec.name} has {key}={actual}, expected {expected}: "
                + ("old state would be deleted" if expected == "compact" else "records would be lost or kept for ever")
            )
    return problems
