"""
Listening coverage: at which touchpoints do we hear enough customers, and what would have to be done where we do not?

Touchpoints with enough feedback of those at which customers are. All of them are counted, so the share has no interval;
weighted, it is the share of customers' visits to touchpoints that are heard.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

FEWEST: Final = 30
"""Answers, texts, reviews and mentions that make a touchpoint heard."""


@dataclass(frozen=True, slots=True)
class HeardTouchpoint:
    """
    One touchpoint in use.

    Attributes:
        touchpoint: Its id.
        owner: Who answers for it; empty: it is in no dictionary.
        customers: Who were there.
        asked: Surveys that were sent or shown there.
        answers: Ratings given when asked.
        unasked: Texts, reviews and mentions that nobody asked for.
        fewest: What it takes to be heard.
    """

    touchpoint: str
    owner: str
    customers: int
    asked: int
    answers: int
    unasked: int
    fewest: int = FEWEST

    @property
    def heard(self) -> int:
        """Return all that was said there."""
        return self.answers + self.unasked

    @property
    def is_heard(self) -> bool:
        """Whether that is enough."""
        return self.heard >= self.fewest

    def advice(self) -> str:
        """Say what would have to be done; empty: nothing."""
        if self.is_heard:
            return ""
        missing = self.fewest - self.heard
        if not self.owner:
            return "not in the dictionary: add it, or correct the name"
        if self.customers < self.fewest and not self.asked:
            return f"{self.customers:,} customers: look over a longer time"
        if not self.asked:
            return "nobody is asked: add a survey" if not self.answers else "say whom you ask: cx.survey.sent"
        if not self.answers:
            return f"none of {self.asked:,} answers: look at the way of asking"
        more, response = -(-missing * self.asked // self.answers), f"{100 * self.answers / self.asked:.0f} %"
        if more > self.customers - self.asked:
            return f"{missing:,} missing: raise the response of {response}"
        return f"{missing:,} missing: ask {more:,} more, at a response of {response}"


@dataclass(frozen=True, slots=True)
class ListeningCoverage:
    """
    All touchpoints.

    Attributes:
        touchpoints: Those in use: the unheard first, the one with the most customers at the top.
        unused: Touchpoints of the dictionary at which nobody was.
    """

    touchpoints: tuple[HeardTouchpoint, ...]
    unused: tuple[str, ...]

    @property
    def heard(self) -> int:
        """Return how many are heard."""
        return sum(one.is_heard for one in self.touchpoints)

    @property
    def percent(self) -> float | None:
        """Return the share of touchpoints that are heard; None: none is in use."""
        return 100 * self.heard / len(self.touchpoints) if self.touchpoints else None

    @property
    def percent_of_visits(self) -> float | None:
        """Return the share of customers' visits that are to touchpoints that are heard; None: there is none."""
        whole = sum(one.customers for one in self.touchpoints)
        return 100 * sum(one.customers for one in self.touchpoints if one.is_heard) / whole if whole else None

    @property
    def unasked_percent(self) -> float | None:
        """Return the share of what was said that nobody asked for; None: nothing was said."""
        whole = sum(one.heard for one in self.touchpoints)
        return 100 * sum(one.unasked for one in self.touchpoints) / whole if whole else None


def listening(touchpoints: Iterable[HeardTouchpoint], known: Iterable[str]) -> ListeningCoverage:
    """Put touchpoints in order of what there is to do; `known` are those of the dictionary."""
    found = [*touchpoints]
    used = {one.touchpoint for one in found}
    found.sort(key=lambda one: (one.is_heard, -one.customers, one.touchpoint))
    return ListeningCoverage(tuple(found), tuple(name for name in known if name not in used))
