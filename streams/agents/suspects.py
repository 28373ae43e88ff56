"""What was released or begun shortly before trouble began: its first suspects, in words."""

from collections.abc import Sequence
from typing import NamedTuple

from streams.alerts.judging.outcome import begun
from streams.alerts.types import Transition
from streams.events.families.change import DEPLOYED
from streams.wording.moments import minutes_text


class RecentChange(NamedTuple):
    """A release or the start of a campaign."""

    type: str
    at: int
    """Unix s."""
    channel: str
    what: str
    version: str


def suspects_texts(changes: Sequence[RecentChange], transition: Transition) -> dict[str, str]:
    """Return the annotations `suspects` and `suspects_fa`; none without any change."""
    began = 60 * (begun(transition.episode) + 1)
    return {
        name: text
        for name, text in {
            "suspects": "; ".join(_english(change, began) for change in changes),
            "suspects_fa": "؛ ".join(_persian(change, began) for change in changes),
        }.items()
        if text
    }


def _english(change: RecentChange, began: int) -> str:
    before = minutes_text(max(0, began - change.at) // 60, "en")
    done = "was deployed" if change.type == DEPLOYED else "(campaign) began"
    return f"{_name(change)} {done} {before} before it"


def _persian(change: RecentChange, began: int) -> str:
    before = minutes_text(max(0, began - change.at) // 60, "fa")
    done = "منتشر شد" if change.type == DEPLOYED else "(کارزار) آغاز شد"
    return f"{_name(change)} {before} پیش از آن {done}"


def _name(change: RecentChange) -> str:
    return " ".join(filter(None, [change.what, change.version]))
