"""
What a change of a schema does to those who rely on it, and whether its version number says so.

SchemaVer: a MODEL change may refuse records that were good before; a REVISION keeps them good, yet readers meet
values they had not seen; an ADDITION only brings optional fields and words.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

_VERSIONED: Final = re.compile(r"(?P<type>events/.+)/(?P<version>\d+-\d+-\d+)\.json")
_ENVELOPE: Final = re.compile(r"envelope/\d+\.json")
_VERSIONS: Final = re.compile(r"(.*)\(([\d|-]+)\)(.*)")
"""In the pattern of `dataschema`: which versions of the schema a record may name."""
_WORDS: Final = frozenset({"$schema", "title", "description", "x-schemaver", "examples", "$comment"})
_HANDLED: Final = frozenset({"type", "enum", "const", "required", "properties"})
_LOWER: Final = frozenset({"minimum", "minLength"})
_UPPER: Final = frozenset({"maximum", "maxLength"})


class VersionStep(IntEnum):
    """How much a change asks of the version number."""

    ADDITION = 1
    REVISION = 2
    MODEL = 3


class GitError(RuntimeError):
    """The published state could not be read from git."""


Version = tuple[int, int, int]


def breaking_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List the changes that refuse records which were good before, or take a field away from readers."""
    return [text for level, text in changes(old, new) if level is VersionStep.MODEL]


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[VersionStep, str]]:
    """List all changes from one schema to another, each with the level it asks for."""
    return list(_compare("", old, new))


def level_of_bump(old: Version, new: Version) -> VersionStep:
    """
    Say which level a step from one version to the next announces.

    Raises:
        ValueError: `new` is not above `old`.
    """
    if new <= old:
        raise ValueError(f"version {new} does not follow {old}")
    if new[0] != old[0]:
        return VersionStep.MODEL
    return VersionStep.REVISION if new[1] != old[1] else VersionStep.ADDITION


def problems(current: Mapping[str, str], published: Mapping[str, str]) -> list[str]:
    """
    Hold schema files (text by path) against the published ones, and every version against the one before it.

    Returns:
        What is wrong; empty if nothing is.
    """
    found = []
    for path, text in sorted(published.items()):
        if _VERSIONED.fullmatch(path):
            if path not in current:
                found.append(f"{path}: published, but gone: versions stay for those who still send them")
            elif current[path] != text:
                found.append(f"{path}: published versions never change; make a new one")
        elif _ENVELOPE.fullmatch(path):
            new = json.loads(current.get(path, "{}"))
            broken = breaking_changes(json.loads(text), new)
            found += [f"{path}: the envelope only grows within a model: {change}" for change in broken]
    return found + list(_unannounced(current))


def published_at(root: Path, git_base: str) -> dict[str, str]:
    """
    Read the schema files below `root` as they were at a commit.

    Raises:
        GitError: Git does not know the commit, or `root` is in no repository.
    """
    listing = _git(root, "ls-tree", "-r", "-z", "--name-only", git_base, "--", ".")
    return {
        path: _git(root, "show", f"{git_base}:./{path}")
        for path in listing.split("\0")
        if _VERSIONED.fullmatch(path) or _ENVELOPE.fullmatch(path)
    }


def published_by_standing(root: Path, seconds: float, now: float) -> dict[str, str]:
    """
    Read the first text of each schema file below `root` that has stood unchanged in Git's history for so long.

    Who reads the main branch has met them by then; what was changed sooner was not published yet.

    Args:
        root: The schema folder.
        seconds: How long a text must have stood.
        now: Unix s.

    Raises:
        GitError: `root` is in no repository.
    """
    changed: dict[str, list[tuple[int, str]]] = {}
    at, commit = 0, ""
    for line in _git(root, "log", "--reverse", "--relative", "--format=@%ct %H", "--name-only", "--", ".").splitlines():
        if line.startswith("@"):
            time, _, commit = line[1:].partition(" ")
            at = int(time)
        elif _VERSIONED.fullmatch(line) or _ENVELOPE.fullmatch(line):
            changed.setdefault(line, []).append((at, commit))
    found = {}
    for path, changes in changed.items():
        for (since, written), (until, _) in pairwise([*changes, (int(now), "")]):
            if until - since >= seconds:
                found[path] = _git(root, "show", f"{written}:./{path}")
                if _VERSIONED.fullmatch(path):  # the envelope may grow: of it the newest counts
                    break
    return found


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise GitError(f"git {arguments[0]} failed in {root}: {done.stderr.strip()}")
    return done.stdout


def _unannounced(current: Mapping[str, str]) -> Iterator[str]:
    versions: dict[str, list[Version]] = {}
    for path in current:
        if found := _VERSIONED.fullmatch(path):
            model, revision, addition = map(int, found["version"].split("-"))
            versions.setdefault(found["type"], []).append((model, revision, addition))
    for event_type, known in sorted(versions.items()):
        for old, new in pairwise(sorted(known)):
            announced = level_of_bump(old, new)
            old_schema, new_schema = (
                json.loads(current[f"{event_type}/{'-'.join(map(str, version))}.json"]) for version in (old, new)
            )
            for level, change in changes(old_schema, new_schema):
                if level > announced:
                    yield (
                        f"{event_type}: {'-'.join(map(str, old))} to {'-'.join(map(str, new))} announces "
                        f"{announced.name}, but is {level.name}: {change}"
                    )


def _compare(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[VersionStep, str]]:
    where = path or "the record"
    yield from _compare_values(where, old, new)
    was, now = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(now - was):
        yield VersionStep.MODEL, f"{_join(path, name)} became mandatory"
    for name in sorted(was - now):
        yield VersionStep.REVISION, f"{_join(path, name)} is no longer mandatory"
    before, after = old.get("properties", {}), new.get("properties", {})
    for name in before:
        if name not in after:
            yield VersionStep.MODEL, f"{_join(path, name)} was removed"
        else:
            yield from _compare(_join(path, name), before[name], after[name])
    for name in after:
        if name not in before:
            yield VersionStep.ADDITION, f"{_join(path, name)} was added"
    for key in sorted((old.keys() | new.keys()) - _HANDLED):
        if old.get(key) != new.get(key):
            yield _keyword(where, key, old.get(key), new.get(key))


def _compare_values(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[VersionStep, str]]:
    was, now = _types(old), _types(new)
    if lost := was - now:
        yield VersionStep.MODEL, f"{where} no longer takes {', '.join(sorted(lost))}"
    elif gained := now - was:
        yield VersionStep.REVISION, f"{where} now takes {', '.join(sorted(gained))}"
    before, after = _members(old), _members(new)
    if before is None and after is not None:
        yield VersionStep.MODEL, f"{where} became an enumeration"
    elif before is not None and after is None:
        yield VersionStep.REVISION, f"{where} is no longer an enumeration"
    elif before is not None and after is not None:
        for member in before:
            if member not in after:
                yield VersionStep.MODEL, f"{where} lost the value {json.dumps(member)}"
        for member in after:
            if member not in before:
                yield VersionStep.REVISION, f"{where} gained the value {json.dumps(member)}"


def _keyword(where: str, key: str, old: Any, new: Any) -> tuple[VersionStep, str]:
    if key in _WORDS:
        return VersionStep.ADDITION, f"{where}: {key} was reworded"
    widened = new is None or (key == "pattern" and _names_more_versions(old, new))
    if key in _LOWER | _UPPER and old is not None and new is not None:
        widened = new < old if key in _LOWER else new > old
    level = VersionStep.REVISION if widened else VersionStep.MODEL
    return level, f"{where}: {key} changed from {json.dumps(old)} to {json.dumps(new)}"


def _names_more_versions(old: Any, new: Any) -> bool:
    """Return whether a pattern takes all versions that the one before it took, and differs in nothing else."""
    was, now = (_VERSIONS.fullmatch(pattern or "") for pattern in (old, new))
    if was is None or now is None or (was[1], was[3]) != (now[1], now[3]):
        return False
    return set(was[2].split("|")) < set(now[2].split("|"))


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    named = schema.get("type")
    if named is None:
        return frozenset({"any"})
    found = {named} if isinstance(named, str) else set(named)
    # Every integer is a number.
    return frozenset(found | {"integer"}) if "number" in found else frozenset(found)


def _members(schema: Mapping[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    members = schema.get("enum")
    return None if members is None else list(members)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
