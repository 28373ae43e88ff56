"""The case page without a browser: what is chosen, in what order, how near clocks are, and in which words."""

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from streams.board.acting import ActionAnswer, CaseWriter, UnreadableActionError, read_action
from streams.board.casepages import CasePages
from streams.board.casewatch import CaseWatch, KnownCases
from streams.board.feed import AlertRow
from streams.board.queue import NOBODY, SHOWN, CaseNames, CaseView, RankedCase, choices
from streams.board.store import BoardStore
from streams.board.story import CustomerStory, story_lines
from streams.events.decode import decode_batch
from streams.events.touchpoints import load_touchpoints
from streams.events.types import EVENT_TYPES, Envelope
from streams.kpis.language.steps import Steps
from streams.loop.acting import CaseAction
from streams.loop.case import MOVES, PREFIX
from streams.loop.reading import load_rules
from streams.loop.rows import CaseRow, Happening
from streams.loop.writes import _REFUSED, done
from streams.producers.cases import CaseSender, UnsentActionError
from streams.relations.facts import Fact
from streams.settings import load
from streams.shipped import CASES
from streams.storage.connection import Address, UnreachableError
from streams.storage.customer import CustomerHistory
from streams.wording.case_texts import in_persian
from streams.wording.event_names import EVENT_NAMES, FIELD_NAMES
from tests.harness.casepage import answer
from tests.harness.queue import HOUR, rows_of, unhappy_customers

NOW = 1_777_883_400_000
NAMES = CaseNames(load_rules([CASES]), load_touchpoints())


@pytest.fixture(scope="module")
def rows() -> list[CaseRow]:
    return rows_of(unhappy_customers(8, NOW))


def ranked(rows: list[CaseRow]) -> list[RankedCase]:
    return NAMES.rank(rows, NOW / 1000)


def rendered(view: CaseView, rows: list[CaseRow], *, opens: bool = True, **known: Any) -> str:
    pages = CasePages(NAMES, opens=opens, writes=True, days=Steps("day", 1))
    return pages.whole(view, KnownCases(open=ranked(rows), read=True, ranked_at=NOW / 1000, **known), NOW / 1000)


def test_a_view_is_read_from_its_address_and_written_into_it() -> None:
    view = CaseView.of({"lang": "fa", "state": "missed", "owner": "ندا & co"})
    assert view == CaseView(lang="fa", state="missed", owner="ندا & co")
    assert CaseView.of({"state": "<b>", "lang": "de"}) == CaseView()
    assert CaseView().link() == "/cases"
    assert CaseView(cause="a b").link(case_id="z/1?") == "/cases/z%2F1%3F?cause=a+b"
    assert CaseView(state="closed").stream() == "/stream/cases?state=closed"


def test_the_most_urgent_comes_first_and_says_why(rows: list[CaseRow]) -> None:
    queue = NAMES.queue(ranked(rows), CaseView(), NOW / 1000)
    scores = [float(line.urgency) for line in queue.lines]
    assert scores == sorted(scores, reverse=True)
    first = queue.lines[0]
    assert first.first == "severity 9 · tier 6 · missed clocks 4 · age in hours 1.5"
    assert [part.text for part in first.parts if not part.counts] == ["not known"]
    assert NAMES.queue(ranked(rows), CaseView(lang="fa"), NOW / 1000).lines[0].first.startswith("شدت ۹ · رده ۶")


def test_filters_choose(rows: list[CaseRow]) -> None:
    def count(**chosen: str) -> int:
        return NAMES.queue(ranked(rows), CaseView(**chosen), NOW / 1000).total  # type: ignore[arg-type]

    nobody = msgspec.structs.replace(rows[0], case_id="other", owner="")
    assert count() == 8
    assert count(state="missed") == len([row for row in rows if row.missed]) == 2
    assert count(owner="store-care") + count(owner="customer-care") == 8
    assert count(touchpoint="store_visit", owner="customer-care") == 0
    assert count(state="closed") == count(state="waiting") == 0
    assert NAMES.queue(ranked([*rows, nobody]), CaseView(owner=NOBODY), NOW / 1000).total == 1
    offered = choices(NAMES, ranked([*rows, nobody]), CaseView(lang="fa", cause="gone"))
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


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        ("", "owner is '', expected 1 to 128 characters"),
        ("x" * 129, f"owner is '{'x' * 128}', expected 1 to 128 characters"),
        ("a\u202eb", "owner is a\\u202eb, expected a name without characters that cannot be seen"),
    ],
)
def test_an_owner_that_can_be_none_is_refused_for_what_is_wrong(owner: str, said: str) -> None:
    with pytest.raises(UnreadableActionError, match=f"^{re.escape(said)}"):
        read_action({"do": "assigned", "version": "1", "owner": owner})


class Sender(CaseSender):
    """Takes down what is sent; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__(load(environ={}))
        self.failures = failures
        self.sent: list[bytes] = []

    def send(self, row: CaseRow, action: CaseAction) -> None:
        self.sent.append(msgspec.json.encode(action.event(row)))
        if len(self.sent) <= self.failures:
            raise UnsentActionError("Kafka does not take it")


def clicked(rows: list[CaseRow], failures: int, *, at_once: bool) -> tuple[list[ActionAnswer], Sender]:
    """Click twice, a second apart, while no worker answers; the case is changed by somebody else in between."""
    store, sender, now = Store(rows), Sender(failures), [NOW / 1000]
    asked = read_action({"do": "contacted", "version": str(rows[0].version)})

    def clock() -> float:
        now[0] += 1
        return now[0]

    async def both() -> list[ActionAnswer]:
        writer = CaseWriter(store, sender, wait_s=0.01, clock=clock)
        try:
            if at_once:
                return await asyncio.gather(*(writer.act(rows[0].case_id, asked, "Neda") for _ in range(2)))
            first = await writer.act(rows[0].case_id, asked, "Neda")
            store.rows[rows[0].case_id] = msgspec.structs.replace(rows[0], version=9, began=rows[0].began + 60_000)
            return [first, await writer.act(rows[0].case_id, asked, "Neda")]
        finally:
            writer.close()

    return asyncio.run(both()), sender


@pytest.mark.parametrize("at_once", [True, False])
def test_a_second_click_before_the_workers_answer_is_a_plain_repeat(rows: list[CaseRow], at_once: bool) -> None:
    answers, sender = clicked(rows, 0, at_once=at_once)
    assert len(sender.sent) == 1
    assert [one.status for one in answers] == [202, 202]


def test_what_kafka_may_have_all_the_same_is_sent_again_as_it_was(rows: list[CaseRow]) -> None:
    answers, sender = clicked(rows, 1, at_once=False)
    assert [one.status for one in answers] == [503, 202]
    assert len(set(sender.sent)) == 1
    assert len(sender.sent) == 2


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
    none = rendered(CaseView(case_id="k"), [], opened={"k": None})
    assert "There is no case of this name: <code" in none
    assert "Reading …" not in none


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

    def history(self, subject: str, derived: Sequence[str], most: int) -> CustomerHistory:
        return CustomerHistory([answer(subject)], [], len(derived) + most)

    def alerts(self, after: int) -> list[AlertRow]:
        del after
        return []

    def subject_of(self, topic: str, partition: int, offset: int) -> str:
        return "c-1" if (topic, partition, offset) == ("cx.touchpoints.web", 0, 7) else ""


def test_stories_are_read_of_whom_somebody_looks_at(rows: list[CaseRow]) -> None:
    store, now = Store(rows), [100.0]
    watch = CaseWatch(store, NAMES.rank, derived=["cx.cart.seen"], clock=lambda: now[0])
    watch.want(rows[0].case_id, "cx.touchpoints.web/0/7")
    watch.want("", "cx.touchpoints.web/0/8")
    for step in watch._steps():
        step()
    assert watch.known.senders == {"cx.touchpoints.web/0/7": "c-1", "cx.touchpoints.web/0/8": ""}
    assert set(watch.known.stories) == {rows[0].subject, "c-1"}
    before = watch.known
    watch._stories()
    assert watch.known is before
    now[0] += 31
    watch.want()
    assert watch._wanted()
    for step in watch._steps():
        step()
    assert (watch.known.senders, watch.known.stories) == ({}, {})


def event(kind: str, minute: int, **data: Any) -> Envelope:
    raw = {
        "specversion": "1.0", "id": f"{kind}-{minute}", "source": "/t", "type": f"cx.{kind}", "subject": "c-1", "channel": "web",
        "time": f"2026-05-01T09:{minute:02}:00Z", "touchpoint": "checkout", "data": data,
    }  # fmt: skip
    found, refusals = decode_batch([msgspec.json.encode(raw)])
    assert not refusals, refusals
    return found[0]  # type: ignore[return-value]


def alert(began: int, ended: int | None, **changes: Any) -> AlertRow:
    """One that fired from `began` to `ended`, minutes after nine."""
    nine = 1_777_626_000
    return AlertRow(
        **{
            "episode": f"Slow-{nine // 60 + began - 1}", "rule": "Slow", "kpi": "csat", "labels": {}, "severity": "page", "owner": "cx",
            "state": "firing" if ended is None else "resolved", "why": "", "at": nine + 60 * (began if ended is None else ended),
            "texts": {"summary": "Satisfaction fell", "summary_fa": "رضایت افت کرد"}, **changes,
        }
    )  # fmt: skip


def test_a_story_tells_what_was_lived_said_and_done() -> None:
    events = [
        event("page.viewed", 1, page="/cart"), event("page.viewed", 2, page="/cart"), event("page.viewed", 3, page="/cart"),
        event("payment.failed", 4, code="timeout", amount=12.5, currency="EUR", method="card"),
        event("survey.answered", 40, survey_id="s", metric="nps", scale=10, score=2, text="ایمیل من ali@example.com است"),
        event("case.opened", 41, case_id="low_nps-1", reason="low_nps", owner="care"),
        event("case.closed", 50, case_id="low_nps-1", outcome="lost"),
    ]  # fmt: skip
    derived = [
        {
            "time": "2026-05-01T09:30:00Z",
            "source": "relations/cart",
            "data": {"outcome": "abandoned", "withdrawn": False},
        },
        {"time": "2026-05-01T09:31:00Z", "source": "relations/cart", "data": {"outcome": "ordered", "withdrawn": True}},
    ]
    story = CustomerStory(events, derived, [alert(35, 45)], 3)
    lines = story_lines(story, NAMES, CaseView(case_id="x"))
    assert [(line.kind, line.what, line.says, line.times) for line in lines] == [
        ("case", "Case closed", "outcome: lost", 1),
        ("case", "Case opened", "reason: Would not recommend us · owner: care", 1),
        ("answer", "Survey answered", "2 of 10 · question: nps", 1),
        ("alert", "alert: resolved", "Satisfaction fell", 1),
        ("found", "Found out", "abandoned", 1),
        ("order", "Payment failed", "amount: 12.5 · currency: EUR · method: card · code: timeout", 1),
        ("event", "Page viewed", "page: /cart", 3),
    ]
    assert lines[0].href == "/cases/low_nps-1"
    assert (lines[2].words, lines[2].direction) == ("ایمیل من ••• است", "rtl")
    persian = story_lines(story, NAMES, CaseView(lang="fa"))
    assert [line.what for line in persian[:4]] == [
        "پرونده بسته شد",
        "پرونده گشوده شد",
        "پاسخ به نظرسنجی",
        "هشدار: برطرف‌شده",
    ]
    assert persian[3].says == "رضایت افت کرد"


@pytest.mark.parametrize(
    ("one", "shown"),
    [
        (alert(39, None), True),
        (alert(20, 26), True),  # it ended within a quarter of an hour before the answer
        (alert(10, 20), False),
        (alert(56, None), False),
        (alert(39, None, labels={"channel": "web"}), True),
        (alert(39, None, labels={"channel": "store"}), False),
        (alert(39, None, inhibited_by="Worse"), False),
        (alert(39, 45, state="inactive"), False),
    ],
)
def test_alerts_of_the_time_and_of_their_channels_are_part_of_it(one: AlertRow, shown: bool) -> None:
    answered = event("survey.answered", 40, survey_id="s", metric="nps", scale=10, score=2)
    lines = story_lines(CustomerStory([answered], (), [one]), NAMES, CaseView())
    assert ("alert" in {line.kind for line in lines}) == shown


def test_events_of_the_page_have_names_in_both_languages() -> None:
    assert set(EVENT_NAMES) <= set(EVENT_TYPES)
    for pair in (*EVENT_NAMES.values(), *FIELD_NAMES.values()):
        assert re.search("[\u0600-\u06ff]", pair[1])
        assert not re.search("[\u0600-\u06ff]", pair[0])


def test_cases_are_read_when_they_have_changed_only(rows: list[CaseRow]) -> None:
    store, now = Store(rows), [time.monotonic()]
    watch = CaseWatch(store, NAMES.rank, clock=lambda: now[0])
    first = rows[0].case_id
    watch.want(first)
    watch.want("none")
    step = watch._cases
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
