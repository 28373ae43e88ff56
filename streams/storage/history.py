"""What the store knows of the past: enough to rebuild the state of workers whose topics are gone."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from clickhouse_connect.driver.client import Client

from streams.kpis.aggregators import AGGREGATORS
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.language.definition import Kpi
from streams.kpis.language.lengths import TOTAL, WINDOWS
from streams.kpis.language.series import series_key
from streams.kpis.rolling.retention import Retention

DEFAULT_RETENTION: Final = Retention.of(WINDOWS, 60)

_NEVER: Final = float("-inf")

# Stored times are whole milliseconds, cut off: the next one is not before the true time.
_TIME: Final = "(toUnixTimestamp64Milli(time) + 1) / 1000"

# Events whose rows ClickHouse refused are counted like all others.
_ACCEPTED: Final = " UNION ALL ".join(
    f"SELECT offset, id, time, source, timeimputed, payload FROM {table}"  # noqa: S608
    " WHERE topic = {topic:String} AND partition = {partition:UInt32}"
    for table in ("events", "set_aside")
)

# As contents are made by `identify`, but for events whose time was filled in, which are written anew before, and for
# those whose payload is past its retention.
_CONTENT: Final = "if(timeimputed OR payload = '', 0, bitAnd(xxh3(payload), 4294967295))"


@dataclass(frozen=True, slots=True)
class SourceHistory:
    """
    What became of the records of a source.

    Attributes:
        balance: Records read, counted, duplicate, late, bad, conflict.
        ids: The newest accepted events, in the order they came.
        sources: What produced each.
        contents: The hash of what each said; 0 where that is not known.
        times: Their event times (Unix s), to the next millisecond.
        forgotten_newest: Newest event time of accepted events before those.
    """

    topic: str
    partition: int
    balance: tuple[int, int, int, int, int, int]
    ids: list[str]
    sources: list[str]
    contents: list[int]
    times: list[float]
    forgotten_newest: float


@dataclass(slots=True)
class KpiHistory:
    """
    What the minutes of some KPIs hold, by series.

    Attributes:
        before: Sums of all minutes that no window needs any more.
        hours: Sums of hours that windows need as a whole, by their first minute (Unix seconds // 60).
        minutes: The other minutes.
        unfit: KPIs whose sums are not of the kind their definition makes.
    """

    before: dict[str, Acc] = field(default_factory=dict)
    hours: list[tuple[int, dict[str, Acc]]] = field(default_factory=list)
    minutes: list[tuple[int, dict[str, Acc]]] = field(default_factory=list)
    unfit: set[str] = field(default_factory=set)


def newest_position(client: Client) -> int | None:
    """Return the highest position whose balance is stored, None in an empty store."""
    [(ranges, last)] = client.query("SELECT count(), max(last) FROM outcomes").result_rows
    return last if ranges else None


def source_histories(client: Client, ids: int) -> Iterator[SourceHistory]:
    """Return the history of every source, with its newest `ids` accepted events."""
    balances = client.query(
        "SELECT topic, partition, sum(read), sum(counted), sum(duplicate), sum(late), sum(bad), sum(conflict)"
        " FROM outcomes GROUP BY topic, partition ORDER BY topic, partition"
    ).result_rows
    for topic, partition, *balance in balances:
        source = {"topic": topic, "partition": partition, "ids": ids}
        rows = client.query(
            f"SELECT offset, id, {_TIME}, source, {_CONTENT} FROM ({_ACCEPTED})"  # noqa: S608
            " ORDER BY offset DESC LIMIT {ids:UInt64}",
            parameters=source,
        ).result_rows
        forgotten = _NEVER
        if len(rows) == ids:
            [(others, newest)] = client.query(
                f"SELECT count(), max({_TIME}) FROM ({_ACCEPTED}) WHERE offset < {{first:UInt64}}",  # noqa: S608
                parameters={**source, "first": rows[-1][0]},
            ).result_rows
            forgotten = newest if others else _NEVER
        yield SourceHistory(
            topic,
            partition,
            tuple(balance),
            [row[1] for row in reversed(rows)],
            [row[3] for row in reversed(rows)],
            [row[4] for row in reversed(rows)],
            [row[2] for row in reversed(rows)],
            forgotten,
        )


def closed_minutes(client: Client) -> Mapping[str, int]:
    """Return the newest closed minute (Unix seconds // 60) of every KPI that has one."""
    rows = client.query("SELECT kpi, max(at) FROM kpi_values WHERE maturity = 'closed' GROUP BY kpi").result_rows
    return {kpi: int(at.replace(tzinfo=UTC).timestamp()) // 60 - 1 for kpi, at in rows}


def left_series(client: Client) -> set[str]:
    """Return the keys of series that had given their room to others when they were published last."""
    newest = f"SELECT kpi, labels FROM kpi_values WHERE window = '{TOTAL}' AND by != ''"  # noqa: S608 - a constant
    rows = client.query(f"{newest} GROUP BY kpi, labels HAVING argMax(n, (at, revision)) = 0").result_rows
    return {series_key(kpi, tuple(labels.items())) for kpi, labels in rows}


def kpi_history(
    client: Client, kpis: Iterable[Kpi], closed: int | None, retention: Retention = DEFAULT_RETENTION
) -> KpiHistory:
    """Return what the minutes of some KPIs hold; `closed` is the newest closed one, None before the first."""
    found = KpiHistory()
    gone = fine = -1
    if closed is not None:
        gone = fine = max(-1, retention.last_gone(closed))
        if retention.hourly:
            # Whole hours on both sides of each border.
            gone, fine = gone // 60 * 60 - 1, max(-1, retention.last_hour(closed))
    borders = {"gone": _at(gone), "fine": _at(fine)}
    for kpi in kpis:
        for sql, into in ((_BEFORE, None), (_HOURS, found.hours), (_MINUTES, found.minutes)):
            for labels, minute, fields, bins in client.query(sql, parameters={"kpi": kpi.id, **borders}).result_rows:
                acc = _acc(kpi, fields, bins, found)
                if acc is None:
                    continue
                key = series_key(kpi.id, tuple(labels.items()))
                if into is None:
                    found.before[key] = acc
                else:
                    into.append((int(minute.replace(tzinfo=UTC).timestamp()) // 60, {key: acc}))
    return found


def _at(minute: int) -> datetime:
    return datetime.fromtimestamp(max(0, minute) * 60, UTC)


_SUMS: Final = (
    "SELECT labels, {} AS start, sumForEach(fields), sumMap(bins) FROM kpi_minutes FINAL"
    " WHERE kpi = {{kpi:String}} AND {} GROUP BY labels, start"
)
_GONE: Final = "{gone:DateTime('UTC')}"
_FINE: Final = "{fine:DateTime('UTC')}"
_BEFORE: Final = _SUMS.format("toDateTime(0, 'UTC')", f"minute <= {_GONE}")
_HOURS: Final = _SUMS.format("toStartOfHour(minute)", f"minute > {_GONE} AND minute <= {_FINE}")
_MINUTES: Final = _SUMS.format("minute", f"minute > {_FINE}")


def _acc(kpi: Kpi, fields: list[int], bins: dict[int, int], found: KpiHistory) -> Acc | None:
    """Return the accumulator of a row; None when it is empty, or noted as unfit."""
    kind = AGGREGATORS[kpi.aggregator]
    if not kind.fits(fields):
        found.unfit.add(kpi.id)
    return kind.stored(fields, bins)
