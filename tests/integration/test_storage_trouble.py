"""What is asked of the store besides what it holds: its time, and which inserts are under way."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

from streams.agents.clocks import store_time
from streams.storage.connection import connect
from streams.storage.writer import Stored, Writer
from tests.harness.clickhouse import TOPIC, Database, event

PATIENCE_S = 180.0


def test_the_store_tells_the_time(database: Database) -> None:
    said, within_s = store_time(connect(database.reader))
    assert abs(said - time.time()) <= within_s + 0.1


def test_what_is_stored_is_asked_when_inserts_under_way_have_ended(database: Database) -> None:
    """The rows of an insert that its sender has given up, and that is still on the server, are seen by who takes over."""
    row = {"topic": TOPIC, "partition": 0, "offset": 7, "outcome": "counted", "payload": event(7).decode()}
    asked = urlencode({
        "database": database.name,
        "query": f"INSERT INTO events ({', '.join(row)}) FORMAT JSONEachRow",
        "query_id": database.name, "async_insert": 0,
    })  # fmt: skip
    sender = http.client.HTTPConnection("127.0.0.1", database.server.http_port, timeout=PATIENCE_S)
    sender.putrequest("POST", f"/?{asked}")
    for name, value in (("User", database.writer.user), ("Key", database.writer.password)):
        sender.putheader(f"X-ClickHouse-{name}", value)
    sender.putheader("Transfer-Encoding", "chunked")
    sender.endheaders()
    # The server begins when it has seen more than a statement may be long, and stores when it has seen the end.
    line = json.dumps(row).encode() + b"\n" * 300_000
    sender.send(b"%x\r\n%s\r\n" % (len(line), line))
    deadline = time.monotonic() + PATIENCE_S
    while not database.value(f"SELECT count() FROM system.processes WHERE query_id = '{database.name}'"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    writer = Writer(database.writer)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(writer.stored, [0])
        # Enough for an answer that did not wait.
        time.sleep(1)
        assert not asking.done()
        assert database.value("SELECT count() FROM events") == 0
        sender.send(b"0\r\n\r\n")
        assert sender.getresponse().status == 200
        assert asking.result(PATIENCE_S) == {(TOPIC, 0): Stored(-1, frozenset({7}))}
    writer.close()
    sender.close()
