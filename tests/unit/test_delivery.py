"""Alerts to receivers: what is repeated, what is not, and what a bad receiver costs."""

import asyncio
import time

import aiohttp
import pytest

from streams import metrics
from streams.delivery.alertmanager import KEPT_S, RESOLVED_S, Alertmanagers, AlertmanagerTarget
from streams.delivery.endpoint import AddressError, Patience, name_of, read_addresses, seconds_to_wait
from streams.delivery.notice import Notice, body_of, fitting_labels, fitting_text
from streams.local.ports import free_port
from tests.harness.receiver import Receiver


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


def failures():
    return metrics.REGISTRY.get_sample_value("cx_side_task_failures_total", {"task": "alertmanager"}) or 0.0


def notice(name="Low", ends_at=None, **labels):
    return Notice(labels={"alertname": name, **labels}, annotations={}, starts_at=999_000.0, ends_at=ends_at)


async def until(condition, timeout_s=90.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.01)


# -- addresses and patience --------------------------------------------------------------------------------------


def test_addresses_are_read_in_order_and_cleaned():
    found = read_addresses("alertmanagers", " http://a:9093/ ,https://b/prefix/ ")
    assert found == ["http://a:9093", "https://b/prefix"]
    assert read_addresses("alertmanagers", "") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("localhost:9093", "expected http://host:port"),
        ("ftp://a", "expected http://host:port"),
        ("http://user:secret@a:1", "secrets are never settings"),
        ("http://a:99999", "ort"),
        ("http://a/#x", "never sent"),
        ("http://a:1,http://a:1/", "named twice"),
    ],
)
def test_an_address_that_cannot_be_right_is_refused(text, said):
    with pytest.raises(AddressError, match=said) as caught:
        read_addresses("alertmanagers", text)
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "http://localhost/x", "http://[::1]:9", "https://a.example"])
def test_what_customers_wrote_goes_to_this_machine_or_encrypted(url):
    assert read_addresses("webhooks", url, encrypted=True) == [url]


@pytest.mark.parametrize("url", ["http://a.example/x", "http://10.0.0.1/x", "http://127.0.0.1.example/x"])
def test_what_customers_wrote_never_goes_out_in_the_open(url):
    with pytest.raises(AddressError, match="in the open"):
        read_addresses("webhooks", url, encrypted=True)


def test_logs_hold_no_path_of_a_url():
    assert name_of("https://hooks.example:8443/services/T0/B0/secret?key=1") == "https://hooks.example:8443"


def test_pauses_double_up_to_the_longest_and_begin_anew():
    patience = Patience(0.5, 4.0, chance=lambda: 0.0)
    assert [patience.failed() for _ in range(5)] == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert patience.failed(asked_s=30.0) == 30.0
    patience.succeeded()
    assert patience.failed() == 0.5
    assert Patience(1.0, 4.0, chance=lambda: 0.999).failed() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0), ("", 0), ("7", 7), ("99999999", 3600), ("soon", 0), ("-5", 0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90), ("Thu, 01 Jan 1970 00:00:05 GMT", 0),
    ],
)  # fmt: skip
def test_retry_after_in_both_forms(header, seconds):
    assert seconds_to_wait(header, now=10.0) == seconds


# -- what a notice becomes ---------------------------------------------------------------------------------------


def test_labels_fit_what_alertmanager_takes():
    labels = {"alertname": "A", "1st-thing": "x", "empty": "", "long": "x" * 5000, "broken": "a\ud800b", "نام": "y"}
    clean = fitting_labels(labels)
    assert clean["alertname"] == "A"
    assert clean["_1st_thing"] == "x"
    assert "empty" not in clean
    assert len(clean["long"]) == 1024
    assert clean["long"].endswith("…")
    assert clean["broken"] == "a\\ud800b"
    assert clean["___"] == "y"


def test_of_too_many_labels_the_name_of_the_alert_stays():
    clean = fitting_labels({**{f"a{number:03}": "x" for number in range(100)}, "alertname": "A"})
    assert len(clean) == 64
    assert clean["alertname"] == "A"


def test_text_is_cut_only_when_too_long():
    assert fitting_text("abc", 3) == "abc"
    assert fitting_text("abcd", 3) == "ab…"


def test_what_fires_ends_by_itself_when_we_fall_silent():
    body = body_of(notice(), now=1_000_000.0, valid_s=300.0)
    assert (body["startsAt"], body["endsAt"]) == ("1970-01-12T13:30:00.000Z", "1970-01-12T13:51:40.000Z")
    assert body_of(notice(ends_at=999_060.0), 1_000_000.0, 300.0)["endsAt"] == "1970-01-12T13:31:00.000Z"
    assert "generatorURL" not in body


def test_an_alert_without_a_name_or_with_its_end_first_is_refused():
    with pytest.raises(ValueError, match="alertname"):
        Notice(labels={"kpi": "csat"}, annotations={}, starts_at=0.0)
    with pytest.raises(ValueError, match="before"):
        notice(ends_at=998_999.0)
    assert notice(ends_at=999_000.0).ends_at == 999_000.0, "it may be over as it begins"


# -- Alertmanager: who is told what, when ------------------------------------------------------------------------


async def tell(client):
    """Do one round of every instance, as its task does."""
    async with aiohttp.ClientSession() as session:
        return [await one.send(session, one.due(client.alerts)) for one in client.instances]


def client_for(*receivers, clock, **options):
    return Alertmanagers([one.url for one in receivers], clock=clock, timeout_s=90.0, **options)


def names(request):
    return sorted(alert["labels"]["alertname"] for alert in request.json)


async def test_what_fires_is_repeated_every_minute_and_not_sooner():
    clock = Clock()
    with Receiver() as receiver:
        client = client_for(receiver, clock=clock)
        client.put(0, [notice("A"), notice("B")])
        for seconds, requests in ((0, 1), (30, 1), (59, 1), (60, 2), (119, 2), (120, 3)):
            clock.now = 1_000_000.0 + seconds
            await tell(client)
            assert len(receiver.received) == requests, seconds
        assert all(request.path == "/api/v2/alerts" for request in receiver.received)
        assert names(receiver.received[0]) == ["A", "B"]


async def test_news_is_told_at_once_alone():
    clock = Clock()
    with Receiver() as receiver:
        client = client_for(receiver, clock=clock)
        client.put(0, [notice("A")])
        await tell(client)
        client.put(0, [notice("A"), notice("B")])
        await tell(client)
        assert [names(request) for request in receiver.received] == [["A"], ["B"]]


async def test_an_end_is_repeated_for_five_minutes_after_it_was_first_taken():
    clock = Clock()
    with Receiver() as receiver:
        client = client_for(receiver, clock=clock)
        client.put(0, [notice("A")])
        await tell(client)
        client.put(0, [notice("A", ends_at=clock.now)])
        started = len(receiver.received)
        for _ in range(20):
            await tell(client)
            clock.now += 60
        assert len(receiver.received) - started == RESOLVED_S / 60
        assert receiver.received[-1].json[0]["endsAt"] == "1970-01-12T13:46:40.000Z"


async def test_an_end_waits_for_an_instance_that_is_away_but_not_for_ever():
    clock = Clock()
    with Receiver() as near, Receiver() as away:
        client = client_for(near, away, clock=clock)
        away.answer = lambda _request: (503, {})
        client.put(0, [notice("A", ends_at=clock.now)])
        clock.now += 600
        pauses = await tell(client)
        assert pauses[0] == 0
        assert pauses[1] > 0
        away.answer = lambda _request: (200, {})
        clock.now += 100
        assert await tell(client) == [0, 0]
        assert len(away.received) == 2
        clock.now += KEPT_S
        await tell(client)
        assert client.alerts == {}


async def test_a_repeated_end_under_changed_words_does_not_begin_anew():
    clock = Clock()
    with Receiver() as receiver:
        client = client_for(receiver, clock=clock)
        end = notice("A", ends_at=clock.now)
        for number in range(20):
            words = {"why": str(number)}
            told = Notice(labels=end.labels, annotations=words, starts_at=end.starts_at, ends_at=end.ends_at)
            client.put(0, [told] if number < 3 else [end])
            await tell(client)
            clock.now += 60
        assert len(receiver.received) == pytest.approx(RESOLVED_S / 60 + 1, abs=1)


async def test_what_fires_again_wins_over_its_own_end():
    clock = Clock()
    client = client_for(clock=clock)
    client.put(0, [notice("A", ends_at=clock.now)])
    client.put(1, [notice("A")])
    assert [one.ends_at for one in client.alerts.values()] == [None]
    client.keep_only([0])
    assert [one.ends_at for one in client.alerts.values()] == [clock.now]


async def test_a_wrong_alert_among_good_ones_is_found_and_not_sent_again():
    clock = Clock()
    with Receiver() as receiver:
        receiver.answer = lambda request: (400, {}) if "bad" in names(request) else (200, {})
        client = client_for(receiver, clock=clock)
        client.put(0, [notice(name) for name in ("a", "b", "bad", "c", "d")])
        assert await tell(client) == [0]
        taken = {name for request in receiver.received if "bad" not in names(request) for name in names(request)}
        assert taken == {"a", "b", "c", "d"}
        clock.now += 60
        before = len(receiver.received)
        await tell(client)
        assert [names(request) for request in receiver.received[before:]] == [["a", "b", "c", "d"]]


async def test_a_storm_goes_in_several_requests():
    clock = Clock()
    with Receiver() as receiver:
        client = client_for(receiver, clock=clock)
        client.put(0, [notice(f"A{number}") for number in range(450)])
        await tell(client)
        assert [len(request.json) for request in receiver.received] == [200, 200, 50]


@pytest.mark.slow
async def test_an_instance_that_hangs_costs_the_other_nothing():
    async def hang(reader, writer):
        await reader.read()
        writer.close()

    hanging = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = hanging.sockets[0].getsockname()[1]
    with Receiver() as receiver:
        client = Alertmanagers(
            [f"http://127.0.0.1:{port}", receiver.url], resend_s=1.0, first_pause_s=0.05, timeout_s=0.2
        )
        client.put(0, [notice("A")])
        client.start()
        try:
            await until(lambda: len(receiver.received) >= 2)
            client.put(0, [notice("A"), notice("B")])
            await until(lambda: any("B" in names(request) for request in receiver.received))
            await until(lambda: client.instances[0]._patience.failures >= 1)
        finally:
            await client.stop()
            hanging.close()
            await asyncio.sleep(0.05)


async def test_nothing_is_lost_while_the_only_instance_is_away():
    port = free_port()
    client = Alertmanagers([f"http://127.0.0.1:{port}"], first_pause_s=0.05, longest_pause_s=0.1)
    client.start()
    client.put(0, [notice("A")])
    await asyncio.sleep(0.2)
    client.put(0, [notice("A"), notice("B")])
    await asyncio.sleep(0.2)
    try:
        with Receiver(port) as back:
            await until(lambda: back.received)
            assert names(back.received[-1]) == ["A", "B"]
    finally:
        await client.stop()


async def test_an_alert_that_cannot_be_written_holds_no_other(caplog):
    odd = Notice(labels={"alertname": "Odd"}, annotations={}, starts_at=1e20)  # no such year
    with Receiver() as receiver:
        client = Alertmanagers([receiver.url])
        client.put(0, [odd, notice("A")])
        client.start()
        await until(lambda: receiver.received)
        await client.stop()
    assert names(receiver.received[0]) == ["A"]
    assert "'Odd'} is refused and not sent again" in caplog.text


async def test_an_unexpected_failure_does_not_end_sending(monkeypatch):
    """Whatever raises is counted and tried again; nothing else hears of it."""
    before = failures()
    real, raised = AlertmanagerTarget.due, []

    def due(self, alerts):
        if len(raised) < 2:
            raised.append(1)
            raise RuntimeError("no one expected this")
        return real(self, alerts)

    monkeypatch.setattr(AlertmanagerTarget, "due", due)
    with Receiver() as receiver:
        client = Alertmanagers([receiver.url], first_pause_s=0.01)
        client.put(0, [notice("A")])
        client.start()
        await until(lambda: receiver.received)
        await client.stop()
    assert failures() == before + 2


@pytest.mark.parametrize(
    ("resend_s", "ends_at"), [(60.0, "1970-01-12T13:51:40.000Z"), (200.0, "1970-01-12T14:00:00.000Z")]
)
async def test_what_fires_is_valid_for_longer_than_the_pause_between_two_messages(resend_s, ends_at):
    clock = Clock()
    with Receiver() as receiver:
        client = client_for(receiver, clock=clock, resend_s=resend_s)
        client.put(0, [notice("A")])
        await tell(client)
        assert receiver.received[0].json[0]["endsAt"] == ends_at


async def test_no_wait_that_is_asked_for_lets_what_fires_end_by_itself():
    clock = Clock()
    with Receiver() as receiver:
        receiver.answer = lambda _request: (429, {"Retry-After": "3600"})
        client = client_for(receiver, clock=clock)
        client.put(0, [notice("A")])
        assert await tell(client) == [60.0]


async def test_who_may_own_nothing_any_more_tells_alertmanager_nothing():
    ours = False
    with Receiver() as receiver:
        client = Alertmanagers([receiver.url], resend_s=60, may_send=lambda: ours)
        client.put(0, [notice("A")])
        client.start()
        try:
            await asyncio.sleep(0.5)
            assert receiver.received == []
            ours = True
            async with asyncio.timeout(90):
                while not receiver.received:  # noqa: ASYNC110 - a thread receives
                    await asyncio.sleep(0.02)
        finally:
            await client.stop()
