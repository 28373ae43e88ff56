"""
Event types that nobody sends: what relations say of the events of one customer.

They are declared from the definitions of relations: those shipped from `derived.json`, which `cx relations docs`
writes, those of a user's own when they are read. From then on they are types like all others, but of topics of their
own: what a channel sends cannot be one of them.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from streams.events.envelope import Data, Envelope, whole
from streams.events.scalars import Count, Time

SHIPPED: Final = Path(__file__).with_name("derived.json")
VERSION: Final = "1-0-0"
_LARGEST: Final = 10**15
_SPAN: Final = 64

FieldKind: TypeAlias = Literal["number", "whole", "text", "flag", "time"]


class DerivedField(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    One field of what a relation says.

    Attributes:
        values: Of a text or whole number: the only ones it takes, if they are known.
        longest: Of a text: the most characters.
        optional: Whether it may be missing.
    """

    name: str
    kind: FieldKind
    description: str
    values: tuple[str | int, ...] = ()
    longest: int = 128
    optional: bool = False


class DerivedType(msgspec.Struct, frozen=True):
    """The type of the events that a relation gives out; `question` is what they answer."""

    name: str
    relation: str
    question: str
    fields: tuple[DerivedField, ...]


class Derived(Data, frozen=True, kw_only=True):
    """What every derived event says of its matter; one that is withdrawn takes back what the same revision said."""

    span: Annotated[str, msgspec.Meta(min_length=1, max_length=_SPAN, description="names the matter")]
    revision: Count
    withdrawn: bool


_declared: Final[dict[str, DerivedType]] = {}
_events: Final[dict[str, type[Envelope]]] = {}
_data: Final[dict[str, type[Data]]] = {}

DERIVED_EVENTS: Final[Mapping[str, type[Envelope]]] = MappingProxyType(_events)
"""The struct of whole events by type; grows when types are declared."""
DERIVED_DATA: Final[Mapping[str, type[Data]]] = MappingProxyType(_data)


def declare(types: Iterable[DerivedType]) -> None:
    """Make types known, for as long as the process lives; one that is known already is from then on as it is now."""
    for one in types:
        if _declared.get(one.name) != one:
            _declared[one.name] = one
            _data[one.name] = _struct(one)
            _events[one.name] = whole(one.name, _data[one.name], (VERSION,))


def shipped() -> list[DerivedType]:
    """Return the types of the relations that are shipped."""
    return msgspec.json.decode(SHIPPED.read_bytes(), type=list[DerivedType])


def written(types: Iterable[DerivedType]) -> str:
    """Write types as `derived.json` holds them, a field a line."""
    blocks = []
    for one in types:
        fields = ",\n".join(f"    {msgspec.json.encode(field).decode()}" for field in one.fields)
        head = msgspec.json.encode({"name": one.name, "relation": one.relation, "question": one.question}).decode()
        blocks.append(f'  {head[:-1]},"fields":[\n{fields}\n  ]}}')
    return "[\n" + ",\n".join(blocks) + "\n]\n"


def _struct(one: DerivedType) -> type[Data]:
    """Make the struct of a type's data."""
    fields: list[Any] = []
    for field in sorted(one.fields, key=lambda field: field.optional):
        held = _held(field)
        fields.append((field.name, held | None, None) if field.optional else (field.name, held))
    made: Any = msgspec.defstruct(
        "".join(part.capitalize() for part in one.name.replace("_", ".").split(".")[1:]),
        fields,
        bases=(Derived,),
        namespace={"__doc__": f"{one.question} What the relation {one.relation} says."},
        module=__name__,
        kw_only=True,
        frozen=True,
        gc=False,
        omit_defaults=True,
    )
    return made  # type: ignore[no-any-return]


def _held(field: DerivedField) -> Any:
    """Return the type of what a field holds."""
    said = field.description
    if field.values:
        return Annotated[Literal[field.values], msgspec.Meta(description=said)]
    match field.kind:
        case "number":
            return Annotated[float, msgspec.Meta(ge=-_LARGEST, le=_LARGEST, description=said)]
        case "whole":
            return Annotated[int, msgspec.Meta(ge=-_LARGEST, le=_LARGEST, description=said)]
        case "flag":
            return Annotated[bool, msgspec.Meta(description=said)]
        case "time":
            return Annotated[Time, msgspec.Meta(description=said)]
    return Annotated[str, msgspec.Meta(max_length=field.longest, description=said)]


declare(shipped())
