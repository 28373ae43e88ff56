"""`cx status` and `cx doctor`: what they ask, what they say, and how they end."""

import io
import json
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result
from prometheus_client import generate_latest

from streams import metrics
from streams.cli import main
from streams.commands import health
from streams.engine.topics import TopicsError
from streams.events.touchpoints import load_touchpoints
from streams.kpis.catalogue.catalogue import Catalogue
from streams.local.observe import LABEL_FATES, NotStored, StoppedSource, WorkerState, worker_state
from streams.start.decision import StartVerdict
from streams.storage.connection import UnreachableError
from streams.storage.migrations import MigrationError
from streams.storage.unknown import UnknownField

IDLE = WorkerState(
    {"read": 1234, "counted": 1200, "duplicate": 30, "late": 3, "bad": 1},
    {"web": 1234},
    {"cx.touchpoints.web": 0, "cx.blocks": 0},
    watermarks={"web": 1_767_225_600.0},
)


@pytest.fixture
def cx(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)

    return run


def test_status_shows_outcomes_lag_and_watermarks(cx, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(health, "worker_state", lambda port, host: asked.append((host, port)) or IDLE)
    monkeypatch.setenv("CX_METRICS_PORT", "9999")
    result = cx("status")
    assert result.exit_code == 0
    assert asked == [("127.0.0.1", 9999)]
    assert "read 1,234, counted 1,200, duplicate 30, late 3, bad 1" in result.output
    assert "2026-01-01 00:00:00" in result.output
    assert "cx.blocks" in result.output
    assert result.output.startswith("worker at 127.0.0.1:9999: idle")


def test_status_of_several_workers_one_of_them_away(cx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "worker_state", lambda port, host: IDLE if host == "a" else None)
    result = cx("status", "--at", "a:1", "--at", "b:2")
    assert result.exit_code == 1
    assert "no worker answers at http://b:2/metrics" in result.stderr
    told = json.loads(cx("status", "--at", "a:1", "--at", "b:2", "--json").output)
    assert told["ok"] is False
    assert told["workers"]["a:1"]["outcomes"]["counted"] == 1200
    assert told["workers"]["b:2"] is None


def test_a_stopped_partition_is_not_right(cx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        health,
        "worker_state",
        lambda *_: WorkerState(
            stopped=(StoppedSource("web/1", 17, 1_767_225_600.0, "not_json", "it looks like gzip", "1f 8b"),)
        ),
    )
    result = cx("status")
    assert result.exit_code == 1
    assert "web/1 is stopped at offset 17 since 2026-01-01 00:00:00 UTC" in result.stderr
    assert "not_json: it looks like gzip (it begins with the bytes 1f 8b). Nothing" in result.stderr
    assert "cx sources skip web/1" in result.stderr


def test_what_is_not_stored_is_told_with_since_when_and_why(cx, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is repeated, and while it waits for people: by both commands."""
    troubles = (
        NotStored("cx.touchpoints.web/3", 1_767_225_600.0, "Constraint `closed` is violated", held=True),
        NotStored("events", 1_767_225_601.0, "Connection refused", held=False),
    )
    monkeypatch.setattr(
        health, "worker_state", lambda *_: WorkerState(not_stored=troubles, set_aside=7, uncounted=("web/1",))
    )
    result = cx("status")
    assert result.exit_code == 1
    assert "cx.touchpoints.web/3 is not stored since 2026-01-01 00:00:00 UTC, it is tried again now" in result.stderr
    assert "Constraint `closed` is violated" in result.stderr
    assert "nothing more is counted of web/1" in result.stderr
    assert "events is not stored since 2026-01-01 00:00:01 UTC, it is being repeated" in result.stderr
    assert "set aside 7: see `cx dlq list --reason refused_by_store`" in result.output
    [finding] = [line for line in cx("doctor").output.splitlines() if " worker: " in line]
    assert finding.startswith("WRONG")
    assert "Connection refused" in finding


def test_status_wants_host_and_port(cx) -> None:
    assert cx("status", "--at", "worker").exit_code == 2


class _Client:
    server_version = "26.7"
    ahead_s = 0.0

    def query(self, _sql: str) -> SimpleNamespace:
        return SimpleNamespace(result_rows=[((time.time() + self.ahead_s) * 1000,)])

    def close(self) -> None:
        pass


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch):
    """Everything right; a test breaks one thing."""
    catalogue = Catalogue.load()

    class Installation:
        def __init__(self) -> None:
            self.kpis = {kpi.id: kpi.definition_id for kpi in catalogue}
            self.touchpoints = set(load_touchpoints())
            self.unknown: list[tuple[str, int]] = []
            self.scattered: list[tuple[str, int, str, list[int]]] = []
            self.twice: list[tuple[str, int, tuple[str, str], list[int]]] = []

        def rows(self, sql):
            if "sipHash128(source, id)" in sql:
                return self.twice
            if "FROM events" in sql:
                return self.scattered if "partition" in sql else self.unknown
            return list(self.kpis.items()) if "kpis" in sql else [(one,) for one in self.touchpoints]

    right = Installation()
    monkeypatch.setattr(health, "check_topics", lambda *_args, **_options: [])
    monkeypatch.setattr(health, "worker_state", lambda *_: IDLE)
    monkeypatch.setattr(health, "examine", lambda *_: StartVerdict("right", "all agree"))
    monkeypatch.setattr(health, "connect", lambda *_args, **_kwargs: _Client())
    monkeypatch.setattr(health, "pending", lambda *_: [])
    monkeypatch.setattr(health, "unknown_fields", lambda *_: [])
    monkeypatch.setattr(health._Doctor, "_rows", right.rows)
    return right


def findings(result: Result) -> dict[str, tuple[str, str]]:
    return {one["what"]: (one["verdict"], one["text"]) for one in json.loads(result.stdout)["findings"]}


def test_doctor_explains_settings_and_finds_all_right(cx, installation, monkeypatch, tmp_path) -> None:
    (tmp_path / "cx.toml").write_text('kafka = "broker:9092"\n')
    monkeypatch.setenv("CX_PARTITIONS", "8")
    monkeypatch.setenv("COLUMNS", "160")
    result = cx("doctor")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "kafka broker:9092 cx.toml, line 1" in lines
    assert "partitions 8 environment variable CX_PARTITIONS" in lines
    assert "epoch 0 default" in lines
    assert not any(line.startswith("WRONG") for line in lines)
    told = json.loads(cx("doctor", "--json").output)
    assert told["settings"]["partitions"] == {"value": 8, "from": "environment variable CX_PARTITIONS"}
    assert {verdict for verdict, _ in findings(cx("doctor", "--json")).values()} == {"right"}


def test_doctor_finds_subjects_in_several_partitions(cx, installation) -> None:
    """A producer with another partitioner: repeats that go two ways are not found, so it is to be mended."""
    installation.scattered = [("cx.touchpoints.web", 1_234, "c-4711", [0, 3])]
    verdict, text = findings(cx("doctor", "--json"))["subjects"]
    assert verdict == "wrong"
    assert "1,234 of cx.touchpoints.web, e.g. c-4711 in 0, 3; set the partitioner" in text


def test_doctor_finds_events_that_were_counted_twice(cx, installation) -> None:
    """Under two subjects, or by two partitioners: each partition finds its own repeats only."""
    installation.twice = [("cx.touchpoints.web", 12, ("17\x1b[31m", "/shop"), [0, 3])]
    verdict, text = findings(cx("doctor", "--json"))["ids"]
    assert verdict == "wrong"
    assert "12 of cx.touchpoints.web, e.g. 17\\u001b[31m of /shop in 0, 3; set the partitioner" in text


def test_doctor_lists_touchpoints_that_nobody_knows(cx, installation) -> None:
    installation.unknown = [("chekout\x1b[31m", 1_234), *((f"t{n}", 1) for n in range(10))]
    verdict, text = findings(cx("doctor", "--json"))["unknown touchpoints"]
    assert verdict == "unknown"
    assert "chekout\\u001b[31m (1,234 times), t0 (1 times)" in text
    assert "t9" not in text
    assert "and more; mend the sender or" in text


def test_status_says_what_became_of_labels(cx, monkeypatch) -> None:
    fates = {LABEL_FATES["cx_series_capped_total"]: 1_234, LABEL_FATES["cx_labels_cut_total"]: 2}
    monkeypatch.setattr(health, "worker_state", lambda *_: WorkerState(labels=fates))
    shown = cx("status").output
    assert "labels: 1,234 series-minutes without room, counted under (other)" in shown
    assert "labels: 2 too long or with control characters, shown by a hash" in shown


def test_what_became_of_labels_is_counted_by_metrics_of_that_name() -> None:
    counted = {f"{family.name}_total" for family in metrics.REGISTRY.collect()}
    assert set(LABEL_FATES) <= counted


def test_doctor_lists_fields_that_no_type_has(cx, installation, monkeypatch) -> None:
    found = [UnknownField("cx.contact.handled", f"data.talk_sec{n}", 12, "data.talk_s") for n in range(7)]
    monkeypatch.setattr(health, "unknown_fields", lambda *_: found)
    verdict, text = findings(cx("doctor", "--json"))["unknown fields"]
    assert verdict == "unknown"
    assert "data.talk_sec0 of cx.contact.handled (12 events); did you mean data.talk_s?" in text
    assert text.endswith("and 2 more; see `cx schemas unknown`")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "what", "says"),
    [
        ("broker", "kafka", "no broker answers"),
        ("topic", "kafka", "cx.blocks is missing"),
        ("clickhouse", "clickhouse", "cannot connect"),
        ("pending", "migrations", "0003_kpi_views.sql; run `cx migrate`"),
        ("changed", "migrations", "was changed after it was applied"),
        ("kpi", "stored catalogue", "defined otherwise: csat; run `cx migrate`"),
        ("kpi missing", "stored catalogue", "missing: csat; run `cx migrate`"),
        ("touchpoint", "stored touchpoints", "1 are missing"),
        ("catalogue", "catalogue", "no such file"),
        ("stopped", "worker", "web/1 is stopped at offset 17"),
        ("slow", "worker", "the worker's clock is in doubt (clickhouse +1,200 s): set it"),
        ("waits", "worker", "web/1 wait for a right clock"),
        ("clock", "clock", "ClickHouse's is +1,2"),
        ("state", "start", "sums are gone: raise it"),
        ("expired", "start", "20 records are lost"),
    ],
)
def test_doctor_says_what_is_wrong_and_what_to_do(cx, installation, monkeypatch, broken, what, says) -> None:
    def fail(error):
        def raising(*_args, **_kwargs):
            raise error

        return raising

    match broken:
        case "broker":
            monkeypatch.setattr(health, "check_topics", fail(TopicsError("no broker answers at x")))
        case "topic":
            monkeypatch.setattr(health, "check_topics", lambda *_args, **_options: ["cx.blocks is missing"])
        case "clickhouse":
            monkeypatch.setattr(health, "connect", fail(UnreachableError("cannot connect to x")))
        case "pending":
            monkeypatch.setattr(health, "pending", lambda *_: ["0003_kpi_views.sql"])
        case "changed":
            monkeypatch.setattr(health, "pending", fail(MigrationError("0001 was changed after it was applied")))
        case "kpi":
            installation.kpis = {**installation.kpis, "csat": "csat@old"}
        case "kpi missing":
            installation.kpis = {kpi: text for kpi, text in installation.kpis.items() if kpi != "csat"}
        case "touchpoint":
            installation.touchpoints = set(sorted(installation.touchpoints)[1:])
        case "catalogue":
            monkeypatch.setenv("CX_KPIS_PATH", "nowhere")
        case "stopped":
            state = WorkerState(stopped=(StoppedSource("web/1", 17),))
            monkeypatch.setattr(health, "worker_state", lambda *_: state)
        case "slow":
            state = WorkerState(clock_wrong=True, clocks={"clickhouse": 1_200.0})
            monkeypatch.setattr(health, "worker_state", lambda *_: state)
        case "waits":
            monkeypatch.setattr(health, "worker_state", lambda *_: WorkerState(waiting=("web/1",)))
        case "clock":
            monkeypatch.setattr(_Client, "ahead_s", 1_200.0)
        case "state":
            monkeypatch.setattr(health, "examine", lambda *_: StartVerdict("sums lost", "sums are gone", "raise it"))
        case "expired":
            lost = StartVerdict("expired", "20 records are lost", "read them sooner", (("cx.touchpoints.web", 0, 20),))
            monkeypatch.setattr(health, "examine", lambda *_: lost)
    result = cx("doctor", "--json")
    assert result.exit_code == 1
    verdict, text = findings(result)[what]
    assert verdict == "wrong"
    assert says in text
    assert sum(verdict == "wrong" for verdict, _ in findings(result).values()) == 1


def test_no_worker_is_no_error(cx, installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "worker_state", lambda *_: None)
    result = cx("doctor", "--json")
    assert result.exit_code == 0
    assert findings(result)["worker"][0] == "unknown"


def test_status_tells_a_wrong_clock_and_what_waits_for_it(cx, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = WorkerState(waiting=("web/1", "app/0"), clocks={"clickhouse": 1_200.0, "kafka": 1_199.0}, clock_wrong=True)
    monkeypatch.setattr(health, "worker_state", lambda *_: slow)
    result = cx("status")
    assert result.exit_code == 1
    assert "clock: clickhouse +1,200 s, kafka +1,199 s" in result.stdout
    assert "web/1, app/0 wait for a right clock; nothing is lost" in result.stderr


def test_what_a_worker_tells_of_guards_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the very metrics that it serves."""
    metrics.BREAKER.labels("store", "7").set(1)
    metrics.BREAKER_OFFSET.labels("store", "7").set(4_711)
    metrics.BREAKER_SINCE.labels("store", "7").set(12.0)
    metrics.BREAKER_WHY.labels("store", "7", "not_json", "why", "00 01").set(1)
    metrics.CLOCK_HELD.labels("store", "8").set(1)
    metrics.CLOCK_DIFFERENCE.labels("kafka").set(-61.0)
    metrics.CLOCK_WRONG.set(1)
    told = [("events", 12.0, "away", False), ("cx.touchpoints.web/3", 11.0, 'says "no"\nand more', True)]
    metrics.STORE_TROUBLES.watch(lambda: told)
    text = generate_latest(metrics.REGISTRY)
    metrics.STORE_TROUBLES.watch(tuple)
    for gauge in (
        metrics.BREAKER, metrics.BREAKER_OFFSET, metrics.BREAKER_SINCE, metrics.BREAKER_WHY, metrics.CLOCK_HELD,
        metrics.CLOCK_DIFFERENCE,
    ):  # fmt: skip
        gauge.clear()
    metrics.CLOCK_WRONG.set(0)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(text))
    state = worker_state(1)
    assert state is not None
    assert StoppedSource("store/7", 4_711, 12.0, "not_json", "why", "00 01") in state.stopped
    assert "store/8" in state.waiting
    assert state.clocks["kafka"] == -61
    assert state.clock_wrong
    assert state.not_stored == (
        NotStored("cx.touchpoints.web/3", 11.0, 'says "no"\nand more', held=True),
        NotStored("events", 12.0, "away", held=False),
    )


def test_what_the_next_start_restores_is_no_error(cx, installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "examine", lambda *_: StartVerdict("ids lost", "ids are gone"))
    result = cx("doctor", "--json")
    assert result.exit_code == 0
    assert findings(result)["start"] == ("unknown", "ids are gone; the next start of a worker restores it")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n\xff\xfe",
        b"HTTP/1.0 200 OK\r\n\r\n<html>hello</html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ncut",
        b"HTTP/1.0 200 OK\r\n\r\ncx_records_total 5\n",
        b'HTTP/1.0 200 OK\r\n\r\ncx_records_total{outcome="bad"} Inf\n',
    ],
)
def test_what_answers_and_is_no_worker_is_no_answer(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4_096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert worker_state(server.getsockname()[1]) is None
        thread.join()


@pytest.mark.parametrize("host", ["a b", "a..b", "ى"])
def test_a_host_of_no_name_does_not_answer(host: str) -> None:
    assert worker_state(80, host) is None
