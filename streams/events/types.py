"""
All event types, each listed once, and what can be known about their fields.

Whoever asks for a field by name (a KPI definition, a rule) finds here whether it exists and what it holds.
"""

from functools import cache
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, Union

import msgspec
from msgspec import inspect

# Importing a family registers its types.
from streams.events.derived import DERIVED_DATA, DERIVED_EVENTS
from streams.events.envelope import (
    COUNTS,
    REGISTERED_DATA,
    REGISTERED_EVENTS,
    Data,
    Envelope,
    Rated,
    needs_of,
    new_event,
)
from streams.events.families import (  # noqa: F401
    agent,
    awareness,
    change,
    contact,
    digital,
    experiment,
    feedback,
    fulfilment,
    identity,
    inferred,
    loop,
    loyalty,
    pipeline,
    store,
    synthetic,
    ticket,
)
from streams.events.ranges import PIPELINE_ATTRIBUTES, PIPELINE_DATA

__all__ = [
    "COUNTS",
    "DATA_TYPES",
    "DERIVED_TYPES",
    "ENVELOPE_FIELDS",
    "EVENT_TYPES",
    "PIPELINE_TYPES",
    "VERBATIM_TYPES",
    "Data",
    "Envelope",
    "Event",
    "FieldInfo",
    "Kind",
    "data_fields",
    "data_of",
    "derived_union",
    "fields_of",
    "new_event",
    "struct_of",
    "wire_union",
]

Event: TypeAlias = Envelope
Kind: TypeAlias = Literal["numeric", "text", "bool", "enum", "time"]

EVENT_TYPES: Final[dict[str, type[Envelope]]] = dict(sorted(REGISTERED_EVENTS.items()))
DATA_TYPES: Final[dict[str, type[Data]]] = dict(sorted(REGISTERED_DATA.items()))
DERIVED_TYPES: Final = DERIVED_EVENTS
"""What relations say, from topics of their own; no channel can send it. Grows when relations of a user's are read."""
PIPELINE_TYPES: Final = frozenset(PIPELINE_DATA)
"""What only the pipeline tells, of ranges and refused records; nobody can send it."""

VERBATIM_TYPES: Final = (
    "cx.contact.message_received",
    "cx.feedback.given",
    "cx.review.published",
    "cx.social.mentioned",
    "cx.survey.answered",
)
"""Events whose `text` customers wrote: not agents, bots or employees, who write in events of other types."""


class FieldInfo(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a field may hold.

    `values` are the members of an enum (also of a numeric one, as the points of a scale); `low` and `high` bound
    a number, or the length of a text; `rating` marks a number that may be written as text on the wire.
    """

    name: str
    part: Literal["envelope", "data"]
    kind: Kind
    required: bool
    nullable: bool
    integer: bool = False
    rating: bool = False
    values: tuple[str | int, ...] = ()
    low: float | None = None
    high: float | None = None
    pattern: str | None = None
    default: Any = None
    description: str = ""


def wire_union() -> Any:
    """Return the union of all event structs, for a decoder."""
    return Union[tuple(EVENT_TYPES.values())]  # noqa: UP007 - built from a tuple


def derived_union() -> Any:
    """Return the union of the structs of all derived events that are known by now, for a decoder."""
    return Union[tuple(DERIVED_TYPES.values())]  # noqa: UP007 - built from a tuple


def struct_of(event_type: str) -> type[Envelope]:
    """
    Return the struct of whole events of a type that is sent or derived.

    Raises:
        KeyError: There is no such type.
    """
    return EVENT_TYPES[event_type] if event_type in EVENT_TYPES else DERIVED_TYPES[event_type]


def data_of(event_type: str) -> type[Data]:
    """
    Return the struct of the `data` of a type that is sent or derived.

    Raises:
        KeyError: There is no such type.
    """
    return DATA_TYPES[event_type] if event_type in DATA_TYPES else DERIVED_DATA[event_type]


def data_fields(event_type: str) -> dict[str, FieldInfo]:
    """
    List the fields of the `data` of a type, by name.

    Raises:
        KeyError: There is no such type.
    """
    return dict(_fields_of_data(event_type))


def fields_of(event_type: str) -> dict[str, FieldInfo]:
    """
    List all fields of a type by name: the envelope's attributes, `type` among them, and those of `data`.

    Raises:
        KeyError: There is no such type.
    """
    envelope = ENVELOPE_FIELDS
    if event_type in PIPELINE_TYPES:
        envelope = MappingProxyType({name: ENVELOPE_FIELDS[name] for name in PIPELINE_ATTRIBUTES})
    needed = {
        name: msgspec.structs.replace(envelope[name], required=True, nullable=False) for name in needs_of(event_type)
    }
    return {**envelope, **needed, **_fields_of_data(event_type)}


def _fields(struct: type[msgspec.Struct], part: Literal["envelope", "data"]) -> dict[str, FieldInfo]:
    info = inspect.type_info(struct)
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"expected a struct, got {struct}")
    rated = issubclass(struct, Rated)
    return {
        field.encode_name: _field(field, part, rating=rated and field.name == "score")
        for field in info.fields
        if field.name not in {"data", "labels"}  # which are no scalars
    }


def _field(field: inspect.Field, part: Literal["envelope", "data"], *, rating: bool) -> FieldInfo:
    members = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
    nullable = any(isinstance(member, inspect.NoneType) for member in members)
    descriptions = [m.extra_json_schema for m in members if isinstance(m, inspect.Metadata)]
    members = tuple(m.type if isinstance(m, inspect.Metadata) else m for m in members)
    found = next(member for member in members if not isinstance(member, inspect.NoneType))
    common: dict[str, Any] = {
        "name": field.encode_name,
        "part": part,
        "required": field.required,
        "nullable": nullable,
        "default": None if field.default is msgspec.NODEFAULT else field.default,
        "description": next((d["description"] for d in descriptions if d and "description" in d), ""),
    }
    if rating:
        return FieldInfo(**common, kind="numeric", integer=True, rating=True, low=0, high=10)
    match found:
        case inspect.BoolType():
            return FieldInfo(**common, kind="bool")
        case inspect.DateTimeType():
            return FieldInfo(**common, kind="time")
        case inspect.LiteralType():
            values = tuple(value for value in found.values if isinstance(value, str | int))
            numeric = isinstance(values[0], int)
            return FieldInfo(**common, kind="numeric" if numeric else "enum", integer=numeric, values=values)
        case inspect.IntType() | inspect.FloatType():
            whole = isinstance(found, inspect.IntType)
            return FieldInfo(**common, kind="numeric", integer=whole, low=found.ge, high=found.le)
        case inspect.StrType():
            return FieldInfo(**common, kind="text", low=found.min_length, high=found.max_length, pattern=found.pattern)
    raise TypeError(f"field {field.name} holds {found}: fields are scalars, so that they can be measured")


ENVELOPE_FIELDS: Final = MappingProxyType(
    {
        "type": FieldInfo(
            name="type",
            part="envelope",
            kind="enum",
            required=True,
            nullable=False,
            values=tuple(EVENT_TYPES),
            description="what happened",
        ),
        **_fields(Envelope, "envelope"),
    }
)


def _fields_of_data(event_type: str) -> MappingProxyType[str, FieldInfo]:
    return _fields_of_struct(PIPELINE_DATA.get(event_type) or data_of(event_type))


@cache
def _fields_of_struct(data: type[Data]) -> MappingProxyType[str, FieldInfo]:
    return MappingProxyType(_fields(data, "data"))
