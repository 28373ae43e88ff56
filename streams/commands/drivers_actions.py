"""`cx drivers actions`: what to do first about drivers of satisfaction, and what that rests on."""

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from streams.commands.arguments import EARLIEST, When
from streams.commands.drivers_common import (
    ASSOCIATION,
    ends,
    from_option,
    outcome_option,
    plain_association,
    plain_stored,
    print_stored,
    until_option,
)
from streams.commands.output import as_json_option, plain_errors, print_json, table, wrapped
from streams.commands.printing import echo, line
from streams.definitions import catalogue_of, experiments_of
from streams.drivers.actions import Heard, JudgedAction, Proven, judge_actions
from streams.drivers.definition import DRIVERS, OUTCOMES
from streams.drivers.plans import ActionPlan, load_actions
from streams.experiments.comparing import assignment_of, compare
from streams.experiments.definition import Metric
from streams.settings import Settings, load
from streams.shipped import ACTIONS
from streams.storage.connection import address_of, connect
from streams.storage.driver_actions import JudgedRun, action_rows
from streams.storage.drivers import StoredAnswers, answers_of, worths_of
from streams.storage.experiments import ExperimentStore
from streams.storage.queries import as_reader
from streams.storage.writer import Writer
from streams.wording.numbers import compact

_UNITS: Final = {driver.name: f" {driver.unit}" if driver.unit else "" for driver in DRIVERS}
_KPIS: Final = {"csat": "csat", "satisfied": "csat", "nps": "nps", "ces": "ces"}
"""Which KPI of an experiment tells of an outcome."""
_MATTERS: Final = 5.0
"""The smallest change of these KPIs that matters, where an experiment plans none: as `cx experiments show` has it."""

_LARGE: Final = 1e6
"""From here on amounts are told in millions."""


@click.command("actions")
@outcome_option
@from_option
@until_option
@click.option(
    "--actions", "paths", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="A file or folder of actions; repeatable.  [default: CX_ACTIONS_PATH, else those shipped]",
)  # fmt: skip
@click.option("--publish", is_flag=True, help="Store what is found, for the dashboard and the live page.")
@as_json_option
@plain_errors
def drivers_actions(
    outcome: str, *, start: When | None, end: When | None, paths: tuple[Path, ...], publish: bool, as_json: bool
) -> None:
    """Rank actions by what they would go with, for how many customers, at what value and effort.

    The place of an action is points for each customer, times customers a month, times money of each a month, by days of
    work. What is not sure at a share of false discoveries of 5 % has no place.

    Exit codes: 0 ranked, 1 there is too little data, a definition is wrong, or the store cannot be queried.
    """
    settings = load()
    plans = plans_of(settings, paths)
    zone = ZoneInfo(settings.zone)
    since = start.moment(zone) if start else EARLIEST
    until = end.moment(zone) if end else datetime.now(UTC)
    if until <= since:
        raise click.UsageError("the start is not before the end")
    try:
        found, currency, judged = actions_between(settings, outcome, plans, since, until)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if publish:
        _publish(settings, outcome, found, judged, currency)
    if as_json:
        print_json({
            **plain_stored(outcome, found), "currency": currency,
            "association_only": all(one.basis == "association" for one in judged),
            "actions": [plain_action(one) for one in judged],
        })  # fmt: skip
        return
    print_stored(outcome, found)
    _print(judged, currency)
    if any(one.basis == "association" for one in judged):
        echo(ASSOCIATION)


def _publish(
    settings: Settings, outcome: str, found: StoredAnswers, judged: Sequence[JudgedAction], currency: str | None
) -> None:
    """Store a run."""
    first, last = (datetime.fromtimestamp(int(at), UTC) for at in (found.times.min(), found.times.max()))
    now = datetime.now(UTC)
    run = JudgedRun(now, outcome, OUTCOMES[outcome].unit, first, last, len(found.times))
    with closing(Writer(address_of(settings))) as writer:
        writer.insert_actions([*action_rows(run, judged, currency)], f"driver_actions-{outcome}-{now.isoformat()}")


def plans_of(settings: Settings, paths: Sequence[Path] = ()) -> Sequence[ActionPlan]:
    """
    Return what would be done about drivers, of the paths or of the settings; what is shipped if there is nothing.

    Raises:
        CatalogueError: An action, or an experiment that it may name, cannot be right.
    """
    own = [Path(part) for part in settings.actions_path.split(os.pathsep) if part]
    arms = {name: [*one.arms] for name, one in experiments_of(settings, catalogue_of(settings)).items()}
    return load_actions(paths or own or [ACTIONS], DRIVERS, arms)


def actions_between(
    settings: Settings, outcome: str, plans: Sequence[ActionPlan], since: datetime, until: datetime
) -> tuple[StoredAnswers, str | None, list[JudgedAction]]:
    """
    Return the answers of a span, the currency of what they are worth, if any, and what is known of each action.

    Raises:
        ValueError: Too little is known.
        PermanentStorageError, UnreachableError: The store cannot be queried.
    """
    with closing(connect(as_reader(address_of(settings), settings))) as client:
        found = answers_of(client, outcome, since, until)
        worths = worths_of(client, found)
        proven = proven_by(ExperimentStore(client, since, until), settings, plans, _KPIS[outcome])
    heard = Heard(found.answers, found.times, found.drawn, worths[1] if worths else None)
    return found, worths[0] if worths else None, judge_actions(heard, DRIVERS, plans, proven)


def proven_by(
    store: ExperimentStore, settings: Settings, plans: Sequence[ActionPlan], name: str
) -> Mapping[str, Proven]:
    """
    Return by action what its experiment says of a KPI; of one that shared customers out wrongly, nothing.

    Raises:
        PermanentStorageError, UnreachableError: The store cannot be queried.
    """
    asked = [plan for plan in plans if plan.experiment]
    if not asked:
        return {}
    kpis = catalogue_of(settings)
    defined, assigned = experiments_of(settings, kpis), store.assigned()
    found = {}
    for plan in asked:
        experiment, arms = defined[plan.experiment], assigned.get(plan.experiment)
        if arms is None:
            found[plan.id] = Proven(name, None, None, None, "nobody is in it yet")
        elif assignment_of(experiment.arms, arms.arms).mismatch:
            found[plan.id] = Proven(name, None, None, None, "customers are not shared out as planned")
        else:
            metric = next((one for one in experiment.metrics if one.kpi == name), Metric(name, _MATTERS))
            control = next(iter(experiment.arms))
            results = compare(experiment, control, metric, kpis[name], store.compared(plan.experiment, kpis[name]))
            mine = next((one for one in results if one.arm == plan.arm), None)
            found[plan.id] = Proven(name, None, None, None, "too few customers")
            if mine is not None and mine.difference is not None:
                lo, hi = mine.interval or (None, None)
                found[plan.id] = Proven(name, mine.difference, lo, hi, mine.verdict)
    return found


def _print(judged: Sequence[JudgedAction], currency: str | None) -> None:
    ranked = [one for one in judged if one.plan and one.standing == "ranked"]
    money = f"{currency or 'money'} a month" if any(one.money is not None for one in judged) else ""
    if ranked:
        echo()
        rows = [
            (
                one.plan.id, _brought(one), one.plan.owner, f"{one.plan.days:g}", ends(one.gain),
                f"{one.each.value:+.2f}" if one.each else "", f"{one.touched:,.0f}",
                _large(one.money, 2),
                _large(one.at_stake, 0), _large(one.score, 1),
            )
            for one in ranked
            if one.plan
        ]  # fmt: skip
        columns = (
            "ACTION", "BRING", "OWNER", "DAYS", "GAIN OF THE MEAN", "EACH", "CUSTOMERS", "MONEY OF EACH", "AT STAKE",
            "WORTH/DAY",
        )  # fmt: skip
        echo(table(columns, rows, least=("MONEY OF EACH", "EACH", "AT STAKE", "OWNER", "CUSTOMERS")))
        echo(
            wrapped(
                f"WORTH/DAY = EACH × customers a month{' × MONEY OF EACH' if money else ''} / DAYS;"
                f" {f'money in {money}' if money else 'nothing is known of money: customers count alike'}", 2
            )
        )  # fmt: skip
    for standing, title in (("without a plan", "SURE, BUT NOBODY HAS A PLAN"), ("not sure yet", "NOT SURE YET")):
        if some := [(_named(one), ends(one.gain), one.why) for one in judged if one.standing == standing]:
            echo()
            echo(table((title, "GAIN OF THE MEAN", "WHY"), some))
    for one in judged:
        if one.plan and one.proven:
            line(f"{one.plan.id}: experiment {one.plan.experiment}, {one.plan.arm}: {_experiment(one.proven)}")


def _large(value: float | None, places: int) -> str:
    if value is None:
        return ""
    return compact(value, "en").replace("\u202f", " ") if abs(value) >= _LARGE else f"{value:,.{places}f}"


def _named(one: JudgedAction) -> str:
    return f"{one.plan.id}, {_brought(one)}" if one.plan else _brought(one)


def _brought(one: JudgedAction) -> str:
    unit = _UNITS[one.driver]
    start = "" if one.now is None else f" {one.now:.3g}{unit}"
    return f"{one.driver}{start} → {one.to}" if one.to else one.driver


def _experiment(proven: Proven) -> str:
    if proven.difference is None or proven.lo is None or proven.hi is None:
        return proven.verdict
    return f"{proven.kpi} {proven.difference:+.3g} [{proven.lo:+.3g}, {proven.hi:+.3g}], {proven.verdict}"


def plain_action(one: JudgedAction) -> dict[str, Any]:
    """Return an action as JSON has it."""
    plan, proven = one.plan, one.proven
    return {
        "action": plan.id if plan else None,
        "driver": one.driver,
        "how": plan.how if plan else None,
        "owner": plan.owner if plan else None,
        "effort": plan.effort if plan else None,
        "effort_days": plan.days if plan else None,
        "standing": one.standing,
        "why": one.why or None,
        "from_median": one.now,
        "brought_to": one.to or None,
        "gain": plain_association(one.gain),
        "each": plain_association(one.each),
        "q": one.q,
        "customers_a_month": one.touched,
        "money_of_each_a_month": one.money,
        "value_at_stake_a_month": one.at_stake,
        "points_a_month": one.points,
        "worth_a_day": one.score,
        "together_with": one.together,
        "basis": one.basis,
        "experiment": None if plan is None or proven is None else {
            "id": plan.experiment, "arm": plan.arm, **proven._asdict(),
        },
    }  # fmt: skip
