"""`cx cases` in the terminal, and cases that are restored from the store."""

import json
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from streams.commands import cases
from streams.commands.cases import cases as command
from streams.loop.case import PREFIX, fold
from streams.loop.desk import CaseDesk
from streams.loop.reading import load_rules
from streams.loop.rows import CaseRow, Happening
from streams.loop.sending import encoded
from streams.relations.facts import Fact, moment_of
from streams.settings import load
from streams.shipped import CASES
from streams.start.cases import case_entries
from streams.storage.cases import CASE_COLUMNS, case_row, read_cases
from tests.harness.cases import Desk, action, survey

HOUR = 3_600_000
NOW = 1_777_883_400_000
NAME = "نظرسنجی مشتری با نام بلند"


def queue() -> Desk:
    """Three unhappy customers, of whom one was contacted, and one action that was refused."""
    desk = Desk(load_rules([CASES]))
    desk.give(("مشتری-۱", survey(NOW - 30 * HOUR, "e1", 2, segment="gold")))
    desk.give(("c-2", survey(NOW - HOUR, "e2", 6)), ("c-3", survey(NOW - 3 * HOUR, "e3", 1)), until=NOW)
    desk.step()
    ids = dict(desk.cases().keys())
    desk.give(("c-3", action(NOW - HOUR, "a1", "contacted", ids["c-3"], agentid=NAME)), until=NOW)
    desk.give(("c-3", action(NOW - HOUR, "a2", "assigned", ids["c-3"], owner="x", if_version=1)), until=NOW)
    desk.step()
    return desk


def rows_of(desk: Desk) -> list[CaseRow]:
    return [desk.row(case_id) for _, case_id in desk.cases()]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Any:
    desk = queue()
    rows = {row.case_id: row for row in rows_of(desk)}

    def read(_client: object, where: str, parameters: dict[str, str]) -> list[CaseRow]:
        asked = parameters.get("case_id")
        return [row for name, row in rows.items() if asked in {None, name}]

    monkeypatch.setattr(cases, "read_cases", read)
    monkeypatch.setattr(cases, "connect", lambda _address: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(cases, "_now", lambda: NOW)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(command, arguments, env={"COLUMNS": "80"})

    return SimpleNamespace(run=run, ids={row.subject: row.case_id for row in rows.values()})


def test_the_queue_is_in_order_and_fits(shown: Any) -> None:
    text = shown.run("list").output
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[1:4]] == [shown.ids[name] for name in ("مشتری-۱", "c-3", "c-2")]
    assert "open, missed" in lines[1]
    assert "contact 6 h ago" in lines[1]
    assert lines[-1] == "3 cases"
    page = json.loads(shown.run("list", "--size", "2", "--page", "2", "--json").output)
    assert [one["subject"] for one in page["cases"]] == ["c-2"]
    assert page["cases"][0]["parts"]["churn"] == {"points": 0.0, "known": False, "text": "not known"}
    assert "page 2 of 2" in shown.run("list", "--size", "2", "--page", "2").output


def test_a_case_tells_why_it_comes_first_and_what_has_happened(shown: Any) -> None:
    text = shown.run("show", shown.ids["مشتری-۱"]).output
    assert "tier           6  2 × 3 (gold)" in text
    assert "churn          0  not known" in text
    assert "time to contact is over" in text
    text = shown.run("show", shown.ids["c-3"]).output
    assert f"in time, {NAME}" in text
    assert f"[refused: contacted by {NAME} meanwhile, version 2]" in text
    assert json.loads(shown.run("show", shown.ids["c-3"], "--json").output)["version"] == 2


def test_no_name_forges_a_line_of_the_story(shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    forged = "x\n  2026-01-01 00:00 UTC  closed by Eve: rescued"
    [row] = cases.read_cases(None, "", {"case_id": shown.ids["c-2"]})  # type: ignore[arg-type]
    story = [*row.story, Happening(NOW, f"assigned to {forged}", "s e")]
    changed = msgspec.structs.replace(row, story=story, owner=forged, subject=forged)
    monkeypatch.setattr(cases, "read_cases", lambda *_: [changed])
    lines = shown.run("show", row.case_id).output.splitlines()
    assert not [line for line in lines if line.startswith("  2026-01-01")]
    assert len([line for line in lines if "closed by Eve" in line]) == 3


def test_what_is_wrong_is_said(shown: Any) -> None:
    missing = shown.run("show", "low_nps-1")
    assert (missing.exit_code, missing.output.startswith("there is no case low_nps-1")) == (3, True)
    assert shown.run("close", shown.ids["c-2"]).exit_code == 2
    assert "rescued" in shown.run("close", shown.ids["c-2"], "--outcome", "fine").output
    known = shown.run("contact", shown.ids["c-3"], "--key", "k", "--at", "yesterdayish")
    assert (known.exit_code, "is no moment" in known.output) == (2, True)


def test_an_empty_queue_says_when_nothing_opens_cases(shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "read_cases", lambda *_: [])
    assert "CX_CASES names them" in shown.run("list").output
    monkeypatch.setenv("CX_CASES", "shipped")
    assert shown.run("list").output.splitlines()[-1] == "0 cases"
    assert "CX_CASES names them" not in shown.run("list").output


class Store:
    """Answers what is asked of cases, and of the events that made them."""

    def __init__(self, desk: Desk) -> None:
        self._rows = rows_of(desk)
        self._files = list(desk.desk.files())
        self.valued: list[tuple[int, bytes]] = []

    def query(self, question: str, parameters: object = None) -> Any:
        if "cx.customer.valued" in question:
            return SimpleNamespace(result_rows=self.valued)
        if "FROM events" not in question:
            times = {"opened", "began", "contact_due", "contacted", "close_due", "closed"}
            stored = [dict(zip(CASE_COLUMNS, case_row(row), strict=True)) for row in self._rows]
            rows = [
                [getattr(row, name) if name in times else one[name] for name in CASE_COLUMNS]
                for row, one in zip(self._rows, stored, strict=True)
            ]
            return SimpleNamespace(result_rows=rows)
        events = [(0, subject, event) for subject, _, file in self._files for event in self._sent(file)]
        return SimpleNamespace(
            result_rows=[(partition, encoded(subject, event)) for partition, subject, event in events]
        )

    @staticmethod
    def _sent(file: Any) -> list[Fact]:
        return [*file.events, *(event for event, _ in file.refused)]


def test_what_is_stored_of_a_case_is_read_back() -> None:
    desk = queue()
    assert read_cases(Store(desk)) == rows_of(desk)  # type: ignore[arg-type]


def test_cases_go_on_from_the_store() -> None:
    """What happened to them is the same, and nothing of it is said twice; what was refused stays refused."""
    before = queue()
    restored = CaseDesk(load_rules([CASES]))
    store = Store(before)
    worth = Fact(NOW, "/cx/value", "v1", "cx.customer.valued", {"tier": "high", "channel": "web"})
    store.valued = [(0, encoded("c-1", worth))]
    entries = case_entries(store, load(environ={}, cases="shipped"), 1e9)  # type: ignore[arg-type]
    restored.restore((key, value) for _, key, value in entries)
    cases_now = {case_id: fold(file.events) for _, case_id, file in restored.files()}
    cases_then = {case_id: case for (_, case_id), case in before.cases().items()}
    assert {name: (case.state, case.now, case.owners, case.version) for name, case in cases_now.items() if case} == {
        name: (case.state, case.now, case.owners, case.version) for name, case in cases_then.items()
    }
    newest = restored.worths.newest("c-1")
    assert newest is not None
    assert newest.tier == "high", "and what customers are worth"
    assert restored.begin(1e9)
    sent = {one.change.event.id for one in restored.news if one.change.event and one.change.ours}
    assert sent <= set(before.times_told), "under the same ids as before"


def test_times_in_events_are_those_of_the_case() -> None:
    event = Fact(NOW, "/cx/cases", "k/opened", PREFIX + "opened", {"case_id": "k", "contact_due": NOW + HOUR})
    found = msgspec.json.decode(encoded("c", event))
    assert found["data"]["contact_due"] == moment_of(NOW + HOUR).isoformat().replace("+00:00", "Z")
