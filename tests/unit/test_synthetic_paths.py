"""Synthetic paths: what is refused with line and suggestion, what a run sends, and what is said of what came of it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.commands.synthetic import print_run
from streams.definitions import synthetic_paths_of
from streams.events.decode import decode_one
from streams.events.refusal import Refusal
from streams.events.scalars import CHANNELS
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Folder
from streams.kpis.language.blocks import CatalogueError
from streams.settings import load
from streams.shipped import CLONE
from streams.synthetic.definition import Derives, SyntheticPath, event_of
from streams.synthetic.journey import PathRun, RunReport, StoredRow, results_of
from streams.synthetic.reading import load_paths, parse_paths

NOW = datetime(2026, 3, 21, 9, 30, tzinfo=UTC)
TWO = """
- id: two
  name: {en: Two steps}
  channel: web
  within: 20s
  steps:
    - {event: cx.page.viewed, touchpoint: home_page, data: {page: home}}
    - {event: cx.order.placed, wait: 2s, times: 2, orderid: 'o-{run}', labels: {plan: '{path}'}, data: {amount: 1}}
  derives:
    - {event: cx.cart.ended, says: {outcome: ordered}}
"""


@pytest.fixture(scope="module", autouse=True)
def _known_relations() -> None:
    synthetic_paths_of(load(environ={}))


def problems(text: str, touchpoints: Sequence[str] = ()) -> list[str]:
    with pytest.raises(CatalogueError) as refused:
        parse_paths(text, "p.yaml", touchpoints)
    return list(refused.value.problems)


def with_step(step: str) -> str:
    return f"- id: p\n  name: {{en: P}}\n  channel: web\n  steps:\n    - {step}\n"


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("{event: cx.page.veiwed, data: {page: p}}", "unknown event type 'cx.page.veiwed'; did you mean 'cx.page.viewed'?"),
        ("{event: cx.page.viewed}", "data.page"),
        ("{event: cx.page.viewed, data: {pag: p}}", "unknown key 'pag'; did you mean 'page'?"),
        ("{event: cx.page.viewed, touchpoint: home_pag, data: {page: p}}", "no touchpoint 'home_pag'; did you mean 'home_page'?"),
        ("{event: cx.page.viewed, subject: c-1, data: {page: p}}", "'subject' is set by each run and cannot be given"),
        ("{event: cx.page.viewed, data: {page: '{customer}'}}", "'{customer}' is nothing that a run has"),
        ("{event: cx.page.viewed, data: {page: mina@example.org}}", "looks like personal data (email)"),
        ("{event: cx.page.viewed, refused: wrong_type, data: {page: p}}", "will not be refused as 'wrong_type'"),
        ("{event: cx.synthetic.finished, data: {path: p, run: r, ok: true, duration_s: 1}}", "no step can be one"),
        ("{event: cx.page.viewed, wait: 40s, data: {page: p}}", "the waits of the steps take 40 s"),
        ("{event: cx.page.viewed, times: 9, data: {page: p}}", "'times' must be a whole number from 1 to 5"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused_with_its_line(step: str, said: str) -> None:
    found = problems(with_step(step), ["home_page"])
    assert any(said in one for one in found), found
    assert all(one.startswith(("p.yaml:5:", "p.yaml:1:")) for one in found)


def test_what_relations_do_not_say_is_refused() -> None:
    text = TWO.replace("cx.cart.ended, says: {outcome", "cx.cart.ended, says: {outcom")
    assert any("p.yaml:10: " in one and "did you mean 'outcome'?" in one for one in problems(text))
    assert any("did you mean 'cx.cart.ended'?" in one for one in problems(TWO.replace("cart.ended", "cart.endet")))


def test_a_path_stands_once() -> None:
    assert any("two is defined already at p.yaml:2" in one for one in problems(TWO + TWO))


def test_every_channel_has_a_shipped_path() -> None:
    """Each is checked as it is read."""
    found = synthetic_paths_of(load(environ={}))
    assert {one.channel for one in found.values()} == set(CHANNELS)
    assert {one.name.keys() >= {"en", "fa"} for one in found.values()} == {True}


def two() -> SyntheticPath:
    return parse_paths(TWO)["two"]


def test_what_a_run_sends_is_synthetic_and_of_nobody() -> None:
    event = event_of(two(), 1, "two-abc", NOW)
    assert event["synthetic"] is True
    assert (event["id"], event["subject"], event["source"]) == ("two-abc/2", "synthetic-two-abc", "/cx/synthetic/two")
    assert (event["orderid"], event["labels"]) == ("o-two-abc", {"plan": "two"})
    taken = decode_one(msgspec.json.encode(event))
    assert not isinstance(taken, Refusal)
    assert taken.synthetic
    assert Folder(Catalogue.load()).fold([taken]) == {}


def gone(*found: tuple[float, dict[str, StoredRow]], derived: float | None = None, until: float = 120.0) -> RunReport:
    """Go the path: the first step at 100, the second at 102, twice; then what the store has at moments."""
    run = PathRun(two(), "r", 100.0, frozenset({"cx.cart.ended"}))
    assert run.answered(0, 100.0, 100.1)
    assert run.answered(1, 102.0, 102.2)
    assert run.answered(1, 102.2, 102.3)
    for at, rows in found:
        assert not run.is_done(at)
        run.stored(rows, at)
    if derived is not None:
        run.derived({"cx.cart.ended": [{"outcome": "abandoned"}, {"outcome": "ordered"}]}, derived)
    assert run.is_done(until)
    return run.report(until, {0: ""})


ROW = StoredRow(1, late=False, subject="synthetic-r")


def test_a_run_of_which_all_came_is_ok() -> None:
    report = gone((103.0, {"r/1": ROW}), (104.0, {"r/1": ROW, "r/2": ROW}), derived=110.0, until=110.0)
    assert (report.ok, report.failed, report.duration_s) == (True, "", 10.0)
    assert [(one.step, one.leg, one.latency_s) for one in report.checks] == [
        (1, "accepted", 0.1), (1, "stored", 2.9), (2, "accepted", 0.1), (2, "stored", 1.8), (None, "derived", 7.7),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "reason"),
    [(None, "not_stored"), (ROW._replace(copies=2), "stored_twice"), (ROW._replace(late=True), "late")],
)
def test_a_run_of_which_something_did_not_come_says_what(row: StoredRow | None, reason: str) -> None:
    rows = {"r/1": ROW} | ({} if row is None else {"r/2": row})
    report = gone((103.0, rows), derived=110.0)
    assert (report.ok, report.failed) == (False, "step 2 stored")
    assert [one.reason for one in report.checks if not one.ok] == [reason]


def test_what_relations_did_not_say_fails_the_run_where_they_are_at_work() -> None:
    report = gone((103.0, {"r/1": ROW, "r/2": ROW}))
    assert report.failed == "cx.cart.ended derived"
    idle = PathRun(two(), "r", 100.0)
    for number in range(2):
        idle.answered(number, 100.0, 100.0)
    idle.stored({"r/1": ROW, "r/2": ROW}, 102.0)
    assert idle.is_done(102.0)
    assert idle.report(102.0, {}).ok


def test_all_values_that_a_relation_must_say_have_to_stand_in_one_event() -> None:
    says = {"outcome": "ordered", "views": 2}
    run = PathRun(replace(two(), derives=[Derives("cx.cart.ended", says)]), "r", 100.0, frozenset({"cx.cart.ended"}))
    run.derived({"cx.cart.ended": [{"outcome": "ordered", "views": 1}, {"outcome": "lost", "views": 2}]}, 103.0)
    assert run.awaits_derived == {"cx.cart.ended"}
    run.derived({"cx.cart.ended": [{**says, "items": 1}]}, 104.0)
    assert run.awaits_derived == frozenset()


def test_names_and_answers_with_line_breaks_forge_no_lines(capsys: pytest.CaptureFixture[str]) -> None:
    run = PathRun(replace(two(), name={"en": "Two\nsteps: ok"}), "r", 100.0)
    run.answered(0, 100.0, 105.0, "not_accepted", "away\n  ok  step 1: stored")
    print_run(run.path, run.report(105.0, {}))
    assert [text[:6] for text in capsys.readouterr().out.splitlines()] == ["two: F", "  --  ", "  --  "]


def test_a_file_without_a_path_is_not_sound(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    with pytest.raises(CatalogueError) as refused:
        load_paths([tmp_path, tmp_path / "empty.yaml"])
    assert [one.removeprefix(str(tmp_path)) for one in refused.value.problems] == [
        ":1: no path in it",
        "/empty.yaml:1: no path in it",
    ]


def test_nothing_is_sent_after_a_door_that_refuses_and_the_run_is_over() -> None:
    run = PathRun(two(), "r", 100.0)
    assert not run.answered(0, 100.0, 105.0, "not_accepted", "Kafka is away")
    report = run.report(105.0, {})
    assert [(one.step, one.reason) for one in report.checks] == [(1, "not_accepted"), (2, "not_reached")]
    assert report.failed == "step 1 accepted"


def test_an_event_that_has_to_be_refused_and_is_not_fails_the_run() -> None:
    path = parse_paths(with_step("{event: cx.page.viewed, refused: missing_field}"))["p"]
    taken, refused = PathRun(path, "r", 0.0), PathRun(path, "r", 0.0)
    assert refused.answered(0, 0.0, 0.1, "missing_field", "no page")
    assert refused.report(1.0, {}).ok
    assert not taken.answered(0, 0.0, 0.1)
    assert taken.report(1.0, {}).checks[0].reason == "accepted"


def kpis_of(reports: Iterable[RunReport]) -> dict[str, Any]:
    events = []
    for report in reports:
        for one in results_of(report, NOW.isoformat()):
            event = decode_one(msgspec.json.encode({"specversion": "1.0", **one}))
            assert not isinstance(event, Refusal), event
            events.append(event)
    [series] = Folder(Catalogue.load()).fold(events).values()
    return series


def test_results_are_counted_as_such_and_not_as_traffic() -> None:
    good = gone((103.5, {"r/1": ROW, "r/2": ROW}), derived=104.0, until=104.0)
    bad = msgspec.structs.replace(gone((103.0, {"r/1": ROW})), run="s")
    series = kpis_of([good, bad])
    assert series["synthetic_success"] == [2, 1]
    assert {key for key in series if key.startswith("volume")} == set()
    assert {key.partition("\x1f")[0] for key in series} == {
        "synthetic_success",
        "synthetic_successes",
        "synthetic_latency",
    }


@given(st.lists(st.tuples(st.floats(100, 130), st.sets(st.sampled_from(["r/1", "r/2"])))), st.floats(100, 140))
def test_a_run_is_over_in_its_time_whatever_comes(looks: list[tuple[float, set[str]]], end: float) -> None:
    run = PathRun(two(), "r", 100.0)
    run.answered(0, 100.0, 100.1)
    run.answered(1, 102.0, 102.3)
    for at, ids in sorted(looks, key=lambda one: one[0]):
        run.stored(dict.fromkeys(ids, ROW), at)
    assert run.is_done(120.0)
    seen = set().union(*(ids for _, ids in looks))
    report = run.report(end, {})
    assert report.ok == (seen == {"r/1", "r/2"})
    assert len(report.checks) == 4


def test_what_the_documentation_writes_is_a_path() -> None:
    [block] = re.findall(r"```yaml\n(.+?)```", (CLONE / "docs" / "SYNTHETIC.md").read_text("utf-8"), re.DOTALL)
    [path] = parse_paths(block).values()
    assert (path.id, len(path.steps), len(path.derives)) == ("web-gift", 4, 1)
