"""The case page in front of a desk in memory: what people do there is judged at once, as the workers would."""

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec

from streams.board.acting import CaseWriter
from streams.board.feed import AlertRow
from streams.board.server import BoardServer
from streams.board.store import BoardStore
from streams.events.decode import decode_batch
from streams.events.types import Envelope
from streams.listener.clients import Clients
from streams.listener.hosts import Hosts
from streams.listener.protocol import ConnectionLimits
from streams.listener.serving import listen, server_of
from streams.loop.acting import CaseAction
from streams.loop.rows import CaseRow
from streams.producers.cases import CaseSender
from streams.settings import load
from streams.storage.connection import Address
from streams.storage.customer import CustomerHistory
from tests.harness.cases import Desk
from tests.harness.queue import rows_of

KEY = "a-key-of-the-page-for-tests-93b1"
FORM = "application/x-www-form-urlencoded"
NOWHERE = Address("http://127.0.0.1:1")


class DeskStore(BoardStore):
    """Answers of the cases of a desk."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(NOWHERE)
        self._desk = desk

    def has_cases(self) -> bool:
        return True

    def case_mark(self) -> str:
        return str(len(self._desk.log))

    def open_cases(self, most: int) -> list[CaseRow]:
        return [row for row in rows_of(self._desk) if row.state != "closed"][:most]

    def closed_cases(self, most: int) -> list[CaseRow]:
        return [row for row in rows_of(self._desk) if row.state == "closed"][:most]

    def case(self, case_id: str) -> CaseRow | None:
        return next((row for row in rows_of(self._desk) if row.case_id == case_id), None)

    def history(self, subject: str, derived: Sequence[str], most: int) -> CustomerHistory:
        """An answer in a customer's own words, to whoever has a case."""
        del derived, most
        return CustomerHistory([answer(subject)], [], 0)

    def subject_of(self, topic: str, partition: int, offset: int) -> str:
        del topic, partition
        rows = rows_of(self._desk)
        return rows[offset].subject if offset < len(rows) else ""

    def alerts(self, after: int) -> list[AlertRow]:
        del after
        return []


def answer(subject: str) -> Envelope:
    data = {"survey_id": "s", "metric": "nps", "scale": 10, "score": 2, "text": "Call me at 09123456789, <b>now</b>"}
    event = {
        "specversion": "1.0", "id": "e1", "source": "/crm", "type": "cx.survey.answered", "time": "2026-05-01T09:30:00Z",
        "subject": subject, "channel": "web", "touchpoint": "checkout", "data": data,
    }  # fmt: skip
    decoded = decode_batch([msgspec.json.encode(event)])[0][0]
    assert decoded is not None
    return decoded


class DeskSender(CaseSender):
    """Gives what is sent to a desk, after `delay_s`."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(load(environ={}))
        self._desk = desk
        self.sent: list[dict[str, Any]] = []
        self.delay_s = 0.0

    def send(self, row: CaseRow, action: CaseAction) -> None:
        event = action.event(row)
        decoded, refusals = decode_batch([msgspec.json.encode(event)])
        assert not refusals, refusals
        fact = self._desk.rules.reader().fact(decoded[0])  # type: ignore[arg-type]
        assert fact is not None
        self.sent.append(event)
        time.sleep(self.delay_s)
        self._desk.give((row.subject, fact))
        self._desk.step()


class CasePageRig(NamedTuple):
    """A running page."""

    url: str
    port: int
    desk: Desk
    sender: DeskSender

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> http.client.HTTPResponse:
        """Ask as whoever is not a browser; names of headers have `_` for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items() if value}
        connection.request(method, path, body or None, named)
        answer = connection.getresponse()
        answer.body = answer.read()  # type: ignore[attr-defined]
        connection.close()
        return answer

    def post(self, path: str, form: Mapping[str, Any], **headers: str) -> http.client.HTTPResponse:
        """Post a form as a browser does for a page of ours; an empty header is left out."""
        own = {"Origin": self.url, "Content_Type": FORM, "Accept": "application/json"}
        return self.ask("POST", path, urlencode(form), **{**own, **headers})

    def session(self, key: str = KEY, name: str = "Neda") -> str:
        """Sign in; returns the cookie, empty when there is none."""
        answer = self.post("/sign-in", {"key": key, "name": name, "next": "/cases"})
        return (answer.headers["Set-Cookie"] or "").partition(";")[0]


@contextmanager
def running_case_page(desk: Desk, folder: Path, key: str = KEY) -> Iterator[CasePageRig]:
    """Serve the page on a free port; without a key it only shows."""
    file = folder / "write-key"
    file.write_text(key)
    settings = load(environ={}, cases="shipped", board_write_key_file=str(file) if key else "")
    board = BoardServer(NOWHERE)
    board.add_cases(NOWHERE, settings)
    cases, sender = board.cases, DeskSender(desk)
    assert cases is not None
    cases.watch.store = DeskStore(desk)
    cases.writer = CaseWriter(DeskStore(desk), sender, wait_s=20.0)
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    limits = ConnectionLimits(connections=100, client_connections=100, read_s=10.0, refused=lambda: None)
    server = server_of(board.app(Hosts("127.0.0.1")), Clients(1.0), limits, graceful_s=1, host="127.0.0.1", port=port)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        yield CasePageRig(f"http://127.0.0.1:{port}", port, desk, sender)
    finally:
        board.stop()
        server.should_exit = True
        thread.join(30)
        with contextlib.suppress(OSError):
            listening.close()
