"""How synthetic paths do, as the page shows it where there are any: which succeed, which do not, which are silent."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from streams.board.feed import AlertRow
from streams.board.readings import PublishedReading
from streams.wording.numbers import interval_text, number, one_text
from streams.wording.texts import Lang, Texts, window_text

SCRIPTED_KPI: Final = "synthetic_success"
SCRIPTED_WINDOW: Final = "15m"
"""That of the rule that watches them."""
SCRIPTED_SHOWN: Final = 12

Doing: TypeAlias = Literal["fails", "silent", "partly", "succeeds"]


@dataclass(frozen=True, slots=True)
class ScriptedPath:
    """
    What is stored of a synthetic path.

    Attributes:
        path: Its id.
        reading: Share of its runs that succeeded lately.
        ran: End of the newest minute with a run, unix s.
    """

    path: str
    reading: PublishedReading
    ran: int


@dataclass(frozen=True, slots=True)
class ScriptedView:
    """A synthetic path as shown; `text` is in the reader's language."""

    path: str
    doing: Doing
    mark: str
    text: str
    tip: str
    ran: int


_MARKS: Final[dict[Doing, str]] = {"fails": "✗", "silent": "?", "partly": "?", "succeeds": "✓"}


def scripted_views(paths: Iterable[ScriptedPath], alerts: Iterable[AlertRow], lang: Lang) -> list[ScriptedView]:
    """Return the paths, those in trouble first."""
    texts = Texts(lang)
    firing = {
        alert.labels.get("path", "") for alert in alerts
        if alert.state == "firing" and not alert.inhibited_by and alert.kpi.startswith("synthetic_")
    }  # fmt: skip
    views = []
    for one in paths:
        reading = one.reading
        doing = _doing(reading, fires=one.path in firing)
        if reading.value is None or not reading.n:
            text, ends = texts["no_runs"], ""
        else:
            text = f"{one_text(reading.value, 'percent', lang)} · {texts['n']} {number(reading.n, lang, 0)}"
            ends = interval_text(reading.lo, reading.hi, "percent", lang)
        tip = f"{texts[f'path_{doing}']}; {window_text(SCRIPTED_WINDOW, lang)}"
        views.append(
            ScriptedView(
                one.path, doing, _MARKS[doing], text, f"{tip}; {texts['interval']} {ends}" if ends else tip, one.ran
            )
        )
    views.sort(key=lambda view: (tuple(_MARKS).index(view.doing), view.path))
    return views[:SCRIPTED_SHOWN]


def _doing(reading: PublishedReading, *, fires: bool) -> Doing:
    if fires:
        return "fails"
    if reading.value is None or not reading.n:
        return "silent"
    return "succeeds" if reading.value >= 100 else "partly"
