"""Access tokens: renewed before they expire, said in words when there is none, their secret never in the open."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from streams.secured.tokens import TokenError, Tokens
from streams.settings import ConfigError, Settings, load

SECRET = "client-secret-7d1f"


class Endpoint:
    """Gives numbered tokens that live for 100 s to whoever knows the secret."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.given = 0
        self.asked: list[dict[str, list[str]]] = []
        self.body = b""


@contextmanager
def token_endpoint() -> Iterator[Endpoint]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            endpoint.asked.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            right = base64.b64encode(f"cx:{SECRET}".encode()).decode()
            known = self.headers["Authorization"] == f"Basic {right}"
            endpoint.given += known
            body = endpoint.body or json.dumps({"access_token": f"token-{endpoint.given}", "expires_in": 100}).encode()
            self.send_response(200 if known else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    endpoint = Endpoint(f"http://127.0.0.1:{server.server_address[1]}/token")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def settings_for(tmp_path: Path, secret: str = SECRET, **changes: str) -> Settings:
    (tmp_path / "secret").write_text(secret)
    given = {
        "kafka_security": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER", "kafka_user": "cx",
        "kafka_password_file": str(tmp_path / "secret"), "kafka_token_scope": "kafka", **changes,
    }  # fmt: skip
    return load(environ={}, **given)


def test_a_token_of_the_endpoint_is_replaced_before_it_expires(tmp_path: Path) -> None:
    """Asked once for many connections, and again after four fifths of its life."""
    now = 1_000.0
    with token_endpoint() as endpoint:
        tokens = Tokens(settings_for(tmp_path, kafka_token_url=endpoint.url), clock=lambda: now)
        assert [tokens.get(), tokens.get()] == ["token-1", "token-1"]
        now += 79
        assert tokens.get() == "token-1"
        now += 2
        assert tokens.get() == "token-2"
        assert endpoint.asked == [{"grant_type": ["client_credentials"], "scope": ["kafka"]}] * 2


def test_an_endpoint_that_gives_none_is_told_in_words(tmp_path: Path) -> None:
    """Wrong secret, nonsense, nobody there."""
    with token_endpoint() as endpoint:
        wrong = Tokens(settings_for(tmp_path, "another-secret", kafka_token_url=endpoint.url))
        with pytest.raises(TokenError, match="answers 401: wrong kafka_user or kafka_password_file") as refused:
            wrong.get()
        assert "another-secret" not in str(refused.value)
        endpoint.body = b"<html>"
        with pytest.raises(TokenError, match="gives no token: JSONDecodeError"):
            Tokens(settings_for(tmp_path, kafka_token_url=endpoint.url)).get()
    with pytest.raises(TokenError, match="nothing listens there"):
        Tokens(settings_for(tmp_path, kafka_token_url=endpoint.url)).get()


def test_the_secret_goes_over_https_or_to_this_machine(tmp_path: Path) -> None:
    """Whoever listens on the way would be the client from then on."""
    with pytest.raises(ConfigError, match="expected an https address"):
        Tokens(settings_for(tmp_path, kafka_token_url="http://login.example/token"))
    assert Tokens(settings_for(tmp_path, kafka_token_url="https://login.example/token"))


def test_a_file_is_read_again_for_every_connection(tmp_path: Path) -> None:
    """What renews it does not tell us; one that has expired is not sent."""
    file = tmp_path / "token"
    settings = load(
        environ={}, kafka_security="SASL_SSL", kafka_sasl_mechanism="OAUTHBEARER", kafka_token_file=str(file)
    )
    tokens = Tokens(settings, clock=lambda: 1_000.0)
    with pytest.raises(TokenError, match="kafka_token_file: cannot read"):
        tokens.get()
    for text in ("one", "two"):
        file.write_text(f"{text}\n")
        assert tokens.get() == text
    claims = base64.urlsafe_b64encode(b'{"exp": 990}').decode().rstrip("=")
    file.write_text(f"e30.{claims}.c2ln")
    with pytest.raises(TokenError, match="expired 10 s ago: it is no longer renewed"):
        tokens.get()
