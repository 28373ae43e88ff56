"""What the door answers, how long it listens, and that it leaves nothing of a sender in its log."""

import asyncio
import gzip
import http.client
import json
import logging
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from streams import metrics
from streams.collector import server
from streams.collector.answers import RejectedError
from streams.collector.bodies import BATCH, STRUCTURED
from streams.collector.sending import MemoryBudget, Reservation
from streams.collector.server import Door, Readiness
from streams.listener.clients import Budget, Client
from streams.listener.serving import listen
from streams.settings import ConfigError, Settings
from tests.harness.door import door_in_process, door_in_thread, event

PAGE = "https://shop.example"


def keyed(folder: Path, text: str, **changes: Any) -> Settings:
    path = folder / "keys.toml"
    path.write_text(text)
    path.chmod(0o600)
    return Settings(collect_keys_file=str(path), **changes)


# -- answers ---------------------------------------------------------------------------------------------------------


async def test_accepted_refused_and_both() -> None:
    async with door_in_process() as door:
        one = await door.post(event(1))
        assert (one.status, one.json) == (
            202,
            {
                "accepted": 1,
                "refused": 0,
                "unconfirmed": 0,
                "events": [{"index": 0, "id": "e-1", "outcome": "accepted"}],
            },
        )
        assert one.headers["content-type"] == "application/json"
        mixed = await door.post([event(2), event(3, channel="fax"), event(4, subject="مشتری-۱")])
        assert (mixed.status, mixed.outcomes) == (207, ["accepted", "refused", "accepted"])
        assert mixed.json["events"][1] == {
            "index": 1,
            "id": "e-3",
            "outcome": "refused",
            "reason": "not_in_enum",
            "path": "channel",
            "got": '"fax"',
            "expected": "one of app, call_center, store, web",
            "message": 'channel is "fax", expected one of app, call_center, store, web',
        }
        bad = await door.post([event(5, data={}), 7])
        assert (bad.status, bad.outcomes, bad.json["accepted"]) == (400, ["refused", "refused"], 0)
        assert (await door.post(b"[]")).status == 202
        assert [taken.id for taken in door.taken.events] == ["e-1", "e-2", "e-4"]
    assert door.taken.closed


async def test_ratings_in_three_digit_alphabets() -> None:
    """As with every other way into Kafka: digits of Persian, Arabic and Latin, and text as it was written."""
    answers = [
        event(n, type="cx.survey.answered", data={"survey_id": "s", "metric": "csat", "scale": 5, "score": score})
        for n, score in enumerate(("۴", "٥", "3", "۶"))
    ]
    async with door_in_process() as door:
        answer = await door.post(answers)
        assert answer.outcomes == ["accepted"] * 3 + ["refused"]
        assert answer.json["events"][3]["path"] == "data.score"
        assert [taken.data.score for taken in door.taken.events] == [4, 5, 3]
        assert "۴".encode() in door.taken.payloads[0]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content_type": STRUCTURED}, event(1)),
        ({"content_type": BATCH}, [event(1)]),
        ({"content_type": "text/plain;charset=UTF-8"}, event(1)),
        ({"content_encoding": "gzip"}, gzip.compress(json.dumps([event(1)]).encode(), mtime=0)),
        ({}, [b'[{"specversion":"1.0",', json.dumps(event(1)).encode()[1:], b"]"]),
        (
            {"ce_id": "e-1", "ce_source": "/s", "ce_type": "cx.page.viewed", "ce_specversion": "1.0", "ce_subject": "c",
             "ce_channel": "web"},
            {"page": "home"},
        ),
    ],
    ids=["structured", "batch", "beacon", "gzip", "in pieces", "binary"],
)  # fmt: skip
async def test_every_mode_ends_as_the_same_event(headers: dict[str, str], body: Any) -> None:
    async with door_in_process() as door:
        answer = await door.post(body, **headers)
        assert answer.status == 202
        assert [taken.id for taken in door.taken.events] == ["e-1"]


async def test_what_kafka_did_not_confirm_is_told_by_its_place() -> None:
    async with door_in_process(lost=frozenset({2})) as door:
        answer = await door.post([event(1), event(2, channel="fax"), event(3)])
    assert (answer.status, answer.outcomes) == (503, ["accepted", "refused", "unconfirmed"])
    assert answer.headers["retry-after"] == "5"


async def test_limits_of_bodies_and_events() -> None:
    settings = Settings(collect_body_bytes=2_000, collect_events=3)
    async with door_in_process(settings) as door:
        large = await door.post([b"[" + b" " * 1_500, b" " * 1_500])
        assert (large.status, large.json["error"]) == (413, "too_large")
        bomb = await door.post(gzip.compress(b" " * 3_000), content_encoding="gzip")
        assert (bomb.status, bomb.json["error"]) == (413, "too_large")
        many = await door.post([7] * 4)
        assert (many.status, many.json["error"]) == (413, "too_many_events")
        assert door.taken.events == []


async def test_memory_in_flight_is_bounded_and_given_back() -> None:
    """A request that waits for Kafka holds its memory; who comes beyond it is told at once, and later gets through."""
    settings = Settings(collect_body_bytes=40_000, collect_events=10, collect_in_flight_bytes=140_000)
    body = [b"[" + json.dumps(event(1)).encode(), b" " * 35_000 + b"]"]
    async with door_in_process(settings) as door:
        door.taken.gate.clear()
        waiting = asyncio.create_task(door.post(body))
        await door.taken.came.wait()
        busy = await door.post(body)
        assert (busy.status, busy.json["error"], busy.headers["retry-after"]) == (503, "busy", "5")
        door.taken.gate.set()
        assert (await waiting).status == 202
        for number in range(5):
            assert (await door.post(body)).status == 202, number


def test_memory_for_less_than_one_request_is_refused() -> None:
    with pytest.raises(ConfigError, match="collect_in_flight_bytes = 65536 is less than one request may need, 5145728"):
        Door(Settings(collect_in_flight_bytes=65_536))


@pytest.mark.parametrize("said", ["1048577", "9" * 30_000])
async def test_a_body_that_says_it_is_too_long_is_not_read(said: str) -> None:
    async with door_in_process() as door:
        answer = await door.post([], content_length=said)
    assert (answer.status, answer.json["error"]) == (413, "too_large")


async def test_pace_is_bounded_per_key(tmp_path: Path) -> None:
    entry = '[{0}]\nkey = "{0}-key-of-24-characters-x"\nevents_per_s = 0.001\n'
    settings = keyed(tmp_path, entry.format("a") + entry.format("b"), collect_events=3)
    async with door_in_process(settings) as door:

        async def status(name: str, body: Any) -> int:
            return (await door.post(body, x_api_key=f"{name}-key-of-24-characters-x")).status

        assert await status("a", [event(1), event(2)]) == 202
        assert await status("a", b"[broken") == 400
        assert await status("a", b"[broken") == 429
        limited = await door.post(event(3), x_api_key="a-key-of-24-characters-x")
        assert (limited.status, limited.json["error"]) == (429, "too_fast")
        assert int(limited.headers["retry-after"]) > 500
        assert await status("b", [event(4)]) == 202
        assert [taken.id for taken in door.taken.events] == ["e-1", "e-2", "e-4"]


async def test_without_a_known_key_nothing_is_read(tmp_path: Path) -> None:
    settings = keyed(tmp_path, '[a]\nkey = "a-key-of-24-characters-x"\nchannels = ["web"]\n')
    async with door_in_process(settings) as door:
        denied = await door.post(event(1))
        assert (denied.status, denied.headers["www-authenticate"]) == (401, "Bearer")
        answer = await door.post([event(1), event(2, channel="app")], authorization="Bearer a-key-of-24-characters-x")
        assert (answer.status, answer.json["events"][1]["reason"]) == (207, "not_allowed")


async def test_pages_may_send_from_where_the_settings_say() -> None:
    async with door_in_process(Settings(collect_origins=PAGE)) as door:
        ask = {
            "origin": PAGE,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type,content-encoding,x-api-key,ce-id,traceparent,tracestate,baggage"
            ",authorization,ce-comexampleextension,sentry-trace,x-datadog-trace-id,b3",
        }
        leave = await door.call("OPTIONS", "/v1/events", ask)
        assert leave.status == 200
        allowed = {name.strip().lower() for name in leave.headers["access-control-allow-headers"].split(",")}
        assert allowed >= set(ask["access-control-request-headers"].split(","))
        assert leave.headers["access-control-allow-origin"] == PAGE
        assert leave.headers["access-control-allow-methods"] == "POST"
        assert "access-control-allow-credentials" not in leave.headers
        refused = await door.call("OPTIONS", "/v1/events", {**ask, "origin": "https://evil.example"})
        assert refused.status == 400
        assert "access-control-allow-origin" not in refused.headers
        sent = await door.post(event(1), origin=PAGE)
        assert (sent.status, sent.headers["access-control-allow-origin"]) == (202, PAGE)
        assert sent.headers["access-control-expose-headers"] == "Retry-After"
        # A beacon of text needs no leave of the browser: here it is refused all the same.
        evil = await door.post(event(2), origin="https://evil.example", content_type="text/plain")
        assert evil.status == 403
        assert [taken.id for taken in door.taken.events] == ["e-1"]


@pytest.mark.parametrize("content_type", ["application/json", STRUCTURED, "text/plain", ""])
async def test_a_byte_order_mark_in_front_of_the_body_is_skipped(content_type: str) -> None:
    """Systems whose webhooks cannot be changed put one there."""
    async with door_in_process() as door:
        answer = await door.post(b"\xef\xbb\xbf" + json.dumps(event(1)).encode(), content_type=content_type)
        assert (answer.status, answer.json["accepted"]) == (202, 1)
        answer = await door.post(b"\xef\xbb\xbf" + json.dumps([event(2), event(3)]).encode(), content_type=BATCH)
        assert (answer.status, answer.json["accepted"]) == (202, 2)


async def test_blank_and_unseen_cost_no_event_at_the_door_either() -> None:
    """What is behind it mends the record again, and counts it; a blank time is a missing one."""
    async with door_in_process() as door:
        odd = [event(1, region=""), event(2, channel="\u200fweb"), event(3, time=""), event(4, subject="")]
        answer = await door.post(odd)
        assert (answer.status, answer.outcomes) == (207, ["accepted", "accepted", "accepted", "refused"])
        assert [taken.channel for taken in door.taken.events] == ["web"] * 3


async def test_other_paths_and_methods_are_told_where_events_go() -> None:
    async with door_in_process() as door:
        for method, path, status in (("GET", "/v1/events", 405), ("POST", "/", 404), ("PUT", "/v1/events", 405)):
            answer = await door.call(method, path, {})
            assert (answer.status, answer.json["error"]) == (status, "not_here")
        assert (await door.call("GET", "/health", {})).json == {"alive": True}
        assert (await door.call("GET", "/ready", {})).json == {"ready": True}


async def test_a_sender_that_goes_away_is_counted_and_nothing_is_taken() -> None:
    before = sample('cx_collector_requests_total{outcome="aborted"}')
    async with door_in_process() as door:
        await door.call("POST", "/v1/events", {}, [])
        assert door.taken.events == []
    assert sample('cx_collector_requests_total{outcome="aborted"}') == before + 1


async def test_requests_events_and_bytes_are_counted() -> None:
    names = (
        'cx_collector_requests_total{outcome="partly"}',
        'cx_collector_events_total{channel="web",outcome="accepted"}',
        'cx_collector_events_total{channel="unknown",outcome="refused"}',
        "cx_collector_received_bytes_total",
        "cx_collector_request_seconds_count",
    )
    body = json.dumps([event(1), event(2), 7]).encode()
    before = [sample(name) for name in names]
    async with door_in_process() as door:
        await door.post(body)
    assert [sample(name) - old for name, old in zip(names, before, strict=True)] == [1, 2, 1, len(body), 1]
    assert sample("cx_collector_in_flight_requests") == sample("cx_collector_in_flight_bytes") == 0


def sample(name: str) -> float:
    for line in generate_latest(metrics.REGISTRY).decode().splitlines():
        if line.startswith(f"{name} "):
            return float(line.rpartition(" ")[2])
    return 0.0


async def test_nothing_of_a_sender_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = keyed(tmp_path, '[a]\nkey = "a-key-of-24-characters-x"\npublic = true\n')
    with caplog.at_level(logging.DEBUG):
        async with door_in_process(settings) as door:
            for body in (event(1, subject="c-secret"), {"subject": "c-secret"}, b"c-secret"):
                await door.post(body, "/v1/events?key=a-key-of-24-characters-x")
                await door.post(body, "/v1/events?key=some-other-key")
    assert "c-secret" not in caplog.text
    assert "key-of-24" not in caplog.text
    assert "some-other-key" not in caplog.text


# -- room and readiness ----------------------------------------------------------------------------------------------


def test_a_hold_gives_back_what_it_took_also_after_a_refusal() -> None:
    budget, client = MemoryBudget(100, 100), Client("a", Budget(1.0))
    with Reservation(budget, client) as reservation:
        reservation.more(60)
        with pytest.raises(RejectedError, match="nothing of this request was taken"):
            reservation.more(41)
    budget.take(100, client)


def test_one_client_cannot_take_all_the_room_and_a_proxy_can() -> None:
    budget = MemoryBudget(100, 60)
    one, other, proxy = Client("a", Budget(1.0)), Client("b", Budget(1.0)), Client("p", Budget(1.0), proxy=True)
    budget.take(60, one)
    with pytest.raises(RejectedError):
        budget.take(1, one)
    budget.take(40, other)
    budget.give(60, one)
    budget.give(40, other)
    budget.take(100, proxy)


async def test_kafka_is_asked_once_for_all_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked, said = [], [["cx.touchpoints.web is missing"], []]
    monkeypatch.setattr(server, "FRESH_S", 1e9)

    def ask() -> list[str]:
        asked.append(1)
        return said[0]

    readiness = Readiness(ask)
    assert await asyncio.gather(*(readiness.ready() for _ in range(5))) == [False] * 5
    assert len(asked) == 1
    assert caplog.text.count("cx.touchpoints.web is missing") == 1
    said.pop(0)
    assert not await readiness.ready()
    monkeypatch.setattr(server, "FRESH_S", -1.0)
    assert await readiness.ready()
    slow = Readiness(lambda: [time.sleep(0.5) or "late"])
    monkeypatch.setattr(server, "ASK_S", 0.01)
    assert not await slow.ready()
    assert "does not answer within" in caplog.text


# -- the server itself -----------------------------------------------------------------------------------------------

SLOW = Settings(collect_read_s=1.5)
GIVE_UP_S = 180


def until_closed(connection: socket.socket) -> bytes:
    """All that comes until the other side parts with us."""
    connection.settimeout(GIVE_UP_S)
    said = b""
    try:
        while piece := connection.recv(4_096):
            said += piece
    except ConnectionResetError:
        return said
    return said


@pytest.mark.slow
@pytest.mark.parametrize(
    "said",
    [b"", b"POST /v1/ev", b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nX-Slow: "],
    ids=["nothing", "half a line", "half a head"],
)
def test_a_head_that_does_not_come_is_not_waited_for(said: bytes) -> None:
    with door_in_thread(SLOW) as (host, port, _), socket.create_connection((host, port), GIVE_UP_S) as connection:
        connection.sendall(said)
        assert until_closed(connection) == b""


@pytest.mark.slow
def test_a_second_head_that_does_not_come_is_not_waited_for_either() -> None:
    with door_in_thread(SLOW) as (host, port, _), socket.create_connection((host, port), GIVE_UP_S) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.settimeout(GIVE_UP_S)
        assert connection.recv(4_096).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /hea")
        assert b"HTTP/1.1" not in until_closed(connection)


@pytest.mark.slow
def test_a_body_that_does_not_come_is_answered_and_then_parted_with() -> None:
    with door_in_thread(SLOW) as (host, port, taken), socket.create_connection((host, port), GIVE_UP_S) as connection:
        connection.sendall(b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n[")
        said = until_closed(connection)
        assert said.startswith(b"HTTP/1.1 408")
        assert b"too_slow" in said
        assert taken.events == []


def test_a_head_without_end_is_refused() -> None:
    with door_in_thread(Settings()) as (host, port, _), socket.create_connection((host, port), GIVE_UP_S) as connection:
        connection.sendall(b"POST /v1/events HTTP/1.1\r\nX-Long: " + b"x" * 100_000)
        assert b"HTTP/1.1 431" in until_closed(connection)


def test_answers_leave_at_once() -> None:
    """An answer is two packets: were the second held back until the first is acknowledged, each would take 40 ms."""
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_requests_share_a_connection_and_follow_each_other() -> None:
    with door_in_thread(Settings()) as (host, port, taken):
        connection = http.client.HTTPConnection(host, port, timeout=GIVE_UP_S)
        for number in range(5):
            connection.request("POST", "/v1/events", json.dumps(event(number)), {"Content-Type": "application/json"})
            response = connection.getresponse()
            assert (response.status, json.loads(response.read())["accepted"]) == (202, 1)
            assert response.headers.get("server") is None
        connection.close()
        pipelined = (
            b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3
            + b"GET /health HTTP/1.1\r\nConnection: close\r\nHost: localhost\r\n\r\n"
        )
        with socket.create_connection((host, port), GIVE_UP_S) as raw:
            raw.sendall(pipelined)
            assert until_closed(raw).count(b"HTTP/1.1 200") == 4
    assert len(taken.events) == 5
    assert taken.closed
