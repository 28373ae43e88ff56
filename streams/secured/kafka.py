"""Certificates, passwords and tokens for Kafka's clients, and a first connection that says what is wrong."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kafka.errors import KafkaError
from kafka.net.sasl import get_sasl_mechanism
from kafka.net.sasl.oauth import AbstractTokenProvider

from streams.secured.tls import Tls, kafka_tls
from streams.secured.tokens import Tokens
from streams.settings import ConfigError, Settings

KNOCK_S: Final = 3.0
"""Longest wait for a server to accept a connection, and for each of its answers."""
LONGEST_ANSWER: Final = 1 << 20

_METADATA, _API_VERSIONS, _SASL_HANDSHAKE, _SASL_AUTHENTICATE = 3, 18, 17, 36
_UNSUPPORTED_MECHANISM, _NOT_A_SASL_LISTENER = 33, 34


class _Provider(AbstractTokenProvider):  # type: ignore[misc]
    """Tokens as kafka-python asks for them."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens

    def token(self) -> str:
        return self._tokens.get()


def kafka_client_options(settings: Settings) -> dict[str, Any]:
    """
    Return the security options of a kafka-python client.

    Raises:
        ConfigError: a file is missing or holds something else.
    """
    options: dict[str, Any] = {"security_protocol": settings.kafka_security}
    if settings.kafka_security.endswith("SSL"):
        options["ssl_context"] = kafka_tls(settings).context()
    if settings.kafka_security.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        if settings.kafka_sasl_mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = _Provider(Tokens(settings))
        else:
            options |= {"sasl_plain_username": settings.kafka_user, "sasl_plain_password": _password(settings)}
    return options


def _password(settings: Settings) -> str:
    if not settings.kafka_user or not settings.kafka_password_file:
        raise ConfigError(f"kafka_security is {settings.kafka_security}: set kafka_user and kafka_password_file")
    return settings.kafka_password()


def knock(servers: Sequence[tuple[str, int]], options: Mapping[str, Any]) -> None:
    """
    Try whether any server can be talked to with these options of a kafka-python client.

    The libraries repeat in silence, leak sockets or hang where this says at once what is wrong.

    Raises:
        ConnectionError: none can; the text tells of each.
    """
    refusals = []
    for host, port in servers:
        try:
            _try(host, port, options)
        except OSError as error:
            # What we say ourselves is plain; what the system says is put into words.
            detail = "" if type(error) is ConnectionError else Tls("kafka").tell(error)
            refusals.append(f"{host}:{port}: {detail or error.strerror or error}")
        else:
            return
    raise ConnectionError("; ".join(refusals))


def server_address(server: str) -> tuple[str, int]:
    """
    Split `host`, `host:port` or `[ipv6]:port`; the port is 9092 if not given.

    Raises:
        ValueError: the port is no number.
    """
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]"):
        return server.strip("[]"), 9092
    if not port.isdecimal():
        raise ValueError(f"bootstrap server {server!r} has port {port!r}; expected host:port, such as 127.0.0.1:9092")
    return host.strip("[]"), int(port)


def _context(options: Mapping[str, Any]) -> ssl.SSLContext:
    given: ssl.SSLContext | None = options.get("ssl_context")
    if given is not None:
        return given
    context = ssl.create_default_context(cafile=options.get("ssl_cafile"))
    context.check_hostname = options.get("ssl_check_hostname", True)
    if options.get("ssl_certfile"):
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password"))
    return context


def _try(host: str, port: int, options: Mapping[str, Any]) -> None:
    protocol = options.get("security_protocol") or "PLAINTEXT"
    with socket.create_connection((host, port), timeout=KNOCK_S) as plain:
        encrypted = protocol.endswith("SSL")
        connection = _encrypted(plain, host, options) if encrypted else plain
        with connection:
            _talk(_Wire(connection, encrypted=encrypted), host, protocol, options)


def _encrypted(plain: socket.socket, host: str, options: Mapping[str, Any]) -> socket.socket:
    try:
        return _context(options).wrap_socket(plain, server_hostname=host)
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionResetError) as error:
        raise ConnectionError("the server hangs up in the handshake: it does not speak TLS at this port") from error


def _talk(wire: _Wire, host: str, protocol: str, options: Mapping[str, Any]) -> None:
    wire.ask(_API_VERSIONS, 0, b"")
    if not protocol.startswith("SASL"):
        # A listener with SASL answers so far, and hangs up at the first question that matters.
        try:
            wire.ask(_METADATA, 1, struct.pack(">i", 0))
        except ConnectionError as error:
            text = f"the server hangs up: it asks who we are (SASL), but kafka_security is {protocol}"
            raise ConnectionError(text) from error
        return
    mechanism = options["sasl_mechanism"]
    answer = wire.ask(_SASL_HANDSHAKE, 1, _text(mechanism))
    if _code(answer) == _NOT_A_SASL_LISTENER:
        raise ConnectionError(f"the server takes no SASL at this port, but kafka_security is {protocol}")
    if _code(answer) == _UNSUPPORTED_MECHANISM:
        known = ", ".join(_texts(answer[2:]))
        raise ConnectionError(f"the server does not know kafka_sasl_mechanism {mechanism}; it knows {known}")
    _authenticate(wire, host, mechanism, options)


def _authenticate(wire: _Wire, host: str, mechanism: str, options: Mapping[str, Any]) -> None:
    dialogue = get_sasl_mechanism(mechanism)(host=host, **options)
    while not dialogue.is_done():
        sent = dialogue.auth_bytes()
        answer = wire.ask(_SASL_AUTHENTICATE, 0, struct.pack(">i", len(sent)) + sent)
        said, rest = _nullable_text(answer[2:])
        if _code(answer):
            raise ConnectionError(_refused(mechanism, said))
        (size,) = struct.unpack_from(">i", rest)
        received = rest[4 : 4 + max(0, size)]
        if mechanism == "OAUTHBEARER" and received:
            raise ConnectionError(_refused(mechanism, received.decode(errors="replace")))
        try:
            dialogue.receive(received)
        except (KafkaError, ValueError) as error:
            raise ConnectionError(f"the server does not prove that it knows the password: {error}") from error


def _refused(mechanism: str, said: str) -> str:
    what = "token refused" if mechanism == "OAUTHBEARER" else "wrong kafka_user or kafka_password_file"
    return f"{what}; the server says: {said or 'nothing'}"


class _Wire:
    """Kafka's framing: enough for what comes before a connection is let in."""

    def __init__(self, connection: socket.socket, *, encrypted: bool) -> None:
        self._connection = connection
        self._encrypted = encrypted

    def ask(self, api: int, version: int, body: bytes) -> bytes:
        """Send a request; return the body of its answer."""
        request = struct.pack(">hhi", api, version, 1) + _text("cx-knock") + body
        self._connection.sendall(struct.pack(">i", len(request)) + request)
        head = self._read(4)
        if head[:2] == b"\x15\x03":
            raise ConnectionError("the server speaks TLS at this port, but kafka_security has no SSL")
        (size,) = struct.unpack(">i", head)
        if not 4 <= size <= LONGEST_ANSWER:
            raise ConnectionError(f"the server is no Kafka: its answer begins with {head!r}")
        return self._read(size)[4:]

    def _read(self, size: int) -> bytes:
        read = b""
        while len(read) < size:
            try:
                part = self._connection.recv(size - len(read))
            except TimeoutError as exc:
                hint = "" if self._encrypted else ": it may expect TLS at this port, or be no Kafka"
                raise ConnectionError(f"the server does not answer within {KNOCK_S:g} s{hint}") from exc
            if not part:
                hint = "it may ask for a certificate of ours" if self._encrypted else "it may expect TLS at this port"
                raise ConnectionError(f"the server hangs up at the first question: {hint}")
            read += part
        return read


def _code(answer: bytes) -> int:
    return int.from_bytes(answer[:2], "big", signed=True)


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">h", len(raw)) + raw


def _nullable_text(raw: bytes) -> tuple[str, bytes]:
    (size,) = struct.unpack_from(">h", raw)
    return raw[2 : 2 + max(0, size)].decode(errors="replace"), raw[2 + max(0, size) :]


def _texts(raw: bytes) -> list[str]:
    (count,) = struct.unpack_from(">i", raw)
    raw, found = raw[4:], []
    for _ in range(count):
        text, raw = _nullable_text(raw)
        found.append(text)
    return found
