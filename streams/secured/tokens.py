"""Access tokens for OAUTHBEARER: from a file that something else renews, or from a token endpoint."""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from streams.secured.tls import Tls
from streams.settings import ConfigError, Settings, is_loopback, read_secret

TIMEOUT_S: Final = 10.0
RENEW_AT: Final = 0.8
"""Share of its life after which a token of the endpoint is replaced."""
LONGEST_ANSWER: Final = 1 << 20


class TokenError(ConnectionError):
    """There is no usable token; the text says why."""


class Tokens:
    """Gives a token that is valid now; may be asked by several threads."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """
        Nothing is read or asked yet.

        Raises:
            ConfigError: neither file nor endpoint is set, or the endpoint would get the client's secret in the open.
        """
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._held = ""
        self._renew_at = 0.0
        url = urlsplit(settings.kafka_token_url)
        if (
            settings.kafka_token_url
            and url.scheme != "https"
            and not (url.scheme == "http" and is_loopback(url.hostname or ""))
        ):
            raise ConfigError("kafka_token_url: expected an https address, since the client's secret is sent to it")
        if settings.kafka_token_url and not (settings.kafka_user and settings.kafka_password_file):
            raise ConfigError("kafka_token_url: needs kafka_user and kafka_password_file, the client's id and secret")
        if not settings.kafka_token_url and not settings.kafka_token_file:
            raise ConfigError("kafka_sasl_mechanism is OAUTHBEARER: set kafka_token_file or kafka_token_url")

    def get(self) -> str:
        """
        Return a token.

        Raises:
            TokenError: file or endpoint gives none, or one that has expired.
        """
        if not self._settings.kafka_token_url:
            return self._from_file()
        with self._lock:
            if not self._held or self._clock() >= self._renew_at:
                self._held, life_s = self._ask()
                self._renew_at = self._clock() + RENEW_AT * life_s
            return self._held

    def _from_file(self) -> str:
        try:
            token = read_secret("kafka_token_file", self._settings.kafka_token_file)
        except ConfigError as exc:
            raise TokenError(str(exc)) from exc
        ends_at = _expiry(token)
        if ends_at is not None and ends_at <= self._clock():
            late_s = self._clock() - ends_at
            raise TokenError(f"the token in kafka_token_file expired {late_s:.0f} s ago: it is no longer renewed")
        return token

    def _ask(self) -> tuple[str, float]:
        """Return a new token and its life in seconds."""
        settings = self._settings
        asked = {"grant_type": "client_credentials"} | (
            {"scope": settings.kafka_token_scope} if settings.kafka_token_scope else {}
        )
        tls = Tls("kafka_token", settings.kafka_token_ca_file)
        who = base64.b64encode(f"{settings.kafka_user}:{settings.kafka_password()}".encode()).decode()
        request = urllib.request.Request(  # noqa: S310 - https, or this machine, as checked at the start
            settings.kafka_token_url,
            urlencode(asked).encode(),
            {"Authorization": f"Basic {who}", "Accept": "application/json"},
        )
        host = urlsplit(settings.kafka_token_url).netloc
        # Neither proxies nor redirects: the secret goes to this address or nowhere.
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=tls.context()),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
        ):
            opener.add_handler(handler)
        try:
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                given: Any = json.loads(answer.read(LONGEST_ANSWER))
            return str(given["access_token"]), float(given.get("expires_in", 60))
        except urllib.error.HTTPError as exc:
            exc.close()
            why = "wrong kafka_user or kafka_password_file" if exc.code in {400, 401, 403} else "no token"
            raise TokenError(f"the token endpoint {host} answers {exc.code}: {why}") from exc
        except (OSError, ValueError, KeyError, TypeError) as exc:
            text = tls.tell(exc) or f"{type(exc).__name__}: {exc}"
            raise TokenError(f"the token endpoint {host} gives no token: {text}") from exc


def _expiry(token: str) -> float | None:
    """Return when a JWT expires, Unix s; None if it is no JWT or does not say."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        return None
