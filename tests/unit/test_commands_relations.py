"""`cx relations`: what it lists, shows, refuses and plays."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streams.cli import main

OWN = """\
- id: damaged
  kind: span
  name: {en: Complaint}
  question: Does who got damaged goods complain?
  owner: logistics
  opens: {events: cx.order.delivered, where: condition == 'damaged'}
  closes:
    complained: {events: cx.feedback.given}
  expires: {after: 3d, as: silent}
  emits: cx.damage.settled
"""
TIMELINE = """\
- id: silent-after-three-days
  relations: [damaged]
  events:
    - {id: e1, at: '2026-05-02T10:00:00Z', type: cx.order.delivered, subject: c-1, channel: web, fields: {late: false, condition: damaged}}
  expect:
    - {relation: damaged, outcome: silent, at: '2026-05-05T10:00:00Z'}
"""


def run(*arguments: str, **settings: str) -> Result:
    return CliRunner().invoke(main, ["relations", *arguments], env=settings)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(OWN, encoding="utf-8")
    return path


def test_relations_are_listed_and_shown_with_those_of_the_settings(own: Path) -> None:
    listed = json.loads(run("list", "--json", CX_RELATIONS_PATH=str(own)).output)
    assert {"cart", "damaged"} <= {one["id"] for one in listed}
    shown = run("show", "damaged", CX_RELATIONS_PATH=str(own)).output
    assert "after 72 h" in shown
    assert "cx.damage.settled" in shown
    unknown = run("show", "damagd", CX_RELATIONS_PATH=str(own))
    assert unknown.exit_code == 1
    assert "did you mean 'damaged'?" in unknown.output


def test_the_list_says_which_of_them_run() -> None:
    lines = run("list", CX_RELATIONS="cart,promise").output.splitlines()
    assert sorted(line.split()[0] for line in lines if line.split()[1] == "yes") == ["cart", "promise"]
    assert "CX_RELATIONS" not in lines[-1]
    assert "None of them runs: CX_RELATIONS names those that do." in run("list").output


def test_what_fields_say_is_whole_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = run("show", "cart").output
    assert "its deadline (may lack)" in shown
    assert "…" not in shown


def test_what_is_wrong_ends_with_1_and_its_line(own: Path) -> None:
    assert run("check", str(own)).exit_code == 0
    own.write_text(OWN.replace("3d", "soon"), encoding="utf-8")
    refused = run("check", str(own))
    assert refused.exit_code == 1
    assert f"{own}:9: " in refused.output
    own.write_text("", encoding="utf-8")
    assert "no relation and no clock in it" in run("check", str(own)).output


def test_a_timeline_tells_what_was_not_as_expected(own: Path, tmp_path: Path) -> None:
    timeline = tmp_path / "timeline.yaml"
    timeline.write_text(TIMELINE, encoding="utf-8")
    arguments = ("test", str(timeline), "--seeds", "1")
    assert run(*arguments, CX_RELATIONS_PATH=str(own)).exit_code == 0
    timeline.write_text(TIMELINE.replace("outcome: silent", "outcome: complained"), encoding="utf-8")
    wrong = run(*arguments, CX_RELATIONS_PATH=str(own))
    assert wrong.exit_code == 1
    assert f"{timeline}:6: expected, and not given out: relation damaged, outcome complained" in wrong.output
    timeline.write_text(TIMELINE.replace("cx.order.delivered", "cx.order.arrived"), encoding="utf-8")
    refused = run(*arguments, CX_RELATIONS_PATH=str(own))
    assert refused.exit_code == 2
    assert f"{timeline}:4: " in refused.output
