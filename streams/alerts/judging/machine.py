"""
The state machine of one instance: one rule on one series.

All clocks are event time. A minute that is never judged (an outage, history read in leaps) lets them go on: who was
pending for five minutes before a gap of an hour, and is in trouble after it, has been so for an hour. What happened
inside the gap is not made up: no transition carries a minute that was not judged.

| state | trouble | no trouble | cannot be judged |
|---|---|---|---|
| inactive | pending; firing if `for` is 0, or trouble is sure | - | pending if nothing came and no data shall alert |
| pending | firing once it lasted for `for`, or is sure | inactive | inactive after the no-data time |
| pending for no data | anew, for trouble | inactive | firing after the no-data time, if nothing came |
| firing | clocks of calm start anew | resolved once calm for long enough | resolved after the limit, see below |
| resolved | as inactive | inactive after a quarter of an hour | as inactive |

Calm for long enough means: no trouble for `keep_firing_for`, and beyond the recovery threshold for the recovery time,
without a break. Between the two thresholds a firing alert stays. One that has fired more than `flaps` times in
`flap_hours` stays until it was calm for `flap_hold`: better one long alert than ten short ones.

No verdict is no recovery: an alert that fires and cannot be judged any more, because too little comes or nothing at
all, fires on until recovery is shown, at most for the limit. Nothing at all may be a verdict of its own: whoever is
gone, or closed, is no trouble any more. But only once `MISSED` are missing at the pace of the last verdict: of a
customer an hour, a quiet quarter of an hour says nothing.

| no data means | too little to judge | nothing at all |
|---|---|---|
| `keep` | resolved after the limit | resolved after the limit |
| `ok` | resolved after the limit | resolved after the no-data time, once `MISSED` are missing, or after the limit |
| `alert` | resolved after the limit | fires on |

What ends because it cannot be judged any longer takes the evidence of its detector with it: when data is back, only
what is new can make it fire again.
"""

from __future__ import annotations

from math import ceil
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from streams.alerts.facts import length_of
from streams.alerts.rules.rules import NoData, NoDataAction
from streams.alerts.types import State, Transition, Verdict

RESOLVED_MINUTES: Final = 15
"""How long an alert stays resolved, in which receivers that were away hear of it, before it is inactive."""

MISSED: Final = 10
"""So many answers must be missing before nothing at all means anything."""

_NO_DATA: Final = NoData()

Cause: TypeAlias = Literal["trouble", "no data"]


class Policy(msgspec.Struct, frozen=True):
    """How long a rule waits before each change of state; all times in minutes."""

    window: int = 1
    """Length of the window that is judged."""
    for_: int = 0
    """Trouble must last as long before it fires."""
    keep_firing_for: int = 0
    """It fires on for as long after the trouble ended."""
    recover_for: int = 0
    """How long recovery must last."""
    no_data: NoDataAction = _NO_DATA.action
    """What it means that nothing came."""
    no_data_for: int = _NO_DATA.for_minutes
    """How long there must be nothing to judge before that counts."""
    unjudged_limit: int = _NO_DATA.limit_minutes
    """How long one that fires is held on at most while it cannot be judged."""
    flaps: int = 3
    """How often it may fire in `flap_hours` without being held back; 0: as often as it likes."""
    flap_hours: int = 6
    flap_hold: int = 60
    """How long one that flaps must be calm before it resolves."""


class Instance(msgspec.Struct, array_like=True, omit_defaults=True):
    """What is remembered of one rule on one series; a fresh one is as good as none."""

    state: State = "inactive"
    since: int = 0
    """The minute in which the state began."""
    cause: Cause = "trouble"
    calm_since: int | None = None
    """While firing: the first minute without trouble since the last with it."""
    recovered_since: int | None = None
    """While firing: the first minute beyond the recovery threshold since the last that was not."""
    unjudged_since: int | None = None
    """While pending or firing: the first of the last minutes that could not be judged."""
    empty_since: int | None = None
    """While pending or firing: the first of the last minutes that had nothing at all to judge."""
    fired: list[int] = []
    """Minutes in which it began to fire lately, while they matter."""
    detector: Any = None
    """What the detector remembers, in plain values."""
    episode: str = ""
    delivered: bool = False
    """Whether its firing was passed on in this episode: if so, so is its end."""
    held_by: str | None = None
    """What keeps it from being passed on."""
    last: Transition | None = None
    """How it was last passed on that it fires; kept until everybody can know that it ended."""
    ended: int | None = None
    """The minute in which what was passed on ended; None while it goes on."""
    during: list[int] = []
    """Of a ratio: trials and hits since the trouble began, while it lasts."""
    per_minute: float = 0.0
    """While pending or firing: answers a minute when it was last judged."""

    @property
    def is_fresh(self) -> bool:
        """Return whether nothing is lost if it is forgotten."""
        return self.state == "inactive" and self.detector is None and not self.fired and self.last is None


class Step(NamedTuple):
    """A change of state."""

    old: State
    new: State
    reason: str


def advance(instance: Instance, policy: Policy, minute: int, verdict: Verdict) -> Step | None:
    """
    Let an instance see the verdict of a minute, which must be later than any before; return its change of state.

    The instance is changed in place, all but what is about passing it on.
    """
    old = instance.state
    if instance.fired and old != "firing":
        _forget_flaps(instance, policy, minute)
    if old == "inactive" and (verdict.breach is False or (verdict.breach is None and policy.no_data != "alert")):
        return None
    if verdict.breach is not None:
        instance.per_minute = verdict.n / (length_of(verdict.window) if verdict.window else policy.window)
    if old in {"pending", "firing"}:
        _run_clocks(instance, minute, verdict)
        found = (_firing if old == "firing" else _pending)(instance, policy, minute, verdict)
    else:
        found = _quiet(instance, policy, minute, verdict)
    if found is None:
        return None
    new, reason = found
    _enter(instance, policy, new, minute)
    return Step(old, new, reason)


def ended_unjudged(step: Step, verdict: Verdict) -> bool:
    """Return whether a change of state is the end of what nobody saw the end of."""
    return verdict.breach is None and step.old in {"pending", "firing"} and step.new in {"inactive", "resolved"}


def ends_unjudged_at(instance: Instance, policy: Policy) -> int | None:
    """Return the minute in which a firing alert ends if it is not judged until then; None if it is judged, or stays."""
    if instance.unjudged_since is None or instance.cause == "no data":
        return None
    limit = instance.unjudged_since + policy.unjudged_limit
    if instance.empty_since is None or policy.no_data == "keep":
        return limit
    if policy.no_data == "alert":
        return None
    missed = ceil(MISSED / instance.per_minute) if instance.per_minute else 0
    return min(limit, instance.empty_since + max(policy.no_data_for, missed))


def is_flapping(instance: Instance, policy: Policy) -> bool:
    """Return whether it has fired more often of late than the policy lets pass."""
    return 0 < policy.flaps < len(instance.fired)


def minutes(count: int) -> str:
    """Write a time as people do: `5 min`, `2 h`, `1 h 30 min`."""
    hours, rest = divmod(count, 60)
    return " ".join([*([f"{hours} h"] if hours else []), *([f"{rest} min"] if rest or not hours else [])])


def _run_clocks(instance: Instance, minute: int, verdict: Verdict) -> None:
    """Start or stop the clocks of what cannot be judged."""
    if verdict.breach is not None:
        instance.unjudged_since = instance.empty_since = None
        return
    if instance.unjudged_since is None:
        instance.unjudged_since = minute
    if verdict.n:
        instance.empty_since = None
    elif instance.empty_since is None:
        instance.empty_since = minute


def _forget_flaps(instance: Instance, policy: Policy, minute: int) -> None:
    horizon = minute - 60 * policy.flap_hours
    if instance.fired[0] <= horizon:
        instance.fired = [fired for fired in instance.fired if fired > horizon]


def _quiet(instance: Instance, policy: Policy, minute: int, verdict: Verdict) -> tuple[State, str] | None:
    """Inactive, or resolved, which is the same but for its name."""
    if verdict.breach:
        instance.cause = "trouble"
        if policy.for_ <= 0 or verdict.is_sure:
            return "firing", verdict.reason
        return "pending", f"{verdict.reason}; fires if it lasts {minutes(policy.for_)}"
    if verdict.breach is None and policy.no_data == "alert" and not verdict.n:
        instance.cause = "no data"
        if policy.no_data_for <= 0:
            return "firing", "no data"
        return "pending", f"no data; fires if it lasts {minutes(policy.no_data_for)}"
    if instance.state == "resolved" and minute - instance.since >= RESOLVED_MINUTES:
        return "inactive", f"resolved {minutes(minute - instance.since)} ago"
    return None


def _pending(instance: Instance, policy: Policy, minute: int, verdict: Verdict) -> tuple[State, str] | None:
    lasted = minute - instance.since
    if instance.cause == "no data":
        if instance.empty_since is None:
            if verdict.breach:
                found = _quiet(instance, policy, minute, verdict)
                # The same state for another reason: no transition, but a clock of its own.
                instance.since = minute
                return found if found is not None and found[0] != "pending" else None
            return "inactive", f"data is back: {verdict.reason}"
        return ("firing", f"no data for {minutes(lasted)}") if lasted >= policy.no_data_for else None
    if verdict.breach:
        due = lasted >= policy.for_ or verdict.is_sure
        return ("firing", f"{verdict.reason}; for {minutes(lasted)}") if due else None
    if verdict.breach is False:
        return "inactive", f"{verdict.reason}; after {minutes(lasted)}"
    assert instance.unjudged_since is not None
    if policy.no_data == "alert" and instance.empty_since is not None:
        empty = minute - instance.empty_since
        instance.cause = "no data" if empty >= policy.no_data_for else "trouble"
        return ("firing", f"no data for {minutes(empty)}") if instance.cause == "no data" else None
    unjudged = minute - instance.unjudged_since
    if unjudged < policy.no_data_for:
        return None
    return "inactive", f"{verdict.reason or 'no data'}, not judged for {minutes(unjudged)}"


def _firing(instance: Instance, policy: Policy, minute: int, verdict: Verdict) -> tuple[State, str] | None:
    if verdict.breach:
        instance.cause, instance.calm_since, instance.recovered_since = "trouble", None, None
        return None
    if verdict.breach is None and not (instance.cause == "no data" and verdict.n):
        end = ends_unjudged_at(instance, policy)
        if end is None or minute < end:
            return None
        assert instance.unjudged_since is not None
        unjudged = minute - instance.unjudged_since
        return "resolved", f"{verdict.reason or 'no data'}, not judged for {minutes(unjudged)}"
    if instance.calm_since is None:
        instance.calm_since = minute
    if verdict.recovered is False:
        instance.recovered_since = None
        return None
    if instance.recovered_since is None:
        instance.recovered_since = minute
    calm, recovered = minute - instance.calm_since, minute - instance.recovered_since
    if calm < policy.keep_firing_for or recovered < policy.recover_for:
        return None
    if is_flapping(instance, policy) and recovered < policy.flap_hold:
        return None
    reason = verdict.reason
    if calm:
        reason += f"; no trouble for {minutes(calm)}"
    if is_flapping(instance, policy):
        reason += f", held because it fired {len(instance.fired)} times in {policy.flap_hours} h"
    return "resolved", reason


def _enter(instance: Instance, policy: Policy, new: State, minute: int) -> None:
    """Take on a state."""
    instance.state, instance.since = new, minute
    instance.calm_since = instance.recovered_since = instance.unjudged_since = instance.empty_since = None
    if new == "firing":
        instance.fired = [*instance.fired, minute] if policy.flaps else []
