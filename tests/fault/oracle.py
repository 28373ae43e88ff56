"""
What the outcome must be: recomputed from the source topics as they lie in Kafka, one record after the other.

Plain Python on purpose. It shares no code with the product: outcomes, KPI sums per minute and transitions of the alert
are decided here a second time, by rules written down from the documentation, so that a fault in the product's own
arithmetic cannot hide behind itself.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

import xxhash

RETENTION_S = 86_400
LATENESS_S = 60
FUTURE_S = 600
OUTCOMES = ("counted", "duplicate", "late", "bad", "conflict")
FLAT_WIDTH = {"orders": 1, "revenue": 2, "csat": 2, "csat_mean": 3, "nps": 3, "order_value": 6, "volume": 1}
BINNED = ("queue_wait", "buying_customers")
CHECKED_KPIS = (*FLAT_WIDTH, *BINNED)
"""One per aggregator: count, sum, ratio, mean, NPS, share; quantile, distinct."""

RULE = "CsatLow"
TARGET, Z, MIN_N, FOR_MIN, KEEP_MIN = 70.0, 3.29, 30, 1, 1
RESOLVED_MIN, FLAPS, FLAP_WITHIN_MIN, FLAP_HOLD_MIN = 15, 3, 360, 60
RULES = f"""
groups:
  - name: fault
    rules:
      - alert: {RULE}
        kpi: csat
        by: [channel]
        method: floor
        params: {{target: {TARGET:.0f}, z: {Z}}}
        window: 1m
        min_n: {MIN_N}
        for: {FOR_MIN}m
        keep_firing_for: {KEEP_MIN}m
        inhibit_by: []
        severity: page
        owner: customer-insight
        runbook: docs/RUNBOOK.md
        annotations:
          summary: "CSAT of {{{{ labels.channel }}}} is {{{{ value | show }}}}"
"""


class Record(NamedTuple):
    """
    A record of a source topic; `value` as the broker holds it.

    A topic that was deleted and made anew is `topic#1` from then on: other offsets, but the same source.
    """

    topic: str
    partition: int
    offset: int
    value: bytes


class Name(NamedTuple):
    """What names an event, as CloudEvents says."""

    source: str
    id: str


class Change(NamedTuple):
    """A transition of the alert."""

    channel: str
    old: str
    new: str
    minute: int


Sums = dict[tuple[str, str, int], Any]
"""By KPI, channel (empty: all) and minute: the fields, or the bins with their counts."""


@dataclass
class Expected:
    """All that must be found in the store once the pipeline is at rest."""

    outcomes: dict[tuple[str, int], Counter[str]] = field(default_factory=dict)
    """By topic and partition."""
    ends: dict[tuple[str, int], int] = field(default_factory=dict)
    """One more than the last offset."""
    stored: dict[Name, tuple[str, int, int]] = field(default_factory=dict)
    """Where each stored event is, by its name."""
    refused: dict[tuple[str, int, int], str] = field(default_factory=dict)
    """The dead letters: `bad`, or `conflict`, by where the record is."""
    sums: Sums = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    counted: dict[int, list[str]] = field(default_factory=dict)
    """The events that are counted, as they were sent, by partition."""

    @property
    def read(self) -> int:
        """All records."""
        return sum(counts["read"] for counts in self.outcomes.values())


def expect(records: Iterable[Record], now: float) -> Expected:
    """Decide about every record, in the order of its partition. `now`: no event may lie further ahead (Unix s)."""
    found = Expected()
    seen: dict[tuple[str, int], dict[Name, bytes]] = defaultdict(dict)
    newest: dict[tuple[str, int], float] = {}
    counted: list[tuple[dict[str, Any], float]] = []
    for record in records:
        place = record.topic, record.partition
        source = record.topic.partition("#")[0], record.partition
        counts = found.outcomes.setdefault(place, Counter())
        counts["read"] += 1
        found.ends[place] = record.offset + 1
        event = _valid(record.value)
        if event is None:
            counts["bad"] += 1
            found.refused[*place, record.offset] = "bad"
            continue
        at = datetime.fromisoformat(event["time"]).timestamp()
        assert at < now + FUTURE_S, "the traffic of this suite holds no event from the future"
        name = Name(event["source"], event["id"])
        if (first := seen[source].get(name)) is not None:
            if first == record.value:
                counts["duplicate"] += 1
            else:
                counts["conflict"] += 1
                found.refused[*place, record.offset] = "conflict"
            continue
        seen[source][name] = record.value
        assert name not in found.stored, "one customer's events lie in one partition"
        found.stored[name] = (*place, record.offset)
        known = newest.get(source, -math.inf)
        if at < known - RETENTION_S:
            counts["late"] += 1
        else:
            counts["counted"] += 1
            counted.append((event, at))
            found.counted.setdefault(record.partition, []).append(record.value.decode())
        newest[source] = max(known, at)
    found.sums = _sums(counted)
    found.changes = _changes(found.sums, closed_by(newest.values()))
    return found


def closed_by(newest: Iterable[float]) -> int:
    """Return the newest minute that is closed once every source has told its newest event time."""
    return math.floor((min(newest) - LATENESS_S) / 60) - 1


def _valid(value: bytes) -> dict[str, Any] | None:
    """Return the event, None if it breaks the contract in one of the ways in which this traffic breaks it."""
    try:
        event = json.loads(value)
    except ValueError:
        return None
    if not event.get("subject") or event["type"] == "cx.unheard":
        return None
    data = event["data"]
    if "score" in data and not ((data["scale"] == 10 and 0 <= data["score"] <= 10) or 1 <= data["score"] <= 5):
        return None
    return event


# -- KPIs --------------------------------------------------------------------------------------------------------


def _sums(counted: Sequence[tuple[dict[str, Any], float]]) -> Sums:
    sums: Sums = {}
    for event, at in counted:
        minute = math.floor(at / 60)
        for kpi, worth in (("volume", [1]), *_COUNT.get(event["type"], _nothing)(event)):
            for channel in ("", event["channel"]):
                key = kpi, channel, minute
                if isinstance(worth, int):
                    sums.setdefault(key, Counter())[worth] += 1
                else:
                    held = sums.setdefault(key, [0] * len(worth))
                    for place, part in enumerate(worth):
                        held[place] += part
    return sums


def _of_answer(event: Mapping[str, Any]) -> list[tuple[str, Any]]:
    score = event["data"]["score"]
    if event["data"]["metric"] == "nps":
        return [("nps", [1, int(score >= 9), int(score <= 6)])]
    return [("csat", [1, int(score >= 4)]), ("csat_mean", [1, score, score * score])]


def _of_order(event: Mapping[str, Any]) -> list[tuple[str, Any]]:
    amount = event["data"]["amount"]
    whole = math.floor(amount + 0.5)
    return [
        ("orders", [1]),
        ("revenue", [1, math.floor(amount * 100 + 0.5)]),
        ("order_value", [1, 1, whole, 1, whole, whole * whole]),
        ("buying_customers", _coupon(event["subject"])),
    ]


def _of_wait(event: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [("queue_wait", _bin(math.floor(event["data"]["wait_s"] * 1000 + 0.5)))]


def _nothing(event: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return []


_COUNT = {
    "cx.survey.answered": _of_answer,
    "cx.order.placed": _of_order,
    "cx.contact.queue_left": _of_wait,
}


def _bin(steps: int) -> int:
    """Return the number i for which γ^(i-1) < steps <= γ^i, γ = 101/99, by fractions: no rounding."""
    guess = max(0, round(math.log(steps) / math.log(101 / 99)))
    for number in (guess - 1, guess, guess + 1):
        if Fraction(101, 99) ** (number - 1) < steps <= Fraction(101, 99) ** number:
            return number
    raise AssertionError(f"no bin of {steps}")


def _coupon(subject: str) -> int:
    """Return the coupon: 11 bits choose a register, the trailing zeros of the others plus one are the rank."""
    hashed = xxhash.xxh64(subject.encode()).intdigest()
    rest, rank = hashed >> 11, 1
    while rank < 54 and not rest & 1:
        rest, rank = rest >> 1, rank + 1
    return (hashed % 2048) * 64 + rank


# -- the alert ---------------------------------------------------------------------------------------------------


def _changes(sums: Sums, closed: int) -> list[Change]:
    changes = []
    minutes = [minute for kpi, _, minute in sums if kpi == "volume"]
    for channel in sorted({channel for kpi, channel, _ in sums if kpi == "csat" and channel}):
        answers = {minute: held for (kpi, of, minute), held in sums.items() if kpi == "csat" and of == channel}
        changes += _life(channel, answers, min(minutes), closed)
    return sorted(changes, key=lambda change: (change.minute, change.channel))


def _life(channel: str, answers: Mapping[int, Sequence[int]], first: int, closed: int) -> list[Change]:
    """Tell the life of the alert of one channel, minute by minute."""
    changes: list[Change] = []
    state, since, fired = "inactive", 0, list[int]()
    calm: int | None = None
    recovered: int | None = None

    def enter(new: str, minute: int) -> None:
        nonlocal state, since, calm, recovered
        changes.append(Change(channel, state, new, minute))
        state, since, calm, recovered = new, minute, None, None

    for minute in range(first, closed + 1):
        n, hits = answers.get(minute, (0, 0))
        known = n >= MIN_N
        breach = known and 100 * _upper(hits, n) < TARGET
        if state != "firing":
            fired = [at for at in fired if at > minute - FLAP_WITHIN_MIN]
        if state in {"inactive", "resolved"}:
            if breach:
                enter("pending", minute)
            elif state == "resolved" and minute - since >= RESOLVED_MIN:
                enter("inactive", minute)
        elif state == "pending":
            if breach and minute - since >= FOR_MIN:
                enter("firing", minute)
                fired.append(minute)
            elif known and not breach:
                enter("inactive", minute)
        elif breach:
            calm = recovered = None
        elif known:
            calm = minute if calm is None else calm
            if 100 * hits / n < TARGET:
                recovered = None
                continue
            recovered = minute if recovered is None else recovered
            held = len(fired) > FLAPS and minute - recovered < FLAP_HOLD_MIN
            if minute - calm >= KEEP_MIN and not held:
                enter("resolved", minute)
    return changes


def _upper(hits: int, n: int) -> float:
    """Return the upper end of the Wilson score interval."""
    if hits == n:
        return 1.0
    p, zz = hits / n, Z * Z
    return (p + zz / (2 * n) + Z * math.sqrt(p * (1 - p) / n + zz / (4 * n * n))) / (1 + zz / n)


# -- what was found ----------------------------------------------------------------------------------------------


@dataclass
class Found:
    """What the store and the alert topic hold."""

    ranges: list[tuple[str, int, int, int, Counter[str]]]
    """Topic, partition, first and last offset, and the balance with `read`."""
    events: list[tuple[str, int, int, Name, str]]
    """Topic, partition, offset, name and outcome of every stored event."""
    letters: list[tuple[tuple[str, int, int], str]]
    """Where each dead letter is of, and its outcome."""
    sums: Sums
    alerts: list[tuple[str, Change]]
    """Of the topic, with their ids, in the order in which they lie there."""
    stored_alerts: list[tuple[str, Change]]


def problems(expected: Expected, found: Found) -> dict[str, list[str]]:
    """Compare; what is wrong, by kind: lost, doubled, wrong. Empty lists when all is right."""
    wrong: dict[str, list[str]] = {"lost": [], "doubled": [], "wrong": []}
    _compare_ranges(expected, found, wrong)
    _compare_events(expected, found, wrong)
    _compare_sums(expected, found, wrong["wrong"])
    _compare_alerts(expected, found, wrong)
    return wrong


def _compare_ranges(expected: Expected, found: Found, wrong: dict[str, list[str]]) -> None:
    by_source: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    counts: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    for topic, partition, first, last, balance in found.ranges:
        by_source[topic, partition].append((first, last))
        counts[topic, partition].update(balance)
        if balance["read"] != sum(balance[name] for name in OUTCOMES):
            wrong["wrong"].append(f"outcomes of {topic}/{partition} [{first}..{last}] do not sum: {dict(balance)}")
    for source, balance in sorted(expected.outcomes.items()):
        name = f"{source[0]}/{source[1]}"
        ranges = sorted(by_source.get(source, ()))
        for (_, last), (first, _) in pairwise([(-1, -1), *ranges, (expected.ends[source], 0)]):
            if first > last + 1:
                wrong["lost"].append(f"outcomes of {name}: nothing of [{last + 1}..{first - 1}]")
            elif first <= last:
                wrong["doubled"].append(f"outcomes of {name}: [{first}..{last}] twice")
        if (got := counts[source]) != balance:
            told = {key: (got[key], balance[key]) for key in ("read", *OUTCOMES) if got[key] != balance[key]}
            wrong["wrong"].append(f"outcomes of {name} (stored, expected): {told}")


def _compare_events(expected: Expected, found: Found, wrong: dict[str, list[str]]) -> None:
    places = Counter((topic, partition, offset) for topic, partition, offset, _, _ in found.events)
    names = Counter(name for _, _, _, name, _ in found.events)
    wrong["doubled"] += [f"event {place} stored {n} times" for place, n in places.items() if n > 1]
    wrong["doubled"] += [f"event {name} stored {n} times" for name, n in names.items() if n > 1]
    held = {name: (topic, partition, offset) for topic, partition, offset, name, _ in found.events}
    wrong["lost"] += [f"event {name} of {place}" for name, place in expected.stored.items() if name not in held]
    wrong["wrong"] += [
        f"event {name} stored of {place}, expected of {expected.stored.get(name)}"
        for name, place in held.items()
        if expected.stored.get(name) != place
    ]
    letters = Counter(place for place, _ in found.letters)
    wrong["doubled"] += [f"dead letter {place} stored {n} times" for place, n in letters.items() if n > 1]
    wrong["lost"] += [f"dead letter {place}" for place in sorted(expected.refused.keys() - letters.keys())]
    wrong["wrong"] += [
        f"dead letter {place} stored as {outcome}, expected: {expected.refused.get(place, 'none')}"
        for place, outcome in sorted(found.letters)
        if expected.refused.get(place) != outcome
    ]


def _compare_sums(expected: Expected, found: Found, wrong: list[str]) -> None:
    for key in sorted(expected.sums.keys() | found.sums.keys()):
        should, got = expected.sums.get(key), found.sums.get(key)
        if should != got:
            wrong.append(f"{key[0]} of {key[1] or 'all'} in minute {key[2]}: {got} stored, {should} expected")


def _compare_alerts(expected: Expected, found: Found, wrong: dict[str, list[str]]) -> None:
    for where, alerts in (("topic", found.alerts), ("store", found.stored_alerts)):
        by_id: dict[str, Change] = {}
        for name, change in alerts:
            if by_id.setdefault(name, change) != change:
                wrong["wrong"].append(f"alert {name} in the {where} says {change}, and before {by_id[name]}")
        got = Counter(by_id.values())
        should = Counter(expected.changes)
        wrong["lost"] += [f"transition {change} in the {where}" for change in (should - got)]
        wrong["doubled"] += [f"transition {change} in the {where}, not expected" for change in (got - should)]
