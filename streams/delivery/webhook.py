"""
Webhooks: every transition of every alert as signed JSON, delivered at least once, in order per alert.

The receiver can tell who sent it, when, and whether it has it already (headers as in the Standard Webhooks
specification, so that its libraries verify them):

| header | content |
|---|---|
| `webhook-id`, `Idempotency-Key` | id of the transition; the same in every repetition |
| `webhook-timestamp` | when this attempt was made, Unix s |
| `webhook-signature` | `v1,` and the Base64 of HMAC-SHA256 over `<id>.<timestamp>.<body>`; not sent without a secret |

A receiver answers 2xx when it has the message. 400, 410, 413, 415 and 422 say that it never will: logged once, counted,
not repeated. Everything else, redirects included, is repeated with growing pauses, or after what `Retry-After` says.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import aiohttp

from streams import __version__, metrics
from streams.aside import Aside
from streams.confidential import without
from streams.delivery.endpoint import LOOK_AGAIN_S, AddressError, Patience, always, name_of, seconds_to_wait
from streams.secured.web import ReceiverAccess, open_access
from streams.settings import ConfigError

log = logging.getLogger(__name__)

Outcome: TypeAlias = Literal["delivered", "refused", "expired"]

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - marks a secret, is none
NEVER: Final = frozenset({400, 410, 413, 415, 422})
GIVE_UP_S: Final = 86_400.0
"""A transition older than this tells nobody anything; it stays in the store."""
AT_ONCE: Final = 8
"""Requests under way to one receiver, at most."""
TIMEOUT_S: Final = 10.0
SECRET_LENGTH: Final = 8
"""Parts of a path that are shorter are words, no secrets."""


class Message(NamedTuple):
    """What is delivered."""

    id: str
    order: str
    """Messages with the same `order`, e.g. of one alert, arrive one after the other."""
    body: bytes
    """JSON."""
    at: float
    """When it happened, Unix s."""


def signing_key(secret: str) -> bytes:
    """
    Return the key of a secret: Base64 behind `whsec_`, else its bytes.

    Raises:
        AddressError: what follows `whsec_` is no Base64.
    """
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as exc:
        raise AddressError(f"webhook_secret_file: what follows {SECRET_PREFIX} is no Base64: {exc}") from exc


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a message, for the header, or for a receiver to compare with."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class Webhook:
    """One receiver. While it fails, all of its messages wait; no other receiver does."""

    def __init__(
        self,
        url: str,
        key: bytes = b"",
        *,
        first_pause_s: float = 0.5,
        longest_pause_s: float = 60.0,
        give_up_s: float = GIVE_UP_S,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
        access: ReceiverAccess | None = None,
    ) -> None:
        """
        Prepare; nothing is connected.

        Args:
            url: Where to post; see `read_addresses` for what is safe.
            key: Signs the messages; empty: they go unsigned.
            first_pause_s: Pause after a first failure; doubles up to `longest_pause_s`.
            longest_pause_s: The longest pause.
            give_up_s: Age at which a message is no longer repeated.
            timeout_s: How long the receiver may take for an answer.
            clock: Unix s.
            access: Certificates, and who we are to it; None: it asks for nothing.

        Raises:
            ConfigError: a certificate's file is missing or holds something else.
        """
        self.name = name_of(url)
        self._url = url
        self._key = key
        self._patience = Patience(first_pause_s, longest_pause_s)
        for outcome in ("delivered", "failed", "refused", "expired"):
            metrics.NOTIFICATIONS.labels("webhook", self.name, outcome)  # so that the first one is an increase
        self._aside = Aside("webhooks", first_pause_s=first_pause_s, longest_pause_s=longest_pause_s)
        self._give_up_s = give_up_s
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._access = access or open_access("webhook")
        self._tls = self._access.context()
        parts = urlsplit(url)
        self._hidden = [
            parts.path,
            parts.query,
            *(part for part in parts.path.split("/") if len(part) >= SECRET_LENGTH),
        ]
        self._clock = clock
        self._open_at = 0.0
        self._failed_at = 0.0
        self._room = asyncio.Semaphore(AT_ONCE)
        self.may_send: Callable[[], bool] = always

    async def deliver(self, session: aiohttp.ClientSession, message: Message) -> Outcome:
        """Post a message until it is taken, refused for good, or too old."""
        async with self._room:
            while (outcome := await self._attempt_surely(session, message)) is None:
                if self._clock() - message.at > self._give_up_s:
                    log.error("webhook %s: %s was not delivered, it is too old now", self.name, message.id)
                    outcome = "expired"
                    break
        metrics.NOTIFICATIONS.labels("webhook", self.name, outcome).inc()
        return outcome

    async def _attempt_surely(self, session: aiohttp.ClientSession, message: Message) -> Outcome | None:
        try:
            return await self._attempt(session, message)
        except Exception as error:  # noqa: BLE001 - one message that cannot be sent must not hold the others
            self._open_at = asyncio.get_running_loop().time() + self._aside.failed(error)
            return None

    async def _attempt(self, session: aiohttp.ClientSession, message: Message) -> Outcome | None:
        while (wait_s := self._open_at - asyncio.get_running_loop().time()) > 0:  # noqa: ASYNC110 - others move it
            await asyncio.sleep(wait_s)
        while not self.may_send():  # noqa: ASYNC110 - a clock decides it as well
            await asyncio.sleep(LOOK_AGAIN_S)
        began = asyncio.get_running_loop().time()
        status, said, asked_s = await self._post(session, message)
        if 200 <= status < 300:
            self._patience.succeeded()
            metrics.NOTIFIED_AT.labels("webhook", self.name).set(self._clock())
            return "delivered"
        if status in NEVER:
            log.error("webhook %s refuses %s, it is not sent again: %s", self.name, message.id, said)
            return "refused"
        now = asyncio.get_running_loop().time()
        if began >= self._failed_at:  # else several were under way, and one of them has counted it
            self._failed_at = now
            self._open_at = now + self._patience.failed()
        self._open_at = max(self._open_at, now + asked_s)
        pause_s = max(0.0, self._open_at - now)
        metrics.NOTIFICATIONS.labels("webhook", self.name, "failed").inc()
        log.warning(
            "webhook %s does not take %s, attempt %d, again in %.1f s: %s",
            self.name, message.id, self._patience.failures, pause_s, said,
        )  # fmt: skip
        return None

    async def _post(self, session: aiohttp.ClientSession, message: Message) -> tuple[int, str, float]:
        """Return status (0: no answer), what was said, and the wait that was asked for."""
        now = int(self._clock())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"cx-streams/{__version__}",
            "Idempotency-Key": message.id,
            "webhook-id": message.id,
            "webhook-timestamp": str(now),
        }
        if self._key:
            headers["webhook-signature"] = signature(self._key, message.id, now, message.body)
        try:
            headers |= self._access.headers()
            async with session.post(
                self._url,
                data=message.body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                ssl=self._tls,
            ) as answer:
                if answer.ok:
                    return answer.status, str(answer.status), 0.0
                said = await answer.text(errors="replace")
                wait_s = seconds_to_wait(answer.headers.get("Retry-After"), now)
                return answer.status, self._access.said(answer.status, said, *self._hidden), wait_s
        except (TimeoutError, aiohttp.ClientError, OSError, ConfigError) as exc:
            return 0, without(self._access.tell(exc), *self._hidden), 0.0


class Webhooks:
    """All receivers."""

    def __init__(self, webhooks: Iterable[Webhook], *, may_send: Callable[[], bool] = always) -> None:
        """
        Prepare; nothing is connected.

        Args:
            webhooks: The receivers.
            may_send: Whether what we have to say is still ours to say.
        """
        self._webhooks = list(webhooks)
        for webhook in self._webhooks:
            webhook.may_send = may_send
        self._last: dict[tuple[int, str], asyncio.Task[Outcome]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def deliver(self, message: Message) -> list[Outcome]:
        """
        Deliver to every receiver, after what came before of the same `order`; return what became of it at each.

        Cancelled, it may have been delivered, and has to be delivered again: the id tells the receiver.
        """
        if not self._webhooks:
            return []
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False)
        tasks = [self._chained(place, message) for place in range(len(self._webhooks))]
        try:
            return list(await asyncio.gather(*tasks))
        except asyncio.CancelledError:
            await asyncio.wait(tasks)
            raise

    def _chained(self, place: int, message: Message) -> asyncio.Task[Outcome]:
        chain = place, message.order
        task = asyncio.create_task(self._after(self._last.get(chain), place, message))
        self._last[chain] = task
        task.add_done_callback(lambda done: self._forget(chain, done))
        return task

    async def _after(self, before: asyncio.Task[Outcome] | None, place: int, message: Message) -> Outcome:
        if before is not None:
            await asyncio.wait([before])
        assert self._session is not None
        return await self._webhooks[place].deliver(self._session, message)

    def _forget(self, chain: tuple[int, str], done: asyncio.Task[Outcome]) -> None:
        if self._last.get(chain) is done:
            del self._last[chain]

    async def close(self) -> None:
        """Give up what is under way and let go of connections."""
        for task in list(self._last.values()):
            task.cancel()
        if self._session is not None:
            await self._session.close()
            self._session = None
