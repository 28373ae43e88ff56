"""`cx drivers change`: a KPI before and after something that we changed."""

import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import click

from streams.commands.arguments import EARLIEST, KpiIdType, MomentType, When
from streams.commands.output import as_json_option, plain_errors, print_json, table
from streams.commands.printing import echo, line
from streams.definitions import catalogue_of, steps_of
from streams.drivers.interrupted import ChangeEffect, SeriesShift, before_after, less_control
from streams.drivers.regression import TooFewAnswersError
from streams.kpis.aggregators import ADDITIVE
from streams.kpis.language.definition import Kpi
from streams.kpis.language.expressions import suggest
from streams.kpis.language.lengths import window_minutes
from streams.settings import Settings, load
from streams.storage.changes import StoredChange, kpi_steps_around, stored_changes
from streams.storage.connection import address_of, connect
from streams.storage.queries import as_reader


@click.command("changes")
@click.option("--from", "start", type=MomentType(), default="-90d", show_default=True, help="Start, included.")
@click.option("--to", "end", type=MomentType(), help="End, not included.  [default: now]")
@as_json_option
@plain_errors
def drivers_changes(*, start: When, end: When | None, as_json: bool) -> None:
    """List what we changed ourselves: releases, configurations, campaigns.

    From the events cx.change.deployed and cx.campaign.started. Exit codes: 0 listed, 1 the store cannot be queried.
    """
    settings = load()
    zone = ZoneInfo(settings.zone)
    found = _changes(settings, start.moment(zone), end.moment(zone) if end else datetime.now(UTC))
    if as_json:
        print_json([{**one._asdict(), "at": one.at.isoformat()} for one in found])
    elif not found:
        echo("no data: no cx.change.deployed and no cx.campaign.started in that time")
    else:
        rows = [
            (f"{one.at.astimezone(zone):%Y-%m-%d %H:%M}", one.name, one.version, one.kind, one.channel) for one in found
        ]
        echo(table(("TIME", "CHANGE", "VERSION", "KIND", "CHANNEL"), rows))


@click.command("change")
@click.argument("name", required=False)
@click.option("--at", "moment", type=MomentType(), help="Instead of a name: when it was.")
@click.option("--kpi", "kpi_id", required=True, type=KpiIdType(), help="What is looked at.")
@click.option("--where", "where", multiple=True, metavar="LABEL=VALUE", help="One series of it; repeatable.")
@click.option("--control", multiple=True, metavar="LABEL=VALUE", help="One that the change did not reach; repeatable.")
@click.option("--step", type=click.Choice(["1h", "1d"]), default="1d", show_default=True, help="Length of a step.")
@click.option("--before", default="28d", show_default=True, help="How long before.")
@click.option("--after", default="28d", show_default=True, help="How long after, as far as it is known.")
@as_json_option
@plain_errors
def drivers_change(
    name: str | None,
    *,
    moment: When | None,
    kpi_id: str,
    where: tuple[str, ...],
    control: tuple[str, ...],
    step: str,
    before: str,
    after: str,
    as_json: bool,
) -> None:
    """Show a KPI before and after a change: level, slope and mean, with 95 % intervals.

    NAME is one of `cx drivers changes`, its newest. Steps of a KPI that resemble their neighbours are allowed for, and
    so are days of the week (hours of the day by --step 1h). Without --control it is an association: what else happened
    then is in it.

    Exit codes: 0 shown, 1 there is no such change, too few steps before or after, or the store cannot be queried.
    """
    settings = load()
    kpi = _kpi(settings, kpi_id)
    labels, others = _labels(where, kpi), _labels(control, kpi)
    if control and labels == others:
        raise click.UsageError("--control names the series itself")
    change = _change(settings, name, moment)
    since, until = change.at - _length("--before", before), change.at + _length("--after", after)
    steps = steps_of(settings, step)
    bounds = steps.bounds(int(since.timestamp()), int(until.timestamp()))
    at = sum(bound <= change.at.timestamp() for bound in bounds) - 1
    address = as_reader(address_of(settings), settings)

    def read(chosen: dict[str, str]) -> list[Any]:
        return kpi_steps_around(address, kpi_id, chosen, steps, since, until, daily=step == "1d")

    series = read(labels)
    if control:
        series = less_control(series, read(others))
    try:
        found = before_after(series, at, weighted=kpi.aggregator not in ADDITIVE, controlled=bool(control))
    except TooFewAnswersError as error:
        raise click.ClickException(f"{kpi_id}: {error}") from error
    if as_json:
        asked = {"kpi": kpi_id, "unit": kpi.unit, "definition": kpi.definition_id, "where": labels, "step": step}
        print_json({**_plain_change(change), **asked, "control": others if control else None, **_plain(found)})
    else:
        _print(change, kpi, labels, others if control else None, step, found, ZoneInfo(settings.zone))


def _kpi(settings: Settings, name: str) -> Kpi:
    kpis = catalogue_of(settings)
    if name not in kpis:
        raise click.UsageError(f"no KPI {name!r}{suggest(name, kpis.kpis)}")
    if kpis[name].derive:
        parts = ", ".join(part.kpi for part in kpis[name].derive.parts)  # type: ignore[union-attr]
        raise click.UsageError(f"{name!r} is made of {parts}, and has no steps of its own: ask for these")
    return kpis[name]


def _labels(given: tuple[str, ...], kpi: Kpi) -> dict[str, str]:
    found = {}
    for text in given:
        label, equals, value = text.partition("=")
        if not equals or not label:
            raise click.UsageError(f"{text!r}: expected LABEL=VALUE, e.g. channel=web")
        found[label] = value
    if tuple(sorted(found)) not in kpi.groupings:
        known = "; ".join(",".join(grouping) for grouping in kpi.groupings if grouping)
        raise click.UsageError(
            f"{kpi.id} is not kept by {','.join(sorted(found)) or 'nothing'}; it is kept by: {known}"
        )
    return found


def _length(option: str, text: str) -> timedelta:
    try:
        return timedelta(minutes=window_minutes(text))
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from error


def _changes(settings: Settings, since: datetime, until: datetime) -> list[StoredChange]:
    with closing(connect(as_reader(address_of(settings), settings))) as client:
        return stored_changes(client, since, until)


def _change(settings: Settings, name: str | None, moment: When | None) -> StoredChange:
    if (name is None) == (moment is None):
        raise click.UsageError("give the NAME of a change, or --at")
    if moment is not None:
        return StoredChange(moment.moment(ZoneInfo(settings.zone)), "", "", "", "")
    found = _changes(settings, EARLIEST, datetime.now(UTC))
    assert name is not None
    chosen = [one for one in found if name in {one.name, re.sub(r"\s+", " ", f"{one.name} {one.version}").strip()}]
    if not chosen:
        names = {one.name for one in found}
        raise click.ClickException(f"no change {name!r}{suggest(name, names) or ': see cx drivers changes'}")
    return chosen[-1]


def _plain_change(one: StoredChange) -> dict[str, Any]:
    return {
        "change": one.name or None, "version": one.version or None, "kind": one.kind or None, "at": one.at.isoformat(),
    }  # fmt: skip


def _plain(found: ChangeEffect) -> dict[str, Any]:
    return {
        "steps_before": found.before, "steps_after": found.after, "mean_before": found.mean_before,
        "mean_after": found.mean_after, "average": found.average._asdict(), "level": found.level._asdict(),
        "slope": found.slope._asdict(), "trend_before": found.trend._asdict(), "neighbours_alike": found.alike,
        "controlled": found.controlled, "verdict": found.verdict,
    }  # fmt: skip


def _print(
    change: StoredChange, kpi: Kpi, labels: dict[str, str], control: dict[str, str] | None, step: str,
    found: ChangeEffect, zone: ZoneInfo,
) -> None:  # fmt: skip
    named = " ".join(filter(None, (change.kind, change.name, change.version))) or "the change"
    series = ", ".join(f"{label}={value}" for label, value in labels.items())
    less = "" if control is None else f" less {', '.join(f'{label}={value}' for label, value in control.items())}"
    line(f"{kpi.id} ({kpi.unit}) {series}{less}: {named} at {change.at.astimezone(zone):%Y-%m-%d %H:%M} ({zone.key})")
    line(
        f"{found.mean_before:.4g} in {found.before} steps of {step} before,"
        f" {found.mean_after:.4g} in {found.after} after"
    )
    unit = {"1d": "day", "1h": "hour"}[step]
    rows = [
        ("mean after, less where it was going", _shift(found.average)),
        ("level, at once", _shift(found.level)),
        (f"slope, a {unit}", _shift(found.slope)),
        (f"slope before, a {unit}", _shift(found.trend)),
    ]
    echo(table(("CHANGE OF", "BY, WITH 95 % INTERVAL"), rows))
    line(found.verdict)


def _shift(one: SeriesShift) -> str:
    return f"{one.value:+.3g} [{one.lo:+.3g}, {one.hi:+.3g}]"
