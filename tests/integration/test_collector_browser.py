"""The HTTP door from a page: beacons and fetches of a real browser, with the leave that it asks for."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from streams.settings import Settings
from tests.harness.browser import chromium
from tests.harness.door import Taken, door_in_thread, event
from tests.harness.topics import PATIENCE_S

KEY = "public-key-of-the-web-shop"
SEND = """async ([url, headers, body]) => {
    try {
        const answer = await fetch(url, {method: "POST", headers, body});
        return [answer.status, await answer.json(), answer.headers.get("Retry-After")];
    } catch (error) {
        return String(error);
    }
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


class _Shop(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>shop</title>")

    def log_message(self, *_: Any) -> None:
        """A test has no use for a log of requests."""


@pytest.fixture
def shop() -> Iterator[int]:
    """A page on an origin of its own: its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Shop)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join(PATIENCE_S)
    server.server_close()


@pytest.fixture
def door(shop: int, tmp_path: Path) -> Iterator[tuple[str, Taken]]:
    keys = tmp_path / "keys.toml"
    keys.write_text(f'["web shop"]\nkey = "{KEY}"\nchannels = ["web"]\npublic = true\n')
    keys.chmod(0o600)
    settings = Settings(collect_keys_file=str(keys), collect_origins=f"http://127.0.0.1:{shop}")
    with door_in_thread(settings) as (host, port, taken):
        yield f"http://{host}:{port}/v1/events", taken


def opened(browser: Browser, url: str) -> Page:
    page = browser.new_page()
    page.goto(url)
    return page


def wait_for(taken: Taken, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(taken.events) < count:
        assert time.monotonic() < deadline, f"{len(taken.events)} of {count} events came"
        time.sleep(0.05)


def test_a_page_that_is_left_still_tells(browser: Browser, shop: int, door: tuple[str, Taken]) -> None:
    """What `sendBeacon` sends without asking for leave: text, with the public key in the address."""
    url, taken = door
    page = opened(browser, f"http://127.0.0.1:{shop}/")
    queued = page.evaluate(
        "([url, body]) => navigator.sendBeacon(url, body)",
        [f"{url}?key={KEY}", json.dumps(event(1, subject="مشتری-۱"))],
    )
    assert queued
    page.close()
    wait_for(taken, 1)
    assert taken.events[0].subject == "مشتری-۱"


def test_a_page_reads_what_became_of_its_events(browser: Browser, shop: int, door: tuple[str, Taken]) -> None:
    """JSON and headers of its own need the browser's leave to be asked for; the answer can be read."""
    url, taken = door
    page = opened(browser, f"http://127.0.0.1:{shop}/")
    headers = {"Content-Type": "application/json", "X-API-Key": KEY}
    status, told, _ = page.evaluate(SEND, [url, headers, json.dumps([event(1), event(2, channel="fax")])])
    assert (status, told["accepted"], told["events"][1]["path"]) == (207, 1, "channel")
    one = event(3)
    binary = {f"ce-{name}": value for name, value in one.items() if name != "data"} | headers
    status, told, _ = page.evaluate(SEND, [url, binary, json.dumps(one["data"])])
    assert (status, told["accepted"]) == (202, 1)
    assert [one.id for one in taken.events] == ["e-1", "e-3"]
    page.close()


def test_the_documented_script_sends(browser: Browser, shop: int, door: tuple[str, Taken]) -> None:
    """docs/PRODUCERS.md, as it stands there."""
    url, taken = door
    text = (Path(__file__).parents[2] / "docs" / "PRODUCERS.md").read_text(encoding="utf-8")
    script = text.partition("```js\n")[2].partition("```")[0]
    assert "sendBeacon" in script
    script = script.replace("https://events.shop.example/v1/events?key=PUBLIC_KEY", f"{url}?key={KEY}")
    page = opened(browser, f"http://127.0.0.1:{shop}/")
    page.add_script_tag(content=f'const customerKey = "c-4711";\n{script}')
    wait_for(taken, 1)
    page.close()
    assert (taken.events[0].type, taken.events[0].subject, taken.events[0].data.page) == (
        "cx.page.viewed",
        "c-4711",
        "checkout",
    )


def test_a_page_of_somebody_else_cannot_send(browser: Browser, shop: int, door: tuple[str, Taken]) -> None:
    """The same page under another name is another origin; neither fetch nor beacon gets anything through."""
    url, taken = door
    page = opened(browser, f"http://localhost:{shop}/")
    body = json.dumps(event(1))
    assert "Failed to fetch" in page.evaluate(SEND, [url, {"Content-Type": "application/json"}, body])
    assert "Failed to fetch" in page.evaluate(SEND, [f"{url}?key={KEY}", {}, body])
    page.close()
    own = opened(browser, f"http://127.0.0.1:{shop}/")
    own.evaluate(SEND, [f"{url}?key={KEY}", {}, json.dumps(event(2))])
    own.close()
    assert [one.id for one in taken.events] == ["e-2"]
