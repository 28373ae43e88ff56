"""
No record costs more than ten good ones of its size, counted in calls: what seconds would say depends on the machine.

`python -m bench.hostile` measures the same shapes in CPU time.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from streams.kpis.catalogue.catalogue import Catalogue
from tests.harness.hostile import SHAPES, Make, Worker, padded, warm

COUNT = 200
MOST = 10


@pytest.fixture(scope="module")
def worker() -> Worker:
    """A worker whose channel has no credit left for new labels, as after the first second of a flood."""
    found = warm(Catalogue.load())
    found.folder._credits["web"] = 0.0
    return found


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the calls of Python and C functions."""
    calls: Counter[str] = Counter()

    def note(_frame: object, event: str, _arg: object) -> None:
        calls[event] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def calls_of(worker: Worker, values: Sequence[bytes]) -> int:
    with counted() as calls:
        worker.take(values)
    return calls["call"] + calls["c_call"]


def made(make: Make, first: int) -> list[bytes]:
    chance = random.Random(first)
    return [make(first + n, chance) for n in range(COUNT)]


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_a_record_costs_no_more_than_ten_good_ones(worker: Worker, shape: str) -> None:
    first = 10_000_000 + 10_000 * list(SHAPES).index(shape)
    hostile = made(SHAPES[shape], first)
    size = sum(map(len, hostile)) // COUNT
    usual = made(lambda number, chance: padded(number, chance, size), first + 5_000)
    good = calls_of(worker, usual)
    assert calls_of(worker, hostile) <= MOST * good


@pytest.mark.slow
def test_a_flood_of_labels_stays_bounded(worker: Worker) -> None:
    """Rows and series, not seconds: what 20,000 events with invented labels leave behind."""
    before, series = worker.folder.remembered, len(worker.merge.registry.names)
    for round_ in range(20):
        worker.take(made(SHAPES["invented labels"], 50_000_000 + 1_000 * round_) * 5)
    assert worker.folder.remembered - before < 20 * COUNT
    assert len(worker.merge.registry.names) - series < 20 * COUNT * 3
    assert worker.folder.take_overflowed() > 0
    assert worker.merge.registry.reserved <= worker.merge.registry.capacity
