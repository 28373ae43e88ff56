"""Risks that models have given to customers, held against who bought afterwards and who did not."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from streams.value.calibration import Calibration, calibration
from streams.value.purchases import Purchase

_DAY: Final = 86_400


class ChurnScore(NamedTuple):
    """
    A predicted risk to leave.

    Attributes:
        model: Which gave it; empty: not given.
        at: When, Unix seconds.
        risk: 0 to 1.
        horizon_d: Days within which the customer is to leave; None: not given.
    """

    model: str
    customer: str
    at: int
    risk: float
    horizon_d: float | None = None


class ModelCheck(NamedTuple):
    """
    The risks of one model, held against what came.

    Attributes:
        pending: Customers none of whose scores is old enough to be judged.
        found: None: no score is.
    """

    model: str
    pending: int
    found: Calibration | None


def checked_models(
    scores: Iterable[ChurnScore], purchases: Iterable[Purchase], as_of: int, horizon_d: float = 90.0, bins: int = 10
) -> list[ModelCheck]:
    """
    Hold the risks of each model against what came: a customer has left who buys nothing within the horizon.

    Of each customer the newest score counts whose horizon is over, so that nobody counts twice.

    Args:
        scores: Of any time.
        purchases: Less what was given back.
        as_of: How far purchases are known, Unix seconds.
        horizon_d: Days, where a score has none.
        bins: By rank of risk.

    Raises:
        ValueError: A risk is outside 0 to 1, or there is no bin.
    """
    bought: dict[str, list[int]] = defaultdict(list)
    for one in purchases:
        if one.counts:
            bought[one.customer].append(one.at)
    for moments in bought.values():
        moments.sort()
    mature: dict[str, dict[str, ChurnScore]] = defaultdict(dict)
    scored: dict[str, set[str]] = defaultdict(set)
    for score in sorted(scores, key=lambda one: (one.at, one.risk)):
        scored[score.model].add(score.customer)
        if _end(score, horizon_d) <= as_of:
            mature[score.model][score.customer] = score
    checks = []
    for model, customers in sorted(scored.items()):
        judged = mature[model].values()
        came = [(one.risk, _left(one, bought.get(one.customer, ()), horizon_d)) for one in judged]
        checks.append(ModelCheck(model, len(customers) - len(judged), calibration(came, bins)))
    return checks


def _end(score: ChurnScore, horizon_d: float) -> float:
    return score.at + (horizon_d if score.horizon_d is None else score.horizon_d) * _DAY


def _left(score: ChurnScore, bought: Sequence[int], horizon_d: float) -> bool:
    after = bisect_right(bought, score.at)
    return after == len(bought) or bought[after] > _end(score, horizon_d)
