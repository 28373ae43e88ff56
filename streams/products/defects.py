"""
Defects of products: a CUSUM of Poisson counts for each product, where few defects are to be expected.

A product's days are gone through in order. Its exposure of a day is what was sold of it a day on average over so many
days before, since what is sold today comes back later. What is to be expected for that is its own rate so far, shrunk
to that of its category, and as much above it as it is uncertain: products of a category differ, and one that was always
worse has not become so. For some weeks a product is learnt only; then only days before the CUSUM last left zero are
learnt from, so that a defect does not become the rule. The CUSUM adds up by how much more probable each day is if the
rate has risen, and never falls below zero.

One threshold holds for the whole catalogue. Seen at its defects, a CUSUM of logarithms of likelihood ratios passes `h`
once in `exp(h) / rise` defects at most on average where nothing has changed; so `budget` false alarms are to be
expected at most among all defects of the span if `h` is the logarithm of `rise` times their number over `budget`. That
holds for rates that are known; how far rates that are learnt keep to it is tested by simulation.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from math import log, sqrt
from typing import Final, NamedTuple

_SHAPES: Final = (0.5, 50.0)
"""Bounds of how alike products of a category are: with so many defects of it a product's own rate begins."""
_MARGIN: Final = 1.5
"""By so many standard errors what is expected lies above the estimate of a rate."""
_SOME: Final = 10.0
"""Defects of all with which the rate of a category begins."""
LEAST_DEFECTS: Final = 3
"""So many defects are reported at least: fewer are a story, not a pattern."""


class ProductDay(NamedTuple):
    """What was sold of a product in a day, and how many of it showed a defect."""

    product: str
    day: date
    sold: float
    defects: int
    category: str = ""


@dataclass(frozen=True)
class DefectSettings:
    """
    How defects are looked for.

    Attributes:
        rise: By how much a rate has to rise, as a factor, to be found soonest.
        lag_d: Over how many days what is sold comes back.
        learn_d: How long a product is learnt before it is judged.
        budget: False alarms among the whole catalogue that are accepted over the span that is looked at.
    """

    rise: float = 2.0
    lag_d: int = 30
    learn_d: int = 30
    budget: float = 0.5


@dataclass(frozen=True)
class Suspected:
    """
    How a product stands at the end.

    Attributes:
        score: The CUSUM.
        since: The first day of its rise; what follows is counted from then on.
        sold: How many were due to come back since then, if all had.
        expected: Defects that would have come at the rate before.
        alarm: The day on which the CUSUM passed the threshold; None: it has not.
    """

    product: str
    category: str
    score: float
    since: date
    defects: int
    sold: float
    expected: float
    alarm: date | None


@dataclass
class _Chart:
    """The CUSUM of one product, and what its rate is learnt of."""

    category: str
    begun: date
    sales: list[tuple[date, float]] = field(default_factory=list)
    learnt_defects: float = 0.0
    learnt_exposure: float = 0.0
    score: float = 0.0
    since: date | None = None
    defects: int = 0
    expected: float = 0.0
    exposure: float = 0.0
    alarm: date | None = None

    def rate(self, prior: float, shape: float) -> float:
        """Return the rate to be expected, from that of the category and how alike its products are."""
        known = self.learnt_defects + shape
        return (known + _MARGIN * sqrt(known)) / (self.learnt_exposure + shape / prior)

    def learn(self, defects: int, exposure: float) -> None:
        """Take the rise as it stands, and a day, into what is known."""
        self.learnt_defects += self.defects + defects
        self.learnt_exposure += self.exposure + exposure
        self.score, self.since, self.alarm = 0.0, None, None
        self.defects, self.expected, self.exposure = 0, 0.0, 0.0

    def take(self, one: ProductDay, exposure: float, rate: float, rise: float, threshold: float) -> None:
        """Go on by a day of which `exposure` may come back."""
        mean = rate * exposure
        score = max(0.0, self.score + one.defects * log(rise) - (rise - 1.0) * mean)
        if score == 0.0:
            self.learn(one.defects, exposure)
            return
        self.score, self.since = score, self.since or one.day
        self.defects += one.defects
        self.expected += mean
        self.exposure += exposure
        if self.alarm is None and score > threshold and self.defects >= LEAST_DEFECTS:
            self.alarm = one.day


def threshold_of(defects: float, settings: DefectSettings) -> float:
    """Return the threshold for a span in which so many defects are to be expected of all products together."""
    return max(log(settings.rise * max(defects, 1.0) / settings.budget), log(settings.rise))


def suspected(days: Iterable[ProductDay], settings: DefectSettings | None = None) -> tuple[list[Suspected], float]:
    """
    Go through all products; return those whose rate seems to have risen, the clearest first, and the threshold.

    Args:
        days: Days on which something was sold or came back, in any order; each product's day once.
        settings: How to look.
    """
    chosen = settings or DefectSettings()
    by_day: defaultdict[date, list[ProductDay]] = defaultdict(list)
    for one in days:
        by_day[one.day].append(one)
    if not by_day:
        return [], threshold_of(0.0, chosen)
    shape = _shape_of(one for found in by_day.values() for one in found)
    threshold = threshold_of(sum(one.defects for found in by_day.values() for one in found), chosen)
    charts: dict[str, _Chart] = {}
    defects: Counter[str] = Counter()
    exposures: defaultdict[str, float] = defaultdict(float)
    last = max(by_day)
    day = min(by_day)
    while day <= last:
        came = {one.product: one for one in by_day.get(day, ())}
        for name, one in came.items():
            charts.setdefault(name, _Chart(one.category, day)).sales.append((day, one.sold))
        priors = _priors(defects, exposures)
        first = day - timedelta(days=chosen.lag_d)
        for name, chart in charts.items():
            chart.sales = [sale for sale in chart.sales if sale[0] > first]
            exposure = sum(sold for _, sold in chart.sales) / chosen.lag_d
            one = came.get(name) or ProductDay(name, day, 0.0, 0, chart.category)
            prior = priors.get(chart.category) or priors.get("")
            if (day - chart.begun).days < chosen.learn_d or prior is None:
                chart.learn(one.defects, exposure)
            elif exposure or one.defects:
                chart.take(one, exposure, chart.rate(prior, shape), chosen.rise, threshold)
            for group in {chart.category, ""}:
                defects[group] += one.defects
                exposures[group] += exposure
        day += timedelta(days=1)
    risen = [
        Suspected(name, one.category, one.score, one.since, one.defects, one.exposure, one.expected, one.alarm)
        for name, one in charts.items()
        if one.since is not None and one.defects
    ]
    return sorted(risen, key=lambda one: (one.alarm is None, -one.score, one.product)), threshold


def _priors(defects: Mapping[str, int], exposures: Mapping[str, float]) -> dict[str, float]:
    """Return the rate of each category so far, shrunk to that of all; the last stands under the empty name."""
    if not exposures.get("") or not defects.get(""):
        return {}
    whole = defects[""] / exposures[""]
    return {name: (defects[name] + _SOME) / (exposure + _SOME / whole) for name, exposure in exposures.items()}


def _shape_of(days: Iterable[ProductDay]) -> float:
    """Return how alike the rates of a category's products are (the shape of a gamma distribution), by moments."""
    totals: dict[str, tuple[str, float, int]] = {}
    groups: dict[str, tuple[float, int]] = {}
    for one in days:
        category, sold, defects = totals.get(one.product, (one.category, 0.0, 0))
        totals[one.product] = category, sold + one.sold, defects + one.defects
        of_group, found = groups.get(one.category, (0.0, 0))
        groups[one.category] = of_group + one.sold, found + one.defects
    excess = squares = 0.0
    for category, sold, defects in totals.values():
        of_group, found = groups[category]
        mean = sold * found / of_group if of_group else 0.0
        excess += (defects - mean) ** 2 - mean
        squares += mean * mean
    return min(max(squares / excess if excess > 0 else _SHAPES[1], _SHAPES[0]), _SHAPES[1])


def words_of(one: Suspected) -> dict[str, str]:
    """Return the report on a product, in English and Persian."""
    english = f"{one.defects} defects of {one.sold:.0f} sold since {one.since}, {one.expected:.1f} expected at most"
    persian = (
        f"از {one.since} از {one.sold:.0f} فروش {one.defects} نقص، در حالی که بیش از {one.expected:.1f} انتظار نمی‌رفت"
    )
    return {"en": f"{one.product}: {english}", "fa": f"{one.product}: {persian}"}
