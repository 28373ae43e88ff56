"""What people do to cases on the page: read strictly, sent as events, and answered when the workers have judged it."""

import asyncio
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

from streams.board.store import BoardStore
from streams.events.visible import visible
from streams.loop.acting import OUTCOMES, PAGE, CaseAction
from streams.loop.definition import LONGEST_WORD
from streams.loop.rows import CaseRow
from streams.producers.cases import CaseSender, UnsentActionError, UnsoundActionError

WAIT_S: Final = 30.0
"""Longest wait for the workers; what is judged later stands in the history."""
_LOOK_S: Final = 0.3
AT_ONCE: Final = 50
"""Actions that may wait for their answers at a time."""
_KEPT: Final = 10_000
"""Actions that are remembered, so that the same again is the same event."""


class AskedAction(NamedTuple):
    """What somebody asks for, on which version of the case."""

    what: str
    version: int
    said: Mapping[str, Any]


class ActionAnswer(NamedTuple):
    """
    What became of it.

    Attributes:
        status: As of HTTP.
        says: What was done, or why it was not; in English, as the history says it.
        repeat: Whether it was done before.
    """

    status: int
    says: str
    version: int = 0
    repeat: bool = False


class UnreadableActionError(ValueError):
    """What was asked for is nothing that can be done; the text names the field, what came and what is expected."""


def read_action(form: Mapping[str, str]) -> AskedAction:
    """
    Read what a form asks for.

    Raises:
        UnreadableActionError: It is nothing that can be done.
    """
    what, version = form.get("do", ""), form.get("version", "")
    if not (version.isascii() and version.isdecimal() and len(version) < 10):
        raise UnreadableActionError(f"version is {version!r}, expected the version of the case that is shown")
    match what:
        case "assigned":
            owner = " ".join(form.get("owner", "").split())
            if not 0 < len(owner) <= LONGEST_WORD:
                raise UnreadableActionError(
                    f"owner is {owner[:LONGEST_WORD]!r}, expected 1 to {LONGEST_WORD} characters"
                )
            if visible(owner) != owner:
                raise UnreadableActionError(
                    f"owner is {visible(owner)}, expected a name without characters that cannot be seen, which stand"
                    " there as \\u and four digits"
                )
            return AskedAction(what, int(version), {"owner": owner})
        case "contacted":
            return AskedAction(what, int(version), {"reached": form.get("reached") != "0"})
        case "closed":
            outcome = form.get("outcome", "")
            if outcome not in OUTCOMES:
                raise UnreadableActionError(f"outcome is {outcome[:40]!r}, expected one of {', '.join(OUTCOMES)}")
            return AskedAction(what, int(version), {"outcome": outcome})
        case "reopened" | "held" | "resumed":
            return AskedAction(what, int(version), {})
    expected = "assigned, contacted, closed, reopened, held or resumed"
    raise UnreadableActionError(f"do is {what[:40]!r}, expected {expected}")


def action_of(row: CaseRow, asked: AskedAction, by: str, at: int) -> CaseAction:
    """Return the action: the same, by the same person on the same version of a case, is one however often it comes."""
    content = json.dumps([asked, by], sort_keys=True).encode()
    key = f"{row.case_id}-{hashlib.sha256(content).hexdigest()[:16]}"
    return CaseAction(what=asked.what, key=key, source=PAGE, by=by, at=at, if_version=asked.version, said=asked.said)


class _OnItsWay:
    """An action as it was first asked for; whether Kafka has it, nobody may know."""

    def __init__(self, row: CaseRow, action: CaseAction) -> None:
        self.row, self.action = row, action
        self.sending: asyncio.Future[None] | None = None


class CaseWriter:
    """
    Does what people ask for.

    Args:
        store: A store of its own: answers are looked for beside what viewers ask.
        sender: Sends the events.
    """

    def __init__(
        self, store: BoardStore, sender: CaseSender, *, wait_s: float = WAIT_S, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._sender = sender
        self._wait_s = wait_s
        self._clock = clock
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="case-store")
        self._sending = ThreadPoolExecutor(1, thread_name_prefix="case-sender")
        self._busy = 0
        self._asked: OrderedDict[str, _OnItsWay] = OrderedDict()

    async def act(self, case_id: str, asked: AskedAction, by: str) -> ActionAnswer:
        """
        Send an action and wait for what becomes of it.

        Raises:
            StorageError: The store does not answer; what was sent is judged all the same.
        """
        if self._busy >= AT_ONCE:
            return ActionAnswer(503, "too many actions wait for their answers; try again in a moment")
        self._busy += 1
        try:
            return await self._act(case_id, asked, by)
        finally:
            self._busy -= 1

    async def _act(self, case_id: str, asked: AskedAction, by: str) -> ActionAnswer:
        loop, ends = asyncio.get_running_loop(), time.monotonic() + self._wait_s
        row = await loop.run_in_executor(self._reading, self._store.case, case_id)
        if row is None:
            return ActionAnswer(404, f"there is no case {case_id}")
        action = action_of(row, asked, by, int(self._clock() * 1000))
        found = action.answer(row)
        repeat = found is not None
        if not repeat:
            try:
                repeat = await self._send(row, action)
            except UnsoundActionError as error:
                return ActionAnswer(422, str(error), row.version)
            except UnsentActionError as error:
                return ActionAnswer(503, str(error), row.version)
        while found is None and time.monotonic() < ends:
            await asyncio.sleep(_LOOK_S)
            row = await loop.run_in_executor(self._reading, self._store.case, case_id) or row
            found = action.answer(row)
        if found is None:
            return ActionAnswer(202, "sent; whether it is taken will be seen in the history", row.version)
        return ActionAnswer(409 if found.refused else 200, found.refused or found.what, row.version, repeat)

    async def _send(self, row: CaseRow, action: CaseAction) -> bool:
        """
        Send an action, the same once: with the time and the case of the first click, whenever it comes again.

        Returns:
            Whether it was sent already.

        Raises:
            UnsoundActionError, UnsentActionError: It was not sent, as far as is known.
        """
        first = self._asked.setdefault(action.key, _OnItsWay(row, action))
        if len(self._asked) > _KEPT:
            self._asked.popitem(last=False)
        repeat = first.sending is not None
        if first.sending is None:
            loop = asyncio.get_running_loop()
            first.sending = loop.run_in_executor(self._sending, self._sender.send, first.row, first.action)
        try:
            # Whoever clicked first may have gone meanwhile.
            await asyncio.shield(first.sending)
        except (UnsoundActionError, UnsentActionError):
            first.sending = None
            raise
        return repeat

    def close(self) -> None:
        """Give the connections back."""
        for pool in (self._reading, self._sending):
            pool.shutdown(wait=False, cancel_futures=True)
        self._store.close()
        self._sender.close()
