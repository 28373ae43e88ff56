"""
What is known of the worker's clock: how far other clocks differ from it, and whom to believe.

An event that is ahead of the clock is bad, but only if the clock is right. Nothing here reads a clock: `now` is what
the worker's says (Unix s), `steady` the seconds of one that nobody sets and that goes on while the machine sleeps.
"""

from math import inf
from statistics import median, median_low
from typing import Final, Literal, NamedTuple, TypeAlias

Verdict: TypeAlias = Literal["right", "suspected", "wrong", "unknown"]

SENDERS: Final = "senders"
"""The reference that the events' own times make, where no other clock has ever answered."""

MANY: Final = 3
"""Sources whose clocks are worth anything as a witness: one device, or two, may be wrong together."""

HEARD_S: Final = 60.0
_MOST: Final = 1_000
_KEPT_S: Final = 3_600.0


class ClockReading(NamedTuple):
    """How the worker's clock is believed to stand."""

    verdict: Verdict
    ahead_s: float = 0.0
    """How far the right time is ahead of the worker's clock, at most; below zero when the worker's is ahead."""
    witnesses: tuple[str, ...] = ()
    """Who says so."""

    @property
    def text(self) -> str:
        """The same in a sentence."""
        if self.verdict == "unknown":
            return "no other clock has been compared with the worker's"
        if self.verdict == "right":
            return f"the worker's clock agrees with {' and '.join(self.witnesses)}"
        side = "behind" if self.ahead_s > 0 else "ahead of"
        named = "the events of most sources" if self.witnesses == (SENDERS,) else " and ".join(self.witnesses)
        known = "is" if self.verdict == "wrong" else "is suspected to be"
        return f"the worker's clock {known} {abs(self.ahead_s):.0f} s {side} {named}"


class Clock:
    """
    The worker's clock beside its references.

    | references that agree with us within `limit_s` | that differ, all the same way | verdict |
    |---|---|---|
    | none | none | unknown: the senders decide, as one reference |
    | some, at least as many | any | right |
    | none | one | suspected |
    | fewer | two or more | wrong |

    A comparison stays true when the clock is set later, since it is kept beside the steady one.
    """

    def __init__(self, limit_s: float = 120.0, *, awaited: bool = False) -> None:
        """Nothing is known; differences up to `limit_s` seconds are none. See `awaited`."""
        self.awaited = awaited
        """Whether a first reference is being asked: until then no event is ahead of what may be the right time."""
        self._limit_s = limit_s
        self._origins: dict[str, tuple[float, float, float]] = {}
        self._leads: dict[str, tuple[float, float]] = {}

    def measured(self, reference: str, said: float, within_s: float, steady: float) -> None:
        """Take note that a reference said `said` (Unix s, right to `within_s`) when the steady clock stood there."""
        self._origins[reference] = said - steady, within_s, steady

    def differences(self, now: float, steady: float) -> dict[str, float]:
        """Return how far each reference is ahead of us, in seconds, nearer to zero by what is uncertain about it."""
        found = {}
        for reference, (origin, within_s, at) in self._origins.items():
            if steady - at <= _KEPT_S:
                ahead = origin - (now - steady)
                found[reference] = max(0.0, ahead - within_s) if ahead > 0 else min(0.0, ahead + within_s)
        return found

    def heard(self, source: str, time: float, now: float) -> None:
        """Take note that a source sent an event of `time` (Unix s) just now."""
        self._leads.pop(source, None)
        self._leads[source] = time - now, now
        while len(self._leads) > _MOST:
            del self._leads[next(iter(self._leads))]

    def read(self, now: float, steady: float) -> ClockReading:
        """Judge the worker's clock."""
        differences = self.differences(now, steady) or self._senders(now)
        if not differences:
            return ClockReading("unknown", inf if self.awaited else 0.0)
        agree = {name: one for name, one in differences.items() if abs(one) <= self._limit_s}
        later = {name: one for name, one in differences.items() if one > self._limit_s}
        earlier = {name: one for name, one in differences.items() if one < -self._limit_s}
        against = max(later, earlier, key=len)
        if len(agree) >= len(against):
            return ClockReading("right", median(agree.values()), tuple(agree))
        verdict: Verdict = "wrong" if len(against) > 1 else "suspected"
        return ClockReading(verdict, median(against.values()), tuple(against))

    def _senders(self, now: float) -> dict[str, float]:
        """Return how far the middle one of many sources is ahead of us; behind us proves nothing: events are late."""
        leads = [lead for lead, at in self._leads.values() if abs(now - at) <= HEARD_S]
        if len(leads) < MANY or median_low(leads) <= self._limit_s:
            return {}
        return {SENDERS: median_low(leads)}
