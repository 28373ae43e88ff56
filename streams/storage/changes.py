"""Changes that the store knows of, and the steps of a KPI around one of them."""

# ruff: noqa: S608 - statements are made of constants

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from streams.drivers.interrupted import SeriesStep
from streams.kpis.language.steps import Steps
from streams.storage.connection import FAILURES, Address, explain
from streams.storage.overflow import counted_events, has_set_aside
from streams.storage.series import run_series


class StoredChange(NamedTuple):
    """Something that we changed: a release, a configuration, a campaign."""

    at: datetime
    name: str
    version: str
    kind: str
    channel: str


def stored_changes(client: Client, since: datetime, until: datetime) -> list[StoredChange]:
    """
    Return what was deployed or started from `since` until `until` (not included), in the order of time.

    Raises:
        PermanentStorageError, UnreachableError: The store cannot be asked.
    """
    try:
        rows = client.query(
            f"""WITH JSONExtract(data, 'Tuple(what String, version String, kind String, campaign String)') AS said,
                {counted_events(aside=has_set_aside(client), late=True)}
            SELECT time, if(type = 'cx.campaign.started', said.campaign, said.what), said.version,
                multiIf(type = 'cx.campaign.started', 'campaign', said.kind = '', 'release', said.kind),
                toString(channel)
            FROM counted_events WHERE type IN ('cx.change.deployed', 'cx.campaign.started')
                AND time >= {{since:DateTime64(3, 'UTC')}} AND time < {{until:DateTime64(3, 'UTC')}}
            ORDER BY time, source, id""",
            parameters={"since": since, "until": until},
        ).result_rows
    except FAILURES as error:
        raise explain(error, "changes") from error
    return [StoredChange(row[0].replace(tzinfo=UTC), *row[1:]) for row in rows]


def kpi_steps_around(
    address: Address,
    kpi: str,
    labels: Mapping[str, str],
    steps: Steps,
    since: datetime,
    until: datetime,
    *,
    daily: bool,
) -> list[SeriesStep]:
    """
    Return whole steps of one series of a KPI, numbered from 0 at the one that holds `since`.

    Steps without a value are left out. Their season is the day of the week of daily steps, else the hour of the day.

    Raises:
        PermanentStorageError, UnreachableError: The store cannot be asked.
    """
    first, last = int(since.timestamp()), int(until.timestamp())
    answer = run_series(kpi, ",".join(sorted(labels)), first, last, steps, address)
    bounds = steps.bounds(first, last)
    numbers = {steps.label(at): number for number, at in enumerate(bounds)}
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    rows = [
        row for row in rows if row["labels"] == dict(labels) and row["value"] is not None and row["step"] == "whole"
    ]
    return [
        SeriesStep(
            numbers[row["time"]], row["value"], int(row["n"]),
            f"{datetime.fromisoformat(row['time']):{'%a' if daily else '%H'}}",
        )
        for row in rows if row["stat"] == rows[0]["stat"]
    ]  # fmt: skip
