"""Aggregators: each is one module, says all of itself, and a level goes on where windows end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.kpis import aggregators
from streams.kpis.aggregators import AGGREGATORS, LASTING, measure
from streams.kpis.arithmetic.accumulators import Acc, add_all, cleared, is_empty, merge_acc, negated
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.blocks import CatalogueError
from streams.kpis.language.lengths import TOTAL
from streams.kpis.rolling.pages import Pages
from streams.kpis.rolling.windows import Windows
from streams.storage.steps_view import steps_view

ROOT = Path(__file__).parents[2]
FIELD = st.integers(-(1 << 90), 1 << 90)
ACC = {
    name: st.lists(FIELD, min_size=len(kind.fields), max_size=len(kind.fields))
    if kind.fields
    else st.dictionaries(st.integers(-1, 1837), st.integers(1, 1 << 40), max_size=8)
    for name, kind in AGGREGATORS.items()
}
LEVEL = """
- {id: inside, name: n, question: q, unit: count, direction: none, class: A, aggregator: level, formula: f, source: s,
   owner: o, groupings: [[]], of: {events: cx.store.visitor_entered}, minus: %s}
"""


def test_every_aggregator_is_one_module_named_after_it() -> None:
    """Whoever looks for one finds it, and one that is added is found."""
    modules = {path.stem for path in Path(aggregators.__path__[0]).glob("*.py")} - {"__init__", "base"}
    assert modules == set(AGGREGATORS)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_an_aggregator_is_empty_until_something_is_added(name: str) -> None:
    """Of nothing there is no value, and a stored row of nothing is no accumulator."""
    kind = AGGREGATORS[name]
    assert is_empty(kind.empty())
    assert measure(name, kind.empty()) == (None, 0, None, None)
    assert kind.stored([0] * len(kind.fields), {}) is None
    assert kind.stored([1] * (len(kind.fields) + 1), {}) is None


@pytest.mark.parametrize("name", AGGREGATORS)
@given(data=st.data())
def test_what_is_taken_back_leaves_no_trace_whatever_comes_first(name: str, data: st.DataObject) -> None:
    """A negated accumulator may be merged before the one that it takes back, in bins too."""
    one, other = data.draw(ACC[name]), data.draw(ACC[name])
    for order in ((one, other, negated(one)), (negated(one), other, one), (other, negated(one), one)):
        into: Acc = cleared(one)
        for acc in order:
            merge_acc(into, acc)
        assert into == other


def test_the_view_in_the_store_is_the_one_that_the_aggregators_make() -> None:
    """Write it with `cx kpis docs`."""
    assert (ROOT / "sql/views/kpi_steps.sql").read_text(encoding="utf-8") == steps_view()


@pytest.mark.parametrize(
    ("acc", "value"),
    [([3, 2_000, 3], 2.0), ([0, 2_000, 3], 2.0), ([0, 0, 2], 0.0), ([1, -500, 1], -0.5), ([0, 0, 0], None)],
)
def test_a_level_has_a_value_once_anything_changed_it(acc: list[int], value: float | None) -> None:
    """Also in a window without a change, and when it is back at nothing."""
    assert measure("level", acc) == (value, acc[0], None, None)


@pytest.mark.parametrize(
    ("minus", "problem"),
    [
        ("{where: people > 1}", "what takes away are events of their own"),
        ("{}", "what takes away are events of their own"),
    ],
)
def test_a_level_needs_events_that_take_away(minus: str, problem: str) -> None:
    """Else it would only grow."""
    with pytest.raises(CatalogueError, match=problem):
        Catalogue.parse(LEVEL % minus)


def test_a_second_selector_belongs_to_its_aggregators() -> None:
    """`minus` to a level, `hits` to ratios and shares; each says so for the other."""
    right = LEVEL % "{events: cx.store.visitor_left}"
    assert Catalogue.parse(right)["inside"].hits is not None
    with pytest.raises(CatalogueError, match="'minus' belongs to a level, not to count"):
        Catalogue.parse(right.replace("aggregator: level", "aggregator: count"))
    with pytest.raises(CatalogueError, match="'hits' belongs to a ratio or share, not to level"):
        Catalogue.parse(right.replace("minus:", "hits:"))
    with pytest.raises(CatalogueError, match="'minus' is missing: a level says what takes away"):
        Catalogue.parse(right.replace(", minus: {events: cx.store.visitor_left}", ""))


class Walk:
    """Minutes of one level and one sum, added to pages and to windows that move along."""

    def __init__(self) -> None:
        self.pages = Pages()
        self.windows = self.fresh()
        self.changes: dict[int, list[int]] = {}

    @staticmethod
    def fresh() -> Windows:
        return Windows(("1m", "3m"), lasting={0})

    def add(self, minute: int, change: int) -> None:
        contributions: list[tuple[int, Acc]] = [(0, [1, change, 1]), (1, [1, change, 1])]
        page = self.pages.at(minute, 0, 0)
        add_all(page.open(), contributions)
        page.dirty = True
        self.changes.setdefault(minute, []).append(change)
        if self.windows.as_of is not None and minute <= self.windows.as_of:
            self.windows.add([(minute, contributions)])

    def expected(self, length: int | None, as_of: int) -> list[int]:
        """Say what a window of so many minutes holds of the level, from the changes alone."""
        before = [c for minute, found in self.changes.items() if minute <= as_of for c in found]
        inside = sum(
            len(found) for m, found in self.changes.items() if m <= as_of and (not length or m > as_of - length)
        )
        return [inside, sum(before), len(before)]

    def held(self, windows: Windows, window: str) -> list[int]:
        acc = windows.sums(window).get(0, [0, 0, 0])
        assert type(acc) is list
        return acc


STEPS = st.lists(st.tuples(st.integers(0, 12), st.integers(-3, 3), st.integers(0, 4)), max_size=25)


@given(STEPS)
def test_a_level_is_in_all_windows_whatever_comes_late(steps: list[tuple[int, int, int]]) -> None:
    """Moving along, in leaps, with late changes, or begun anew: the level is that of all changes up to the minute."""
    walk, now = Walk(), 100
    walk.windows.start(now, walk.pages, {}, 2)
    for ago, change, onward in steps:
        walk.add(now - ago, change)
        if onward:
            now += onward
            walk.windows.advance(now, walk.pages)
        anew = walk.fresh()
        anew.start(now, walk.pages, {}, 2)
        for window, length in (("1m", 1), ("3m", 3), (TOTAL, None)):
            assert walk.held(walk.windows, window) == walk.expected(length, now)
            assert walk.held(anew, window) == walk.expected(length, now)


def test_a_late_change_publishes_the_level_of_windows_that_have_passed_it() -> None:
    """What readers see of a short window would be wrong for ever; a sum is published where it belongs."""
    walk = Walk()
    walk.windows.start(100, walk.pages, {}, 2)
    walk.add(90, 5)
    published = {window: dict(settled) for window, settled in walk.windows.touched()}
    assert published == {
        "1m": {0: [0, 5, 1]}, "3m": {0: [0, 5, 1]}, TOTAL: {0: [1, 5, 1], 1: [1, 5, 1]},
    }  # fmt: skip


def test_levels_are_known_to_last() -> None:
    """By the store too; only those with fields can."""
    assert frozenset({"level"}) == LASTING
    assert all(AGGREGATORS[name].fields for name in LASTING)
    assert "any(aggregator) IN ('level')" in (ROOT / "sql/views/kpi_sums.sql").read_text(encoding="utf-8")
