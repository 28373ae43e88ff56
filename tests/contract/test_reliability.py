"""docs/RELIABILITY.md names tests that exist, and leaves out no alert of the pipeline."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
GUARDS = (ROOT / "docs" / "RELIABILITY.md").read_text(encoding="utf-8").partition("## Guards")[2].partition("\n## ")[0]
PROMETHEUS = ROOT / "deploy" / "prometheus"
NAMED = sorted(set(re.findall(r"`(test_\w+)`", GUARDS)))
NAMED_RULES = sorted(set(re.findall(r"`(pipeline|rates): ([^`]+)`", GUARDS)))


def test_guards_are_shown_by_tests_that_exist() -> None:
    """A test that is renamed, or gone, would leave a guard unproven."""
    existing = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(NAMED) > 50
    assert set(NAMED) <= existing


@pytest.mark.parametrize("file", ["pipeline", "rates"])
def test_guards_of_prometheus_are_shown_by_tests_that_exist(file: str) -> None:
    tests = yaml.safe_load((PROMETHEUS / "tests" / f"{file}.yml").read_text())["tests"]
    named = {name for where, name in NAMED_RULES if where == file}
    assert named
    assert named <= {test["name"] for test in tests}


def test_every_alert_of_the_pipeline_is_a_guard_in_the_list() -> None:
    groups = yaml.safe_load((PROMETHEUS / "rules" / "pipeline.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert alerts <= set(re.findall(r"\bCx[A-Z]\w+", GUARDS))


def test_every_guard_names_a_test() -> None:
    """In the tables whose last column is for that."""
    tables = re.findall(r"(?:^\|.*\n)+", GUARDS, re.MULTILINE)
    proven = [table for table in tables if table.splitlines()[0].rstrip("| ").endswith("test")]
    assert len(proven) == 4
    for table in proven:
        for row in table.splitlines()[2:]:
            assert re.search(r"`(test_\w+|(pipeline|rates): [^`]+)`", row.rstrip("| ").rpartition(" | ")[2]), row
