"""What series, and what alerts remember of them, take of the memory that is reckoned with."""

from __future__ import annotations

import gc
import tracemalloc
from operator import itemgetter

import pytest

from streams.alerts.judging.judge import Judge
from streams.alerts.judging.machine import Instance
from streams.alerts.judging.watch import bytes_of_series
from streams.alerts.rules.parsing import parse_rules
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.partials import Partial, decode_partial, encode_partial
from streams.kpis.language.series import series_key
from streams.kpis.rolling.admission import SERIES_BYTES, SeriesLimits
from streams.kpis.rolling.merge import MergeState

ALL = 1 << 40


def unit(name: object) -> str:
    return series_key("csat", (("unitid", str(name)),))


class Growing:
    """A closed minute with so many series of a KPI."""

    minute = 1_000

    def __init__(self, count: int) -> None:
        self.keys = [unit(f"{n:05d}") for n in range(count)]

    def series(self, kpi: str) -> list[str]:
        return self.keys if kpi == "csat" else []


def test_what_a_judge_remembers_is_reckoned_with() -> None:
    """Half of it at least, and never more."""
    text = "groups:\n- name: g\n  rules:\n" + "".join(
        f"  - {{alert: Low{n}, kpi: csat, by: [unitid], method: floor, params: {{target: 70}}, window: 15m, severity: ticket,"
        " owner: o, annotations: {summary: s}}\n"
        for n in range(2)
    )  # fmt: skip
    rules = parse_rules(text, Catalogue.load())
    judge, view = Judge(rules), Growing(500)
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        judge._grow(view)  # type: ignore[arg-type]
        for watch in judge._watches:
            for subject in watch.subjects.values():
                subject.instance = Instance(state="pending")
                judge._store.put(watch.rule.alert, subject.key, subject.chunk, subject.instance)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    reckoned = 500 * bytes_of_series(rules)(("csat", ("unitid",)))
    assert judge.instances == 1_000
    assert 0.4 < taken / reckoned < 1, (taken / 500, reckoned / 500)


def filled(acc: Acc, count: int) -> MergeState:
    """A state with so many series in all windows."""
    state = MergeState(grace_s=0, idle_s=1e9, limits=SeriesLimits(lambda _kpi: ALL, ALL))
    for number in range(2):
        deltas = {1000: {unit(f"{n:04d}"): acc.copy() for n in range(count)}}
        sent = Partial(source="web/0", first=number, last=number, watermark=60_060.0, caught_up=True, deltas=deltas)
        state.apply(decode_partial(encode_partial(sent)), number)
        state.dirty_records()
        state.drain_outputs(61_000.0 + 10 * number)
        state.marker()
    return state


def memory_of(acc: Acc, count: int) -> tuple[int, MergeState]:
    """Return the bytes that a state with so many series takes, and the state."""
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        state = filled(acc, count)
        series_key.cache_clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before, state
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("acc", [[1], [2, 1], {7: 1}, dict.fromkeys(range(200), 1)], ids=["1", "2", "bin", "bins"])
def test_series_take_the_memory_that_is_reckoned_with(acc) -> None:
    """Between a third less and a third more, in all windows."""
    filled(acc, 10)  # what is made once
    count = 500
    # Others in the process, whose threads may still run, take memory as well: the least of three is ours.
    taken, state = min((memory_of(acc, count) for _ in range(3)), key=itemgetter(0))
    found, _ = state._windows.open.weighed()
    reckoned = sum(one.cost for one in found.values())
    assert len(found) == count
    assert 0.66 < taken / reckoned < 1.33, (taken / count, reckoned / count)
    assert taken / count > SERIES_BYTES
