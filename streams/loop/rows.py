"""A case as it is published, stored and shown."""

from collections.abc import Iterator
from typing import Final

import msgspec

from streams.loop.case import CLOCKS, Case, ClockName, State
from streams.loop.files import CaseFile
from streams.loop.urgency import Standing
from streams.loop.writes import done, name_of


class Happening(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    One line of the story of a case; the time in milliseconds since 1970.

    Attributes:
        name: Source and id of the event.
        refused: Why it was not taken; empty: it was.
    """

    at: int
    what: str
    name: str
    refused: str = ""


class CaseRow(msgspec.Struct, frozen=True, kw_only=True):
    """
    A case as it stands; times in milliseconds since 1970.

    Attributes:
        began: When its clocks began: at the opening, or the last reopening.
        missed: Clocks that ended before what they wait for.
        facts: How many facts it is about.
        partition: Of the topics, where its events are.
        version: To be named by whoever acts on it as it stands.
        revision: Counts what has changed; a higher one takes the place of a lower one.
    """

    case_id: str
    subject: str
    cause: str
    state: State
    priority: str
    owner: str
    channel: str
    touchpoint: str
    segment: str
    tier: str | None
    severity: float | None
    churn_risk: float | None
    value: float | None
    opened: int
    began: int
    contact_due: int | None
    contacted: int | None
    contacted_by: str
    close_due: int | None
    closed: int | None
    outcome: str
    reopened: int
    missed: list[ClockName]
    facts: int
    partition: int
    version: int
    revision: int
    story: list[Happening]

    @property
    def due(self) -> int | None:
        """The next of its clocks that ends; None: none runs."""
        clocks = [self.contact_due if self.contacted is None else None]
        clocks += [self.close_due if self.state == "open" else None]
        return min((at for at in clocks if at is not None), default=None) if self.state != "closed" else None

    def standing(self) -> Standing:
        """Return what decides when its turn is."""
        return Standing(
            case_id=self.case_id, tier=self.tier, segment=self.segment or None, priority=self.priority,
            cause=self.cause, severity=self.severity, churn_risk=self.churn_risk, value=self.value,
            reopened=self.reopened, missed=len(self.missed), opened=self.opened, due=self.due,
        )  # fmt: skip


decode_case: Final = msgspec.json.Decoder(CaseRow).decode


def row_of(subject: str, file: CaseFile, case: Case, partition: int = 0, base: int = 0) -> CaseRow:
    """Return the row of a case; `base` keeps its revision above those of what was before."""
    about, now = case.opening.values, case.now
    worth = file.knows_worth(about)
    return CaseRow(
        case_id=case.id,
        subject=subject,
        cause=case.cause,
        state=case.state,
        priority=case.priority,
        owner=case.owner,
        channel=_text(about.get("channel")),
        touchpoint=_text(about.get("touchpoint")),
        segment=_text(about.get("segment")),
        tier=_text(worth["tier"]) or None,
        severity=_number(about.get("severity")),
        churn_risk=_number(worth["churn_risk"]),
        value=_number(worth["value"]),
        opened=case.opened,
        began=now.began,
        contact_due=now.contact_due,
        contacted=now.contacted,
        contacted_by=now.contacted_by,
        close_due=now.close_due,
        closed=now.closed,
        outcome=now.outcome,
        reopened=len(case.cycles) - 1,
        missed=[clock for clock in CLOCKS if case.is_missed(clock)],
        facts=len(file.facts),
        partition=partition,
        version=case.version,
        revision=base + file.changes,
        story=list(_story(file)),
    )


def _story(file: CaseFile) -> Iterator[Happening]:
    """Yield what has happened to a case, in the order of the times at which it did; what was refused is part of it."""
    lines = [(event, "") for event in file.events] + [(event, answer.says) for event, answer in file.refused]
    for event, refused in sorted(lines, key=lambda one: (one[0].time, one[0].type, one[0].source, one[0].id)):
        yield Happening(event.time, done(event), name_of(event), refused)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
