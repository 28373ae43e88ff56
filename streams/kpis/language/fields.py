"""
What a KPI may ask of an event: the fields of each event type, and what each can be used for.

Read from the event structs themselves, so a definition can never name a field that events do not have.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Final, Literal

from streams.events import types

# Fields that name one customer, visit or message: a series for each would never be read, and never end.
IDENTITIES: Final = frozenset(
    {"id", "specversion", "subject", "sessionid", "journeyid", "orderid", "contactid", "traceid", "dataschema"}
)
# What says how an event is written, and nothing of what happened; it is not stored apart.
_FORMAL: Final = frozenset({"specversion", "dataschema"})
LONGEST_LABEL: Final = 128
_NAMED: Final = 5
OWN: Final = "own_"
"""What the name of an own label has in front, as a field and as a label of series."""
_OWN: Final = re.compile(OWN + "[a-z][a-z0-9_]{0,31}")


class Kind(StrEnum):
    """The kinds of values that expressions work with."""

    NUMBER = "a number"
    TEXT = "text"
    BOOL = "yes or no"
    TIME = "a time"


@dataclass(frozen=True, slots=True)
class Field:
    """
    One field of one or more event types.

    Attributes:
        place: Where its value is found: an attribute of the envelope, a field of the data, the type's name, or the
            event's own labels.
        whole: A number without fraction.
        optional: May be missing on an event.
        bounded: Takes few values (yes or no, a rating, one of a list), whatever customers do.
        label: May name a series.
        values: The only values it takes, where they are listed.
    """

    name: str
    kind: Kind
    place: Literal["envelope", "data", "type", "own"]
    whole: bool = False
    optional: bool = False
    bounded: bool = False
    label: bool = False
    values: tuple[str | int, ...] = ()


_KINDS: Final = {"numeric": Kind.NUMBER, "text": Kind.TEXT, "enum": Kind.TEXT, "bool": Kind.BOOL}


def _field(info: types.FieldInfo) -> Field:
    listed = bool(info.values) or info.kind == "bool" or info.rating
    # A pattern marks a code, such as a currency's.
    short = info.kind == "text" and (info.pattern is not None or (info.high is not None and info.high <= LONGEST_LABEL))
    return Field(
        name=info.name,
        kind=_KINDS[info.kind],
        place=info.part,
        whole=info.integer,
        optional=info.nullable,
        bounded=listed,
        label=(listed or short or info.integer) and info.name not in IDENTITIES,
        values=info.values,
    )


class Fields(dict[str, Field]):
    """
    Fields by name; any name like `own_plan` is one as well, the own label `plan` of an event.

    Own labels are listed nowhere, so they do not appear when the fields are gone through.
    """

    def __missing__(self, name: str) -> Field:
        if not _OWN.fullmatch(name):
            raise KeyError(name)
        return Field(name, Kind.TEXT, "own", optional=True, label=True)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and _OWN.fullmatch(name) is not None)


def fields_of(event_type: str) -> Mapping[str, Field]:
    """
    Return the usable fields of an event type: all but further times, and but what says how it is written.

    What the pipeline tells of itself has no own labels, all events may have.

    Raises:
        KeyError: There is no such type.
    """
    return _fields_of(event_type, types.DERIVED_TYPES.get(event_type))


@cache
def _fields_of(event_type: str, derived: object) -> Mapping[str, Field]:  # noqa: ARG001 - a derived type may be declared anew
    known = [info for info in types.fields_of(event_type).values() if info.name not in _FORMAL]
    found = {info.name: _field(info) for info in known if info.kind in _KINDS}
    if "time" in types.fields_of(event_type):
        found["time"] = Field("time", Kind.TIME, "envelope")
    found["type"] = Field("type", Kind.TEXT, "type", bounded=True, label=True, values=(event_type,))
    return MappingProxyType(found if event_type in types.PIPELINE_TYPES else Fields(found))


def all_fields(event_types: Iterable[str]) -> Mapping[str, Field]:
    """
    Return the fields that any of these types has, with the weakest promise among them: missing where a type lacks it.

    A name that means different kinds in different types is left out.
    """
    named = tuple(event_types)
    return _all_fields(named, tuple(types.DERIVED_TYPES.get(event_type) for event_type in named))


@cache
def _all_fields(event_types: tuple[str, ...], derived: object) -> Mapping[str, Field]:  # noqa: ARG001 - as above
    tables = [fields_of(event_type) for event_type in event_types]
    if len(tables) == 1:
        return tables[0]
    named: dict[str, list[Field]] = {}
    for table in tables:
        for name, field in table.items():
            named.setdefault(name, []).append(field)
    merged: dict[str, Field] = {}
    for name, alike in named.items():
        first = alike[0]
        if any(field.kind is not first.kind for field in alike):
            continue
        listed = all(field.values for field in alike)
        merged[name] = replace(
            first,
            whole=all(field.whole for field in alike),
            optional=len(alike) < len(tables) or any(field.optional for field in alike),
            bounded=all(field.bounded for field in alike),
            label=all(field.label for field in alike),
            values=tuple(dict.fromkeys(value for field in alike for value in field.values)) if listed else (),
        )
    return merged if types.PIPELINE_TYPES.intersection(event_types) else Fields(merged)


def lacking(name: str, event_types: Iterable[str]) -> str:
    """List those of the types that do not have the field, the first of many; empty: all have it."""
    without = [event_type for event_type in event_types if name not in fields_of(event_type)]
    more = f" and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
    return ", ".join(without[:_NAMED]) + more
