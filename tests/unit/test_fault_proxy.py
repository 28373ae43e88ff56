"""The proxy of the fault suite: what it cuts is cut, what it holds arrives later, whoever sent it."""

import os
import socket
import threading
import time
from contextlib import closing

import pytest

from streams.local.ports import free_port
from tests.harness.proxy import Proxy, ports_of

PATIENCE_S = 90.0


@pytest.fixture
def server():
    """A server that keeps what it gets, and sends it back."""
    with socket.create_server(("127.0.0.1", free_port())) as listening:
        got = []

        def serve(connection):
            with closing(connection):
                try:
                    while data := connection.recv(1 << 16):
                        got.append(data)
                        connection.sendall(data)
                except ConnectionError:
                    return

        def accept():
            try:
                while True:
                    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1], got
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(server):
    made = Proxy().start(server[0])
    yield made
    made.stop()


def connected(proxy):
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_S)
    connection.sendall(b"first")
    assert connection.recv(100) == b"first"
    return connection


def connected_only(proxy):
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_S)


def ended(connection):
    try:
        return connection.recv(100) == b""
    except ConnectionError:
        return True


def wait(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_cut_is_refused_until_it_is_healed(proxy):
    with connected(proxy) as connection:
        proxy.cut(refuse=True)
        assert ended(connection)
    with connected_only(proxy) as refused:
        assert ended(refused)
    proxy.heal()
    connected(proxy).close()


def test_what_is_held_arrives_after_its_sender_has_gone(proxy, server):
    with connected(proxy) as connection:
        proxy.stall()
        connection.sendall(b"second")
    # Others are not concerned: only connections of that moment are held.
    connected(proxy).close()
    assert b"second" not in server[1]
    proxy.heal()
    wait(lambda: b"second" in server[1])


def test_one_client_of_two_is_held(proxy):
    with connected(proxy) as one, connected(proxy) as other:
        proxy.stall(only={one.getsockname()[1]})
        one.sendall(b"held")
        other.sendall(b"passes")
        assert other.recv(100) == b"passes"
        one.settimeout(0.2)
        with pytest.raises(TimeoutError):
            one.recv(100)
        proxy.heal()
        one.settimeout(PATIENCE_S)
        assert one.recv(100) == b"held"


def test_a_connection_is_held_from_the_marker_on(proxy, server):
    with connected(proxy) as connection:
        proxy.hold_next(b"INSERT")
        connection.sendall(b"SELECT")
        assert connection.recv(100) == b"SELECT"
        connection.sendall(b"INSERT x")
        assert proxy.held.wait(PATIENCE_S)
        assert b"INSERT x" not in server[1]
        proxy.heal()
        assert connection.recv(100) == b"INSERT x"


def test_bytes_are_delayed(proxy):
    with connected(proxy) as connection:
        proxy.delay_s = 0.15
        began = time.monotonic()
        connection.sendall(b"late")
        assert connection.recv(100) == b"late"
        # Once there, once back.
        assert time.monotonic() - began >= 0.3


def test_bytes_are_throttled(proxy):
    with connected(proxy) as connection:
        proxy.bytes_per_s = 1000.0
        began = time.monotonic()
        connection.sendall(b"x" * 100)
        assert connection.recv(100)
        assert time.monotonic() - began >= 0.2


def test_the_ports_of_a_process_are_those_of_its_connections(proxy):
    with connected(proxy) as connection:
        assert connection.getsockname()[1] in ports_of(os.getpid())


def test_a_server_of_http_is_told_its_own_address(server):
    proxy = Proxy().start(server[0], http=True)
    try:
        with connected(proxy) as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\n\r\n".encode())
            assert connection.recv(100) == f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server[0]}\r\n\r\n".encode()
    finally:
        proxy.stop()
