"""
Tell when the bad records of a source partition are no longer single ones but what it sends: then it must be stopped.

Counted over time, so that any rate of traffic trips it, and over every stretch of the window that ends now, so that
hours of good records do not have to be outweighed first. Bad records that come beside as many good ones as ever, and
not in their place, stop nothing: else one sender could stop all others. How many are usual is measured by when records
came, not by when they were read: a worker that falls behind a flood reads fewer good ones a second than ever. A
function of what was taken in; nothing here reads a clock.
"""

from collections import deque
from collections.abc import Iterable
from math import exp, sqrt
from typing import Final, NamedTuple

from streams.events.frozen import FrozenRange

SHORTEST_S: Final = 5.0
"""A burst of bad records that is over sooner stops nothing, unless it is a large one."""

_FIRST_S: Final = 0.5
"""Seconds in which the first range is taken to have come."""

_MISSING_S: Final = 30.0
"""So long the usual good records must be missing beside a flood of bad ones."""

_MISSING_SIGMA: Final = 3.75
"""By more than so many standard deviations of a Poisson count good ones must be missing: else it can be chance."""

_MIX_S: Final = 30.0
"""In so long the mixture of good and bad records fades."""

_UNMIXED: Final = 3.0
"""To so small a part the odds of a good record must fall: a flood that slows down together with all else is as mixed
as before."""

_PURER: Final = 1.5
"""Where they rise by more than that, a flood has ended, and nothing slowed down together with it."""

_LEAST_S: Final = 0.01
"""A range takes so long at least: beside a clock that stands still, bad records would never have lasted."""

_PAUSE_S: Final = 10.0
"""Of a longer silence no more is counted: a quiet night says nothing of how many are usual by day."""


class Stretch(NamedTuple):
    """Records of the last `seconds`, and how many of them were bad."""

    seconds: float
    read: int
    bad: int


class _Mix(NamedTuple):
    """Good and bad records of lately."""

    good: float
    bad: float

    def faded(self, seconds: float) -> "_Mix":
        """Return what is left of it so much later."""
        left = exp(-seconds / _MIX_S)
        return _Mix(self.good * left, self.bad * left)

    def is_of(self, good: int, bad: int) -> bool:
        """Return whether good and bad records came about as mixed as here."""
        return _UNMIXED * good * self.bad >= bad * self.good > 0 and good * self.bad <= _PURER * bad * self.good


class _Taken(NamedTuple):
    """A range: when it came, in how many seconds, its records, the bad ones of them, and the mixture before it."""

    at: float
    seconds: float
    read: int
    bad: int
    first: bool
    """Whether nothing had come for the whole window before."""
    mix: _Mix


class Breaker:
    """
    The breaker of one source partition.

    | bad records of a stretch that ends now | length of the stretch | trips |
    |---|---|---|
    | no more than `ratio` of all | any | no |
    | more, and fewer than `least` | any | no |
    | more, at least `least` | under 5 s | no |
    | more, at least `least` | 5 s to `window_s` | yes |
    | more, at least `at_once` | up to `window_s` | yes |

    Once `least` good records came before the newest range, it must also be that they are missing: of those that are
    usual in the time of the stretch more did not come than chance explains, and as many as `ratio` of the bad ones. Or,
    where a source sends many times more bad records than it ever sent good ones, more than half of the usual ones for
    half a minute. In both cases the mixture must be another one than just before the stretch.
    """

    def __init__(self, *, ratio: float, least: int, at_once: int, window_s: float) -> None:
        """
        Args:
            ratio: Share of bad records above which a stretch counts; 1 never trips.
            least: Bad records that a stretch must hold.
            at_once: Bad records that trip it however short their stretch is.
            window_s: The longest stretch.
        """
        self._ratio = ratio
        self._least = least
        self._at_once = at_once
        self._window_s = window_s
        self._taken: deque[_Taken] = deque()
        self._bad = 0
        self._mix = _Mix(0.0, 0.0)
        self._good = self._watched_s = 0.0
        """Good records, and the seconds in which they came; both fade within `window_s`."""
        self._back_s = 0.0
        """By how much the clock was turned back, or stood still: time goes on, and does not wait until it is again."""

    def restore(self, ranges: Iterable[FrozenRange]) -> None:
        """Take over what the frozen ranges of a changelog tell, the newest of them left out: it is repeated."""
        for frozen in sorted(ranges, key=lambda one: one.first)[:-1]:
            before, after = frozen.before.tally, frozen.after.tally
            ahead = frozen.ahead
            self.take(frozen.came, after.read - before.read - ahead, after.bad - before.bad - ahead)

    def forget(self) -> None:
        """Hold nothing against the source any more, and nothing in its favour."""
        self._taken.clear()
        self._bad, self._good, self._watched_s, self._back_s = 0, 0.0, 0.0, 0.0
        self._mix = _Mix(0.0, 0.0)

    def take(self, at: float, read: int, bad: int) -> Stretch | None:
        """Take note of a range that came at `at` (Unix s); return the stretch that trips, if there is one."""
        if self._taken and not self._taken[-1].at - self._window_s <= at + self._back_s:
            self.forget()  # the clock was turned back: nothing is known of how long ago that was
        at += self._back_s
        before = self._taken[-1].at if self._taken else at - _FIRST_S
        least = before + _LEAST_S
        if at < least:
            self._back_s, at = self._back_s + least - at, least
        seconds = min(at - before, _PAUSE_S)
        faded = exp(-seconds / self._window_s)
        self._good = self._good * faded + read - bad
        self._watched_s = self._watched_s * faded + seconds
        mix = self._mix.faded(seconds)
        self._taken.append(_Taken(at, seconds, read, bad, at - before >= self._window_s, mix))
        self._mix = _Mix(mix.good + read - bad, mix.bad + bad)
        self._bad += bad
        while self._taken[0].at <= at - self._window_s:
            self._bad -= self._taken.popleft().bad
        return self._tripping(at) if bad and self._bad >= min(self._least, self._at_once) else None

    def _tripping(self, now: float) -> Stretch | None:
        newest = self._taken[-1]
        known = self._good - (newest.read - newest.bad) >= self._least
        seconds, read, bad = 0.0, 0, 0
        for one in reversed(self._taken):
            seconds, read, bad = seconds + one.seconds, read + one.read, bad + one.bad
            if bad <= self._ratio * read:
                continue
            # A long silence lacks none of the good ones that come behind it as ever.
            lasted = seconds - one.seconds + _FIRST_S if one.first and one is not newest else seconds
            expected = self._good / self._watched_s * lasted
            good = read - bad
            if known and (one.mix.is_of(good, bad) or not self._good_are_missing(expected, good, bad, lasted)):
                continue
            if bad >= self._at_once or (bad >= self._least and now - one.at >= SHORTEST_S):
                return Stretch(now - one.at, read, bad)
        return None

    def _good_are_missing(self, expected: float, good: int, bad: int, seconds: float) -> bool:
        missing = expected - good
        if missing <= _MISSING_SIGMA * sqrt(expected):
            return False
        return missing >= self._ratio * bad or (seconds >= _MISSING_S and good < expected / 2)
