"""The product's values against those that plain Python gives from the same lines of JSON."""

import math
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streams.events.decode import decode_batch
from streams.kpis.aggregators import AGGREGATORS, measure
from streams.kpis.arithmetic.accumulators import Acc, merge_acc
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Folder
from streams.producers.readers import read
from streams.producers.simulator import Plan, emissions
from tests.harness.plain import ONE_OF_EACH, PLAIN, lines_of

KPIS = {kpi.id: kpi for kpi in (*Catalogue.load(), *Catalogue.parse(ONE_OF_EACH))}
DATA = os.environ.get("CX_DATA")


def hour() -> list[bytes]:
    """What a simulated company sends from ten to eleven."""
    plan = Plan(start=datetime(2026, 3, 17, 10, tzinfo=UTC), rate=4.0)
    sent, until = [], plan.start.timestamp() + 3600
    for emission in emissions(plan):
        if emission.due >= until:
            return sent
        sent.append(emission.payload)
    raise AssertionError("a plan has no end")


def compare(payloads: list[bytes]) -> set[str]:
    """Hold every KPI against plain Python; return the aggregators of which there was anything to compare."""
    events, _ = decode_batch(payloads)
    once = {event.id: event for event in events if event is not None}
    sums: dict[str, Acc] = {kpi: AGGREGATORS[KPIS[kpi].aggregator].empty() for kpi in PLAIN}
    for series in Folder([KPIS[kpi] for kpi in PLAIN]).fold([*once.values()]).values():
        for kpi in sums.keys() & series.keys():
            merge_acc(sums[kpi], series[kpi])
    valid = set(once)
    lines = [line for line in lines_of(payloads) if line["id"] in valid]
    met = set()
    for id_, figure_of in PLAIN.items():
        kpi, figure = KPIS[id_], figure_of(lines)
        q = kpi.quantiles[0] if kpi.quantiles else 0.5
        value, n, *_ = measure(kpi.aggregator, sums[id_], kpi.scale, unit=kpi.unit, q=q)
        assert n == figure.n, id_
        assert (value is None) == (figure.value is None), id_
        if value is not None and figure.value is not None:
            assert math.isclose(value, figure.value, rel_tol=figure.tolerance, abs_tol=1e-9), id_
            met.add(kpi.aggregator)
    return met


def test_there_is_a_plain_figure_for_every_aggregator() -> None:
    """Whoever adds an aggregator adds one."""
    assert {KPIS[kpi].aggregator for kpi in PLAIN} == set(AGGREGATORS)


@pytest.mark.slow
def test_a_simulated_hour_comes_to_the_same_in_plain_python() -> None:
    """No module of the product has a part in it but those that are tested."""
    assert compare(hour()) == set(AGGREGATORS)


@pytest.mark.skipif(DATA is None, reason="CX_DATA names no folder of data sets")
def test_recorded_baskets_come_to_the_same_in_plain_python() -> None:
    """Events that nobody made for this test: receipts of a bakery."""
    assert DATA is not None
    assert compare([touch.value for touch in read("breadbasket", Path(DATA))])
