"""The event types of what relations say, as exact as what they are made of."""

from collections.abc import Iterable, Mapping
from typing import Final

from streams.events.derived import DerivedField, DerivedType, FieldKind
from streams.events.types import FieldInfo, fields_of
from streams.kpis.language.expressions import Expression
from streams.kpis.language.fields import Kind
from streams.kpis.language.tree import Choice, Literally, Name, Node
from streams.relations.definition import COMMON, Output, Relation, Take

_LONGEST: Final = 20_000
_MOST_POINTS: Final = 10
_KINDS: Final[Mapping[Kind, FieldKind]] = {
    Kind.NUMBER: "number", Kind.TEXT: "text", Kind.BOOL: "flag", Kind.TIME: "time",
}  # fmt: skip
_COUNTED: Final = frozenset({"count", "distinct", "changes"})
_CHOSEN: Final = frozenset({"first", "last", "min", "max"})
_IN_ALL: Final = frozenset(output.name for output in COMMON)


def types_of(relations: Iterable[Relation]) -> list[DerivedType]:
    """Return the types of the derived events of relations, in their order."""
    return [_type_of(relation) for relation in relations]


def _type_of(relation: Relation) -> DerivedType:
    takes = {take.name: take for take in relation.keeps}
    fields = [
        _field(output, _sources(relation, takes.get(output.name), output), takes.get(output.name))
        for output in relation.outputs()
        if output.name not in _IN_ALL
    ]
    return DerivedType(relation.emits, relation.id, relation.question, tuple(fields))


def _sources(relation: Relation, take: Take | None, output: Output) -> list[FieldInfo]:
    """Return the fields of events whose values a field takes over; none if it works something out."""
    if output.name in relation.by:
        return [fields_of(event)[output.name] for event in sorted(relation.events)]
    name = None
    if take is not None and take.take in _CHOSEN:
        name = take.value
        if isinstance(name, Expression):
            name = name.tree.field.name if isinstance(name.tree, Name) else None
    if take is None or name is None:
        return []
    known = [fields_of(event) for event in sorted(take.of.events)]
    return [fields[name] for fields in known if name in fields]


def _field(output: Output, sources: list[FieldInfo], take: Take | None) -> DerivedField:
    kind = _KINDS[output.kind]
    if kind == "number" and (output.name in _WHOLE or (take is not None and take.take in _COUNTED)):
        kind = "whole"
    if kind == "number" and sources and all(source.integer for source in sources):
        kind = "whole"
    longest = max((int(source.high or _LONGEST) for source in sources if source.kind == "text"), default=0)
    values = output.values or _values(kind, sources, take)
    if kind == "text" and not values and not longest:
        longest = _LONGEST
    return DerivedField(
        name=output.name,
        kind=kind,
        description=output.description,
        values=values,
        longest=longest if kind == "text" and not values else 128,
        optional=output.optional,
    )


def _values(kind: FieldKind, sources: list[FieldInfo], take: Take | None) -> tuple[str | int, ...]:
    """Return all values that a text or a whole number takes; none: they are not known."""
    written = take.value if take is not None and take.take in _CHOSEN else None
    if kind == "text" and isinstance(written, Expression) and (chosen := _choices(written.tree)):
        return chosen
    if kind not in {"text", "whole"} or not sources:
        return ()
    found = [range(_MOST_POINTS + 1) if source.rating else source.values for source in sources]
    return tuple(dict.fromkeys(value for values in found for value in values)) if all(found) else ()


def _choices(tree: Node) -> tuple[str, ...]:
    """Return all that an expression can give, if it chooses among texts that are written in it."""
    if isinstance(tree, Literally) and isinstance(tree.value, str):
        return (tree.value,)
    if isinstance(tree, Choice):
        then, otherwise = _choices(tree.then), _choices(tree.otherwise)
        return tuple(dict.fromkeys((*then, *otherwise))) if then and otherwise else ()
    return ()


_WHOLE: Final = frozenset({"skipped"})
"""Numbers that every relation of a kind says, and that have no fraction."""
