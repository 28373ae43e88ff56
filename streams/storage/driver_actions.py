"""What is known of actions on drivers as rows of the table `driver_actions`."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from streams.drivers.actions import JudgedAction

ACTION_COLUMNS: Final = (
    "judged_at", "outcome", "unit", "since", "until", "n", "place", "standing", "why", "action", "driver", "now",
    "goal", "how", "owner", "days", "gain", "gain_lo", "gain_hi", "each", "q", "customers", "money", "at_stake",
    "currency", "worth", "together", "basis", "experiment", "shown",
)  # fmt: skip


class JudgedRun(NamedTuple):
    """What all rows of a run have in common: the first columns of each."""

    judged_at: datetime
    outcome: str
    unit: str
    since: datetime
    until: datetime
    n: int


def action_rows(run: JudgedRun, judged: Sequence[JudgedAction], currency: str | None) -> Iterator[list[Any]]:
    """Return the rows of a run, in the order of `ACTION_COLUMNS`."""
    for number, one in enumerate(judged, 1):
        plan, gain, proven = one.plan, one.gain, one.proven
        yield [
            *run, number if one.standing == "ranked" else 0, one.standing, one.why, plan.id if plan else "",
            one.driver, one.now, one.to, plan.how if plan else "", plan.owner if plan else "",
            plan.days if plan else None, gain.value if gain else None, gain.lo if gain else None,
            gain.hi if gain else None, one.each.value if one.each else None, one.q, one.touched, one.money,
            one.at_stake, currency or "", one.score, [*one.together], one.basis,
            plan.experiment if plan else "", proven.verdict if proven else "",
        ]  # fmt: skip
