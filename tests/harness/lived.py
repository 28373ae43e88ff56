"""Answers beside what was lived through before them, with known effects, as the relation `experience` says them."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2026, 5, 1, tzinfo=UTC)


def experiences(seed: int, customers: int) -> list[bytes]:
    """
    Return events of customers with one to three answers.

    Waits cost nothing up to 2 min, 1.1 points up to 5 and 1.8 beyond; a late delivery 0.8, a damaged one 1.5, a failed
    payment 0.5. Agents hand on whom they cannot help at once, who waits again: transfers themselves cost nothing. Who
    comes to the app is in a better mood, and meets more errors, each of which costs 0.3.
    """
    chance, found = random.Random(seed), []
    for number in range(customers):
        app, mood = chance.random() < 0.5, chance.gauss(0, 0.3)
        segment = chance.choice(("new", "loyal"))
        for _ in range(chance.randint(1, 3)):
            data = _lived(chance, app=app)
            wait, delay = data["longest_wait_s"] or 0.0, data["delay_h"] or 0.0
            mean = 4.3 + mood + 0.4 * app - (1.1 if 120 < wait <= 300 else 1.8 if wait > 300 else 0.0)
            mean -= 0.8 * (delay > 0) + 1.5 * data["damaged"] + 0.3 * min(data["errors"], 2)
            mean -= 0.5 * min(data["payment_failures"], 2)
            data["score"] = max(1, min(5, round(mean + chance.gauss(0, 0.6))))
            found.append(_event(len(found), number, data, chance, app=app, segment=segment))
    return found


def _lived(chance: random.Random, *, app: bool) -> dict[str, Any]:
    contacts = min(3, int(chance.expovariate(1.6)))
    transfers = sum(chance.random() < 0.3 for _ in range(contacts))
    delivered = chance.random() < 0.7
    return {
        "metric": "csat", "scale": 5, "contacts": contacts, "channels": min(contacts, chance.randint(1, 2)),
        "transfers": transfers,
        "longest_wait_s": round(chance.expovariate(1 / 90) + 150 * transfers, 1) if contacts else None,
        "handle_s": round(chance.uniform(60, 900), 1) if contacts else None,
        "errors": int(chance.random() < (0.5 if app else 0.1)), "frustrations": int(chance.random() < 0.2),
        "payment_failures": int(chance.random() < 0.1), "orders": 1, "deliveries": int(delivered),
        "delay_h": round(chance.gauss(-30, 30) + 60 * (chance.random() < 0.2), 1) if delivered else None,
        "damaged": int(delivered and chance.random() < 0.06), "returns": 0, "cases": 0,
    }  # fmt: skip


def _event(
    number: int, customer: int, data: dict[str, Any], chance: random.Random, *, app: bool, segment: str
) -> bytes:
    span = f"s{number}"
    event = {
        "specversion": "1.0", "id": f"{span}.0", "source": "relations/experience", "type": "cx.experience.joined",
        "time": (START + timedelta(minutes=chance.uniform(0, 40_000))).isoformat(timespec="milliseconds"),
        "subject": f"c{customer}", "channel": "app" if app else "web", "segment": segment,
        "touchpoint": "delivery" if data["deliveries"] else "support", "data": {
            **{name: value for name, value in data.items() if value is not None}, "span": span, "revision": 0, "withdrawn": False,
        },
    }  # fmt: skip
    return json.dumps(event).encode()


def orders(customers: int) -> list[bytes]:
    """Return one order of each customer, of 20 to 70 by turns; what is known of the last one is in another currency."""
    return [
        json.dumps({
            "specversion": "1.0", "id": f"o{number}", "source": "shop", "type": "cx.order.placed",
            "time": (START + timedelta(minutes=60 + 26 * number)).isoformat(timespec="milliseconds"),
            "subject": f"c{number}", "channel": "web", "orderid": f"O-{number}",
            "data": {"amount": 20.0 + 10 * (number % 6), "currency": "EUR" if number < customers - 1 else "IRR"},
        }).encode()
        for number in range(customers)
    ]  # fmt: skip
