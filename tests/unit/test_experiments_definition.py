"""Experiments as people write them: what cannot be right is refused with file and line, and no name forges a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from streams.commands import experiments
from streams.experiments.definition import load_experiments
from streams.experiments.judging import Sums
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.blocks import CatalogueError
from streams.storage.experiments import Assigned

KPIS = Catalogue.load()
SOUND = """- id: layout
  question: Is it better?
  owner: team
  arms: {old: 1, new: 2}
  goals: [{kpi: csat, effect: 5}]
  guardrails: [{kpi: ces, effect: 2}]
  alpha: 0.1
"""
FORGED = "new\nBy the way, all is well"


def loaded(folder: Path, text: str) -> Any:
    (folder / "e.yaml").write_text(text, encoding="utf-8")
    return load_experiments([folder], KPIS)


def test_a_sound_one_is_read(tmp_path: Path) -> None:
    found = loaded(tmp_path, SOUND)["layout"]
    assert (found.arms, found.alpha, found.owner) == ({"old": 1, "new": 2}, 0.1, "team")
    assert [(one.kpi, one.effect, one.guardrail) for one in found.metrics] == [("csat", 5, False), ("ces", 2, True)]
    assert found.alpha_of_each(3) == pytest.approx(0.1 / 3)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("old: 1,", "old: 0,", 4, "planned share of 'old'"),
        ("old: 1,", "old: -1,", 4, "planned share of 'old'"),
        ("old: 1,", "old: .nan,", 4, "must be finite"),
        ("old: 1,", "old: 1.0e+300,", 4, "planned share of 'old'"),
        ("old: 1,", "old: 1.0e-300,", 4, "planned share of 'old'"),
        ("old: 1,", "", 4, "two arms or more"),
        ("effect: 5", "effect: 0", 5, "'effect' must be above 0"),
        ("effect: 5", "effect: 1.0e-200", 5, "'effect' must be above 0"),
        ("effect: 5", "effect: 1.0e+200", 5, "'effect' must be above 0"),
        ("kpi: csat", "kpi: csta", 5, "no KPI 'csta'"),
        ("kpi: ces", "kpi: csat", 5, "stands twice"),
        ("alpha: 0.1", "alpha: abc", 7, "must be a number"),
        ("alpha: 0.1", "alpha: 0.6", 7, "'alpha' must be above 0"),
        ("alpha: 0.1", "alpha: 4.9e-324", 7, "'alpha' must be above 0"),
        ("alpha: 0.1", "- id: layout", 8, "another experiment"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    text = SOUND.replace(old, new, 1)
    if new.startswith("- id"):
        text = SOUND + SOUND
    with pytest.raises(CatalogueError) as caught:
        loaded(tmp_path, text)
    [problem] = [one for one in caught.value.problems if said in one]
    assert problem.startswith(f"{tmp_path / 'e.yaml'}:{line}: ")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store with one experiment that nobody planned."""
    now = datetime(2026, 6, 1, tzinfo=UTC)
    assigned = {"layout": Assigned({"old": 50, FORGED: 50}, 1, now, now)}
    sums = {arm: (Sums(50, 50, 25, 50, 25, 25), None) for arm in ("old", FORGED)}

    @contextmanager
    def asking(*_: object) -> Iterator[Any]:
        yield SimpleNamespace(assigned=lambda: assigned, compared=lambda *_: sums)

    monkeypatch.setattr(experiments, "_asking", asking)
    monkeypatch.setattr("streams.experiments.comparing._adjusted", lambda *_: {})


@pytest.mark.parametrize("effect", ["1e-200", "1e200", "0", "-1"])
@pytest.mark.usefixtures("store")
def test_no_effect_that_nobody_can_reckon_with(effect: str) -> None:
    found = CliRunner().invoke(experiments.experiments, ["show", "layout", "--kpi", "csat", "--effect", effect])
    assert (found.exit_code, "--effect belongs to --kpi" in found.output) == (2, True)


@pytest.mark.usefixtures("store")
def test_no_arm_forges_a_line() -> None:
    asked = ["show", "layout", "--kpi", "csat", "--effect", "5"]
    assert not [
        line
        for line in CliRunner().invoke(experiments.experiments, asked).output.splitlines()
        if line.startswith("By the way")
    ]
    found = json.loads(CliRunner().invoke(experiments.experiments, [*asked, "--json"]).output)
    assert found["arms"] == {"old": 50, FORGED: 50}
