"""Actions as people write them: how far a driver is brought down, by whom, and at what effort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streams.drivers.definition import Driver
from streams.kpis.language.blocks import CatalogueError, Problems, YamlBlock, blocks_of, files_of, text_of
from streams.kpis.language.expressions import suggest

EFFORTS: Final[Mapping[str, float]] = {"small": 5.0, "medium": 20.0, "large": 60.0}
"""Days of work by the words for them."""
_MOST_DAYS: Final = 10_000.0


@dataclass(frozen=True, slots=True)
class ActionPlan:
    """
    Something that would be done about a driver.

    Attributes:
        id: Names it.
        driver: Which it brings down.
        to: How far, in the unit of the driver.
        how: What is done.
        owner: Who would do it.
        effort: As it is written.
        days: Days of work that this is.
        experiment: Which compared customers with and without it; empty: none.
        arm: The variant with it.
    """

    id: str
    driver: str
    to: float
    how: str
    owner: str
    effort: str
    days: float
    experiment: str = ""
    arm: str = ""


def load_actions(
    paths: Sequence[Path], drivers: Sequence[Driver], experiments: Mapping[str, Sequence[str]]
) -> tuple[ActionPlan, ...]:
    """
    Read the actions of files and of the YAML files of folders; `experiments` are the arms of each.

    Raises:
        CatalogueError: Anything cannot be right; names every problem with file and line.
    """
    problems = Problems()
    known = {one.name: one for one in drivers}
    found: dict[str, ActionPlan] = {}
    for file in files_of(paths, "actions", problems):
        for block in blocks_of(text_of(file, problems), str(file), "action", problems):
            plan = _read(block, known, experiments)
            if plan.id in found:
                block.problem("id", f"there is another action {plan.id!r}")
            found[plan.id] = plan
    problems.raise_any(CatalogueError)
    return tuple(found.values())


def _read(block: YamlBlock, drivers: Mapping[str, Driver], experiments: Mapping[str, Sequence[str]]) -> ActionPlan:
    block.expect(("id", "driver", "to", "how", "owner", "effort"), ("experiment",))
    name, to = block.text("driver"), block.number("to")
    driver = drivers.get(name)
    if name and driver is None:
        listed = suggest(name, drivers) or f"; known: {', '.join(drivers)}"
        block.problem("driver", f"no driver {name!r}{listed}")
    if to is not None and to < 0:
        block.problem("to", f"'to' must not be below 0, not {to:g}")
    elif to is not None and driver is not None and not driver.unit and not float(to).is_integer():
        block.problem("to", f"{name} is a count: 'to' must be a whole number, not {to:g}")
    effort, days = _effort(block)
    return ActionPlan(
        block.text("id"), name, float(to or 0), block.text("how"), block.text("owner"), effort, days,
        *_experiment(block, experiments),
    )  # fmt: skip


def _effort(block: YamlBlock) -> tuple[str, float]:
    given = block.plain("effort")
    if type(given) in {int, float}:
        if not 0 < given <= _MOST_DAYS:
            block.problem("effort", f"'effort' in days must be above 0 and {_MOST_DAYS:g} at most, not {given:g}")
            return "", 1.0
        return f"{given:g} d", float(given)
    if given is not None and (not isinstance(given, str) or given not in EFFORTS):
        hint = suggest(str(given), EFFORTS)
        block.problem("effort", f"'effort' cannot be {given!r}: it is {', '.join(EFFORTS)} or a number of days{hint}")
        return "", 1.0
    return (given, EFFORTS[given]) if given else ("", 1.0)


def _experiment(block: YamlBlock, experiments: Mapping[str, Sequence[str]]) -> tuple[str, str]:
    given = block.block("experiment")
    if given is None:
        return "", ""
    given.expect(("id", "arm"), ())
    name, arm = given.text("id"), given.text("arm")
    if name and name not in experiments:
        given.problem("id", f"no experiment {name!r}{suggest(name, experiments)}")
    elif arm and name:
        control, *others = experiments[name]
        if arm not in others:
            why = "is the control" if arm == control else "is none of its variants"
            given.problem("arm", f"{arm!r} {why}{suggest(arm, others)}; it is one of {', '.join(others)}")
    return name, arm
