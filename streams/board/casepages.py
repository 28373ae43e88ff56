"""The pages of cases: from what is known to HTML, whole once, then only the fragments that have changed."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from markupsafe import Markup

from streams.board.acting import ActionAnswer
from streams.board.casewatch import OPEN_READ, KnownCases
from streams.board.formats import pseudonym
from streams.board.pages import templates
from streams.board.queue import CaseNames, CaseView, choices
from streams.board.story import story_lines
from streams.kpis.language.steps import Steps
from streams.loop.acting import OUTCOMES
from streams.wording.case_texts import in_persian
from streams.wording.numbers import number
from streams.wording.texts import Texts


class Shell(NamedTuple):
    """
    What a page says to one reader alone, which the fragments do not.

    Attributes:
        by: Who is signed in; empty: nobody.
        says: What became of what was just done.
    """

    by: str = ""
    says: str = ""
    refused: bool = False


class CasePages:
    """
    Renders views of cases; holds no state but the templates.

    Args:
        names: What cases are called, and their rules.
        opens: Whether rules open cases here.
        writes: Whether people may act on them here.
        days: Whose zone and calendar days are shown by.
    """

    def __init__(self, names: CaseNames, *, opens: bool, writes: bool, days: Steps) -> None:
        self._names = names
        self._opens = opens
        self._writes = writes
        self._templates = templates(days)

    def whole(self, view: CaseView, known: KnownCases, now: float, shell: Shell = Shell()) -> str:  # noqa: B008 - never changed
        """Return the page of a view."""
        owners = sorted({row.owner for row, _ in (*known.open, *known.closed)} - {""})
        return self._render(
            "cases.html",
            view,
            fragments=self.fragments(view, known, now),
            shell=shell,
            owners=owners,
        )

    def sign_in(self, view: CaseView, back: str, word: str) -> str:
        """Return the page that asks for the key; `word` says why it was not taken."""
        return self._render("sign_in.html", view, back=back, said=Texts(view.lang).get(word, word))

    def says(self, view: CaseView, answer: ActionAnswer) -> str:
        """Return what became of an action in the language of the reader."""
        said = in_persian(answer.says) if view.lang == "fa" else answer.says
        return f"{said} {Texts(view.lang)['done_before']}" if answer.repeat else said

    def fragments(self, view: CaseView, known: KnownCases, now: float) -> Mapping[str, str]:
        """Return the parts of a page that change, by the id of the element that holds them; `now` is unix s."""
        parts = {"status": self._render("cases_status.html", view, known=known)}
        if view.case_id:
            row = known.opened.get(view.case_id)
            parts["case"] = self._case(view, known, now)
            parts["story"] = self._story(view, known, row.subject if row else "")
        elif view.event:
            parts["story"] = self._story(view, known, known.senders.get(view.event, ""))
        else:
            ranked = known.closed if view.state == "closed" else known.open
            parts["filters"] = self._render(
                "cases_filters.html", view, offered=choices(self._names, [*known.open, *known.closed], view)
            )
            parts["queue"] = self._render(
                "cases_queue.html",
                view,
                known=known,
                queue=self._names.queue(ranked, view, known.ranked_at or now),
                opens=self._opens,
                capped=number(OPEN_READ, view.lang, 0) if len(known.open) >= OPEN_READ else "",
            )
        return {name: Markup(text) for name, text in parts.items()}  # noqa: S704 - made by our own templates

    def _case(self, view: CaseView, known: KnownCases, now: float) -> str:
        row = known.opened.get(view.case_id)
        return self._render(
            "case.html",
            view,
            known=known,
            asked=view.case_id in known.opened,
            line=None if row is None else self._names.line(row, view, now),
            history=[] if row is None else self._names.history(row, view.lang),
        )

    def _story(self, view: CaseView, known: KnownCases, subject: str) -> str:
        story = known.stories.get(subject)
        return self._render(
            "story.html",
            view,
            known=known,
            who=pseudonym(subject),
            asked=story is not None or view.event in known.senders or (view.case_id in known.opened and not subject),
            lines=story_lines(story, self._names, view) if story else [],
            left_out=story.left_out if story else 0,
            emptied=story.emptied if story else 0,
            theirs=[
                self._names.line(row, replace(view, event=""), now=known.ranked_at)
                for row, _ in (*known.open, *known.closed)
                if view.event and row.subject == subject
            ],
        )

    def _render(self, template: str, view: CaseView, **values: Any) -> str:
        def count(value: float) -> str:
            return number(value, view.lang, 0)

        return self._templates.get_template(template).render(
            view=view, t=Texts(view.lang), count=count, writes=self._writes, outcomes=OUTCOMES, **values
        )
