"""Receivers of alerts: which certificates to believe and to show, and how to prove who we are."""

from __future__ import annotations

import base64
import dataclasses
import ssl
from typing import Self

from streams.confidential import without
from streams.secured.tls import Tls
from streams.settings import Settings, read_secret


@dataclasses.dataclass(frozen=True, slots=True)
class ReceiverAccess:
    """How to reach the receivers of one kind; `tls.name` begins the names of their settings."""

    tls: Tls
    user: str = ""
    password_file: str = ""
    token_file: str = ""

    @classmethod
    def of(cls, name: str, settings: Settings) -> Self:
        """Return the access that the settings `<name>_ca_file`, `<name>_user` and so on describe."""
        tls = Tls(name, *(getattr(settings, f"{name}_{file}") for file in ("ca_file", "cert_file", "key_file")))
        return cls(tls, *(getattr(settings, f"{name}_{what}") for what in ("user", "password_file", "token_file")))

    @property
    def secret(self) -> bool:
        """Whether requests carry a password or a token."""
        return bool(self.user or self.token_file)

    def context(self) -> ssl.SSLContext:
        """
        Return what encrypts connections.

        Raises:
            ConfigError: a file is missing or holds something else.
        """
        return self.tls.context()

    def headers(self) -> dict[str, str]:
        """
        Return the header that proves who we are, from the files as they are now; nothing if none is set.

        Raises:
            ConfigError: the file of the password or the token cannot be read.
        """
        if self.user:
            password = read_secret(f"{self.tls.name}_password_file", self.password_file)
            return {"Authorization": f"Basic {base64.b64encode(f'{self.user}:{password}'.encode()).decode()}"}
        if self.token_file:
            return {"Authorization": f"Bearer {read_secret(f'{self.tls.name}_token_file', self.token_file)}"}
        return {}

    def said(self, status: int, text: str, *secrets: str) -> str:
        """Return an answer that is no success, in words, without secrets that the receiver may have repeated."""
        sent = self.headers().get("Authorization", "").split(" ")
        clean = without(text, *secrets, *sent[1:])[:300]
        hint = ""
        if status in {401, 403}:
            name = self.tls.name
            which = f"{name}_user or {name}_password_file" if self.user else f"{name}_token_file"
            hint = f": wrong {which}" if self.secret else f": it asks who we are, set {name}_user or {name}_token_file"
        return f"{status}{hint} {clean}".strip()

    def tell(self, error: BaseException) -> str:
        """Return what went wrong with a request, in plain words."""
        return self.tls.tell(error) or f"{type(error).__name__} {error}".strip()


def open_access(name: str) -> ReceiverAccess:
    """Return the access to receivers that ask for nothing."""
    return ReceiverAccess(Tls(name))
