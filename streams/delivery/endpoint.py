"""What every receiver has: an address that is safe to send to, and patience that grows while it does not answer."""

from __future__ import annotations

import random
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from streams.confidential import shown
from streams.settings import is_loopback

LONGEST_WISH_S: Final = 3600.0
"""A receiver that asks for more time than this is asked again all the same."""

LOOK_AGAIN_S: Final = 0.2
"""Time between two looks of somebody who may not send now."""


class AddressError(ValueError):
    """An address that cannot be sent to; the text names the setting, what came and what is expected."""


def read_addresses(setting: str, text: str, *, encrypted: bool = False) -> list[str]:
    """
    Return the URLs of a comma-separated setting, without trailing slashes.

    Args:
        setting: Its name, for messages.
        text: Its value.
        encrypted: Whether plain http is allowed to this machine only. Webhooks carry what customers wrote, and a
            signature proves who sent it but hides nothing; so do requests with a password or a token.

    Raises:
        AddressError: one of them is no http(s) URL, holds credentials, or would send openly what must be encrypted.
    """
    found = []
    for part in filter(None, map(str.strip, text.split(","))):
        url = urlsplit(part)
        try:
            host, port = url.hostname, url.port
        except ValueError as exc:
            raise AddressError(f"{setting}: {shown(setting, part)!r}: {exc}") from exc
        if url.scheme not in {"http", "https"} or not host or port == 0:
            raise AddressError(
                f"{setting}: {shown(setting, part)!r} is no address: expected http://host:port or https://host/path"
            )
        if url.username or url.password:
            raise AddressError(f"{setting}: {name_of(part)} comes with a password: secrets are never settings")
        if url.fragment:
            raise AddressError(f"{setting}: {name_of(part)}: what follows # is never sent; leave it out")
        if encrypted and url.scheme == "http" and not is_loopback(host):
            raise AddressError(
                f"{setting}: {name_of(part)} would get customers' words or our password in the open: expected https,"
                " or plain http to this machine (127.0.0.1), e.g. to a proxy that encrypts"
            )
        clean = urlunsplit((url.scheme, url.netloc, url.path.rstrip("/"), url.query, ""))
        if clean in found:
            raise AddressError(f"{setting}: {name_of(part)} is named twice")
        found.append(clean)
    return found


def name_of(url: str) -> str:
    """Return scheme, host and port: what may be logged, since paths and queries of webhooks often are the secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def seconds_to_wait(retry_after: str | None, now: float) -> float:
    """Return the wait that a `Retry-After` header asks for, from `now` (Unix s): seconds or an HTTP date; else 0."""
    if not retry_after:
        return 0.0
    if retry_after.strip().isdecimal():
        return min(float(retry_after), LONGEST_WISH_S)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return min(max(0.0, until.timestamp() - now), LONGEST_WISH_S)


class Patience:
    """
    Pauses between attempts: doubling from `first_s` to `longest_s`, each shortened by up to a half by chance.

    By chance, so that workers which failed together do not come back together.
    """

    def __init__(self, first_s: float, longest_s: float, chance: Callable[[], float] = random.random) -> None:
        self.failures = 0
        """Attempts that failed in a row."""
        self._first_s = first_s
        self._longest_s = longest_s
        self._chance = chance

    def failed(self, asked_s: float = 0.0) -> float:
        """Count a failure; return the seconds to wait, not less than the receiver asked for."""
        pause = min(self._longest_s, self._first_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return max(asked_s, pause * (1.0 - 0.5 * self._chance()))

    def succeeded(self) -> None:
        """Start anew."""
        self.failures = 0


def always() -> bool:
    """Return True: what is said is always ours to say."""
    return True
