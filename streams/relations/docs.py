"""The tables of docs/RELATIONS.md, written from the definitions: shipped relations, and KPIs on them."""

import re
from collections.abc import Iterable
from typing import Final

from streams.kpis.language.definition import Kpi
from streams.relations.catalogue import Relations
from streams.relations.definition import Relation
from streams.relations.kinds import SpanRelation, StagesRelation

_BETWEEN: Final = re.compile(r"(<!-- shipped: [^\n]*-->\n).*?(<!-- end of shipped -->)", re.DOTALL)
_KPIS: Final = re.compile(r"(<!-- kpis: [^\n]*-->\n).*?(<!-- end of kpis -->)", re.DOTALL)


def filled(page: str, relations: Relations, kpis: Iterable[Kpi]) -> str:
    """Return the page with the tables as relations and KPIs on them are now."""
    lines = [
        f"| `{kpi.id}` | {kpi.question} | {kpi.unit} | {kpi.maturity} | `{'`, `'.join(kpi.of.written)}` |"
        for kpi in kpis
        if kpi.maturity != "provisional"
    ]
    known = "| KPI | question | unit | maturity | of |\n|---|---|---|---|---|\n" + "\n".join(lines) + "\n"
    page = _KPIS.sub(lambda found: found[1] + known + found[2], page)
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
