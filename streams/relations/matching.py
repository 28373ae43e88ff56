"""Which events are meant, as rules about customers write it: `events` and `where` below a key."""

import fnmatch
from collections.abc import Mapping
from typing import Final

from streams.events.types import DERIVED_TYPES, EVENT_TYPES, PIPELINE_TYPES
from streams.kpis.language.blocks import YamlBlock
from streams.kpis.language.expressions import TRUE, Expression, ExpressionError, parse, suggest
from streams.kpis.language.fields import Field, Kind, all_fields, lacking
from streams.relations.definition import Matcher

NO_EVENTS: Final = Matcher(frozenset(), ())
_NO_FIELDS: Final[Mapping[str, Field]] = {}


def read_matcher(
    block: YamlBlock,
    key: str,
    refused: str | tuple[str, ...],
    why: str,
    beside: Mapping[str, Field] = _NO_FIELDS,
) -> Matcher:
    """
    Read which events are meant, raw and derived ones.

    Args:
        block: What holds the key; what is wrong becomes a problem.
        key: Where it stands.
        refused: How the names of events begin that are not allowed, nor meant by a pattern.
        why: What to say of those.
        beside: What conditions may ask for that is known beside the event.

    Returns:
        The matcher; if problems were noted on the way, it means nothing.
    """
    given = block.block(key)
    if given is None:
        return NO_EVENTS
    given.expect(("events",), ("where",))
    known = sorted((EVENT_TYPES.keys() | DERIVED_TYPES.keys()) - PIPELINE_TYPES)
    found: dict[str, None] = {}
    for name in map(str, given.list("events")):
        matching = fnmatch.filter(known, name) if "*" in name else [name]
        if name.startswith(refused):
            given.problem("events", f"{name!r} {why}")
        elif not matching or matching[0] not in known:
            given.problem("events", f"unknown event type {name!r}{suggest(name, known)}")
        else:
            found.update(dict.fromkeys(one for one in matching if not one.startswith(refused)))
    if not found:
        return NO_EVENTS
    where = read_expression(given, "where", Kind.BOOL, tuple(found), beside) or TRUE
    return Matcher(frozenset(found), tuple(map(str, given.list("events"))), where)


def read_expression(
    block: YamlBlock, key: str, kind: Kind, events: tuple[str, ...], beside: Mapping[str, Field] = _NO_FIELDS
) -> Expression | None:
    """Read an expression over the fields of events, and what is known beside them; None if there is none, or wrong."""
    if key not in block:
        return None
    try:
        found = parse(str(block.plain(key)), kind, {**beside, **all_fields(events)}, {})
    except ExpressionError as error:
        block.problem(key, f"{key}: {error}")
        return None
    for name in sorted(found.fields - beside.keys()) if "type" not in found.fields else ():
        if without := lacking(name, events):
            block.problem(key, f"{key}: {name!r} is no field of {without}")
    return found
