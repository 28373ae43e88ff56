"""`cx surveys coverage` and `bias`: whether enough customers are heard, and whether they are like all others."""

import sys
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from streams.asking.coverage import CoverageTally, StrataTally, TouchpointCoverage, occasions_of
from streams.asking.definition import ANSWERED, SurveyRules
from streams.asking.weighting import FEWEST_ANSWERS, SurveyBias, WeightedShare, weigh
from streams.commands.arguments import KpiIdType, MomentType, When
from streams.commands.output import FOUND, as_json_option, plain_errors, print_json, table
from streams.commands.printing import echo, line
from streams.commands.surveys_decide import rules_option, span_of, survey_history, to_option
from streams.definitions import catalogue_of, survey_rules_of
from streams.kpis.arithmetic.intervals import wilson
from streams.kpis.language.definition import Kpi
from streams.kpis.language.expressions import suggest
from streams.relations.definition import NOTHING_KEPT, compiled
from streams.relations.facts import milliseconds
from streams.settings import Settings, load

_GROUPS: Final = ("channel", "segment", "region", "touchpoint", "unitid")

_month_option = click.option(
    "--from", "start", type=MomentType(), default="-30d", show_default=True, help="Start, included."
)


@click.command("coverage")
@rules_option
@_month_option
@to_option
@as_json_option
@plain_errors
def surveys_coverage(*, paths: tuple[Path, ...], start: When, end: When | None, as_json: bool) -> None:
    """Hold answers against the plan, by touchpoint.

    RESPONSE is of those asked, HEARD of all occasions, with 95 % intervals; of the ANSWERS about one matter the last
    counts. Exit codes: 0 all plans are met, 3 one or more are not.
    """
    settings = load()
    rules = survey_rules_of(settings, paths)
    since, until = span_of(settings, start, end)
    tally = CoverageTally(rules, milliseconds(until) - milliseconds(since))
    with survey_history(settings, since, until) as store:
        for subject, facts in store.customers(rules.reader()):
            tally.add(occasions_of(rules, subject, facts))
        active = store.touchpoints()
    found = tally.touchpoints()
    silent = {name: customers for name, customers in active.items() if name not in {one.touchpoint for one in found}}
    if as_json:
        print_json(
            {
                "from": since.isoformat(), "to": until.isoformat(),
                "touchpoints": [_plain_coverage(one, active) for one in found],
                "without_survey": silent, "invitations_without_occasion": dict(tally.unasked_for),
            }
        )  # fmt: skip
    else:
        rows = [
            (
                one.touchpoint, f"{one.occasions:,}", f"{one.asked:,}", f"{one.answered:,}",
                _share(one.answered, one.asked), _share(one.answered, one.occasions), f"{one.answers:,}",
                "" if one.wanted is None else f"{one.wanted:,}", one.advice() or ("met" if one.on_plan else "no plan"),
            )
            for one in found
        ]  # fmt: skip
        zone, days = ZoneInfo(settings.zone), (until - since).total_seconds() / 86_400
        echo(f"{since.astimezone(zone):%Y-%m-%d %H:%M} to {until.astimezone(zone):%Y-%m-%d %H:%M}, {days:.1f} days")
        columns = ("TOUCHPOINT", "OCCASIONS", "ASKED", "ANSWERED", "RESPONSE", "HEARD", "ANSWERS", "PLAN", "VERDICT")
        echo(table(columns, rows, least=("ANSWERED", "HEARD")))
        planned = [one for one in found if one.wanted is not None]
        echo(f"{sum(bool(one.on_plan) for one in planned)} of {len(planned)} touchpoints with a plan meet it")
        if silent:
            listed = ", ".join(f"{name} {customers:,}" for name, customers in [*silent.items()][:8])
            line(f"no survey asks at {len(silent)} touchpoints where customers were, the most at {listed}")
        if tally.unasked_for:
            named = ", ".join(f"{name} {count:,}" for name, count in tally.unasked_for.most_common())
            line(f"invitations that belong to no occasion of the rules: {named}")
    if any(one.on_plan is False for one in found):
        sys.exit(FOUND)


def _plain_coverage(one: TouchpointCoverage, active: dict[str, int]) -> dict[str, Any]:
    return {
        "touchpoint": one.touchpoint, "surveys": one.surveys, "customers": active.get(one.touchpoint, 0),
        "occasions": one.occasions, "asked": one.asked, "answered": one.answered,
        "response": _plain_share(one.answered, one.asked), "heard": _plain_share(one.answered, one.occasions),
        "answers": one.answers, "wanted": one.wanted, "on_plan": one.on_plan, "advice": one.advice() or None,
    }  # fmt: skip


def _plain_share(hits: int, n: int) -> dict[str, float] | None:
    if not n:
        return None
    lo, hi = wilson(hits, n)
    return {"percent": 100 * hits / n, "lo": 100 * lo, "hi": 100 * hi, "n": n}


def _share(hits: int, n: int) -> str:
    share = _plain_share(hits, n)
    return "no data" if share is None else f"{share['percent']:.1f}% [{share['lo']:.1f}, {share['hi']:.1f}]"


@click.command("bias")
@click.option("--kpi", "kpi_id", default="csat", show_default=True, type=KpiIdType(), help="A share of answers.")
@click.option("--by", default="channel", show_default=True, type=click.Choice(_GROUPS), help="The groups.")
@click.option("--survey", "only", multiple=True, help="Only this survey; repeatable.  [default: all]")
@click.option(
    "--fewest", default=FEWEST_ANSWERS, show_default=True, type=click.IntRange(1), help="Answers of a covered group."
)
@rules_option
@_month_option
@to_option
@as_json_option
@plain_errors
def surveys_bias(
    *,
    kpi_id: str,
    by: str,
    only: tuple[str, ...],
    fewest: int,
    paths: tuple[Path, ...],
    start: When,
    end: When | None,
    as_json: bool,
) -> None:
    """Weight answers by who was served: does who answers flatter?

    Each group counts by its occasions instead of its answers. That costs certainty: the interval shows it, and
    "effective answers" say of how many evenly drawn answers it would be as wide.
    """
    settings = load()
    rules = survey_rules_of(settings, paths)
    kpi = _share_of_answers(settings, kpi_id)
    names = _chosen(rules, only)
    since, until = span_of(settings, start, end)
    grouped = rules.grouped_by(by)
    assert kpi.hits is not None
    counts, hits = compiled(kpi.of.where), compiled(kpi.hits.where)
    tally = StrataTally(
        names, lambda fact: bool(counts(fact, NOTHING_KEPT)), lambda fact: bool(hits(fact, NOTHING_KEPT))
    )
    reader = grouped.reader(kpi.of.where.fields | kpi.hits.where.fields)
    with survey_history(settings, since, until) as store:
        for subject, facts in store.customers(reader):
            tally.add(occasions_of(grouped, subject, facts))
    strata = [*tally.strata()]
    found = weigh(strata, fewest)
    if as_json:
        print_json(
            {
                "kpi": kpi.id, "by": by, "surveys": names,
                "strata": [{"group": one.name, "served": one.served, "answers": one.answers,
                            "percent": None if one.share is None else 100 * one.share,
                            "weight": found.weight(one.name)} for one in strata],
                "answers": found.answers, "naive": None if found.naive is None else 100 * found.naive,
                "weighted": _plain_weighted(found.weighted), "covered": _plain_weighted(found.covered),
                "not_covered": found.not_covered, "covered_percent": 100 * found.covered_share,
            }
        )  # fmt: skip
        return
    rows = [
        (
            one.name, f"{one.served:,}", f"{one.answers:,}", _share(one.answers, one.served),
            "no data" if one.share is None else f"{100 * one.share:.1f}%",
            "" if (weight := found.weight(one.name)) is None else f"{weight:.2f}",
        )
        for one in strata
    ]  # fmt: skip
    echo(table((by.upper(), "OCCASIONS", "ANSWERS", "RESPONSE", kpi.id.upper(), "WEIGHT"), rows, least=("RESPONSE",)))
    _print_bias(kpi, found)


def _share_of_answers(settings: Settings, name: str) -> Kpi:
    """
    Return a KPI that is a share of answers to surveys.

    Raises:
        click.UsageError: There is none of that name, or it is something else.
    """
    kpis = catalogue_of(settings)
    if name not in kpis:
        raise click.UsageError(f"no KPI {name!r}{suggest(name, kpis.kpis)}")
    kpi = kpis[name]
    if kpi.derive or kpi.aggregator != "ratio" or not kpi.nested or {*kpi.of.events} != {ANSWERED}:
        raise click.UsageError(f"{name!r} is no share of answers to surveys, as csat and ces are")
    return kpi


def _chosen(rules: SurveyRules, only: tuple[str, ...]) -> list[str]:
    names = [one.id for one in rules.surveys.values() if not one.review]
    for name in only:
        if name not in names:
            raise click.UsageError(f"no survey {name!r}{suggest(name, names)}")
    return [*only] or names


def _plain_weighted(one: WeightedShare | None) -> dict[str, float] | None:
    if one is None:
        return None
    return {
        "percent": 100 * one.value, "se": 100 * one.se, "lo": 100 * one.lo, "hi": 100 * one.hi,
        "effective_n": one.effective_n,
    }  # fmt: skip


def _print_bias(kpi: Kpi, found: SurveyBias) -> None:
    echo()
    if found.naive is None:
        echo("no answer belongs to an occasion of that time")
        return
    echo(f"{kpi.id} of all answers     {100 * found.naive:.1f}%  (n = {found.answers:,})")
    for what, one in (("weighted", found.weighted), ("of covered groups", found.covered)):
        if one is not None and (one is found.weighted or found.not_covered):
            echo(
                f"{kpi.id} {what:19}{100 * one.value:.1f}% [{100 * one.lo:.1f}, {100 * one.hi:.1f}]"
                f"  ({one.effective_n:,.0f} effective answers)"
            )
    if found.not_covered:
        line(
            f"too few answers to speak for: {', '.join(found.not_covered)}. The covered groups are"
            f" {100 * found.covered_share:.1f} % of the occasions"
        )
