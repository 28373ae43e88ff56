"""
What is usual at this hour of the week, learnt from the minutes in ClickHouse, for the rules that ask.

Learning reads some weeks of hourly sums per KPI, one query each. What is learnt ends with the last whole local day
before the newest closed or judged minute, in event time, so that all workers, and one that was restarted, learn the
same; it is due again when a judged minute lies in a later day. While ClickHouse is away, what was learnt last goes on
to be used; at the very beginning there is none, and seasonal rules judge nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from clickhouse_connect.driver.client import Client

from streams.alerts.facts import Expected, Facts, length_of
from streams.alerts.judging.baseline import Baseline, Week, learn
from streams.alerts.rules.calendars import Calendar
from streams.alerts.rules.rules import Rule, RuleBook
from streams.kpis.aggregators import AGGREGATORS
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.language.definition import Kpi
from streams.kpis.language.series import Labels, series_key
from streams.storage.connection import FAILURES, Address, connect, explain

SERIES: Final = 5_000
"""Series of a KPI that are learnt, those with the most answers first."""

MOST_EXCLUDED: Final = 0.25
"""Share of the weeks that incidents may take out; where there are more, they are how things are."""

_DAY = 86_400

# What a series held by local hour; one row per series at once, since a series is learnt as a whole.
_HOURS: Final = """
    SELECT labels, groupArray((hour, fields, bins)) AS hours
    FROM
    (
        SELECT
            by, labels, toUnixTimestamp(toStartOfHour(minute, {zone:String})) AS hour,
            sumForEach(kpi_minutes.fields) AS fields, mapSort(sumMap(kpi_minutes.bins)) AS bins,
            sum(n) AS answers
        FROM kpi_minutes FINAL
        WHERE kpi = {kpi:String} AND by IN {bys:Array(String)}
            AND minute >= {since:DateTime('UTC')} AND minute < {until:DateTime('UTC')}
        GROUP BY by, labels, hour
    )
    GROUP BY by, labels
    ORDER BY sum(answers) DESC, by, labels
    LIMIT {series:UInt32}"""

_NEWEST: Final = "SELECT count(), max(at) FROM kpi_newest WHERE kpi = {kpi:String}"

# From the first firing of an episode to its end, or until now.
_INCIDENTS: Final = """
    SELECT labels, toUnixTimestamp(minIf(at, new = 'firing')) AS began,
        if(countIf(old = 'firing' AND new != 'firing') > 0,
            toUnixTimestamp(maxIf(at, old = 'firing' AND new != 'firing')), {until:UInt32}) AS ended
    FROM alerts
    WHERE kpi = {kpi:String} AND severity = 'page' AND (new = 'firing' OR old = 'firing')
        AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
    GROUP BY labels, rule, episode
    HAVING countIf(new = 'firing') > 0"""


@dataclass(frozen=True, slots=True)
class BaselineQuery:
    """
    What has to be learnt of a KPI.

    Attributes:
        weeks: How many weeks back.
        min_weeks: In how many of them an hour must have been seen.
        calendar: Whose zone and days of rest; None: UTC.
    """

    kpi: Kpi
    weeks: int
    min_weeks: int
    calendar: Calendar | None


@dataclass(frozen=True, slots=True)
class Learnt:
    """Baselines by series key, and the unix time (s) up to which they have seen."""

    series: Mapping[str, Baseline]
    until: int


_Place: TypeAlias = tuple[str, int, int, str]


def baseline_query(rule: Rule, calendars: Mapping[str, Calendar]) -> BaselineQuery | None:
    """Return what a rule needs to know, None if it asks for nothing usual."""
    season = rule.params.season()
    if season is None:
        return None
    return BaselineQuery(rule.kpi, season.weeks, season.min_weeks, calendars.get(season.calendar))


def learn_kpi(
    client: Client, wanted: BaselineQuery, groupings: Iterable[tuple[str, ...]], until: int | None = None
) -> Learnt:
    """
    Learn all series of some groupings of a KPI.

    Args:
        client: Of a user who may read.
        wanted: What to learn.
        groupings: Label names in alphabetical order; `()` for the whole.
        until: Unix time (s) up to which; the beginning of its local day counts. None: of the newest closed minute.

    Raises:
        StorageError: ClickHouse cannot answer.
    """
    week = Week(wanted.calendar)
    kpi = wanted.kpi
    try:
        if until is None:
            rows = client.query(_NEWEST, parameters={"kpi": kpi.id}).result_rows
            if not rows or not rows[0][0]:
                return Learnt({}, 0)
            newest = rows[0][1]
            until = int(newest.replace(tzinfo=UTC).timestamp())
        until = _midnight(week, until)
        since = until - wanted.weeks * 7 * _DAY
        span = {"kpi": kpi.id, "since": _moment(since), "until": _moment(until)}
        incidents = client.query(_INCIDENTS, parameters={**span, "until": until}).result_rows
        bys = [",".join(names) for names in groupings]
        zone = "UTC" if wanted.calendar is None else wanted.calendar.zone.key
        found: dict[str, Baseline] = {}
        facts = Facts.of(kpi)
        asked = {**span, "bys": bys, "zone": zone, "series": SERIES}
        with client.query_rows_stream(_HOURS, parameters=asked) as series:
            for labels, hours in series:
                pairs = tuple(labels.items())
                baseline = learn(
                    facts,
                    _accs(kpi, hours),
                    week,
                    until=until,
                    weeks=wanted.weeks,
                    min_weeks=wanted.min_weeks,
                    excluded=_excluded(incidents, pairs, until - since),
                )
                if baseline is not None:
                    found[series_key(kpi.id, pairs)] = baseline
    except FAILURES as error:
        raise explain(error, f"learning what is usual of {kpi.id}") from error
    return Learnt(found, until)


class LearntBaselines:
    """What is usual of all series that rules ask about; `expected` never waits, and may be called while learning."""

    def __init__(self, address: Address, rules: RuleBook) -> None:
        """Take note of what has to be learnt; nothing is read before `refresh`."""
        self._address = address
        self._places: dict[str, _Place] = {}
        self._wanted: dict[_Place, tuple[BaselineQuery, set[tuple[str, ...]]]] = {}
        self._learnt: dict[_Place, Learnt] = {}
        self._asked = 0
        for rule in rules:
            wanted = baseline_query(rule, rules.calendars)
            if wanted is not None:
                name = "" if wanted.calendar is None else wanted.calendar.name
                place = self._places[rule.alert] = (wanted.kpi.id, wanted.weeks, wanted.min_weeks, name)
                self._wanted.setdefault(place, (wanted, set()))[1].add(rule.by)

    @property
    def is_needed(self) -> bool:
        """Return whether any rule asks for what is usual."""
        return bool(self._wanted)

    @property
    def is_due(self) -> bool:
        """Return whether somebody asked about a later day than the one after what was learnt."""
        return any(self._asked * 60 >= learnt.until + _DAY for learnt in self._learnt.values())

    def expected(self, rule: Rule, series: str, window: str, minute: int) -> Expected | None:
        """Return what a window of a series that ends with a minute usually has; None while too little is known."""
        place = self._places.get(rule.alert)
        learnt = self._learnt.get(place) if place is not None else None
        if learnt is None:
            return None
        self._asked = max(self._asked, minute)
        baseline = learnt.series.get(series)
        return None if baseline is None else baseline.expected(minute, length_of(window))

    def refresh(self) -> int:
        """
        Learn everything anew, up to the day of the newest minute that was asked about; return how many are known.

        Raises:
            Exception: The first of the KPIs that could not be learnt, after all others were; what was learnt of it
                before is kept. A StorageError when ClickHouse cannot answer.
        """
        if not self._wanted:
            return 0
        failures: list[Exception] = []
        client = connect(self._address)
        try:
            for place, (wanted, groupings) in self._wanted.items():
                try:
                    self._learnt[place] = learn_kpi(client, wanted, sorted(groupings), self._asked * 60 or None)
                except Exception as error:  # noqa: BLE001 - whatever is wrong with one KPI, the others are learnt
                    failures.append(error)
        finally:
            client.close()
        if failures:
            raise failures[0]
        return sum(len(learnt.series) for learnt in self._learnt.values())


def _accs(kpi: Kpi, hours: Sequence[tuple[int, list[int], Mapping[int, int]]]) -> Iterator[tuple[int, Acc]]:
    """Yield start and content of hours; what is of another kind than the definition makes now is passed over."""
    kind = AGGREGATORS[kpi.aggregator]
    for hour, fields, bins in hours:
        acc = kind.stored(fields, bins)
        if acc is not None:
            yield hour, acc


def _excluded(incidents: Sequence[Sequence[Any]], labels: Labels, span: int) -> list[tuple[int, int]]:
    """Return the incidents of a series, of what it is part of and of its parts: from and until."""
    own = dict(labels)
    spans = sorted(
        (began, ended) for theirs, began, ended in incidents if all(own.get(k, v) == v for k, v in theirs.items())
    )
    found: list[tuple[int, int]] = []
    for began, ended in spans:
        if found and began <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], ended))
        else:
            found.append((began, ended))
    taken = sum(ended - began for began, ended in found)
    return found if taken <= MOST_EXCLUDED * span else []


def _midnight(week: Week, at: int) -> int:
    """Return the beginning of the local day of a unix time (s)."""
    local = week.local(at)
    return int(local.replace(hour=0, minute=0, second=0, microsecond=0).timestamp())


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)
