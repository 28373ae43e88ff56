"""
What is usual at an hour of the week, kept for the judges.

Learnt in a thread when the worker starts, for which judging waits a moment, then every hour, soon after event time has
reached a new day, and again after each failure. Without a store there is no expectation, and what needs one is not
judged; nothing else waits.
"""

import asyncio
import logging
from typing import Final

from streams.alerts.facts import Expected
from streams.alerts.rules.rules import Rule, RuleBook
from streams.aside import Aside
from streams.storage.baselines import LearntBaselines
from streams.storage.connection import Address

log = logging.getLogger(__name__)

WAIT_S: Final = 5.0
"""Judging waits so long for the first answer."""
REFRESH_S: Final = 3600.0
PAUSE_S: Final = 60.0
"""Shortest time between two lessons when event time hurries through days; the longest after failures."""


class SeasonalBaselines:
    """Baselines of all rules that know what is usual; asked by judges, filled by `keep_learning`."""

    def __init__(self, address: Address, rules: RuleBook) -> None:
        self._baselines = LearntBaselines(address, rules)
        self._first = asyncio.Event()
        self._aside = Aside("learning", first_pause_s=5.0, longest_pause_s=PAUSE_S)

    def expected(self, rule: Rule, series: str, window: str, minute: int) -> Expected | None:
        """Return what a window of a series that ends with a minute usually has; None while too little is known."""
        return self._baselines.expected(rule, series, window, minute)

    async def ready(self) -> None:
        """Wait a moment for the first answer; what is judged without it is judged without expectation."""
        if self._baselines.is_needed and not self._first.is_set():
            try:
                await asyncio.wait_for(self._first.wait(), WAIT_S)
            except TimeoutError:
                log.warning("alerts: no seasonal baseline from the store yet; seasonal rules wait for it")
                self._first.set()

    async def keep_learning(self) -> None:
        """Learn again and again, until cancelled."""
        await self._aside.keep(self._learn)

    async def _learn(self) -> None:
        clock = asyncio.get_running_loop().time
        again = 0.0
        while self._baselines.is_needed:
            if clock() >= again or self._baselines.is_due:
                try:
                    known = await asyncio.to_thread(self._baselines.refresh)
                finally:
                    self._first.set()
                again = clock() + REFRESH_S
                log.info("alerts: %d series have a usual course, learnt from the store", known)
            await asyncio.sleep(PAUSE_S)
