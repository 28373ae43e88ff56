"""`/metrics`, for Prometheus and `cx status`."""

import socket
import threading
import time
from collections.abc import Sequence
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streams import metrics
from streams.listener.clients import Clients
from streams.listener.hosts import HostGuard, Hosts
from streams.listener.protocol import ConnectionLimits
from streams.listener.serving import server_of

FRESH_S: Final = 0.25
"""So long the answer to one is good for the next who asks: writing it all down takes the worker's own time."""
SHARE: Final = 0.2
LIMITS: Final = ConnectionLimits(connections=32, client_connections=16, read_s=5.0, refused=lambda: None)


class _Exposition:
    def __init__(self) -> None:
        self._text = b""
        self._at = float("-inf")

    async def answer(self, _: Request) -> Response:
        if time.monotonic() - self._at > FRESH_S:
            self._text = generate_latest(metrics.REGISTRY)
            self._at = time.monotonic()
        return Response(self._text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


def serve(listening: socket.socket, host: str, hosts: Sequence[str] = ()) -> None:
    """Serve `/metrics` on a socket that listens on `host`, from a thread, also by the names in `hosts`."""
    app = Starlette(
        routes=[Route("/metrics", _Exposition().answer)], middleware=[Middleware(HostGuard, Hosts(host, hosts))]
    )
    server = server_of(app, Clients(SHARE), LIMITS, graceful_s=1)
    threading.Thread(target=server.run, args=([listening],), name="metrics", daemon=True).start()
