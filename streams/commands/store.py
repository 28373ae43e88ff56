"""`cx migrate`, `cx query`, `cx verify`, `cx repair`: the store's schema, its answers, and whether they are right."""

import re
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import click
from clickhouse_connect.driver.client import Client

from streams.commands.arguments import EARLIEST, LATEST, KpiIdType, MomentType, NumberRange, When, WindowType
from streams.commands.output import as_json_option, plain_errors, print_json, table, wrapped
from streams.commands.printing import echo
from streams.definitions import catalogue_of, live_relations_of, steps_of, touchpoints_of
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.definition import Kpi
from streams.kpis.language.steps import CALENDARS, WEEKDAYS, Steps
from streams.privacy.forgotten import Forgotten
from streams.secured.protection import protection_of
from streams.settings import Settings, load, window_names
from streams.storage import doubled, retention
from streams.storage.connection import FAILURES, Address, address_of, connect, explain
from streams.storage.derived import over_span
from streams.storage.erasing import read_forgotten
from streams.storage.queries import NAMED, as_reader, run_query
from streams.storage.series import run_series
from streams.storage.setup import prepare
from streams.storage.verify import VerifyReport
from streams.storage.verify import verify as recompute
from streams.storage.verify_again import events_are_coming, verified_again

ALL: Final = (EARLIEST, LATEST)
"""From when and until when is asked where nothing else is said."""


@click.command()
@click.option("--cluster", help="Make replicated and sharded tables on this cluster.  [default: CX_CLICKHOUSE_CLUSTER]")
@as_json_option
@plain_errors
def migrate(*, cluster: str | None, as_json: bool) -> None:
    """Bring the ClickHouse schema up to date, and store the KPI catalogue and the touchpoints.

    Harmless when repeated. The user of CX_CLICKHOUSE_USER must be allowed to create tables. How long rows are kept is
    set to CX_KEEP_*_DAYS.

    \b
    Examples:
      cx migrate
      CX_CLICKHOUSE=https://ch.example:8443 CX_CLICKHOUSE_USER=admin cx migrate --json
    """
    settings = load(clickhouse_cluster=cluster)
    catalogue, known = catalogue_of(settings), touchpoints_of(settings)
    applied = prepare(
        address_of(settings),
        catalogue,
        lambda text: None if as_json else echo(text),
        keep_days=retention.wanted(settings),
        cluster=settings.clickhouse_cluster,
        touchpoints=known,
        weeks=steps_of(settings, "1w"),
    )
    touchpoints = len(known)
    if as_json:
        print_json({"applied": applied, "kpis": len(catalogue), "touchpoints": touchpoints})
        return
    if not applied:
        echo("nothing to apply: the schema is up to date")
    echo(f"stored {len(catalogue)} KPI definitions and {touchpoints} touchpoints")


@click.command()
@click.argument("question")
@click.argument("kpi_id", metavar="[KPI]", type=KpiIdType(), required=False)
@click.option("--window", type=WindowType(), help="The last so many minutes, hours or days, e.g. 15m, 24h, 7d.")
@click.option(
    "--from", "start", type=MomentType(), help="Start, included, by the clocks of --zone: 2026-03-01, yesterday, -2h, …"
)
@click.option("--to", "end", type=MomentType(), help="End, not included.  [default: now]")
@click.option("--by", default="", help="Labels to split by, e.g. channel, or channel,stage.")
@click.option("--step", help="Of `series`: length of a step: 5m, 1h, 1d, 1w, 1mo, 1y.  [default: 1m]")
@click.option("--zone", help="Time zone of steps and times, e.g. Asia/Tehran.  [default: CX_ZONE]")
@click.option("--calendar", type=click.Choice(CALENDARS), help="Of months and years.  [default: CX_CALENDAR]")
@click.option("--week-starts", type=click.Choice(WEEKDAYS), help="First day of weeks.  [default: CX_WEEK_STARTS]")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="Fills {NAME:Type} in SQL; repeatable.")
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Same as --format json.")
@click.option("--timeout", "timeout_s", type=NumberRange(1), default=60.0, show_default=True, help="Seconds.")
@plain_errors
def query(
    question: str,
    kpi_id: str | None,
    window: int | None,
    start: When | None,
    end: When | None,
    by: str,
    step: str | None,
    zone: str | None,
    calendar: str | None,
    week_starts: str | None,
    params: tuple[str, ...],
    form: Literal["table", "json", "csv"],
    as_json: bool,
    timeout_s: float,
) -> None:
    """Ask ClickHouse: any SQL that only reads, or a ready-made QUESTION.

    It asks as CX_CLICKHOUSE_READER_USER where that user's password is known, and never changes anything.

    \b
    Questions about one KPI (`cx kpis list` names them):
      kpi KPI      its value over a window, with 95 % interval and n
      series KPI   the same per --step
      latest KPI   its newest closed values over all rolling windows
    Others:
      kpis         the catalogue
      balance      records read, and what became of them, by source
      refused      dead letters by reason

    \b
    Examples:
      cx query kpi csat --window 1h --by channel
      cx query series service_level_all_offered --window 24h --step 1h --format csv
      cx query series orders --from 2026-11-21 --to 2026-11-28 --step 1d --zone Asia/Tehran
      cx query kpi csat --from yesterday --to today --json
      cx query "SELECT count() FROM events WHERE channel = {c:String}" --param c=web
    """
    settings = load(zone=zone, calendar=calendar, week_starts=week_starts)
    address = as_reader(address_of(settings), settings)
    parameters = _params(params)
    questions = ("series", *NAMED)
    ready = question in questions
    if not ready and " " not in question.strip():
        raise click.UsageError(f"no question {question!r}: one of {', '.join(questions)}, or SQL in quotes")
    asked = question == "series" or "{kpi:" in NAMED.get(question, "")
    if asked != (kpi_id is not None):
        raise click.UsageError(f"{question!r} needs a KPI" if asked else "only kpi, series and latest take a KPI")
    if ready and params:
        raise click.UsageError("--param is for SQL; ready-made questions have options")
    named_times = question == "series" or "{from:" in NAMED.get(question, "")
    if (window or start or end) and not named_times:
        raise click.UsageError("--window, --from and --to belong to `kpi` and `series`")
    if step and question != "series":
        raise click.UsageError("--step belongs to `series`")
    if kpi_id is not None:
        parameters |= {"kpi": kpi_id, "by": _grouping(catalogue_of(settings), kpi_id, by)}
    times = _times(window, start, end, ZoneInfo(settings.zone)) if named_times else {}
    if question == "series":
        since, until = (
            int(times.get(name, other).timestamp()) for name, other in zip(("from", "to"), ALL, strict=True)
        )
        steps = _steps(settings, step or "1m")
        answer = run_series(parameters["kpi"], parameters["by"], since, until, steps, address, timeout_s=timeout_s)
    elif question == "kpi" and (kpi := catalogue_of(settings)[parameters["kpi"]]).derive:
        first, last = (times.get(name, other) for name, other in zip(("from", "to"), ALL, strict=True))
        with closing(connect(address, timeout_s=timeout_s)) as client:
            answer = over_span(client, catalogue_of(settings), kpi, parameters["by"], first, last)
    else:
        answer = run_query(question, {**parameters, **times}, address, timeout_s=timeout_s)
    written: Literal["json", "csv", "table"] = "json" if as_json else form
    least = ("definition", "zone", "until", "unit", "as_of") if ready else ()
    echo(table(answer.columns, answer.cells, least=least) if written == "table" else answer.render(written))
    if kpi_id is not None and not answer.rows:
        echo(_why_nothing(catalogue_of(settings)[kpi_id], question, address), err=True)


def _params(given: tuple[str, ...]) -> dict[str, Any]:
    pairs = [text.partition("=") for text in given]
    for name, equals, _ in pairs:
        if not equals or not name.isidentifier():
            raise click.UsageError(f"--param {name!r}: expected NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _grouping(catalogue: Catalogue, kpi_id: str, by: str) -> str:
    """Bring label names into the order in which they are stored."""
    try:
        kpi = catalogue[kpi_id]
    except KeyError as error:
        raise click.UsageError(str(error.args[0])) from None
    names = tuple(sorted(filter(None, re.split(r"[,\s]+", by))))
    if names not in kpi.groupings:
        choices = "; ".join(",".join(grouping) for grouping in kpi.groupings if grouping)
        what = f"by {','.join(names)}" if names else "as a whole"
        raise click.UsageError(f"{kpi_id} is not kept {what}; it is kept by: {choices or 'nothing'}")
    return ",".join(names)


def _steps(settings: Settings, length: str) -> Steps:
    try:
        return steps_of(settings, length)
    except ValueError as error:
        raise click.UsageError(f"--step: {error}") from None


def _times(minutes: int | None, start: When | None, end: When | None, zone: ZoneInfo) -> Mapping[str, datetime]:
    """Work out a span of whole minutes; without any hint all there is."""
    if minutes and start:
        raise click.UsageError("give --window or --from, not both")
    given = {name: when for name, when in (("from", start), ("to", end)) if when is not None}
    times = {name: when.moment(zone).replace(microsecond=0) for name, when in given.items()}
    if minutes:
        until = times.get("to") or datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        return {"from": until - timedelta(minutes=minutes), "to": until}
    span = [times[name] for name in ("from", "to") if name in times]
    if span != sorted(set(span)):
        shown = [f"{at.astimezone(zone):%Y-%m-%dT%H:%M}" for at in span]
        raise click.UsageError(f"--from {shown[0]} is not before --to {shown[1]}")
    return times


def _why_nothing(kpi: Kpi, question: str, address: Address) -> str:
    """Say where the KPI has numbers, for those who asked elsewhere."""
    kpi_id = kpi.id
    if kpi.derive:
        parts = ", ".join(sorted({part.kpi for part in kpi.derive.parts}))
        if question == "series":
            return f"{kpi_id} is made of {parts}, and has no steps of its own: `cx query kpi {kpi_id}` answers per span"
        return f"nothing of {kpi_id} there: it is made of {parts}, see `cx query kpi` of these"
    sql = "SELECT count(), min(minute), max(minute) FROM kpi_minutes WHERE kpi = {kpi:String}"
    [(count, first, last)] = run_query(sql, {"kpi": kpi_id}, address).rows
    if not int(count):
        return f"nothing of {kpi_id} is stored"
    return f"nothing of {kpi_id} there; it is stored from {first} to {last} UTC"


NOTHING_STORED: Final = 3
"""Exit code of `cx verify` on an empty store."""


def _forgotten_of(settings: Settings, client: Client) -> Forgotten:
    """Return who was forgotten, as far as the key that they are known by is here."""
    protection = protection_of(settings, make=False)
    if protection is None:
        return Forgotten(0)
    try:
        protection.forgotten.learn(read_forgotten(client))
    except FAILURES as error:
        raise explain(error, "reading who was forgotten") from error
    return protection.forgotten


@click.command()
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="Differences shown.")
@as_json_option
@plain_errors
def verify(limit: int, *, as_json: bool) -> None:
    """Recompute every KPI from the stored events, and compare with what was streamed.

    Compares balances, minutes and the newest closed values, all with `=`. While events come in, what differs is looked
    at again after 90 s, and what was only on its way is left out; the values of a series that is counted all the time
    can be compared at rest only. Exit code 1 if anything differs, 3 if nothing is stored.

    \b
    Examples:
      cx verify
      cx verify --json
    """
    settings = load()
    catalogue = catalogue_of(settings)
    relations = live_relations_of(settings)
    with closing(connect(address_of(settings), timeout_s=600.0)) as client:
        forgotten = _forgotten_of(settings, client) if relations else Forgotten(0)

        def look() -> VerifyReport:
            return recompute(
                client, catalogue, window_names(settings), relations, settings.lateness_s, forgotten.includes
            )

        report = verified_again(look, lambda looked_s: events_are_coming(client, looked_s), _wait)
    rows = [(one.check, one.series, one.labels, one.when, one.streamed, one.recomputed) for one in report.differences]
    columns = ("check", "series", "labels", "when", "stored", "recomputed")
    empty = report.ok and report.checked.get("records") == 0
    notes = [*report.notes, *["nothing to verify: no records are stored"] * empty]
    if as_json:
        print_json({
            "ok": report.ok,
            "checked": report.checked,
            "notes": notes,
            "differences": [dict(zip(columns, row, strict=True)) for row in rows],
        })  # fmt: skip
    else:
        shown = [
            (*row[:2], ", ".join(f"{k}={v}" for k, v in row[2].items()) or "all", *row[3:]) for row in rows[:limit]
        ]
        if shown:
            echo(table(columns, shown))
        if len(rows) > limit:
            echo(f"… and {len(rows) - limit:,} more (--limit)")
        for note in notes:
            echo(wrapped(f"note: {note}", 6))
        checked = ", ".join(f"{count:,} {what}" for what, count in report.checked.items())
        echo(f"{checked} recomputed: {len(rows):,} differences")
    sys.exit(NOTHING_STORED if empty else 0 if report.ok else 1)


def _wait(seconds: float, why: str) -> None:
    echo(why, err=True)
    time.sleep(seconds)


@click.command()
@click.option("--apply", is_flag=True, help="Take the rows away. Without it they are only counted.")
@as_json_option
@plain_errors
def repair(*, apply: bool, as_json: bool) -> None:
    """Find events, dead letters and balances that are stored twice, and leave one of each.

    Earlier versions could store a range twice when a worker was paused and replaced; `cx verify` shows it. The user
    of CX_CLICKHOUSE_USER must be allowed to create tables, as for `cx migrate`. Stopped in the middle, it goes on when
    it is called again. Exit code 1 if rows are there twice and are left.

    \b
    Examples:
      cx repair
      cx repair --apply
    """
    settings = load()
    with closing(connect(address_of(settings), timeout_s=3600.0)) as client:
        found = doubled.take_away(client, settings.clickhouse_cluster) if apply else doubled.find(client)
    if as_json:
        print_json({"doubled": found, "removed": apply})
    else:
        echo(table(("table", "rows twice"), list(found.items())))
        if any(found.values()):
            echo("one of each was left" if apply else "cx repair --apply leaves one of each")
    sys.exit(1 if any(found.values()) and not apply else 0)
