"""`cx experiments`: whether customers are shared out as planned, and what the variants change."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import click

from streams.commands.arguments import EARLIEST, KpiIdType, MomentType, NumberRange, When
from streams.commands.output import FOUND, as_json_option, plain_errors, print_json, table
from streams.commands.printing import echo, line
from streams.definitions import catalogue_of, experiments_of
from streams.experiments.comparing import ArmResult, assignment_of, compare
from streams.experiments.definition import Experiment, Metric, is_comparable, is_measure
from streams.experiments.judging import FEWEST_ASSIGNED, FEWEST_KNOWN, MISMATCH_P, ArmSplit, Interval, intersection
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.definition import Kpi
from streams.settings import Settings, load
from streams.storage.connection import address_of, connect
from streams.storage.experiments import BEFORE, Assigned, ExperimentStore
from streams.storage.queries import as_reader

_MOST_LOOKS = 60
_DAY = timedelta(days=1)
_UNITS = {"percent": "pp", "points": "points", "per_100": "per 100"}

_from_option = click.option("--from", "start", type=MomentType(), help="Start, included.  [default: all there is]")
_to_option = click.option("--to", "end", type=MomentType(), help="End, not included.  [default: now]")


@click.group()
def experiments() -> None:
    """List, show and check experiments: assignment against the plan, and what variants change in any KPI.

    Events say by `experiment` and `variant` in which arm their customer is. docs/EXPERIMENTS.md tells of the rest.

    \b
    Examples:
      cx experiments list
      cx experiments show checkout-layout
      cx experiments show checkout-layout --kpi csat --by-day
    """


@experiments.command("list")
@_from_option
@_to_option
@as_json_option
@plain_errors
def experiments_list(*, start: When | None, end: When | None, as_json: bool) -> None:
    """List the experiments of the store, and whether customers are shared out as planned.

    Exit codes: 0 all are, 3 one or more are not: its results mean nothing until the reason is found.
    """
    settings = load()
    kpis = catalogue_of(settings)
    defined = experiments_of(settings, kpis)
    with _asking(settings, start, end) as store:
        found = store.assigned()
    judged = {
        name: assignment_of(defined[name].arms if name in defined else {}, one.arms) for name, one in found.items()
    }
    if as_json:
        print_json([_plain(name, found[name], judged[name], name in defined) for name in found])
    elif not found:
        echo("no event of the store carries an experiment and a variant")
    else:
        rows = [
            (
                name,
                f"{sum(one.arms.values()):,}",
                _arms_text(one, defined.get(name)),
                f"{one.crossed:,}" if one.crossed else "",
                _assignment_word(judged[name]),
                "" if name in defined else "equal shares assumed",
            )
            for name, one in found.items()
        ]
        columns = ("EXPERIMENT", "CUSTOMERS", "ARMS", "IN TWO ARMS", "ASSIGNMENT", "PLAN")
        echo(table(columns, rows, least=("PLAN", "IN TWO ARMS")))
    if any(one.mismatch for one in judged.values()):
        sys.exit(FOUND)


@experiments.command("show")
@click.argument("name")
@click.option("--kpi", "asked", multiple=True, type=KpiIdType(), help="A KPI instead of those planned; repeatable.")
@click.option("--effect", type=NumberRange(), help="Of --kpi: the smallest change that matters, in its unit.")
@click.option("--by-day", is_flag=True, help="Also what was known at the end of each day.")
@_from_option
@_to_option
@as_json_option
@plain_errors
def experiments_show(
    name: str,
    *,
    asked: tuple[str, ...],
    effect: float | None,
    by_day: bool,
    start: When | None,
    end: When | None,
    as_json: bool,
) -> None:
    """Show one experiment: assignment, and each KPI by arm, with intervals that hold however often one looks.

    Customers are compared, each from the assignment on, by the arm of their first event that carries the experiment.

    Exit codes: 0 fine, 1 there is no such experiment, 3 customers are not shared out as planned.
    """
    settings = load()
    kpis = catalogue_of(settings)
    defined = experiments_of(settings, kpis).get(name)
    experiment = defined or Experiment(name)
    with _asking(settings, start, end) as store:
        found = store.assigned().get(name)
        if found is None:
            raise click.ClickException(
                f"no event of that time carries the experiment {name!r}: see cx experiments list"
            )
        metrics = _metrics(experiment, asked, effect, kpis)
        judged = assignment_of(experiment.arms, found.arms)
        control = next(iter(defined.arms if defined else found.arms), "")
        look = _Look(experiment, control, settings.zone)
        compared = {metric.kpi: look.at(store, metric, kpis[metric.kpi]) for metric in metrics}
        days = {
            metric.kpi: look.by_day(store, metric, kpis[metric.kpi], found) for metric in (metrics if by_day else ())
        }
    if as_json:
        print_json(
            {
                **_plain(name, found, judged, defined is not None),
                "control": control,
                "metrics": {kpi: [one.plain() for one in rows] for kpi, rows in compared.items()},
                **(
                    {"by_day": {kpi: [_plain_day(day) for day in rows] for kpi, rows in days.items()}} if by_day else {}
                ),
            }
        )
    else:
        _print(experiment, defined, found, judged, compared, metrics, kpis)
        for kpi, rows in days.items():
            _print_days(kpis[kpi], rows)
    if judged.mismatch:
        sys.exit(FOUND)


@experiments.command("check")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
def experiments_check(paths: tuple[Path, ...]) -> None:
    """Check definitions of experiments: the configured ones, and those in PATHS beside them.

    Exit codes: 0 all sound, 1 problems, each with file and line.
    """
    settings = load()
    found = _checked(settings, catalogue_of(settings), paths)
    echo(f"{len(found)} experiments, all sound")


@plain_errors
def _checked(settings: Settings, kpis: Catalogue, paths: tuple[Path, ...]) -> Mapping[str, Experiment]:
    return experiments_of(settings, kpis, paths)


def _metrics(experiment: Experiment, asked: tuple[str, ...], effect: float | None, kpis: Catalogue) -> list[Metric]:
    if effect is not None and (not asked or not is_measure(effect)):
        raise click.UsageError("--effect belongs to --kpi, and is above 0, neither tiny nor huge")
    if not asked:
        if not experiment.metrics:
            raise click.UsageError(f"{experiment.id!r} has no plan that says what it looks at: ask for a --kpi")
        return [*experiment.metrics]
    planned = {one.kpi: one for one in experiment.metrics}
    for name in asked:
        if not is_comparable(kpis, name):
            raise click.UsageError(f"{name!r} cannot be compared by customer: it is no sum, mean or share of events")
        if effect is None and name not in planned and kpis[name].unit not in _UNITS:
            unit = kpis[name].unit
            raise click.UsageError(f"--effect is missing: the smallest change of {name!r} that matters, in {unit}")
    # Of scales of a hundred a change of five is where surveys begin to be of use.
    return [planned.get(name) or Metric(name, 5.0) if effect is None else Metric(name, effect) for name in asked]


@contextmanager
def _asking(settings: Settings, start: When | None, end: When | None) -> Iterator[ExperimentStore]:
    """Open the store, to be asked about a span of time by whoever may only read."""
    zone = ZoneInfo(settings.zone)
    since = start.moment(zone) if start else EARLIEST
    until = end.moment(zone) if end else datetime.now(UTC)
    if until <= since:
        raise click.UsageError("--from is not before --to")
    with closing(connect(as_reader(address_of(settings), settings))) as client:
        yield ExperimentStore(client, since, until)


def _assignment_word(judged: ArmSplit) -> str:
    if judged.mismatch:
        return f"NOT AS PLANNED (p = {judged.p:.2g})"
    return "as planned" if judged.judged else f"too few to judge (n < {FEWEST_ASSIGNED})"


def _arms_text(found: Assigned, defined: Experiment | None) -> str:
    planned = dict(defined.arms) if defined else {}
    arms = [*planned, *(arm for arm in found.arms if arm not in planned)]
    return ", ".join(
        f"{arm} {found.arms.get(arm, 0):,}{'' if arm in planned or not planned else ' (not planned)'}" for arm in arms
    )


def _plain(name: str, found: Assigned, judged: ArmSplit, planned: bool) -> dict[str, Any]:
    return {
        "experiment": name,
        "arms": dict(found.arms),
        "crossed": found.crossed,
        "since": found.since.isoformat(),
        "until": found.until.isoformat(),
        "planned": planned,
        "chi2": judged.chi2,
        "p": judged.p,
        "judged": judged.judged,
        "mismatch": judged.mismatch,
    }


def _print(
    experiment: Experiment,
    defined: Experiment | None,
    found: Assigned,
    judged: ArmSplit,
    compared: Mapping[str, list[ArmResult]],
    metrics: Sequence[Metric],
    kpis: Catalogue,
) -> None:
    line(f"{experiment.id}: {experiment.question or 'nothing was planned: equal shares are assumed'}")
    line(f"customers: {_arms_text(found, defined)}; {_assignment_word(judged)}")
    if found.crossed:
        echo(f"{found.crossed:,} customers were seen in more than one arm, and are left out")
    if judged.mismatch:
        echo(
            f"By chance shares so far from the plan come less than once in {1 / MISMATCH_P:,.0f} experiments. What is"
            " below means nothing until it is known why: look for customers that one arm loses."
        )
    rows: list[tuple[str, ...]] = []
    for metric in metrics:
        kpi = kpis[metric.kpi]
        for one in compared[metric.kpi]:
            role = "guardrail" if metric.guardrail else "goal"
            rows.append(
                (
                    kpi.id, role, one.arm, f"{one.customers:,}", _amount(one.value, kpi),
                    _difference(one.difference, one.interval, kpi), one.verdict or _why_not(one, compared[metric.kpi]),
                    _difference(one.adjusted, one.adjusted_interval, kpi),
                )
            )  # fmt: skip
    columns = ("KPI", "ROLE", "ARM", "CUSTOMERS", "VALUE", "LESS CONTROL", "VERDICT", "ADJUSTED")
    if not any(row[-1] for row in rows):
        rows = [row[:-1] for row in rows]
    echo()
    echo(table(columns[: len(rows[0])], rows, least=("ROLE", "CUSTOMERS")))
    if len(rows[0]) == len(columns):
        echo(
            f"ADJUSTED: what customers had done in the {BEFORE.days} days before is taken out. Where it differs much"
            " from the other, the arms differed before the experiment began."
        )


def _why_not(one: ArmResult, all_of_it: Sequence[ArmResult]) -> str:
    return "control" if one is all_of_it[0] else f"too few customers (n < {FEWEST_KNOWN})"


def _amount(value: float | None, kpi: Kpi) -> str:
    return "" if value is None else f"{value:.4g}{'%' if kpi.unit == 'percent' else ''}"


def _difference(difference: float | None, interval: Interval | None, kpi: Kpi) -> str:
    if difference is None or interval is None:
        return ""
    unit = _UNITS.get(kpi.unit, kpi.unit)
    return f"{difference:+.3g} [{interval.lo:+.3g}, {interval.hi:+.3g}] {unit}"


class _Day(NamedTuple):
    """What was known at the end of a day of one arm less the control."""

    until: datetime
    arm: str
    interval: Interval
    all_days: Interval | None
    """What the intervals of all days so far have in common; None: nothing."""


class _Look:
    """Looks at the arms of one experiment, as far as a store knows of them."""

    def __init__(self, experiment: Experiment, control: str, zone: str) -> None:
        self._experiment, self._control, self._zone = experiment, control, ZoneInfo(zone)

    def at(self, store: ExperimentStore, metric: Metric, kpi: Kpi) -> list[ArmResult]:
        """Return what each arm is, the control first."""
        return compare(self._experiment, self._control, metric, kpi, store.compared(self._experiment.id, kpi))

    def by_day(self, store: ExperimentStore, metric: Metric, kpi: Kpi, found: Assigned) -> list[_Day]:
        """Look again as of the end of each day, the newest `_MOST_LOOKS` of them."""
        first = found.since.astimezone(self._zone).replace(hour=0, minute=0, second=0, microsecond=0)
        last = min(found.until, store.until).astimezone(self._zone)
        ends = [first + _DAY * number for number in range(1, (last - first).days + 2)][-_MOST_LOOKS:]
        seen: dict[str, list[Interval]] = {}
        days: list[_Day] = []
        for end in ends:
            for one in self.at(store.as_of(end.astimezone(UTC)), metric, kpi):
                if one.interval is not None:
                    intervals = seen.setdefault(one.arm, [])
                    intervals.append(one.interval)
                    days.append(_Day(end, one.arm, one.interval, intersection(intervals)))
        return days


def _plain_day(day: _Day) -> dict[str, Any]:
    return {
        "until": day.until.isoformat(),
        "arm": day.arm,
        "interval": [*day.interval],
        "all_days": None if day.all_days is None else [*day.all_days],
    }


def _print_days(kpi: Kpi, days: Sequence[_Day]) -> None:
    rows = [
        (f"{day.until - timedelta(seconds=1):%Y-%m-%d}", day.arm, _ends(day.interval), _ends(day.all_days))
        for day in days
    ]
    echo(f"\n{kpi.id} less control, as of the end of each day")
    echo(table(("DAY", "ARM", "THEN", "ALL DAYS SO FAR"), rows))


def _ends(interval: Interval | None) -> str:
    return "nothing in common" if interval is None else f"[{interval.lo:+.3g}, {interval.hi:+.3g}]"
