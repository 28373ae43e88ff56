"""One customer's story: what happened, was said and done, and which alerts fired at the time; newest first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, Final, NamedTuple

import msgspec

from streams.alerts.judging.outcome import begun
from streams.board.feed import AlertRow
from streams.board.formats import direction_of, plain_labels
from streams.board.queue import CaseNames, CaseView
from streams.events.types import VERBATIM_TYPES, Envelope
from streams.wording.event_names import EVENT_NAMES, FIELD_NAMES
from streams.wording.masking import masked
from streams.wording.numbers import number
from streams.wording.texts import LANGS, Lang, Texts

EVENTS_READ: Final = 200
"""The newest ones of a customer."""
LINES_SHOWN: Final = 120
NEAR_S: Final = 900
"""Alerts that fired within this of what a customer said or had to call about."""
ALERTS_SHOWN: Final = 10
_LONGEST_VALUE: Final = 60
_TELLING: Final = (
    "cx.survey.answered",
    "cx.feedback.",
    "cx.review.",
    "cx.contact.opened",
    "cx.case.opened",
    "cx.payment.failed",
)
_KINDS: Final[Mapping[str, str]] = {
    "cx.survey.answered": "answer", "feedback": "answer", "review": "answer", "social": "answer",
    "contact": "contact", "ticket": "contact", "case": "case",
    "order": "order", "payment": "order", "promise": "order", "subscription": "order",
}  # fmt: skip
"""By type or family of an event; all others are plain ones."""


@dataclass(frozen=True, slots=True)
class CustomerStory:
    """
    What is stored of a customer, and which alerts fired since its first event.

    `left_out` are older events, `emptied` those whose payload is past its retention.
    """

    events: Sequence[Envelope] = ()
    derived: Sequence[Mapping[str, Any]] = ()
    alerts: Sequence[AlertRow] = ()
    left_out: int = 0
    emptied: int = 0


class StoryLine(NamedTuple):
    """One line; `at` is unix s, `times` how often it happened one after the other."""

    at: float
    kind: str
    what: str
    where: str
    says: str
    words: str = ""
    href: str = ""
    times: int = 1

    @property
    def direction(self) -> str:
        """Writing direction of the customer's words."""
        return direction_of(self.words)


def story_lines(story: CustomerStory, names: CaseNames, view: CaseView) -> list[StoryLine]:
    """Return the story, the newest first; what is the same one after the other is one line."""
    lines = [_event(event, names, view) for event in story.events]
    lines += [_derived(one, view.lang) for one in story.derived if not one["data"].get("withdrawn")]
    lines += [_alert(alert, began, view.lang) for alert, began in _near(story)]
    lines.sort(key=lambda line: line.at, reverse=True)
    found = []
    for _, same in groupby(lines, key=lambda line: (line.what, line.where, line.says, line.words, line.href)):
        group = list(same)
        found.append(group[0]._replace(times=len(group)))
    return found[:LINES_SHOWN]


def _event(event: Envelope, names: CaseNames, view: CaseView) -> StoryLine:
    lang, texts = view.lang, Texts(view.lang)
    data = {name: value for name, value in msgspec.to_builtins(event.data).items() if value is not None}
    pair = EVENT_NAMES.get(event.type)
    where = texts.get(event.channel, event.channel), names.touchpoint(event.touchpoint or "", lang)
    case_id = str(data.get("case_id", ""))
    if event.type.startswith("cx.case.") and "reason" in data:
        data["reason"] = names.cause(str(data["reason"]), lang)
    return StoryLine(
        event.time.timestamp(),
        _KINDS.get(event.type) or _KINDS.get(event.type.split(".")[1], "event"),
        pair[LANGS.index(lang)] if pair else event.type.removeprefix("cx.").replace(".", ": ").replace("_", " "),
        " · ".join(filter(None, where)),
        _says(data, lang),
        masked(str(data.get("text", ""))) if event.type in VERBATIM_TYPES else "",
        view.link(case_id=case_id, event="") if case_id else "",
    )


def _says(data: Mapping[str, Any], lang: Lang) -> str:
    texts, parts = Texts(lang), []
    if isinstance(score := data.get("score"), int):
        of = f" {texts['of']} {number(data['scale'], lang)}" if isinstance(data.get("scale"), int) else ""
        parts.append(f"{number(score, lang)}{of}")
    for name, pair in FIELD_NAMES.items():
        value = data.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float | str) or value == "":
            continue
        text = value[:_LONGEST_VALUE] if isinstance(value, str) else number(value, lang)
        if name == "outcome":
            text = texts.get(f"outcome_{text}", text)
        parts.append(f"{pair[LANGS.index(lang)]}: {text}")
    return " · ".join(parts)


def _derived(one: Mapping[str, Any], lang: Lang) -> StoryLine:
    data = one["data"]
    said = str(data.get("outcome", ""))
    return StoryLine(
        datetime.fromisoformat(str(one["time"])).timestamp(),
        "found",
        Texts(lang)["found_relation"],
        str(one["source"]).partition("/")[2].replace("_", " "),
        Texts(lang).get(f"outcome_{said}", said.replace("_", " ")),
    )


def _near(story: CustomerStory) -> Iterable[tuple[AlertRow, float]]:
    """Yield alerts that fired when the customer had something to say, with when they began."""
    moments = [event.time.timestamp() for event in story.events if event.type.startswith(_TELLING)]
    channels = {event.channel for event in story.events}
    found = []
    for alert in story.alerts:
        began = 60 * (begun(alert.episode) + 1)
        ended = alert.at if alert.state == "resolved" else float("inf")
        theirs = alert.labels.get("channel") in {None, *channels}
        if not began or alert.state not in {"firing", "resolved"} or alert.inhibited_by or not theirs:
            continue
        if any(began - NEAR_S <= at <= ended + NEAR_S for at in moments):
            found.append((alert, float(began)))
    return found[:ALERTS_SHOWN]


def _alert(alert: AlertRow, began: float, lang: Lang) -> StoryLine:
    texts = Texts(lang)
    said = alert.texts.get("summary_fa" if lang == "fa" else "summary") or alert.texts.get("summary") or alert.rule
    return StoryLine(
        began, "alert", f"{texts['alert']}: {texts.get(alert.state, alert.state)}", plain_labels(alert.labels), said
    )
