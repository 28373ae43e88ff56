"""ClickHouse, Alertmanager and webhooks behind TLS: who is let in, and what is said of whoever is not."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from streams.delivery.alertmanager import Alertmanagers
from streams.delivery.notice import Notice
from streams.delivery.reach import unreachable
from streams.delivery.webhook import Message, Webhook, Webhooks
from streams.local.clickhouse import EmbeddedClickHouse
from streams.secured.tls import Tls
from streams.secured.web import ReceiverAccess, open_access
from streams.settings import ConfigError, load
from streams.storage.connection import Address, StorageError, connect
from streams.storage.connection import address_of as configured
from tests.harness.alertmanager import Alertmanager, binary
from tests.harness.clickhouse import address_of
from tests.harness.kafka import require_or_skip
from tests.harness.receiver import Receiver
from tests.harness.secured import Authority, Terminator

PROMPT_S = 15.0
HASHED = "$2b$04$abcdefghijklmnopqrstuuZo6qv0wLLIJ9e1pGEgyQybxgmeeUMZK"
"""What Alertmanager knows of the password `s3cret-of-cx`: bcrypt, of the least cost."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secured")


@pytest.fixture(scope="module")
def ca(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def other(folder: Path) -> Authority:
    return Authority(folder, "other")


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port


@pytest.fixture(scope="module")
def tls_port(clickhouse: EmbeddedClickHouse, ca: Authority) -> Iterator[int]:
    """ClickHouse behind TLS."""
    with Terminator(port_of(clickhouse.url), ca.issue("clickhouse", "127.0.0.1")) as server:
        yield server.port


@pytest.fixture(scope="module")
def mtls_port(clickhouse: EmbeddedClickHouse, ca: Authority) -> Iterator[int]:
    """The same, for those with a certificate."""
    with Terminator(port_of(clickhouse.url), ca.issue("clickhouse-m", "127.0.0.1"), clients=ca.file) as server:
        yield server.port


def secured(clickhouse: EmbeddedClickHouse, port: int, **files: str | Path) -> Address:
    named = {f"{name}_file": str(path) for name, path in files.items()}
    return replace(address_of(clickhouse, database=""), url=f"https://127.0.0.1:{port}", tls=Tls("clickhouse", **named))


def answer(address: Address) -> int:
    client = connect(address)
    try:
        return int(client.query("SELECT 1").result_rows[0][0])
    finally:
        client.close()


def refusal(address: Address) -> str:
    began = time.monotonic()
    with pytest.raises((StorageError, ConfigError)) as error:
        connect(address)
    assert time.monotonic() - began < PROMPT_S
    assert address.password not in str(error.value)
    return str(error.value)


def test_clickhouse_over_tls_and_with_a_certificate_of_ours(
    clickhouse: EmbeddedClickHouse, ca: Authority, tls_port: int, mtls_port: int
) -> None:
    """The authority is believed by its file; the certificate opens the connection, the password says who we are."""
    assert answer(secured(clickhouse, tls_port, ca=ca.file)) == 1
    assert answer(secured(clickhouse, mtls_port, ca=ca.file, cert=ca.issue("me"))) == 1


def test_what_is_wrong_with_clickhouse_is_said(
    clickhouse: EmbeddedClickHouse, ca: Authority, other: Authority, tls_port: int, mtls_port: int, tmp_path: Path
) -> None:
    """One sentence per cause, in seconds, without the password."""
    right = secured(clickhouse, tls_port, ca=ca.file)
    assert "is of another authority than those trusted (clickhouse_ca_file)" in refusal(
        secured(clickhouse, tls_port, ca=other.file)
    )
    assert "is of another authority" in refusal(secured(clickhouse, tls_port))
    assert "for another host name" in refusal(replace(right, url=f"https://localhost:{tls_port}"))
    assert "there is no file" in refusal(secured(clickhouse, tls_port, ca=tmp_path / "absent"))
    assert "Authentication failed" in refusal(replace(right, password="wrong" * 4))
    assert "does not speak TLS at this port" in refusal(secured(clickhouse, port_of(clickhouse.url), ca=ca.file))
    assert "is it https?" in refusal(replace(right, url=f"http://127.0.0.1:{tls_port}"))
    assert "nothing listens there" in refusal(replace(right, url="https://127.0.0.1:1"))
    # Whether the server's own words are read before it hangs up is a race; the setting is named either way.
    assert "clickhouse_cert_file" in refusal(secured(clickhouse, mtls_port, ca=ca.file))
    stranger = secured(clickhouse, mtls_port, ca=ca.file, cert=other.issue("stranger"))
    assert "clickhouse_cert_file" in refusal(stranger)
    old = secured(clickhouse, mtls_port, ca=ca.file, cert=ca.issue("old", expired=True))
    assert "clickhouse_cert_file: the certificate in" in refusal(old)
    assert "expired" in refusal(old)


def test_a_missing_file_is_refused_at_the_start(tmp_path: Path) -> None:
    """Not at the first insert of a worker that already runs."""
    settings = load(environ={}, clickhouse="https://store:8443", clickhouse_ca_file=str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="clickhouse_ca_file: there is no file"):
        configured(settings)


def test_an_expired_certificate_of_the_server_is_said(clickhouse: EmbeddedClickHouse, ca: Authority) -> None:
    """Not that something with TLS failed: that it has expired."""
    with Terminator(port_of(clickhouse.url), ca.issue("stale", "127.0.0.1", expired=True)) as server:
        assert "that of the server has expired" in refusal(secured(clickhouse, server.port, ca=ca.file))


@pytest.fixture(scope="module")
def alertmanager(folder: Path, ca: Authority) -> Iterator[Alertmanager]:
    """The real one, with TLS, certificates of clients and a password."""
    if binary() is None:
        require_or_skip("there is no Alertmanager (Debian: prometheus-alertmanager)")
    certificate = ca.issue("alertmanager", "127.0.0.1")
    web = folder / "web.yml"
    web.write_text(yaml.safe_dump({
        "tls_server_config": {
            "cert_file": str(certificate), "key_file": str(certificate),
            "client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": str(ca.file),
        },
        "basic_auth_users": {"cx": HASHED},
    }))  # fmt: skip
    config = folder / "alertmanager.yml"
    config.write_text(yaml.safe_dump({"route": {"receiver": "none"}, "receivers": [{"name": "none"}]}))
    server = Alertmanager(config, folder, web_config=web)
    server.start()
    yield server
    server.stop()


def access_of(name: str, **settings: object) -> ReceiverAccess:
    return ReceiverAccess.of(name, load(environ={}, **{f"{name}_{key}": str(value) for key, value in settings.items()}))


async def test_alertmanager_behind_tls_takes_alerts(alertmanager: Alertmanager, ca: Authority, folder: Path) -> None:
    """With authority, certificate and password from the settings; each one wrong is said in the log and to `doctor`."""
    (folder / "am-right").write_text("s3cret-of-cx\n")
    (folder / "am-wrong").write_text("s3cret-of-others")
    right = {"ca_file": ca.file, "cert_file": ca.issue("cx"), "user": "cx", "password_file": folder / "am-right"}
    client = Alertmanagers([alertmanager.url], access=access_of("alertmanager", **right), first_pause_s=0.1)
    client.put("test", [Notice(labels={"alertname": "A"}, annotations={}, starts_at=time.time())])
    client.start()
    try:
        deadline = time.monotonic() + 60
        while "A" not in str(client.instances[0]._sent):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    finally:
        await client.stop()

    async def told(**changes: object) -> str:
        access = access_of("alertmanager", **{key: value for key, value in (right | changes).items() if value})
        found = await asyncio.to_thread(unreachable, [alertmanager.url], [], access, open_access("webhook"))
        return "; ".join(found)

    assert await told() == ""
    assert "401: wrong alertmanager_user or alertmanager_password_file" in await told(password_file=folder / "am-wrong")
    assert "it asks who we are, set alertmanager_user" in await told(user=None, password_file=None)
    assert "alertmanager_cert_file" in await told(cert_file=None)
    assert "is of another authority" in await told(ca_file=None)


async def test_webhooks_with_token_certificate_and_no_secret_in_what_is_said(
    ca: Authority, other: Authority, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A token that is replaced in its file is used at once; what the receiver repeats of secrets is not logged."""
    receiver = Receiver()
    token = folder / "token"
    token.write_text("token-number-one")
    path = "/services/T0SECRET0/B0SECRET0"
    with receiver, Terminator(receiver.port, ca.issue("hook", "127.0.0.1"), clients=ca.file) as server:
        url = f"https://127.0.0.1:{server.port}{path}"
        access = access_of("webhook", ca_file=ca.file, cert_file=ca.issue("hooker"), token_file=token)
        hooks = Webhooks([Webhook(url, access=access)])
        assert await hooks.deliver(Message("1", "a", b"{}", time.time())) == ["delivered"]
        token.write_text("token-number-two")
        receiver.answer = lambda request: (410, {"X": request.path})
        assert await hooks.deliver(Message("2", "a", b"{}", time.time())) == ["refused"]
        await hooks.close()
        sent = [request.headers["authorization"] for request in receiver.received]
        assert sent == ["Bearer token-number-one", "Bearer token-number-two"]
        strange = access_of("webhook", ca_file=other.file, token_file=token)
        found = await asyncio.to_thread(unreachable, [], [url], open_access("alertmanager"), strange)
    assert "is of another authority than those trusted (webhook_ca_file)" in "".join(found)
    for text in (caplog.text, "".join(found)):
        assert "SECRET" not in text
        assert "token-number" not in text
