"""Derived KPIs computed anew: from sums of their inputs over the same window, by the same formulas."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

from clickhouse_connect.driver.client import Client

from streams.kpis.aggregators import AGGREGATORS
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.arithmetic.intervals import NOTHING, Measure
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.definition import Kpi
from streams.kpis.language.lengths import TOTAL
from streams.kpis.language.series import SEPARATOR, parse_series, series_key
from streams.kpis.rolling.derive import Derivations
from streams.storage.connection import FAILURES, explain
from streams.storage.queries import Answer
from streams.storage.recompute import latest_rows, sums_at

_Asked: TypeAlias = tuple[str, str, datetime]


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

    def __init__(
        self,
        client: Client,
        catalogue: Catalogue,
        minutes: Callable[[Sequence[Kpi]], Iterator[tuple[str, str]]],
        windows: Sequence[str],
        left: Collection[tuple[str, str]] = (),
    ) -> None:
        """
        `minutes` gives queries, each with its WITH, for what minutes of inputs hold; `windows` are those kept.

        Series that `left`, by KPI and key, are inputs no more.
        """
        self._left = left
        self._client = client
        self._catalogue = catalogue
        self._minutes = minutes
        self._windows = windows
        self._derivations = Derivations(catalogue)
        self._found: dict[_Asked, dict[str, dict[str, Measure]]] = {}
        self._touched: dict[_Asked, dict[str, datetime]] = {}

    def compare(self, kpis: Iterable[Kpi], since: datetime | None, published: datetime | None) -> Iterator[Compared]:
        """
        Return what is stored of derived KPIs, as of when it was published and as of now.

        `since` is as for windows; values that were `published` before may have left the store.
        """
        by_id = {kpi.id: kpi for kpi in kpis}
        if not by_id:
            return
        rows = self._client.query(latest_rows(by_id, self._windows)).result_rows
        if since is not None:
            rows = [row for row in rows if row[4] and (row[5][0] - since).total_seconds() >= row[4] + 3600]
        self._compute(by_id.values(), {(row[2], row[4], at) for row in rows for at in (row[5][0], row[6])})
        for id_, key, window, stat, _, (at, value, n, lo, hi, definition), newest_at in rows:
            was = Measure(value, n, lo, hi)
            for check, as_of in (("value", at), ("stale", newest_at)):
                found = self._of(id_, window, as_of).get(key, {}).get(stat, NOTHING)
                yield Compared(check, by_id[id_], key, (window, stat, as_of), was, found, definition)
                if found != was:
                    break
        stored = {(row[0], row[1], row[3]) for row in rows}
        for id_, at in {(row[0], row[6]) for row in rows if row[2] == TOTAL}:
            for key, stats in self._of(id_, TOTAL, at).items():
                touched = self._touched[id_, TOTAL, at][key].replace(tzinfo=UTC)
                if published is not None and touched < published:
                    continue
                for stat, found in stats.items():
                    if (id_, key, stat) not in stored:
                        yield Compared("missing", by_id[id_], key, (TOTAL, stat, at), None, found, "")

    def _of(self, kpi: str, window: str, at: datetime) -> dict[str, dict[str, Measure]]:
        """Return the values of all series of a derived KPI by key and stat."""
        return self._found.get((kpi, window, at), {})

    def _compute(self, kpis: Iterable[Kpi], asked: Collection[tuple[str, int, datetime]]) -> None:
        """Compute all derived KPIs over some windows: name, length in seconds, end."""
        parts = {part.kpi for kpi in kpis for part in (kpi.derive.parts if kpi.derive else ())}
        inputs: dict[_Asked, dict[str, list[tuple[str, Acc]]]] = {}
        made_of = [self._catalogue[part] for part in sorted(parts)]
        for head, minutes in self._minutes(made_of) if asked else ():
            rows = self._client.query(sums_at(made_of, head, minutes, sorted(asked))).result_rows
            for window, at, kpi, key, fields, bins, minute in rows:
                acc = AGGREGATORS[self._catalogue[kpi].aggregator].stored(fields, bins)
                if acc is None or (kpi, key) in self._left:
                    continue
                series = f"{kpi}{SEPARATOR}{key}" if key else kpi
                for derived in self._derivations.of(series):
                    id_, _, own = derived.partition(SEPARATOR)
                    inputs.setdefault((id_, window, at), {}).setdefault(own, []).append((series, acc))
                    touched = self._touched.setdefault((id_, window, at), {})
                    touched[own] = max(minute, touched.get(own, minute))
        for (id_, window, at), by_key in inputs.items():
            self._found[id_, window, at] = {
                key: dict(self._derivations.measures(self._catalogue[id_], given)) for key, given in by_key.items()
            }


_SPAN = """
    SELECT labels, sumForEach(fields), mapSort(sumMap(bins))
    FROM kpi_sums(kpi = {kpi:String}, from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')}, grain = 0, bounds = [])
    GROUP BY by, labels"""
_CLOSED_TO = "SELECT max(at) FROM kpi_newest WHERE kpi = {kpi:String}"


def over_span(client: Client, catalogue: Catalogue, kpi: Kpi, by: str, since: datetime, until: datetime) -> Answer:
    """
    Answer for a derived KPI over any span, from the sums of its inputs: nothing of its own could be added up.

    Raises:
        StorageError: the store does not answer.
    """
    assert kpi.derive is not None
    derivations = Derivations(catalogue)
    inputs: dict[str, list[tuple[str, Acc]]] = {}
    closed_to = []
    span = {"from": since.strftime("%Y-%m-%d %H:%M:%S"), "to": until.strftime("%Y-%m-%d %H:%M:%S")}
    try:
        for part in sorted({part.kpi for part in kpi.derive.parts}):
            for labels, fields, bins in client.query(_SPAN, {"kpi": part, **span}).result_rows:
                acc = AGGREGATORS[catalogue[part].aggregator].stored(fields, bins)
                if acc is None:
                    continue
                series = series_key(part, tuple(sorted(labels.items())))
                for derived in derivations.of(series):
                    if parse_series(derived)[0] == kpi.id:
                        inputs.setdefault(derived, []).append((series, acc))
            closed_to.append(client.query(_CLOSED_TO, {"kpi": part}).result_rows[0][0].replace(tzinfo=UTC))
    except FAILURES as error:
        raise explain(error, f"adding up what {kpi.id} is made of") from error
    maturity = "closed" if until <= min(closed_to) else "open"
    rows = [
        (dict(labels), stat, found.value, found.lo, found.hi, found.n, maturity, kpi.unit, kpi.definition_id)
        for key, labels in ((key, parse_series(key)[1]) for key in sorted(inputs))
        if ",".join(name for name, _ in labels) == by
        for stat, found in derivations.measures(kpi, inputs[key])
    ]
    return Answer(("labels", "stat", "value", "lo", "hi", "n", "maturity", "unit", "definition"), rows)
