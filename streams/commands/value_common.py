"""What all commands about customer value share: their options, and the orders they read."""

from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import click
from clickhouse_connect.driver.client import Client

from streams.commands.arguments import EARLIEST, MomentType, When
from streams.commands.output import as_json_option
from streams.commands.value_output import KnownOrders
from streams.definitions import steps_of
from streams.kpis.language.steps import CALENDARS
from streams.settings import Settings, load
from streams.storage.connection import address_of, connect
from streams.storage.customer_value import stored_orders
from streams.storage.queries import as_reader
from streams.value.periods import Period, last_whole_month, month_named
from streams.value.purchases import net_of
from streams.value.tiers import LIMITS, TierBasis, tiers


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command with the options of all `cx value` commands."""
    for option in (
        as_json_option,
        click.option("--calendar", type=click.Choice(CALENDARS), help="Of months.  [default: CX_CALENDAR]"),
        click.option("--zone", help="Time zone of days and months.  [default: CX_ZONE]"),
        click.option("--to", "end", type=MomentType(), help="End, not included.  [default: now]"),
    ):
        command = option(command)
    return command


history_option = click.option(
    "--history", type=MomentType(), help="Look no further back: who bought before counts as new."
)


def known_orders(zone: str | None, calendar: str | None, since: When | None, until: When | None) -> KnownOrders | None:
    """Read all there is; None: nothing."""
    settings = load(zone=zone, calendar=calendar)
    begin, end = span_of(since, until, ZoneInfo(settings.zone))
    with reading(settings) as client:
        stored = stored_orders(client, begin, end)
    if stored is None:
        return None
    # The newest event is known, too: whole seconds end behind it.
    as_of = min(int(stored.known_until.timestamp()) + 1, int(end.timestamp()))
    return KnownOrders(stored, net_of(stored.orders, stored.refunds), as_of, steps_of(settings, "1mo"))


def span_of(since: When | None, until: When | None, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return a span that was asked for, by default all there is."""
    begin = since.moment(zone) if since else EARLIEST
    end = until.moment(zone) if until else datetime.now(UTC)
    if end <= begin:
        raise click.UsageError("the start is not before the end")
    return begin, end


def reading(settings: Settings) -> closing[Client]:
    """Open the store as whoever may only read."""
    return closing(connect(as_reader(address_of(settings), settings)))


def period_of(known: KnownOrders, month: str | None, start: When | None, end: When | None) -> Period:
    """Return the period that was asked for, by default the last whole month."""
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


def limits_of(text: str | None, basis: TierBasis) -> Sequence[float]:
    """Return where tiers end."""
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
