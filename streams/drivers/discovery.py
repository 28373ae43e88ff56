"""Many drivers tried at once: which are more than chance."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan


@dataclass(frozen=True, slots=True)
class Discovered:
    """
    What is left of many tests.

    Attributes:
        m: How many could be tested.
        q: The least share of false discoveries at which each would be kept; None: it could not be tested.
        kept: Those kept, the surest first.
        not_assessable: Those that could not be tested, which is not the same as "no effect".
    """

    m: int
    q: Mapping[str, float | None]
    kept: tuple[str, ...]
    not_assessable: tuple[str, ...]


def false_discovery(p_values: Mapping[str, float | None], alpha: float = 0.05) -> Discovered:
    """
    Keep so many drivers that at most a share of alpha of those kept is by chance (Benjamini and Hochberg, JRSS B 1995).

    None and NaN: the driver could not be tested; it counts neither as tested nor as harmless.

    Raises:
        ValueError: alpha is not between 0 and 1, or a probability is none; names the driver.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha!r}: expected a share between 0 and 1")
    tested: dict[str, float] = {}
    for name, p in p_values.items():
        if p is None or isnan(p):
            continue
        if not 0 <= p <= 1:
            raise ValueError(f"{name}: the p value {p!r} is no probability")
        tested[name] = p
    order = sorted(tested, key=lambda name: (tested[name], name))
    m, least, q = len(order), 1.0, {}
    for place in range(m, 0, -1):
        name = order[place - 1]
        least = min(least, tested[name] * m / place)
        q[name] = least
    kept = tuple(name for name in order if q[name] <= alpha)
    return Discovered(
        m, {name: q.get(name) for name in p_values}, kept, tuple(name for name in p_values if name not in tested)
    )
