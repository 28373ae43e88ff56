"""
What shipped spans come to, worked out a second time: from lines of JSON, by searching forward, with none of the product.

`shipped` gives (relation, id of the opening event, outcome, end in milliseconds, duration in seconds) of each span.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Event = dict[str, Any]
Test = Callable[[Event], bool]
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def of(*types: str, where: Test = lambda event: True) -> Test:
    return lambda event: event["type"] in types and where(event["data"] | {"channel": event["channel"]})


def digital(data: Event) -> bool:
    return data["channel"] in ("web", "app")


@dataclass
class Spec:
    opens: Test
    closes: dict[str, Test] = field(default_factory=dict)
    key: str = ""
    touches: Test | None = None
    after: int = 0
    at: str = ""
    otherwise: str = ""
    again: int = 0
    each: bool = False
    restarts: Test | None = None
    splits: dict[str, Callable[[Event, list[Event]], bool]] = field(default_factory=dict)
    forgets: int = 90 * DAY


SPECS = {
    "visit": Spec(
        opens=of("cx.session.started", "cx.page.viewed", "cx.product.viewed", "cx.search.performed", "cx.ad.clicked", where=digital),
        touches=of(
            "cx.session.started", "cx.page.viewed", "cx.product.viewed", "cx.search.performed", "cx.search.clicked",
            "cx.ad.clicked", "cx.cart.added", "cx.cart.removed", "cx.checkout.step", "cx.payment.attempted",
            "cx.payment.failed", "cx.payment.succeeded", "cx.order.placed", "cx.compare.viewed", "cx.review.read",
            "cx.feature.used", where=digital,
        ),
        after=30 * MINUTE,
        otherwise="silence",
        splits={
            "another_campaign": lambda event, inside: event["type"] == "cx.ad.clicked"
            and next((e["data"]["campaign"] for e in inside if e["type"] == "cx.ad.clicked"), event["data"]["campaign"])
            != event["data"]["campaign"]
        },
    ),
    "cart": Spec(
        opens=of("cx.cart.added"),
        touches=of("cx.cart.added", "cx.cart.removed", "cx.checkout.step", "cx.payment.attempted", "cx.payment.failed", "cx.payment.succeeded"),
        closes={"ordered": of("cx.order.placed"), "bought_in_store": of("cx.store.pos_transaction", where=lambda d: not d.get("refund", False))},
        after=60 * MINUTE,
        otherwise="abandoned",
        again=24 * HOUR,
    ),
    "checkout": Spec(
        opens=of("cx.checkout.step"),
        touches=of("cx.checkout.step", "cx.payment.attempted", "cx.payment.failed", "cx.payment.succeeded"),
        closes={"ordered": of("cx.order.placed")},
        after=30 * MINUTE,
        otherwise="left",
    ),
    "promise": Spec(
        key="orderid",
        opens=of("cx.promise.made"),
        closes={"kept": of("cx.order.delivered", where=lambda d: d.get("complete") is not False)},
        at="due",
        otherwise="missed",
    ),
    "delivery": Spec(
        key="orderid",
        opens=of("cx.promise.made"),
        closes={"delivered": of("cx.order.delivered", where=lambda d: d.get("complete") is not False)},
    ),
    "first_contact": Spec(
        key="topic",
        opens=of("cx.contact.closed"),
        closes={"repeated": of("cx.contact.opened")},
        after=7 * DAY,
        otherwise="resolved",
        each=True,
    ),
    "menu_containment": Spec(
        opens=of("cx.contact.ivr_exited", where=lambda d: d["outcome"] == "contained"),
        closes={
            "came_back": lambda e: e["type"] == "cx.contact.queue_entered"
            or (e["type"] == "cx.contact.message_sent" and e["data"]["by"] == "human")
        },
        after=24 * HOUR,
        otherwise="contained",
        each=True,
    ),
    "first_reply": Spec(
        key="contactid",
        opens=of("cx.contact.opened", "cx.contact.reopened", "cx.contact.handed_off"),
        restarts=of("cx.contact.reopened", "cx.contact.handed_off"),
        closes={"replied": of("cx.contact.message_sent", where=lambda d: d["by"] == "human")},
        forgets=30 * DAY,
    ),
    "survey": Spec(
        key="survey_id",
        opens=of("cx.survey.sent"),
        closes={"answered": of("cx.survey.answered"), "dismissed": of("cx.survey.dismissed")},
        after=7 * DAY,
        otherwise="silent",
    ),
    "repurchase": Spec(
        opens=of("cx.order.delivered"),
        closes={"ordered_again": of("cx.order.placed")},
        after=90 * DAY,
        otherwise="none",
    ),
    "payment": Spec(
        opens=of("cx.payment.attempted", "cx.payment.failed"),
        touches=of("cx.payment.attempted", "cx.payment.failed"),
        closes={"paid": of("cx.payment.succeeded", "cx.order.placed")},
        after=30 * MINUTE,
        otherwise="failed",
        again=2 * HOUR,
    ),
}  # fmt: skip


def shipped(lines: Iterable[str]) -> set[tuple[str, str, str, int, float]]:
    """Work out the spans of events written as JSON, one a line, in any order and repeated."""
    events = {(e["source"], e["id"]): e for e in map(json.loads, lines)}
    return {
        found
        for name, spec in SPECS.items()
        for group in _groups(spec, [*events.values()])
        for found in _spans(name, spec, group)
    }


def _groups(spec: Spec, events: list[Event]) -> Iterable[list[Event]]:
    groups: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        key = "" if not spec.key else event.get(spec.key, event["data"].get(spec.key))
        if key is not None:
            groups.setdefault((event["subject"], key), []).append(event)
    opening, closing = _types(spec.opens, events), _types(lambda e: any(c(e) for c in spec.closes.values()), events)
    for group in groups.values():
        # Within one moment: openings, then what touches, then closings; then source and id.
        rank = {t: 0 if t in opening else 2 if t in closing else 1 for t in {e["type"] for e in group}}
        yield sorted(group, key=lambda e: (_ms(e), rank[e["type"]], e["source"], e["id"]))


def _types(test: Test, events: list[Event]) -> set[str]:
    return {event["type"] for event in events if test(event)}


def _ms(event: Event) -> int:
    return round(datetime.fromisoformat(event["time"]).timestamp() * 1000)


def _spans(name: str, spec: Spec, events: list[Event]) -> Iterable[tuple[str, str, str, int, float]]:
    begin = 0
    while (start := next((i for i in range(begin, len(events)) if spec.opens(events[i])), None)) is not None:
        outcome, end, until, begin = _end(spec, events, start)
        if outcome:
            yield name, events[start]["id"], outcome, end, until
        if spec.each:
            begin = start + 1


def _end(spec: Spec, events: list[Event], start: int) -> tuple[str, int, float, int]:
    """Return how the span that begins with an event ends, when, its duration, and from where to look for the next."""
    opened = _ms(events[start])
    last = clock = opened
    limit = opened + (spec.after or spec.forgets) if not spec.at else _due(events[start], spec.at)
    for i in range(start + 1, len(events)):
        event, now = events[i], _ms(events[i])
        if now > limit:
            break
        for outcome, splits in spec.splits.items():
            if splits(event, events[start:i]):
                return outcome, now, (last - clock) / 1000, i
        if spec.touches and spec.touches(event):
            last, limit = now, now + spec.after
        if spec.restarts and spec.restarts(event):
            clock = now
        for outcome, closes in spec.closes.items():
            if closes(event):
                return outcome, now, (now - clock) / 1000, i if spec.opens(event) else i + 1
    behind = [i for i in range(start + 1, len(events)) if _ms(events[i]) > limit]
    following = behind[0] if behind else len(events)
    if not spec.otherwise:
        return "", 0, 0, following
    for i in behind if spec.again else ():
        if _ms(events[i]) > limit + spec.again or spec.opens(events[i]):
            break
        for outcome, closes in spec.closes.items():
            if closes(events[i]):
                return outcome, _ms(events[i]), (_ms(events[i]) - clock) / 1000, i + 1
    return spec.otherwise, limit, ((last if spec.touches else limit) - clock) / 1000, following


def _due(event: Event, name: str) -> int:
    return max(_ms(event), round(datetime.fromisoformat(event["data"][name]).timestamp() * 1000))
