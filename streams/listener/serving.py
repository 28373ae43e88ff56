"""A server of an ASGI application, with the limits that all listeners have."""

import socket
from collections.abc import Callable
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from streams.listener.clients import Clients
from streams.listener.protocol import ConnectionLimits, Protocol

BACKLOG: Final = 512
IDLE_S: Final = 75
"""Longest pause between two requests of a connection: longer than the proxies in front usually keep theirs."""


class Server(uvicorn.Server):
    """
    To be asked to end is no failure: the signal is not raised again afterwards, as the library would.

    Args:
        config: of the library.
        ending: called when it is asked to end.
        failed: tells whether it has to end by itself.
    """

    def __init__(
        self, config: uvicorn.Config, ending: Callable[[], None] | None, failed: Callable[[], bool] | None
    ) -> None:
        super().__init__(config)
        self._ending = ending
        self._failed = failed

    async def on_tick(self, counter: int) -> bool:
        """Return whether it has to end."""
        return await super().on_tick(counter) or (self._failed is not None and self._failed())

    def handle_exit(self, sig: int, frame: object) -> None:  # noqa: ARG002
        """End."""
        if self._ending is not None:
            self._ending()
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """
    Open the port.

    Raises:
        OSError: it is taken, or the host is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    # Handed down to connections: head and body of an answer are two writes, and the second must not wait 40 ms for the
    # first to be acknowledged. The loop sees to that only for sockets that it opened itself.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def server_of(
    app: ASGIApp,
    clients: Clients,
    limits: ConnectionLimits,
    *,
    graceful_s: int,
    ending: Callable[[], None] | None = None,
    failed: Callable[[], bool] | None = None,
    **place: Any,
) -> Server:
    """
    Return a server, to be run with sockets of `listen`, or at a `host` and `port`.

    Args:
        app: the application; `scope["state"]["client"]` tells it who asks.
        clients: who asks, and what they use.
        limits: of connections.
        graceful_s: longest wait for what is under way at the end.
        ending: called when it is asked to end by SIGINT or SIGTERM.
        failed: tells whether it has to end by itself.
        place: `host` and `port`.
    """
    config = uvicorn.Config(
        app,
        http=type("Limited", (Protocol,), {"clients": clients, "limits": limits}),
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=graceful_s,
        **place,
    )
    return Server(config, ending, failed)
