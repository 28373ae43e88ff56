"""
The envelope all events share (CloudEvents 1.0, structured JSON), and the register that gives each type its struct.

A family module defines the `data` of a type as a struct and registers it as
`@event("cx.survey.answered", counts="answers")`; the struct of the whole event is derived from it, so envelope
attributes are written down once.
"""

import re
from collections.abc import Callable
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

import msgspec

from streams.events import text
from streams.events.scalars import Attribute, Channel, OwnLabels, Rating, Reference, Scale, Stage, Time


class Data(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What happened, without the envelope: flat, scalars only, so that any field can be measured or grouped by."""


class Envelope(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="type"):
    """
    Who, where and when: the attributes of every event.

    `subject` is the customer's pseudonymous key, or the anonymous one.
    """

    type: ClassVar[str]

    specversion: Literal["1.0"]
    id: Attribute
    source: Reference
    time: Time
    subject: Attribute
    channel: Channel
    data: Any
    touchpoint: Attribute | None = None
    stage: Stage | None = None
    sessionid: Attribute | None = None
    journeyid: Attribute | None = None
    orderid: Attribute | None = None
    contactid: Attribute | None = None
    unitid: Attribute | None = None
    agentid: Attribute | None = None
    segment: Attribute | None = None
    region: Attribute | None = None
    experiment: Attribute | None = None
    variant: Attribute | None = None
    synthetic: bool = False
    timeimputed: bool = False
    traceid: Attribute | None = None
    dataschema: Reference | None = None
    labels: OwnLabels | None = None


D = TypeVar("D", bound=type[Data])

_events: Final[dict[str, type[Envelope]]] = {}
_data: Final[dict[str, type[Data]]] = {}
_names: Final[dict[type[Data], str]] = {}
_versions: Final[dict[str, tuple[str, ...]]] = {}
_counts: Final[dict[str, str]] = {}
_needs: Final[dict[str, tuple[str, ...]]] = {}

# Metrics asked from 0 to 10; all other ratings start at 1.
ZERO_BASED_METRICS: Final = frozenset({"nps", "enps"})

REGISTERED_EVENTS: Final = MappingProxyType(_events)
REGISTERED_DATA: Final = MappingProxyType(_data)
COUNTS: Final = MappingProxyType(_counts)
"""What one event of a type stands for, in words, by type."""


def event(
    name: str, version: str = "1-0-0", *, counts: str, earlier: tuple[str, ...] = (), needs: tuple[str, ...] = ()
) -> Callable[[D], D]:
    """
    Register a data struct as the content of the event type `name`.

    `counts` says in words what one event stands for, and what counts more than once: the unit of KPIs that count
    them. `version` is the type's SchemaVer: whoever changes the fields of a published type gives it a new one, and
    moves the one before to `earlier`, whose events are still taken. `needs` names attributes that other types may lack.

    Raises:
        ValueError: The name is taken: a type is listed once.
    """

    def register(data: D) -> D:
        if name in _events:
            raise ValueError(f"event type {name} is registered twice: {_data[name].__name__}, {data.__name__}")
        _events[name] = whole(name, data, (*earlier, version), needs)
        _data[name] = data
        _counts[name] = counts
        _needs[name] = needs
        return data

    return register


def whole(name: str, data: type[Data], versions: tuple[str, ...], needs: tuple[str, ...] = ()) -> type[Envelope]:
    """Make the struct of whole events of a type that `needs` attributes; note its versions, the current one last."""
    # A pattern costs nothing where the attribute is absent, as it nearly always is.
    schema = Annotated[Reference, msgspec.Meta(pattern=schema_pattern(name, versions))]
    made: Any = msgspec.defstruct(
        f"{data.__name__}Event",
        [("data", data), ("dataschema", schema | None, None), *((one, Attribute) for one in needs)],
        bases=(Envelope,),
        namespace={"type": name, "__doc__": data.__doc__},
        module=data.__module__,
        tag=name,
        kw_only=True,
        frozen=True,
        gc=False,
        omit_defaults=True,
    )
    _names[data] = name
    _versions[name] = versions
    return made  # type: ignore[no-any-return]


def needs_of(name: str) -> tuple[str, ...]:
    """Return the attributes that an event of a type must have, and others may lack."""
    return _needs.get(name, ())


def version_of(name: str) -> str:
    """
    Return the current schema version of an event type.

    Raises:
        KeyError: There is no such type.
    """
    return _versions[name][-1]


def versions_of(name: str) -> tuple[str, ...]:
    """
    Return all schema versions of an event type that its events may name, the current one last.

    Raises:
        KeyError: There is no such type.
    """
    return _versions[name]


def schema_file(name: str, version: str) -> str:
    """Return the path of a type's schema below the schema folder."""
    return f"events/{'/'.join(name.split('.')[1:])}/{version}.json"


def schema_pattern(name: str, versions: tuple[str, ...]) -> str:
    """Return the pattern of the URIs that lead to one of a type's schemas, wherever the schema folder is served."""
    path = re.escape(schema_file(name, "@")).replace("@", f"({'|'.join(versions)})")
    return f"^(.*/)?{path}$"


def new_event(
    data: Data,
    *,
    id: str,  # noqa: A002 - named as in the standard
    source: str,
    time: datetime,
    subject: str,
    channel: Channel,
    **attributes: Any,
) -> Envelope:
    """
    Wrap `data` in the envelope of its type.

    Values are not validated here: encode and decode the event for that.

    Raises:
        KeyError: `data` is of no registered type.
        TypeError: An attribute is none of the envelope's.
    """
    return _events[_names[type(data)]](
        specversion="1.0",
        id=id,
        source=source,
        time=time,
        subject=subject,
        channel=channel,
        data=data,
        **attributes,
    )


def whole_rating(value: float | str) -> int | None:
    """Read a rating as it may arrive: 4, 4.0, "4", "۴" or "٤"; None if it is no whole number."""
    if isinstance(value, str):
        return text.parse_digits(value)
    return int(value) if value == value // 1 else None


class Rated(Data, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Data with a rating on a scale of `scale` points."""

    scale: Scale
    score: Rating

    def __post_init__(self) -> None:
        """
        Make the rating an int from 1 to the scale's points.

        Raises:
            ValueError: It is no whole number, or outside the scale; decoding turns this into a refusal.
        """
        self.check_score(1)

    def check_score(self, lowest: int) -> None:
        """
        Make the rating an int, and hold it against its scale.

        Raises:
            ValueError: It is no whole number, or outside `lowest` to `scale`.
        """
        score = self.score
        if type(score) is not int:
            whole = whole_rating(score)
            if whole is None:
                raise ValueError("the score is no whole number")
            msgspec.structs.force_setattr(self, "score", whole)
            score = whole
        if not lowest <= score <= self.scale:
            raise ValueError("the score is outside its scale")
