"""Questions to ClickHouse over one connection that is kept, and their rows as what the page knows."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from clickhouse_connect.driver.client import Client

from streams.board import questions
from streams.board.advice import ACTIONS_SHOWN, StoredAction
from streams.board.compare import EarlierValue
from streams.board.episodes import COLUMNS, episodes
from streams.board.feed import VERBATIMS_SHOWN, AlertRow, Verbatim
from streams.board.health import Counts
from streams.board.readings import ChangeMarker, KpiInfo, Latest, PublishedReading, SeriesKey
from streams.board.scripted import SCRIPTED_KPI, SCRIPTED_WINDOW, ScriptedPath
from streams.events.families.change import CHANGE_TYPES
from streams.events.types import VERBATIM_TYPES
from streams.loop.rows import CaseRow
from streams.storage.cases import read_cases
from streams.storage.connection import FAILURES, Address, UnreachableError, connect, explain
from streams.storage.customer import CustomerHistory, history_of

TIMEOUT_S: Final = 10.0
_DAY_S: Final = 86_400
_UNKNOWN_NAMES: Final = frozenset({16, 46, 47, 60})
"""Codes of ClickHouse for a column, function, name and table that it does not have."""
_WHOLE_DAY: Final = 2
"""Rank of the comparison with the 24 hours before, behind those with the same window a week and a day earlier."""
Row = Sequence[Any]
A = TypeVar("A")


class BoardStore:
    """
    The one who asks, for all viewers together; to be used by one thread at a time.

    Every method raises UnreachableError while ClickHouse is away, and PermanentStorageError when it refuses.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.asked = 0
        """Questions asked since the start."""
        self._client: Client | None = None
        self._positions: dict[tuple[str, int], int] = {}
        self._counts: dict[tuple[str, int], Counts] = {}

    def ask(self, sql: str, **parameters: Any) -> Sequence[Row]:
        """Return the rows of a question; a connection that failed is made anew for the next one."""

        def asked(client: Client) -> bytes:
            return client.raw_query(
                sql, parameters=parameters, settings={"max_execution_time": int(TIMEOUT_S)}, fmt="JSONCompact"
            )

        raw = self._using(asked)
        try:
            rows: Sequence[Row] = json.loads(raw)["data"]
        except ValueError as error:  # a failure in the middle of an answer stands in its text
            raise UnreachableError(f"the answer broke off: {raw[-300:].decode(errors='replace')}") from error
        return rows

    def _using(self, ask: Callable[[Client], A]) -> A:
        if self._client is None:
            self._client = connect(self.address, timeout_s=TIMEOUT_S)
        self.asked += 1
        try:
            return ask(self._client)
        except UnreachableError:
            self.close()
            raise
        except FAILURES as error:
            doing = "the page's question"
            if getattr(error, "code", None) in _UNKNOWN_NAMES:
                doing += " finds the schema of another version, run `cx migrate`"
            failed = explain(error, doing)
            if isinstance(failed, UnreachableError):
                self.close()
            raise failed from error

    def close(self) -> None:
        """Give the connection back."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def catalogue(self) -> dict[str, KpiInfo]:
        """Return the KPIs that the store knows, by id."""
        return {info.id: info for info in map(_info, self.ask(questions.CATALOGUE))}

    def newest(self) -> int:
        """Return the end of the newest minute with any event, open or closed, unix s; 0 when there is none."""
        return int(self.ask(questions.NEWEST)[0][0])

    def first(self, kpis: Iterable[str]) -> dict[tuple[str, str], int]:
        """
        Return the end of the first minute with any event, unix s, by KPI and channel (`all`: of the whole).

        Where there never was one, nothing.
        """
        return {(kpi, where): int(at) for kpi, where, at in self.ask(questions.FIRST, kpis=sorted(kpis))}

    def windows(self, newest: int) -> list[str]:
        """Return the windows that are kept."""
        return [name for (name,) in self.ask(questions.WINDOWS, after=newest - 7_200)]

    def values(
        self, window: str, after: int, kpis: Iterable[str], infos: Mapping[str, KpiInfo]
    ) -> dict[SeriesKey, Latest]:
        """Return the newest values of the KPIs in a window that are newer than `after`, for all series of the page."""
        rows = self.ask(questions.VALUES, window=window, after=after, kpis=sorted(kpis))
        found: dict[SeriesKey, Latest] = {}
        for kpi, where, touchpoint, stat, ripe, newest in rows:
            if kpi not in infos or stat != infos[kpi].stat:
                continue
            reading = _reading(newest, stat, closed=ripe == "closed")
            known = found.get((kpi, where, touchpoint), Latest())
            found[kpi, where, touchpoint] = (
                Latest(reading, known.open) if reading.closed else Latest(known.closed, reading)
            )
        return found

    def baselines(
        self,
        window: str,
        seconds: int,
        closed_until: int,
        first: Mapping[tuple[str, str], int],
        headline: Sequence[str],
        infos: Mapping[str, KpiInfo],
    ) -> dict[SeriesKey, list[EarlierValue]]:
        """
        Return what values are held against, the best comparison first; `seconds` is the window's length.

        Nothing is held against a time that reaches back before the first event of its KPI in its channel: "the 24 h
        before" are 24 hours.
        """
        rows = self.ask(
            questions.BASELINES,
            window=window,
            week=closed_until - 7 * 86_400,
            day=closed_until - 86_400,
            slack=max(seconds // 4, 60),
            before=closed_until - seconds if seconds < 86_400 else 0,
            headline=list(headline),
        )
        kinds = {(1, 1): 0, (0, 1): 1, (0, 0): _WHOLE_DAY, (1, 0): _WHOLE_DAY}
        found: dict[SeriesKey, list[tuple[int, EarlierValue]]] = {}
        for kpi, where, stat, week, same, newest in rows:
            if kpi in infos and stat == infos[kpi].stat:
                rank = kinds[int(week), int(same)]
                length = _DAY_S if rank == _WHOLE_DAY else seconds
                if (kpi, where) not in first or int(newest[0]) - length < first[kpi, where] - 60:
                    continue
                baseline = EarlierValue(("week", "day", "24h")[rank], _reading(newest, stat))
                found.setdefault((kpi, where, ""), []).append((rank, baseline))
        return {key: [one for _, one in sorted(ranked, key=lambda pair: pair[0])] for key, ranked in found.items()}

    def trend(self, info: KpiInfo, start: int, end: int, step: int) -> dict[SeriesKey, list[PublishedReading]]:
        """Return a KPI per step that lies between `start` and `end`, for the whole and per channel."""
        rows = self.ask(questions.TREND, kpi=info.id, **{"from": _utc(start), "to": _utc(end), "step": step})
        found: dict[SeriesKey, list[PublishedReading]] = {}
        for where, stat, since, until, value, n, lo, hi in rows:
            if stat == info.stat and int(since) >= start and int(until) <= end:
                reading = PublishedReading(int(until), value, int(n), lo, hi, stat=stat, since=int(since))
                found.setdefault((info.id, where, ""), []).append(reading)
        return found

    def changes(self, start: int, end: int) -> list[ChangeMarker]:
        """Return what went live or began between two moments (unix s), the newest first."""
        rows = self.ask(questions.CHANGES, types=list(CHANGE_TYPES), **{"from": start, "to": end})
        return [ChangeMarker(int(at), channel, what, version) for at, channel, what, version in rows]

    def by_label(self, info: KpiInfo, window: str, after: int) -> list[tuple[str, dict[str, str], PublishedReading]]:
        """Return the newest value of every series of a KPI but the whole: grouping, labels, value."""
        rows = self.ask(questions.BY_LABEL, kpi=info.id, window=window, stat=info.stat, after=after)
        return [(by, labels, _reading(newest, info.stat)) for by, labels, newest in rows]

    def counts(self) -> dict[str, Counts]:
        """Return what became of the records, by channel; only what is new is read, but for the first time."""
        since, parameters = "", dict[str, Any]()
        if self._positions:
            conditions = []
            for number, ((topic, partition), first) in enumerate(self._positions.items()):
                conditions.append(
                    f"topic = {{t{number}:String}} AND partition = {{p{number}:UInt32}} "
                    f"AND first > {{f{number}:UInt64}}"
                )
                parameters |= {f"t{number}": topic, f"p{number}": partition, f"f{number}": first}
            since = f"WHERE {' OR '.join(conditions)}"
        for topic, partition, first, stored_at, *became in self.ask(
            questions.OUTCOMES.format(since=since), **parameters
        ):
            key = (topic, int(partition))
            self._positions[key] = int(first)
            self._counts[key] = self._counts.get(key, Counts()).plus(_counts(became, stored_at))
        channels: dict[str, Counts] = {}
        for (topic, _), one in self._counts.items():
            channel = topic.rpartition(".")[2]
            channels[channel] = channels.get(channel, Counts()).plus(one)
        return channels

    def recount(self) -> None:
        """Read all outcomes anew next time: there may be partitions that were not there before."""
        self._positions.clear()
        self._counts.clear()

    def closed_until(self, newest: int) -> dict[str, int]:
        """Return the end of the newest closed minute with events, by channel."""
        rows = self.ask(questions.CLOSED_UNTIL, after=newest - 86_400)
        return {channel: int(until) for channel, until in rows}

    def delays(self) -> dict[str, float]:
        """Return within how many seconds of happening 95 % of the last minute's events were stored, by channel."""
        # Storing is noted in whole seconds, so what is stored at once can seem to be stored before it happened.
        return {channel: max(0.0, float(delay)) for channel, delay in self.ask(questions.DELAYS)}

    def refused(self) -> list[tuple[str, int, str]]:
        """Return the dead letters of the last hour by reason, with an example's explanation."""
        return [(reason, int(records), message) for reason, records, message in self.ask(questions.REFUSED)]

    def parts(self) -> tuple[int, int]:
        """Return the parts of the fullest partition and the merges that run."""
        fullest, merges = self.ask(questions.PARTS, database=self.address.database)[0]
        return int(fullest), int(merges)

    def alerts(self, after: int) -> list[AlertRow] | None:
        """Return the episodes of alerts with a transition after a moment; None when the store keeps no alerts."""
        if not int(self.ask(questions.HAS_ALERTS)[0][0]):
            return None
        return episodes(dict(zip(COLUMNS, row, strict=True)) for row in self.ask(questions.ALERTS, after=after))

    def verbatims(self, after: float) -> list[Verbatim]:
        """Return what customers wrote after a moment (unix s), the newest of each channel."""
        rows = self.ask(questions.VERBATIMS, types=list(VERBATIM_TYPES), after=int(after * 1000), shown=VERBATIMS_SHOWN)
        return [
            Verbatim(float(at), key, channel, touchpoint, subject, text, score, scale)
            for at, key, channel, touchpoint, subject, text, score, scale in rows
        ]

    def actions(self) -> list[StoredAction]:
        """Return what to do first about satisfaction; nothing where the store keeps no actions."""
        if not int(self.ask(questions.HAS_ACTIONS)[0][0]):
            return []
        return [StoredAction(*row) for row in self.ask(questions.ACTIONS, shown=ACTIONS_SHOWN)]

    def scripted(self, after: int) -> list[ScriptedPath]:
        """Return how the synthetic paths do that ran after a moment, unix s; nothing where none does."""
        rows = self.ask(questions.SCRIPTED, kpi=SCRIPTED_KPI, window=SCRIPTED_WINDOW, after=after)
        return [ScriptedPath(path, _reading(newest, ""), int(ran)) for path, newest, ran in rows]

    def has_cases(self) -> bool:
        """Return whether the store keeps cases."""
        return bool(int(self.ask(questions.HAS_CASES)[0][0]))

    def case_mark(self) -> str:
        """Return what is another text as soon as any case has changed."""
        return str(self.ask(questions.CASE_MARK)[0])

    def open_cases(self, most: int) -> list[CaseRow]:
        """Return the cases that are not closed, what is due first first, without their stories."""
        return self._using(
            lambda client: read_cases(
                client, "state != 'closed'", order=questions.CASES_BY_DUE, most=most, stories=False
            )
        )

    def closed_cases(self, most: int) -> list[CaseRow]:
        """Return the cases that were closed last, without their stories."""
        last = "closed DESC, case_id"
        return self._using(lambda client: read_cases(client, "state = 'closed'", order=last, most=most, stories=False))

    def case(self, case_id: str) -> CaseRow | None:
        """Return a case; None: there is none of this name."""
        where, asked = "case_id = {case_id:String}", {"case_id": case_id}
        found = self._using(lambda client: read_cases(client, where, asked))
        return found[0] if found else None

    def history(self, subject: str, derived: Sequence[str], most: int) -> CustomerHistory:
        """Return the newest events of a customer, and what relations said: events of the types in `derived`."""
        return self._using(lambda client: history_of(client, subject, derived, most))

    def subject_of(self, topic: str, partition: int, offset: int) -> str:
        """Return whose words an event holds; empty: there is none there."""
        types = list(VERBATIM_TYPES)
        rows = self.ask(questions.SUBJECT_OF, types=types, topic=topic, partition=partition, offset=offset)
        return str(rows[0][0]) if rows else ""


def _reading(newest: Row, stat: str, *, closed: bool = True) -> PublishedReading:
    at, value, n, lo, hi = newest
    return PublishedReading(int(at), value, int(n), lo, hi, closed, stat)


def _counts(became: Sequence[Any], stored_at: Any) -> Counts:
    return Counts(*map(int, (*became, stored_at)))


def _info(row: Row) -> KpiInfo:
    (
        key, name, name_fa, question, unit, direction, aggregator, formula, source, owner, groupings, show, colour,
        target, quantiles, definition, maturity, void,
    ) = row  # fmt: skip
    return KpiInfo(
        id=key,
        name=name,
        name_fa=name_fa,
        question=question,
        unit=unit,
        direction=direction,
        aggregator=aggregator,
        formula=formula,
        source=source,
        owner=owner,
        groupings=tuple(tuple(labels) for labels in groupings),
        min_n_show=int(show),
        min_n_colour=int(colour),
        target=target,
        quantiles=tuple(quantiles),
        definition=definition,
        maturity=maturity,
        void=void,
    )


def _utc(at: int) -> str:
    # A DateTime parameter is read as unix seconds when it is a plain number of ten digits.
    return str(at).zfill(10)
