"""Whether a rule can do what it says: method, KPI, windows and numbers must go together."""

import math
from collections.abc import Iterable
from typing import Final

from streams.alerts.detectors.params import BurnRate, Cusum, Floor, MixShift, Params
from streams.alerts.rules.rules import Recover
from streams.kpis.arithmetic.intervals import PERCENT_UNITS
from streams.kpis.language.definition import Kpi
from streams.kpis.language.lengths import window_minutes

BOUNDS: Final = {"percent": (0.0, 100.0), "fraction": (0.0, 1.0), "points": (-100.0, 100.0)}
"""Values that a unit can have."""

Problem = tuple[str, str]
"""The key it is about, and what is wrong."""


def misfits(kpi: Kpi, by: tuple[str, ...], window: str, params: Params) -> Iterable[Problem]:
    """List what of a method's parameters does not go with the KPI and the rest of the rule."""
    if kpi.aggregator not in params.aggregators:
        if kpi.derive is not None:
            parts = ", ".join(part.kpi for part in kpi.derive.parts)
            yield "kpi", f"no method judges {kpi.id}, which is computed from other KPIs; judge those: {parts}"
            return
        fitting = ", ".join(params.aggregators)
        yield "method", f"it judges {fitting}; {kpi.id} is a {kpi.aggregator}"
        return
    if params.sided and kpi.direction == "none":
        yield "method", f"it needs a better and a worse side, and {kpi.id} has none ('direction: none')"
        return
    baseline = getattr(params, "baseline", None)
    if baseline is not None and window_minutes(baseline) <= window_minutes(window):
        yield (
            "baseline",
            f"baseline {baseline} must be longer than the window {window}: what is judged is left out of it",
        )
    match params:
        case Floor():
            yield from _reachable(kpi, params.target)
        case Cusum():
            yield from _cusum(kpi, params)
        case BurnRate():
            yield from _burn(kpi, params)
        case MixShift():
            yield from _mix(kpi, by, params)
        case _:
            pass
    yield from _too_far(kpi, params)


def _too_far(kpi: Kpi, params: Params) -> Iterable[Problem]:
    """List distances that no two values of the KPI's unit are apart."""
    low, high = BOUNDS.get(kpi.unit, (-math.inf, math.inf))
    for key in ("delta", "min_change", "margin", "min_effect"):
        distance = getattr(params, key, None)
        if distance is not None and distance >= high - low:
            yield key, f"{key} {distance:g} can never be exceeded: values lie from {low:g} to {high:g} {kpi.unit}"


def budget(kpi: Kpi, target: float) -> float:
    """Give the share of misses that a promise allows: of a KPI that should be high what is missing to one."""
    share = target / 100 if kpi.unit in PERCENT_UNITS else target
    return 1 - share if kpi.direction == "up" else share


def wrong_recovery(kpi: Kpi, params: Params | None, recover: Recover) -> Iterable[Problem]:
    """List what of a recovery lies on the wrong side."""
    if recover.above is not None and kpi.direction == "down":
        yield "above", f"{kpi.id} is better when low: recovery is 'below'"
    if recover.below is not None and kpi.direction == "up":
        yield "below", f"{kpi.id} is better when high: recovery is 'above'"
    low, high = BOUNDS.get(kpi.unit, (-math.inf, math.inf))
    if recover.above is not None and recover.above >= high:
        yield "above", f"nothing is above {recover.above:g} {kpi.unit}: it would never recover"
    if recover.below is not None and recover.below <= low:
        yield "below", f"nothing is below {recover.below:g} {kpi.unit}: it would never recover"
    target = getattr(params, "target", None)
    if target is None:
        target = getattr(params, "p1", None)
    if target is None:
        return
    if recover.above is not None and recover.above < target:
        yield "above", f"{recover.above:g} is below the target {target:g}: it would recover while in trouble"
    if recover.below is not None and recover.below > target:
        yield "below", f"{recover.below:g} is above the target {target:g}: it would recover while in trouble"


def _reachable(kpi: Kpi, target: float) -> Iterable[Problem]:
    low, high = BOUNDS.get(kpi.unit, (-math.inf, math.inf))
    if not low <= target <= high:
        yield "target", f"target {target:g} is no value in {kpi.unit} ({low:g} to {high:g})"
    elif target == (low if kpi.direction == "up" else high):
        yield "target", f"nothing can be worse than {target:g} {kpi.unit}: it would never fire"


def _cusum(kpi: Kpi, params: Cusum) -> Iterable[Problem]:
    low, high = BOUNDS.get(kpi.unit, (-math.inf, math.inf))
    worse = -1 if kpi.direction == "up" else 1
    p1 = params.p1
    if p1 is None and params.p0 is not None and params.delta is not None:
        p1 = params.p0 + worse * params.delta
    for key, value in (("p0", params.p0), ("p1" if params.p1 is not None else "delta", p1)):
        # At the ends a single answer would be infinite evidence.
        if value is not None and not low < value < high:
            yield key, f"{key} puts it at {value:g}, which must lie between {low:g} and {high:g} {kpi.unit}"
    if params.p0 is not None and p1 is not None and (p1 - params.p0) * worse <= 0:
        side = "below" if worse < 0 else "above"
        yield "p1", f"{p1:g} is not worse than normal, {params.p0:g}: {kpi.id} is worse {side} it"
    if kpi.aggregator != "ratio" and params.p0 is not None and params.sd is None:
        yield "sd", f"'sd' is missing: with 'p0' given, nothing tells the spread of one answer of a {kpi.aggregator}"
    if kpi.aggregator == "ratio" and params.sd is not None:
        yield "sd", "'sd' means nothing for a ratio: its spread follows from its value"


def _burn(kpi: Kpi, params: BurnRate) -> Iterable[Problem]:
    low, high = BOUNDS[kpi.unit]
    if not low < params.target < high:
        yield "target", f"target {params.target:g} must lie between {low:g} and {high:g} {kpi.unit}"
        return
    most = 1 / budget(kpi, params.target)
    if params.factor >= most:
        yield (
            "factor",
            (
                f"factor {params.factor:g} can never be reached: {params.target:g} {kpi.unit} leave a budget that "
                f"burns at most {most:.3g} times as fast as planned; try {most * 0.6:.2g}"
            ),
        )
    if window_minutes(params.short) >= window_minutes(params.long):
        yield "short", f"short window {params.short} must be shorter than the long one, {params.long}"


def _mix(kpi: Kpi, by: tuple[str, ...], params: MixShift) -> Iterable[Problem]:
    if params.label in by:
        yield "label", f"each series has one {params.label!r} only: 'label' must not be in 'by'"
    elif tuple(sorted({*by, params.label})) not in kpi.groupings:
        known = "; ".join(" × ".join(grouping) for grouping in kpi.groupings if set(grouping) > set(by))
        yield "label", f"{kpi.id} is not kept by {' × '.join(sorted({*by, params.label}))}; kept: {known or 'none'}"
