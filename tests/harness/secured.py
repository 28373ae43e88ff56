"""Listeners that ask for certificates, passwords and tokens, with an authority that lives as long as the test."""

import base64
import datetime as dt
import json
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import trustme
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from streams.local.ports import free_port
from tests.harness.kafka import KafkaBroker

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
AUDIENCE = "cx-kafka"
SASL = "org.apache.kafka.common.security"


class Authority:
    """Signs certificates and writes them as files, each with its key in the same one."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._ca = trustme.CA(organization_name=f"CX test {name}")
        self._folder = folder
        self.file = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, file: str, *hosts: str, common_name: str | None = None, expired: bool = False) -> Path:
        """Write a certificate with its chain and its key, in the form that Java reads too."""
        issued = self._ca.issue_cert(
            *(hosts or ("client.test",)),
            common_name=common_name,
            not_before=LONG_AGO if expired else None,
            not_after=LONG_AGO + dt.timedelta(days=1) if expired else None,
        )
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), password=None)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = self._folder / f"{file}.pem"
        path.write_bytes(pem + b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        path.chmod(0o600)
        return path


class Issuer:
    """Signs access tokens; its public key is a file that Kafka reads."""

    def __init__(self, folder: Path) -> None:
        self._key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
        self.keys = folder / "jwks.json"
        numbers = self._key.public_key().public_numbers()
        jwk = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "test"}
        jwk |= {"n": _b64(_big_endian(numbers.n)), "e": _b64(_big_endian(numbers.e))}
        self.keys.write_text(json.dumps({"keys": [jwk]}))

    def token(self, who: str, life_s: float = 3600.0) -> str:
        """Return a token of `who` that ends in `life_s`."""
        now = time.time()
        claims = {"sub": who, "aud": AUDIENCE, "iat": min(now, now + life_s) - 1, "exp": now + life_s, "scope": "kafka"}
        signed = ".".join(_b64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "test"}, claims))
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_b64(signature)}"


class SecuredKafka:
    """Apache Kafka with one listener per way to prove who one is, and no right that was not granted."""

    def __init__(self, folder: Path, users: dict[str, str]) -> None:
        self.ca = Authority(folder)
        self.issuer = Issuer(folder)
        server = self.ca.issue("server", "127.0.0.1")
        ports = {name: free_port() for name in ("SCRAM", "BEARER", "MTLS")}
        self.scram, self.bearer, self.mtls = (f"127.0.0.1:{port}" for port in ports.values())
        keys = self.issuer.keys.as_uri()
        self._broker = KafkaBroker(
            folder,
            secured={
                "SCRAM": ("SASL_SSL", ports["SCRAM"]),
                "BEARER": ("SASL_SSL", ports["BEARER"]),
                "MTLS": ("SSL", ports["MTLS"]),
            },
            properties={
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(server),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(self.ca.file),
                "ssl.principal.mapping.rules": "RULE:^.*CN=([a-z-]+).*$/$1/,DEFAULT",
                "listener.name.mtls.ssl.client.auth": "required",
                "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
                "listener.name.scram.scram-sha-512.sasl.jaas.config": f"{SASL}.scram.ScramLoginModule required;",
                "listener.name.bearer.sasl.enabled.mechanisms": "OAUTHBEARER",
                "listener.name.bearer.oauthbearer.sasl.jaas.config": (
                    f"{SASL}.oauthbearer.OAuthBearerLoginModule required;"
                ),
                "listener.name.bearer.oauthbearer.sasl.server.callback.handler.class": (
                    f"{SASL}.oauthbearer.OAuthBearerValidatorCallbackHandler"
                ),
                # The default of 4.1 reads tokens without looking at their signature.
                "sasl.oauthbearer.jwt.validator.class": f"{SASL}.oauthbearer.BrokerJwtValidator",
                "sasl.oauthbearer.jwks.endpoint.url": keys,
                "sasl.oauthbearer.expected.audience": AUDIENCE,
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "allow.everyone.if.no.acl.found": "false",
                "super.users": "User:ANONYMOUS",
            },
            format_options=[
                part
                for user, password in users.items()
                for part in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]")
            ],
            jvm_options=[f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys}"],
        )
        self.bootstrap = self._broker.bootstrap
        self.log = self._broker.log

    def start(self) -> None:
        self._broker.start()

    def stop(self) -> None:
        self._broker.stop()


class Terminator:
    """Speaks TLS before a server that does not, and asks for certificates of `clients` if given."""

    def __init__(self, upstream: int, certificate: Path, clients: Path | None = None) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        if clients is not None:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_REQUIRED

        terminator = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with (
                    suppress(OSError),
                    context.wrap_socket(self.request, server_side=True) as outside,
                    socket.create_connection(("127.0.0.1", upstream)) as inside,
                ):
                    back = threading.Thread(target=_pump, args=(inside, outside), daemon=True)
                    back.start()
                    # ClickHouse answers to its own address only.
                    names = (f"Host: 127.0.0.1:{port}".encode() for port in (terminator.port, upstream))
                    _pump(outside, inside, *names)
                    back.join()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _pump(source: socket.socket, target: socket.socket, told: bytes = b"", truly: bytes = b"") -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data.replace(told, truly) if told else data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@contextmanager
def secured_kafka(folder: Path, users: dict[str, str]) -> Iterator[SecuredKafka]:
    broker = SecuredKafka(folder, users)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _big_endian(number: Any) -> bytes:
    value = int(number)
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
