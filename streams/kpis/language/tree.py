"""The tree of an expression: what stands between its text and its two back ends."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from streams.kpis.language.fields import Field, Kind

# Lowest score that counts as satisfied, per number of points: top 1 of 3, top 2 of 4 to 7, top 3 of 10.
TOP_BOX: Final = {3: 3, 4: 3, 5: 4, 6: 5, 7: 6, 10: 8}

Param: TypeAlias = float | int | str | bool


@dataclass(frozen=True, slots=True)
class Literally:
    """A value written in the text, or a parameter."""

    value: Param


@dataclass(frozen=True, slots=True)
class Name:
    """The value of a field."""

    field: Field


@dataclass(frozen=True, slots=True)
class Compare:
    """Two values side by side; false if one is missing."""

    operator: Literal["==", "!=", "<", "<=", ">", ">="]
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Among:
    """A value in a list, or not in it; false either way if it is missing."""

    item: "Node"
    values: tuple[Param, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Holds:
    """Whether a text contains, starts with or ends with any of some texts; false if it is missing."""

    how: Literal["contains", "starts_with", "ends_with"]
    item: "Node"
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TimePart:
    """What clocks and calendar of a zone show at the time of an event; `day` is in days since 1970-01-01."""

    part: Literal["hour_of_day", "minute_of_day", "day_of_week", "day"]
    item: "Name"
    zone: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Whether a value is missing, or present if negated."""

    item: "Node"
    negated: bool


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a condition."""

    item: "Node"


@dataclass(frozen=True, slots=True)
class Joined:
    """Conditions joined by `and` or `or`."""

    operator: Literal["and", "or"]
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A calculation with two numbers."""

    operator: Literal["+", "-", "*", "/"]
    left: "Node"
    right: "Node"


@dataclass(frozen=True, slots=True)
class Choice:
    """`then if test else otherwise`."""

    test: "Node"
    then: "Node"
    otherwise: "Node"


@dataclass(frozen=True, slots=True)
class Call:
    """`top_box(scale)` or `coalesce(value, instead)`."""

    function: Literal["top_box", "coalesce"]
    items: tuple["Node", ...]


Node: TypeAlias = (
    Literally | Name | Compare | Among | Holds | TimePart | Missing | Not | Joined | Arithmetic | Choice | Call
)


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes directly below a node."""
    match node:
        case Literally() | Name():
            return ()
        case Compare(_, left, right) | Arithmetic(_, left, right):
            return (left, right)
        case Among(item) | Holds(_, item) | TimePart(_, item) | Missing(item) | Not(item):
            return (item,)
        case Joined(_, items) | Call(_, items):
            return items
        case Choice(test, then, otherwise):
            return (test, then, otherwise)


def names_in(node: Node) -> Iterator[Field]:
    """Return every field a tree reads, repeated as often as it is read."""
    if isinstance(node, Name):
        yield node.field
    for child in children(node):
        yield from names_in(child)


def kind_of(node: Node) -> Kind:
    """Say what kind of value a tree gives."""
    match node:
        case Literally(value):
            return literal_kind(value)
        case Name(field):
            return field.kind
        case Arithmetic():
            return Kind.NUMBER
        case TimePart(part):
            return Kind.TEXT if part == "day_of_week" else Kind.NUMBER
        case Choice(_, then, _):
            return kind_of(then)
        case Call(function, items):
            return Kind.NUMBER if function == "top_box" else kind_of(items[0])
        case _:
            return Kind.BOOL


def literal_kind(value: Param) -> Kind:
    """Say what kind of value a literal is."""
    if isinstance(value, bool):
        return Kind.BOOL
    return Kind.TEXT if isinstance(value, str) else Kind.NUMBER
