"""Which names and pages a listener answers."""

from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from streams.listener.hosts import HostGuard, Hosts, named_hosts

LOCAL = Hosts("127.0.0.1", named_hosts("board.example, "))
OPEN = Hosts("0.0.0.0")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8080", "localhost:8080", "LOCALHOST", "localhost.", "a.localhost", "[::1]", "[::1]:8080",
     "10.0.0.7:9464", "board.example", "Board.Example.:443"],
)  # fmt: skip
def test_addresses_and_own_names_are_answered(host: str) -> None:
    assert LOCAL.answer(host)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "worker", "board.example.evil",
     "127.0.0.1:8080:1", "127.0.0.1@evil.example", "evil.example#localhost", "[::1", "::1", "localhost:80a", "2130706433",
     "127.1", "0x7f.1", "127.0.0.1/", " localhost", "[fe80::1%eth0]"],
)  # fmt: skip
def test_other_names_are_not(host: str) -> None:
    assert not LOCAL.answer(host)


def test_where_others_reach_it_names_without_a_dot_are_answered_too() -> None:
    """Services ask each other by such names; no page on the web can have one."""
    assert OPEN.answer("worker:9464")
    assert not OPEN.answer("evil.example:9464")


async def asked(headers: dict[str, str], **options: Any) -> int:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("here")(scope, receive, send)

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        said.append(message)

    said: list[Any] = []
    scope = {"type": "http", "method": "GET", "headers": [(k.encode(), v.encode()) for k, v in headers.items()]}
    await HostGuard(app, LOCAL, **options)(scope, receive, send)
    return int(said[0]["status"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:8080"}, 200),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, 200),
        ({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        ({"host": "evil.example"}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:5173"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, 403),
    ],
)
async def test_pages_of_other_origins_are_not_answered(headers: dict[str, str], status: int) -> None:
    assert await asked({"host": "127.0.0.1:8080", **headers}) == status


async def test_an_application_with_a_list_of_its_own_sees_all_pages() -> None:
    assert await asked({"host": "localhost", "origin": "https://shop.example"}, own_pages_only=False) == 200
    assert await asked({"host": "evil.example", "origin": "https://shop.example"}, own_pages_only=False) == 421
