"""TLS from the settings: which authority to believe, which certificate to show, and what went wrong in plain words."""

from __future__ import annotations

import dataclasses
import socket
import ssl
import time
from typing import Final

from streams.settings import ConfigError, Settings

# What OpenSSL reports of the other side's certificate, by its number.
_CERTIFICATE: Final = {
    9: "is not valid yet: compare the clocks",
    10: "has expired",
    18: "signed itself, and is not among those trusted ({ca})",
    19: "is of another authority than those trusted ({ca})",
    20: "is of another authority than those trusted ({ca})",
    21: "is of another authority than those trusted ({ca})",
    26: "is not meant for servers",
    62: "is for another host name",
    64: "is for another address",
}
# What the other side says of us before it hangs up: a part of OpenSSL's name for it.
_ALERTS: Final = (
    ("CERTIFICATE_REQUIRED", "asks for a certificate of ours: set {cert}"),
    ("CERTIFICATE_EXPIRED", "says that the certificate in {cert} has expired"),
    ("UNKNOWN_CA", "does not know the authority of the certificate in {cert}"),
    ("CERTIFICATE_UNKNOWN", "does not accept the certificate in {cert}"),
    ("BAD_CERTIFICATE", "does not accept the certificate in {cert}, or asks for one and got none"),
    ("PROTOCOL_VERSION", "speaks an older TLS than 1.2 only"),
    ("HANDSHAKE_FAILURE", "refuses the handshake: it may ask for a certificate of ours ({cert})"),
)
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")


@dataclasses.dataclass(frozen=True, slots=True)
class Tls:
    """The certificates of one connection; `name` begins the names of its settings, e.g. `kafka`."""

    name: str
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def context(self) -> ssl.SSLContext:
        """
        Return what a client needs: TLS 1.2 or newer, the other side's certificate and host name checked.

        Raises:
            ConfigError: a file is missing or holds something else; the text names the setting.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except FileNotFoundError as exc:
            raise ConfigError(f"{self.name}_ca_file: there is no file {self.ca_file!r}") from exc
        except OSError as exc:
            raise ConfigError(f"{self.name}_ca_file: {self.ca_file!r} holds no certificate in PEM form") from exc
        if self.cert_file:
            self._show_certificate(context)
        return context

    def _show_certificate(self, context: ssl.SSLContext) -> None:
        for setting, path in (("cert_file", self.cert_file), ("key_file", self.key_file or self.cert_file)):
            try:
                open(path, "rb").close()  # noqa: PTH123 - whether it can be read is all that is asked
            except OSError as exc:
                raise ConfigError(f"{self.name}_{setting}: cannot read {path!r}: {exc.strerror}") from exc
        try:
            # A key that is encrypted must not make a server wait for somebody to type.
            context.load_cert_chain(self.cert_file, self.key_file or None, password="")
        except ssl.SSLError as exc:
            reason = exc.reason or str(exc)
            if "KEY_VALUES_MISMATCH" in reason:
                text = f"{self.name}_key_file is not the key of {self.name}_cert_file"
            else:
                text = f"{self.name}_cert_file, {self.name}_key_file: expected a certificate and its key, not encrypted"
            raise ConfigError(f"{text} ({reason})") from exc
        # Python has no public way to read a certificate that is ours; the other side only says that it is refused.
        ends = ssl._ssl._test_decode_cert(self.cert_file)["notAfter"]  # type: ignore[attr-defined]  # noqa: SLF001
        if ssl.cert_time_to_seconds(ends) < time.time():
            raise ConfigError(f"{self.name}_cert_file: the certificate in {self.cert_file!r} expired on {ends}")

    def tell(self, error: BaseException) -> str:
        """Return what went wrong with a connection, in plain words; empty if the error says nothing that we know."""
        root = _root(error)
        names = {"ca": f"{self.name}_ca_file", "cert": f"{self.name}_cert_file"}
        if isinstance(root, ssl.SSLCertVerificationError):
            text = _CERTIFICATE.get(root.verify_code, f"is refused: {root.verify_message}").format(**names)
            detail = f" ({root.verify_message})" if root.verify_code in {62, 64} else ""
            return f"wrong certificate: that of the server {text}{detail}"
        if isinstance(root, ssl.SSLError):
            reason = root.reason or str(root)
            for part, text in _ALERTS:
                if part in reason:
                    return f"the server {text.format(**names)}"
            if any(part in reason for part in _NO_TLS):
                return "the server does not speak TLS at this port"
            if isinstance(root, ssl.SSLEOFError | ssl.SSLZeroReturnError):
                # What it said before it hung up is lost when we were still writing.
                return f"the server hangs up: it accepts no certificate in {self.name}_cert_file, or speaks no TLS"
            return f"TLS failed: {reason}"
        if isinstance(root, socket.gaierror):
            return "there is no such host name"
        if isinstance(root, ConnectionRefusedError):
            return "nothing listens there (connection refused)"
        return ""


def kafka_tls(settings: Settings) -> Tls:
    """Return the certificates of the connection to Kafka."""
    return Tls("kafka", settings.kafka_ca_file, settings.kafka_cert_file, settings.kafka_key_file)


def clickhouse_tls(settings: Settings) -> Tls:
    """Return the certificates of the connection to ClickHouse."""
    return Tls("clickhouse", settings.clickhouse_ca_file, settings.clickhouse_cert_file, settings.clickhouse_key_file)


def _root(error: BaseException) -> BaseException:
    """Return the error of the socket or of TLS that a library has wrapped; the error itself if there is none."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or one in seen:
            continue
        # Libraries derive errors of their own from these, without what tells them apart.
        own = type(one).__module__ not in {"ssl", "socket", "builtins"}
        if isinstance(one, (ssl.SSLError, socket.gaierror, ConnectionRefusedError)) and not own:
            return one
        seen.append(one)
        waiting += [
            getattr(one, "reason", None),
            getattr(one, "os_error", None),
            *one.args,
            one.__cause__,
            one.__context__,
        ]
    return error
