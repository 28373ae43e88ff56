"""Customers on pages: wherever they are, what was put is there, and who needs a step is found."""

import random
from collections.abc import Iterable

import cramjam
import msgspec
import pytest

from streams.relations import customers as module
from streams.relations import pages
from streams.relations.customers import Customers
from streams.relations.journal import CustomerPart, RelationStep, StepMarker, marker_record, part_record, read_back
from streams.relations.pages import Kept


def restored(customers: Customers, records: Iterable[tuple[bytes, bytes]]) -> int:
    """Have all at once what is taken over a little at a time; return in how many turns."""
    return sum(1 for _ in customers.restore(read_back(records)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_customers_are_what_was_put(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random states over many steps, with room for a few, and a new owner now and then."""
    monkeypatch.setattr(module, "BUCKETS", 4)
    monkeypatch.setattr(module, "MOST_BYTES", 20_000)
    monkeypatch.setattr(module, "LEAST", 1_000)
    monkeypatch.setattr(module, "RESTORED_BYTES", 2_000)
    monkeypatch.setattr(pages, "_BYTES", 500)
    chance, known, changelog = random.Random(seed), dict[str, Kept](), dict[bytes, bytes]()
    customers, now = Customers(), 0
    for step in range(1, 120):
        now += chance.randrange(50)
        due = {subject for subject, (_, at) in known.items() if at is not None and at <= now}
        wakes = customers.wakes_at()
        assert not due or (wakes is not None and wakes <= now)
        assert customers.due(now) == due
        touched = due | {f"c-{chance.randrange(300)}" for _ in range(12)}
        part = CustomerPart(step, [])
        for subject in sorted(touched):
            assert customers.get(subject) == known.get(subject, (b"", None))[0]
            state = bytes(chance.choices(b"abc", k=chance.randrange(200))) if chance.random() < 0.8 else b""
            kept = (state, now + 1 + chance.randrange(400) if state and chance.random() < 0.7 else None)
            customers.put(subject, kept, step)
            part.customers.append((subject, kept))
            known[subject] = kept
        key, value = part_record(0, part)
        customers.saved(key, step, len(value))
        changelog |= dict([(key, value), marker_record(StepMarker(RelationStep(number=step)))])
        changelog |= dict(customers.bucket_records(step))
        for gone, _ in customers.superseded(step):
            del changelog[gone]
        assert customers.count == sum(bool(state) for state, _ in known.values())
        assert sorted(customers.states()) == sorted(state for state, _ in known.values() if state)
        if chance.random() < 0.1:
            customers = Customers()
            rewrites = chance.random() < 0.5
            for changes in customers.restore(read_back([*changelog.items()]), rewrites=rewrites):
                changelog |= dict(changes)
            for gone, _ in customers.superseded(step):
                del changelog[gone]
    assert len(changelog) < 100


def test_customers_who_wait_take_little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """On pages the words that are the same in all of them are there once."""
    monkeypatch.setattr(module, "MOST_BYTES", 100_000)
    customers = Customers()
    for number in range(5_000):
        state = f"opened by {number}: " + "what most of the states of customers say as well" * 10
        customers.put(f"c-{number}", (state.encode(), number), 1)
    assert customers.count == 5_000
    assert customers.size < 5_000 * 100 + 100_000


def test_others_have_their_turn_while_many_are_taken_over() -> None:
    """An event loop must not stand still for as long as a million customers take."""
    lots = [[(f"c-{lot}-{one}", (b"state", 50)) for one in range(100)] for lot in range(10)]
    parts = [part_record(number, CustomerPart(3, lot)) for number, lot in enumerate(lots)]
    customers = Customers()
    assert restored(customers, [*parts, (b"m", msgspec.msgpack.encode(StepMarker(RelationStep(number=3))))]) > len(
        parts
    )
    assert (customers.count, len(customers.due(50))) == (1_000, 1_000)


def test_buckets_that_were_packed_whole_are_read() -> None:
    """So they were written before there were pages."""
    subject = next(f"c-{n}" for n in range(10_000) if pages.hash_of(f"c-{n}") % module.BUCKETS == 7)
    former = cramjam.zstd.compress(msgspec.msgpack.encode(CustomerPart(3, [(subject, (b"state", 50))])), 1)
    customers = Customers()
    marker = StepMarker(RelationStep(number=3))
    restored(customers, [(b"b/7", bytes(former)), (b"m", msgspec.msgpack.encode(marker))])
    assert (customers.count, customers.get(subject)) == (1, b"state")
    assert (customers.wakes_at(), customers.due(50)) == (50, {subject})


def test_what_is_taken_over_is_saved_again_in_half_the_room() -> None:
    """What was saved since the buckets were written would be there twice, as it was saved and on pages."""
    chance = random.Random(0)
    state = {n: (bytes(chance.choices(b"abcd", k=300)), n) for n in range(600)}
    lots = [[(f"c-{n}", state[n]) for n in range(600) if n % 3 == lot] for lot in range(3)]
    records = dict(part_record(0, CustomerPart(step, lot)) for step, lot in enumerate(lots, 4))
    records |= [marker_record(StepMarker(RelationStep(number=5)))]
    parts = [*records]

    def owner(*, dies_after: int | None) -> Customers:
        customers = Customers()
        for number, changes in enumerate(customers.restore(read_back([*records.items()]), rewrites=True)):
            if number == dies_after:
                break
            records.update(changes)
        return customers

    for dies_after in (40, 170, None):
        customers = owner(dies_after=dies_after)
    assert sorted(customers.states()) == sorted(one for one, _ in state.values())
    for key, _ in customers.superseded(5):
        del records[key]
    assert [key for key in parts if key in records] == [b"p/6/0", b"m"], "its step may go on"
    again = Customers()
    assert not any(again.restore(read_back([*records.items()]), rewrites=False))
    assert sorted(again.states()) == sorted(one for one, _ in state.values())
