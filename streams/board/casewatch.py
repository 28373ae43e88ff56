"""The cases, kept up to date while somebody looks: the queue of all, and what is asked of single ones."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from streams.board.queue import RankedCase
from streams.board.rounds import LINGER_S, Rounds, Step, StoreState
from streams.board.store import BoardStore
from streams.board.story import EVENTS_READ, CustomerStory
from streams.loop.rows import CaseRow

EVERY_S: Final = 1.0
"""People wait for what becomes of what they do."""
OPEN_READ: Final = 5_000
CLOSED_READ: Final = 500
"""So many cases are looked through; of open ones those that are due first."""
FRESH_S: Final = 3.0
"""What is first shown to a reader was looked at so lately."""
STORY_S: Final = 5.0
"""Stories are read anew so often."""
ALERTS_BACK_S: Final = 30 * 86_400
"""Alerts are looked for so far back."""
RANKED_S: Final = 30.0
"""The order changes with age too, if nothing else happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCases(StoreState):
    """All that the case page can show at one moment; replaced as a whole, never changed."""

    open: Sequence[RankedCase] = ()
    closed: Sequence[RankedCase] = ()
    read: bool = False
    """Whether the store has answered yet."""
    ranked_at: float = 0.0
    """As of when the order is, unix s."""
    opened: Mapping[str, CaseRow | None] = field(default_factory=dict)
    """Single cases that somebody looks at, by id; None: there is none."""
    senders: Mapping[str, str] = field(default_factory=dict)
    """Whose events somebody looks at are: customers by event; empty: there is no such event."""
    stories: Mapping[str, CustomerStory] = field(default_factory=dict)
    """By customer."""


Rank = Callable[[Sequence[CaseRow], float], Sequence[RankedCase]]


class CaseWatch(Rounds[KnownCases]):
    """Keeps what is known of cases up to date while somebody looks."""

    def __init__(
        self,
        store: BoardStore,
        rank: Rank,
        *,
        derived: Sequence[str] = (),
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare it; `rank` puts cases in order, `derived` are the types of the events that relations send."""
        super().__init__(store, KnownCases(), every_s, clock)
        self._rank = rank
        self._derived = derived
        self._wanted_events: dict[str, float] = {}
        self._until = 0.0
        self._wanted_cases: dict[str, float] = {}
        self._mark = ""
        self._looked_at = -FRESH_S
        """By the clock."""

    def want(self, case_id: str = "", event: str = "") -> None:
        """Keep the queue, a case, or whose event one is, up to date for a while; call it again while somebody looks."""
        until = self._clock() + LINGER_S
        new = (case_id and case_id not in self._wanted_cases) or (event and event not in self._wanted_events)
        if self._until <= self._clock() or new:
            self._wake.set()
        self._until = until
        if case_id:
            self._wanted_cases[case_id] = until
        if event:
            self._wanted_events[event] = until

    def has(self, case_id: str = "", event: str = "") -> bool:
        """Return whether there is something to show, be it that the store is away."""
        known, fresh = self.known, self._clock() - self._looked_at < FRESH_S
        shown = (not case_id or case_id in known.opened) and (not event or event in known.senders)
        return known.down or (fresh and known.read and shown)

    def renew(self) -> None:
        """Look again before anything is first shown to a reader: something has changed."""
        self._looked_at = self._clock() - FRESH_S
        self._wake.set()

    def _wanted(self) -> bool:
        now = self._clock()
        self._wanted_cases = {case_id: until for case_id, until in self._wanted_cases.items() if until > now}
        self._wanted_events = {event: until for event, until in self._wanted_events.items() if until > now}
        return self._until > now

    def _steps(self) -> Sequence[Step]:
        return self._cases, self._stories

    def _cases(self) -> None:
        """Read what has changed."""
        known, store, began = self.known, self.store, self._clock()
        mark = store.case_mark() if self._mark or store.has_cases() else ""
        changed = mark != self._mark or known.down or not known.read
        self._mark, before, aged = mark, known.opened, self._is_due("ranked", RANKED_S)
        rows = [row for row, _ in known.open], [row for row, _ in known.closed]
        if changed and mark:
            rows, before = (store.open_cases(OPEN_READ), store.closed_cases(CLOSED_READ)), {}
        opened = {name: before[name] if name in before else self._case(name) for name in self._wanted_cases}
        if changed or aged:
            # Here and not in the server's own thread: thousands take a while.
            now = time.time()
            known = replace(known, open=self._rank(rows[0], now), closed=self._rank(rows[1], now), ranked_at=now)
        if changed or aged or opened != known.opened:
            self.known = replace(known, opened=opened, read=True, away_since=None, refusal="")
        self._looked_at = began

    def _case(self, case_id: str) -> CaseRow | None:
        return self.store.case(case_id) if self._mark else None

    def _stories(self) -> None:
        """Read what customers have lived through, of those that somebody looks at."""
        known = self.known
        senders = {
            event: known.senders[event] if known.senders.get(event) else self._sender(event)
            for event in self._wanted_events
        }
        customers = {row.subject for row in known.opened.values() if row} | set(senders.values()) - {""}
        due = {one for one in customers if one not in known.stories or self._is_due(f"story {one}", STORY_S)}
        if due or senders != known.senders or known.stories.keys() != customers:
            kept = {one: story for one, story in known.stories.items() if one in customers}
            stories = kept | {one: self._story(one) for one in due}
            self.known = replace(known, senders=senders, stories=stories)
        self._due = {job: at for job, at in self._due.items() if at > self._clock()}

    def _sender(self, event: str) -> str:
        topic, partition, offset = event.split("/")
        return self.store.subject_of(topic, int(partition), int(offset))

    def _story(self, subject: str) -> CustomerStory:
        self._is_due(f"story {subject}", STORY_S)
        found = self.store.history(subject, self._derived, EVENTS_READ)
        since = min((event.time.timestamp() for event in found.sent), default=time.time())
        alerts = self.store.alerts(int(max(since, time.time() - ALERTS_BACK_S))) or ()
        return CustomerStory(found.sent, found.derived, alerts, found.left_out, found.emptied)
