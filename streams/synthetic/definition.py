"""A scripted path, and the events that one run of it sends."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from streams.events.scalars import Channel

DoorName = Literal["kafka", "http"]
SOURCE: Final = "/cx/synthetic"
"""Of all events that runs send; behind a slash the path is named."""
HOLE: Final = re.compile(r"\{([^{}]*)\}")
_LATER: Final = re.compile(r"now\+(\d{1,4})([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True)
class PathStep:
    """
    One event of a path.

    Attributes:
        type: Its type.
        attributes: Of the envelope, as written.
        data: As written.
        wait_s: How long after the step before it is sent.
        times: How often it is sent, under the same id: it must be stored once.
        refused: The reason for which the door must refuse it; empty: it must be accepted.
    """

    type: str
    attributes: Mapping[str, Any]
    data: Mapping[str, Any]
    wait_s: float = 0.0
    times: int = 1
    refused: str = ""


@dataclass(frozen=True)
class Derives:
    """What a relation must say of a run: an event of this type, in whose data these values stand."""

    type: str
    says: Mapping[str, Any]


@dataclass(frozen=True)
class SyntheticPath:
    """
    A scripted path.

    Attributes:
        name: By language.
        within_s: A run is over after so long, whatever has come of it.
        derives: Is checked where the relation runs.
    """

    id: str
    name: Mapping[str, str]
    channel: Channel
    door: DoorName
    within_s: float
    steps: Sequence[PathStep]
    derives: Sequence[Derives] = ()

    @property
    def source(self) -> str:
        """The source of its events."""
        return f"{SOURCE}/{self.id}"


class BadHoleError(ValueError):
    """A text asks for something that no run has."""


def filled(value: Any, path: str, run: str, now: datetime) -> Any:
    """
    Return a value of a step as a run sends it: `{run}`, `{path}`, `{now}` and the like in its texts are filled in.

    Raises:
        BadHoleError: A text asks for something else.
    """
    if isinstance(value, Mapping):
        return {name: filled(one, path, run, now) for name, one in value.items()}
    if isinstance(value, list):
        return [filled(one, path, run, now) for one in value]
    if not isinstance(value, str):
        return value

    def instead(hole: re.Match[str]) -> str:
        if (later := _LATER.fullmatch(hole[1])) is not None:
            return (now + timedelta(seconds=int(later[1]) * _UNITS[later[2]])).isoformat()
        known = {"run": run, "path": path, "now": now.isoformat()}
        if hole[1] not in known:
            raise BadHoleError(
                f"{hole[0]!r} is nothing that a run has: known are {{run}}, {{path}}, {{now}}, {{now+2h}}"
            )
        return known[hole[1]]

    return HOLE.sub(instead, value)


def event_of(path: SyntheticPath, number: int, run: str, now: datetime) -> dict[str, Any]:
    """
    Return the event of a step (from 0 on) of a run, as it is sent at a moment.

    Raises:
        BadHoleError: A text of it asks for something that no run has.
    """
    step = path.steps[number]
    return {
        "specversion": "1.0",
        "id": f"{run}/{number + 1}",
        "source": path.source,
        "type": step.type,
        "time": now.isoformat(),
        "subject": f"synthetic-{run}",
        "channel": path.channel,
        **filled(step.attributes, path.id, run, now),
        "synthetic": True,
        "data": filled(step.data, path.id, run, now),
    }
