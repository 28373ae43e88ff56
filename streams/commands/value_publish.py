"""`cx value publish`: what customers are worth as events, and the measures of a period as rows."""

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, get_args

import click

from streams.commands.arguments import EARLIEST, MonthType, NumberRange, When
from streams.commands.output import plain_errors, print_json
from streams.commands.printing import echo
from streams.commands.traffic import producer_of
from streams.commands.value_common import common, history_option, known_orders, limits_of, period_of, reading
from streams.producers.client import BufferFullError, NotDeliveredError
from streams.settings import Settings, load
from streams.storage.connection import address_of
from streams.storage.customer_value import sent_values, stored_scores
from streams.storage.value_measures import measure_rows
from streams.storage.writer import Writer
from streams.value.published import measures_of
from streams.value.risk import checked_models
from streams.value.tiers import TierBasis, tiers
from streams.value.valued import changed, event_of, values_of

_SENT_S = 60.0


@click.command("publish")
@click.option(
    "--month", type=MonthType(), help="Whose measures are stored, e.g. 2026-03.  [default: the last whole one]"
)
@click.option("--by", "basis", type=click.Choice(get_args(TierBasis)), default="customers", show_default=True,
              help="Of what --limits are percents.")  # fmt: skip
@click.option("--limits", help="Where tiers end, e.g. 10,30.  [default: 20,50 of customers, 50,80 of revenue]")
@click.option("--horizon", type=NumberRange(1, 3650), default=90.0, show_default=True,
              help="Days, for scores that name none.")  # fmt: skip
@history_option
@common
@plain_errors
def value_publish(
    *,
    month: str | None,
    basis: TierBasis,
    limits: str | None,
    horizon: float,
    history: When | None,
    end: When | None,
    zone: str | None,
    calendar: str | None,
    as_json: bool,
) -> None:
    """Send `cx.customer.valued` for each customer of whom something has changed, and store the measures of a month.

    What changes is the tier, the lifetime value so far, or the risk to leave of a model that may be used (`cx value
    risk`). For a timer, once a day: what was published already is read from the store.

    Exit codes: 0 all is sent and stored, or there is no order; 1 a service cannot be asked or does not take it.
    """
    ends = limits_of(limits, basis)
    known = known_orders(zone, calendar, history, end)
    if known is None:
        print_json(None) if as_json else echo("no order of that time is stored")
        return
    settings, now = load(zone=zone, calendar=calendar), datetime.now(UTC)
    with reading(settings) as client:
        scores, sent = stored_scores(client, EARLIEST, now), sent_values(client)
    usable = {
        one.model
        for one in checked_models(scores, known.purchases, known.as_of, horizon)
        if one.found is not None and one.found.usable
    }
    values = values_of(known.purchases, basis, ends, scores, usable)
    names = [one.name for one in tiers({}, basis, ends)]
    events = [event_of(*one, names) for one in changed(values, sent)]
    period = period_of(known, month, None, None)
    measures = measures_of(known.purchases, period, known.as_of, known.steps.zone, basis, ends)
    _send(settings, events)
    with closing(Writer(address_of(settings))) as writer:
        writer.insert_value([*measure_rows(period, now, measures)], f"value_measures-{now.isoformat()}")
    if as_json:
        print_json({
            "customers": len(values), "changed": len(events), "models": sorted(usable),
            "month": period.month, "measures": [one._asdict() for one in measures],
        })  # fmt: skip
        return
    echo(f"{len(events):,} of {len(values):,} customers have changed, which is sent as cx.customer.valued")
    models = ", ".join(one or "(not named)" for one in sorted(usable))
    echo(f"risks to leave are those of {models or 'no model: none may be used'}")
    echo(f"{len(measures)} measures of {period.month} are stored")


def _send(settings: Settings, events: Sequence[dict[str, Any]]) -> None:
    """Send events; end the command if Kafka does not take all of them. What was taken is not sent again by the next."""
    if not events:
        return
    try:
        with producer_of(settings) as producer:
            for event in events:
                producer.send(event)
            report = producer.flush(_SENT_S)
    except (BufferFullError, NotDeliveredError) as error:
        raise click.ClickException(f"not all changes are sent: {error}") from error
    if not report.complete:
        left = len(report.undelivered) + report.pending
        raise click.ClickException(f"{left:,} of {len(events):,} changes are not sent: Kafka does not take them")
