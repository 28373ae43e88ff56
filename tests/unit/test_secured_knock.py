"""What is said of a port that hangs up while TLS begins: whichever way the end of a connection reaches us."""

import socket
import ssl
from typing import Any

import pytest

from streams.local.ports import LOOPBACK
from streams.secured.kafka import knock


class HangingUp:
    """Stands for the TLS of a connection that ends in the handshake."""

    def __init__(self, error: OSError) -> None:
        self._error = error

    def wrap_socket(self, _plain: socket.socket, **_: Any) -> socket.socket:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        ssl.SSLEOFError(8, "UNEXPECTED_EOF_WHILE_READING"),
        ssl.SSLZeroReturnError(6, "TLS/SSL connection has been closed (EOF)"),
        ConnectionResetError(104, "Connection reset by peer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_server_that_hangs_up_in_the_handshake_speaks_no_tls(error: OSError) -> None:
    options = {"security_protocol": "SSL", "ssl_context": HangingUp(error)}
    with socket.create_server((LOOPBACK, 0)) as listening, pytest.raises(ConnectionError, match="does not speak TLS"):
        knock([listening.getsockname()[:2]], options)
