"""`cx gaps`: compares channels, promises, our estimates and reactions to feedback with what customers experience."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import click

from streams.commands.arguments import EARLIEST, MomentType, NumberRange, When
from streams.commands.gaps_output import (
    NO_DATA,
    plain_channels,
    plain_informed,
    plain_kano,
    plain_listening,
    plain_perception,
    plain_promise,
    plain_proxy,
    plain_pyramid,
    print_channels,
    print_informed,
    print_kano,
    print_listening,
    print_perception,
    print_promise,
    print_pyramid,
    print_scorecard,
)
from streams.commands.output import FOUND, as_json_option, plain_errors, print_json
from streams.commands.printing import echo, line
from streams.definitions import catalogue_of, promises_of, touchpoints_of
from streams.gaps import consistency, kano, listening, perception
from streams.gaps.informed import informed_rates
from streams.gaps.promises import judge_promise
from streams.gaps.pyramid import TARGETS, pyramids
from streams.gaps.scorecard import DIMENSIONS, scorecard
from streams.kpis.language.expressions import suggest
from streams.kpis.language.steps import known_zones
from streams.settings import Settings, load
from streams.storage.connection import address_of, connect
from streams.storage.gaps import PLACES, SAID_KPIS, STRATA, GapStore
from streams.storage.queries import as_reader
from streams.storage.scorecard import read_proxies

_MOST = 1_000_000
"""Largest minimum of customers, answers or employees that options accept: above it all results would be "too few"."""


class GapSpan(NamedTuple):
    """The time that a command looks at, the zone it is shown in, and the newest moment that the store has data of."""

    since: datetime
    until: datetime
    zone: ZoneInfo
    known_until: datetime

    def words(self) -> str:
        """Return the span as the first line of a report."""
        first = "the beginning" if self.since == EARLIEST else f"{self.since.astimezone(self.zone):%Y-%m-%d %H:%M}"
        known = f"{self.known_until.astimezone(self.zone):%Y-%m-%d %H:%M}"
        return f"{first} to {self.until.astimezone(self.zone):%Y-%m-%d %H:%M} ({self.zone.key}), known until {known}"

    def within(self, since: int, until: int) -> str:
        """Return a line on which part of the span is judged (Unix seconds); empty if that is all of it."""
        if since <= self.since.timestamp() and until >= self.until.timestamp():
            return ""
        first, last = (f"{datetime.fromtimestamp(at, self.zone):%Y-%m-%d %H:%M}" for at in (since, until))
        return f"judged is only {first} to {last}: nothing is stored of the rest"

    def plain(self) -> dict[str, Any]:
        """Return the span as fields of JSON."""
        return {
            "from": self.since.isoformat(), "to": self.until.isoformat(), "zone": self.zone.key,
            "known_until": self.known_until.isoformat(),
        }  # fmt: skip


def span_options(start: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds the options of all `cx gaps` commands; `start`: the default of --from."""

    def give(command: Callable[..., None]) -> Callable[..., None]:
        for option in (
            as_json_option,
            click.option("--zone", help="Time zone of hours and times.  [default: CX_ZONE]"),
            click.option("--to", "end", type=MomentType(), help="End, not included.  [default: now]"),
            click.option(
                "--from", "start", type=MomentType(), default=start, show_default=True, help="Start, included."
            ),
        ):
            command = option(command)
        return plain_errors(command)

    return give


def span_settings(zone: str | None) -> Settings:
    """
    Return the settings, with a zone if one is given.

    Raises:
        click.UsageError: There is no such zone.
    """
    if zone is not None and zone not in known_zones():
        raise click.UsageError(f"--zone {zone!r}: no such time zone{suggest(zone, known_zones())}")
    return load(zone=zone)


@contextmanager
def gap_store(settings: Settings, start: When, end: When | None) -> Iterator[tuple[GapStore, GapSpan | None]]:
    """Open the store for reading, limited to a time span; the span is None if nothing is stored at all."""
    zone = ZoneInfo(settings.zone)
    since, until = start.moment(zone), end.moment(zone) if end else datetime.now(UTC)
    if until <= since:
        raise click.UsageError("--from is not before --to")
    with closing(connect(as_reader(address_of(settings), settings))) as client:
        store = GapStore(client, since, until)
        known = store.known_until()
        yield store, None if known is None else GapSpan(since, until, zone, known)


def say_no_data(as_json: bool, what: str) -> None:
    """Print that there is no data of that time: `null` as JSON, else the reason `what`."""
    if as_json:
        print_json(None)
    else:
        line(f"{NO_DATA}{what}")


@click.group()
def gaps() -> None:
    """Show gaps: between channels, promise and delivery, our estimates and customers' answers, feedback and change.

    All from stored events, by the definitions of docs/GAPS.md. What was never measured is "no data", not 0.

    \b
    Examples:
      cx gaps consistency --within topic --within segment
      cx gaps promises --from -28d
      cx gaps listening --fewest 30
      cx gaps scorecard
    """


@gaps.command("consistency")
@click.option("--kpi", type=click.Choice([*SAID_KPIS]), default="csat", show_default=True, help="What is compared.")
@click.option(
    "--within", "strata", multiple=True, type=click.Choice(STRATA), default=("topic", "segment"), show_default=True,
    help="Compare within these; repeatable.",
)  # fmt: skip
@click.option(
    "--fewest", default=consistency.FEWEST, show_default=True, type=click.IntRange(2, _MOST),
    help="Fewest customers.",
)  # fmt: skip
@span_options("-90d")
def gaps_consistency(
    *, kpi: str, strata: tuple[str, ...], fewest: int, start: When, end: When | None, zone: str | None, as_json: bool
) -> None:
    """Compare channels in one KPI, within topic and segment, with the plain difference beside it.

    Exit codes: 0 shown, 1 the store cannot be queried, 3 two channels differ.
    """
    with gap_store(span_settings(zone), start, end) as (store, span):
        said = store.said_on_channels(SAID_KPIS[kpi], strata)
    found = consistency.channel_gap(said, SAID_KPIS[kpi].low, SAID_KPIS[kpi].high, fewest)
    if span is None or not said:
        say_no_data(as_json, f"no answer of {kpi} by a known customer in that time")
        return
    if as_json:
        print_json({**span.plain(), "kpi": kpi, "unit": SAID_KPIS[kpi].unit, "within": strata, **plain_channels(found)})
    else:
        print_channels(found, kpi, SAID_KPIS[kpi].unit, strata, span.words(), fewest)
    if any(one.verdict.startswith("differ") for one in found.pairs):
        sys.exit(FOUND)


@gaps.command("promises")
@click.option(
    "--promises", "paths", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="Promises instead of those of CX_PROMISES_PATH; repeatable.",
)  # fmt: skip
@click.option("--promise", "only", multiple=True, help="Show only this promise; repeatable.  [default: all]")
@span_options("-28d")
def gaps_promises(
    *,
    paths: tuple[Path, ...],
    only: tuple[str, ...],
    start: When,
    end: When | None,
    zone: str | None,
    as_json: bool,
) -> None:
    """Compare what is promised of service with what was delivered, by hour of the day.

    Hours are those of each promise's own clock. Exit codes: 0 none is broken, 1 the store cannot be queried or a
    promise is invalid, 3 one or more are broken, as a whole or in an hour.
    """
    settings = span_settings(zone)
    promises = promises_of(settings, paths)
    for name in only:
        if name not in promises:
            raise click.UsageError(f"no promise {name!r}{suggest(name, promises)}")
    with gap_store(settings, start, end) as (store, span):
        contacts = store.served_contacts()
    if span is None or not contacts:
        say_no_data(as_json, "no contact asked for a person in that time")
        return
    since = max(int(span.since.timestamp()), min(one.began for one in contacts))
    until = min(int(span.until.timestamp()), int(span.known_until.timestamp()) + 1)
    found = [judge_promise(one, contacts, since, until) for name, one in promises.items() if not only or name in only]
    if as_json:
        judged = {"judged_from": since, "judged_to": until}
        moments = {name: datetime.fromtimestamp(at, UTC).isoformat() for name, at in judged.items()}
        print_json({**span.plain(), **moments, "promises": [plain_promise(one) for one in found]})
    else:
        echo(span.words())
        if cut := span.within(since, until):
            echo(cut)
        for one in found:
            print_promise(one)
    if any("broken" in (one.state, *(hour.state for hour in one.hours)) for one in found):
        sys.exit(FOUND)


@gaps.command("perception")
@click.option("--by", "place", type=click.Choice(PLACES), default="touchpoint", show_default=True, help="Places.")
@click.option(
    "--fewest", default=perception.FEWEST_CUSTOMERS, show_default=True, type=click.IntRange(2, _MOST),
    help="Fewest customers of a place.",
)  # fmt: skip
@click.option(
    "--fewest-own", default=perception.FEWEST_OWN, show_default=True, type=click.IntRange(1, _MOST),
    help="Fewest of our people who estimate.",
)  # fmt: skip
@span_options("-90d")
def gaps_perception(
    *, place: str, fewest: int, fewest_own: int, start: When, end: When | None, zone: str | None, as_json: bool
) -> None:
    """Compare what our people believe of customers' satisfaction with what customers say, by place.

    Exit codes: 0 shown, 1 the store cannot be queried, 3 our people estimate too high at one or more places.
    """
    with gap_store(span_settings(zone), start, end) as (store, span):
        own, said = store.own_estimates(place), store.said_at_places(place)
    found = perception.perception_gaps(own, said, fewest, fewest_own)
    if span is None or not found.places:
        say_no_data(as_json, "no estimate of our people and no answer of a customer in that time")
        return
    if as_json:
        print_json({**span.plain(), "by": place, **plain_perception(found)})
    else:
        print_perception(found, place, span.words())
    if any(one.gap is not None and one.gap.sign > 0 for one in found.places):
        sys.exit(FOUND)


@gaps.command("listening")
@click.option(
    "--fewest", default=listening.FEWEST, show_default=True, type=click.IntRange(1, _MOST), help="Fewest customers."
)
@span_options("-30d")
def gaps_listening(*, fewest: int, start: When, end: When | None, zone: str | None, as_json: bool) -> None:
    """Say at which touchpoints enough customers are heard, and what to do where they are not.

    Exit codes: 0 all touchpoints in use are heard, 1 the store cannot be queried, 3 one or more are not.
    """
    settings = span_settings(zone)
    known = touchpoints_of(settings)
    with gap_store(settings, start, end) as (store, span):
        rows = store.heard()
    if span is None or not rows:
        say_no_data(as_json, "no customer was at a touchpoint in that time")
        return
    found = listening.listening(
        [
            listening.HeardTouchpoint(
                name, known[name].owner if name in known else "", there, sent, given, free, fewest
            )
            for name, there, sent, given, free in rows
        ],
        known,
    )
    if as_json:
        print_json({**span.plain(), "fewest": fewest, **plain_listening(found)})
    else:
        print_listening(found, fewest, span.words())
    if found.heard < len(found.touchpoints):
        sys.exit(FOUND)


@gaps.command("informed")
@click.option(
    "--within",
    "days",
    default=30,
    show_default=True,
    type=click.IntRange(1, 1_000),
    help="Days within which they are told.",
)
@span_options("-365d")
def gaps_informed(*, days: int, start: When, end: When | None, zone: str | None, as_json: bool) -> None:
    """You said, we did: of the customers whose feedback led to a change, who was told?

    Exit codes: 0 shown, 1 the store cannot be queried.
    """
    with gap_store(span_settings(zone), start, end) as (store, span):
        made = store.implemented()
    if span is None or not made:
        say_no_data(as_json, "no feedback of a known customer led to a change in that time (cx.feedback.implemented)")
        return
    until = min(int(span.until.timestamp()), int(span.known_until.timestamp()) + 1)
    found = informed_rates(made, until, days * 86_400)
    if as_json:
        print_json({**span.plain(), "within_days": days, "changes": [plain_informed(one) for one in found]})
    else:
        print_informed(found, days, span.words())


@gaps.command("pyramid")
@click.option("--by", "place", type=click.Choice(PLACES), help="A pyramid for each of these.  [default: one of all]")
@click.option(
    "--targets", nargs=3, type=NumberRange(0, 100), default=TARGETS, show_default=True,
    help="Percent of customers at which needs met, easy and enjoyable hold.",
)  # fmt: skip
@span_options("-90d")
def gaps_pyramid(
    *,
    place: str | None,
    targets: tuple[float, float, float],
    start: When,
    end: When | None,
    zone: str | None,
    as_json: bool,
) -> None:
    """Show the CX pyramid: needs met, easy, enjoyable; a level counts only if those below hold.

    Exit codes: 0 shown, 1 the store cannot be queried.
    """
    with gap_store(span_settings(zone), start, end) as (store, span):
        said = store.pyramid_sayings(place or "")
    found = pyramids(said, targets)
    if span is None or not found:
        say_no_data(as_json, "no customer answered a survey in that time")
        return
    if as_json:
        print_json({**span.plain(), "by": place, "pyramids": [plain_pyramid(one) for one in found]})
    else:
        print_pyramid(found, place or "", span.words())


@gaps.command("kano")
@click.option(
    "--fewest", default=kano.FEWEST, show_default=True, type=click.IntRange(2, _MOST), help="Customers of a class."
)
@span_options("-365d")
def gaps_kano(*, fewest: int, start: When, end: When | None, zone: str | None, as_json: bool) -> None:
    """Show which features are expected, which delight, and which nobody cares about.

    Exit codes: 0 shown, 1 the store cannot be queried.
    """
    with gap_store(span_settings(zone), start, end) as (store, span):
        pairs: Sequence[kano.KanoPair] = store.kano_pairs()
    if span is None or not pairs:
        say_no_data(as_json, "no customer answered a pair of Kano questions in that time (cx.kano.answered)")
        return
    found = kano.kano_features(pairs, fewest)
    if as_json:
        print_json({**span.plain(), "features": [plain_kano(one) for one in found]})
    else:
        print_kano(found, fewest, span.words())


@gaps.command("scorecard")
@span_options("-30d")
def gaps_scorecard(*, start: When, end: When | None, zone: str | None, as_json: bool) -> None:
    """Show the six dimensions of customer experience, each by KPIs that stand for it.

    BEFORE is the preceding span of the same length. Exit codes: 0 shown, 1 the store cannot be queried.
    """
    settings = span_settings(zone)
    catalogue, address = catalogue_of(settings), as_reader(address_of(settings), settings)
    with gap_store(settings, start, end) as (_, span):
        pass
    if span is None:
        say_no_data(as_json, "no event is stored")
        return
    kpis = {name: catalogue[name] for one in DIMENSIONS for name in one.proxies if name in catalogue}
    earlier = max(EARLIEST, span.since - (span.until - span.since))
    now = read_proxies(address, catalogue, kpis, span.since, span.until)
    found = scorecard(kpis, now, read_proxies(address, catalogue, kpis, earlier, span.since))
    if as_json:
        print_json({**span.plain(), "before": earlier.isoformat(), "proxies": [plain_proxy(one) for one in found]})
    else:
        print_scorecard(found, span.words())
