"""The HTTP door under attack over raw sockets: what is hostile is refused at its first sign, and the honest go on."""

import gzip
import json
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.listener.framing import CHUNKS, HEADERS
from streams.listener.protocol import REQUESTS
from streams.settings import Settings
from tests.conftest import Broker
from tests.harness.door import DoorProcess, door_in_thread, event
from tests.harness.topics import PATIENCE_S, read_all
from tests.integration.test_collector import PARTITIONS, prefix, until
from tests.unit.test_listener_framing import AMBIGUOUS, CHUNKED, POST

__all__ = ["prefix"]

ONE = json.dumps(event(1)).encode()
OTHER = "127.0.0.2"
"""Another client, on the same machine."""


def head(**headers: str) -> bytes:
    named = {"Host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines = ["POST /v1/events HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def post(body: bytes, **headers: str) -> bytes:
    return head(**{"Content_Length": str(len(body)), "Content_Type": "application/json", **headers}) + body


def connected(host: str, port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), PATIENCE_S, (source, 0))


def told(connection: socket.socket) -> bytes:
    """All that comes until the other side parts with us."""
    said = b""
    try:
        while piece := connection.recv(65_536):
            said += piece
    except ConnectionResetError:
        return said
    return said


def exchange(host: str, port: int, data: bytes) -> bytes:
    with connected(host, port) as connection:
        connection.sendall(data)
        return told(connection)


@pytest.fixture(scope="module")
def door() -> Iterator[tuple[str, int, Any]]:
    with door_in_thread(Settings(collect_read_s=2.0)) as running:
        yield running


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_a_request_that_hides_another_is_refused_and_ends_the_connection(door: tuple[str, int, Any], kind: str) -> None:
    """Behind a request that is answered; what follows the ambiguous one is never a request of its own."""
    host, port, taken = door
    before = len(taken.events)
    said = exchange(host, port, post(ONE) + AMBIGUOUS[kind] + post(ONE))
    assert said.count(b"HTTP/1.1 ") == 2
    assert said.startswith(b"HTTP/1.1 202")
    assert b"HTTP/1.1 400" in said
    assert len(taken.events) == before + 1


@pytest.mark.parametrize("kind", CHUNKED)
def test_chunks_that_hide_another_request_are_refused(door: tuple[str, int, Any], kind: str) -> None:
    host, port, taken = door
    before = len(taken.events)
    said = exchange(host, port, POST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED[kind] + post(ONE))
    assert said.count(b"HTTP/1.1 ") == 1
    assert said.startswith(b"HTTP/1.1 400")
    assert len(taken.events) == before


def test_chunks_of_one_byte_are_read_up_to_their_bound(door: tuple[str, int, Any]) -> None:
    host, port, taken = door
    before = len(taken.events)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in ONE) + b"0\r\n\r\n"
    said = exchange(host, port, head(Transfer_Encoding="chunked", Connection="close") + chunks)
    assert said.startswith(b"HTTP/1.1 202")
    assert taken.payloads[before:] == [ONE]
    many = b"1\r\n \r\n" * (CHUNKS + 1)
    assert exchange(host, port, head(Transfer_Encoding="chunked") + many).startswith(b"HTTP/1.1 400")


def test_a_flood_of_headers_is_refused_before_anything_is_made_of_it(door: tuple[str, int, Any]) -> None:
    host, port, _ = door
    flood = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 10_000 + b"\r\n"
    assert exchange(host, port, flood).startswith(b"HTTP/1.1 431")
    few = {f"X-{number}": "a" for number in range(HEADERS - 5)}
    assert exchange(host, port, post(ONE, Connection="close", **few)).startswith(b"HTTP/1.1 202")


def test_bombs_of_gzip_are_refused(door: tuple[str, int, Any]) -> None:
    host, port, taken = door
    before = len(taken.events)
    for content in (b" " * 100_000_000, b"[" + b"7," * 500_000 + b"7]", b"[" * 1_000_000):
        said = exchange(host, port, post(gzip.compress(content), Content_Encoding="gzip", Connection="close"))
        assert said.startswith(b"HTTP/1.1 413"), said
    assert len(taken.events) == before


def test_what_was_refused_can_be_read_though_more_was_sent(door: tuple[str, int, Any]) -> None:
    """A connection that is closed while something comes is reset, and the answer lost."""
    host, port, _ = door
    for sent in (b"POST /v1/events HTTP/1.0\r\nContent-Length: x\r\n\r\n", post(b" " * 1_500_000)):
        said = exchange(host, port, sent + b" " * 1_500_000)
        assert said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413")), said[:100]


def dripping(door: tuple[str, int, Any], start: bytes, drip: bytes) -> bytes:
    """Send a byte now and then, for as long as it is listened to."""
    host, port, _ = door
    with connected(host, port) as connection:
        connection.sendall(start)
        connection.settimeout(0.05)
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                connection.sendall(drip)
                if not (said := connection.recv(65_536)):
                    return b""
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                return told(connection)  # it may have answered just before our byte
            return said
    raise AssertionError("it still listens")


def test_slow_heads_and_bodies_are_not_waited_for(door: tuple[str, int, Any]) -> None:
    """However steadily a byte comes."""
    assert dripping(door, b"POST /v1/events HTTP/1.1\r\nX-Slow: ", b"a") == b""
    assert dripping(door, head(Content_Length="100000"), b" ").startswith(b"HTTP/1.1 408")
    assert dripping(door, head(Transfer_Encoding="chunked"), b"1\r\n \r\n").startswith(b"HTTP/1.1 408")


def test_a_sender_that_does_not_read_its_answers_is_parted_with(door: tuple[str, int, Any]) -> None:
    """Answers that nobody reads would fill the memory."""
    host, port, _ = door
    refused = post(json.dumps([{"id": "x" * 100, "type": f"cx.{n}", "time": 7} for n in range(300)]).encode())
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(0.05)
        connection.connect((host, port))
        deadline, left = time.monotonic() + PATIENCE_S, b""
        while time.monotonic() < deadline:
            try:
                left = left or refused
                left = left[connection.send(left) :]
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                return
    raise AssertionError("it still holds the answers")


def test_a_connection_ends_after_so_many_requests_and_says_so(door: tuple[str, int, Any]) -> None:
    host, port, _ = door
    with connected(host, port) as connection:
        said = b""
        for start in range(0, REQUESTS, 50):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
            while said.count(b"HTTP/1.1 200") < start + 50:
                said += connection.recv(65_536)
        said += told(connection)
    assert said.count(b"HTTP/1.1 200") == REQUESTS
    assert said.lower().count(b"connection: close") == 1


def test_one_client_cannot_take_all_connections() -> None:
    settings = Settings(collect_connections=12, collect_client_connections=8)
    with door_in_thread(settings) as (host, port, taken):
        crowd = [connected(host, port, OTHER) for _ in range(8)]
        try:
            with connected(host, port, OTHER) as beyond:
                assert told(beyond).startswith(b"HTTP/1.1 429")
            assert exchange(host, port, post(ONE, Connection="close")).startswith(b"HTTP/1.1 202")
            crowd += [connected(host, port, "127.0.0.3") for _ in range(4)]
            with connected(host, port, "127.0.0.4") as beyond:
                assert told(beyond).startswith(b"HTTP/1.1 503")
        finally:
            for connection in crowd:
                connection.close()
        until(lambda: exchange(host, port, post(ONE, Connection="close")).startswith(b"HTTP/1.1 202"))
        assert len(taken.events) == 2


# -- the honest beside them ------------------------------------------------------------------------------------------

KEY = "public-key-of-the-web-shop"


def tiny(number: int) -> bytes:
    return b"[" + b",".join(b'{"id":%d}' % (number + n) for n in range(1_000)) + b"]"


HOSTILE = [
    post(gzip.compress(b"[" + b"7," * 500_000 + b"7]"), Content_Encoding="gzip", X_API_Key=KEY),
    *(post(tiny(start), X_API_Key=KEY) for start in range(0, 4_000, 1_000)),
    post(b'{"id":"e","data":[' + b'{"a":[1]},' * 50_000 + b"7]}", X_API_Key=KEY),
    post(b"{" * 50_000, X_API_Key="wrong"),
    post(ONE, X_API_Key=KEY, **{f"X-{n}": "a" * 200 for n in range(50)}),
]


def flood(door: DoorProcess, ended: threading.Event) -> None:
    """Send all that is hostile again and again, until told to end."""
    while not ended.is_set():
        try:
            with connected(door.host, door.port, OTHER) as connection:
                for request in HOSTILE:
                    connection.sendall(request)
                    if not connection.recv(65_536) or ended.is_set():
                        break
        except OSError:
            continue


def test_honest_senders_go_on_beside_an_attacker(broker: Broker, prefix: str, tmp_path: Path) -> None:
    """With the same public key: every event of theirs is accepted, in time, and arrives."""
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[shop]\nkey = "{KEY}"\npublic = true\n')
    keys.chmod(0o600)
    settings = {"CX_TOPIC_PREFIX": prefix, "CX_PARTITIONS": str(PARTITIONS), "CX_COLLECT_KEYS_FILE": str(keys)}
    door = DoorProcess({"CX_KAFKA": broker.bootstrap, **settings}, tmp_path / "door.log")
    ended, took = threading.Event(), list[float]()
    attackers = [threading.Thread(target=flood, args=(door, ended)) for _ in range(4)]
    try:
        assert door.post(event(0), **{"X-API-Key": KEY}).status == 202
        for attacker in attackers:
            attacker.start()
        for number in range(1, 20):
            began = time.monotonic()
            answer = door.post(event(number), **{"X-API-Key": KEY})
            took.append(time.monotonic() - began)
            assert answer.status == 202, answer.body
    finally:
        ended.set()
        for attacker in attackers:
            attacker.join(PATIENCE_S)
        door.kill()
    # Alone, one of the hostile requests used to take a third of a second, and four attackers send in turn.
    assert statistics.median(took) < 1.0, took
    arrived = [json.loads(record.value)["id"] for record in read_all(broker.bootstrap, f"{prefix}.touchpoints.web")]
    assert {f"e-{number}" for number in range(20)} <= set(arrived)
