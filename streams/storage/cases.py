"""Cases as rows of the table `cases`."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from clickhouse_connect.driver.client import Client

from streams.loop.rows import CaseRow, Happening
from streams.storage.connection import FAILURES, explain
from streams.value.valuations import MOST_CUSTOMERS, VALUED

_TIMES: Final = frozenset({"opened", "began", "contact_due", "contacted", "close_due", "closed"})
CASE_COLUMNS: Final = CaseRow.__struct_fields__
_STORY: Final = msgspec.json.Decoder(list[Happening]).decode


def case_row(row: CaseRow) -> list[Any]:
    """Return the row of a case, in the order of `CASE_COLUMNS`."""
    return [_stored(name, getattr(row, name)) for name in CASE_COLUMNS]


def _stored(name: str, value: Any) -> Any:
    if name in _TIMES:
        return None if value is None else datetime.fromtimestamp(value / 1000, UTC)
    return msgspec.json.encode(value).decode() if name == "story" else value


def read_cases(
    client: Client,
    where: str = "1",
    parameters: Mapping[str, Any] | None = None,
    *,
    order: str = "case_id",
    most: int = 0,
    stories: bool = True,
) -> list[CaseRow]:
    """
    Return cases as they stand.

    Args:
        client: Of the store.
        where: A condition over the columns of `cases`.
        parameters: What it asks for.
        order: Which come first, over the columns of `cases`.
        most: So many at most; 0: all.
        stories: Whether what has happened to each is read too; else none of them has a story.

    Raises:
        StorageError: The store does not answer, or refuses.
    """
    columns = [f"toUnixTimestamp64Milli({name})" if name in _TIMES else name for name in CASE_COLUMNS]
    if not stories:
        columns[CASE_COLUMNS.index("story")] = "'[]'"
    limit = f" LIMIT {most:d}" if most else ""
    question = f"SELECT {', '.join(columns)} FROM cases FINAL WHERE {where} ORDER BY {order}{limit}"  # noqa: S608 - names of ours
    try:
        rows = client.query(question, parameters=dict(parameters or {})).result_rows
    except FAILURES as error:
        raise explain(error, "reading cases") from error
    found = []
    for row in rows:
        values = dict(zip(CASE_COLUMNS, row, strict=True))
        found.append(CaseRow(**{**values, "story": _STORY(values["story"] or "[]")}))
    return found


STANDING: Final = "state != 'closed' OR closed > now() - INTERVAL 60 DAY"
"""Cases to which something may still happen."""
_EVENTS: Final = f"""
    SELECT partition, payload FROM events
    WHERE startsWith(type, 'cx.case.') AND NOT synthetic
        AND JSONExtractString(data, 'case_id') IN (SELECT case_id FROM cases FINAL WHERE {STANDING})
    ORDER BY time, topic, offset"""  # noqa: S608 - all of it is ours


_WORTHS: Final = f"""
    SELECT partition, payload FROM (
        SELECT partition, payload, time FROM events
        WHERE type = '{VALUED}' AND payload != '' AND outcome = 'counted' AND NOT synthetic
            AND time > now() - INTERVAL 400 DAY
        ORDER BY time DESC LIMIT 1 BY subject)
    ORDER BY time DESC LIMIT {MOST_CUSTOMERS} BY partition"""  # noqa: S608 - all of it is ours


def events_of_cases(client: Client) -> Iterator[tuple[int, bytes]]:
    """Yield the partition and the payload of every event of cases that stand, and of what customers are worth."""
    for statement in (_WORTHS, _EVENTS):
        for partition, payload in client.query(statement).result_rows:
            yield partition, payload if isinstance(payload, bytes) else payload.encode()


def events_of_surveys(client: Client, seconds: float) -> Iterator[tuple[int, bytes]]:
    """Yield the partition and the payload of every event of the last seconds that says what somebody was shown."""
    rows = client.query(
        """
        SELECT partition, payload FROM events
        WHERE type IN ('cx.survey.sent', 'cx.survey.eligible') AND payload != ''
            AND outcome = 'counted' AND NOT synthetic AND time > now() - toIntervalSecond({seconds:UInt64})
        ORDER BY time, topic, offset""",
        parameters={"seconds": int(seconds)},
    ).result_rows
    for partition, payload in rows:
        yield partition, payload if isinstance(payload, bytes) else payload.encode()
