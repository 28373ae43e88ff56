"""Webhooks: who sent what and when can be proven; what is repeated, what is not, and in which order it comes."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from functools import partial

import pytest

from streams.delivery import webhook
from streams.delivery.endpoint import AddressError
from streams.delivery.webhook import Message, Webhooks, signature, signing_key
from tests.harness.receiver import Receiver

# A busy machine is no dead receiver.
Webhook = partial(webhook.Webhook, timeout_s=90.0)


async def until(condition, timeout_s=90.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.01)


def message(number=1, order="a", at=None):
    body = json.dumps({"number": number}).encode()
    return Message(f"0/0/{number}", order, body, time.time() if at is None else at)


async def deliver(hook, *messages):
    hooks = Webhooks([hook])
    try:
        return [outcome for made in await asyncio.gather(*map(hooks.deliver, messages)) for outcome in made]
    finally:
        await hooks.close()


async def test_a_receiver_can_prove_who_sent_what_and_when():
    began = int(time.time())
    with Receiver() as receiver:
        assert await deliver(Webhook(f"{receiver.url}/in?x=1", b"key"), message()) == ["delivered"]
    request = receiver.received[0]
    assert request.path == "/in?x=1"
    assert request.headers["idempotency-key"] == request.headers["webhook-id"] == "0/0/1"
    assert began <= int(request.headers["webhook-timestamp"]) <= time.time()
    signed = f"0/0/1.{request.headers['webhook-timestamp']}.".encode() + request.body
    expected = base64.b64encode(hmac.new(b"key", signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"
    assert request.headers["content-type"] == "application/json"


async def test_without_a_secret_there_is_no_signature():
    with Receiver() as receiver:
        await deliver(Webhook(receiver.url), message())
    assert "webhook-signature" not in receiver.received[0].headers


def test_signature_of_the_specification():
    """The example that the libraries of Standard Webhooks are tested with."""
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_that_is_no_base64_is_refused():
    with pytest.raises(AddressError, match="webhook_secret_file"):
        signing_key("whsec_not base64")


async def test_failures_are_repeated_under_the_same_id_and_signed_anew():
    with Receiver() as receiver:
        receiver.answer = lambda _request: (200, {}) if len(receiver.received) == 3 else (500, {})
        outcome = await deliver(Webhook(receiver.url, b"key", first_pause_s=0.02), message())
    assert outcome == ["delivered"]
    assert len(receiver.received) == 4
    assert {request.headers["idempotency-key"] for request in receiver.received} == {"0/0/1"}
    assert len({request.body for request in receiver.received}) == 1


@pytest.mark.slow
async def test_retry_after_is_respected():
    with Receiver() as receiver:
        receiver.answer = lambda _request: (200, {}) if receiver.received else (429, {"Retry-After": "1"})
        await deliver(Webhook(receiver.url, first_pause_s=0.01), message())
    first, second = receiver.received
    assert second.at - first.at >= 0.95


async def test_a_redirect_is_not_followed():
    with Receiver() as other, Receiver() as receiver:
        receiver.answer = lambda _request: (200, {}) if receiver.received else (307, {"Location": other.url})
        await deliver(Webhook(receiver.url, first_pause_s=0.01), message())
        assert other.received == []
        assert len(receiver.received) == 2


@pytest.mark.parametrize("status", [400, 410, 413, 415, 422])
async def test_what_is_refused_for_good_is_not_repeated_and_blocks_nothing(status):
    with Receiver() as receiver:
        receiver.answer = lambda request: (status if request.json["number"] == 1 else 200, {})
        outcomes = await deliver(Webhook(receiver.url), message(1), message(2))
    assert outcomes == ["refused", "delivered"]
    assert len(receiver.received) == 2


async def test_messages_of_one_alert_keep_their_order_through_failures():
    failed = set()

    def stumble(request):
        number = request.json["number"]
        if number % 3 == 0 and number not in failed:
            failed.add(number)
            return 503, {}
        return 200, {}

    with Receiver() as receiver:
        receiver.answer = stumble
        messages = [message(number, order=str(number % 2)) for number in range(20)]
        outcomes = await deliver(Webhook(receiver.url, first_pause_s=0.01), *messages)
    assert outcomes == ["delivered"] * 20
    taken = list(dict.fromkeys(request.json["number"] for request in receiver.received))
    assert [number for number in taken if number % 2] == list(range(1, 20, 2))
    assert [number for number in taken if not number % 2] == list(range(0, 20, 2))


async def test_what_is_too_old_is_given_up():
    with Receiver() as receiver:
        receiver.answer = lambda _request: (500, {})
        outcome = await deliver(Webhook(receiver.url, first_pause_s=0.01, give_up_s=60), message(at=time.time() - 61))
    assert outcome == ["expired"]
    assert len(receiver.received) == 1


async def test_a_dead_webhook_does_not_hold_back_another():
    with Receiver() as dead, Receiver() as alive:
        dead.answer = lambda _request: (500, {})
        hooks = Webhooks([Webhook(dead.url, first_pause_s=0.05), Webhook(alive.url)])
        sending = asyncio.gather(*(hooks.deliver(message(number, order=str(number))) for number in range(12)))
        await until(lambda: len(alive.received) == 12)
        assert not sending.done()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await hooks.close()
