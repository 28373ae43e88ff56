"""`cx value`: what customers are worth, who stays, who comes back, from stored orders."""

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import get_args
from zoneinfo import ZoneInfo

import click
from clickhouse_connect.driver.client import Client

from streams.commands.arguments import EARLIEST, MomentType, MonthType, NumberRange, When
from streams.commands.output import FOUND, as_json_option, plain_errors, print_json
from streams.commands.printing import echo
from streams.commands.value_output import (
    KnownOrders,
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
from streams.definitions import steps_of
from streams.kpis.language.steps import CALENDARS
from streams.settings import Settings, load
from streams.storage.connection import address_of, connect
from streams.storage.customer_value import stored_orders, stored_scores
from streams.storage.queries import as_reader
from streams.value.loyalty import cohorts
from streams.value.periods import Period, last_whole_month, month_named, value_of
from streams.value.purchases import net_of
from streams.value.risk import checked_models
from streams.value.tiers import LIMITS, TierBasis, tiers
from streams.value.worth import worth_of

_NOBODY = "no order of that time is stored"


def _common(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all of them have."""
    for option in (
        as_json_option,
        click.option("--calendar", type=click.Choice(CALENDARS), help="Of months.  [default: CX_CALENDAR]"),
        click.option("--zone", help="Whose clocks days and months follow.  [default: CX_ZONE]"),
        click.option("--to", "end", type=MomentType(), help="End, not included.  [default: now]"),
    ):
        command = option(command)
    return command


_history_option = click.option(
    "--history", type=MomentType(), help="Look no further back: who bought before counts as new."
)


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
    """


def _known(zone: str | None, calendar: str | None, since: When | None, until: When | None) -> KnownOrders | None:
    """Read all there is; None: nothing."""
    settings = load(zone=zone, calendar=calendar)
    begin, end = _span(since, until, ZoneInfo(settings.zone))
    with _reading(settings) as client:
        stored = stored_orders(client, begin, end)
    if stored is None:
        return None
    # The newest event is known, too: whole seconds end behind it.
    as_of = min(int(stored.known_until.timestamp()) + 1, int(end.timestamp()))
    return KnownOrders(stored, net_of(stored.orders, stored.refunds), as_of, steps_of(settings, "1mo"))


def _span(since: When | None, until: When | None, zone: ZoneInfo) -> tuple[datetime, datetime]:
    begin = since.moment(zone) if since else EARLIEST
    end = until.moment(zone) if until else datetime.now(UTC)
    if end <= begin:
        raise click.UsageError("the start is not before the end")
    return begin, end


def _reading(settings: Settings) -> closing[Client]:
    """Open the store as whoever may only read."""
    return closing(connect(as_reader(address_of(settings), settings)))


@value.command("summary")
@click.option(
    "--month", type=MonthType(), help="Of the calendar, e.g. 2026-03 or 1404-12.  [default: the last whole one]"
)
@click.option("--from", "start", type=MomentType(), help="Instead of --month: start, included.")
@click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True, help="To come back in.")
@click.option("--margin", type=NumberRange(0, 1), default=1.0, show_default=True, help="Of revenue, 0 to 1.")
@click.option("--lifespan", type=NumberRange(0, 100), help="Years a customer stays, for the simple formula.")
@_history_option
@_common
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

    Exit codes: 0 shown, or nothing is stored; 1 the store cannot be asked.
    """
    if month and (start or end):
        raise click.UsageError("--month is itself from and to: leave out --from and --to")
    if end and not start:
        raise click.UsageError("--to needs --from; or ask for a --month")
    known = _known(zone, calendar, history, None)
    if known is None:
        _nothing(as_json)
        return
    found = value_of(
        known.purchases, _period(known, month, start, end), known.as_of, known.steps.zone,
        days=days, margin=margin, lifespan=lifespan,
    )  # fmt: skip
    if as_json:
        print_json({**plain_period(found), **plain_known(known)})
    else:
        print_period(found, known)


def _period(known: KnownOrders, month: str | None, start: When | None, end: When | None) -> Period:
    if month:
        try:
            return month_named(month, known.steps)
        except ValueError as error:
            raise click.UsageError(f"--month: {error}; is it of another --calendar?") from error
    if start is None:
        return last_whole_month(known.as_of, known.steps)
    clocks = ZoneInfo(known.steps.zone)
    since = int(start.moment(clocks).timestamp())
    until = int((end.moment(clocks) if end else datetime.now(UTC)).timestamp())
    if until <= since:
        raise click.UsageError("--from is not before --to")
    return Period(2 * since - until, since, until)


@value.command("cohorts")
@_history_option
@_common
@plain_errors
def value_cohorts(
    *, history: When | None, end: When | None, zone: str | None, calendar: str | None, as_json: bool
) -> None:
    """Show customers by the month of their first purchase, and how many of them buy in each month after it.

    A month that is not over stands in brackets. JSON has the number of customers, the interval and the revenue of each.

    Exit codes: 0 shown, or nothing is stored; 1 the store cannot be asked.
    """
    known = _known(zone, calendar, history, end)
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
@_common
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

    Exit codes: 0 shown, or nothing is stored; 1 the store cannot be asked.
    """
    ends = _limits(limits, basis)
    known = _known(zone, calendar, start, end)
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
@_common
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

    Exit codes: 0 all models may be used, or there is none; 1 the store cannot be asked; 3 one or more may not.
    """
    known = _known(zone, calendar, None, None)
    if known is None:
        _nothing(as_json)
        return
    since, until = _span(start, end, ZoneInfo(known.steps.zone))
    with _reading(load()) as client:
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


def _limits(text: str | None, basis: TierBasis) -> Sequence[float]:
    if text is None:
        return LIMITS[basis]
    try:
        ends = [float(part) for part in text.split(",")]
        tiers({}, basis, ends)
    except ValueError as error:
        raise click.UsageError(
            f"--limits {text!r}: expected percents that rise, above 0 and below 100, e.g. 20,50"
        ) from error
    return ends


def _nothing(as_json: bool) -> None:
    if as_json:
        print_json(None)
    else:
        echo(_NOBODY)
