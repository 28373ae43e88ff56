"""
What is usual at an hour of the week, learnt from the store and kept for the judges.

Learnt from whole days up to the last midnight (UTC), so that everybody who learns on the same day learns the same, also
after a restart. Once when partitions are taken over, for which they wait a moment, then whenever a day has passed.
Without a store there is no expectation, and what needs one is not judged; nothing else waits.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any, Final

from streams.alerts.baseline import Baseline, Week, learn
from streams.alerts.facts import Expected, Facts, length_of
from streams.alerts.params import Seasonal
from streams.alerts.rules import Rule, RuleBook
from streams.kpis.accumulators import Acc
from streams.kpis.series import series_key
from streams.storage.connection import FAILURES, Address, StorageError, connect

log = logging.getLogger(__name__)

WAIT_S: Final = 5.0
"""Judging waits so long for the first answer."""
AGAIN_S: Final = 300.0
"""Pause after a failure."""
DAY_S: Final = 86_400
SERIES: Final = 2_000
"""Series of a rule that are learnt, those with the most answers first."""

_HOURS: Final = """
    WITH hours AS
    (
        SELECT labels, toUnixTimestamp(toStartOfHour(toTimeZone(minute, {zone:String}))) AS start,
            sumForEach(fields) AS fields, sumMap(bins) AS bins, sum(n) AS answers
        FROM kpi_minutes FINAL
        WHERE kpi = {kpi:String} AND by = {by:String}
            AND minute >= toDateTime({since:Int64}, 'UTC') AND minute < toDateTime({until:Int64}, 'UTC')
        GROUP BY labels, start
    )
    SELECT labels, start, fields, bins FROM hours
    WHERE labels IN (SELECT labels FROM hours GROUP BY labels ORDER BY sum(answers) DESC LIMIT {series:UInt32})
    ORDER BY labels, start"""


class Usual:
    """Baselines of all seasonal rules; asked by judges, filled by `keep_learning`."""

    def __init__(self, address: Address, rules: RuleBook) -> None:
        self._address = address
        self._rules = [rule for rule in rules if isinstance(rule.params, Seasonal)]
        self._calendars = rules.calendars
        self._known: dict[tuple[str, str], Baseline] = {}
        self._learnt_until: int | None = None
        self._first = asyncio.Event()

    def expected(self, rule: Rule, series: str, window: str, minute: int) -> Expected | None:
        """Return what a window of a series that ends with a minute usually has; None while too little is known."""
        known = self._known.get((rule.alert, series))
        return None if known is None else known.expected(minute, length_of(window))

    async def ready(self) -> None:
        """Wait a moment for the first answer; what is judged without it is judged without expectation."""
        if self._rules and not self._first.is_set():
            try:
                await asyncio.wait_for(self._first.wait(), WAIT_S)
            except TimeoutError:
                log.warning("alerts: the store has not told yet what is usual; seasonal rules wait for it")
                self._first.set()

    async def keep_learning(self) -> None:
        """Learn, and again whenever a day has passed, until cancelled."""
        while self._rules:
            until = int(time.time()) // DAY_S * DAY_S
            if until != self._learnt_until:
                try:
                    self._known = await asyncio.to_thread(self._learn, until)
                except (StorageError, *FAILURES) as error:
                    log.warning("alerts: what is usual cannot be learnt, again in %.0f s: %s", AGAIN_S, error)
                else:
                    self._learnt_until = until
                    log.info("alerts: %d series have a usual course, learnt from the store", len(self._known))
                self._first.set()
            await asyncio.sleep(AGAIN_S)

    def _learn(self, until: int) -> dict[tuple[str, str], Baseline]:
        """Ask for hours of some weeks, rule by rule; runs in a thread."""
        found: dict[tuple[str, str], Baseline] = {}
        with closing(connect(self._address, timeout_s=120.0)) as client:
            for rule in self._rules:
                params = rule.params
                assert isinstance(params, Seasonal)
                week = Week(self._calendars.get(params.calendar))
                since = until - params.weeks * 7 * DAY_S
                parameters = {
                    "kpi": rule.kpi.id, "by": ",".join(rule.by), "since": since, "until": until, "series": SERIES,
                    "zone": str(week.zone),
                }  # fmt: skip
                rows = client.query(_HOURS, parameters=parameters, settings={"max_threads": 1}).result_rows
                for series, hours in _by_series(rule.kpi.id, rows).items():
                    learnt = learn(
                        Facts.of(rule.kpi), hours, week, until=until, weeks=params.weeks, min_weeks=params.min_weeks
                    )
                    if learnt is not None:
                        found[rule.alert, series] = learnt
        return found


def _by_series(kpi: str, rows: Sequence[Sequence[Any]]) -> dict[str, list[tuple[int, Acc]]]:
    found: dict[str, list[tuple[int, Acc]]] = {}
    for labels, start, fields, bins in rows:
        found.setdefault(series_key(kpi, tuple(sorted(labels.items()))), []).append((start, bins or list(fields)))
    return found
