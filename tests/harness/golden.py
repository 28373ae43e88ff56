"""Golden cases: small inputs with the right results, in `tests/golden`."""

from pathlib import Path
from typing import Any

import yaml

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def golden(name: str) -> dict[str, Any]:
    """Return the case of a file."""
    return yaml.safe_load((GOLDEN / name).read_text(encoding="utf-8"))
