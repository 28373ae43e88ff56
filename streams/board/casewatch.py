"""The cases, kept up to date while somebody looks: the queue of all, and what is asked of single ones."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from streams.board.rounds import LINGER_S, Rounds, Step, StoreState
from streams.board.store import BoardStore
from streams.loop.rows import CaseRow

EVERY_S: Final = 1.0
"""People wait for what becomes of what they do."""
OPEN_READ: Final = 5_000
CLOSED_READ: Final = 500
"""So many cases are looked through; of open ones those that are due first."""
FRESH_S: Final = 3.0
"""What is first shown to a reader was looked at so lately."""
RANKED_S: Final = 30.0
"""The order changes with age too, if nothing else happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCases(StoreState):
    """All that the case page can show at one moment; replaced as a whole, never changed."""

    open: Sequence[CaseRow] = ()
    closed: Sequence[CaseRow] = ()
    read: bool = False
    """Whether the store has answered yet."""
    ranked_at: float = 0.0
    """As of when the order is, unix s."""
    opened: Mapping[str, CaseRow | None] = field(default_factory=dict)
    """Single cases that somebody looks at, by id; None: there is none."""


class CaseWatch(Rounds[KnownCases]):
    """Keeps what is known of cases up to date while somebody looks."""

    def __init__(
        self, store: BoardStore, *, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(store, KnownCases(), every_s, clock)
        self._until = 0.0
        self._wanted_cases: dict[str, float] = {}
        self._mark = ""
        self._looked_at = -FRESH_S
        """By the clock."""

    def want(self, case_id: str = "") -> None:
        """Keep the queue, and a case, up to date for a while; call it again while somebody looks."""
        until = self._clock() + LINGER_S
        if self._until <= self._clock() or (case_id and case_id not in self._wanted_cases):
            self._wake.set()
        self._until = until
        if case_id:
            self._wanted_cases[case_id] = until

    def has(self, case_id: str = "") -> bool:
        """Tell whether there is something to show, be it that the store is away."""
        known, fresh = self.known, self._clock() - self._looked_at < FRESH_S
        return known.down or (fresh and known.read and (not case_id or case_id in known.opened))

    def renew(self) -> None:
        """Look again before anything is first shown to a reader: something has changed."""
        self._looked_at = self._clock() - FRESH_S
        self._wake.set()

    def _wanted(self) -> bool:
        now = self._clock()
        self._wanted_cases = {case_id: until for case_id, until in self._wanted_cases.items() if until > now}
        return self._until > now

    def _steps(self) -> Sequence[Step]:
        return (self._cases,)

    def _cases(self) -> None:
        """Read what has changed."""
        known, store, began = self.known, self.store, self._clock()
        mark = store.case_mark() if self._mark or store.has_cases() else ""
        changed = mark != self._mark or known.down or not known.read
        self._mark, before, aged = mark, known.opened, self._is_due("ranked", RANKED_S)
        if changed and mark:
            known = replace(known, open=store.open_cases(OPEN_READ), closed=store.closed_cases(CLOSED_READ))
            before = {}
        opened = {name: before[name] if name in before else self._case(name) for name in self._wanted_cases}
        if changed or aged or opened != known.opened:
            self.known = replace(known, opened=opened, read=True, ranked_at=time.time(), away_since=None, refusal="")
        self._looked_at = began

    def _case(self, case_id: str) -> CaseRow | None:
        return self.store.case(case_id) if self._mark else None
