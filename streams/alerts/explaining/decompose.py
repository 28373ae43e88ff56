"""
Why a whole changed: because its parts did, or because there is more of some and less of others.

    Δ = Σ share·Δvalue + Σ Δshare·(value - whole)

Share, value and whole stand for the mean of before and after. So nothing is left over, and swapping before and after
turns the sign and changes nothing else (the symmetric form of Kitagawa 1955, JASA 50). `whole` may be any constant,
since Δshare sums to nothing; the mean makes a part that is better than the rest pull up when there is more of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

from streams.alerts.explaining.compare import at_or_below, compare, joint_edge
from streams.alerts.facts import Facts
from streams.alerts.types import Contribution
from streams.kpis.aggregators import ADDITIVE, empty, measure
from streams.kpis.arithmetic.accumulators import Acc, count_of, merge_acc

Kind: TypeAlias = Literal["rate", "mix", "both", "none"]

_MAJORITY = 0.75
"""Part of a change from which on it is called by one name."""


class Change(NamedTuple):
    """How a whole changed, and why."""

    total: float
    """In the KPI's unit; of counts and sums per minute."""
    rate: float
    """What of it comes from parts that changed."""
    share: float
    """What comes from there being more of one part and less of another; the two are the total."""
    parts: list[Contribution]
    """The best explanation first."""

    @property
    def kind(self) -> Kind:
        """Say in a word what it was: three quarters of the change, and not against it, give it its name."""
        if not self.total:
            return "none"
        rate = self.rate / self.total
        return "rate" if rate >= _MAJORITY else "mix" if rate <= 1 - _MAJORITY else "both"


def decompose(
    facts: Facts,
    label: str,
    earlier: Mapping[str, Acc],
    later: Mapping[str, Acc],
    *,
    minutes: tuple[int, int] = (1, 1),
) -> Change | None:
    """
    Split the change of a whole by the values of one label; None when one side is empty, or nothing adds up (distinct).

    Args:
        facts: What kind of numbers they are.
        label: Its name.
        earlier: The parts of the reference, by label value.
        later: The parts of what is judged.
        minutes: How long both were collected; counts and sums are split per minute.

    A part that is missing on one side is taken to have had there the value it has on the other: it explains by its
    share alone. A quantile has no parts that add up; split is the share of values at or below where it was before and
    after together, and what comes out is scaled to the change of the quantile.
    """
    if facts.aggregator in ADDITIVE:
        return _additive(facts, label, earlier, later, minutes)
    scale = 1.0
    if facts.aggregator == "quantile":
        found = _as_shares(facts, earlier, later)
        if found is None:
            return None
        before, after, scale = found
    else:
        if facts.aggregator == "distinct":
            return None
        before = {value: part for value, acc in earlier.items() if (part := _weighted(facts, acc))[0]}
        after = {value: part for value, acc in later.items() if (part := _weighted(facts, acc))[0]}
    n, later_n = sum(part[0] for part in before.values()), sum(part[0] for part in after.values())
    if not n or not later_n:
        return None
    whole = (sum(part[0] * part[1] for part in before.values()) / n
             + sum(part[0] * part[1] for part in after.values()) / later_n) / 2  # fmt: skip
    effects: dict[str, tuple[float, float]] = {}
    for value in before.keys() | after.keys():
        one, two = before.get(value), after.get(value)
        old = (one or two or (0, 0.0))[1]
        new = (two or one or (0, 0.0))[1]
        share, later_share = (one[0] / n if one else 0.0), (two[0] / later_n if two else 0.0)
        pull = scale * ((old + new) / 2 - whole)
        effects[value] = (scale * (share + later_share) / 2 * (new - old), (later_share - share) * pull)
    return _change(facts, label, earlier, later, effects, minutes)


def _change(
    facts: Facts,
    label: str,
    earlier: Mapping[str, Acc],
    later: Mapping[str, Acc],
    effects: Mapping[str, tuple[float, float]],
    minutes: tuple[int, int],
) -> Change:
    rate, share = sum(effect[0] for effect in effects.values()), sum(effect[1] for effect in effects.values())
    total = rate + share
    parts = []
    for value, (rate_effect, share_effect) in effects.items():
        one, two = earlier.get(value), later.get(value)
        parts.append(
            Contribution(
                labels={label: value},
                value=_value(facts, two, minutes[1]),
                baseline=_value(facts, one, minutes[0]),
                n=0 if two is None else count_of(two),
                baseline_n=0 if one is None else count_of(one),
                rate_effect=rate_effect,
                share_effect=share_effect,
                explained=(rate_effect + share_effect) / total if total else 0.0,
                statistic=compare(facts, one, two, minutes=minutes).z,
            )
        )
    parts.sort(key=lambda part: (-part.explained, part.labels[label]))
    return Change(total, rate, share, parts)


def _additive(
    facts: Facts, label: str, earlier: Mapping[str, Acc], later: Mapping[str, Acc], minutes: tuple[int, int]
) -> Change | None:
    """Split counts and sums, which simply add up."""
    if not earlier and not later:
        return None
    effects = {}
    for value in earlier.keys() | later.keys():
        old, new = _value(facts, earlier.get(value), minutes[0]), _value(facts, later.get(value), minutes[1])
        effects[value] = ((new or 0.0) - (old or 0.0), 0.0)
    return _change(facts, label, earlier, later, effects, minutes)


def _as_shares(
    facts: Facts, earlier: Mapping[str, Acc], later: Mapping[str, Acc]
) -> tuple[dict[str, tuple[int, float]], dict[str, tuple[int, float]], float] | None:
    """Return n and the share at or below the joint quantile of all parts, and what a share is worth in its unit."""
    wholes: list[dict[int, int]] = []
    for parts in (earlier, later):
        whole = empty("quantile")
        for acc in parts.values():
            merge_acc(whole, acc)
        assert type(whole) is dict
        if not whole:
            return None
        wholes.append(whole)
    edge = joint_edge(facts.q, *wholes)
    assert edge is not None
    values = [measure("quantile", whole, facts.scale, q=facts.q).value or 0.0 for whole in wholes]
    shares = [at_or_below(whole, edge) / sum(whole.values()) for whole in wholes]
    moved = shares[1] - shares[0]
    split: list[dict[str, tuple[int, float]]] = []
    for parts in (earlier, later):
        side = {}
        for value, acc in parts.items():
            assert type(acc) is dict
            if acc:
                n = sum(acc.values())
                side[value] = (n, at_or_below(acc, edge) / n)
        split.append(side)
    return split[0], split[1], (values[1] - values[0]) / moved if moved else 0.0


def _weighted(facts: Facts, acc: Acc) -> tuple[int, float]:
    """Return the value, and its weight in the whole: answers, or what the whole is a sum of. No weight, no value."""
    assert type(acc) is list
    if not acc[0] or (facts.aggregator == "share" and acc[1] <= 0):
        return 0, 0.0
    match facts.aggregator:
        case "share":
            return acc[1], facts.factor * acc[2] / acc[1]
        case "nps":
            return acc[0], facts.factor * (acc[1] - acc[2]) / acc[0]
        case "mean":
            return acc[0], acc[1] / (acc[0] * facts.scale)
        case _:
            return acc[0], facts.factor * acc[1] / acc[0]


def _value(facts: Facts, acc: Acc | None, minutes: int) -> float | None:
    if acc is None:
        return None
    found = measure(facts.aggregator, acc, facts.scale, unit=facts.unit, q=facts.q).value
    return found / minutes if found is not None and facts.aggregator in ADDITIVE else found
