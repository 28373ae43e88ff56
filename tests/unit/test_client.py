"""The producer without a broker: what it refuses, and that nothing it took is lost silently."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kafka.partitioner import DefaultPartitioner

from streams.events.decode import decode_one, encode
from streams.events.touchpoints import load_touchpoints
from streams.events.types import DATA_TYPES, Event, new_event
from streams.producers.client import (
    BrokerAwayError,
    BufferFullError,
    EventTooLargeError,
    InvalidEventError,
    NotDeliveredError,
    ProducerClosedError,
    TouchpointProducer,
    topic_of,
)
from streams.producers.foresight import RETENTION_S, shipped_touchpoints
from streams.producers.wire import SubjectPartitioner, best_compression
from streams.settings import Settings

GOOD: dict[str, Any] = {
    "type": "cx.store.queue_served",
    "subject": "c-1",
    "channel": "store",
    "source": "/store/tills",
    "data": {"wait_s": 42.0},
}


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address where nothing listens, kept so for the test."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def producer(bootstrap: str, **changes: Any) -> TouchpointProducer:
    return TouchpointProducer(bootstrap, **{"max_block_s": 0.3, "delivery_timeout_s": 1.0, **changes})


def fill(sender: TouchpointProducer) -> int:
    """Send until the buffer refuses, which it must within a thousand; returns how many it took."""
    for taken in range(1000):
        try:
            sender.send(GOOD)
        except BufferFullError as error:
            error.add_note(str(taken))
            raise
    return 1000


def an_event() -> Event:
    return new_event(
        DATA_TYPES["cx.store.queue_served"](wait_s=3.0),  # type: ignore[call-arg]
        id="e-1",
        source="/store/tills",
        time=datetime.now(UTC),
        subject="c-1",
        channel="store",
    )


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"data": {"wait_s": "long"}}, "data.wait_s", "long"),
        ({"type": "cx.store.queue_observed", "data": {}}, "data.wait_s", "missing"),
        ({"channel": "fax"}, "channel", "call_center"),
        ({"type": "cx.store.queue_servd"}, "type", "cx.store.queue_served"),
        ({"time": "yesterday"}, "time", "yesterday"),
        ({"subject": ""}, "subject", "128"),
    ],
)
def test_a_bad_event_comes_back_with_the_field_what_came_and_what_was_expected(
    nowhere: str, change: dict[str, Any], field: str, said: str
) -> None:
    sender = producer(nowhere)
    with pytest.raises(InvalidEventError) as refused:
        sender.send({**GOOD, **change})
    assert refused.value.field == field
    assert field in str(refused.value)
    assert said in str(refused.value)
    assert sender.close(0).undelivered == []


def test_what_json_cannot_hold_is_refused_as_well(nowhere: str) -> None:
    sender = producer(nowhere)
    with pytest.raises(InvalidEventError, match="JSON"):
        sender.send({**GOOD, "data": {"wait_s": object()}})
    with pytest.raises(InvalidEventError, match="not_json"):
        sender.send(b"{")
    sender.close(0)


@pytest.mark.parametrize(
    ("number", "got"), [(float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity")]
)
def test_a_number_that_json_cannot_hold_is_refused_and_not_sent_as_nothing(
    nowhere: str, number: float, got: str
) -> None:
    sold = {**GOOD, "type": "cx.product.sold", "data": {"product": "p", "quantity": number}}
    struct = new_event(
        DATA_TYPES["cx.product.sold"](product="p", quantity=number),  # type: ignore[call-arg]
        id="1", source="/s", time=datetime.now(UTC), subject="c-1", channel="store",
    )  # fmt: skip
    sender = producer(nowhere)
    for event, field in (
        (sold, "data.quantity"),
        (struct, "data.quantity"),
        ({**GOOD, "more": [1.0, number]}, "more[1]"),
    ):
        with pytest.raises(InvalidEventError) as refused:
            sender.send(event)
        assert (refused.value.field, refused.value.got, refused.value.reason) == (field, got, "out_of_range")
    with pytest.raises(ValueError, match=rf"data.quantity is {got}, which JSON cannot hold"):
        encode(struct)
    assert sender.close(0).undelivered == []


def test_a_dict_is_completed_with_what_the_producer_knows(nowhere: str) -> None:
    sender = producer(nowhere, source="/shop/web", channel="web")
    bare = {"type": "cx.page.viewed", "subject": "c-2", "data": {"page": "home"}}
    first, second = sender.send(bare), sender.send(bare)
    assert first != second
    assert sender.send({**bare, "id": "mine"}) == "mine"
    handed_back = sender.close(0).undelivered
    assert [u.event["id"] for u in handed_back] == [first, second, "mine"]  # type: ignore[index]
    assert all(bare.items() <= u.event.items() and u.event["timeimputed"] for u in handed_back)  # type: ignore[attr-defined,index]
    assert "id" not in bare, "a dict that is used for many events is not changed"


def test_what_is_handed_back_and_sent_again_is_the_same_event(nowhere: str) -> None:
    """Whatever became of the first: id and time are made once."""
    sender = producer(nowhere, source="/shop/web", channel="web", buffer_bytes=1_000, max_block_s=0.01)
    bare = {"type": "cx.page.viewed", "subject": "c-2", "data": {"page": "home"}}
    sender.send(bare)
    with pytest.raises(BufferFullError) as refused:
        sender.send(bare)
    [undelivered] = sender.close(0).undelivered
    for event in (undelivered.event, refused.value.event):
        again = producer(nowhere)
        assert isinstance(event, dict)
        assert again.send(event) == event["id"]
        assert again.close(0).undelivered[0].event == event


def test_structs_whole_dicts_and_bytes_are_taken_and_handed_back_as_given(nowhere: str) -> None:
    sender = producer(nowhere)
    event = an_event()
    encoded = b'{"specversion":"1.0","id":"b-1","time":"2026-10-01T10:00:00Z",'
    encoded += b'"source":"/x","type":"cx.page.viewed","subject":"c","channel":"web","data":{"page":"home"}}'
    assert decode_one(encoded)
    whole = {**GOOD, "specversion": "1.0", "id": "w-1", "time": "2026-10-01T10:00:00Z"}
    for given in (event, whole, encoded):
        sender.send(given)
    assert [u.event for u in sender.close(0).undelivered] == [event, whole, encoded]


def test_an_oversize_event_is_refused_before_it_takes_room(nowhere: str) -> None:
    sender = producer(nowhere)
    with pytest.raises(EventTooLargeError, match="expected at most 900000"):
        sender.send_encoded(b"x" * 900_001, "web", "c-1")
    assert sender.close(0).undelivered == []


def test_a_full_buffer_blocks_then_says_why(nowhere: str) -> None:
    sender = producer(nowhere, buffer_bytes=10_000, max_block_s=0.4, delivery_timeout_s=60)
    began = time.monotonic()
    with pytest.raises(BufferFullError) as full:
        fill(sender)
    taken = int(full.value.__notes__[0])
    assert time.monotonic() - began > 0.35
    assert f"{taken} events wait for the broker" in str(full.value)
    assert "10000 bytes" in str(full.value)
    assert 5 < taken < 25
    assert len(sender.close(0).undelivered) == taken


def test_undelivered_events_stay_before_the_timeout(nowhere: str) -> None:
    sender = producer(nowhere, delivery_timeout_s=600)
    for number in range(5):
        sender.send({**GOOD, "id": f"e-{number}"})
    early = sender.flush(0.1)
    assert (early.pending, early.undelivered, early.complete) == (5, [], False)
    assert len(sender.close(0).undelivered) == 5


@pytest.mark.slow
def test_undelivered_events_are_handed_back_after_the_timeout_once(nowhere: str) -> None:
    sender = producer(nowhere)
    for number in range(5):
        sender.send({**GOOD, "id": f"e-{number}"})
    report = sender.flush(90)
    assert sorted(u.event["id"] for u in report.undelivered) == [f"e-{n}" for n in range(5)]  # type: ignore[index]
    assert all("not delivered within 1 s" in u.error for u in report.undelivered)
    assert report.errors == {"not delivered within 1 s": 5}
    assert (report.delivered, report.pending) == (0, 0)
    assert sender.flush(0) == (0, 0, [], {})
    assert sender.close(0).complete


@pytest.mark.slow
def test_undelivered_events_keep_their_room_until_taken(nowhere: str) -> None:
    sender = producer(nowhere, buffer_bytes=5_000)
    with pytest.raises(BufferFullError):
        fill(sender)
    said, deadline = "", time.monotonic() + 90
    while "wait to be taken by flush" not in said:
        assert time.monotonic() < deadline, said
        with pytest.raises(BufferFullError) as full:
            fill(sender)
        said = str(full.value)
    sender.flush(90)
    sender.send(GOOD)
    sender.close(0)


@pytest.mark.slow
def test_a_callback_gets_the_event_and_the_reason(nowhere: str) -> None:
    seen: list[tuple[object, object]] = []
    sender = producer(nowhere, on_delivery=lambda event, outcome: seen.append((event, outcome)))
    sent = sender.send(GOOD)
    report = sender.close(90)
    assert report.undelivered == []
    assert [event["id"] for event, _ in seen] == [sent]  # type: ignore[index]
    assert "not delivered within 1 s" in str(seen[0][1])


@pytest.mark.slow
def test_a_callback_that_fails_is_counted_and_stops_nothing(nowhere: str) -> None:
    def fail(event: object, outcome: object) -> None:
        raise RuntimeError("callback")

    sender = producer(nowhere, on_delivery=fail)
    sender.send(GOOD)
    sender.send(GOOD)
    assert sender.close(90).errors["on_delivery raised"] == 2


@pytest.mark.slow
def test_leaving_the_block_raises_when_something_was_not_delivered(nowhere: str) -> None:
    with pytest.raises(NotDeliveredError, match="1 events were not delivered") as lost, producer(nowhere) as sender:
        sender.send(GOOD)
    assert GOOD.items() <= lost.value.report.undelivered[0].event.items()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_an_error_in_the_block_is_kept_and_carries_the_note(nowhere: str) -> None:
    def work() -> None:
        with producer(nowhere) as sender:
            sender.send(GOOD)
            raise KeyError("own")

    with pytest.raises(KeyError) as error:
        work()
    assert "1 events were not delivered" in error.value.__notes__[0]


@pytest.mark.slow
def test_threads_share_a_producer_and_every_event_is_accounted_for(nowhere: str) -> None:
    sender = producer(nowhere)

    def work(name: int) -> None:
        for number in range(200):
            sender.send({**GOOD, "id": f"{name}-{number}"})

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ids = {u.event["id"] for u in sender.close(90).undelivered}  # type: ignore[index]
    assert ids == {f"{name}-{number}" for name in range(6) for number in range(200)}


def test_a_closed_producer_takes_nothing(nowhere: str) -> None:
    sender = producer(nowhere)
    sender.close(0)
    with pytest.raises(ProducerClosedError):
        sender.send(GOOD)


def test_a_broker_that_is_away_is_said_in_words(nowhere: str) -> None:
    sender = producer(nowhere)
    said, deadline = "not connected yet", time.monotonic() + 90
    while "not connected yet" in said and time.monotonic() < deadline:
        with pytest.raises(BrokerAwayError) as away:
            sender.wait_connected(0.5)
        said = str(away.value)
    assert re.match(r"no broker after 0\.5 s: ConnectionError: .*: nothing listens there \(connection refused\)", said)
    sender.close(0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"options": {"lingerms": 5}}, "unknown producer options lingerms; expected some of: .*linger_ms"),
        (
            {"security": {"sasl_password": "x"}},
            "unknown producer options sasl_password; expected .*sasl_plain_password",
        ),
        ({"bootstrap": " , "}, "expected host:port"),
        ({"bootstrap": "kafka:port"}, "has port 'port'"),
        ({"delivery_timeout_s": 0.05}, "delivery_timeout_s is 0.05"),
    ],
)
def test_wrong_settings_are_refused_at_once(nowhere: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        producer(**{"bootstrap": nowhere, **changes})


def test_the_partition_is_the_one_other_kafka_clients_choose() -> None:
    class Cluster:
        def topics(self) -> set[str]:
            return {"t"}

        def partitions_for_topic(self, topic: str) -> set[int]:
            return set(range(12))

        available_partitions_for_topic = partitions_for_topic

    ours, theirs = SubjectPartitioner(), DefaultPartitioner()
    keys = [f"c-{n}".encode() for n in range(300)] + ["مشتری-۱".encode()]
    chosen = [ours.partition("t", None, key, None, b"", Cluster()) for key in keys]
    assert chosen == [theirs.partition("t", None, key, None, b"", Cluster()) for key in keys]
    assert set(chosen) == set(range(12))


def test_names_and_codecs() -> None:
    assert topic_of("web") == "cx.touchpoints.web"
    assert topic_of("app", "test") == "test.touchpoints.app"
    assert best_compression() in ("lz4", "zstd", "gzip")


def test_what_will_be_missed_is_counted_and_logged_once_for_each_kind(
    nowhere: str, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime(2026, 11, 22, 10, tzinfo=UTC)
    sender = producer(nowhere, clock=lambda: now)
    sender.send({**GOOD, "touchpoint": "checkout", "time": now - timedelta(seconds=86_400)})
    assert sender.warnings == {}
    for number in range(3):
        sender.send({**GOOD, "id": f"late-{number}\x1b[31m", "time": now - timedelta(seconds=86_401)})
    sender.send({**GOOD, "touchpoint": "counter 12"})
    own = producer(nowhere, clock=lambda: now, touchpoints={"counter 12"}, retention_s=10**6)
    own.send({**GOOD, "touchpoint": "counter 12", "time": now - timedelta(seconds=86_401)})
    for one in (sender, own):
        one.close(0)
    assert sender.warnings == {"late": 3, "unknown_touchpoint": 1}
    assert own.warnings == {}
    said = [record.getMessage() for record in caplog.records if record.name == "streams.producers.client"]
    assert [text.partition(":")[0] for text in said] == ["late", "unknown_touchpoint"]
    assert "/store/tills late-0" in said[0]
    assert "\x1b" not in said[0]


def test_the_client_knows_what_workers_know_unless_told_otherwise() -> None:
    assert shipped_touchpoints() == set(load_touchpoints())
    assert Settings().retention_s == RETENTION_S
