"""Reading how many answers a KPI needs to be shown, and when its owner wants to hear of it."""

import math
from typing import Final, get_args

from streams.kpis.language.blocks import YamlBlock
from streams.kpis.language.definition import Alert, Gates, Method
from streams.kpis.language.lengths import WINDOWS, window_minutes

# What is judged against its own past needs no target; what is judged by single answers needs such as hit or miss.
_UNTARGETED: Final = ("seasonal", "absence")
_BERNOULLI: Final = ("ztest", "cusum", "burn_rate")
_BOUNDS: Final = {
    "percent": (0.0, 100.0),
    "fraction": (0.0, 1.0),
    "points": (-100.0, 100.0),
    "per_100": (0.0, math.inf),
}


def read_gates(block: YamlBlock, *, lasting: bool) -> Gates:
    """Read `min_n`; what lasts has a value in windows without any change, so it needs none by default."""
    given = block.block("min_n")
    if given is None:
        return Gates(0, 0, 0) if lasting else Gates()
    given.expect((), ("show", "colour", "alert"))
    default = Gates()
    gates = Gates(*(given.whole(key, getattr(default, key), 10**9) for key in ("show", "colour", "alert")))
    if not gates.show <= gates.colour <= gates.alert:
        given.problem("show", "needs show ≤ colour ≤ alert")
    return gates


def read_alert(block: YamlBlock, aggregator: str, unit: str) -> Alert | None:
    """Read the alert a KPI comes with."""
    given = block.block("alert")
    if given is None:
        return None
    method: Method = given.choice("method", get_args(Method), "floor")
    needed = () if method in _UNTARGETED else ("target",)
    given.expect(("method", *needed, "window"), ("for",))
    if method in _BERNOULLI and aggregator != "ratio":
        given.problem("method", f"{method} judges hits among trials: it is for a ratio, not for {aggregator}")
    if needed and block.plain("direction") == "none":
        given.problem("method", f"{method} needs a better and a worse side: 'direction' is none")
    target = given.plain("target") if "target" in given else None
    low, high = _BOUNDS.get(unit, (-math.inf, math.inf))
    if target is not None and not (type(target) in {int, float} and low <= target <= high):
        given.problem("target", f"target {target!r} is no value in {unit}")
        target = None
    window = given.choice("window", WINDOWS, WINDOWS[0])
    try:
        lasting = window_minutes(str(given.plain("for"))) if "for" in given else 0
    except ValueError as error:
        given.problem("for", f"for: {error}")
        lasting = 0
    return Alert(method, target, window, lasting, f"{given.file}:{block.line_of('alert')}")
