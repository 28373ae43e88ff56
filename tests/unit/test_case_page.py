"""The case page without a browser: what is chosen, in what order, how near clocks are, and in which words."""

import time
from typing import Any

import msgspec
import pytest

from streams.board.casepages import CasePages
from streams.board.casewatch import CaseWatch, KnownCases
from streams.board.queue import NOBODY, SHOWN, CaseNames, CaseView, choices
from streams.board.store import BoardStore
from streams.events.touchpoints import load_touchpoints
from streams.kpis.language.steps import Steps
from streams.loop.case import MOVES, PREFIX
from streams.loop.reading import load_rules
from streams.loop.rows import CaseRow, Happening
from streams.loop.writes import _REFUSED, done
from streams.relations.facts import Fact
from streams.shipped import CASES
from streams.storage.connection import Address, UnreachableError
from streams.wording.case_texts import in_persian
from tests.harness.queue import HOUR, rows_of, unhappy_customers

NOW = 1_777_883_400_000
NAMES = CaseNames(load_rules([CASES]), load_touchpoints())


@pytest.fixture(scope="module")
def rows() -> list[CaseRow]:
    return rows_of(unhappy_customers(8, NOW))


def rendered(view: CaseView, rows: list[CaseRow], *, opens: bool = True, **known: Any) -> str:
    pages = CasePages(NAMES, opens=opens, writes=True, days=Steps("day", 1))
    return pages.whole(view, KnownCases(open=rows, read=True, ranked_at=NOW / 1000, **known), NOW / 1000)


def test_a_view_is_read_from_its_address_and_written_into_it() -> None:
    view = CaseView.of({"lang": "fa", "state": "missed", "owner": "ندا & co"})
    assert view == CaseView(lang="fa", state="missed", owner="ندا & co")
    assert CaseView.of({"state": "<b>", "lang": "de"}) == CaseView()
    assert CaseView().link() == "/cases"
    assert CaseView(cause="a b").link(case_id="z/1?") == "/cases/z%2F1%3F?cause=a+b"
    assert CaseView(state="closed").stream() == "/stream/cases?state=closed"


def test_the_most_urgent_comes_first_and_says_why(rows: list[CaseRow]) -> None:
    queue = NAMES.queue(rows, CaseView(), NOW / 1000)
    scores = [float(line.urgency) for line in queue.lines]
    assert scores == sorted(scores, reverse=True)
    first = queue.lines[0]
    assert first.first == "severity 9 · tier 6 · missed clocks 4 · age in hours 1.5"
    assert [part.text for part in first.parts if not part.counts] == ["not known"]
    assert NAMES.queue(rows, CaseView(lang="fa"), NOW / 1000).lines[0].first.startswith("شدت ۹ · رده ۶")


def test_filters_choose(rows: list[CaseRow]) -> None:
    def count(**chosen: str) -> int:
        return NAMES.queue(rows, CaseView(**chosen), NOW / 1000).total  # type: ignore[arg-type]

    nobody = msgspec.structs.replace(rows[0], case_id="other", owner="")
    assert count() == 8
    assert count(state="missed") == len([row for row in rows if row.missed]) == 2
    assert count(owner="store-care") + count(owner="customer-care") == 8
    assert count(touchpoint="store_visit", owner="customer-care") == 0
    assert count(state="closed") == count(state="waiting") == 0
    assert NAMES.queue([*rows, nobody], CaseView(owner=NOBODY), NOW / 1000).total == 1
    offered = choices(NAMES, [*rows, nobody], CaseView(lang="fa", cause="gone"))
    assert (NOBODY, "هیچ‌کس") in offered.owners
    assert ("gone", "gone") in offered.causes
    assert ("low_nps", "توصیه نمی‌کند") in offered.causes


@pytest.mark.parametrize(("left", "level"), [(-1, "over"), (0, "soon"), (2 * HOUR, "soon"), (2 * HOUR + 1, "later")])
def test_a_clock_says_how_near_its_end_is(rows: list[CaseRow], left: int, level: str) -> None:
    row = msgspec.structs.replace(rows[0], contact_due=NOW + left, close_due=NOW + 90 * HOUR)
    due = NAMES.line(row, CaseView(), NOW / 1000).due
    assert (due.clock, due.level, due.at) == ("contact", level, (NOW + left) / 1000)
    waits = msgspec.structs.replace(row, contacted=NOW, state="waiting")
    assert NAMES.line(waits, CaseView(), NOW / 1000).due.level == "none"


def test_a_level_has_a_word_beside_its_colour(rows: list[CaseRow]) -> None:
    for lang, words in (("en", ("overdue", "soon", "in time")), ("fa", ("دیر شده", "به‌زودی", "در زمان"))):
        page = rendered(CaseView(lang=lang), rows)  # type: ignore[arg-type]
        for level, word in zip(("over", "soon", "later"), words, strict=True):
            assert f'<span class="due {level}"><b>{word}</b>' in page


def test_no_customer_is_named_and_nothing_of_strangers_is_markup(rows: list[CaseRow]) -> None:
    row = msgspec.structs.replace(
        rows[0], subject="ali@example.com", owner="<b>x</b>", cause="<i>", touchpoint="\u202eevil"
    )
    story = [Happening(NOW, "closed by <script>: rescued", "/cx/people k", "")]
    for page in (
        rendered(CaseView(), [row]),
        rendered(CaseView(case_id="k"), [], opened={"k": msgspec.structs.replace(row, story=story)}),
    ):
        assert "ali@example" not in page
        assert "<b>x" not in page
        assert "<script>:" not in page
        assert "\u202e" not in page
        assert "&lt;b&gt;x" in page


def test_an_empty_queue_tells_how_cases_are_turned_on() -> None:
    assert "CX_CASES=shipped" in rendered(CaseView(), [], opens=False)
    assert "CX_CASES=shipped" in rendered(CaseView(lang="fa"), [], opens=False)
    assert "Nobody waits for you" in rendered(CaseView(), [])


def test_of_many_the_first_are_shown_and_the_rest_counted(rows: list[CaseRow]) -> None:
    many = [msgspec.structs.replace(rows[0], case_id=f"k{number}") for number in range(SHOWN + 7)]
    page = rendered(CaseView(), many)
    assert page.count('class="row ') == SHOWN
    assert "+ 7 more" in page


def test_a_case_shows_its_parts_and_what_has_happened(rows: list[CaseRow]) -> None:
    story = [
        Happening(NOW - HOUR, "opened: low_nps", "/cx/cases x"),
        Happening(NOW, "contacted by Neda", "/cx/people/page k1"),
        Happening(NOW, "assigned to x by Omid", "/cx/people k2", "contacted by Neda meanwhile, version 2"),
    ]
    row = msgspec.structs.replace(rows[0], story=story)
    page = rendered(CaseView(case_id="k"), [], opened={"k": row})
    assert "opened: Would not recommend us" in page
    assert "on this page" in page
    assert "by `cx cases`" in page
    assert "contacted by Neda meanwhile, version 2" in page
    persian = rendered(CaseView(lang="fa", case_id="k"), [], opened={"k": row})
    assert "در این میان: تماس گرفته شد به دست Neda (نسخهٔ ۲)" in persian
    assert "گشوده شد: توصیه نمی‌کند" in persian
    assert "There is no case of this name: <code" in rendered(CaseView(case_id="k"), [], opened={"k": None})


def test_all_that_is_said_of_cases_is_said_in_persian() -> None:
    values = {"owner": "o", "priority": "urgent", "clock": "contact", "reason": "r"}
    for move in MOVES:
        for more in ({}, {"agentid": "ندا"}, {"agentid": "ندا", "outcome": "lost"}, {"reached": False}):
            said = done(Fact(NOW, "/s", "e", PREFIX + move, {**values, **more}))
            persian = in_persian(said)
            assert persian != said, said
            assert not {"by", "to", "the", "closed", "open"} & set(persian.replace(":", " ").split()), said
            assert in_persian(f"{said} meanwhile, version 7").startswith(f"در این میان: {persian}")
    for refusal in (*_REFUSED.values(), "there is no case k1", "the case is at version 3, there is no version 9 yet"):
        assert in_persian(refusal) != refusal
    assert in_persian("closed by ندا: lost") == "بسته شد به دست ندا: از دست رفت"
    assert in_persian("what a ticket system says") == "what a ticket system says"


class Store(BoardStore):
    """Answers as a store of cases that may be away."""

    def __init__(self, rows: list[CaseRow]) -> None:
        super().__init__(Address("http://127.0.0.1:1"))
        self.rows = {row.case_id: row for row in rows}
        self.away = False
        self.reads = 0

    def has_cases(self) -> bool:
        return True

    def case_mark(self) -> str:
        if self.away:
            raise UnreachableError("away")
        return str(sum(row.revision for row in self.rows.values()))

    def open_cases(self, most: int) -> list[CaseRow]:
        self.reads += 1
        return [row for row in self.rows.values() if row.state != "closed"][:most]

    def closed_cases(self, most: int) -> list[CaseRow]:
        return [row for row in self.rows.values() if row.state == "closed"][:most]

    def case(self, case_id: str) -> CaseRow | None:
        return self.rows.get(case_id)


def test_cases_are_read_when_they_have_changed_only(rows: list[CaseRow]) -> None:
    store, now = Store(rows), [time.monotonic()]
    watch = CaseWatch(store, clock=lambda: now[0])
    first = rows[0].case_id
    watch.want(first)
    watch.want("none")
    (step,) = watch._steps()
    step()
    assert (len(watch.known.open), watch.known.opened["none"], store.reads) == (8, None, 1)
    before = watch.known
    step()
    assert watch.known is before
    changed = msgspec.structs.replace(rows[0], state="closed", closed=NOW, revision=rows[0].revision + 1)
    store.rows[first] = changed
    step()
    assert (len(watch.known.open), watch.known.opened[first], store.reads) == (7, changed, 2)
    store.away = True
    watch._safely(step)
    assert watch.known.away_since is not None
    assert len(watch.known.open) == 7
    store.away = False
    watch._safely(step)
    assert (watch.known.away_since, store.reads) == (None, 3)
    assert watch._wanted()
    now[0] += 31
    assert not watch._wanted()
