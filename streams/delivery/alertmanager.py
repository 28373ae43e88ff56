"""
A client of Alertmanager's v2 API, by its contract: who has an alert says so again and again.

Every instance gets every alert from us; they agree among themselves who notifies. Each is served by a task with its
own memory of what it was sent, so that one that is away, or slow, costs the others nothing.

| alert | is sent |
|---|---|
| fires | at once, and again every `resend_s` after the last success |
| has ended | at once, again every `resend_s` until `RESOLVED_S` after the first success, and not later than `KEPT_S` |

Nothing is written down here. Who owns the alerts keeps them, restores them after a crash, and calls `put` again; an
instance that was away for longer than `KEPT_S` has let every alert of before end by itself (see `VALID_S`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial as bound
from typing import Final, TypeAlias

import aiohttp
import msgspec

from streams import metrics
from streams.aside import Aside
from streams.delivery.endpoint import LOOK_AGAIN_S, Patience, always, name_of, seconds_to_wait
from streams.delivery.notice import Notice, body_of
from streams.secured.web import ReceiverAccess, open_access
from streams.settings import ConfigError

log = logging.getLogger(__name__)

RESOLVED_S: Final = 300.0
"""An instance that missed the first message of an end gets it again for so long."""
KEPT_S: Final = 900.0
"""So long after its end an alert is kept for instances that were not reached."""
VALID_S: Final = 300.0
"""An alert that fires ends by itself when nobody repeats it for so long; or four times `resend_s`, if longer."""
PER_REQUEST: Final = 200
TIMEOUT_S: Final = 10.0

Key: TypeAlias = tuple[tuple[str, str], ...]


class _Sent(msgspec.Struct):
    """What an instance knows of an alert."""

    notice: Notice
    at: float
    ended_at: float | None = None
    """When it first took the end."""
    refused: bool = False


class AlertmanagerTarget:
    """One Alertmanager, and what it was told."""

    def __init__(
        self,
        url: str,
        *,
        resend_s: float,
        clock: Callable[[], float],
        patience: Patience,
        timeout_s: float,
        access: ReceiverAccess,
    ) -> None:
        self.url = url
        self.name = name_of(url)
        self._resend_s = resend_s
        self._clock = clock
        self._patience = patience
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._access = access
        self._tls = access.context()
        self._sent: dict[Key, _Sent] = {}
        for outcome in ("delivered", "failed", "refused"):
            metrics.NOTIFICATIONS.labels("alertmanager", self.name, outcome)  # so that the first one is an increase

    def due(self, alerts: dict[Key, Notice]) -> list[tuple[Key, Notice]]:
        """Return the alerts that have to be sent now; what is not among `alerts` is forgotten."""
        now = self._clock()
        self._sent = {key: sent for key, sent in self._sent.items() if key in alerts}
        return [(key, notice) for key, notice in alerts.items() if self._is_due(notice, self._sent.get(key), now)]

    def _is_due(self, notice: Notice, sent: _Sent | None, now: float) -> bool:
        if sent is None or sent.notice != notice:
            return True
        if sent.refused or now - sent.at < self._resend_s:
            return False
        return notice.ends_at is None or sent.ended_at is None or now - sent.ended_at < RESOLVED_S

    async def send(self, session: aiohttp.ClientSession, due: Sequence[tuple[Key, Notice]]) -> float:
        """Send alerts; return the seconds to wait before the next attempt, 0 when all is well."""
        due = [one for one in due if self._can_write(one)]
        for start in range(0, len(due), PER_REQUEST):
            pause_s = await self._send_some(session, due[start : start + PER_REQUEST])
            if pause_s:
                return pause_s
        return 0.0

    def _can_write(self, one: tuple[Key, Notice]) -> bool:
        """Return whether an alert can be put into words; one that cannot must not hold the others."""
        try:
            body_of(one[1], self._clock(), VALID_S)
        except (ValueError, OverflowError, OSError, TypeError) as error:
            self._refuse(one, f"{type(error).__name__}: {error}")
            return False
        return True

    async def _send_some(self, session: aiohttp.ClientSession, some: Sequence[tuple[Key, Notice]]) -> float:
        status, said, asked_s = await self._post(session, some)
        if 200 <= status < 300:
            self._remember(some)
            return 0.0
        # Of a request with one wrong alert it takes the others: which one it was shows alone.
        if status in {400, 413, 422} and len(some) > 1:
            middle = len(some) // 2
            return await self._send_some(session, some[:middle]) or await self._send_some(session, some[middle:])
        if status in {400, 413, 422}:
            self._refuse(some[0], said)
            return 0.0
        metrics.NOTIFICATIONS.labels("alertmanager", self.name, "failed").inc(len(some))
        # Whatever wait is asked for: what is not repeated in time ends by itself there.
        pause_s = self._patience.failed(min(asked_s, self._resend_s))
        log.warning(
            "Alertmanager %s does not take %d alerts, attempt %d, again in %.1f s: %s",
            self.name, len(some), self._patience.failures, pause_s, said,
        )  # fmt: skip
        return pause_s

    async def _post(self, session: aiohttp.ClientSession, some: Sequence[tuple[Key, Notice]]) -> tuple[int, str, float]:
        """Return status (0: no answer), what was said, and the wait that was asked for."""
        now = self._clock()
        valid_s = max(VALID_S, 4 * self._resend_s)
        body = msgspec.json.encode([body_of(notice, now, valid_s) for _, notice in some])
        try:
            headers = {"Content-Type": "application/json", **self._access.headers()}
            async with session.post(
                f"{self.url}/api/v2/alerts",
                data=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                ssl=self._tls,
            ) as answer:
                if answer.ok:
                    return answer.status, str(answer.status), 0.0
                said = await answer.text(errors="replace")
                wait_s = seconds_to_wait(answer.headers.get("Retry-After"), now)
                return answer.status, self._access.said(answer.status, said), wait_s
        except (TimeoutError, aiohttp.ClientError, OSError, ConfigError) as exc:
            return 0, self._access.tell(exc), 0.0

    def _remember(self, some: Sequence[tuple[Key, Notice]]) -> None:
        now = self._clock()
        if self._patience.failures:
            log.info("Alertmanager %s answers again", self.name)
        self._patience.succeeded()
        for key, notice in some:
            sent = self._sent.get(key)
            same_end = sent is not None and sent.notice.ends_at == notice.ends_at
            ended_at = sent.ended_at if sent is not None and same_end else None
            if notice.ends_at is not None and ended_at is None:
                ended_at = now
            self._sent[key] = _Sent(notice, now, ended_at)
        metrics.NOTIFICATIONS.labels("alertmanager", self.name, "delivered").inc(len(some))
        metrics.NOTIFIED_AT.labels("alertmanager", self.name).set(now)

    def _refuse(self, one: tuple[Key, Notice], said: str) -> None:
        key, notice = one
        log.error("Alertmanager %s: %s is refused and not sent again: %s", self.name, notice.labels, said)
        self._sent[key] = _Sent(notice, self._clock(), refused=True)
        metrics.NOTIFICATIONS.labels("alertmanager", self.name, "refused").inc()


class Alertmanagers:
    """All instances; `put` says what fires and what has ended, everything else happens by itself."""

    def __init__(
        self,
        urls: Iterable[str],
        *,
        resend_s: float = 60.0,
        first_pause_s: float = 0.5,
        longest_pause_s: float = 30.0,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
        access: ReceiverAccess | None = None,
        may_send: Callable[[], bool] = always,
    ) -> None:
        """
        Prepare; nothing is connected before `start`.

        Args:
            urls: Base URLs, without `/api/v2`.
            resend_s: Time between two messages of an alert that fires; less than half of the `resolve_timeout` there.
            may_send: Whether what we have to say is still ours to say.
            first_pause_s: Pause after a first failure; doubles up to `longest_pause_s`.
            longest_pause_s: The longest pause.
            timeout_s: How long an instance may take for an answer.
            clock: Unix s.
            access: Certificates, and who we are to them; None: they ask for nothing.

        Raises:
            ConfigError: a certificate's file is missing or holds something else.
        """
        self.instances = [
            AlertmanagerTarget(
                url, resend_s=resend_s, clock=clock, patience=Patience(first_pause_s, longest_pause_s),
                timeout_s=timeout_s, access=access or open_access("alertmanager"),
            )
            for url in urls
        ]  # fmt: skip
        self._look_every_s = min(5.0, resend_s / 4)
        self._clock = clock
        self._may_send = may_send
        self._alerts: dict[Hashable, dict[Key, Notice]] = {}
        self._news: list[asyncio.Event] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None
        self._aside = Aside("alertmanager", first_pause_s=first_pause_s, longest_pause_s=longest_pause_s)

    @property
    def alerts(self) -> dict[Key, Notice]:
        """All alerts of all owners that are still to be sent; one that fires wins over its own past."""
        horizon = self._clock() - KEPT_S
        merged: dict[Key, Notice] = {}
        for held in self._alerts.values():
            for key, notice in held.items():
                if notice.ends_at is not None and (notice.ends_at < horizon or key in merged):
                    continue
                merged[key] = notice
        return merged

    def put(self, owner: Hashable, notices: Iterable[Notice]) -> None:
        """
        Replace what `owner`, e.g. a partition, has: all that fires, and what has ended in the last `KEPT_S`.

        What an owner no longer names is not sent again, and ends by itself after `VALID_S`: it fires elsewhere now.
        """
        held: dict[Key, Notice] = {}
        for notice in notices:
            key = notice.key
            if notice.ends_at is None or key not in held:
                held[key] = notice
        if held != self._alerts.get(owner, {}):
            self._alerts[owner] = held
            for event in self._news:
                event.set()

    def keep_only(self, owners: Iterable[Hashable]) -> None:
        """Forget the alerts of all other owners."""
        kept = set(owners)
        self._alerts = {owner: held for owner, held in self._alerts.items() if owner in kept}

    def start(self) -> None:
        """Serve the instances from now on, in the running event loop."""
        if self._tasks or not self.instances:
            return
        self._session = aiohttp.ClientSession(trust_env=False)
        self._news = [asyncio.Event() for _ in self.instances]
        self._tasks = [
            asyncio.create_task(self._aside.keep(bound(self._serve, instance, news)))
            for instance, news in zip(self.instances, self._news, strict=True)
        ]

    async def serve(self) -> None:
        """Serve the instances until cancelled."""
        await self._aside.keep(self._serve_all)

    async def _serve_all(self) -> None:
        self.start()
        try:
            await asyncio.Event().wait()
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Stop serving; what is under way is given up, and sent by the next owner."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _serve(self, instance: AlertmanagerTarget, news: asyncio.Event) -> None:
        assert self._session is not None
        while True:
            news.clear()
            if not self._may_send():
                # Whoever owns the partitions by now says what fires; what we said last holds for VALID_S.
                await asyncio.sleep(LOOK_AGAIN_S)
                continue
            pause_s = await instance.send(self._session, instance.due(self.alerts))
            if pause_s:
                await asyncio.sleep(pause_s)
                continue
            try:
                await asyncio.wait_for(news.wait(), self._look_every_s)
            except TimeoutError:
                continue
