"""Live traffic for the fault suite: answers, orders and waits of all channels, with spells of bad answers."""

import json
import random
import threading
import time
from collections import deque
from datetime import UTC, datetime

from streams.producers.client import TouchpointProducer

CHANNELS = ("web", "app", "store", "call_center")
CUSTOMERS = 400
TICK_S = 0.05
DISORDER_S = 20
REVISING_S = 900
LATE_S = 2 * 86_400
WARM_UP = 200


class Traffic(threading.Thread):
    """
    Sends events until it is told to stop.

    Event time goes `speed` times as fast as the clock, so that minutes end often: at one it is now, else it begins
    half a day ago. Answers come at most `DISORDER_S` late, so that no closed minute of the alert's KPI is revised;
    some orders come much later. Some records come twice, some are late, some are bad. Some have an id of before, but
    come of another source, or say something else: not if it is to be `plain`, for older versions that know ids alone.
    """

    def __init__(
        self, producer: TouchpointProducer, seed: int, *, rate: float, speed: float, plain: bool = False
    ) -> None:
        super().__init__(name="traffic", daemon=True)
        self.sent = 0
        self.error: BaseException | None = None
        self.start_time = time.time() - (0 if speed == 1 else 43_200)
        self._producer = producer
        self._chance = random.Random(seed)
        self._rate, self._speed, self._plain = rate, speed, plain
        self._ending = threading.Event()
        self._flowing = threading.Event()
        self._flowing.set()
        self._sending = threading.Lock()
        self._skipped = 0
        self._began = time.monotonic()
        self._again: deque[tuple[bytes, str, str]] = deque(maxlen=4000)
        spell_min = 2 if speed == 1 else 5
        self._spell_s = 60 * spell_min
        self._shift = {channel: self._chance.randrange(2 * self._spell_s) for channel in CHANNELS}

    @property
    def event_time(self) -> float:
        """Unix s."""
        return self.start_time + self._speed * (time.monotonic() - self._began)

    def until_minute_ends(self) -> float:
        """Seconds of the clock until the next minute of event time closes."""
        return (60 - self.event_time % 60) / self._speed

    def stop(self) -> int:
        """Stop sending, wait for the broker; the number sent."""
        self._ending.set()
        self.join(300)
        if self.error is not None:
            raise self.error
        report = self._producer.flush(300)
        assert report.complete, report.errors
        return self.sent

    def hold(self, producer: TouchpointProducer) -> None:
        """Send nothing until `go_on`, and wait until the broker has all."""
        self._flowing.clear()
        with self._sending:
            report = producer.flush(300)
        assert report.complete, report.errors

    def go_on(self) -> None:
        """Send again; what was due meanwhile is left out."""
        self._skipped = int(self._rate * (time.monotonic() - self._began)) - self.sent
        self._flowing.set()

    def run(self) -> None:
        """Send at the asked rate, all of a tick at once."""
        self._began = time.monotonic()
        try:
            while not self._ending.wait(TICK_S):
                if not self._flowing.is_set():
                    continue
                due = int(self._rate * (time.monotonic() - self._began)) - self.sent - self._skipped
                with self._sending:
                    for _ in range(min(due, int(self._rate))):
                        self._send_one()
        except BaseException as error:
            self.error = error
            raise

    def _send_one(self) -> None:
        chance, number = self._chance, self.sent
        self.sent += 1
        lot = chance.random()
        if lot < 0.02 and self._again:
            value, channel, subject = self._again[chance.randrange(len(self._again))]
            if lot < 0.008 and not self._plain:
                value = self._other(value, number)
        else:
            channel, subject = chance.choice(CHANNELS), self._who()
            value = self._event(number, channel, subject, lot)
            self._again.append((value, channel, subject))
        self._producer.send_encoded(value, channel, subject)

    def _event(self, number: int, channel: str, subject: str, lot: float) -> bytes:
        chance = self._chance
        kind, data = self._content(channel)
        behind = chance.uniform(0, DISORDER_S)
        if number > WARM_UP and lot < 0.03:
            behind = LATE_S
        elif kind == "cx.order.placed" and chance.random() < 0.1:
            behind = chance.uniform(0, REVISING_S)
        event = {
            "specversion": "1.0", "id": f"f{number}", "source": "/fault", "type": kind, "subject": subject,
            "time": self._time(behind), "channel": channel, "data": data, **self._attributes(subject),
        }  # fmt: skip
        if 0.03 <= lot < 0.04:
            return self._broken(event)
        return json.dumps(event).encode()

    def _time(self, behind_s: float) -> str:
        return datetime.fromtimestamp(round(self.event_time - behind_s, 3), UTC).isoformat()

    def _other(self, value: bytes, number: int) -> bytes:
        """Return an event with the id of another: of another source, or of the same, and then it is a conflict."""
        try:
            event = json.loads(value)
        except ValueError:
            return value
        if self._chance.random() < 0.5:
            event |= {"source": "/fault/other", "time": self._time(self._chance.uniform(0, DISORDER_S))}
        else:
            event["region"] = f"r{number}"
        return json.dumps(event).encode()

    def _who(self) -> str:
        return f"c{self._chance.randrange(CUSTOMERS)}"

    def _content(self, channel: str) -> tuple[str, dict[str, object]]:
        chance = self._chance
        lot = chance.random()
        if lot < 0.5:
            bad = int((self.event_time + self._shift[channel]) / self._spell_s) % 2
            satisfied = chance.random() < (0.15 if bad else 0.92)
            score = chance.randint(4, 5) if satisfied else chance.randint(1, 3)
            return "cx.survey.answered", {"survey_id": "s", "metric": "csat", "scale": 5, "score": score}
        if lot < 0.6:
            return "cx.survey.answered", {
                "survey_id": "n",
                "metric": "nps",
                "scale": 10,
                "score": chance.randint(0, 10),
            }
        if lot < 0.8:
            return "cx.order.placed", {"amount": chance.randint(1, 50_000) / 100, "currency": "EUR"}
        return "cx.contact.queue_left", {
            "queue": "q",
            "reason": "answered",
            "wait_s": chance.randint(1, 900_000) / 1000,
        }

    def _attributes(self, subject: str) -> dict[str, str]:
        return {}

    def _broken(self, event: dict[str, object]) -> bytes:
        match self._chance.randrange(3):
            case 0:
                return json.dumps(event).encode()[:-9]
            case 1:
                return json.dumps({**event, "type": "cx.unheard"}).encode()
            case _:
                return json.dumps({**event, "subject": ""}).encode()


class Lives(Traffic):
    """Customers who come, do a few dozen things on all channels within minutes, and are not heard of any more."""

    def _who(self) -> str:
        return f"c{self.sent // 12 + self._chance.randrange(CUSTOMERS // 4)}"

    def _attributes(self, subject: str) -> dict[str, str]:
        return {"orderid": f"o-{subject}", "contactid": f"k-{subject}", "traceid": f"t-{subject}"}

    def _content(self, channel: str) -> tuple[str, dict[str, object]]:
        chance = self._chance
        if chance.random() < 0.4:
            return super()._content(channel)
        kind, data = chance.choice(DEEDS)
        if "due" in data:
            data = {**data, "due": self._time(-chance.uniform(0, 3_600))}
        return kind, data


DEEDS: list[tuple[str, dict[str, object]]] = [
    ("cx.page.viewed", {"page": "home"}),
    ("cx.ad.clicked", {"campaign": "spring"}),
    ("cx.ad.clicked", {"campaign": "summer"}),
    ("cx.search.performed", {"results": 3}),
    ("cx.search.clicked", {}),
    ("cx.cart.added", {"price": 2.5, "quantity": 2}),
    ("cx.checkout.step", {"step": "address", "position": 1}),
    ("cx.payment.attempted", {"method": "card"}),
    ("cx.payment.failed", {"code": "declined"}),
    ("cx.promise.made", {"due": "", "items": 2}),
    ("cx.order.delivered", {"late": False, "complete": True}),
    ("cx.order.delivered", {"late": True, "complete": False}),
    ("cx.order.return_received", {"items": 1}),
    ("cx.order.refund_initiated", {"amount": 10}),
    ("cx.order.refund_completed", {"amount": 5}),
    ("cx.contact.opened", {"topic": "billing"}),
    ("cx.contact.queue_entered", {"queue": "q"}),
    ("cx.contact.answered", {"wait_s": 3}),
    ("cx.contact.message_sent", {"by": "human"}),
    ("cx.contact.message_sent", {"by": "bot"}),
    ("cx.contact.resolved", {"topic": "billing"}),
    ("cx.contact.reopened", {}),
    ("cx.contact.closed", {"topic": "billing"}),
    ("cx.survey.sent", {"survey_id": "s"}),
    ("cx.case.opened", {"case_id": "a", "reason": "r"}),
    ("cx.case.closed", {"case_id": "a"}),
    ("cx.howto.viewed", {"article": "x"}),
    ("cx.store.queue_joined", {"queue": "q"}),
    ("cx.store.queue_served", {"queue": "q", "wait_s": 5}),
]
"""What they do beside answering, ordering and waiting."""
