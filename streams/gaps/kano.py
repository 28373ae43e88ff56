"""
Kano: which features are expected, which delight, and which nobody cares about.

Each customer says how it would be with a feature (functional) and without it (dysfunctional). The pair is one of a
table of 5 × 5 (Kano and others, Hinshitsu 1984; Berger and others, Center for Quality of Management Journal 1993):
attractive, one-dimensional, must-be, indifferent, reverse or questionable.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Final, NamedTuple

from streams.kpis.arithmetic.distributions import normal_tail
from streams.kpis.arithmetic.intervals import NOTHING, Measure
from streams.value.measures import percent

FEWEST: Final = 20
"""Customers below which a feature has no class."""
CLASSES: Final = {
    "A": "attractive", "O": "one-dimensional", "M": "must-be", "I": "indifferent", "R": "reverse", "Q": "questionable",
}  # fmt: skip
_ANSWERS: Final = ("like", "expect", "neutral", "tolerate", "dislike")
_TABLE: Final = ("QAAAO", "RIIIM", "RIIIM", "RIIIM", "RRRRQ")
"""A row is the answer to having the feature, a column that to lacking it."""


class KanoPair(NamedTuple):
    """What one customer says of one feature; the last word counts."""

    feature: str
    customer: str
    functional: str
    dysfunctional: str


@dataclass(frozen=True, slots=True)
class KanoFeature:
    """
    One feature.

    Attributes:
        feature: Its name.
        n: Customers who said something of it.
        shares: Percent of them by class, with Wilson's 95 % intervals.
        better: (A + O) / (A + O + M + I) in percent: how much having it adds to satisfaction.
        worse: (O + M) / (A + O + M + I) in percent, without the minus sign often put before it: how much lacking it
            takes away.
        kind: The most frequent class, or two that are as frequent, `A/O`; empty: too few customers.
        p: Probability that the two most frequent classes are that far apart by chance; None: there is no class.
    """

    feature: str
    n: int
    shares: Mapping[str, Measure]
    better: Measure
    worse: Measure
    kind: str
    p: float | None

    @property
    def verdict(self) -> str:
        """Return the class in words."""
        if not self.kind:
            return f"too few (n < {FEWEST})"
        return " or ".join(CLASSES[letter] for letter in self.kind.split("/"))


def kano_class(functional: str, dysfunctional: str) -> str:
    """
    Return the class of a pair of answers: A, O, M, I, R or Q.

    Raises:
        ValueError: An answer is none of the five.
    """
    for answer in (functional, dysfunctional):
        if answer not in _ANSWERS:
            raise ValueError(f"{answer!r} is no answer: expected one of {', '.join(_ANSWERS)}")
    return _TABLE[_ANSWERS.index(functional)][_ANSWERS.index(dysfunctional)]


def kano_features(pairs: Iterable[KanoPair], fewest: int = FEWEST) -> list[KanoFeature]:
    """
    Return features, those first whose lack takes most away.

    The class is the most frequent one. Whether it is more than chance says the test of Fong (Center for Quality of
    Management Journal 1996): |a - b| against 1.65 √((a + b) (2 n - a - b) / 2 n), a and b the two largest counts.
    """
    last: dict[str, dict[str, str]] = {}
    for one in pairs:
        last.setdefault(one.feature, {})[one.customer] = kano_class(one.functional, one.dysfunctional)
    found = [_feature(name, Counter(classes.values()), fewest) for name, classes in last.items()]
    return sorted(found, key=lambda one: (not one.kind, -(one.worse.value or 0.0), one.feature))


def _feature(name: str, counts: Counter[str], fewest: int) -> KanoFeature:
    n = counts.total()
    asked = sum(counts[letter] for letter in "AOMI")
    better = percent(counts["A"] + counts["O"], asked) if asked else NOTHING
    worse = percent(counts["O"] + counts["M"], asked) if asked else NOTHING
    shares = {letter: percent(counts[letter], n) for letter in CLASSES}
    if n < fewest:
        return KanoFeature(name, n, shares, better, worse, "", None)
    # Of classes that are equal in number, the one that asks for more comes first.
    first, second = sorted(CLASSES, key=lambda letter: (-counts[letter], "MOAIRQ".index(letter)))[:2]
    a, b = counts[first], counts[second]
    z = (a - b) / sqrt((a + b) * (2 * n - a - b) / (2 * n))
    p = 2 * normal_tail(z)
    return KanoFeature(name, n, shares, better, worse, first if z > _FONG_Z else f"{first}/{second}", p)


_FONG_Z: Final = 1.65
