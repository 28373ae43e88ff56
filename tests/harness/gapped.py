"""Events of a company of which it is known how far apart channels, promises, beliefs and answers are."""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2026, 5, 2, tzinfo=UTC)
DAYS = 28
SATISFIED = {("app", "easy"): 0.92, ("phone", "easy"): 0.85, ("app", "hard"): 0.5, ("phone", "hard"): 0.38}
"""Share of satisfied customers: in both topics the app is better, and it gets the hard ones."""
HARD = {"app": 0.75, "phone": 0.2}
BELIEVED = {"mobile_support": 85.0, "phone_agent": 70.0}
KANO = {
    "tracking": {("like", "dislike"): 20, ("expect", "dislike"): 70, ("neutral", "neutral"): 10},
    "gift-wrap": {("like", "neutral"): 60, ("like", "tolerate"): 8, ("neutral", "neutral"): 30, ("like", "like"): 2},
    "one-click": {("like", "dislike"): 48, ("like", "neutral"): 46, ("neutral", "neutral"): 6},
    "pop-ups": {("dislike", "neutral"): 70, ("neutral", "neutral"): 30},
    "new": {("like", "neutral"): 5},
}
INFORMED = {"free-returns": (90, 100), "night-delivery": (30, 60), "new-app": (0, 40)}
"""Customers told in time, of those for whom a change was made."""


class GappedEvents:
    """Makes events; what is random in them is of one seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._number = 0

    def event(self, kind: str, subject: str, at: datetime, data: dict[str, Any], **attributes: Any) -> bytes:
        self._number += 1
        return json.dumps(
            {
                "specversion": "1.0", "id": f"g{self._number}", "source": "/gaps", "type": kind, "subject": subject,
                "time": at.isoformat(timespec="milliseconds"), "channel": "web", **attributes, "data": data,
            }
        ).encode()  # fmt: skip

    def answers(self, customers: int) -> Iterator[bytes]:
        """Answers on two channels; who calls about something hard is asked, and so is who does so in the app."""
        for number in range(customers):
            way = self._chance.choice(("app", "phone"))
            topic = "hard" if self._chance.random() < HARD[way] else "easy"
            subject, contact = f"c{number}", f"k{number}"
            at = START + timedelta(minutes=self._chance.uniform(0, DAYS * 1_440))
            channel, touchpoint = ("app", "mobile_support") if way == "app" else ("call_center", "phone_agent")
            where = {"channel": channel, "touchpoint": touchpoint, "segment": self._chance.choice(("new", "loyal"))}
            yield self.event("cx.contact.opened", subject, at, {"topic": topic}, contactid=contact, **where)
            answered = at + timedelta(seconds=20)
            yield self.event("cx.contact.answered", subject, answered, {"wait_s": 20}, contactid=contact, **where)
            satisfied = self._chance.random() < SATISFIED[way, topic]
            yield self.event("cx.survey.sent", subject, at, {"survey_id": "after", "metric": "csat"}, **where)
            for metric, scale, good in (("csat", 5, satisfied), ("ces", 7, self._chance.random() < 0.75)):
                data = {"survey_id": "after", "metric": metric, "scale": scale, "score": scale - 1 if good else 2}
                if metric == "csat":
                    data["resolved"] = self._chance.random() < (0.97 if satisfied else 0.8)
                yield self.event(
                    "cx.survey.answered", subject, at + timedelta(hours=1), data, contactid=contact, **where
                )

    def beliefs(self) -> Iterator[bytes]:
        for touchpoint, mean in BELIEVED.items():
            for who in range(6):
                data = {"metric": "csat", "estimate": round(mean + self._chance.gauss(0, 3), 1)}
                yield self.event(
                    "cx.self.assessed", f"employee-{touchpoint}-{who}", START + timedelta(days=who), data,
                    touchpoint=touchpoint,
                )  # fmt: skip

    def calls(self, each_hour: int) -> Iterator[bytes]:
        """Calls around the clock of Tehran; from one to five at night nobody answers, else nine of ten in a minute."""
        began = datetime(2026, 6, 5, 20, 30, tzinfo=UTC)
        for hour in range(7 * 24):
            for number in range(each_hour):
                subject, contact = f"caller-{hour}-{number}", f"call-{hour}-{number}"
                at = began + timedelta(hours=hour, minutes=self._chance.uniform(0, 55))
                where = {"channel": "call_center", "contactid": contact, "touchpoint": "phone_queue"}
                yield self.event("cx.contact.queue_entered", subject, at, {"queue": "orders"}, **where)
                if 1 <= hour % 24 < 5:
                    left, data = "cx.contact.queue_left", {"queue": "orders", "reason": "abandoned", "wait_s": 300}
                    yield self.event(left, subject, at + timedelta(minutes=5), data, **where)
                else:
                    wait = 20 if self._chance.random() < 0.9 else 200
                    at += timedelta(seconds=wait)
                    yield self.event("cx.contact.answered", subject, at, {"wait_s": wait}, **where)

    def kano(self) -> Iterator[bytes]:
        for feature, pairs in KANO.items():
            number = 0
            for (functional, dysfunctional), count in pairs.items():
                for _ in range(count):
                    number += 1
                    data = {"feature": feature, "functional": functional, "dysfunctional": dysfunctional}
                    yield self.event("cx.kano.answered", f"k{number}", START + timedelta(minutes=number), data)

    def changes(self) -> Iterator[bytes]:
        """Changes made for customers ten days after they had said something; some are told after four days."""
        for change, (told, customers) in INFORMED.items():
            for number in range(customers):
                subject = f"{change}-{number}"
                where = {"touchpoint": "unboxing"}
                yield self.event("cx.feedback.given", subject, START, {"text": "please"}, **where)
                made = START + timedelta(days=10 if change != "new-app" else 27)
                yield self.event("cx.feedback.implemented", subject, made, {"change": change})
                if number < told:
                    yield self.event("cx.customer.informed", subject, made + timedelta(days=4), {"change": change})

    def visits(self) -> Iterator[bytes]:
        """Touchpoints at which customers are, and hardly any or none are heard."""
        for touchpoint, customers, asked, answers in (
            ("checkout", 400, 0, 0),
            ("delivery", 300, 100, 12),
            ("home", 20, 0, 0),
        ):
            for number in range(customers):
                subject, where = f"v-{touchpoint}-{number}", {"touchpoint": touchpoint}
                yield self.event("cx.page.viewed", subject, START, {"page": "/"}, **where)
                if number < asked:
                    yield self.event("cx.survey.sent", subject, START, {"survey_id": "s", "metric": "nps"}, **where)
                if number < answers:
                    data = {"survey_id": "s", "metric": "nps", "scale": 10, "score": 9 if number % 2 else 5}
                    yield self.event("cx.survey.answered", subject, START, data, **where)

    def months(self) -> Iterator[bytes]:
        """Two months of offers and of contacts: more offers are accepted in the second, more contacts passed on."""
        for month, accepted, passed_on in ((0, 40, 30), (1, 80, 90)):
            for number in range(400):
                subject, at = f"c{number}", START + timedelta(days=30 * month, minutes=40 * number)
                yield self.event("cx.offer.shown", subject, at, {"offer": "spring"}, channel="app")
                if number < accepted:
                    later = at + timedelta(minutes=5)
                    yield self.event("cx.offer.accepted", subject, later, {"offer": "spring"}, channel="app")
                where = {"channel": "call_center", "contactid": f"k{month}-{number}"}
                yield self.event("cx.contact.opened", subject, at, {"topic": "order"}, **where)
                data = {"talk_s": 60, "transfers": int(number < passed_on)}
                yield self.event("cx.contact.handled", subject, at + timedelta(minutes=9), data, **where)

    def all(self, customers: int = 1_200, calls: int = 4) -> list[bytes]:
        parts = (
            self.answers(customers), self.beliefs(), self.calls(calls), self.kano(), self.changes(), self.visits(),
            [self.event("cx.page.viewed", "last", START + timedelta(days=55), {"page": "/"}, touchpoint="checkout")],
        )  # fmt: skip
        return [one for part in parts for one in part]
