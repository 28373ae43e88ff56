"""What to do first about satisfaction, as the page shows it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from streams.wording.numbers import compact, number
from streams.wording.texts import Lang, Texts

ACTIONS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class StoredAction:
    """
    A ranked action of the newest run.

    Attributes:
        at: When it was judged, unix s.
        how: What is done, as its team wrote it.
        owner: Who would do it.
        days: Days of work.
        gain: What mean satisfaction gains, in points.
        lo: Lower end of its interval.
        hi: Upper end.
        customers: Whom it touches a month.
        at_stake: Their money a month; None: not known.
        currency: Of it.
        basis: association or experiment.
    """

    at: float
    how: str
    owner: str
    days: float
    gain: float
    lo: float
    hi: float
    customers: float
    at_stake: float | None
    currency: str
    basis: str


@dataclass(frozen=True, slots=True)
class ActionView:
    """An action as shown: what is done, and the facts beside it."""

    how: str
    owner: str
    at: float
    gain: str
    facts: tuple[str, ...]


def action_views(actions: Iterable[StoredAction], lang: Lang) -> list[ActionView]:
    """Return actions in their order."""
    texts, views = Texts(lang), []
    for one in actions:
        ends = f"{number(one.lo, lang, 2)} {texts['to']} {number(one.hi, lang, 2)}"
        gain = f"{number(one.gain, lang, 2, sign=True)} ({ends})"
        facts = [
            f"{compact(round(one.customers), lang)} {texts['customers_a_month']}",
            *(
                [f"{compact(round(one.at_stake), lang)} {one.currency} {texts['at_stake']}".replace("  ", " ")]
                if one.at_stake is not None
                else []
            ),
            f"{number(one.days, lang)} {texts['days_of_work']}",
            texts[one.basis],
        ]
        views.append(ActionView(one.how, one.owner, one.at, gain, tuple(facts)))
    return views
