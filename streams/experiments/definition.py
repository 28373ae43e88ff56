"""Experiments as people write them: the planned shares of their arms, and what would have to change to matter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streams.kpis.aggregators import AGGREGATORS
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.blocks import CatalogueError, Problems, YamlBlock, blocks_of, files_of, nothing_in, text_of
from streams.kpis.language.expressions import suggest

ALPHA: Final = 0.05
_LEAST_ALPHA: Final = 1e-9
_MOST_ALPHA: Final = 0.5
_LEAST: Final = 1e-9
_MOST: Final = 1e12
"""What shares and effects may be: their squares and sums are numbers, too."""
_LIMITS: Final = f", and from {_LEAST:g} to {_MOST:g}"


@dataclass(frozen=True, slots=True)
class Metric:
    """
    A KPI that an experiment looks at.

    Attributes:
        kpi: Its id.
        effect: The smallest change that would matter, in the KPI's unit.
        guardrail: Whether it must only not get worse; else it is what the experiment is for.
    """

    kpi: str
    effect: float
    guardrail: bool = False


@dataclass(frozen=True, slots=True)
class Experiment:
    """
    One experiment.

    Attributes:
        id: What events carry as `experiment`.
        question: What it is to find out.
        owner: Who is asked about it.
        arms: The variants and their planned shares, of which only the proportions matter; the first is the control.
        metrics: What it looks at.
        alpha: Probability that any of its goals seems changed though none is, however often one looks.
    """

    id: str
    question: str = ""
    owner: str = ""
    arms: Mapping[str, float] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    alpha: float = ALPHA

    def alpha_of_each(self, arms: int) -> float:
        """Return what is left of alpha for one comparison of a goal: there are so many arms beside the control."""
        goals = sum(not one.guardrail for one in self.metrics)
        return self.alpha / max(1, goals * arms)


def load_experiments(paths: Sequence[Path], kpis: Catalogue) -> dict[str, Experiment]:
    """
    Read the experiments of files and of the YAML files of folders.

    Raises:
        CatalogueError: Anything cannot be right; names every problem with file and line.
    """
    problems = Problems()
    found: dict[str, Experiment] = {}
    blocks = [
        block
        for file in files_of(paths, "experiments", problems)
        for block in blocks_of(text_of(file, problems), str(file), "experiment", problems)
    ]
    nothing_in(paths, blocks, "experiment", problems)
    for block in blocks:
        experiment = _read(block, kpis)
        if experiment.id in found:
            block.problem("id", f"there is another experiment {experiment.id!r}")
        found[experiment.id] = experiment
    problems.raise_any(CatalogueError)
    return found


def _read(block: YamlBlock, kpis: Catalogue) -> Experiment:
    block.expect(("id", "question", "owner", "arms", "goals"), ("guardrails", "alpha"))
    alpha = block.number("alpha")
    if alpha is not None and not _LEAST_ALPHA <= alpha <= _MOST_ALPHA:
        block.problem("alpha", f"'alpha' must be above 0 and {_MOST_ALPHA:g} at most, not {alpha:g}")
    metrics = [
        _read_metric(one, kpis, guardrail=key == "guardrails")
        for key in ("goals", "guardrails")
        for one in block.blocks(key, key.removesuffix("s"), "kpi")
    ]
    names = [one.kpi for one in metrics]
    for twice in sorted({name for name in names if names.count(name) > 1}):
        block.problem("goals", f"{twice!r} stands twice among goals and guardrails")
    return Experiment(
        block.text("id"), block.text("question"), block.text("owner"), _read_arms(block), tuple(metrics), alpha or ALPHA
    )


def _read_arms(block: YamlBlock) -> Mapping[str, float]:
    given = block.block("arms")
    if given is None:
        return {}
    arms = {arm: given.number(arm) or 0.0 for arm in given}
    if len(arms) < 2:
        block.problem("arms", "an experiment has two arms or more, each with its planned share")
    for arm, share in arms.items():
        if not is_measure(share):
            given.problem(arm, f"the planned share of {arm!r} must be above 0, not {share:g}{_LIMITS}")
    return arms


def _read_metric(block: YamlBlock, kpis: Catalogue, *, guardrail: bool) -> Metric:
    block.expect(("kpi", "effect"), ())
    name, effect = block.text("kpi"), block.number("effect")
    if name and name not in kpis:
        block.problem("kpi", f"no KPI {name!r}{suggest(name, kpis.kpis)}")
    elif name and not is_comparable(kpis, name):
        block.problem("kpi", f"{name!r} cannot be compared by customer: it is no sum, mean or share of single events")
    if effect is not None and not is_measure(effect):
        block.problem("effect", f"'effect' must be above 0, not {effect:g}{_LIMITS}")
    return Metric(name, float(effect or 1.0), guardrail)


def is_measure(number: float) -> bool:
    """Return whether a number can be a share or an effect: above 0, and neither too small nor too large for that."""
    return _LEAST <= number <= _MOST


def is_comparable(kpis: Catalogue, name: str) -> bool:
    """Return whether a KPI is a ratio of sums over customers."""
    kpi = kpis[name]
    return not kpi.derive and not kpi.of_pipeline and AGGREGATORS[kpi.aggregator].of_customer(1, 1) is not None
