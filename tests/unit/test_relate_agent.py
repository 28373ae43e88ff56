"""What the relate stage costs when much waits."""

import asyncio
from types import SimpleNamespace

import pytest
from faust.types import TP

from streams.agents import relate
from streams.agents.relate import Relate
from streams.engine.batch import RecordBatch
from streams.engine.names import Topics
from streams.engine.stage import Step
from streams.relations.catalogue import load as load_relations
from streams.relations.facts import Fact
from streams.relations.partition import RelationsPartition
from streams.relations.ranges import FactRange, encode_range
from streams.settings import load
from streams.shipped import RELATIONS as SHIPPED
from tests.harness import twin

TOPICS = Topics("cx")
RELATIONS = load_relations([SHIPPED]).only({"cart"})
START_MS = 1_772_359_200_000
BATCHES = 60
SILENT = ("app", "store", "call_center")


def test_what_waits_is_looked_through_once_a_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many batches wait with it: while a source is behind there are more and more of them."""
    looks: list[int] = []
    complete = RelationsPartition.complete.fget
    assert complete is not None

    def counted(state: RelationsPartition) -> int:
        looks.append(state.held)
        return int(complete(state))

    monkeypatch.setattr(RelationsPartition, "complete", property(counted))
    monkeypatch.setattr(relate, "BATCHES_AT_ONCE", BATCHES + 9)
    broker = twin.Broker()
    app = twin.Application(broker, 1)
    stage = Relate(app, load(environ={}, partitions=1), TOPICS, RELATIONS)  # type: ignore[arg-type]
    asyncio.run(app.begin())

    def take(offset: int, one: FactRange) -> None:
        asyncio.run(stage.take(RecordBatch(TOPICS.facts, 0, [encode_range(one)], range(offset, offset + 1))))

    take(0, FactRange("app/0", 0, -1, START_MS / 1000, False))  # it is behind, and all others wait for it
    take(1, FactRange("store/0", 0, -1, START_MS / 1000 + 1e6, True))
    take(2, FactRange("call_center/0", 0, -1, START_MS / 1000 + 1e6, True))
    for n in range(BATCHES):
        fact = Fact(START_MS + 1_000 * n, "/s", f"e{n}", "cx.cart.added", {})
        take(n + 3, FactRange("web/0", n, n, START_MS / 1000 + 1e6, True, [(f"c{n}", fact)]))
    asyncio.run(stage.flush())
    assert looks == [BATCHES]
    assert broker.committed[TP(TOPICS.facts, 0)] == 3, "only what tells of watermarks alone is not needed"
    take(BATCHES + 3, FactRange("app/0", 0, -1, START_MS / 1000 + 30, True))
    asyncio.run(stage.flush())
    assert looks == [BATCHES, BATCHES - 30]
    assert broker.committed[TP(TOPICS.facts, 0)] == 33, "of 30 facts all is derived; the next one waits"


def test_partitions_and_customers_wait_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """History is read in many steps: one wait for each customer, or each partition, would be most of its time."""
    waits: list[str] = []
    perform = Relate.perform

    async def counted(stage: Relate, generation: int, step: Step) -> None:
        waits.append(type(step).__name__)
        await perform(stage, generation, step)

    monkeypatch.setattr(Relate, "perform", counted)
    broker = twin.Broker()
    app = twin.Application(broker, 2)
    stage = Relate(app, load(environ={}, partitions=2), TOPICS, RELATIONS)  # type: ignore[arg-type]
    asyncio.run(app.begin())
    for partition in range(2):
        facts = [
            (f"c{n}", Fact(START_MS + 43_200_000 * half + n, "/s", f"e{half}-{n}", "cx.cart.added", {}))
            for half in range(3)
            for n in range(250)
        ]
        ranges = [FactRange(f"web/{partition}", 0, len(facts) - 1, START_MS / 1000 + 2e5, True, facts)]
        ranges += [FactRange(f"{other}/{partition}", 1, 0, START_MS / 1000 + 2e5, True) for other in SILENT]
        for offset, one in enumerate(ranges):
            batch = RecordBatch(TOPICS.facts, partition, [encode_range(one)], range(offset, offset + 1))
            asyncio.run(stage.take(batch))
    asyncio.run(stage.flush())
    ended = [value for value in broker.values(TOPICS.derived) if b"abandoned" in value]
    assert len(ended) == 2 * 3 * 250
    steps = [name for name in waits if name != "Done"]
    assert len(steps) < 25, "at most four for a step, of which there are a few; 1,500 customers are in them"


def test_history_is_gathered_for_large_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it, and a customer is unpacked and saved for several events at once; live it is another thing."""
    now, times = START_MS / 1000 + 86_400, SimpleNamespace(steady=100.0)
    monkeypatch.setattr(relate.time, "time", lambda: now + times.steady)
    monkeypatch.setattr(relate, "steady", lambda: times.steady)
    app = twin.Application(twin.Broker(), 1)
    stage = Relate(app, load(environ={}, partitions=1), TOPICS, RELATIONS)  # type: ignore[arg-type]
    asyncio.run(app.begin())

    def read(offset: int, source: str, *, caught_up: bool) -> None:
        fact = Fact(START_MS + offset, "/s", f"e{offset}", "cx.cart.added", {})
        one = FactRange(f"{source}/0", offset, offset, START_MS / 1000, caught_up, [(f"c{offset}", fact)])
        asyncio.run(stage.take(RecordBatch(TOPICS.facts, 0, [encode_range(one)], range(offset, offset + 1))))

    def due(after_s: float) -> bool:
        times.steady += after_s
        return stage.is_due(times.steady)

    for offset, source in enumerate(("web", *SILENT)):
        read(offset, source, caught_up=False)
    assert (due(0.05), due(0.06)) == (False, True), "a tenth of a second after the first"
    asyncio.run(stage.flush())
    for offset in range(4, 4 + 2 * relate.BATCHES_AT_ONCE):
        read(offset, "web", caught_up=False)
    assert (due(1.0), due(0.9), due(0.1)) == (False, False, True)
    asyncio.run(stage.flush())
    read(90, "web", caught_up=False)
    monkeypatch.setattr(relate, "MOST_TAKEN", 3)
    assert due(1.0), "as many wait as a step takes"
    monkeypatch.setattr(relate, "MOST_TAKEN", 10_000)
    assert not due(0.1)
    for offset, source in enumerate(("web", *SILENT), 100):
        read(offset, source, caught_up=True)
    assert due(0.0), "they are no history any more"
