"""`cx value`: what customers are worth, who stays, who comes back, from stored orders."""

import sys
from typing import get_args
from zoneinfo import ZoneInfo

import click

from streams.commands.arguments import MomentType, MonthType, NumberRange, When
from streams.commands.output import FOUND, plain_errors, print_json
from streams.commands.printing import echo
from streams.commands.value_common import (
    common,
    history_option,
    known_orders,
    limits_of,
    period_of,
    reading,
    span_of,
)
from streams.commands.value_output import (
    plain_cohort,
    plain_known,
    plain_model,
    plain_period,
    plain_tier,
    print_cohorts,
    print_models,
    print_period,
    print_tiers,
)
from streams.commands.value_publish import value_publish
from streams.settings import load
from streams.storage.customer_value import stored_scores
from streams.value.loyalty import cohorts
from streams.value.periods import value_of
from streams.value.risk import checked_models
from streams.value.tiers import TierBasis, tiers
from streams.value.worth import worth_of

_NOBODY = "no order of that time is stored"


@click.group()
def value() -> None:
    """Show what customers are worth: retention, cohorts, lifetime value, tiers, from stored orders.

    Orders are those of web, app and call center, and receipts of stores, less what was given back; a customer is one
    subject, on whatever channel. Currencies are never added up. docs/VALUE.md defines every number.

    \b
    Examples:
      cx value summary
      cx value summary --month 1404-08 --calendar jalali --margin 0.25
      cx value cohorts --to 2026-03-01
      cx value tiers --by revenue --limits 50,80 --customers
      cx value risk
      cx value publish
    """


@value.command("summary")
@click.option(
    "--month", type=MonthType(), help="Of the calendar, e.g. 2026-03 or 1404-12.  [default: the last whole one]"
)
@click.option("--from", "start", type=MomentType(), help="Instead of --month: start, included.")
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="To come back in.")
@click.option("--margin", type=NumberRange(0, 1), default=1.0, show_default=True, help="Of revenue, 0 to 1.")
@click.option("--lifespan", type=NumberRange(0, 100), help="Years a customer stays, for the simple formula.")
@history_option
@common
@plain_errors
def value_summary(
    *,
    month: str | None,
    start: When | None,
    end: When | None,
    days: int,
    margin: float,
    lifespan: float | None,
    history: When | None,
    zone: str | None,
    calendar: str | None,
    as_json: bool,
) -> None:
    """Show retention, churn, return and the worth of customers in a month, or from --from to --to.

    Start customers are those who bought in the period before: the month before, or as long a time before --from.

    Exit codes: 0 shown, or nothing is stored; 1 the store cannot be queried.
    """
    if month and (start or end):
        raise click.UsageError("--month is itself from and to: leave out --from and --to")
    if end and not start:
        raise click.UsageError("--to needs --from; or ask for a --month")
    known = known_orders(zone, calendar, history, None)
    if known is None:
        _nothing(as_json)
        return
    found = value_of(
        known.purchases, period_of(known, month, start, end), known.as_of, known.steps.zone,
        days=days, margin=margin, lifespan=lifespan,
    )  # fmt: skip
    if as_json:
        print_json({**plain_period(found), **plain_known(known)})
    else:
        print_period(found, known)


@value.command("cohorts")
@history_option
@common
@plain_errors
def value_cohorts(
    *, history: When | None, end: When | None, zone: str | None, calendar: str | None, as_json: bool
) -> None:
    """Show customers by the month of their first purchase, and how many of them buy in each month after it.

    A month that is not over stands in brackets. JSON has the number of customers, the interval and the revenue of each.

    Exit codes: 0 shown, or nothing is stored; 1 the store cannot be queried.
    """
    known = known_orders(zone, calendar, history, end)
    if known is None:
        _nothing(as_json)
        return
    found = cohorts(known.purchases, known.steps.zone, known.steps.calendar, known.as_of)
    if as_json:
        print_json({"cohorts": [plain_cohort(one) for one in found], **plain_known(known)})
        return
    print_cohorts(found, known)


@value.command("tiers")
@click.option("--from", "start", type=MomentType(), help="Start, included.  [default: all there is]")
@click.option("--by", "basis", type=click.Choice(get_args(TierBasis)), default="customers", show_default=True,
              help="Of what --limits are percents.")  # fmt: skip
@click.option("--limits", help="Where tiers end, e.g. 10,30.  [default: 20,50 of customers, 50,80 of revenue]")
@click.option("--customers", "named", is_flag=True, help="Also each customer with its tier.")
@common
@plain_errors
def value_tiers(
    *,
    start: When | None,
    end: When | None,
    basis: TierBasis,
    limits: str | None,
    named: bool,
    zone: str | None,
    calendar: str | None,
    as_json: bool,
) -> None:
    """Show customers in tiers by what they brought, the most valuable first, for each currency by itself.

    By customers the first tier is the best 20 %, by revenue the fewest who together bring 50 %. Ties go by id.

    Exit codes: 0 shown, or nothing is stored; 1 the store cannot be queried.
    """
    ends = limits_of(limits, basis)
    known = known_orders(zone, calendar, start, end)
    if known is None:
        _nothing(as_json)
        return
    worths = {
        currency: {customer: one.value for customer, one in customers.items()}
        for currency, customers in worth_of(known.purchases).items()
    }
    found = {currency: tiers(values, basis, ends) for currency, values in worths.items()}
    if as_json:
        plain = {
            currency: [plain_tier(one, worths[currency] if named else None) for one in rows]
            for currency, rows in found.items()
        }
        print_json({"by": basis, "limits": ends, "tiers": plain, **plain_known(known)})
        return
    print_tiers(found, worths if named else None, known)


@value.command("risk")
@click.option("--from", "start", type=MomentType(), help="Scores from then on.  [default: all there are]")
@click.option("--horizon", type=NumberRange(1, 3650), default=90.0, show_default=True,
              help="Days, for scores that name none.")  # fmt: skip
@common
@plain_errors
def value_risk(
    *,
    start: When | None,
    horizon: float,
    end: When | None,
    zone: str | None,
    calendar: str | None,
    as_json: bool,
) -> None:
    """Hold the risks that models gave to customers against who bought afterwards and who did not.

    Risks come as cx.churn.scored. A customer has left who buys nothing within the horizon of the score; one whose
    horizon is not over is not counted. A model that is not calibrated is not to be used, however well it ranks.

    Exit codes: 0 all models may be used, or there is none; 1 the store cannot be queried; 3 one or more may not.
    """
    known = known_orders(zone, calendar, None, None)
    if known is None:
        _nothing(as_json)
        return
    since, until = span_of(start, end, ZoneInfo(known.steps.zone))
    with reading(load()) as client:
        scores = stored_scores(client, since, until)
    found = checked_models(scores, known.purchases, known.as_of, horizon)
    if as_json:
        print_json({"models": [plain_model(one) for one in found], **plain_known(known)})
    elif not found:
        echo("no risk of a customer is stored: cx.churn.scored")
    else:
        print_models(found, known)
    if any(one.found is None or not one.found.usable for one in found):
        sys.exit(FOUND)


def _nothing(as_json: bool) -> None:
    if as_json:
        print_json(None)
    else:
        echo(_NOBODY)


value.add_command(value_publish)
