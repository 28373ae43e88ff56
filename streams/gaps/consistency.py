"""
Channel consistency: is a customer served as well on each channel, with the same matter?

Channels get other matters and other customers, so a difference of the plain values may be of the mix alone (Simpson's
paradox). Each pair of channels is therefore compared within strata, such as topic and segment, and the plain difference
stands beside it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import inf
from typing import Final, NamedTuple

from streams.drivers.strata import Side, stratified
from streams.gaps.samples import Sample, SayingPair, sample_of
from streams.kpis.arithmetic.distributions import normal_quantile

FEWEST: Final = 30
"""Customers of a channel below which it is not compared."""


class SaidOnChannel(NamedTuple):
    """What one customer said on one channel within one stratum."""

    channel: str
    stratum: tuple[str, ...]
    customer: str
    total: float
    answers: int


@dataclass(frozen=True, slots=True)
class ChannelPair:
    """
    The first channel less the second.

    Attributes:
        first: A channel.
        second: Another.
        pooled: The difference of the plain values.
        within: The difference within strata, by the weights of Mantel and Haenszel; None: too few customers.
        lo: Lower end of its 95 % interval, which holds for all pairs together (Bonferroni).
        hi: Upper end.
        z: The difference in standard errors; None: not known.
        in_common: Percent of the customers of both that are in strata with both.
        verdict: What that means.
    """

    first: str
    second: str
    pooled: float
    within: float | None
    lo: float | None
    hi: float | None
    z: float | None
    in_common: float
    verdict: str


@dataclass(frozen=True, slots=True)
class ChannelGap:
    """
    How far channels are apart.

    Attributes:
        channels: By name, the highest value first.
        pairs: Of the channels that are compared, the largest difference first.
        too_few: Channels with fewer customers than it takes.
        pooled: The highest plain value less the lowest, of channels that are compared; None: fewer than two are.
    """

    channels: Mapping[str, Sample]
    pairs: tuple[ChannelPair, ...]
    too_few: tuple[str, ...]
    pooled: float | None

    @property
    def widest(self) -> ChannelPair | None:
        """Return the pair that is furthest apart within strata; None: none can be compared."""
        return next((one for one in self.pairs if one.within is not None), None)


def channel_gap(said: Iterable[SaidOnChannel], low: float, high: float, fewest: int = FEWEST) -> ChannelGap:
    """
    Compare all channels of at least so many customers, by pairs; values lie between `low` and `high`.

    Within strata: Σ w·d / Σ w, w = n₁·n₂ / (n₁ + n₂) over strata with both (Mantel and Haenszel, J. Natl. Cancer Inst.
    1959), n being customers, whose answers go together. There is no standard formula of a gap between channels: it is
    the largest of the differences, and since it was chosen as such, intervals hold for all pairs at once.
    """
    whole: dict[str, dict[str, SayingPair]] = defaultdict(dict)
    strata: dict[tuple[str, ...], dict[str, list[SayingPair]]] = defaultdict(lambda: defaultdict(list))
    for one in said:
        former = whole[one.channel].get(one.customer, SayingPair(0.0, 0))
        whole[one.channel][one.customer] = SayingPair(former.total + one.total, former.answers + one.answers)
        strata[one.stratum][one.channel].append(SayingPair(one.total, one.answers))
    found = {name: sample_of(pairs.values(), low, high) for name, pairs in whole.items()}
    channels = dict(sorted(found.items(), key=lambda item: (-(item[1].measure.value or -inf), item[0])))
    compared = [name for name, sample in channels.items() if sample.customers >= fewest]
    sides = {
        stratum: {name: sample_of(pairs, low, high).side for name, pairs in parts.items() if name in compared}
        for stratum, parts in strata.items()
    }
    chosen = [*combinations(compared, 2)]
    pairs = [_pair(first, second, channels, sides, len(chosen)) for first, second in chosen]
    pairs.sort(key=lambda pair: (-abs(pair.within) if pair.within is not None else inf, pair.first, pair.second))
    values = [channels[name].measure.value or 0.0 for name in compared]
    return ChannelGap(
        channels,
        tuple(pairs),
        tuple(name for name in channels if name not in compared),
        max(values) - min(values) if len(values) > 1 else None,
    )


def _pair(
    first: str,
    second: str,
    channels: Mapping[str, Sample],
    sides: Mapping[tuple[str, ...], Mapping[str, Side]],
    pairs: int,
) -> ChannelPair:
    nobody = Side(0, 0.0, 0.0)
    # In their own order, so that sums are the same to the last digit in whatever order answers come.
    both = {stratum: (parts.get(first, nobody), parts.get(second, nobody)) for stratum, parts in sorted(sides.items())}
    found = stratified(both)
    pooled = (channels[first].measure.value or 0.0) - (channels[second].measure.value or 0.0)
    everybody = sum(one.n + other.n for one, other in both.values())
    in_common = 100 * (1 - sum(found.left_out.values()) / everybody)
    if found.value is None or found.se is None:
        return ChannelPair(first, second, pooled, None, None, None, None, in_common, "too few in common")
    half = normal_quantile(0.025 / pairs) * found.se
    lo, hi = found.value - half, found.value + half
    verdict = "differ" if lo > 0 or hi < 0 else "no difference shown"
    if not lo <= pooled <= hi:
        verdict += "; pooled: mix, wrong sign" if pooled * found.value < 0 else "; pooled: mostly mix"
    return ChannelPair(first, second, pooled, found.value, lo, hi, found.value / found.se, in_common, verdict)
