"""
KPIs a third time: from lines of JSON, in plain Python, with nothing of the product.

The workers and `cx verify` share the parser of definitions; a fault there would be invisible to both. What stands here
was written from the words of the definitions, one KPI for each aggregator. Whoever adds an aggregator adds a
definition to `ONE_OF_EACH`, and what it comes to to `PLAIN`.
"""

import json
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

Line: TypeAlias = dict[str, Any]

ONE_OF_EACH = """
- {id: u_count, name: n, question: q, unit: count, direction: up, class: A, aggregator: count, formula: f, source: s,
   owner: o, groupings: [[], [channel], [channel, touchpoint]], of: {events: [cx.session.started, cx.order.placed]}}
- {id: u_sum, name: n, question: q, unit: currency, direction: up, class: A, aggregator: sum, formula: f, source: s,
   owner: o, groupings: [[], [segment]], scale: 100, of: {events: cx.order.placed, value: amount / 2}}
- {id: u_ratio, name: n, question: q, unit: percent, direction: up, class: A, aggregator: ratio, formula: f, source: s,
   owner: o, groupings: [[], [channel]], of: {events: cx.survey.answered}, hits: {where: score >= top_box(scale)}}
- {id: u_mean, name: n, question: q, unit: seconds, direction: down, class: B, aggregator: mean, formula: f, source: s,
   owner: o, groupings: [[], [queue]], of: {events: cx.contact.queue_left, value: wait_s}}
- {id: u_nps, name: n, question: q, unit: points, direction: up, class: A, aggregator: nps, formula: f, source: s,
   owner: o, groupings: [[], [channel]], of: {events: cx.survey.answered, where: metric == 'nps', value: score}}
- {id: u_share, name: n, question: q, unit: percent, direction: up, class: B, aggregator: share, formula: f, source: s,
   owner: o, groupings: [[], [queue]], scale: 10,
   of: {events: cx.contact.queue_left, value: wait_s}, hits: {where: reason == 'answered'}}
- {id: u_quantile, name: n, question: q, unit: seconds, direction: down, class: B, aggregator: quantile, formula: f,
   source: s, owner: o, groupings: [[], [queue]], quantiles: [0.5, 0.99], of: {events: cx.contact.queue_left, value: wait_s}}
- {id: u_distinct, name: n, question: q, unit: count, direction: up, class: A, aggregator: distinct, formula: f, source: s,
   owner: o, groupings: [[], [channel], [segment]], of: {events: '*', value: subject}}
- {id: u_level, name: n, question: q, unit: count, direction: down, class: A, aggregator: level, formula: f, source: s,
   owner: o, groupings: [[], [channel], [queue]], of: {events: cx.contact.queue_entered, value: 2},
   minus: {events: cx.contact.queue_left, value: wait_s / 10}}
"""
"""KPIs of a user's, one for each aggregator at least; a worker counts them and `cx verify` recomputes them."""


class Figure(NamedTuple):
    """A value, how many answers, trials or events it is made of, and by how much of itself it may be off."""

    value: float | None
    n: int
    tolerance: float = 1e-9


def lines_of(texts: Iterable[bytes]) -> list[Line]:
    """Read events, each once by its id, without those that are made to test the system."""
    found = {line["id"]: line for line in map(json.loads, texts)}
    return [line for line in found.values() if not line.get("synthetic")]


def _data(lines: Iterable[Line], *types: str) -> list[dict[str, Any]]:
    return [line.get("data", {}) for line in lines if line["type"] in types]


def _rounded(value: float, steps: int) -> float:
    return math.floor(value * steps + 0.5) / steps


def _orders(lines: list[Line]) -> Figure:
    n = len(_data(lines, "cx.order.placed"))
    return Figure(float(n) if n else None, n)


def _revenue(lines: list[Line]) -> Figure:
    amounts = [_rounded(d["amount"], 100) for d in _data(lines, "cx.order.placed") if d.get("amount") is not None]
    return Figure(math.fsum(amounts) if amounts else None, len(amounts))


def _hold_rate(lines: list[Line]) -> Figure:
    holds = [d.get("hold_s") for d in _data(lines, "cx.contact.handled")]
    known = [hold for hold in holds if hold is not None]
    hits = sum(1 for hold in known if hold > 0)
    return Figure(100 * hits / len(known) if known else None, len(known))


def _hold_time(lines: list[Line]) -> Figure:
    holds = [_rounded(d["hold_s"], 10) for d in _data(lines, "cx.contact.handled") if d.get("hold_s") is not None]
    return Figure(math.fsum(holds) / len(holds) if holds else None, len(holds))


def _nps(lines: list[Line]) -> Figure:
    answers = [d for d in _data(lines, "cx.survey.answered") if d.get("metric") == "nps"]
    scores = [int(d["score"]) for d in answers if (d.get("kind") or "transactional") == "transactional"]
    net = sum(1 for score in scores if score >= 9) - sum(1 for score in scores if score <= 6)
    return Figure(100 * net / len(scores) if scores else None, len(scores))


def _occupancy(lines: list[Line]) -> Figure:
    spells = [d for d in _data(lines, "cx.agent.state_changed") if d.get("previous") in ("busy", "wrapup", "idle")]
    spells = [d for d in spells if d.get("duration_s") is not None]
    whole = math.fsum(_rounded(d["duration_s"], 10) for d in spells)
    busy = math.fsum(_rounded(d["duration_s"], 10) for d in spells if d["previous"] != "idle")
    return Figure(100 * busy / whole if whole else None, len(spells))


def _store_wait(lines: list[Line]) -> Figure:
    waits = sorted(d["wait_s"] for d in _data(lines, "cx.store.queue_served") if d.get("wait_s") is not None)
    return Figure(waits[max(0, math.ceil(len(waits) / 2) - 1)] if waits else None, len(waits), 0.011)


def _buyers(lines: list[Line]) -> Figure:
    orders = [line for line in lines if line["type"] == "cx.order.placed"]
    receipts = [line for line in lines if line["type"] == "cx.store.pos_transaction"]
    bought = [line["subject"] for line in [*orders, *(one for one in receipts if not one["data"].get("refund"))]]
    return Figure(float(len(set(bought))) if bought else None, len(bought), 0.06)  # 4 standard errors


def _inside(lines: list[Line]) -> Figure:
    def people(type_: str) -> list[int]:
        found = [d.get("people") for d in _data(lines, type_)]
        return [1 if count is None else count for count in found]

    came, left = people("cx.store.visitor_entered"), people("cx.store.visitor_left")
    return Figure(float(sum(came) - sum(left)) if came or left else None, len(came) + len(left))


PLAIN: dict[str, Callable[[list[Line]], Figure]] = {
    "orders": _orders,
    "revenue": _revenue,
    "hold_rate": _hold_rate,
    "hold_time": _hold_time,
    "nps": _nps,
    "occupancy": _occupancy,
    "store_queue_wait": _store_wait,
    "buying_customers": _buyers,
    "visitors_inside": _inside,
}
"""What each KPI comes to over all of some lines, by its id, shipped or of `ONE_OF_EACH`: one for each aggregator."""
