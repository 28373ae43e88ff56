"""
KPIs of outcomes that are known after a wait: one definition gives two numbers.

*Matured*: a trial is counted when its wait is over, and the outcome with it, if it came in time; so both are of the
same cohort, and what may still happen is pending, not missed. *Provisional*: trials and outcomes of the same time,
each when it happens; at once, and wrong while either becomes more or less frequent.

An outcome says how long after its trial it came, so no join is needed. Waits of a day or more end with a full hour.
Where trial and outcome are one event, which comes with the outcome, `age_s` of the trial says how long after it that
was: matured, it is counted when its time is up, and before that neither its success nor its failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from streams.kpis.language.blocks import YamlBlock
from streams.kpis.language.definition import LONGEST_DELAY_S, Delay, Kpi, Selector
from streams.kpis.language.expressions import ExpressionError, parse
from streams.kpis.language.fields import Kind, all_fields
from streams.kpis.language.lengths import window_minutes
from streams.kpis.language.tree import Param

PROVISIONAL: Final = "_provisional"
"""Ending of the id of the number that does not wait."""

_DAY_S: Final = 86_400


def wait_s(block: YamlBlock) -> int:
    """Read how long a definition waits, 0 if it does not."""
    if "wait" not in block:
        return 0
    try:
        found = window_minutes(str(block.plain("wait"))) * 60
    except ValueError as error:
        block.problem("wait", f"wait: {str(error).removeprefix('window ')}")
        return 0
    if found > LONGEST_DELAY_S:
        block.problem("wait", f"'wait' is at most {LONGEST_DELAY_S // _DAY_S} days")
    if block.plain("maturity") != "matured":
        block.problem("wait", "'wait' belongs to a KPI that is matured")
    of, hits = block.block("of"), block.block("hits")
    if hits is None or ("events" in hits) != ("age_s" in hits) or ("events" in hits) == ("age_s" in (of or ())):
        block.problem(
            "hits",
            "what waits needs 'age_s', the time since then: in 'hits' with 'events' of their own, or in 'of' where"
            " one event tells of trial and outcome",
        )
        return 0
    return found


def with_provisional(kpi: Kpi, block: YamlBlock, wait: int, params: Mapping[str, Param]) -> tuple[Kpi, ...]:
    """Return the matured and the provisional form of a definition that waits for so many seconds."""
    of_block, hits_block = block.block("of"), block.block("hits")
    hits = kpi.hits
    if not wait or hits is None or of_block is None or hits_block is None or not hits.events:
        return (kpi,)
    if kpi.nested:
        return _as_it_ends(kpi, of_block, wait, params)
    age, fields, hourly = str(hits_block.plain("age_s")), all_fields(hits.events), wait >= _DAY_S
    try:
        left = parse(f"{wait} - ({age})", Kind.NUMBER, fields, params)
        in_time = parse(f"({hits.where.text}) and ({age}) <= {wait}", Kind.BOOL, fields, params)
    except ExpressionError as error:
        hits_block.problem("age_s", f"age_s: {error}")
        return (kpi,)
    whole = parse(str(wait), Kind.NUMBER, {}, {})
    of: Selector = replace(kpi.of, delay=Delay(whole, hourly))
    matured = replace(kpi, of=of, hits=replace(hits, delay=Delay(left, hourly)))
    provisional = replace(
        kpi,
        id=f"{kpi.id}{PROVISIONAL}",
        name=f"{kpi.name}, so far",
        name_fa=f"{kpi.name_fa}، تا اکنون" if kpi.name_fa else "",
        formula=f"{kpi.formula} Without waiting: outcomes by trials of the same time, of which some may yet come.",
        hits=replace(hits, where=in_time),
        maturity="provisional",
        alert=None,
    )
    return matured, provisional


def _as_it_ends(kpi: Kpi, of_block: YamlBlock, wait: int, params: Mapping[str, Param]) -> tuple[Kpi, ...]:
    """Return both forms where one event tells of trial and outcome, when that is known."""
    try:
        left = parse(f"{wait} - ({of_block.plain('age_s')})", Kind.NUMBER, all_fields(kpi.of.events), params)
    except ExpressionError as error:
        of_block.problem("age_s", f"age_s: {error}")
        return (kpi,)
    matured = replace(kpi, of=replace(kpi.of, delay=Delay(left, wait >= _DAY_S)))
    provisional = replace(
        kpi,
        id=f"{kpi.id}{PROVISIONAL}",
        name=f"{kpi.name}, so far",
        name_fa=f"{kpi.name_fa}، تا اکنون" if kpi.name_fa else "",
        formula=f"{kpi.formula} Without waiting: of those whose outcome is known, each when it became so.",
        maturity="provisional",
        alert=None,
    )
    return matured, provisional
