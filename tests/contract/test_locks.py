"""The locks: complete, hashed, equal to each other, and what this environment really holds."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
WORKER = PROJECT["dependencies"] + EXTRAS["worker"]
LOCAL = WORKER + [text for text in EXTRAS["local"] if Requirement(text).name != PROJECT["name"]]
DEV = LOCAL + EXTRAS["dev"]
LOCKS = [("requirements.lock", WORKER), ("requirements-local.lock", LOCAL), ("requirements-dev.lock", DEV)]

Pin = tuple[Version, Marker | None]


def pins(name: str) -> dict[str, list[Pin]]:
    """Return package → versions with their markers (a universal lock may hold one per Python version)."""
    held: dict[str, list[Pin]] = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if line[:1].isalnum():
            requirement = Requirement(line.removesuffix("\\").strip())
            (pin,) = requirement.specifier
            assert pin.operator == "=="
            held.setdefault(canonicalize_name(requirement.name), []).append((Version(pin.version), requirement.marker))
    return held


@pytest.mark.parametrize(("name", "wanted"), LOCKS)
def test_what_the_project_asks_for_is_locked_in_versions_it_allows(name: str, wanted: list[str]) -> None:
    """A requirement changed without `make lock` is found here, not on a stranger's machine."""
    held = pins(name)
    for text in wanted:
        requirement = Requirement(text)
        versions = [version for version, _ in held.get(canonicalize_name(requirement.name), [])]
        assert versions, f"{requirement.name} is not in {name}: run `make lock`"
        for version in versions:
            assert requirement.specifier.contains(version), f"{name} holds {requirement.name} {version}, not {text}"


@pytest.mark.parametrize("name", [name for name, _ in LOCKS])
def test_every_pin_carries_hashes_and_nothing_says_from_where(name: str) -> None:
    """An index in a lock would bypass the mirror that a company sets up for its machines."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for block in re.split(r"\n(?=[A-Za-z0-9])", text):
        if block[:1].isalnum():
            assert "--hash=sha256:" in block, block.splitlines()[0]
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--\S*index\S*|--find-links)\b", text, re.MULTILINE)


@pytest.mark.parametrize("smaller", ["requirements.lock", "requirements-local.lock"])
def test_the_development_lock_contains_the_others(smaller: str) -> None:
    """One environment serves `test` and `up`: the same versions, only fewer."""
    assert {name: sorted(map(str, found)) for name, found in pins(smaller).items()}.items() <= {
        name: sorted(map(str, found)) for name, found in pins("requirements-dev.lock").items()
    }.items()


def test_this_environment_is_the_lock() -> None:
    """Results of tests count only for the locked versions."""
    for name, found in pins("requirements-dev.lock").items():
        for version, marker in found:
            if marker is None or marker.evaluate():
                assert Version(metadata.version(name)) == version, f"{name}: run `python3 -m streams test`"


def test_checksums_of_kafka_records_are_not_computed_in_pure_python() -> None:
    """The client falls back without a word when the compiled checksum is absent, at a fraction of its speed."""
    import crc32c
    from kafka.record import util

    assert util.crc32c_c is crc32c.crc32c
    assert util.calc_crc32c(b"123456789") == 0xE3069283


def test_extras_that_people_are_told_to_install_exist() -> None:
    """A message that names another would send them nowhere."""
    texts = [*(ROOT / "streams").rglob("*.py"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]
    named = {extra for path in texts for extra in re.findall(r"cx-streams\[(\w+)\]", path.read_text(encoding="utf-8"))}
    assert {"local", "worker", "pictures"} <= named <= EXTRAS.keys()
