"""The edges of the queue: filters, what is soon over, how many are shown, and what counts."""

from dataclasses import replace

import msgspec
import pytest

from streams.board.queue import _LONGEST, SHOWN, SOON_MS, CaseNames, CaseView
from streams.events.touchpoints import load_touchpoints
from streams.loop.reading import load_rules
from streams.loop.rows import CaseRow
from streams.loop.urgency import Scored, Urgency
from streams.shipped import CASES
from tests.harness.queue import HOUR, rows_of, unhappy_customers

NOW = 1_777_883_400_000
NAMES = CaseNames(load_rules([CASES]), load_touchpoints())


@pytest.fixture(scope="module")
def row() -> CaseRow:
    return rows_of(unhappy_customers(1, NOW))[0]


def changed(row: CaseRow, **values: object) -> CaseRow:
    return msgspec.structs.replace(row, **values)


@pytest.mark.parametrize(
    ("view", "state", "missed", "taken"),
    [
        ("missed", "open", ["contact"], True),
        ("missed", "waiting", ["contact"], True),
        ("missed", "closed", ["contact"], False),
        ("missed", "open", [], False),
        ("waiting", "waiting", [], True),
        ("waiting", "open", [], False),
        ("closed", "closed", [], True),
        ("closed", "open", [], False),
        ("open", "waiting", [], True),
    ],
)
def test_a_state_takes_what_it_names(row: CaseRow, view: str, state: str, missed: list[str], *, taken: bool) -> None:
    assert CaseView(state=view).takes(changed(row, state=state, missed=missed)) is taken


def test_what_is_chosen_is_cut_and_a_story_has_an_address_of_its_own() -> None:
    view = CaseView.of({"owner": "x" * (_LONGEST + 1), "cause": "y" * _LONGEST}, event="t/0/7")
    assert (len(view.owner), len(view.cause)) == (_LONGEST, _LONGEST)
    assert CaseView(event="a b/0/7", lang="fa").link() == "/customers/a%20b/0/7?lang=fa"
    assert CaseView(case_id="k").sign_in() == "/sign-in?lang=en&next=%2Fcases%2Fk"


def test_no_more_than_so_many_are_shown_and_the_rest_is_counted(row: CaseRow) -> None:
    ranked = NAMES.rank([changed(row, case_id=f"k{number}") for number in range(SHOWN)], NOW / 1000)
    assert NAMES.queue(ranked, CaseView(), NOW / 1000).more == 0
    queue = NAMES.queue([*ranked, ranked[0]], CaseView(), NOW / 1000)
    assert (len(queue.lines), queue.total, queue.more) == (SHOWN, SHOWN + 1, 1)


def test_soon_is_what_the_cause_says_and_else_two_hours(row: CaseRow) -> None:
    warned = replace(NAMES.rules.causes[row.cause], warns_ms=HOUR)
    names = CaseNames(replace(NAMES.rules, causes={row.cause: warned}), {})
    for cause, soon in ((row.cause, HOUR), ("of another", SOON_MS)):
        for left, level in ((soon, "soon"), (soon + 1, "later"), (0, "soon"), (-1, "over")):
            one = changed(row, cause=cause, contact_due=NOW + left, close_due=NOW + 90 * HOUR, contacted=None)
            assert names.line(one, CaseView(), NOW / 1000).due.level == level, (cause, left)


def test_the_clock_is_that_which_ends_next(row: CaseRow) -> None:
    due = NOW + HOUR
    open_ = changed(row, contact_due=due, close_due=due + HOUR, contacted=None)
    assert NAMES.line(open_, CaseView(), NOW / 1000).due.clock == "contact"
    assert NAMES.line(changed(open_, contacted=NOW), CaseView(), NOW / 1000).due.clock == "close"
    both = changed(open_, contacted=NOW, close_due=due)
    assert NAMES.line(both, CaseView(), NOW / 1000).due.clock == "close", "they end at the same moment"


def test_parts_that_are_shown_as_nothing_do_not_count_and_the_largest_come_first(row: CaseRow) -> None:
    parts = (
        Scored("a", 0.04, True, ""),
        Scored("b", -0.05, True, ""),
        Scored("c", 2.04, True, ""),
        Scored("d", -3.0, False, "x"),
    )
    [line] = NAMES.queue([(row, Urgency(1.96, parts))], CaseView(), NOW / 1000).lines
    assert [(one.name, one.points, one.counts) for one in line.parts] == [
        ("d", "−3", True), ("c", "2", True), ("b", "−0.1", True), ("a", "0", False),
    ]  # fmt: skip
    assert line.parts[0].text == "not known"
    assert line.urgency == "2"
