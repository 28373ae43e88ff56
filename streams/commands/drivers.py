"""`cx drivers`: what goes with satisfaction, how much, and what less of it would go with."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from streams.commands.arguments import MomentType, NumberRange, When
from streams.commands.drivers_actions import drivers_actions
from streams.commands.drivers_change import drivers_change, drivers_changes
from streams.commands.drivers_common import (
    ASSOCIATION,
    ends,
    from_option,
    outcome_option,
    plain_association,
    plain_stored,
    print_stored,
    stored,
    until_option,
)
from streams.commands.drivers_picture import SUFFIXES, draw_ranking
from streams.commands.output import as_json_option, plain_errors, print_json, table
from streams.commands.picture import PictureError
from streams.commands.printing import echo
from streams.drivers.definition import DRIVERS, OUTCOMES
from streams.drivers.levels import level_names
from streams.drivers.ranking import by_label, rank, what_if, within
from streams.drivers.results import Ranked, Ranking, WhatIf
from streams.drivers.strata import StratifiedDifference
from streams.storage.drivers import LABELS

_NAMES = [driver.name for driver in DRIVERS]


@click.group()
def drivers() -> None:
    """Rank what goes with satisfaction, and say what less of it would go with.

    Made of the view `experience`: each answer beside what its customer had lived through. docs/DRIVERS.md tells of the
    rest.

    \b
    Examples:
      cx drivers rank --outcome csat --from -90d
      cx drivers rank --outcome nps --by segment
      cx drivers show wait_s --by touchpoint
      cx drivers what-if --driver wait_s --to 120
      cx drivers actions
      cx drivers change checkout --kpi csat --where channel=web --control channel=store
    """


drivers.add_command(drivers_actions)
drivers.add_command(drivers_changes)
drivers.add_command(drivers_change)


@drivers.command("list")
@as_json_option
def drivers_list(*, as_json: bool) -> None:
    """List the drivers that are known of, and the levels in which they are looked at."""
    known = [(one.name, level_names(one.cuts, one.unit), one.about) for one in DRIVERS]
    if as_json:
        print_json([{"driver": name, "levels": levels, "about": about} for name, levels, about in known])
    else:
        rows = [(name, ", ".join(levels), about) for name, levels, about in known]
        echo(table(("DRIVER", "LEVELS", "WHAT"), rows))


@drivers.command("rank")
@outcome_option
@from_option
@click.option("--to", "--until", "end", type=MomentType(), help="End, not included.  [default: now]")
@click.option("--by", type=click.Choice(LABELS), help="Rank within each of these, and tell where effects differ.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw into FILE.png or .svg.")
@as_json_option
@plain_errors
def drivers_rank(
    outcome: str, *, start: When | None, end: When | None, by: str | None, picture: Path | None, as_json: bool
) -> None:
    """Rank drivers by what the mean would gain if nobody met more than the least of them.

    All drivers are in one model, with channel, touchpoint, segment and region held equal; 95 % intervals, customers
    being the independent units.

    Exit codes: 0 ranked, 1 there is too little data, or the store cannot be queried.
    """
    if picture is not None and picture.suffix not in SUFFIXES:
        raise click.UsageError(f"--picture {picture.name!r}: expected a name that ends with {' or '.join(SUFFIXES)}")
    with stored(outcome, start, end) as found:
        ranking = rank(found.answers, DRIVERS)
        apart = None if by is None else by_label(found.answers, DRIVERS, [*found.answers.held[by]])
    if picture is not None:
        _draw(ranking, outcome, picture)
    if as_json:
        whole = {**plain_stored(outcome, found), **_plain_ranking(ranking)}
        if apart is not None:
            whole["by"] = {label: _plain_ranking(one) for label, one in apart[0].items()}
            whole["differs_q"] = apart[1]
        print_json(whole)
        return
    print_stored(outcome, found)
    if apart is None:
        _print_ranking(ranking)
    else:
        _print_apart(ranking, *apart)
    echo(ASSOCIATION)


@drivers.command("show")
@click.argument("name", type=click.Choice(_NAMES))
@outcome_option
@click.option("--by", type=click.Choice(LABELS), default="touchpoint", show_default=True, help="Strata to compare in.")
@from_option
@until_option
@as_json_option
@plain_errors
def drivers_show(name: str, *, outcome: str, by: str, start: When | None, end: When | None, as_json: bool) -> None:
    """Show one driver: its levels, and the difference it makes pooled and within strata.

    Where pooled and stratified differences contradict each other, the mix of strata makes the pooled one.

    Exit codes: 0 shown, 1 there is too little data, or the store cannot be queried.
    """
    with stored(outcome, start, end) as found:
        [driver] = [one for one in rank(found.answers, DRIVERS).drivers if one.driver == name]
        strata = None
        if driver.limit is not None:
            strata = within(found.answers, name, driver.limit, [*found.answers.held[by]])
    if as_json:
        print_json({**plain_stored(outcome, found), **_plain_driver(driver), "by": by, "strata": _plain_strata(strata)})
        return
    print_stored(outcome, found)
    echo(f"{name}: {driver.verdict}")
    if not driver.levels:
        return
    effects = driver.by_level or {}
    rows = [
        (
            one.name,
            f"{one.n:,}",
            f"{one.mean:.2f}",
            (ends(effects[one.name]) or "not known") if one.name in effects else "compared with",
        )
        for one in (*driver.levels, *([driver.not_met] if driver.not_met else []))
    ]
    echo(table(("LEVEL", "ANSWERS", "MEAN", "EFFECT, THE OTHERS HELD EQUAL"), rows))
    _print_strata(strata, driver, by)
    echo(ASSOCIATION)


@drivers.command("what-if")
@click.option("--driver", "name", type=click.Choice(_NAMES), required=True)
@click.option("--to", "limit", type=NumberRange(), required=True, help="What it is brought down to, in its unit.")
@outcome_option
@from_option
@until_option
@as_json_option
@plain_errors
def drivers_what_if(
    name: str, *, limit: float, outcome: str, start: When | None, end: When | None, as_json: bool
) -> None:
    """Say what goes with bringing everybody above a limit to the level just below it.

    Exit codes: 0 said, 1 there is too little data beside the limit, or the store cannot be queried.
    """
    with stored(outcome, start, end) as found:
        result = what_if(found.answers, DRIVERS, name, limit)
    if as_json:
        print_json({**plain_stored(outcome, found), **_plain_what_if(result)})
        return
    print_stored(outcome, found)
    _print_what_if(result, limit, outcome, float(found.answers.outcome.mean()))
    echo(ASSOCIATION)


def _draw(ranking: Ranking, outcome: str, picture: Path) -> None:
    try:
        drawn = draw_ranking(ranking, outcome, OUTCOMES[outcome].unit, picture)
    except (PictureError, OSError) as error:
        raise click.ClickException(str(error)) from error
    echo(f"{picture}: {drawn} drivers drawn", err=True)


def _print_ranking(ranking: Ranking) -> None:
    echo(f"{100 * ranking.r2:.0f} % of what differs between answers goes with drivers and what is held equal\n")
    rows = [
        (
            one.driver, one.goal, f"{one.customers:,}" if one.levels else "", ends(one.effect), ends(one.gain),
            _probability(one.q), "" if one.alone is None else f"{one.alone:+.2f}", one.verdict,
        )
        for one in ranking.drivers
    ]  # fmt: skip
    columns = ("DRIVER", "BROUGHT TO", "AFFECTED", "EFFECT ON THEM", "GAIN OF THE MEAN", "Q", "ALONE", "VERDICT")
    echo(table(columns, rows, least=("ALONE", "BROUGHT TO", "EFFECT ON THEM")))
    for names, gain in ranking.together.items():
        all_of_it = ends(gain) or "not known"
        echo(f"{' and '.join(names)} move together: at their lowest {all_of_it}")


def _print_apart(whole: Ranking, rankings: Mapping[str, Ranking], differs: Mapping[str, float | None]) -> None:
    if not rankings:
        raise click.ClickException("none of these has answers enough to be ranked on its own")
    rows = []
    for driver in whole.drivers:
        for label, ranking in rankings.items():
            [one] = [found for found in ranking.drivers if found.driver == driver.driver]
            rows.append(
                (
                    one.driver, label or "(none)", f"{one.customers:,}" if one.levels else "", ends(one.effect),
                    _probability(differs[one.driver]), one.verdict,
                )
            )  # fmt: skip
    echo(
        table(
            ("DRIVER", "WHERE", "AFFECTED", "EFFECT ON THEM", "Q OF DIFFERENCE", "VERDICT"), rows, least=("AFFECTED",)
        )
    )


def _print_strata(strata: StratifiedDifference[str] | None, driver: Ranked, by: str) -> None:
    if strata is None:
        return
    echo(f"\nabove less {driver.goal}, the first answer of each customer:")
    if strata.pooled is not None and strata.pooled_ends is not None:
        low, high = strata.pooled_ends
        echo(f"  pooled: {strata.pooled:+.2f} [{low:+.2f}, {high:+.2f}]")
    if strata.value is not None and strata.ends is not None:
        low, high = strata.ends
        echo(f"  within each {by}, nothing else held equal: {strata.value:+.2f} [{low:+.2f}, {high:+.2f}]")
    echo(f"  {strata.verdict}")
    if left_out := sum(strata.left_out.values()):
        echo(f"  {left_out:,} answers of a {by} that has one side only are left out")


def _print_what_if(result: WhatIf, limit: float, outcome: str, mean: float) -> None:
    unit = OUTCOMES[outcome].unit
    if result.gain is None or result.each is None:
        raise click.ClickException(f"{result.driver} always comes with others: nothing is known of it alone")
    echo(f"\n{result.driver} above {limit:g} brought to {result.to}: {outcome} {ends(result.gain)} {unit}")
    echo(f"  from {mean:.2f} to {mean + result.gain.value:.2f}")
    echo(f"  touched: {result.touched:,} answers of {result.customers:,} customers, {ends(result.each)} each")
    echo(f"  with nothing held equal: {ends(result.alone)}")
    if result.together:
        echo(f"  it moves together with {', '.join(result.together)}: the gain may be theirs")
    rows = [
        (one.name, f"{one.n:,}", f"{one.mean:.2f}", f"{result.alone.by_level.get(one.name, 0.0):+.2f}")
        for one in result.levels
    ]
    echo(table(("LEVEL", "ANSWERS", "MEAN", "GAIN WITH NOTHING HELD EQUAL"), rows))


def _probability(q: float | None) -> str:
    return "" if q is None else "<0.001" if q < 0.001 else f"{q:.3f}"


def _plain_ranking(ranking: Ranking) -> dict[str, Any]:
    return {
        "r2": ranking.r2,
        "drivers": [_plain_driver(one) for one in ranking.drivers],
        "together": [{"drivers": names, "gain": plain_association(gain)} for names, gain in ranking.together.items()],
    }


def _plain_driver(one: Ranked) -> dict[str, Any]:
    return {
        "driver": one.driver,
        "brought_to": one.goal or None,
        "affected_answers": one.affected,
        "affected_customers": one.customers,
        "effect": plain_association(one.effect),
        "gain": plain_association(one.gain),
        "effect_by_level": {name: plain_association(effect) for name, effect in (one.by_level or {}).items()},
        "levels": [level._asdict() for level in one.levels],
        "not_met": None if one.not_met is None else one.not_met._asdict(),
        "alone": one.alone,
        "q": one.q,
        "kept": one.kept,
        "together_with": one.together,
        "verdict": one.verdict,
    }


def _plain_what_if(result: WhatIf) -> dict[str, Any]:
    return {
        "driver": result.driver,
        "brought_to": result.to,
        "gain": plain_association(result.gain),
        "each": plain_association(result.each),
        "alone": result.alone._asdict(),
        "affected_answers": result.touched,
        "affected_customers": result.customers,
        "levels": [level._asdict() for level in result.levels],
        "together_with": result.together,
    }


def _plain_strata(strata: StratifiedDifference[str] | None) -> dict[str, Any] | None:
    return None if strata is None else dataclasses.asdict(strata)
