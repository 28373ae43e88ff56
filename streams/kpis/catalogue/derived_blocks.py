"""Reading how a KPI is made of others, and where they must live together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, get_args

from streams.kpis.language.blocks import YamlBlock
from streams.kpis.language.definition import Kpi
from streams.kpis.language.derivation import UNITS_OF, Derivation, How, Part
from streams.kpis.language.expressions import suggest

_KEYS: Final[dict[How, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "gap": (("of", "over"), ("min_n",)),
    "coverage": (("of", "among", "over"), ("min_n",)),
    "difference": (("of", "less"), ("min_n",)),
    "quotient": (("of", "by"), ("min_n",)),
    "srm": (("of", "over"), ("min_n",)),
    "index": (("parts",), ("min_n", "covering")),
}
_LARGEST: Final = 1e15
_ROLES: Final = ("of", "among", "less", "by")
_COUNTED: Final = ("count", "distinct")


def read_derivation(block: YamlBlock, unit: str) -> Derivation:
    """Read `derive`; whether its inputs exist is known when all definitions are read."""
    given = block.block("derive")
    if given is None:
        block.problem("aggregator", "'derive' is missing: it says how the KPI is made of others")
        return Derivation("difference", ())
    how: How = given.choice("how", get_args(How), "difference")
    required, allowed = _KEYS[how]
    given.expect(("how", *required), allowed)
    if unit and unit not in UNITS_OF[how]:
        block.problem("unit", f"unit {unit!r} is impossible for {how}: it is one of {', '.join(UNITS_OF[how])}")
    over = tuple(sorted(map(str, given.list("over"))))
    if "over" in given and not over:
        given.problem("over", "'over' names no label")
    parts = tuple(Part(given.text(role), over) for role in _ROLES if role in given)
    covering = 0.7
    if how == "index":
        parts = _weighted(given)
        found = given.plain("covering")
        if found is not None and not (type(found) in {int, float} and 0 < found <= 1):
            given.problem("covering", f"'covering' must be a share above 0 and up to 1, not {found!r}")
        elif found is not None:
            covering = float(found)
    return Derivation(how, parts, given.whole("min_n", 1, 10**9), covering)


def _weighted(given: YamlBlock) -> tuple[Part, ...]:
    parts = []
    for item in given.list("parts"):
        known = ("kpi", "weight", "worst", "best")
        if not isinstance(item, dict) or set(item) != set(known):
            given.problem("parts", f"{item!r} must be a mapping with kpi, weight, worst and best")
            continue
        kpi, *numbers = (item[key] for key in known)
        if not isinstance(kpi, str) or not all(type(n) in {int, float} and abs(n) < _LARGEST for n in numbers):
            given.problem("parts", f"{item!r} must be a name and three numbers")
            continue
        weight, worst, best = map(float, numbers)
        if weight <= 0 or worst == best:
            given.problem("parts", f"{kpi}: needs a weight above 0, and a best value that is not the worst")
        parts.append(Part(kpi, (), weight, worst, best))
    if "parts" in given and not given.list("parts"):
        given.problem("parts", "'parts' names no KPI")
    return tuple(parts)


def resolve(kpi: Kpi, block: YamlBlock, kpis: Mapping[str, Kpi]) -> Kpi:
    """Hold a derived KPI against its inputs, and note in it what their numbers mean."""
    assert kpi.derive is not None
    parts = []
    for part in kpi.derive.parts:
        known = kpis.get(part.kpi)
        if known is None:
            block.problem("derive", f"there is no KPI {part.kpi!r}{suggest(part.kpi, kpis)}")
            continue
        if known.derive is not None:
            block.problem("derive", f"{part.kpi} is made of others itself: derived KPIs are made of counted ones")
            continue
        if kpi.derive.how == "srm" and known.aggregator not in _COUNTED:
            block.problem("derive", f"{part.kpi} is a {known.aggregator}: what is assigned must be counted")
        for grouping in kpi.groupings:
            needed = tuple(sorted({*grouping, *part.over}))
            if needed not in known.groupings:
                block.problem("derive", f"{part.kpi} is not kept by {', '.join(needed) or 'the whole'}, as is needed")
            if set(grouping) & set(part.over):
                block.problem("derive", f"grouping {list(grouping)} cannot hold what is looked over")
        parts.append(replace(part, definition=known.definition_id))
    if kpi.derive.how == "quotient" and kpi.unit == "percent" and len(parts) == len(kpi.derive.parts):
        _check_share(block, *(kpis[part.kpi] for part in parts))
    return replace(kpi, derive=replace(kpi.derive, parts=tuple(parts)))


def _check_share(block: YamlBlock, part: Kpi, whole: Kpi) -> None:
    """Refuse a percentage of counts that are not taken of the same: it would leave 0 to 100 %."""
    alike = part.aggregator == whole.aggregator and part.aggregator in _COUNTED and part.of.value == whole.of.value
    if not alike or not set(part.of.events) <= set(whole.of.events):
        block.problem(
            "unit",
            f"{part.id} is no share of {whole.id}: for percent both count the same, and {whole.id} counts every event"
            f" that {part.id} does; else the unit is fraction",
        )


def colocation(kpis: Iterable[Kpi]) -> dict[str, str]:
    """
    Return for each KPI that is connected with others by a derived one the id that stands for all of them, the smallest.

    All series of connected KPIs live in one merge partition.
    """
    parent: dict[str, str] = {}

    def root(kpi: str) -> str:
        while parent.setdefault(kpi, kpi) != kpi:
            kpi = parent[kpi]
        return kpi

    for kpi in kpis:
        for part in kpi.derive.parts if kpi.derive else ():
            first, second = sorted((root(kpi.id), root(part.kpi)))
            parent[second] = first
    return {kpi: root(kpi) for kpi in parent}
