"""`cx rules tune`: which threshold brings the wanted rate of false alarms on a KPI's own past."""

import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Final

import click

from streams.alerts.detectors import Detector, ParamError
from streams.alerts.detectors.cusum import Cusum
from streams.alerts.detectors.floor import Floor
from streams.alerts.detectors.ztest import ZTest
from streams.alerts.facts import Facts
from streams.alerts.offline.past import Null, Past, TuningError
from streams.alerts.offline.tuning import (
    Method,
    Trials,
    Tried,
    bounds_of_proposal,
    first_threshold,
    most_of,
    proposed,
    search,
    too_short,
)
from streams.commands.arguments import KpiIdType, MomentType, NumberRange, When
from streams.commands.output import as_json_option, plain_errors, print_json, table
from streams.commands.printing import echo
from streams.commands.rules_history import incident_of
from streams.commands.rules_past import read_held
from streams.definitions import catalogue_of
from streams.kpis.language.definition import Kpi
from streams.kpis.language.expressions import suggest
from streams.settings import load, window_names
from streams.storage.connection import address_of, connect

_NAMES: Final = {"cusum": "h", "ztest": "z", "floor": "z"}


@click.command("tune")
@click.option("--kpi", "kpi_id", type=KpiIdType(), required=True, help="The KPI; a ratio.")
@click.option("--by", default="", help="Labels, e.g. channel; without: the whole.")
@click.option("--method", type=click.Choice(["cusum", "ztest", "floor"]), default="cusum", show_default=True)
@click.option("--window", default="1h", show_default=True, help="The rule's window.")
@click.option("--baseline", default="24h", show_default=True, help="What it is compared with; not for a floor.")
@click.option("--target", type=NumberRange(), help="Of a floor.")
@click.option("--drop", type=NumberRange(0, min_open=True), default=10.0, show_default=True,
              help="The change to be seen, in the KPI's unit, whichever side trouble is on.")  # fmt: skip
@click.option("--min-n", type=click.IntRange(1), help="Answers that the window must hold.  [default: the KPI's own]")
@click.option("--false-alarms-per-day", "wanted", type=NumberRange(1e-4, 24), default=0.02, show_default=True,
              help="Per series.")  # fmt: skip
@click.option("--from", "start", type=MomentType(), help="History to learn from.  [default: 28 days]")
@click.option("--to", "end", type=MomentType(), help="Its end.  [default: the newest minute]")
@click.option("--incident", "incidents", multiple=True, metavar="FROM/TO", help="Left out of history; repeatable.")
@click.option("--null", type=click.Choice(["blocks", "steady"]), default="blocks", show_default=True,
              help="blocks: days or weeks of the past put together anew; steady: its volumes, one mean.")  # fmt: skip
@click.option("--try", "tried", type=NumberRange(), multiple=True, help="A threshold to try; repeatable.")
@click.option("--series", type=click.IntRange(1, 5000), default=200, show_default=True, help="Series to simulate.")
@click.option("--days", type=click.IntRange(1, 365), default=10, show_default=True, help="Days of each.")
@click.option("--seed", type=int, default=1, show_default=True)
@as_json_option
@plain_errors
def rules_tune(
    kpi_id: str,
    by: str,
    method: Method,
    window: str,
    baseline: str,
    target: float | None,
    drop: float,
    min_n: int | None,
    wanted: float,
    start: When | None,
    end: When | None,
    incidents: tuple[str, ...],
    null: Null,
    tried: tuple[float, ...],
    series: int,
    days: int,
    seed: int,
    *,
    as_json: bool,
) -> None:
    """Propose a threshold: what each would bring in false alarms, and how long a drop would go unseen.

    Tried on series drawn from the KPI's own minutes in ClickHouse, by whole weeks, or days if there are less than two
    weeks: what hangs together within them stays. Intervals are as wide as so much history leaves them. Nothing is
    changed.

    \b
    Exit codes: 0 proposed, 1 no threshold keeps to the wanted rate, or no history, 2 wrong options.

    \b
    Example:
      cx rules tune --kpi csat --by channel --drop 20 --false-alarms-per-day 0.02
    """
    settings = load()
    catalogue = catalogue_of(settings)
    if kpi_id not in catalogue:
        raise click.UsageError(f"no KPI {kpi_id!r}{suggest(kpi_id, catalogue.kpis) or '; see cx kpis list'}")
    kpi = catalogue[kpi_id]
    names = tuple(sorted(filter(None, (name.strip() for name in by.split(",")))))
    params = _params(kpi, names, method, window, baseline, target, drop, window_names(settings))
    try:
        left_out = [incident_of(text) for text in incidents]
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        with closing(connect(address_of(settings))) as client:
            held = read_held(client, kpi, start, end)
        past, _, known = held.past(names)
        past = past.without([(one.since, one.until) for one in left_out], held.until)
        facts = Facts.of(kpi)
        trials = Trials(params, facts, window, past, drop=drop, null=null, series=series, days=days, seed=seed,
                        min_n=(1 if method == "cusum" else kpi.min_n.alert) if min_n is None else min_n)  # fmt: skip
        found = [trials.at(threshold) for threshold in sorted(tried)] or list(
            search(trials.at, first_threshold(params, facts, past, wanted), wanted, most_of(params))
        )
    except TuningError as error:
        echo(str(error), err=True)
        sys.exit(1)
    found.sort(key=lambda one: one.threshold)
    best = proposed(found, wanted)
    low, high = bounds_of_proposal(found, wanted)
    warnings = too_short(past, wanted) if null == "blocks" else []
    if as_json:
        print_json({
            "kpi": kpi.id, "by": names, "method": method, "parameter": _NAMES[method], "series": past.n.shape[2],
            "known_series": known, "days": len(past.day), "block_days": past.block,
            "tried": [one._asdict() for one in found], "proposed": None if best is None else best.threshold,
            "surely_too_low": low, "surely_enough": high, "warnings": warnings,
        })  # fmt: skip
    else:
        echo(_described(kpi, names, method, past, found, wanted, drop))
        for warning in warnings:
            echo(f"warning: {warning}")
    if best is None:
        sys.exit(1)


def _params(
    kpi: Kpi,
    by: tuple[str, ...],
    method: Method,
    window: str,
    baseline: str,
    target: float | None,
    drop: float,
    kept: Sequence[str],
) -> Detector:
    """Return the parameters of the method; what does not go together is wrong usage."""
    if kpi.aggregator != "ratio":
        raise click.UsageError(f"{kpi.id} is a {kpi.aggregator}; only ratios can be tuned")
    if by not in kpi.groupings:
        listed = "; ".join(" × ".join(grouping) or "the whole" for grouping in kpi.groupings)
        raise click.UsageError(f"{kpi.id} is not kept by {' × '.join(by)}; kept: {listed}")
    for name in (window, *(() if method == "floor" else (baseline,))):
        if name not in kept:
            raise click.UsageError(f"window {name!r} is not kept; kept: {', '.join(kept)}{suggest(name, kept)}")
    try:
        match method:
            case "cusum":
                params: Detector = Cusum(baseline=baseline, delta=drop)
            case "ztest":
                params = ZTest(baseline=baseline)
            case "floor":
                if target is None:
                    raise click.UsageError("a floor needs --target")
                params = Floor(target=target)
    except ParamError as error:
        raise click.UsageError(str(error)) from None
    for key, message in params.misfits(kpi, by, window):
        raise click.UsageError(f"{method}, {key}: {message}")
    return params


def _described(
    kpi: Kpi, by: tuple[str, ...], method: str, past: Past, found: Sequence[Tried], wanted: float, drop: float
) -> str:
    name = _NAMES[method]
    answers = past.n.sum() / max(1, past.n.size)
    heads = (name.upper(), "FALSE PER DAY AND SERIES (95 %)", "DROP SEEN AFTER", "ANSWERS", "NOT IN 2 DAYS")
    rows = [
        (
            f"{one.threshold:g}",
            f"{one.per_day:.4f} ({one.lo:.4f} to {one.hi:.4f})",
            "never" if one.minutes is None else f"{one.minutes:.0f} min",
            "" if one.answers is None else f"{one.answers:.0f}",
            f"{one.missed:.0%}",
        )
        for one in found
    ]
    head = (
        f"{kpi.id} by {' × '.join(by) or 'the whole'}, {method}: {past.n.shape[2]} series over {len(past.day)} days,"
        f" drawn by {'week' if past.block > 1 else 'day'}, {answers:.2f} answers a minute; worse by {drop:g}"
        f" {kpi.unit}, simulated {found[0].days:.0f} days"
    )
    return f"{head}\n\n{table(heads, rows)}\n\n{_proposal(name, found, wanted)}"


def _proposal(name: str, found: Sequence[Tried], wanted: float) -> str:
    best = proposed(found, wanted)
    if best is None:
        return f"none of these keeps to {wanted:g} false alarms a day; try higher ones with --try"
    low, high = bounds_of_proposal(found, wanted)
    sure = "this history is too short to be sure of any of these" if high is None else f"surely enough: {high:g}"
    return f"proposed: {name}: {best.threshold:g}; {sure}{'' if low is None else f', surely too low: {low:g}'}"
