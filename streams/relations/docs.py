"""The table of shipped relations in docs/RELATIONS.md, written from the definitions."""

import re
from typing import Final

from streams.relations.catalogue import Relations
from streams.relations.definition import Relation
from streams.relations.kinds import SpanRelation, StagesRelation

_BETWEEN: Final = re.compile(r"(<!-- shipped: [^\n]*-->\n).*?(<!-- end of shipped -->)", re.DOTALL)


def filled(page: str, relations: Relations) -> str:
    """Return the page with the table as the relations are now."""
    rows = [
        f"| `{one.id}` | {one.question} | {', '.join(one.by) or 'customer'} | {_says(one)} | `{one.emits}` |"
        for one in relations.values()
    ]
    head = "| relation | question | by | says | derived event |\n|---|---|---|---|---|\n"
    table = head + "\n".join(rows) + "\n"
    return _BETWEEN.sub(lambda found: found[1] + table + found[2], page)


def _says(relation: Relation) -> str:
    kept = ", ".join(f"`{take.name}`" for take in relation.keeps)
    outcomes: tuple[str, ...] = ()
    if isinstance(relation, SpanRelation):
        outcomes = relation.outcomes()
    elif isinstance(relation, StagesRelation):
        outcomes = tuple(relation.stages)
    return "; ".join(filter(None, (" / ".join(outcomes), kept)))
