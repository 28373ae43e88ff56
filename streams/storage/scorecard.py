"""KPIs over a span of time as the scorecard reads them."""

from collections.abc import Iterable
from contextlib import closing
from datetime import datetime

from streams.gaps.scorecard import ProxyReading
from streams.kpis.arithmetic.intervals import Measure
from streams.kpis.catalogue.catalogue import Catalogue
from streams.storage.connection import Address, connect
from streams.storage.derived import over_span
from streams.storage.queries import run_query


def read_proxies(
    address: Address, catalogue: Catalogue, names: Iterable[str], since: datetime, until: datetime
) -> dict[str, ProxyReading]:
    """
    Return KPIs as a whole over whole minutes from `since` until `until`, by id; of several quantiles the first.

    Raises:
        PermanentStorageError, UnreachableError: The store cannot be asked.
    """
    found: dict[str, ProxyReading] = {}
    since, until = since.replace(second=0, microsecond=0), until.replace(second=0, microsecond=0)
    for name in names:
        kpi = catalogue[name]
        if kpi.derive:
            with closing(connect(address)) as client:
                answer = over_span(client, catalogue, kpi, "", since, until)
        else:
            answer = run_query("kpi", {"kpi": name, "by": "", "from": since, "to": until}, address)
        rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
        stat = f"p{100 * kpi.quantiles[0]:g}" if kpi.quantiles else None
        for row in rows:
            if stat is None or row["stat"] == stat:
                why_not = row.get("note", "") if row["value"] is None else ""
                measure = Measure(row["value"], int(row["n"]), row["lo"], row["hi"])
                found[name] = ProxyReading(measure, row["maturity"], row["definition"], why_not)
                break
    return found
