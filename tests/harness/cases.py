"""Cases at a desk in memory: facts and actions at times, and what is decided."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from streams.loop.case import PREFIX, Case
from streams.loop.definition import CaseRules
from streams.loop.desk import CaseDesk, CaseNews
from streams.loop.rows import CaseRow, row_of
from streams.relations.facts import Fact, milliseconds
from streams.relations.ranges import FactRange

FAR_OFF_S = 4e9
"""A clock that says nothing of when clocks of cases end: that is for the watermark alone."""


def at(text: str) -> int:
    """Give a moment such as `05-01T09:00` of 2026, or with year and offset, in milliseconds."""
    moment = datetime.fromisoformat(text if text.count("-") > 1 and text[4] == "-" else f"2026-{text}")
    return milliseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def survey(time: int, name: str, score: int, metric: str = "nps", **values: Any) -> Fact:
    return Fact(
        time, "/crm", name, "cx.survey.answered", {"metric": metric, "score": score, "channel": "web", **values}
    )


def action(time: int, name: str, what: str, case_id: str, **values: Any) -> Fact:
    return Fact(time, "/people", name, PREFIX + what, {"case_id": case_id, **values})


class Desk:
    """
    A desk whose process may be killed, and what it has told.

    Attributes:
        log: What was given to read, a range at a time.
        saved: The changelog.
        told: Every change by the name of its event, as it was told last.
    """

    def __init__(self, rules: CaseRules) -> None:
        self.rules = rules
        self.log: list[FactRange] = []
        self.acknowledged = 0
        self.saved: dict[bytes, bytes] = {}
        self.news: dict[str, CaseNews] = {}
        self.times_told: list[str] = []
        self.desk = CaseDesk(rules)

    def give(self, *facts: tuple[str, Fact], until: int | None = None) -> None:
        """Have facts read, and the watermark moved."""
        watermark = max((fact.time for _, fact in facts), default=0) if until is None else until
        one = FactRange("web/0", len(self.log), len(self.log), watermark / 1000 + 0.001, True, list(facts))
        self.log.append(one)
        self.desk.take(one, len(self.log) - 1)

    def step(self, stop: int | None = None) -> None:
        """Take a step; `stop` kills the process after so many of its writes."""
        left = [stop]

        def write() -> bool:
            if left[0] is not None:
                left[0] -= 1
            return left[0] is not None and left[0] < 0

        if self.desk.begin(FAR_OFF_S):
            for key, value in self.desk.records():
                if write():
                    return self.restart()
                self.saved.pop(key, None) if value is None else self.saved.__setitem__(key, value)
            for told in self.desk.news:
                if write():
                    return self.restart()
                if told.change.event is not None:
                    name = told.change.event.id
                    self.news[name] = told
                    self.times_told.append(name)
            key, value = self.desk.end()
            if write():
                return self.restart()
            self.saved[key] = value or b""
        self.acknowledged = self.desk.complete + 1
        return None

    def restart(self) -> None:
        """Go on in a new process."""
        self.desk = CaseDesk(self.rules)
        self.desk.restore(self.saved.items())
        for position in range(self.acknowledged, len(self.log)):
            self.desk.take(self.log[position], position)

    def cases(self) -> dict[tuple[str, str], Case]:
        """Give all cases by customer and id."""
        found = ((key, file.case(self.rules.clock_of)) for *key, file in self.desk.files())
        return {(key[0], key[1]): case for key, case in found if case is not None}

    def row(self, case_id: str) -> CaseRow:
        """Give the row of a case."""
        for subject, name, file in self.desk.files():
            case = file.case(self.rules.clock_of)
            if name == case_id and case is not None:
                return row_of(subject, file, case)
        raise KeyError(case_id)

    def said(self, what: str) -> list[str]:
        """Give the names of all events of a kind that were told, each time that they were."""
        kinds = {name: one.change.event.type for name, one in self.news.items() if one.change.event}
        return [name for name in self.times_told if kinds[name] == PREFIX + what]


def only(cases: Iterable[Case]) -> Case:
    """Give the only one there is."""
    (found,) = cases
    return found
