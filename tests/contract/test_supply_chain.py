"""What we ship of others: listed, licensed, and looked at."""

import json
import re
import subprocess
import sys
import tomllib
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry, Resource

ROOT = Path(__file__).resolve().parents[2]
SBOM: dict[str, Any] = json.loads((ROOT / "deploy" / "sbom.cdx.json").read_text(encoding="utf-8"))
PACKAGES = [component for component in SBOM["components"] if component["type"] == "library"]
FREE = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "LicenseRef-Repoze", "MIT", "MIT-0",
    "MIT-CMU", "PSF-2.0", "Zlib",
}  # fmt: skip
# Copyleft of files or libraries: used as published, not changed, replaceable by whoever installs.
LOOKED_AT = {
    ("certifi", "MPL-2.0"), ("hypothesis", "MPL-2.0"), ("pathspec", "MPL-2.0"), ("crc32c", "LGPL-2.1-or-later"),
}  # fmt: skip


def test_the_list_of_components_is_that_of_the_locks() -> None:
    """A lock that was refreshed without `make generate` is found here."""
    done = subprocess.run(
        [sys.executable, "deploy/sbom.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_it_is_cyclonedx() -> None:
    """By the schema of the standard, so that scanners read it."""
    carrier = find_spec("cyclonedx")
    assert carrier
    assert carrier.origin
    folder = Path(carrier.origin).parent / "schema" / "_res"
    schemas = {
        name: json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_bytes())
        for name in ("bom-1.6", "spdx", "jsf-0.82")
    }
    registry: Registry[Any] = Registry().with_resources([
        (schema["$id"], Resource.from_contents(schema)) for schema in schemas.values()
    ])  # fmt: skip
    Draft7Validator(schemas["bom-1.6"], registry=registry).validate(SBOM)


def test_no_licence_is_unknown_or_forbids_what_we_do() -> None:
    """Free ones, and by name the few with conditions that were looked at."""
    conditions = {
        (package["name"], licence)
        for package in PACKAGES
        for choice in package["licenses"]
        for licence in re.split(" AND | OR ", choice["expression"])
        if licence not in FREE
    }
    assert conditions == LOOKED_AT


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-local.lock", "requirements-dev.lock"])
def test_every_file_of_every_lock_has_its_hash_and_is_asked_for_it(lock: str) -> None:
    """The image and the environment are installed with `--require-hashes`: one line without would fail there."""
    blocks = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / lock).read_text(encoding="utf-8"))
    pinned = [block for block in blocks if block[:1].isalnum()]
    assert len(pinned) > 40
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", block) for block in pinned)
    for place in ("deploy/docker/Dockerfile", "streams/bootstrap.py"):
        assert "--require-hashes" in (ROOT / place).read_text(encoding="utf-8")


def test_what_reads_the_bytes_of_strangers_was_reviewed_in_the_locked_version() -> None:
    """A new version of one of these is looked at again before it is shipped."""
    review = tomllib.loads((ROOT / "deploy" / "review.toml").read_text(encoding="utf-8"))
    assert isinstance(review["reviewed"], date)
    locked = {package["name"]: package["version"] for package in PACKAGES if package["scope"] == "required"}
    assert {name: entry["version"] for name, entry in review["packages"].items()} == {
        name: locked[name] for name in review["packages"]
    }
    assert all(entry["reads"] for entry in review["packages"].values())
