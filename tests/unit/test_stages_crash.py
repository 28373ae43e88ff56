"""Every stage, stopped before every single step and started again, ends with the results of an undisturbed run.

A step is a record appended to a changelog or a topic, an acknowledgement, or an insert. A new stage is listed in
`STAGES`, with what it is given to read and what of its results must be the same.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import pytest
from faust.types import TP

from streams.agents import records
from streams.agents.ingest import Ingest
from streams.agents.judge import Judges
from streams.agents.merge import Merge
from streams.agents.relate import Relate
from streams.agents.store import StoreStage
from streams.alerts.rules.parsing import parse_rules
from streams.engine.names import Topics
from streams.engine.stage import Stage
from streams.events import orders
from streams.events.decode import decode_derived
from streams.events.orders import SourceOrder
from streams.events.types import Envelope
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.partials import decode_partial
from streams.relations.catalogue import load as load_relations
from streams.relations.identity import STATE
from streams.relations.ranges import decode_range
from streams.settings import Settings, load
from streams.shipped import RELATIONS as SHIPPED_RELATIONS
from tests.harness import casework, surveyed, twin
from tests.harness.clickhouse import event
from tests.harness.incident import RULES
from tests.harness.shoppers import send_shoppers

NOW = datetime(2026, 3, 1, 10, 30, tzinfo=UTC).timestamp()
PARTITIONS = 2
TOPICS = Topics("cx")
CATALOGUE = Catalogue.load()
SETTINGS: Settings = load(environ={}, partitions=PARTITIONS)


class Clock:
    """Times that are read are written: so that bytes can be compared, the clock stands until all is read."""

    now = NOW

    def later(self) -> None:
        """Let pass what open minutes wait for before they are published again."""
        self.now = NOW + 5


CLOCK = Clock()


@pytest.fixture(autouse=True)
def _clock_that_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: CLOCK.now)


def touchpoints(broker: twin.Broker) -> None:
    """Events of two channels over some minutes: good, repeated, late and bad."""
    for number in range(24):
        for channel in ("web", "call_center"):
            at = datetime.fromtimestamp(NOW - 600 + 20 * number, UTC).isoformat()
            value = event(number % 21, channel=channel, time=at, id=f"{channel}-{number % 21}")
            if number == 7:
                value = b"not JSON"
            if number == 19:
                value = event(1_000, channel=channel, time="2026-02-01T00:00:00Z", id="too-late")
            broker.send(f"cx.touchpoints.{channel}", number % PARTITIONS, value)


class Case(NamedTuple):
    """A stage under test."""

    build: Callable[[twin.Application, twin.Broker, twin.Database], Stage]
    given: Callable[[twin.Broker], None]
    results: Callable[[twin.Broker, twin.Database], Any]


def judges() -> Judges:
    async def ready() -> None: ...

    async def enrich(_transitions: object) -> None: ...

    usual = SimpleNamespace(ready=ready, expected=lambda *_: None)
    enricher = SimpleNamespace(enrich=enrich)
    alertmanagers = SimpleNamespace(put=lambda *_: None, keep_only=lambda *_: None)
    return Judges(SETTINGS, TOPICS, parse_rules(RULES, CATALOGUE), enricher, alertmanagers, usual)  # type: ignore[arg-type]


def upstream(
    build: Callable[..., Stage], given: Callable[[twin.Broker], None], *topics: str
) -> Callable[[twin.Broker], None]:
    """What an undisturbed stage before this one makes of what it is given."""

    made: dict[TP, list[tuple[bytes | None, bytes | None]]] = {}

    def fill(broker: twin.Broker) -> None:
        # Once: how many records it makes depends on how long its steps take.
        if not made:
            before = twin.Broker()
            given(before)
            app = twin.Application(before, PARTITIONS)
            build(app, before, twin.Database(before))
            CLOCK.now = NOW
            asyncio.run(app.run(CLOCK.later))
            made.update({tp: log for tp, log in before.topics.items() if tp.topic in topics})
        broker.topics.update({tp: list(log) for tp, log in made.items()})

    return fill


def ingest(app: Any, _broker: object, _database: object) -> Stage:
    return Ingest(app, SETTINGS, TOPICS, CATALOGUE)


def merge(app: Any, _broker: object, _database: object) -> Stage:
    return Merge(app, SETTINGS, TOPICS, CATALOGUE, judges())


def store(app: Any, _broker: object, database: Any) -> Stage:
    return StoreStage(app, SETTINGS, TOPICS, database)


def ranges(broker: twin.Broker, _database: object) -> Any:
    """Each range once, whoever sent it how often: its deltas and its block are the same bytes each time."""
    partials: dict[Any, Any] = {}
    for tp, log in broker.topics.items():
        if tp.topic == TOPICS.partials:
            for _, value in log:
                partial = decode_partial(value or b"")
                if partial.first <= partial.last:
                    content = repr((partial.deltas, partial.tally, partial.minutes))
                    key = tp.partition, partial.source, partial.first, partial.last
                    assert partials.setdefault(key, content) == content
    blocks: dict[Any, bytes] = {}
    for value in broker.values(TOPICS.blocks):
        block = records.decode_block(value)
        assert blocks.setdefault((block.topic, block.partition, block.first), value) == value
    dead = {tuple(sorted(one.items())) for one in map(_json, broker.values(TOPICS.dead_letters))}
    return _one_after_the_other(partials), _outcomes(blocks.values()), len(dead), dict(broker.committed)


def _one_after_the_other(partials: dict[Any, Any]) -> set[Any]:
    """Ranges of a source never overlap; what they add up to does not depend on where they were cut."""
    seen: dict[Any, set[int]] = {}
    for partition, source, first, last in partials:
        offsets = set(range(first, last + 1))
        assert not offsets & seen.setdefault((partition, source), set())
        seen[partition, source] |= offsets
    return {(key, tuple(sorted(offsets))) for key, offsets in seen.items()}


def _outcomes(blocks: Any) -> Any:
    decoded = [records.decode_block(value) for value in blocks]
    totals: dict[Any, list[int]] = {}
    for block in decoded:
        total = totals.setdefault((block.topic, block.partition), [0] * 6)
        tally = block.tally
        for place, number in enumerate(msgspec.structs.astuple(tally)):
            total[place] += number
    return totals


def _json(value: bytes) -> Any:
    import msgspec

    return {name: str(part) for name, part in msgspec.json.decode(value).items()}


def published(broker: twin.Broker, _database: object) -> Any:
    """The newest revision of every minute, the newest value of every series and window, and all transitions by id."""
    minutes: dict[Any, Any] = {}
    values: dict[Any, Any] = {}
    for value in broker.values(TOPICS.kpis):
        record = records.decode_kpis(value)
        for row in record.minutes:
            key = row.kpi, tuple(sorted(row.labels.items())), row.minute, row.part
            minutes[key] = max(
                minutes.get(key, (-1, "")), (row.revision, repr(sorted(row.bins.items()) if row.bins else row.fields))
            )
        for one in record.values:
            key = one.kpi, tuple(sorted(one.labels.items())), one.window, one.stat
            values[key] = max(
                values.get(key, ((-1, -1), "")), ((one.at, one.revision), repr((one.value, one.n, one.lo)))
            )
    alerts = {}
    for value in broker.values(TOPICS.alerts):
        alert = records.decode_alert(value)
        assert alerts.setdefault(alert.id, value) == value
    # A total is published when it moves, and an empty window once: at which of the minutes since, does not matter.
    newest = {
        key: (key[2] != "total" and "None" not in row and moment[0], row) for key, (moment, row) in values.items()
    }
    return {key: row for key, (_, row) in minutes.items()}, newest, alerts, dict(broker.committed)


def stored(broker: twin.Broker, database: twin.Database) -> Any:
    """All rows: those of events may not be there twice, those of KPIs replace each other."""
    blocks = sorted(
        (block.topic, block.partition, block.first, block.last, block.events.rows) for block in database.blocks
    )
    return blocks, database.minutes, database.values, database.alerts, dict(broker.committed)


def stopping(broker: twin.Broker) -> None:
    """A source that stops, and behind some nonsense the order that lets it go on."""
    touchpoints(broker)
    for _ in range(12):
        broker.send("cx.touchpoints.web", 0, b"not JSON either")
        broker.send(TOPICS.control, 0, b"no order")
    broker.send(TOPICS.control, 0, orders.encode(SourceOrder("web/0", 0, 30, 0)))
    for number in range(100, 108):
        at = datetime.fromtimestamp(NOW - 30, UTC).isoformat()
        broker.send("cx.touchpoints.web", 0, event(number, channel="web", time=at, id=f"after-{number}"))


def watchful_ingest(app: Any, _broker: object, _database: object) -> Stage:
    return Ingest(app, load(environ={}, partitions=PARTITIONS, breaker_at_once=4), TOPICS, CATALOGUE)


def all_ranges(broker: twin.Broker, database: object) -> Any:
    """The same, of a source that went on to its end."""
    found = ranges(broker, database)
    for channel in ("web", "call_center"):
        for partition in range(PARTITIONS):
            topic = f"cx.touchpoints.{channel}"
            assert found[1][topic, partition][0] == len(broker.topics[TP(topic, partition)])
    return found


RELATIONS = load_relations([SHIPPED_RELATIONS]).only(["cart", "visit", "first_contact", "before_order"])


def relating_ingest(app: Any, _broker: object, _database: object) -> Stage:
    return Ingest(app, SETTINGS, TOPICS, CATALOGUE, relations=RELATIONS)


def relate(app: Any, _broker: object, _database: object) -> Stage:
    return Relate(app, SETTINGS, TOPICS, RELATIONS)


def shoppers(broker: twin.Broker) -> None:
    send_shoppers(broker, NOW, PARTITIONS)


def derived(broker: twin.Broker, _database: object) -> Any:
    """What holds in the end of what was sent: the same bytes each time that it was."""
    events: dict[str, bytes] = {}
    for value in broker.values(TOPICS.derived):
        event = decode_derived(value)
        assert isinstance(event, Envelope), event
        assert events.setdefault(event.id, value) == value
    said: dict[str, Any] = {}
    for event in map(decode_derived, events.values()):
        assert isinstance(event, Envelope)
        version = 2 * event.data.revision + event.data.withdrawn
        if version > said.get(event.data.span, (-1,))[0]:
            said[event.data.span] = version, event.time, event.data
    standing = {span: (time, repr(data)) for span, (_, time, data) in said.items() if not data.withdrawn}
    assert len(standing) > 20
    told = (one for value in broker.values(TOPICS.facts) for _, one in decode_range(value).facts if one.type == STATE)
    assert len({(one.id, one.time) for one in told}) >= 2
    return (standing,)


OF_INGEST = upstream(ingest, touchpoints, TOPICS.partials, TOPICS.blocks)
OF_MERGE = upstream(merge, OF_INGEST, TOPICS.kpis, TOPICS.alerts)


def of_both(broker: twin.Broker) -> None:
    OF_MERGE(broker)
    of_ingest = twin.Broker()
    OF_INGEST(of_ingest)
    broker.topics.update({tp: log for tp, log in of_ingest.topics.items() if tp.topic == TOPICS.blocks})


STAGES = {
    "ingest": Case(ingest, touchpoints, ranges),
    "ingest with an order": Case(watchful_ingest, stopping, all_ranges),
    "merge": Case(merge, OF_INGEST, published),
    "store": Case(store, of_both, stored),
    "cases": Case(casework.decide, upstream(casework.ingest, casework.unhappy, TOPICS.case_facts), casework.told),
    "surveys": Case(surveyed.decide, upstream(surveyed.ingest, surveyed.served, TOPICS.case_facts), surveyed.told),
    "relate": Case(relate, upstream(relating_ingest, shoppers, TOPICS.facts), derived),
}


def differences(found: tuple[Any, ...], expected: tuple[Any, ...]) -> list[Any]:
    """What differs, to be read."""
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if a != b]
    return [
        {key: (a.get(key), b.get(key)) for key in a.keys() | b.keys() if a.get(key) != b.get(key)}
        if isinstance(a, dict)
        else (a, b)
        for a, b in pairs
    ]


def run(case: Case, broker: twin.Broker, database: twin.Database, stop_at: int | None) -> bool:
    """Run a new process until all is done; False when it was stopped before."""
    broker.steps, broker.stop_at = 0, stop_at
    app = twin.Application(broker, PARTITIONS)
    case.build(app, broker, database)
    CLOCK.now = NOW
    try:
        asyncio.run(app.run(CLOCK.later))
    except twin.Stopped:
        return False
    return True


def fresh(case: Case) -> tuple[twin.Broker, twin.Database]:
    broker = twin.Broker()
    case.given(broker)
    return broker, twin.Database(broker)


def stops(steps: int) -> Iterator[int]:
    """Every step of a short run; of a long one, the first and the last hundred, and some in between."""
    yield from (step for step in range(1, steps + 1) if step <= 60 or step > steps - 60 or step % 7 == 0)


def with_copies(given: Callable[[twin.Broker], None]) -> Callable[[twin.Broker], None]:
    """What a stage is given when the one before it was killed again and again, and sent what it was sending once more."""

    def fill(broker: twin.Broker) -> None:
        given(broker)
        for log in broker.topics.values():
            log[:] = [record for first in range(0, len(log), 9) for record in 2 * log[first : first + 9]]

    return fill


@pytest.mark.parametrize("name", ["merge", "store", "cases", "surveys", "relate"])
def test_what_the_stage_before_sends_again_counts_once(name: str) -> None:
    case = STAGES[name]
    broker, database = fresh(case)
    assert run(case, broker, database, None)
    expected = case.results(broker, database)
    again = case._replace(given=with_copies(case.given))
    for first in (None, 3):
        (broker, database), stop = fresh(again), first
        while not run(again, broker, database, stop):
            stop = (stop or 0) + 5
        found = case.results(broker, database)
        of_offsets = name in {"merge", "store"}
        pairs = [results[: len(results) - of_offsets] for results in (found, expected)]
        if name == "merge":  # parts of a minute are named by offsets
            pairs = [(Counter((*key[:3], row) for key, row in minutes.items()), *rest) for minutes, *rest in pairs]
        assert pairs[0] == pairs[1], differences(*pairs)


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_stopped_before_any_step_ends_with_the_same_results(name: str) -> None:
    case = STAGES[name]
    broker, database = fresh(case)
    assert run(case, broker, database, None)
    expected, steps = case.results(broker, database), broker.steps
    assert steps > 20, "the run has something to stop in"
    for stop in stops(steps):
        broker, database = fresh(case)
        assert not run(case, broker, database, stop)
        assert run(case, broker, database, None)
        found = case.results(broker, database)
        assert found == expected, f"stopped before step {stop} of {steps}: {differences(found, expected)}"


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_stopped_again_and_again_gets_through(name: str) -> None:
    case = STAGES[name]
    broker, database = fresh(case)
    assert run(case, broker, database, None)
    expected = case.results(broker, database)
    broker, database = fresh(case)
    stop = 3
    while not run(case, broker, database, stop):
        stop += 5
    assert case.results(broker, database) == expected
