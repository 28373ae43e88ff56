"""What `cx gaps` prints, for people and as JSON."""

from collections.abc import Sequence
from typing import Any, Final

from streams.commands.output import table, wrapped
from streams.commands.printing import echo, line
from streams.events.visible import visible_line
from streams.gaps.consistency import ChannelGap, ChannelPair
from streams.gaps.informed import InformedRate
from streams.gaps.kano import CLASSES, KanoFeature
from streams.gaps.listening import HeardTouchpoint, ListeningCoverage
from streams.gaps.perception import PerceptionGap, PerceptionGaps
from streams.gaps.promises import PromiseKept
from streams.gaps.pyramid import Pyramid
from streams.gaps.samples import MeasureDifference
from streams.gaps.scorecard import ScoredProxy
from streams.kpis.arithmetic.intervals import Measure

NO_DATA: Final = "no data: "


def plain_measure(one: Measure | None) -> dict[str, Any] | None:
    """Return a value with its interval as JSON has it."""
    return None if one is None else one._asdict()


def shown(one: Measure, unit: str = "%") -> str:
    """Return a value with its interval."""
    if one.value is None:
        return "no data"
    return f"{_number(one.value, unit)}{_interval(one.lo, one.hi)}"


def _number(value: float, unit: str) -> str:
    return f"{value:.1f}{unit if unit == '%' else ''}"


def _interval(lo: float | None, hi: float | None, sign: str = "") -> str:
    return "" if lo is None or hi is None else f" [{lo:{sign}.1f}, {hi:{sign}.1f}]"


def _change(one: MeasureDifference | None) -> str:
    return "" if one is None else f"{one.value:+.1f}{_interval(one.lo, one.hi, '+')}"


def _name(text: str) -> str:
    return text or "(not given)"


# -- channels ----------------------------------------------------------------------------------------------------


def plain_channels(found: ChannelGap) -> dict[str, Any]:
    """Return channels and their differences as JSON has them."""
    return {
        "pooled_gap": found.pooled,
        "gap": _plain_pair(found.widest),
        "channels": [
            {
                "channel": name, "customers": one.customers, "answers": one.answers,
                **(plain_measure(one.measure._replace(n=one.answers)) or {}), "compared": name not in found.too_few,
            }
            for name, one in found.channels.items()
        ],
        "pairs": [_plain_pair(one) for one in found.pairs],
    }  # fmt: skip


def _plain_pair(one: ChannelPair | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "first": one.first, "second": one.second, "pooled": one.pooled, "within": one.within, "lo": one.lo,
        "hi": one.hi, "z": one.z, "in_common_percent": one.in_common, "verdict": one.verdict,
    }  # fmt: skip


def print_channels(found: ChannelGap, kpi: str, unit: str, strata: Sequence[str], span: str, fewest: int) -> None:
    """Print channels, and how far apart they are."""
    echo(span)
    rows = [
        (
            name, f"{one.customers:,}", f"{one.answers:,}", shown(one.measure, unit),
            f"too few (n < {fewest})" if name in found.too_few else "",
        )
        for name, one in found.channels.items()
    ]  # fmt: skip
    echo(table(("CHANNEL", "CUSTOMERS", "ANSWERS", kpi.upper(), "NOTE"), rows))
    echo()
    if not found.pairs:
        line(f"{NO_DATA}fewer than two channels have {fewest} customers")
        return
    pairs = [
        (
            f"{one.first} less {one.second}", f"{one.pooled:+.1f}",
            _change(None if one.within is None else MeasureDifference(one.within, one.lo, one.hi)),
            "" if one.z is None else f"{one.z:+.1f}", f"{one.in_common:.0f}%", one.verdict,
        )
        for one in found.pairs
    ]  # fmt: skip
    within = " and ".join(strata)
    echo(table(("PAIR", "POOLED", "WITHIN STRATA", "Z", "IN COMMON", "VERDICT"), pairs, least=("IN COMMON", "Z")))
    widest = found.widest
    points = "points" if unit == "points" else "percentage points"
    if widest is not None and widest.within is not None and found.pooled is not None:
        line(f"gap {abs(widest.within):.1f} {points} within {within}, {found.pooled:.1f} pooled")
    echo("intervals hold for all pairs together; answers of one customer go together")


# -- promises ----------------------------------------------------------------------------------------------------


def plain_promise(one: PromiseKept) -> dict[str, Any]:
    """Return a promise and what was delivered as JSON has them."""
    promise = one.promise
    return {
        "promise": promise.id, "name": dict(promise.name), "owner": promise.owner, "clock": promise.clock.name,
        "zone": promise.clock.zone.key, "within_s": promise.within_s, "target": promise.target,
        "channel": promise.channel or None, "way": promise.way or None, "state": one.state,
        "in_time": plain_measure(one.whole), "answered": plain_measure(one.answered), "pending": one.pending,
        "outside": plain_measure(one.outside), "claimed_hours": one.claimed, "hours_with_contacts": one.with_contacts,
        "unstaffed_hours": one.unstaffed,
        "hours": [
            {
                "hour": hour.hour, "claimed_hours": hour.claimed, "contacts": hour.contacts,
                "in_time": plain_measure(hour.in_time), "answered": plain_measure(hour.answered), "state": hour.state,
            }
            for hour in one.hours
        ],
    }  # fmt: skip


def print_promise(one: PromiseKept) -> None:
    """Print a promise, and what was delivered by hour."""
    promise = one.promise
    echo()
    head = (
        f"{promise.id}: {promise.name.get('en', '')}; {promise.target:g} % answered in {promise.within_s:g} s"
        f" by {promise.clock.name} ({promise.clock.zone.key}); {promise.owner}"
    )
    echo(wrapped(visible_line(head), 2))
    if not one.whole.n:
        line(f"{NO_DATA}no contact in the {one.claimed:,.0f} h that are claimed")
        return
    state = {"kept": "KEPT", "broken": "BROKEN", "not known": "not known yet"}[one.state]
    line(f"{state}: {shown(one.whole)} in time, {shown(one.answered)} at all, n = {one.whole.n:,}")
    rows = [
        (
            f"{hour.hour:02}:00", f"{hour.claimed:,.1f}", f"{hour.contacts:,}", shown(hour.in_time),
            shown(hour.answered), hour.state if hour.contacts else "",
        )
        for hour in one.hours
    ]  # fmt: skip
    echo(table(("HOUR", "CLAIMED H", "CONTACTS", "IN TIME", "AT ALL", "PROMISE"), rows, least=("CLAIMED H",)))
    line(
        f"claimed {one.claimed:,.0f} h; in {one.unstaffed:,} of {one.with_contacts:,} hours with contacts nobody was"
        " answered"
    )
    if one.outside.n:
        line(f"outside of them {one.outside.n:,} contacts, {shown(one.outside)} answered")
    if one.pending:
        line(f"{one.pending:,} contacts are too new to judge")


# -- perception --------------------------------------------------------------------------------------------------


def plain_perception(found: PerceptionGaps) -> dict[str, Any]:
    """Return gaps of perception as JSON has them."""
    matched = found.matched
    return {
        "matched": None if matched is None else {**matched._asdict(), "n": found.matched_answers},
        "pooled": _plain_gap(found.pooled),
        "places": [_plain_gap(one) for one in found.places],
    }


def _plain_gap(one: PerceptionGap) -> dict[str, Any]:
    return {
        "place": one.place or None, "own": plain_measure(one.own), "customers": plain_measure(one.customers),
        "people": one.people, "gap": None if one.gap is None else one.gap._asdict(), "verdict": one.verdict,
    }  # fmt: skip


def print_perception(found: PerceptionGaps, place: str, span: str) -> None:
    """Print gaps of perception, the widest first."""
    echo(span)
    rows = [
        (
            _name(one.place), shown(one.own), f"{one.own.n:,}", shown(one.customers), f"{one.customers.n:,}",
            _change(one.gap), one.verdict,
        )
        for one in found.places
    ]  # fmt: skip
    columns = (place.upper(), "WE BELIEVE", "OF US", "CUSTOMERS SAY", "ANSWERS", "GAP", "VERDICT")
    echo(table(columns, rows, least=("OF US", "WE BELIEVE", "CUSTOMERS SAY")))
    if found.matched is not None:
        line(
            f"gap {_change(found.matched)} points over places that have both, weighted by their"
            f" {found.matched_answers:,} answers"
        )
    pooled = found.pooled
    line(f"pooled: {_change(pooled.gap) + ' points, of different places' if pooled.gap else pooled.verdict}")


# -- listening ---------------------------------------------------------------------------------------------------


def plain_listening(found: ListeningCoverage) -> dict[str, Any]:
    """Return coverage as JSON has it."""
    return {
        "heard": found.heard, "in_use": len(found.touchpoints), "percent": found.percent,
        "percent_of_visits": found.percent_of_visits, "unasked_percent": found.unasked_percent,
        "unused": found.unused,
        "touchpoints": [
            {
                "touchpoint": one.touchpoint, "owner": one.owner or None, "customers": one.customers,
                "asked": one.asked, "answers": one.answers, "unasked": one.unasked, "heard": one.is_heard,
                "advice": one.advice() or None,
            }
            for one in found.touchpoints
        ],
    }  # fmt: skip


def print_listening(found: ListeningCoverage, fewest: int, span: str) -> None:
    """Print touchpoints, those that need something first."""
    echo(span)
    rows = [_listening_row(one) for one in found.touchpoints]
    columns = ("TOUCHPOINT", "OWNER", "CUSTOMERS", "ASKED", "ANSWERS", "UNASKED", "WHAT TO DO")
    echo(table(columns, rows, least=("UNASKED", "OWNER")))
    line(
        f"{found.heard} of {len(found.touchpoints)} touchpoints in use are heard (n >= {fewest}):"
        f" {found.percent:.1f} %, and {found.percent_of_visits:.1f} % of customers' visits"
    )
    if found.unasked_percent is not None:
        line(f"{found.unasked_percent:.1f} % of what was said was not asked for")
    if found.unused:
        line(f"nobody was at {len(found.unused)} touchpoints of the dictionary: {', '.join(found.unused[:8])}")


def _listening_row(one: HeardTouchpoint) -> tuple[str, ...]:
    return (
        one.touchpoint, one.owner, f"{one.customers:,}", f"{one.asked:,}", f"{one.answers:,}", f"{one.unasked:,}",
        one.advice() or "heard",
    )  # fmt: skip


# -- you said, we did --------------------------------------------------------------------------------------------


def plain_informed(one: InformedRate) -> dict[str, Any]:
    """Return a change as JSON has it; without a name it is all of them."""
    return {
        "change": one.change or None, "customers": one.customers, "informed": plain_measure(one.rate),
        "pending": one.pending, "late": one.late, "days_to_tell": one.days_to_tell,
        "days_to_change": one.days_to_change,
    }  # fmt: skip


def print_informed(found: Sequence[InformedRate], days: int, span: str) -> None:
    """Print changes, those of which the fewest are told first."""
    echo(span)
    rows = [
        (
            one.change or "ALL", f"{one.customers:,}", shown(one.rate), f"{one.rate.n:,}", f"{one.pending:,}",
            f"{one.late:,}", _days(one.days_to_tell), _days(one.days_to_change),
        )
        for one in found
    ]  # fmt: skip
    columns = ("CHANGE", "CUSTOMERS", f"TOLD IN {days} D", "N", "PENDING", "LATE", "DAYS TO TELL", "DAYS TO CHANGE")
    echo(table(columns, rows, least=("LATE", "DAYS TO CHANGE", "CUSTOMERS")))
    echo("medians of days; whose time to be told is not over is pending, and in no share")


def _days(days: float | None) -> str:
    return "" if days is None else f"{days:.1f}"


# -- pyramid -----------------------------------------------------------------------------------------------------


def plain_pyramid(one: Pyramid) -> dict[str, Any]:
    """Return a pyramid as JSON has it."""
    return {
        "place": one.place or None, "height": one.height, "verdict": one.verdict,
        "levels": [
            {
                "level": level.name, "share": plain_measure(level.share), "target": level.target,
                "state": level.state, "counts": level.counts, "reached": plain_measure(level.reached),
            }
            for level in one.levels
        ],
    }  # fmt: skip


def print_pyramid(found: Sequence[Pyramid], place: str, span: str) -> None:
    """Print pyramids, the highest level at the top of each."""
    echo(span)
    rows = [
        (
            _name(one.place) if place else "all", level.name, shown(level.share), f"{level.share.n:,}",
            f"{level.target:g}%", level.state if level.share.n else "no data", "yes" if level.counts else "no",
            shown(level.reached),
        )
        for one in found for level in reversed(one.levels)
    ]  # fmt: skip
    columns = (place.upper() or "OF", "LEVEL", "CUSTOMERS", "N", "TARGET", "STATE", "COUNTS", "AND ALL BELOW")
    echo(table(columns, rows, least=("AND ALL BELOW", "TARGET")))
    for one in found:
        line(f"{_name(one.place) if place else 'all'}: {one.height} of 3 levels count; {one.verdict}")


# -- Kano --------------------------------------------------------------------------------------------------------


def plain_kano(one: KanoFeature) -> dict[str, Any]:
    """Return a feature as JSON has it."""
    return {
        "feature": one.feature, "customers": one.n, "class": one.kind or None, "verdict": one.verdict, "p": one.p,
        "better": plain_measure(one.better), "worse": plain_measure(one.worse),
        "shares": {CLASSES[letter]: plain_measure(share) for letter, share in one.shares.items()},
    }  # fmt: skip


def print_kano(found: Sequence[KanoFeature], fewest: int, span: str) -> None:
    """Print features, those first whose lack takes most away."""
    echo(span)
    rows = [
        (
            one.feature, f"{one.n:,}", shown(one.better), shown(one.worse),
            *(f"{one.shares[letter].value:.0f}%" if one.n else "" for letter in CLASSES),
            one.verdict if one.kind else f"too few (n < {fewest})",
        )
        for one in found
    ]  # fmt: skip
    columns = ("FEATURE", "N", "BETTER WITH IT", "WORSE WITHOUT", *CLASSES, "CLASS")
    echo(table(columns, rows, least=("Q", "R", "I", "M", "O", "A")))
    echo("A attractive, O one-dimensional, M must-be, I indifferent, R reverse, Q questionable")


# -- scorecard ---------------------------------------------------------------------------------------------------


def plain_proxy(one: ScoredProxy) -> dict[str, Any]:
    """Return a proxy of a dimension as JSON has it."""
    kpi = one.kpi
    return {
        "dimension": one.dimension.name, "about": one.dimension.about, "kpi": one.name,
        "name": None if kpi is None else kpi.name, "formula": None if kpi is None else kpi.formula,
        "unit": None if kpi is None else kpi.unit, "owner": None if kpi is None else kpi.owner,
        "definition": one.now.definition or None, "maturity": one.now.maturity or None,
        "now": plain_measure(one.now.measure), "before": plain_measure(one.before.measure),
        "change": None if one.change is None else one.change._asdict(), "verdict": one.verdict,
    }  # fmt: skip


def print_scorecard(found: Sequence[ScoredProxy], span: str) -> None:
    """Print the dimensions, and below the formulas of what stands for them."""
    echo(span)
    rows = [
        (
            one.dimension.name, one.name, _of_kpi(one, one.now.measure), f"{one.now.measure.n:,}" if one.kpi else "",
            _of_kpi(one, one.before.measure, ends=False), one.now.maturity, one.verdict,
        )
        for one in found
    ]  # fmt: skip
    columns = ("DIMENSION", "STANDS FOR IT", "VALUE", "N", "BEFORE", "MATURITY", "VERDICT")
    echo(table(columns, rows, least=("MATURITY", "BEFORE")))
    echo()
    for one in found:
        if one.kpi is not None:
            line(f"{one.name} ({one.kpi.unit}): {' '.join(one.kpi.formula.split())}")


def _of_kpi(one: ScoredProxy, measure: Measure, *, ends: bool = True) -> str:
    if one.kpi is None or measure.value is None:
        return ""
    unit = {"percent": "%", "seconds": " s"}.get(one.kpi.unit, "")
    lo, hi = measure.lo, measure.hi
    interval = f" [{lo:.4g}, {hi:.4g}]" if ends and lo is not None and hi is not None else ""
    return f"{measure.value:.4g}{unit}{interval}"
