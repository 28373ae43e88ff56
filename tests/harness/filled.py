"""A store filled inside ClickHouse with many series of the whole catalogue, and what dashboards ask of it."""

import itertools
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from clickhouse_connect.driver.client import Client

from streams.kpis.language.definition import Kpi
from streams.kpis.language.writing import sql_literal

FIRST_DAY = datetime(2026, 3, 1, tzinfo=UTC)
SIZES = {(): 1, ("channel",): 4, ("segment",): 5, ("region",): 31, ("agentid",): 600, ("unitid",): 120, ("topic",): 30,
         ("queue",): 12, ("channel", "touchpoint"): 40}  # fmt: skip
ACTIVE = {(): 1.0, ("channel",): 0.95, ("segment",): 0.9, ("region",): 0.5, ("agentid",): 0.15, ("unitid",): 0.35,
          ("topic",): 0.4, ("queue",): 0.6, ("channel", "touchpoint"): 0.6}  # fmt: skip
FIELDS = {
    "count": "[n]", "sum": "[n, n * x]", "ratio": "[n, h % (n + 1)]", "mean": "[n, n * x, n * x * x]",
    "nps": "[n, intDiv(n + 1, 2), intDiv(n, 4)]", "share": "[n, n * x, intDiv(n * x, 3), n * x * x, n * x * x, n * x]",
}  # fmt: skip
ROUND = 4_000_000
HEADLINES = "('csat', 'nps', 'aht', 'service_level', 'volume', 'ces', 'fcr', 'dsat', 'abandonment', 'contacts')"


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def sizes(kpis: Iterable[Kpi], series: int) -> Iterator[tuple[Kpi, tuple[str, ...], int]]:
    """Give the number of series of every grouping of every KPI, so that they are so many together."""
    groupings = [(kpi, grouping) for kpi in kpis if kpi.aggregator != "derived" for grouping in kpi.groupings]
    known = sum(SIZES.get(grouping, 0) for _, grouping in groupings)
    others = sum(grouping not in SIZES for _, grouping in groupings)
    scale = min(1.0, 0.9 * series / known)
    left = series - sum(max(1, int(scale * SIZES[grouping])) for _, grouping in groupings if grouping in SIZES)
    each, more = divmod(max(left, others), others)
    number = itertools.count()
    for kpi, grouping in groupings:
        fixed = max(1, int(scale * SIZES[grouping])) if grouping in SIZES else each + (next(number) < more)
        yield kpi, grouping, fixed


def labels_sql(grouping: Sequence[str], series: str) -> str:
    """Write the labels of a series by its number."""
    if not grouping:
        return "CAST(map(), 'Map(LowCardinality(String), String)')"
    pairs = ", ".join(
        f"{sql_literal(name)}, concat({sql_literal(name + ' ')}, toString({series}))" for name in sorted(grouping)
    )
    return f"CAST(map({pairs}), 'Map(LowCardinality(String), String)')"


def fill_minutes(client: Client, kpis: Iterable[Kpi], series: int, days: int) -> int:
    """Fill `kpi_minutes`: the first day series by series, the others from the first; goes on where it was ended."""
    done = client.query("SELECT uniqExact(toDate(minute)) FROM kpi_minutes").result_rows[0][0]
    for kpi, grouping, count in sizes(kpis, series) if done < 2 else ():
        binned = kpi.aggregator in {"quantile", "distinct"}
        fields = "[]" if binned else FIELDS[kpi.aggregator]
        bins = (
            "map(toInt32(300 + h % 200), n - intDiv(n, 2), toInt32(500 + h % 99), intDiv(n, 2) + 1)"
            if binned
            else "map()"
        )
        client.command(f"""
            INSERT INTO kpi_minutes (kpi, labels, minute, part, revision, fields, bins)
            SELECT {sql_literal(kpi.id)}, {labels_sql(grouping, "place")}, toDateTime({int(FIRST_DAY.timestamp())}, 'UTC')
                + 60 * (number % 1440), 0, 1, CAST({fields}, 'Array(Int128)'), CAST({bins}, 'Map(Int32, UInt64)')
            FROM (
                SELECT number, intDiv(number, 1440) AS place, cityHash64(number, {sql_literal(f"{kpi.id}{grouping}")}) AS h,
                    1 + bitAnd(bitShiftRight(h, 32), 7) AS n, 1000 + h % 4000 AS x
                FROM numbers({1440 * count}) WHERE h % 1000 < {int(1000 * ACTIVE.get(grouping, 0.3))}
            )""")  # fmt: skip
    say("the first day is there")
    for day in range(max(1, done - 1), days):
        client.command(f"""
            INSERT INTO kpi_minutes (kpi, by, labels, minute, part, revision, fields, bins)
            SELECT kpi, by, labels, minute + {86_400 * day}, part, revision, fields, bins
            FROM kpi_minutes WHERE minute < toDateTime({int(FIRST_DAY.timestamp()) + 86_400}, 'UTC')
            SETTINGS max_insert_threads = 2""")
    rows: int = client.query("SELECT count() FROM kpi_minutes").result_rows[0][0]
    return rows


def sum_up(client: Client) -> tuple[int, float]:
    """Have everything summed up that is not, in the rounds in which it happens by itself; rows and seconds."""
    rows, started = 0, time.monotonic()
    while True:
        client.command(f"""
            INSERT INTO kpi_spans_due
            SELECT now64(6, 'UTC') AS planned_at, kpi, span, start, changes FROM (
                SELECT kpi, span, start, changes, sum(changes) OVER (ORDER BY span, start, kpi) AS up_to_here FROM (
                    SELECT kpi, span, start, sum(kpi_spans.changes) AS changes, max(kpi_spans.rolled) AS rolled
                    FROM kpi_spans GROUP BY kpi, span, start HAVING changes > rolled)
            ) WHERE up_to_here - changes < {ROUND}""")
        planned: int = client.query("""
            SELECT sum(changes) FROM kpi_spans_due WHERE planned_at = (SELECT max(planned_at) FROM kpi_spans_due)
                AND (kpi, span, start, changes) NOT IN (
                    SELECT kpi, span, start, max(rolled) FROM kpi_spans GROUP BY kpi, span, start)""").result_rows[0][0]
        if not planned:
            return rows, time.monotonic() - started
        rows += planned
        for view in ("kpi_hours_of_minutes", "kpi_days_of_minutes"):
            client.command(f"SYSTEM REFRESH VIEW {view}")
            client.command(f"SYSTEM WAIT VIEW {view}")


def fill_values(client: Client, days: int) -> int:
    """Fill `kpi_values` for every series there is."""
    end = int((FIRST_DAY + timedelta(days=days)).timestamp())
    spans = [(end - 86_400 * days, end, 3600), (end - 3 * 3600, end, 60)]
    spans += [(end - ago - 3 * 3600, end - ago, 60) for ago in (86_400, 604_800)]
    for window in ("1m", "1h", "24h", "total"):
        for since, until, step in spans:
            client.command(f"""
                INSERT INTO kpi_values (kpi, labels, window, stat, at, value, n, lo, hi, definition, maturity, revision)
                SELECT kpi, labels, '{window}', '', toDateTime({since} + {step} * (1 + number), 'UTC'), h % 100, 1 + h % 900,
                    h % 100 - 1, h % 100 + 1, concat(kpi, '@1'), 'closed', number
                FROM (SELECT DISTINCT kpi, labels FROM kpi_days) AS known, numbers({(until - since) // step}) AS places,
                    (SELECT 1) AS one
                ARRAY JOIN [cityHash64(kpi, toString(labels), number)] AS h""")
    rows: int = client.query("SELECT count() FROM kpi_values").result_rows[0][0]
    return rows


def questions(days: int) -> dict[str, str]:
    """What is asked; windows begin and end within an hour, as they do in life."""
    end = FIRST_DAY + timedelta(days=days) - timedelta(minutes=13)
    month = FIRST_DAY + timedelta(minutes=17)

    def window(back: timedelta | None = None) -> str:
        since = month if back is None else max(month, end - back)
        return f"from = '{since:%F %T}', to = '{end:%F %T}'"

    day, week = timedelta(days=1), timedelta(days=7)
    over = "SELECT labels, stat, value, n, lo, hi FROM kpi(kpi = '{}', {}) WHERE by = '{}' ORDER BY n DESC"
    course = "SELECT time, labels, stat, value, n, lo, hi FROM kpi_series(kpi = '{}', {}, step = {}) WHERE by = '{}'"
    return {
        "the whole, 30 days": over.format("csat", window(), ""),
        "by channel, 30 days": over.format("csat", window(), "channel"),
        "by channel, 24 hours": over.format("csat", window(day), "channel"),
        "the 20 largest of 600 agents, 30 days": over.format("aht", window(), "agentid") + " LIMIT 20",
        "the 10 worst units, 7 days": over.format("csat", window(week), "unitid").replace("n DESC", "hi") + " LIMIT 10",
        "all series of a KPI, 30 days": f"SELECT * FROM kpi(kpi = 'csat', {window()})",
        "quantiles by queue, 30 days": over.format("asa", window(), "queue"),
        "hours by channel, 30 days": course.format("csat", window(), 3600, "channel"),
        "days by channel, 30 days": course.format("csat", window(), 86_400, "channel"),
        "days of 120 units, 30 days": course.format("csat", window(), 86_400, "unitid"),
        "quantiles, hours by queue, 30 days": course.format("asa", window(), 3600, "queue"),
        "5 minutes, the whole, 30 days": course.format("csat", window(), 300, ""),
        "15 minutes by channel, 7 days": course.format("csat", window(week), 900, "channel"),
        "hours by touchpoint, 7 days": course.format("csat", window(week), 3600, "channel,touchpoint"),
        "minutes by channel, 24 hours": course.format("csat", window(day), 60, "channel"),
        "5 minutes by queue, 24 hours": course.format("service_level_all_offered", window(day), 300, "queue"),
        "one agent, hours, 30 days": course.format("aht", window(), 3600, "agentid")
        + " AND labels = map('agentid', 'agentid 7')",
        "one channel, every minute, 30 days": course.format("csat", window(), 60, "channel")
        + " AND labels = map('channel', 'channel 1')",
        "newest values of a KPI": "SELECT * FROM kpi_latest WHERE kpi = 'csat' AND by = 'channel'",
        "newest values of everything": "SELECT count(), sum(n) FROM kpi_latest",
        "24 hours beside last week": f"SELECT * FROM kpi_compared(kpi = 'csat', {window(day)}, ago = 604800) WHERE by = 'channel'",
        "changes of ten KPIs": f"SELECT * FROM kpi_changes(window = '1h') WHERE kpi IN {HEADLINES} AND by IN ('', 'channel')",
        "changes of everything": "SELECT count(), avg(day_change) FROM kpi_changes(window = '1h')",
        "heat map, 7 days": f"SELECT * FROM kpi_heat(kpi = 'csat', {window(week)})",
        "an analyst's line": "SELECT * FROM kpi_over(kpi = 'csat', window = '7d', labels = map('channel', '*'))",
    }  # fmt: skip
