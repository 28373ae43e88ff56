"""The least rights in Kafka of each part of an installation: what to grant, and what to ask for at the start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from streams.engine.names import TABLES, Topics

Role: TypeAlias = Literal["worker", "door", "producer", "operator", "topics"]

_READ, _WRITE, _CREATE = "READ", "WRITE", "CREATE"
_SEE, _SEE_SETTINGS = "DESCRIBE", "DESCRIBE_CONFIGS"


class Right(NamedTuple):
    """What a role may do with one topic or group; operations by their names in Kafka, READ and WRITE hold DESCRIBE."""

    resource: Literal["TOPIC", "GROUP"]
    name: str
    operations: tuple[str, ...]


def rights_of(role: Role, prefix: str, app_id: str) -> list[Right]:
    """Return the least rights of a role. A producer of one channel needs those of its topic only."""
    return _RIGHTS[role](Topics(prefix), app_id)


def _worker(topics: Topics, app_id: str) -> list[Right]:
    read = (
        *topics.all_sources,
        topics.facts,
        topics.case_facts,
        topics.cases,
        topics.control,
        topics.partials,
        topics.blocks,
        topics.kpis,
        topics.alerts,
        topics.notifications,
    )
    written, logs = _written(topics), _changelogs(app_id)
    operations = {
        name: tuple(operation for operation, names in ((_READ, read + logs), (_WRITE, written + logs)) if name in names)
        for name in _all(topics, app_id)
    }
    # Without its settings nobody notices that a broker deletes what has to be kept.
    rights = [Right("TOPIC", name, (*found, _SEE_SETTINGS)) for name, found in operations.items()]
    # By the second group they take turns when the state of all has to be restored at a start.
    return [*rights, *(Right("GROUP", name, (_READ,)) for name in (app_id, f"{app_id}-start"))]


def _sender(topics: Topics, _app_id: str) -> list[Right]:
    return [Right("TOPIC", name, (_WRITE,)) for name in topics.sources]


def _operator(topics: Topics, _app_id: str) -> list[Right]:
    return [*(Right("TOPIC", name, (_READ,)) for name in topics.all_sources), Right("TOPIC", topics.control, (_WRITE,))]


def _maker(topics: Topics, app_id: str) -> list[Right]:
    return [Right("TOPIC", name, (_CREATE, _SEE, _SEE_SETTINGS)) for name in _all(topics, app_id)]


_RIGHTS: Final[Mapping[Role, Callable[[Topics, str], list[Right]]]] = {
    "worker": _worker,
    "door": _sender,
    "producer": _sender,
    "operator": _operator,
    "topics": _maker,
}


def _changelogs(app_id: str) -> tuple[str, ...]:
    return tuple(f"{app_id}-{table}-changelog" for table in TABLES)


def _written(topics: Topics) -> tuple[str, ...]:
    """Return what workers write, but for their changelogs: to sources, what they decide about cases."""
    return (
        *topics.all_sources,
        topics.facts,
        topics.case_facts,
        topics.cases,
        topics.partials,
        topics.blocks,
        topics.kpis,
        topics.alerts,
        topics.notifications,
        topics.dead_letters,
    )


def _all(topics: Topics, app_id: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*topics.all_sources, topics.control, *_written(topics), *_changelogs(app_id))))
