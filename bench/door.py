"""
What requests cost the HTTP door, honest and hostile, and what honest senders feel beside an attacker.

`python -m bench.door`. CPU time is that of the door's process, all its threads, per request over one connection;
each hostile shape is held against good requests with as many bytes on the wire. Latency is of one event per request.
"""

import argparse
import gzip
import json
import os
import random
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from streams.engine.topics import ensure_topics, topic_plan
from streams.local.broker import EmbeddedBroker
from tests.harness.door import DoorProcess, event

KEY = "public-key-of-the-web-shop"
HONEST, ATTACKER = "127.0.0.1", "127.0.0.2"


def post(body: bytes, **headers: str) -> bytes:
    """A request that keeps its connection."""
    named = {
        "Host": "localhost",
        "Content-Type": "application/json",
        "X-API-Key": KEY,
        "Content-Length": str(len(body)),
    }
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    return "\r\n".join(["POST /v1/events HTTP/1.1", *(f"{k}: {v}" for k, v in named.items()), "", ""]).encode() + body


def good(size: int, number: int) -> bytes:
    """A good request with about so many bytes on the wire, as events of 250 bytes."""
    count = max(1, min(1_000, size // 250))
    return post(json.dumps([event(number * 1_000 + n, note="x" * 60) for n in range(count)]).encode())


def packed(size: int, number: int) -> bytes:
    """The same, packed: the events differ in what customers' events differ in."""
    chance = random.Random(number)
    events: list[bytes] = []
    while len(events) < 1_000:
        events += [
            json.dumps(event(number * 1_000 + len(events) + n, note=chance.randbytes(20).hex())).encode()
            for n in range(max(1, size // 100))
        ]
        body = gzip.compress(b"[" + b",".join(events[:1_000]) + b"]")
        if len(body) >= size:
            break
    return post(body, Content_Encoding="gzip")


def _array(parts: Callable[[int], bytes], count: int) -> bytes:
    return b"[" + b",".join(map(parts, range(count))) + b"]"


def _wrong(**changes: object) -> Callable[[int], bytes]:
    return lambda n: json.dumps(event(n, **changes)).encode()


HOSTILE: Mapping[str, bytes] = {
    "gzip of 1 MB of numbers": post(gzip.compress(b"[" + b"7," * 500_000 + b"7]"), Content_Encoding="gzip"),
    "gzip of 1 MB of brackets": post(gzip.compress(b"[" * 1_000_000), Content_Encoding="gzip"),
    "gzip of 60 kB of spaces": post(gzip.compress(b" " * 60_000), Content_Encoding="gzip"),
    "1,000 gzip members": post(gzip.compress(b"", mtime=0) * 1_001, Content_Encoding="gzip"),
    "1 MB of numbers": post(b"[" + b"7," * 500_000 + b"7]"),
    "1 MB of brackets": post(b"[" * 1_000_000),
    "1,000 numbers": post(_array(lambda n: b"%d" % n, 1_000)),
    "1,000 empty objects": post(_array(lambda _: b"{}", 1_000)),
    "1,000 unknown types": post(_array(lambda n: b'{"type":"cx.a%d.b","time":7}' % n, 1_000)),
    "1,000 wrong channels": post(_array(_wrong(channel="fax"), 1_000)),
    "1,000 bad times": post(_array(_wrong(time="yesterday"), 1_000)),
    "1,000 times to come": post(_array(_wrong(time="2199-01-01T00:00:00Z"), 1_000)),
    "1,000 without time, wrong": post(_array(_wrong(time=None, channel="fax"), 1_000)),
    "an event of 900 kB of objects": post(b'{"id":"e","data":[' + b'{"a":[1]},' * 88_000 + b"7]}"),
    "an event of 900 kB of keys": post(b'{"id":"e","data":{' + b'"a":1,' * 148_000 + b'"a":1}}'),
    "an event of 900 kB of escapes": post(b'{"id":"' + b"\\u0627" * 148_000 + b'"}'),
    "50 headers": post(json.dumps(event(1)).encode(), **{f"X-{n}": "a" for n in range(50)}),
    "8 kB of query": post(json.dumps(event(1)).encode()).replace(b"/v1/events", b"/v1/events?" + b"a=b&" * 2_000, 1),
    "a wrong key": post(json.dumps(event(1)).encode(), X_API_Key="wrong"),
    "a wrong key, 1 MB": post(b" " * 1_000_000, X_API_Key="wrong"),
    "a source that goes up": post(_array(_wrong(source="/shop/../" * 20), 1_000)),
}


class Line:
    """One connection to the door, made anew when it was ended."""

    def __init__(self, door: DoorProcess, source: str) -> None:
        self._place = (door.host, door.port), source
        self._socket: socket.socket | None = None

    def ask(self, request: bytes) -> int:
        """Send a request and read its answer; its status."""
        if self._socket is None:
            address, source = self._place
            self._socket = socket.create_connection(address, 60, (source, 0))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket.sendall(request)
            said = b""
            while b"\r\n\r\n" not in said:
                said += self._piece()
            head, _, body = said.partition(b"\r\n\r\n")
            length = next(
                int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if b"content-length" in line
            )
            while len(body) < length:
                body += self._piece()
        except (OSError, StopIteration):
            self.close()
            return 0
        if b"connection: close" in head.lower():
            self.close()
        return int(head.split(b" ", 2)[1])

    def _piece(self) -> bytes:
        assert self._socket is not None
        piece = self._socket.recv(65_536)
        if not piece:
            raise ConnectionResetError
        return piece

    def close(self) -> None:
        """End it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / os.sysconf(
        "SC_CLK_TCK"
    )


def cost_ms(door: DoorProcess, requests: list[bytes], seconds: float) -> tuple[float, int]:
    """CPU milliseconds of the door per request, and the last status."""
    line, asked, status = Line(door, HONEST), 0, 0
    line.ask(requests[0])
    before, began = cpu_s(door.process.pid), time.monotonic()
    while asked < 10 or (cpu_s(door.process.pid) - before < seconds and time.monotonic() - began < 20 * seconds):
        status = line.ask(requests[asked % len(requests)])
        asked += 1
    used = cpu_s(door.process.pid) - before
    line.close()
    return 1_000 * used / asked, status


def latencies_ms(door: DoorProcess, count: int) -> list[float]:
    """How long one event per request takes, from the honest client."""
    line, took = Line(door, HONEST), []
    for number in range(count):
        request = post(json.dumps(event(number)).encode())
        began = time.perf_counter()
        assert line.ask(request) == 202
        took.append(1_000 * (time.perf_counter() - began))
        time.sleep(0.01)
    line.close()
    return took


def attack(door: DoorProcess, requests: list[bytes], lines: int, ended: threading.Event) -> list[threading.Thread]:
    """Send the same again and again over so many connections of another client."""

    def work() -> None:
        line = Line(door, ATTACKER)
        while not ended.is_set():
            line.ask(random.choice(requests))
        line.close()

    threads = [threading.Thread(target=work) for _ in range(lines)]
    for thread in threads:
        thread.start()
    return threads


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.door", description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.3, help="CPU time to measure each shape for (%(default)s)")
    parser.add_argument("--lines", type=int, default=8, help="connections of the attacker (%(default)s)")
    parser.add_argument("--only", default="", help="measure shapes whose name holds this")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cx-bench-door-") as folder:
        broker = EmbeddedBroker(Path(folder) / "broker.log")
        broker.start()
        assert ensure_topics(broker.bootstrap, topic_plan(4, 1, "cx", "cx")) == []
        keys = Path(folder) / "keys.toml"
        keys.write_text(f'[shop]\nkey = "{KEY}"\npublic = true\nsource = "/shop/"\nevents_per_s = 1e9\n')
        keys.chmod(0o600)
        environment = {"CX_KAFKA": broker.bootstrap, "CX_COLLECT_KEYS_FILE": str(keys)}
        door = DoorProcess(environment, Path(folder) / "door.log")
        try:
            _print_costs(door, chosen.seconds, chosen.only)
            _print_latencies(door, chosen.lines, chosen.only)
        finally:
            door.kill()
            broker.stop()


def _print_costs(door: DoorProcess, seconds: float, only: str) -> None:
    cost_ms(door, [good(300, 0)], 1.0)
    print(f"{'shape':32} {'bytes':>9} {'status':>6} {'ms CPU':>8} {'good':>8} {'ratio':>6}")
    for name, request in HOSTILE.items():
        if only not in name:
            continue
        make = packed if b"Content-Encoding" in request else good
        usual, status = cost_ms(door, [make(len(request), n) for n in range(10)], seconds)
        assert status == 202, status
        took, status = cost_ms(door, [request], seconds)
        print(f"{name:32} {len(request):9,} {status:6} {took:8.2f} {usual:8.2f} {took / usual:6.1f}", flush=True)


def _print_latencies(door: DoorProcess, lines: int, only: str) -> None:
    print(f"\n{'honest sender':32} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}")
    for name, requests in (("alone", []), *((name, [request]) for name, request in HOSTILE.items())):
        if only not in name and requests:
            continue
        ended = threading.Event()
        threads = attack(door, requests, lines, ended) if requests else []
        took = sorted(latencies_ms(door, 100))
        ended.set()
        for thread in threads:
            thread.join()
        print(f"{name:32} {statistics.median(took):8.1f} {took[98]:8.1f} {took[-1]:8.1f}", flush=True)


if __name__ == "__main__":
    main()
