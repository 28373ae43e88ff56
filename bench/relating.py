"""
What relations cost: `python -m bench.relating`.

Each of many customers looks at pages, fills a cart and has a matter closed, so that several relations wait for something
of them. Told are the CPU time per event, the memory and the changelog that this takes, and how long it takes to restore.
"""

import argparse
import resource
import time
from collections.abc import Iterator

import msgspec

from streams.events.decode import decode_one
from streams.events.types import Envelope
from streams.relations.catalogue import Relations, load
from streams.relations.facts import Fact, moment_of
from streams.relations.partition import RelationsPartition
from streams.relations.ranges import FactRange
from streams.shipped import RELATIONS

START_MS = 1_777_000_000_000
RANGE = 1_000
DOINGS = (
    ("cx.page.viewed", {"page": "home"}),
    ("cx.product.viewed", {"product": "p"}),
    ("cx.cart.added", {}),
    ("cx.contact.closed", {"topic": "billing"}),
)


def facts_of(relations: Relations, customers: int, rate: float) -> Iterator[tuple[str, Fact]]:
    """Yield the facts of all customers, one doing after the other, so many a second of event time."""
    for number in range(customers * len(DOINGS)):
        kind, data = DOINGS[number // customers]
        raw = {"specversion": "1.0", "id": str(number), "source": "bench", "type": kind, "data": data, "channel": "web"}
        raw |= {
            "time": moment_of(START_MS + int(number / rate * 1000)).isoformat(),
            "subject": f"c-{number % customers}",
        }
        event = decode_one(msgspec.json.encode(raw))
        if isinstance(event, Envelope) and (fact := relations.reader.fact(event)):
            yield event.subject, fact


def main() -> None:
    """Run it and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.relating", description=__doc__)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=30.0, help="event time that it all takes (%(default)s)")
    parser.add_argument("--only", default="", help="ids of relations with commas between; all if empty")
    chosen = parser.parse_args()
    relations = load([RELATIONS])
    relations = relations.only(chosen.only.split(",")) if chosen.only else relations
    state, changelog = RelationsPartition(relations, idle_s=1e9, grace_s=0.0), {}
    rate = chosen.customers * len(DOINGS) / chosen.minutes / 60
    facts, taken, spent, results = facts_of(relations, chosen.customers, rate), 0, 0.0, 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while lot := [one for _, one in zip(range(RANGE), facts, strict=False)]:
        began = time.process_time()
        watermark = lot[-1][1].time / 1000 - 60
        state.take(FactRange("web/0", taken, taken + len(lot) - 1, watermark, True, lot), taken)
        taken += len(lot)
        if state.begin(2e9) is not None:
            records = [state.step_record()]
            for advance in state.advances():
                results += len(advance.results)
                records.append(state.save(advance))
            records += [state.end(), *state.compaction(), *state.superseded()]
            for key, value in records:
                changelog.pop(key, None) if value is None else changelog.__setitem__(key, value)
        spent += time.process_time() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    customers = state.customers
    print(
        f"{len(relations)} relations, {taken:,} events, {results:,} results: {1e6 * spent / taken:.0f} µs CPU per event"
    )
    print(f"{customers.count:,} customers, {customers.size / customers.count:.0f} bytes each")
    print(f"resident memory {before // 1024} to {after // 1024} MiB, which the held events are part of")
    print(f"changelog {sum(map(len, changelog.values())) / 2**20:.1f} MiB in {len(changelog)} records")
    began = time.process_time()
    RelationsPartition(relations).restore(changelog.items())
    print(f"restored in {time.process_time() - began:.1f} s CPU")


if __name__ == "__main__":
    main()
