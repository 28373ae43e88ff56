"""
Tails of the distributions behind our intervals and detectors, in plain Python: SciPy is not worth its 100 MB for them.

Accuracy against SciPy: `student_quantile` 1e-10 relative for tails from 1e-6 to 0.49 and any degrees of freedom;
`binomial_cdf` 1e-11 absolute up to n = 2,000; `poisson_cdf`, `negative_binomial_cdf`, `chi_square_tail`,
`student_tail` and `f_tail` 1e-8 relative for probabilities above 1e-200 and means up to 1e6.
"""

from __future__ import annotations

from math import erfc, exp, lgamma, log, log1p, pi, sqrt, tan
from statistics import NormalDist

_STANDARD = NormalDist()
_SERIES_FROM = 1_000  # degrees of freedom from which the expansion around the normal is the more accurate
_TINY = 1e-300


def normal_tail(z: float) -> float:
    """Return the probability that a standard normal value exceeds z."""
    return 0.5 * erfc(z / sqrt(2))


def normal_quantile(tail: float) -> float:
    """Return the value that a standard normal exceeds with the given probability."""
    return -_STANDARD.inv_cdf(tail)


def student_quantile(tail: float, degrees: int) -> float:
    """
    Return the value that Student's t exceeds with probability `tail`.

    Raises ValueError unless 0 < tail < 0.5 and degrees >= 1.
    """
    if not 0 < tail < 0.5 or degrees < 1:
        raise ValueError(f"tail {tail!r} of {degrees!r} degrees: expected 0 < tail < 0.5 and at least one degree")
    if degrees == 1:
        return 1 / tan(pi * tail)
    if degrees == 2:
        return (1 - 2 * tail) * sqrt(2 / (4 * tail * (1 - tail)))
    t = _around_normal(normal_quantile(tail), degrees)
    if degrees >= _SERIES_FROM:
        return t
    for _ in range(60):  # Newton on the convex tail converges from the left, where the expansion starts
        step = (student_tail(t, degrees) - tail) / _student_density(t, degrees)
        t += step
        if abs(step) <= 1e-13 * t:
            break
    return t


def student_tail(t: float, degrees: int) -> float:
    """Return the probability that Student's t exceeds t >= 0."""
    return 0.5 * _incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def f_tail(value: float, over: int, under: int) -> float:
    """Return the probability that F of so many degrees of freedom, over and under, exceeds `value`."""
    return _incomplete_beta(under / 2, over / 2, under / (under + over * value)) if value > 0 else 1.0


def binomial_cdf(successes: int, n: int, p: float) -> float:
    """Return the probability of at most `successes` in n trials of probability p."""
    if successes < 0:
        return 0.0
    return 1.0 if successes >= n else _incomplete_beta(n - successes, successes + 1, 1 - p)


def poisson_cdf(events: int, mean: float) -> float:
    """Return the probability of at most `events` where `mean` are expected."""
    if events < 0:
        return 0.0
    return _upper_gamma(events + 1, mean) if mean > 0 else 1.0


def negative_binomial_cdf(events: int, mean: float, dispersion: float) -> float:
    """
    Return the probability of at most `events` where `mean` are expected, give or take.

    The mean itself varies by a gamma distribution whose squared coefficient of variation is `dispersion`, so the
    variance is mean + dispersion · mean²; 0 is Poisson.
    """
    if events < 0:
        return 0.0
    if dispersion <= 0 or mean <= 0:
        return poisson_cdf(events, mean)
    return _incomplete_beta(1 / dispersion, events + 1, 1 / (1 + dispersion * mean))


def chi_square_tail(value: float, degrees: int) -> float:
    """Return the probability that chi-square of so many degrees of freedom exceeds `value`."""
    return _upper_gamma(degrees / 2, value / 2) if value > 0 else 1.0


def _around_normal(z: float, degrees: int) -> float:
    """Return Student's quantile by its expansion in 1/degrees (Abramowitz & Stegun 26.7.5)."""
    s = z * z
    terms = (
        z * (s + 1) / 4,
        z * ((5 * s + 16) * s + 3) / 96,
        z * (((3 * s + 19) * s + 17) * s - 15) / 384,
        z * ((((79 * s + 776) * s + 1482) * s - 1920) * s - 945) / 92_160,
    )
    return z + sum(term / float(degrees) ** (order + 1) for order, term in enumerate(terms))


def _student_density(t: float, degrees: int) -> float:
    """Return the density of Student's t."""
    scale = lgamma((degrees + 1) / 2) - lgamma(degrees / 2) - 0.5 * log(degrees * pi)
    return exp(scale - (degrees + 1) / 2 * log1p(t * t / degrees))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function for 0 <= x <= 1."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(a, b, x) / a
    return 1 - front * _beta_fraction(b, a, 1 - x) / b


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function (DLMF 8.17.22) by Lentz's method."""
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    result = d
    for m in range(1, 10_000):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away_from_zero(1 + factor * d)
            c = _away_from_zero(1 + factor / c)
            change = c * d
            result *= change
        if abs(change - 1) < 1e-15:
            break
    return result


def _upper_gamma(a: float, x: float) -> float:
    """Return the regularised upper incomplete gamma function: series (DLMF 8.11.4) or fraction (DLMF 8.9.2)."""
    front = exp(a * log(x) - x - lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        above = a
        while term > total * 1e-16:
            above += 1
            term *= x / above
            total += term
        return max(0.0, 1 - front * total)
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    result = d
    for step in range(1, 100_000):
        factor = -step * (step - a)
        b += 2
        d = 1 / _away_from_zero(factor * d + b)
        c = _away_from_zero(b + factor / c)
        result *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * result


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
