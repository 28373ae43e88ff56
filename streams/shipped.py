"""Where the files beside the code are: in a clone at its root, in an installed package inside it."""

from pathlib import Path
from typing import Final

CLONE: Final = Path(__file__).resolve().parent.parent
_PACKED: Final = Path(__file__).with_name("shipped_files")
"""Made by the build of the wheel; a clone has none."""
INSTALLED: Final = _PACKED.is_dir()

_ROOT: Final = _PACKED if INSTALLED else CLONE
SQL: Final = _ROOT / "sql"
SCHEMAS: Final = _ROOT / "schemas"
RUNBOOK: Final = _ROOT / "docs" / "RUNBOOK.md"
RULES: Final = _ROOT / "deploy" / "rules"
RELATIONS: Final = _ROOT / "deploy" / "relations"
KPIS_OF_RELATIONS: Final = _ROOT / "deploy" / "kpis"
EXPERIMENTS: Final = _ROOT / "deploy" / "experiments"
ACTIONS: Final = _ROOT / "deploy" / "drivers"
CASES: Final = _ROOT / "deploy" / "loop"
SURVEYS: Final = _ROOT / "deploy" / "surveys"
PROMISES: Final = _ROOT / "deploy" / "promises"
SYNTHETIC: Final = _ROOT / "deploy" / "synthetic"
RELATION_TESTS: Final = RELATIONS / "tests"
RULE_TESTS: Final = RULES / "tests"
DASHBOARDS: Final = _ROOT / "deploy" / "grafana" / "dashboards"
