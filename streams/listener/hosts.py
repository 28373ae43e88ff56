"""
Which names a listener answers to, and which pages.

A page on the web can make a name of its own point at this machine, and then reads what answers there as if it were the
page's own server. It can only do so by a name with a dot in it, which it sends as `Host`; so addresses are answered,
and of names only those that are known.
"""

import json
import re
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from streams.settings import is_loopback

_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?")


class Hosts:
    """
    The names a listener is known by, beside addresses and `localhost`.

    Args:
        listening: where it listens; if others can reach that, also the name of this machine and names without a dot,
            which services have among each other.
        named: further names.
    """

    def __init__(self, listening: str, named: Iterable[str] = ()) -> None:
        self._names = {"localhost", listening.lower(), *(name.lower().rstrip(".") for name in named)}
        self._within = not is_loopback(listening)
        if self._within:
            self._names.add(socket.gethostname().lower())

    def answer(self, host: str) -> bool:
        """Return whether a `Host` header names this listener."""
        found = _HOST.fullmatch(host)
        if not found:
            return False
        name = found[1].lower().rstrip(".")
        return (
            name in self._names
            or name.endswith(".localhost")
            or _is_address(name.strip("[]"))
            or (self._within and "." not in name)
        )


class HostGuard:
    """
    ASGI middleware: answers 421 to requests whose `Host` is none of the listener's names.

    Args:
        app: what stands behind it.
        hosts: the listener's names.
        own_pages_only: answer 403 to what a page of another origin asks for, unless a person follows a link.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, *, own_pages_only: bool = True) -> None:
        self._app = app
        self._hosts = hosts
        self._own_pages_only = own_pages_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host = headers.get("host", "")
            if not self._hosts.answer(host):
                hint = "this is no name of this server: ask by its address, or name it in CX_HTTP_HOSTS"
                await _refuse(send, 421, "unknown_host", hint)
                return
            if self._own_pages_only and _foreign(headers, host):
                await _refuse(send, 403, "origin_not_allowed", "pages of other origins are not answered")
                return
        await self._app(scope, receive, send)


def _foreign(headers: Headers, host: str) -> bool:
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != host:
        return True
    # Pictures and scripts are asked for without an origin, but current browsers say whose page they are for.
    other = headers.get("sec-fetch-site") in {"cross-site", "same-site"}
    return other and headers.get("sec-fetch-mode") != "navigate"


def named_hosts(text: str) -> tuple[str, ...]:
    """Read comma-separated names."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


async def _refuse(send: Send, status: int, reason: str, message: str) -> None:
    body = json.dumps({"error": reason, "message": message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
