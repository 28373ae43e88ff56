"""
Whether stored derived events are what relations make of the stored events: all results are worked out once more.

SQL chooses events and puts customers together, some thousands at a time, so that memory is bounded; what follows from
a customer's events is worked out by `streams.relations.recount`, which shares definitions alone with what runs live.
A matter is judged once nothing can change it: when what holds at the watermark of what is stored is what will hold when
all waiting is over.
"""

# ruff: noqa: S608 - statements are made of checked definitions; every literal is escaped

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final, NamedTuple

from clickhouse_connect.driver.client import Client

from streams.events.anonymous import NOBODY
from streams.relations.catalogue import Relations
from streams.relations.definition import Relation
from streams.relations.facts import milliseconds, subject_of
from streams.relations.identity import FORWARDS_MS
from streams.relations.kinds import SpanRelation, StagesRelation
from streams.relations.machine import MOST_OPEN
from streams.relations.partition import MOST_MOVED
from streams.relations.recount import FOREVER, Recounted, recount
from streams.relations.results import event_of
from streams.storage.customer import listed, version_of
from streams.storage.persons import MOST_KEYS, Person, PersonScan

LISTED: Final = 10_000
"""Differences that are listed, at most."""
_JOINED_MS: Final = 3_600_000
"""After a link has come, the two keys are joined by then if workers run."""


class WrongResult(NamedTuple):
    """One matter of which something else is stored than follows from the events; `at` in milliseconds."""

    check: str
    relation: str
    span: str
    at: int
    stored: str
    found: str


@dataclass
class RelationReport:
    """
    What was compared.

    Attributes:
        judged: Matters that were compared.
        notes: What could not be judged, and why.
    """

    judged: int = 0
    wrong: list[WrongResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _Suspect(NamedTuple):
    """A difference that may be none; `arrived` is when the customer's first event did."""

    wrong: WrongResult
    subjects: list[str]
    arrived: datetime


class RelationComparison:
    """The comparison of what some relations say."""

    def __init__(
        self,
        client: Client,
        relations: Relations,
        lateness_s: float,
        since: datetime | None,
        is_forgotten: Callable[[str], bool] = lambda _subject: False,
    ) -> None:
        """
        Prepare it.

        Args:
            client: Needs to read only.
            relations: Those that run.
            lateness_s: How far watermarks stay behind the newest event.
            since: Event time before which events may have left the store; None: none have.
            is_forgotten: Tells of a customer who came back that nothing derived of them is taken any more.
        """
        self._client = client
        self._is_forgotten = is_forgotten
        self._relations = relations
        self._since_ms = 0 if since is None else int(since.timestamp() * 1000)
        self._report = RelationReport()
        self._unjudged: Counter[str] = Counter()
        self._running: dict[str, datetime] = {}
        """By relation, when the first event arrived of which something was derived: it ran by then."""
        self._suspects: list[_Suspect] = []
        self._too_late = 0
        self._scan = PersonScan(client, relations)
        self._until = self._scan.watermarks(lateness_s)

    def compare(self) -> RelationReport:
        """Compare all; raises clickhouse_connect's errors."""
        late = f"SELECT count() FROM events WHERE {self._scan.derived} AND outcome = 'late'"
        [(self._too_late,)] = self._client.query(late).result_rows
        for person, stored in self._scan.persons():
            self._compare(person, stored)
        self._judge()
        return self._report

    def _compare(self, person: Person, stored: Mapping[tuple[str, str], list[dict[str, Any]]]) -> None:
        subjects, customer = [*map(subject_of, person.keys)], person.events
        subject = subjects[0]
        if any(one.startswith(NOBODY) for one in subjects):
            # Their ids are other ones, and matters are named by ids.
            self._unjudged["matters are of people who were forgotten"] += len(stored)
            return
        facts = [event.fact for event in customer]
        astray = person.linked is not None and (self._scan.links.count > MOST_MOVED or _silent(person))
        until = min((self._until.get(event.partition, 0) for event in customer), default=0)
        arrived = {(event.fact.source, event.fact.id): event.arrived for event in customer}
        first = min(arrived.values(), default=datetime.max)  # noqa: DTZ901 - later than any
        renewed = len({event.epoch for event in customer}) > 1
        for relation in self._relations.values():
            now, then = (
                {one.result.span: one for one in recount(relation, subject, facts, end)} for end in (until, FOREVER)
            )
            said = {span: events for (name, span), events in stored.items() if name == relation.id}
            for span in sorted(now.keys() | then.keys() | said.keys()):
                events, one = said.get(span, []), now.get(span)
                if events and (known := one or then.get(span)):
                    opened = arrived[known.first.source, known.first.id]
                    self._running[relation.id] = min(opened, self._running.get(relation.id, opened))
                decided = _said(one) == _said(then.get(span))
                apart = person.linked and _apart(relation, person, one or then.get(span), astray=astray)
                if not decided and not (events and not version_of(events[-1])[1] and _at(events[-1]) <= until):
                    self._unjudged["matters are still open, or may come back"] += 1
                elif renewed:
                    self._unjudged["matters are of customers who were begun anew with CX_EPOCH"] += 1
                elif apart:
                    self._unjudged["matters are of people whose keys were joined later than the relation revises"] += 1
                elif one and len(one.history) > MOST_OPEN:
                    self._unjudged["matters are of customers with more events than are remembered"] += 1
                elif self._since_ms and (one is None or one.history[0].time < self._since_ms + _reach(relation)):
                    self._unjudged["matters may rest on events that have left the store"] += 1
                else:
                    self._report.judged += 1
                    wrong = self._wrong(relation, span, events, one, subjects)
                    if wrong and len(self._suspects) < LISTED:
                        self._suspects.append(_Suspect(wrong, subjects, first))

    def _wrong(
        self, relation: Relation, span: str, events: list[dict[str, Any]], one: Recounted | None, subjects: list[str]
    ) -> WrongResult | None:
        """Return what is wrong with what is stored of a matter."""
        last = events[-1] if events else None
        holds = None if last is None or last["data"]["withdrawn"] else _content(last)
        wanted = None if one is None else _content(event_of(relation, one.result))
        if holds and wanted and holds["subject"] in subjects:
            wanted["subject"] = holds["subject"]  # of several keys of a person, the one that it was said of first
        at = _at(last) if last else one.result.at if one else 0
        versions = [2 * event["data"]["revision"] + event["data"]["withdrawn"] for event in events]
        if holds == wanted:
            if versions == [*range(len(versions))]:
                return None
            return WrongResult("derived_revision", relation.id, span, at, f"versions {versions}", "all from 0 on")
        check = "derived_missing" if holds is None else "derived_extra" if wanted is None else "derived_different"
        return WrongResult(check, relation.id, span, at, *_differing(holds, wanted))

    def _judge(self) -> None:
        """Report the differences that are some: not those that follow from what nobody can know from the store."""
        report = self._report
        late = self._late({subject for one in self._suspects for subject in one.subjects})
        for name in self._relations.keys() - self._running.keys():
            report.notes.append(f"nothing is derived of {name}: it does not run, or nothing came of it yet")
        for wrong, subjects, arrived in self._suspects:
            running = self._running.get(wrong.relation)
            if any(map(self._is_forgotten, subjects)):
                self._unjudged["matters are of people who were forgotten"] += 1
            elif running is None or arrived < running:
                self._unjudged["matters rest on events from before the relation ran"] += 1
            elif max(late.get(one, 0) for one in subjects) > self._relations[wrong.relation].revises_ms:
                self._unjudged["matters are of customers with events later than the relation revises"] += 1
            else:
                report.wrong.append(wrong)
                continue
            report.judged -= 1
        if self._scan.links.count:
            report.notes.append(f"{self._scan.links.count:,} links of two keys")
        if self._scan.left_out:
            report.notes.append(f"{self._scan.left_out:,} persons of more than {MOST_KEYS:,} keys: not judged")
        if self._too_late:
            report.notes.append(
                f"{self._too_late:,} derived events are of a time that KPIs no longer revise: they are in the store,"
                " and in no KPI"
            )
        report.notes += [f"{count:,} {what}: not judged" for what, count in sorted(self._unjudged.items()) if count]

    def _late(self, subjects: set[str]) -> dict[str, int]:
        """Return by how much the latest event of each customer came after others of its source, in milliseconds."""
        if not subjects:
            return {}
        rows = self._client.query(
            "SELECT subject, max(toUnixTimestamp64Milli(newest) - toUnixTimestamp64Milli(time)) FROM ("
            "SELECT subject, type, time, max(time) OVER (PARTITION BY topic, partition ORDER BY offset"
            " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS newest"
            f" FROM events WHERE outcome = 'counted' AND NOT ({self._scan.derived}))"
            f" WHERE subject IN ({listed(subjects)}) GROUP BY subject"
        ).result_rows
        return {key: value for key, value in rows}  # noqa: C416 - rows are no pairs to the type checker


def _reach(relation: Relation) -> int:
    """Return how long before its beginning something may have happened that a matter rests on, in milliseconds."""
    looked_back = [take.before_ms for take in relation.keeps]
    if isinstance(relation, SpanRelation):
        after = relation.expires.after_ms if relation.expires else 0
        return max([after or relation.forgets_ms, *looked_back]) + relation.remembers_ms
    return max([relation.expires.after_ms if isinstance(relation, StagesRelation) else 0, *looked_back])


def _apart(relation: Relation, person: Person, one: Recounted | None, *, astray: bool) -> bool:
    """Return whether a matter of a person of several keys may be another one live, since keys were joined late."""
    if person.linked is None:
        return False
    # What follows of one key alone may rest on any of its events.
    history = [event.fact for event in person.events] if one is None else one.history
    if one and len({person.whose[fact.source, fact.id] for fact in history}) == 1:
        return False
    joined = int(person.linked.replace(tzinfo=UTC).timestamp() * 1000) + _JOINED_MS
    revised = min((fact.time for fact in history), default=0) > joined - relation.revises_ms
    return astray or not (revised or (one and one.inside[0].time > joined + _reach(relation)))


def _silent(person: Person) -> bool:
    """Return whether nothing came of a key for so long that it is no longer known whose it is."""
    times: dict[str, list[int]] = {}
    for event in person.events:
        times.setdefault(person.whose[event.fact.source, event.fact.id], []).append(event.fact.time)
    first = min((event.fact.time for event in person.events), default=0)
    return any(
        after - before > FORWARDS_MS // 2
        for of_key in times.values()
        for before, after in pairwise([first, *sorted(of_key)])
    )


def _at(event: Mapping[str, Any]) -> int:
    return milliseconds(datetime.fromisoformat(event["time"]))


def _content(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an event says, whatever its revision."""
    own = {name: value for name, value in event["data"].items() if name not in {"revision", "withdrawn"}}
    return {**{name: value for name, value in event.items() if name not in {"id", "data"}}, **own}


def _differing(stored: Mapping[str, Any] | None, found: Mapping[str, Any] | None) -> tuple[str, str]:
    """Write what differs of two results."""
    if stored is None or found is None:
        return _short(stored), _short(found)
    names = sorted(name for name in stored.keys() | found.keys() if stored.get(name) != found.get(name))
    return tuple(", ".join(f"{name} {one.get(name)}" for name in names) for one in (stored, found))  # type: ignore[return-value]


def _short(one: Mapping[str, Any] | None) -> str:
    return "nothing" if one is None else " ".join(str(one[name]) for name in ("outcome", "time") if name in one)


def _said(one: Recounted | None) -> Any:
    return None if one is None else (one.result.at, one.result.data)
