"""
What the store knows of an alert that begins to fire: what customers wrote, and what else moved at the same time.

Best effort: one thread, so much time and no more. An alert without an answer says so and goes out all the same.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from clickhouse_connect.driver.client import Client

from streams import metrics
from streams.agents.suspects import RecentChange, suspects_texts
from streams.alerts.explaining.compare import compare
from streams.alerts.explaining.likelihood import BeforeAfter
from streams.alerts.explaining.sisters import SisterSeries, explain_by_sisters, sisters_of
from streams.alerts.facts import Facts, length_of
from streams.alerts.judging.outcome import begun
from streams.alerts.types import Contribution, Movement, Transition
from streams.events.families.change import CHANGE_TYPES
from streams.events.text import label_sql
from streams.events.types import VERBATIM_TYPES
from streams.events.visible import visible
from streams.kpis.aggregators import ADDITIVE, measure
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.definition import Kpi
from streams.kpis.language.series import series_key
from streams.storage.connection import FAILURES, Address, StorageError, connect
from streams.wording.masking import masked

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 1.0
RUNBOOK_PATH: Final = "docs/RUNBOOK.md"
"""What shipped rules name, and the live page shows."""
AT_ONCE: Final = 8
"""Alerts of one flush that are asked about; when more begin to fire at once, it is not single words that matter."""
VERBATIMS: Final = 3
VERBATIM_LENGTH: Final = 400
MOVEMENTS: Final = 5
SUSPECT_S: Final = 2 * 3600
"""Releases and campaigns so long before the trouble are its first suspects."""
SURE: Final = 4.0
"""How many standard errors make a movement: of a hundred KPIs none reaches it by chance."""
BEFORE_S: Final = 6 * 3600
"""A KPI that has nothing in so long a time before a reference was not there for all of it."""
SHORTEST_REFERENCE: Final = 60
"""Minutes before the window to compare with, at least; four windows if that is more, a day at most."""

_COLUMNS: Final = frozenset({"channel", "touchpoint", "stage", "segment", "region", "unitid", "agentid", "experiment"})
"""Labels that are columns of the events."""
EXPLORER_VARIABLES: Final = {"channel": "channel", "segment": "segment", "touchpoint": "touchpoint", "unitid": "unit"}
"""The dashboard's variable for each label that it can be narrowed to."""

_VERBATIMS: Final = """
    WITH met_by AS (
        SELECT subject, touchpoint FROM events
        WHERE type IN {kpi_types:Array(String)}
            AND time >= toDateTime({since:Int64}, 'UTC') AND time < toDateTime({until:Int64}, 'UTC')
            AND outcome = 'counted' AND NOT synthetic)
    SELECT substringUTF8(JSONExtractString(data, 'text'), 1, {length:UInt32}) AS text,
        subject IN (SELECT subject FROM met_by) AS met
    FROM events
    WHERE type IN {types:Array(String)}
        AND time >= toDateTime({since:Int64}, 'UTC') AND time < toDateTime({until:Int64}, 'UTC')
        AND outcome = 'counted' AND NOT synthetic AND position(data, '"text"') > 0 AND text != ''
        AND (score <= 0.6 * JSONExtractFloat(data, 'scale') OR JSONExtractString(data, 'kind') = 'complaint'
            OR JSONExtractFloat(data, 'polarity') < 0)
        AND (met OR touchpoint IN (SELECT touchpoint FROM met_by WHERE touchpoint != ''))"""

_MOVED: Final = """
    SELECT kpi,
        sumForEachIf(fields, minute >= toDateTime({since:Int64}, 'UTC')) AS later,
        sumForEachIf(fields, minute < toDateTime({since:Int64}, 'UTC')) AS earlier,
        sumMapIf(bins, minute >= toDateTime({since:Int64}, 'UTC')) AS later_bins,
        sumMapIf(bins, minute < toDateTime({since:Int64}, 'UTC')) AS earlier_bins
    FROM kpi_minutes FINAL
    WHERE by = {by:String} AND mapValues(labels) = {values:Array(String)} AND kpi != {kpi:String}
        AND minute >= toDateTime({from:Int64}, 'UTC') AND minute < toDateTime({until:Int64}, 'UTC')
        AND kpi IN (SELECT kpi FROM kpi_minutes
            WHERE minute >= toDateTime({before:Int64}, 'UTC') AND minute <= toDateTime({from:Int64}, 'UTC'))
    GROUP BY kpi"""


_SISTER: Final = """
    SELECT labels, toUnixTimestamp(min(minute)),
        sumForEachIf(fields, minute >= toDateTime({since:Int64}, 'UTC')) AS later,
        sumForEachIf(fields, minute < toDateTime({since:Int64}, 'UTC')) AS earlier,
        sumMapIf(bins, minute >= toDateTime({since:Int64}, 'UTC')) AS later_bins,
        sumMapIf(bins, minute < toDateTime({since:Int64}, 'UTC')) AS earlier_bins
    FROM kpi_minutes FINAL
    WHERE kpi = {kpi:String}
        AND minute >= toDateTime({from:Int64}, 'UTC') AND minute < toDateTime({until:Int64}, 'UTC')
    GROUP BY labels"""

_CHANGES: Final = """
    SELECT type, toUnixTimestamp(time), channel,
        coalesce(nullIf(JSONExtractString(data, 'what'), ''), JSONExtractString(data, 'campaign')),
        JSONExtractString(data, 'version')
    FROM events
    WHERE type IN {types:Array(String)}
        AND time >= toDateTime({since:Int64}, 'UTC') AND time < toDateTime({until:Int64}, 'UTC')
        AND outcome = 'counted' AND NOT synthetic
    ORDER BY time DESC LIMIT 3"""


class Enrichment(NamedTuple):
    """What the store knows of one alert."""

    transition: Transition
    verbatims: list[str]
    movements: list[Movement]
    cause: Contribution | None
    changes: list[RecentChange]


class Enricher:
    """Asks the store; `enrich` never raises and never takes longer than its time."""

    def __init__(
        self,
        address: Address,
        catalogue: Catalogue,
        *,
        public_url: str = "",
        board_url: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """
        Prepare; nothing is connected.

        Args:
            address: The store.
            catalogue: What its numbers mean.
            public_url: Where people reach the dashboards; empty: no links to them.
            board_url: Where people reach the live page; empty: no link to it.
            timeout_s: How long all questions together may take.
        """
        self._address = address
        self._catalogue = catalogue
        self._public_url = public_url.rstrip("/")
        self._board_url = board_url.rstrip("/")
        self._timeout_s = timeout_s
        self._pool = ThreadPoolExecutor(1, "enrich")
        self._asking: asyncio.Future[None] | None = None
        self._client: Client | None = None

    async def enrich(self, transitions: Sequence[Transition]) -> None:
        """Add to the evidence of alerts that begin to fire: links, what customers wrote, what else moved."""
        for transition in transitions:
            transition.evidence.links.update(self._links(transition))
        asked = transitions[:AT_ONCE]
        if not asked:
            return
        if self._asking is not None and not self._asking.done():
            self._say(asked, "the store has not answered earlier questions yet")
            return
        answers: list[Enrichment] = []
        loop = asyncio.get_running_loop()
        self._asking = loop.run_in_executor(self._pool, self._ask, asked, answers)
        reason = ""
        done, _ = await asyncio.wait([self._asking], timeout=self._timeout_s)
        if not done:
            reason = f"the store did not answer within {self._timeout_s:g} s"
            self._asking.add_done_callback(_retrieved)
        elif (failure := self._asking.exception()) is not None:
            reason = f"{type(failure).__name__}: {failure}"
        complete = list(answers)  # the thread may still add to it
        for answer in complete:
            evidence = answer.transition.evidence
            evidence.verbatims = answer.verbatims
            evidence.movements = [*evidence.movements, *answer.movements]
            if answer.cause is not None:
                evidence.contributors = [answer.cause, *evidence.contributors]
            answer.transition.annotations |= suspects_texts(answer.changes, answer.transition)
        metrics.ENRICHMENTS.labels("complete").inc(len(complete))
        self._say(asked[len(complete) :], reason)

    def _say(self, transitions: Sequence[Transition], reason: str) -> None:
        if not transitions:
            return
        log.warning("alerts: %d go out without customers' words and other movements: %s", len(transitions), reason)
        metrics.ENRICHMENTS.labels("failed").inc(len(transitions))
        for transition in transitions:
            transition.annotations["incomplete"] = f"without customers' words and other movements: {reason[:200]}"

    def _links(self, transition: Transition) -> Mapping[str, str]:
        """Return where to look: the dashboard around the window, the events in it, the live page."""
        since, until = _window(transition)
        margin = 4 * (until - since)
        links = {"events": self._explorer(transition, since, until)} if self._public_url else {}
        if self._public_url and not transition.evidence.links.get("dashboard"):
            links["dashboard"] = self._explorer(transition, since - margin, until + 600)
        if self._board_url:
            query = {"kpi": transition.kpi, "channel": transition.labels.get("channel", "all")}
            if transition.evidence.window and not transition.evidence.ahead:
                query["window"] = transition.evidence.window
            links["page"] = f"{self._board_url}/?{urlencode(query)}"
        if runbook := self._runbook(transition.evidence.links.get("runbook", "")):
            links["runbook"] = runbook
        return links

    def _runbook(self, link: str) -> str:
        """Return the address of a runbook: ours, which rules name by its path, is on the live page; empty if none."""
        path, _, section = link.partition("#")
        if "://" in link:
            return link
        return f"{self._board_url}/runbook#{section}" if self._board_url and path == RUNBOOK_PATH else ""

    def _explorer(self, transition: Transition, since: int, until: int) -> str:
        """Return the dashboard with a KPI's course, its labels and the events behind it, between two times (Unix s)."""
        variables = {
            f"var-{EXPLORER_VARIABLES[name]}": _choice(value)
            for name, value in transition.labels.items()
            if name in EXPLORER_VARIABLES
        }
        query = {"var-kpi": transition.kpi, "from": since * 1000, "to": until * 1000, **variables}
        return f"{self._public_url}/d/cx-explorer?{urlencode(query)}"

    def _ask(self, transitions: Sequence[Transition], answers: list[Enrichment]) -> None:
        """Ask about one alert after the other; runs in the thread."""
        try:
            if self._client is None:
                self._client = connect(self._address, timeout_s=max(2.0, 2 * self._timeout_s))
            for transition in transitions:
                found = Enrichment(
                    transition,
                    self._verbatims(transition),
                    self._movements(transition),
                    self._cause(transition),
                    self._changes(transition),
                )
                answers.append(found)  # one by one: whoever waits takes what is there when its time is over
        except (StorageError, *FAILURES):
            client, self._client = self._client, None
            if client is not None:
                client.close()
            raise

    def _query(self, sql: str, parameters: dict[str, Any]) -> Sequence[Sequence[Any]]:
        assert self._client is not None
        settings = {"max_execution_time": max(1, round(self._timeout_s)), "max_threads": 2}
        return self._client.query(sql, parameters=parameters, settings=settings).result_rows

    def _verbatims(self, transition: Transition) -> list[str]:
        """
        Return what customers wrote that has to do with it: in the window, displeased, and about what the KPI counts.

        Whoever met such events comes first, then whoever wrote at a touchpoint of them.
        """
        since, until = _window(transition)
        labels = _columns(transition.labels)
        # Columns hold what was sent, alerts name the label it is.
        sent = {name: label_sql(f"toString({name})") for name in labels}
        sql = _VERBATIMS + "".join(f"\n        AND {sent[name]} = {{label_{name}:String}}" for name in labels)
        sql += "\n    ORDER BY met DESC, time DESC LIMIT {limit:UInt32}"
        parameters: dict[str, Any] = {"types": list(VERBATIM_TYPES), "since": since, "until": until}
        parameters |= {"length": VERBATIM_LENGTH, "limit": VERBATIMS, "kpi_types": self._bad_types(transition.kpi)}
        parameters |= {f"label_{name}": value for name, value in labels.items()}
        return [masked(visible(text), VERBATIM_LENGTH) for text, _ in self._query(sql, parameters)]

    def _bad_types(self, kpi: str) -> list[str]:
        """Return the types of events that trouble of a KPI is made of: those a sister counts, else all of its own."""
        if kpi not in self._catalogue:
            return []
        own = self._catalogue[kpi]
        bad = {
            name for one in sisters_of(own, self._catalogue) if one.aggregator in ADDITIVE for name in one.event_types
        }
        return sorted(bad or own.event_types)

    def _movements(self, transition: Transition) -> list[Movement]:
        since, until = _window(transition)
        length = (until - since) // 60
        reference = _reference(length)
        labels = dict(sorted(transition.labels.items()))
        parameters = {
            # No comparison with a reference that was not there for all of its length: something came before it.
            "from": since - 60 * reference, "before": since - 60 * reference - BEFORE_S,
            "since": since, "until": until, "kpi": transition.kpi,
            "by": ",".join(labels), "values": list(labels.values()),
        }  # fmt: skip
        found = []
        for kpi, later, earlier, later_bins, earlier_bins in self._query(_MOVED, parameters):
            moved = self._moved(kpi, earlier_bins or list(earlier), later_bins or list(later), (reference, length))
            if moved is not None:
                moved.labels = labels
                found.append(moved)
        return sorted(found, key=lambda moved: -abs(moved.statistic or 0.0))[:MOVEMENTS]

    def _cause(self, transition: Transition) -> Contribution | None:
        """Return what another KPI of the same events knows, where the alert's own groupings name nobody."""
        parts = transition.evidence.contributors
        if (parts and parts[0].labels) or transition.kpi not in self._catalogue:
            return None
        return explain_by_sisters(
            self._catalogue[transition.kpi],
            transition.labels,
            self._catalogue,
            lambda sister: self._series_of(sister, transition),
        )

    def _series_of(self, sister: Kpi, transition: Transition) -> SisterSeries | None:
        since, until = _window(transition)
        length = (until - since) // 60
        parameters = {"kpi": sister.id, "from": since - 60 * _reference(length), "since": since, "until": until}
        found: dict[str, BeforeAfter] = {}
        first = since
        for labels, begin, later, earlier, later_bins, earlier_bins in self._query(_SISTER, parameters):
            sides = (earlier_bins or list(earlier), later_bins or list(later))
            key = series_key(sister.id, tuple(sorted(labels.items())))
            found[key] = BeforeAfter(*(side if any(side) else None for side in sides))
            first = min(first, begin)
        if first >= since:
            return None
        return SisterSeries(found, lambda key: found.get(key, BeforeAfter(None, None)), ((since - first) // 60, length))

    def _changes(self, transition: Transition) -> list[RecentChange]:
        """Return what was released and begun shortly before the trouble, the newest first."""
        began = begun(transition.episode)
        if began < 0:
            return []
        parameters = {"types": list(CHANGE_TYPES), "since": 60 * began - SUSPECT_S, "until": 60 * (began + 1)}
        return [RecentChange(*row) for row in self._query(_CHANGES, parameters)]

    def _moved(self, kpi: str, earlier: Acc, later: Acc, minutes: tuple[int, int]) -> Movement | None:
        """Return how a KPI moved, None if it did not surely."""
        if kpi not in self._catalogue:
            return None
        facts = Facts.of(self._catalogue[kpi])
        shape = later or earlier
        if not shape:
            return None
        empty: Acc = [0] * len(shape) if isinstance(shape, list) else {}
        z = compare(facts, earlier or empty, later or empty, minutes=minutes).z
        if z is None or abs(z) < SURE:
            return None
        before, now = (
            measure(facts.aggregator, acc or empty, facts.scale, unit=facts.unit, q=facts.q).value
            for acc in (earlier, later)
        )
        if facts.aggregator in ADDITIVE and before is not None:
            before *= minutes[1] / minutes[0]
        return Movement(
            kpi=kpi, labels={}, value=now, baseline=before, statistic=z, unit=facts.unit,
            note=f"against the {minutes[0]} min before", name=self._catalogue[kpi].name,
            name_fa=self._catalogue[kpi].name_fa,
        )  # fmt: skip

    def close(self) -> None:
        """Ask nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _reference(length: int) -> int:
    """Return how many minutes before a window of a length it is compared with."""
    return min(1_440, max(SHORTEST_REFERENCE, 4 * length))


def _window(transition: Transition) -> tuple[int, int]:
    """Return start and end of the judged window, Unix s."""
    until = (transition.minute + 1 + transition.evidence.ahead) * 60
    window = transition.evidence.window
    return until - 60 * (length_of(window) if window else 15), until


def _columns(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in sorted(labels.items()) if name in _COLUMNS}


def _choice(text: str) -> str:
    """Write a value as the dashboards' variables have it, which stands between quotes and knows macros."""
    return text.replace("\\", "\\\\").replace("$", "\\x24")


def _retrieved(asking: asyncio.Future[None]) -> None:
    """Take note of the end of a question that nobody waits for any more."""
    if not asking.cancelled() and (failure := asking.exception()) is not None:
        log.warning("alerts: the store answered too late, and with %s: %s", type(failure).__name__, failure)
