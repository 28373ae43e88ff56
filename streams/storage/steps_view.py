"""The text of the view `kpi_steps`: each aggregator says in its class how SQL reads it; this puts them together."""

import re
from collections.abc import Callable, Iterable
from typing import Final

from streams.kpis.aggregators import AGGREGATORS, LASTING, Aggregator
from streams.kpis.aggregators.base import ViewColumns
from streams.kpis.arithmetic.intervals import HUNDRED_UNITS, SHARE_UNITS, Z95, student_factor
from streams.kpis.language.writing import sql_literal

_EXACT: Final = 100
_FIELD: Final = re.compile(r"\b(field|whole)\((\d)\)")
_KINDS: Final = {"field": "toFloat64(fields[{}])", "whole": "toInt256(fields[{}])"}

_TEXT: Final = """\
-- Made from the aggregators by `cx kpis docs`: change streams/kpis/aggregators or streams/storage/steps_view.py.
--
-- Every value says whether more events are expected for it: it is closed when its KPI has published the last of its
-- minutes, or of a later one, that it is. `from` is included, `to` is not; both are event time, whole minutes.
-- Steps are whole multiples of `step` seconds since 1970, or, where `bounds` are given, begin there and end at
-- the next.
CREATE OR REPLACE VIEW kpi_steps AS
WITH
    if(empty({bounds:Array(UInt32)}), [toUInt32(0)], {bounds:Array(UInt32)}) AS edges,
    arrayPushBack(arrayPopFront(edges), toUInt32({to:DateTime('UTC')})) AS ends,
    @z AS z,
    -- Student's factor: exact up to @exact degrees of freedom, then the expansion of Cornish and Fisher (within 1e-10).
    (degrees -> if(degrees <= @exact,
        [@student
        ][toUInt8(greatest(least(degrees, @exact), 1))],
        z + (pow(z, 3) + z) / (4 * degrees) + (5 * pow(z, 5) + 16 * pow(z, 3) + 3 * z) / (96 * pow(degrees, 2))
            + (3 * pow(z, 7) + 19 * pow(z, 5) + 17 * pow(z, 3) - 15 * z) / (384 * pow(degrees, 3))
            + (79 * pow(z, 9) + 776 * pow(z, 7) + 1482 * pow(z, 5) - 1920 * pow(z, 3) - 945 * z)
                / (92160 * pow(degrees, 4)))) AS student,
    (SELECT any((aggregator, unit, scale, low, high, quantiles, definition, void, groupings)) FROM kpis FINAL
        WHERE id = {kpi:String}) AS known,
    assumeNotNull(known.1) AS aggregator,
    -- What is asked for one aggregator alone is constant for a KPI: only its own part is planned and computed.
    -- The bin of everything at or below zero is -1.
    (SELECT arrayConcat([0], groupArray(estimate)) FROM (SELECT estimate FROM sketch_bins FINAL
        WHERE aggregator IN (@quantiles) ORDER BY bin)) AS estimates,
    (SELECT groupArray((estimate, error)) FROM (SELECT estimate, error FROM distinct_estimates FINAL
        WHERE aggregator IN (@different) ORDER BY coupons)) AS coupon_estimates,
    (SELECT max(at) FROM kpi_newest WHERE kpi = {kpi:String}) AS closed_to,
    assumeNotNull(known.9) AS groupings,
    -- Series of which hits (and misses, where they are other events) are known to be sent; without a whole each tells
    -- of itself.
    (SELECT groupArray(toString(labels)) FROM kpi_newest FINAL
        WHERE kpi = {kpi:String} AND window = 'total' AND value IS NOT NULL
            AND (by IN ('', 'channel') OR NOT has(groupings, emptyArrayString()))) AS sent,
    -- Whether all but n is counted from the beginning.
    aggregator IN (@lasting) AS lasts,
    pieces AS
    (
        -- What was before the first step belongs to it.
        SELECT
            kpi, by, labels, fields, bins, n,
            toUInt32(greatest(start, {from:DateTime('UTC')})) AS at,
            toDateTime(multiIf(
                notEmpty({bounds:Array(UInt32)}), roundDown(at, edges),
                {step:UInt32} = 0, toUInt32({from:DateTime('UTC')}),
                intDiv(at, greatest({step:UInt32}, 1)) * {step:UInt32}), 'UTC') AS time
        FROM {db}.kpi_sums(kpi = {kpi:String}, from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')},
            grain = {step:UInt32}, bounds = {bounds:Array(UInt32)})
    ),
    steps AS
    (
        SELECT kpi, by, labels, time, sumForEach(fields) AS fields, mapSort(sumMap(bins)) AS bins, sum(n) AS n
        FROM pieces GROUP BY kpi, by, labels, time
    ),
    sums AS
    (
        -- Steps are read in one place: what is written twice is asked twice.
        SELECT kpi, by, labels, time,
            if(lasts, sumForEach(steps.fields) OVER (PARTITION BY kpi, by, labels ORDER BY time
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), steps.fields) AS fields,
            bins, n
        FROM steps
    ),
    toLowCardinality(assumeNotNull(known.2)) AS unit,
    assumeNotNull(known.3) AS scale,
    known.4 AS low,
    known.5 AS high,
    toFloat64(n) AS total,
    if(unit IN (@hundreds), 100, 1) AS factor,
    unit IN (@shares) AS of_one,
@names,
    assumeNotNull(known.8) AS void,
    toString(mapFilter((name, _) -> name != 'currency', labels)) AS beside,
    uniqExactIf(labels['currency'], labels['currency'] != '' AND n > 0) OVER (PARTITION BY time, beside)
        AS currencies_beside,
    uniqExactIf(labels['currency'], by = 'currency' AND n > 0) OVER (PARTITION BY time) AS currencies,
    -- As `streams/kpis/language/void.py`: hits or misses nobody was ever seen to send, amounts in several currencies.
    if(void = '', false, total > 0 AND if(NOT startsWith(void, 'several'),
        (if(aggregator = 'share', fields[3], fields[2]) = 0 OR startsWith(void, 'not each of')
            AND if(aggregator = 'share', fields[3] = fields[2], fields[2] = fields[1]))
            AND NOT has(sent, toString(multiIf(
                has(groupings, ['channel']) AND labels['channel'] != '',
                mapFilter((name, _) -> name = 'channel', labels),
                has(groupings, emptyArrayString()), mapFilter((name, _) -> false, labels),
                labels))),
        labels['currency'] = '' AND if(has(groupings, arraySort(arrayPushBack(mapKeys(labels), 'currency'))),
            currencies_beside, currencies) > 1)) AS is_void
SELECT
    kpi, by, labels, time,
    if(aggregator IN (@quantiles), concat('p', toString(round(100 * q, 2))), '') AS stat,
    CAST(if((total = 0 AND NOT lasts) OR is_void, NULL,
@value), 'Nullable(Float64)') AS value,
    n,
    CAST(if((total = 0 AND NOT lasts) OR is_void, NULL,
@lo), 'Nullable(Float64)') AS lo,
    CAST(if((total = 0 AND NOT lasts) OR is_void, NULL,
@hi), 'Nullable(Float64)') AS hi,
    if(least({to:DateTime('UTC')}, until) <= closed_to, 'closed', 'open') AS maturity,
    unit, toLowCardinality(assumeNotNull(known.7)) AS definition,
    multiIf(
        notEmpty({bounds:Array(UInt32)}), toDateTime(transform(toUInt32(time), edges, ends, toUInt32(0)), 'UTC'),
        {step:UInt32} = 0, {to:DateTime('UTC')},
        time + {step:UInt32}) AS until
FROM sums
ARRAY JOIN if(empty(assumeNotNull(known.6)), [toFloat64(0)], assumeNotNull(known.6)) AS q
WHERE aggregator != ''
COMMENT '@comment';
"""


def steps_view() -> str:
    """
    Return the text of `sql/views/kpi_steps.sql`.

    Raises:
        ValueError: Two aggregators give the same name to different expressions.
    """
    kinds = list(AGGREGATORS.values())
    names: dict[str, str] = {}
    for kind in kinds:
        for name, sql in kind.view.names.items():
            if names.setdefault(name, sql) != sql:
                raise ValueError(f"aggregator {kind.name}: its view names {name!r} as another aggregator does")
    written = {
        "z": repr(Z95),
        "exact": str(_EXACT),
        "comment": "kpi_steps(kpi=, from=, to=, step=, bounds=): a KPI per series and step, with its interval;"
        " steps of so many seconds, or between bounds (Unix seconds)",
        "student": _student(),
        "lasting": _listed(LASTING),
        "different": _listed(kind.name for kind in kinds if not kind.fields and not kind.has_quantiles),
        "quantiles": _listed(kind.name for kind in kinds if kind.has_quantiles),
        "hundreds": _listed(HUNDRED_UNITS),
        "shares": _listed(SHARE_UNITS),
        "names": ",\n".join(f"    {_read(sql)} AS {name}" for name, sql in names.items()),
        "value": _cases(kinds, lambda view: view.value),
        "lo": _cases(kinds, lambda view: view.lo),
        "hi": _cases(kinds, lambda view: view.hi),
    }
    return re.sub(r"@(\w+)", lambda found: written[found[1]], _TEXT)


def _cases(kinds: Iterable[Aggregator], part: Callable[[ViewColumns], str]) -> str:
    """Write a case for each aggregator that has anything to say, and end the one that all stand in."""
    cases = [(sql_literal(kind.name), part(kind.view)) for kind in kinds]
    asked = [f"        if(aggregator = {name}, {_read(sql)}," for name, sql in cases if sql != "NULL"]
    return "\n".join(asked) + " NULL" + ")" * len(asked)


def _read(sql: str) -> str:
    return _FIELD.sub(lambda found: _KINDS[found[1]].format(found[2]), sql)


def _student() -> str:
    rows = [[repr(student_factor(degrees)) for degrees in range(first, first + 5)] for first in range(1, _EXACT, 5)]
    return ",\n            ".join(", ".join(row) for row in rows)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(sql_literal, sorted(names)))
