"""Cases as the page shows them: the queue in the order of urgency, what a reader has chosen of it, and one case."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import quote, urlencode

from streams.board.formats import pseudonym
from streams.events.touchpoints import Touchpoint
from streams.loop.acting import COMMAND, PAGE
from streams.loop.definition import CaseRules
from streams.loop.rows import CaseRow
from streams.loop.urgency import Scored, Urgency, in_urgency
from streams.wording.case_texts import in_persian
from streams.wording.numbers import digits, number
from streams.wording.texts import Lang, Texts

STATES: Final = ("open", "waiting", "missed", "closed")
NOBODY: Final = "-"
"""In an address: cases without an owner."""
SHOWN: Final = 100
"""Cases on the page; the others come up as these are closed, or are chosen by the filters."""
SOON_MS: Final = 7_200_000
"""A clock that ends within this is soon over, if its cause does not say when to warn."""
_LONGEST: Final = 200
_LEAST: Final = 0.05
"""Parts below it are shown as 0."""
RankedCase: TypeAlias = tuple[CaseRow, Urgency]
Level: TypeAlias = Literal["over", "soon", "later", "none"]


@dataclass(frozen=True, slots=True)
class CaseView:
    """What a reader has chosen; everything else is the same for all."""

    lang: Lang = "en"
    state: str = "open"
    cause: str = ""
    owner: str = ""
    touchpoint: str = ""
    case_id: str = ""
    """Empty: the queue."""
    event: str = ""
    """The story of whoever sent this event, `topic/partition/offset`, instead of the queue."""

    @classmethod
    def of(cls, query: Mapping[str, str], case_id: str = "", event: str = "") -> "CaseView":
        """Read a choice from the address; a state that does not exist falls back to what is open."""
        chosen = {name: query.get(name, "")[:_LONGEST] for name in ("cause", "owner", "touchpoint")}
        state, lang = query.get("state", ""), query.get("lang", "")
        return cls(
            "fa" if lang == "fa" else "en", state if state in STATES else "open", **chosen, case_id=case_id, event=event
        )

    def link(self, **changes: str) -> str:
        """Return the address of this view with something changed; defaults are left out."""
        other, default = replace(self, **changes), CaseView()  # type: ignore[arg-type]
        chosen = {
            name: getattr(other, name)
            for name in ("lang", "state", "cause", "owner", "touchpoint")
            if getattr(other, name) != getattr(default, name)
        }
        path = f"/cases/{quote(other.case_id, safe='')}" if other.case_id else "/cases"
        path = f"/customers/{quote(other.event)}" if other.event else path
        return f"{path}?{urlencode(chosen)}" if chosen else path

    def sign_in(self) -> str:
        """Return the address of the page that asks for the key, and leads back here."""
        return f"/sign-in?{urlencode({'lang': self.lang, 'next': self.link()})}"

    def stream(self) -> str:
        """Return the address of this view's events."""
        return f"/stream{self.link()}"

    def takes(self, row: CaseRow) -> bool:
        """Return whether a case is one of those that were chosen."""
        if self.state == "missed" and (row.state == "closed" or not row.missed):
            return False
        if self.state in {"waiting", "closed"} and row.state != self.state:
            return False
        asked = (self.cause, row.cause), (self.owner, row.owner or NOBODY), (self.touchpoint, row.touchpoint)
        return all(wanted in {"", found} for wanted, found in asked)


class PartView(NamedTuple):
    """A part of the priority of a case."""

    name: str
    points: str
    text: str
    counts: bool


class DueView(NamedTuple):
    """The clock of a case that ends next: which, when (unix s), and how near that is."""

    clock: str
    at: float
    level: Level


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseLine:
    """A case in the queue."""

    row: CaseRow
    href: str
    cause: str
    urgency: str
    parts: Sequence[PartView]
    due: DueView
    who: str
    where: str
    state: str
    outcome: str

    @property
    def first(self) -> str:
        """What most of the urgency comes of, in one line."""
        return " · ".join(f"{part.name} {part.points}" for part in self.parts if part.counts)


class HistoryLine(NamedTuple):
    """One line of what has happened to a case; `at` is unix s, `via` is where a person did it."""

    at: float
    what: str
    refused: str
    via: str


class Queue(NamedTuple):
    """The cases that were chosen, the most urgent first, and how many there are."""

    lines: Sequence[CaseLine]
    total: int

    @property
    def more(self) -> int:
        """How many are not shown."""
        return self.total - len(self.lines)


class CaseNames:
    """What cases are called in the languages of the page."""

    def __init__(self, rules: CaseRules, touchpoints: Mapping[str, Touchpoint]) -> None:
        self.rules = rules
        self._touchpoints = touchpoints

    def cause(self, cause: str, lang: Lang) -> str:
        """Return the name of a cause; of one that no rule knows, what its sender called it."""
        found = self.rules.causes.get(cause)
        return (found.name.get(lang) or found.name.get("en") or cause) if found else cause

    def touchpoint(self, touchpoint: str, lang: Lang) -> str:
        """Return the name of a touchpoint."""
        found = self._touchpoints.get(touchpoint)
        return touchpoint.replace("_", " ") if found is None else found.fa if lang == "fa" else found.en

    def rank(self, rows: Iterable[CaseRow], now: float) -> list[RankedCase]:
        """Return cases in the order of their urgency at `now` (unix s)."""
        return in_urgency(rows, self.rules.parts, CaseRow.standing, int(now * 1000))

    def queue(self, ranked: Iterable[RankedCase], view: CaseView, now: float) -> Queue:
        """Return the chosen ones of ranked cases, with how near their clocks are at `now` (unix s)."""
        chosen = [(row, urgency) for row, urgency in ranked if view.takes(row)]
        lines = [self._line(row, view, urgency, int(now * 1000)) for row, urgency in chosen[:SHOWN]]
        return Queue(lines, len(chosen))

    def line(self, row: CaseRow, view: CaseView, now: float) -> CaseLine:
        """Return one case."""
        ((_, urgency),) = self.rank([row], now)
        return self._line(row, view, urgency, int(now * 1000))

    def history(self, row: CaseRow, lang: Lang) -> list[HistoryLine]:
        """Return what has happened to a case, the newest first; what was refused is part of it."""
        said = in_persian if lang == "fa" else str
        texts = Texts(lang)
        ways = {PAGE: texts["via_page"], COMMAND: texts["via_command"]}
        opened = f"opened: {row.cause}"
        return [
            HistoryLine(
                one.at / 1000,
                said(f"opened: {self.cause(row.cause, lang)}" if one.what == opened else one.what),
                said(one.refused),
                ways.get(one.name.partition(" ")[0], ""),
            )
            for one in reversed(row.story)
        ]

    def _line(self, row: CaseRow, view: CaseView, urgency: Urgency, now: int) -> CaseLine:
        lang, texts = view.lang, Texts(view.lang)
        where = texts.get(row.channel, row.channel), self.touchpoint(row.touchpoint, lang), row.segment
        return CaseLine(
            row=row,
            href=view.link(case_id=row.case_id),
            cause=self.cause(row.cause, lang),
            urgency=_points(urgency.score, lang),
            parts=_parts(urgency.parts, lang),
            due=self._due(row, now),
            who=pseudonym(row.subject),
            where=" · ".join(filter(None, where)),
            state=texts[f"state_{row.state}"],
            outcome=texts.get(f"outcome_{row.outcome}", row.outcome),
        )

    def _due(self, row: CaseRow, now: int) -> DueView:
        if row.due is None:
            return DueView("", 0.0, "none")
        clock = "contact" if row.due == row.contact_due and row.contacted is None else "close"
        cause = self.rules.causes.get(row.cause)
        soon = (cause.warns_ms if cause else 0) or SOON_MS
        left = row.due - now
        return DueView(clock, row.due / 1000, "over" if left < 0 else "soon" if left <= soon else "later")


def _points(value: float, lang: Lang) -> str:
    shown = round(value, 1)
    return number(shown, lang, 0 if shown == int(shown) else 1)


def _parts(scored: Sequence[Scored], lang: Lang) -> list[PartView]:
    """Return the parts of a priority, those that count most first."""
    texts = Texts(lang)
    return [
        PartView(
            texts.get(f"part_{one.name}", one.name),
            _points(one.points, lang),
            digits(one.text, lang) if one.known else texts["not_known"],
            abs(one.points) >= _LEAST,
        )
        for one in sorted(scored, key=lambda one: -abs(one.points))
    ]


class Choices(NamedTuple):
    """What there is to choose among the cases that are known: value and name of each."""

    causes: Sequence[tuple[str, str]]
    owners: Sequence[tuple[str, str]]
    touchpoints: Sequence[tuple[str, str]]


def choices(names: CaseNames, ranked: Iterable[RankedCase], view: CaseView) -> Choices:
    """Return what the filters offer; what is chosen is always among it."""
    rows, texts = [row for row, _ in ranked], Texts(view.lang)
    causes = {view.cause, *(row.cause for row in rows)} - {""}
    owners = {view.owner, *(row.owner or NOBODY for row in rows)} - {""}
    touchpoints = {view.touchpoint, *(row.touchpoint for row in rows)} - {""}
    return Choices(
        sorted(((one, names.cause(one, view.lang)) for one in causes), key=lambda pair: pair[1]),
        sorted((one, texts["nobody"] if one == NOBODY else one) for one in owners),
        sorted(((one, names.touchpoint(one, view.lang)) for one in touchpoints), key=lambda pair: pair[1]),
    )
