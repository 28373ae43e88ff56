"""Sending mail: over TLS, as whom the settings say, and what went wrong in plain words."""

from __future__ import annotations

import dataclasses
import smtplib
import ssl
from collections.abc import Sequence
from contextlib import closing, suppress
from email.message import EmailMessage
from typing import Final, Self
from urllib.parse import urlsplit

from streams.confidential import without
from streams.secured.tls import Tls
from streams.settings import ConfigError, Settings, is_loopback, read_secret

TIMEOUT_S: Final = 30.0
_PORTS: Final = {"smtp": 587, "smtps": 465}


class MailError(Exception):
    """A mail was not sent; the text names the server and says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class MailServer:
    """
    Where mail is handed in, and as whom.

    A connection is encrypted before anything is said. Only a relay on this machine that asks for no password may do
    without.
    """

    tls: Tls
    host: str
    port: int
    at_once: bool
    """Whether TLS comes first, rather than by STARTTLS."""
    user: str = ""
    password_file: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """
        Return the server that the settings name.

        Raises:
            ConfigError: they name none, or no port number.
        """
        if not settings.mail_server:
            raise ConfigError("mail_server: nothing is set; expected e.g. smtp://mail.example:587")
        try:
            parts = urlsplit(settings.mail_server)
            port = _PORTS[parts.scheme] if parts.port is None else parts.port
        except ValueError as error:
            raise ConfigError(f"mail_server: {settings.mail_server!r} is no address: {error}") from error
        if not port:
            raise ConfigError(f"mail_server: {settings.mail_server!r} names port 0; expected 1 to 65535")
        if not parts.hostname:
            raise ConfigError(f"mail_server: {settings.mail_server!r} names no host")
        tls = Tls("mail", settings.mail_ca_file)
        at_once = parts.scheme == "smtps"
        return cls(tls, parts.hostname, port, at_once, settings.mail_user, settings.mail_password_file)

    def send(self, message: EmailMessage) -> Sequence[str]:
        """
        Hand a message in for all whom it is to; return those whom the server refused, each with why.

        Raises:
            MailError: It was not taken for anybody.
            ConfigError: A file of the settings cannot be read.
        """
        context, password = self.tls.context(), read_secret("mail_password_file", self.password_file)
        for name, said in (("mail_user", self.user), ("mail_password_file", password)):
            if not said.isascii():
                raise ConfigError(f"{name}: holds other characters than ASCII, which a login by mail does not carry")
        try:
            with closing(self._connected(context)) as server:
                if self.user:
                    server.login(self.user, password)
                refused = server.send_message(message)
                # It is sent by now, whatever becomes of the farewell.
                with suppress(OSError, smtplib.SMTPException):
                    server.quit()
        except smtplib.SMTPAuthenticationError as error:
            raise MailError(f"{self._name}: wrong mail_user or mail_password_file: {_said(error, password)}") from error
        except smtplib.SMTPRecipientsRefused as error:
            raise MailError(f"{self._name} refuses {'; '.join(_refusals(error.recipients))}") from error
        except smtplib.SMTPResponseException as error:
            raise MailError(f"{self._name} refuses: {_said(error, password)}") from error
        except (OSError, smtplib.SMTPException) as error:
            raise MailError(f"{self._name}: {self.tls.tell(error) or error or type(error).__name__}") from error
        return _refusals(refused)

    @property
    def _name(self) -> str:
        return f"the mail server {self.host}:{self.port}"

    def _connected(self, context: ssl.SSLContext) -> smtplib.SMTP:
        if self.at_once:
            return smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_S, context=context)
        server = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S)
        try:
            self._encrypt(server, context)
        except BaseException:
            server.close()
            raise
        return server

    def _encrypt(self, server: smtplib.SMTP, context: ssl.SSLContext) -> None:
        server.ehlo()
        if server.has_extn("starttls"):
            server.starttls(context=context)
        elif self.user or not is_loopback(self.host):
            raise MailError(f"{self._name} offers no STARTTLS: what is sent could be read on the way")


def _said(error: smtplib.SMTPResponseException, password: str) -> str:
    text = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else str(error.smtp_error)
    return f"{error.smtp_code} {without(' '.join(text.split()), password)[:300]}".strip()


def _refusals(recipients: dict[str, tuple[int, bytes]]) -> list[str]:
    return [
        f"{address} ({code} {' '.join(text.decode(errors='replace').split())[:200]})"
        for address, (code, text) in recipients.items()
    ]
