"""Bring a store to where a worker can write: schema, catalogue, touchpoint dictionary."""

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from streams.events.touchpoints import Touchpoint, load_touchpoints
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.steps import Steps
from streams.storage import retention
from streams.storage.connection import Address, connect
from streams.storage.migrations import migrate
from streams.storage.writer import Writer


def prepare(
    admin: Address,
    catalogue: Catalogue,
    say: Callable[[str], None],
    *,
    keep_days: Mapping[str, int] | None = None,
    cluster: str = "",
    touchpoints: Mapping[str, Touchpoint] | None = None,
    weeks: Steps = Steps("week", 1),  # noqa: B008 - never changed
) -> list[str]:
    """
    Apply what is missing of the schema, and store the catalogue and the touchpoints of this version.

    Args:
        admin: A user that may create tables.
        catalogue: What the KPIs mean.
        say: Told what was done.
        keep_days: How long rows are kept, by table, see `retention.wanted`; nothing changes when not given.
        cluster: As in `migrate`.
        touchpoints: Those of the organisation; those shipped when not given.
        weeks: Steps of a week: their zone and first day are those of the days and weeks that views give.

    Returns:
        The names of the migrations applied; empty when the schema was up to date.

    Raises:
        StorageError: the server refuses, or a migration cannot be applied.
    """
    applied = migrate(admin, cluster=cluster)
    for name in applied:
        say(f"applied {name}")
    if keep_days:
        with closing(connect(admin)) as client:
            for change in retention.keep(client, keep_days, cluster):
                say(f"retention of {change}")
    writer = Writer(admin)
    try:
        writer.store_catalogue(catalogue)
        writer.store_clock(weeks)
        writer.store_touchpoints(_row(touchpoint) for touchpoint in (touchpoints or load_touchpoints()).values())
    finally:
        writer.close()
    return applied


def _row(touchpoint: Touchpoint) -> Mapping[str, Any]:
    return {
        "touchpoint": touchpoint.id,
        "name": touchpoint.en,
        "channel": touchpoint.channels[0] if len(touchpoint.channels) == 1 else "",
        "stage": touchpoint.stage,
        "owner": touchpoint.owner,
        "target_kpi": "csat",
        "target": touchpoint.target,
    }
