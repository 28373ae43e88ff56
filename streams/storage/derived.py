"""Derived KPIs computed anew: from sums of their inputs over the same window, by the same formulas."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from clickhouse_connect.driver.client import Client

from streams.kpis.accumulators import BINNED, Acc, is_empty
from streams.kpis.catalogue import Catalogue
from streams.kpis.definition import Kpi
from streams.kpis.derive import NOTHING, Derivations
from streams.kpis.intervals import Measure
from streams.kpis.series import SEPARATOR
from streams.kpis.windows import TOTAL, window_minutes
from streams.storage.recompute import latest_rows, sums_at


class Compared(NamedTuple):
    """One stored value of a derived series beside the recomputed one; `stored` is None when it is missing."""

    check: str
    kpi: Kpi
    key: str
    when: tuple[str, str, datetime]
    stored: Measure | None
    found: Measure
    definition: str


class DerivedCheck:
    """Compares the newest values of derived KPIs."""

    def __init__(self, client: Client, catalogue: Catalogue, minutes: Callable[[Kpi], tuple[str, str]]) -> None:
        """`minutes` gives for an input the WITH and the query for what its minutes hold."""
        self._client = client
        self._catalogue = catalogue
        self._minutes = minutes
        self._derivations = Derivations(catalogue)
        self._known: dict[tuple[str, str, datetime], Mapping[str, dict[str, Measure]]] = {}

    def compare(self, kpis: Iterable[Kpi], since: datetime | None) -> Iterator[Compared]:
        """Give what is stored of derived KPIs, as of when it was published and as of now; `since` as for windows."""
        by_id = {kpi.id: kpi for kpi in kpis}
        stored: set[tuple[str, str, str]] = set()
        newest: dict[str, datetime] = {}
        for id_, key, window, stat, length_s, row, newest_at in self._client.query(latest_rows(by_id)).result_rows:
            at, value, n, lo, hi, definition = row
            kpi = by_id[id_]
            stored.add((id_, key, stat))
            if window == TOTAL:
                newest[id_] = newest_at
            if since is not None and (window == TOTAL or (at - since).total_seconds() < length_s + 3600):
                continue
            was = Measure(value, n, lo, hi)
            for check, as_of in (("value", at), ("stale", newest_at)):
                found = self._of(kpi, window, as_of).get(key, {}).get(stat, NOTHING)
                yield Compared(check, kpi, key, (window, stat, as_of), was, found, definition)
                if found != was:
                    break
        for id_, at in newest.items() if since is None else ():
            for key, stats in self._of(by_id[id_], TOTAL, at).items():
                for stat, found in stats.items():
                    if (id_, key, stat) not in stored:
                        yield Compared("missing", by_id[id_], key, (TOTAL, stat, at), None, found, "")

    def _of(self, kpi: Kpi, window: str, at: datetime) -> Mapping[str, dict[str, Measure]]:
        """Compute the values of all series of a derived KPI by key and stat."""
        asked = kpi.id, window, at
        if asked not in self._known:
            inputs: dict[str, list[tuple[str, Acc]]] = {}
            for series, acc in self._sums(kpi, window, at):
                for derived in self._derivations.of(series):
                    if derived.partition(SEPARATOR)[0] == kpi.id:
                        inputs.setdefault(derived.partition(SEPARATOR)[2], []).append((series, acc))
            self._known[asked] = {key: dict(self._derivations.measures(kpi, given)) for key, given in inputs.items()}
        return self._known[asked]

    def _sums(self, kpi: Kpi, window: str, at: datetime) -> Iterator[tuple[str, Acc]]:
        length_s = 0 if window == TOTAL else window_minutes(window) * 60
        assert kpi.derive is not None
        for part in dict.fromkeys(part.kpi for part in kpi.derive.parts):
            known = self._catalogue[part]
            head, minutes = self._minutes(known)
            for key, fields, bins in self._client.query(sums_at(head, minutes, at, length_s)).result_rows:
                binned = known.aggregator in BINNED
                acc: Acc = {index: count for index, count in bins.items() if count} if binned else list(fields)
                if not is_empty(acc):
                    yield f"{part}{SEPARATOR}{key}" if key else part, acc
