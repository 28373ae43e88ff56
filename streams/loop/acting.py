"""What people do to a case, as the event that says so: by the command and on the page alike."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from streams.loop.case import PREFIX
from streams.loop.rows import CaseRow, Happening

OUTCOMES: Final = ("rescued", "satisfied", "unsatisfied", "unreachable", "lost", "informed")
COMMAND: Final = "/cx/people"
"""The source of what people do by `cx cases`."""
PAGE: Final = "/cx/people/page"
"""The source of what people do on the live page: so the stream itself says how each action came."""


class CaseAction(msgspec.Struct, frozen=True, kw_only=True):
    """
    What somebody does to a case.

    Attributes:
        what: The move, such as `contacted`.
        key: Names the action: the same again is one.
        source: How it came.
        by: Who does it; empty: not said.
        at: When it was done, in milliseconds since 1970.
        if_version: On which version of the case it rests; None: on any.
        said: What else the event says, such as the new owner.
    """

    what: str
    key: str
    source: str
    by: str
    at: int
    if_version: int | None
    said: Mapping[str, Any] = {}

    @property
    def name(self) -> str:
        """What names it among what has happened to the case."""
        return f"{self.source} {self.key}"

    def answer(self, row: CaseRow) -> Happening | None:
        """Return what became of it; None: that is not known yet."""
        return next((one for one in row.story if one.name == self.name), None)

    def event(self, row: CaseRow) -> dict[str, Any]:
        """Return it as an event of the customer of the case."""
        data = {"case_id": row.case_id, "if_version": self.if_version, **self.said, **self._measures(row)}
        event = {
            "specversion": "1.0",
            "id": self.key,
            "source": self.source,
            "type": f"{PREFIX}{self.what}",
            "time": datetime.fromtimestamp(self.at / 1000, UTC),
            "subject": row.subject,
            "channel": row.channel or "call_center",
            "touchpoint": row.touchpoint or None,
            "segment": row.segment or None,
            "agentid": self.by or None,
            "data": {name: value for name, value in data.items() if value is not None},
        }
        return {name: value for name, value in event.items() if value is not None}

    def _measures(self, row: CaseRow) -> dict[str, Any]:
        """Return how long it took, and whether that was in time, as KPIs of the closed loop ask for it."""
        if self.what not in {"contacted", "closed"}:
            return {}
        due = row.contact_due if self.what == "contacted" else row.close_due
        return {"duration_s": max(0, self.at - row.began) / 1000, "in_sla": None if due is None else self.at <= due}
