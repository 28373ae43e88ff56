"""`cx products`: which products come back more often than they did."""

import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import click

from streams.commands.arguments import MomentType, NumberRange, When
from streams.commands.output import FOUND, as_json_option, plain_errors, print_json, table
from streams.commands.printing import echo, line
from streams.commands.synthetic_doors import KafkaDoor
from streams.commands.synthetic_doors import publish as send_all
from streams.products.defects import DefectSettings, Suspected, suspected, words_of
from streams.settings import Settings, load
from streams.storage.connection import address_of, connect
from streams.storage.products import product_days
from streams.storage.queries import as_reader
from streams.wording.texts import LANGS, Lang

_SENT_S = 15.0
_REASONS = "defective,defect,damaged,broken,faulty"


@click.group()
def products() -> None:
    """Look after products, by what is sold, sent back and reviewed of each. docs/PRODUCTS.md defines every number.

    \b
    Examples:
      cx products defects
      cx products defects --from -180d --reasons defective,broken --json
    """


@products.command("defects")
@click.option("--from", "start", type=MomentType(), help="Start, included.  [default: 180 days before the end]")
@click.option("--to", "end", type=MomentType(), help="End, not included.  [default: now]")
@click.option("--reasons", default=_REASONS, show_default=True, help="Of returns that are defects.")
@click.option("--rise", type=NumberRange(1.1, 20), default=2.0, show_default=True, help="Rise that is found soonest.")
@click.option(
    "--lag", type=click.IntRange(1, 365), default=30, show_default=True, help="Days in which goods come back."
)
@click.option("--budget", type=NumberRange(0.01, 1000), default=0.5, show_default=True, help="False alarms accepted.")
@click.option("--top", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Products that are shown.")
@click.option("--lang", type=click.Choice(LANGS), default="en", show_default=True, help="Of what is said of alarms.")
@click.option("--publish", is_flag=True, help="Send what is found, as `cx.product.judged`: for alerts and dashboards.")
@as_json_option
@plain_errors
def products_defects(
    start: When | None,
    end: When | None,
    reasons: str,
    rise: float,
    lag: int,
    budget: float,
    top: int,
    lang: Lang,
    publish: bool,
    as_json: bool,
) -> None:
    """List products with more defects than they had, the clearest first.

    Judged by one CUSUM for each product, with one threshold for all: of the whole catalogue no more than --budget false
    alarms are to be expected in the time that is looked at.

    \b
    Exit codes: 0 no product's alarm is on, 1 the store cannot be queried, or what is found is not published; 2 wrong
    usage; 3 one or more are on.
    """
    settings = load()
    zone = ZoneInfo(settings.zone)
    until = end.moment(zone) if end else datetime.now(UTC)
    since = start.moment(zone) if start else until - timedelta(days=180)
    if until <= since:
        raise click.UsageError("the start is not before the end")
    words = {word.strip().lower() for word in reasons.split(",")} - {""}
    with closing(connect(as_reader(address_of(settings), settings))) as client:
        days, nameless = product_days(client, since, until, settings.zone, words)
    found, threshold = suspected(days, DefectSettings(rise=rise, lag_d=lag, budget=budget))
    alarms = [one for one in found if one.alarm is not None]
    if publish:
        _publish(settings, found[:top], datetime.now(UTC))
    if as_json:
        print_json({
            "products": len({one.product for one in days}), "nameless": nameless, "threshold": threshold,
            "alarms": len(alarms),
            "suspected": [_plain(one) for one in found[:top]],
        })  # fmt: skip
    elif not days:
        echo("nothing is known of products in that time: cx.product.sold says what is sold")
    else:
        _tell(found[:top], alarms, threshold, lang)
    if nameless and not as_json:
        echo(f"{nameless:,} units sold and defects are of products whose codes say nothing: blanks, or invisible")
    sys.exit(FOUND if alarms else 0)


def _publish(settings: Settings, found: list[Suspected], now: datetime) -> None:
    """Send a judgement of each product; end the command if Kafka does not take them."""
    door = KafkaDoor(settings)
    events = [
        {
            "id": f"{now.isoformat()}/{number}", "source": "/cx/products", "type": "cx.product.judged",
            "time": now.isoformat(), "subject": "products", "channel": "web",
            "data": {
                "product": one.product, "suspected": one.alarm is not None, "defects": one.defects,
                "sold": round(one.sold, 3), "expected": round(one.expected, 3), "since": f"{one.since}T00:00:00Z",
                **({"category": one.category} if one.category else {}),
            },
        }
        for number, one in enumerate(found)
    ]  # fmt: skip
    said = send_all(door, events, _SENT_S)
    door.close()
    if said:
        raise click.ClickException(f"what was found is not published: {said}")


def _tell(shown: list[Suspected], alarms: list[Suspected], threshold: float, lang: Lang) -> None:
    rows = [
        (
            one.product, one.category, one.defects, f"{one.sold:.0f}", f"{one.expected:.1f}", one.since,
            f"{one.score:.1f}", one.alarm or "",
        )
        for one in shown
    ]  # fmt: skip
    columns = ("PRODUCT", "CATEGORY", "DEFECTS", "SOLD", "EXPECTED", "SINCE", "SCORE", "ALARM")
    echo(table(columns, rows, least=("CATEGORY",)))
    echo(f"{len(alarms)} of them beyond {threshold:.1f}, where chance is not the reason")
    for one in alarms:
        line(words_of(one)[lang])


def _plain(one: Suspected) -> dict[str, object]:
    return {
        "product": one.product, "category": one.category, "score": one.score, "since": one.since.isoformat(),
        "defects": one.defects, "sold": one.sold, "expected": one.expected,
        "alarm": one.alarm.isoformat() if one.alarm else None, "text": words_of(one),
    }  # fmt: skip
