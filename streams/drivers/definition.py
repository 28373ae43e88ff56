"""The operational facts that may move satisfaction, and what an answer is worth in the outcome that is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from streams.drivers.regression import Numbers


@dataclass(frozen=True, slots=True)
class Driver:
    """
    Something that customers live through, less of which is aimed at.

    Attributes:
        name: What it is called.
        cuts: Upper ends of its levels, from the lowest on; the lowest level is what is aimed at, above the last is one
            more.
        unit: Of its numbers; empty: a count.
        about: What it is.
    """

    name: str
    cuts: tuple[float, ...]
    unit: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        """Refuse cuts that make no levels. Raises ValueError."""
        if not self.cuts or sorted(set(self.cuts)) != [*self.cuts] or not all(map(isfinite, self.cuts)):
            raise ValueError(f"{self.name}: the ends of levels {self.cuts} must be numbers that rise")


DRIVERS: Final = (
    Driver("wait_s", (30, 60, 120, 300), "s", "longest wait in a queue, of 7 days"),
    Driver("handle_s", (180, 360, 720), "s", "time of the last contact with an agent, of 7 days"),
    Driver("transfers", (0, 1), "", "times passed on, of 30 days"),
    Driver("contacts", (0, 1, 2), "", "contacts with support, of 30 days"),
    Driver("channels", (1, 2), "", "channels on which support was contacted, of 30 days"),
    Driver("errors", (0, 1), "", "errors and crashes, of 7 days"),
    Driver("frustrations", (0, 1), "", "clicks in frustration, of 7 days"),
    Driver("payment_failures", (0, 1), "", "failed payments, of 7 days"),
    Driver("delay_h", (0, 24, 72), "h", "how much later than promised the last delivery of 30 days came"),
    Driver("damaged", (0,), "", "damaged deliveries, of 30 days"),
    Driver("returns", (0,), "", "returns asked for, of 90 days"),
)
"""What the view `experience` knows of, by levels in which customers notice it."""


@dataclass(frozen=True, slots=True)
class Rating:
    """
    An outcome: which answers it is of, and in which unit.

    Attributes:
        metric: Of the answers.
        unit: Of its values.
        about: What it is.
    """

    metric: str
    unit: str
    about: str


OUTCOMES: Final = {
    "csat": Rating("csat", "points", "satisfaction, mean rating"),
    "satisfied": Rating("csat", "pp", "satisfied customers in percent, as the KPI csat counts them"),
    "nps": Rating("nps", "points", "net promoter score"),
    "ces": Rating("ces", "points", "how easy it was, mean rating; high is easy"),
}


def worth(outcome: str, scores: ArrayLike, scales: Sequence[int | None]) -> tuple[Numbers, int]:
    """
    Return what each answer is worth, NaN where it is not of the commonest scale, and that scale.

    Ratings of several scales have no common mean. For NPS 9 and 10 are worth 100, and 6 and less -100.

    Raises:
        ValueError: There is no answer.
    """
    rated = np.asarray(scores, dtype=np.float64)
    if not len(rated):
        raise ValueError(f"there is no answer of {outcome}")
    default = 10 if outcome == "nps" else 5
    found = np.array([default if scale is None else scale for scale in scales])
    scale = Counter(found.tolist()).most_common(1)[0][0]
    if outcome == "nps":
        value = np.where(rated >= 9, 100.0, np.where(rated <= 6, -100.0, 0.0))
    elif outcome == "satisfied":
        value = np.where(rated >= (scale if scale <= 3 else scale - 1 if scale <= 7 else scale - 2), 100.0, 0.0)
    else:
        value = rated
    return np.where(found == scale, value, np.nan), scale
