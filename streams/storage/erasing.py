"""
Forgetting people in the store: their events stay as events of nobody, everything else of them goes.

KPIs are sums over events, so events must not simply go: each gives way to what it counts for, at the same offset, and
`cx verify` recomputes every KPI from them afterwards, to the last digit. The order is the guarantee: the list, so that
nothing more of them is taken; replacements set beside; originals deleted; replacements put back. A run that was stopped
goes on when it is called again. No statement that the server keeps, such as a mutation, holds a name.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
from clickhouse_connect.driver.client import Client

from streams import __version__
from streams.events.anonymous import ERASED, Anonymous
from streams.privacy.forgotten import Forgotten, Oblivion
from streams.storage.cluster import stored_in
from streams.storage.connection import never_a_repeat
from streams.storage.emptied import RECORD
from streams.storage.personal import text_columns
from streams.storage.setaside import REASON

LEARNED_S: Final = 120.0
"""After so long every worker knows who was forgotten."""
_VISIBLE_AFTER: Final = timedelta(seconds=5)
"""Rows that were stored longer ago are all visible; younger ones are left to the next pass."""
_AT_ONCE: Final = 200
_ROWS: Final = 5_000
_LONG_QUERY: Final = {"max_query_size": 32 << 20, "max_ast_elements": 4_000_000, "max_expanded_ast_elements": 4_000_000}
_SHORTEST: Final = 6
"""Shorter names are looked for as whole strings only: in longer text they would be found by chance."""
_BEFORE_NAME: Final = r"(?:^|[^0-9A-Za-z]|\\[bfnrt]|\\u[0-9A-Fa-f]{4}|%[0-9A-Fa-f]{2})"
"""The letters of an escape in JSON, or in a URL, belong to no name."""
_COLUMNS: Final = "topic, partition, offset, outcome, payload, ingested_at"


class Erased(NamedTuple):
    """What an erasure did: rows of events that were theirs, of others that named them, and of dead letters."""

    events: int
    mentions: int
    dead_letters: int


class Trace(NamedTuple):
    """Rows in which something of a person is found."""

    table: str
    column: str
    rows: int


def read_forgotten(client: Client) -> list[Oblivion]:
    """Return who was forgotten. Raises FAILURES."""
    rows = client.query("SELECT person, until, since FROM forgotten FINAL").result_rows
    return [Oblivion(person, until.timestamp(), since.timestamp()) for person, until, since in rows]


def list_as_forgotten(client: Client, forgotten: Forgotten, subjects: Collection[str], now: datetime) -> None:
    """Have nothing more taken of people that happened until now. Raises FAILURES."""
    since = now + timedelta(seconds=LEARNED_S)
    client.insert(
        "forgotten",
        [[forgotten.person(subject), now, since] for subject in subjects],
        column_names=["person", "until", "since"],
        settings=never_a_repeat(),
    )


def subjects_in(client: Client, subjects: Collection[str]) -> set[str]:
    """Return those of the subjects that have events. Raises FAILURES."""
    rows = client.query(
        "SELECT DISTINCT subject FROM events WHERE subject IN {subjects:Array(String)}",
        parameters={"subjects": list(subjects)},
    ).result_rows
    return {subject for (subject,) in rows}


def erase(client: Client, names: Mapping[str, str], cluster: str = "") -> Erased:
    """
    Make the events of people anonymous, and empty the refused records that name them.

    Args:
        client: Of an account that may alter tables, as that of `cx migrate` may.
        names: What stands for each subject from now on.
        cluster: Of the store, if it is one.

    Raises FAILURES.
    """
    _put_back(client, cluster)
    anonymous, own_rows, mentions = Anonymous(names), 0, 0
    for subjects in _some(list(names), _AT_ONCE):
        for rows in _some(_matching(client, subjects, own=True), _ROWS):
            own_rows += _replace(client, rows, anonymous, cluster)
        for rows in _some(_matching(client, subjects, own=False), _ROWS):
            mentions += _replace(client, rows, anonymous, cluster)
        # By hashes: a server keeps what it was told to change.
        [[hashes]] = client.query(
            "SELECT groupArray(sipHash64(arrayJoin({subjects:Array(String)})))", parameters={"subjects": list(subjects)}
        ).result_rows
        _alter(client, "cases", f"DELETE WHERE sipHash64(subject) IN ({', '.join(map(str, hashes))})", cluster)
    return Erased(own_rows, mentions, _empty_dead_letters(client, list(names), anonymous, cluster))


def search(client: Client, subjects: Sequence[str]) -> tuple[list[str], list[Trace]]:
    """Look for people in every column of text of every table; return the tables, and what is found. Raises FAILURES."""
    tables = text_columns(client)
    found = []
    for table, column in ((table, column) for table, columns in tables.items() for column in columns):
        # Maps and arrays are searched as they are written.
        text = f"toString(`{column}`)"
        counting = f"SELECT count() FROM `{table}` WHERE {_naming(text)}"  # noqa: S608
        rows = sum(
            client.query(counting, parameters=_needles(some)).result_rows[0][0] for some in _some(subjects, _AT_ONCE)
        )
        if rows:
            found.append(Trace(table, column, rows))
    return list(tables), found


def record(client: Client, people: int, erased: Erased, looked_in: Sequence[str], found: Sequence[Trace]) -> None:
    """Write the record of an erasure. Raises FAILURES."""
    client.insert(
        "erasures",
        [[people, *erased, list(looked_in), sum(one.rows for one in found), __version__]],
        column_names=["people", "events", "mentions", "dead_letters", "looked_in", "found", "code_version"],
        settings=never_a_repeat(),
    )


def export(client: Client, subjects: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield what is stored of a person, oldest first: table, time, and the record. Raises FAILURES."""
    events = client.query(
        f"SELECT 'events', time, {RECORD}, payload = '' FROM events"  # noqa: S608
        " WHERE subject IN {subjects:Array(String)} ORDER BY time, offset",
        parameters={"subjects": list(subjects)},
    ).result_rows
    letters = client.query(
        f"SELECT 'dead_letters', at, payload, false FROM dead_letters WHERE {_naming('payload')} ORDER BY at, offset",  # noqa: S608
        parameters=_needles(list(subjects)),
    ).result_rows
    for table, at, payload, emptied in (*events, *letters):
        past = {"text": "past its retention"} if emptied else {}
        yield {"table": table, "at": at.replace(tzinfo=UTC).isoformat(), "record": payload, **past}


def _naming(text: str) -> str:
    named = f"multiSearchAny({text}, {{needles:Array(String)}}) AND match({text}, {{alone:String}})"
    return f"(({named}) OR {text} IN {{subjects:Array(String)}})"


def _needles(subjects: Sequence[str]) -> dict[str, Any]:
    needles = [one if len(one) >= _SHORTEST else f'"{one}"' for one in subjects]
    return {
        "needles": needles,
        # customer-47 is not named where customer-4711 is.
        "alone": f"{_BEFORE_NAME}(?:{'|'.join(map(re.escape, needles))})(?:[^0-9A-Za-z]|$)",
        "subjects": list(subjects),
    }


def _matching(client: Client, subjects: Sequence[str], *, own: bool) -> list[Sequence[Any]]:
    """Return the rows of events that are of people, or of others that name them."""
    which = "subject IN {subjects:Array(String)}"
    if not own:
        which = f"NOT {which} AND multiSearchAny(payload, {{whole:Array(String)}})"
    parameters = {
        "subjects": list(subjects),
        "whole": [f'"{one}"' for one in subjects],
        "until": datetime.now(UTC) - _VISIBLE_AFTER,
    }
    return list(
        client.query(
            f"SELECT {_COLUMNS.replace('payload', RECORD)} FROM events WHERE ({which})"  # noqa: S608
            " AND ingested_at <= {until:DateTime('UTC')}",
            parameters=parameters,
        ).result_rows
    )


def _replace(client: Client, rows: Sequence[Sequence[Any]], anonymous: Anonymous, cluster: str) -> int:
    """Replace what is not anonymous yet; return the number of rows."""
    better = [anonymous.payload(row[4].encode()).decode() for row in rows]
    changed = [(row, payload) for row, payload in zip(rows, better, strict=True) if _differ(row[4], payload)]
    if not changed:
        return 0
    beside = [[*row[:4], payload, row[5]] for row, payload in changed]
    client.insert("erasing", beside, column_names=_COLUMNS.split(", "), settings=never_a_repeat())
    places = ", ".join(f"('{topic}', {partition}, {offset})" for topic, partition, offset, *_ in beside)
    _alter(client, "events", f"DELETE WHERE (topic, partition, offset) IN ({places})", cluster)
    _put_back(client, cluster)
    return len(beside)


def _differ(stored: str, payload: str) -> bool:
    """Return whether two payloads say something else; white space says nothing."""
    return bool(msgspec.json.decode(stored) != msgspec.json.decode(payload))


def _put_back(client: Client, cluster: str) -> None:
    """Put what was set beside into the place of what was deleted, unless it is there already."""
    client.command(
        f"INSERT INTO events ({_COLUMNS}) SELECT {_COLUMNS} FROM erasing FINAL WHERE (topic, partition, offset)"  # noqa: S608
        " GLOBAL NOT IN (SELECT topic, partition, offset FROM events WHERE (topic, partition, offset)"
        " GLOBAL IN (SELECT topic, partition, offset FROM erasing))",
        settings=never_a_repeat(),
    )
    client.command(f"TRUNCATE TABLE erasing{f' ON CLUSTER {cluster}' if cluster else ''}")


def _empty_dead_letters(client: Client, subjects: Sequence[str], anonymous: Anonymous, cluster: str) -> int:
    number, named = 0, " OR ".join(map(_naming, ("payload", "got", "message")))
    for some in _some(subjects, _AT_ONCE):
        rows = client.query(
            f"SELECT topic, partition, offset, reason, payload FROM dead_letters WHERE {named}",  # noqa: S608
            parameters=_needles(some),
        ).result_rows
        number += len(rows)
        places = [row[:3] for row in rows if row[3] != REASON]
        for part in _some(places, _ROWS):
            listed = ", ".join(f"('{topic}', {partition}, {offset})" for topic, partition, offset in part)
            emptied = (
                f"UPDATE payload = '', got = '', message = '{ERASED}' WHERE (topic, partition, offset) IN ({listed})"
            )
            _alter(client, "dead_letters", emptied, cluster)
        # What the store refused counts in KPIs, so it stays, as an event of nobody.
        for topic, partition, offset, _, payload in (row for row in rows if row[3] == REASON):
            kept = anonymous.payload(payload.encode()).hex()
            place = f"(topic, partition, offset) = ('{topic}', {partition}, {offset})"
            _alter(client, "dead_letters", f"UPDATE payload = unhex('{kept}'), got = '' WHERE {place}", cluster)
    return number


def _alter(client: Client, table: str, change: str, cluster: str) -> None:
    name = f"{stored_in(table, cluster)} ON CLUSTER {cluster}" if cluster else table
    client.command(f"ALTER TABLE {name} {change}", settings={"mutations_sync": 2, **_LONG_QUERY})


def _some(items: Sequence[Any], number: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + number] for start in range(0, len(items), number))
