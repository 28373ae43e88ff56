"""Rules of the house that no linter knows."""

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

import streams

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 420
GENERATED = {"__pycache__", "build", "dist"}
KEPT_HIDDEN = {".ci", ".editorconfig", ".gitignore", ".dockerignore"}

# Written in halves, so that this file does not break its own rules.
FORBIDDEN = {
    "an unfinished mark": r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b|\bNot" r"ImplementedError\b",
    "a path of somebody's machine": r"(?<![\w.$}-])/(wo" r"rk|fa" r"rm|ho" r"me/\w+|ro" r"ot|Us" r"ers)/",
    "a tool of the workplace": r"\.libr" r"ary/|fa" r"rm-(bench|studio)|before" r"-stop",
    "a registry's host": r"py"
    r"pi\.org|python"
    r"hosted|repo1?\.mav"
    r"en|deb\.deb"
    r"ian|registry\.np"
    r"mjs|crates"
    r"\.io",
    "a secret": r"-----BEGIN [A-Z ]*PRIVATE " r"KEY|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}",
}


@cache
def files(*suffixes: str) -> list[Path]:
    """Return the project's own files with one of these suffixes, or all."""

    def walk(folder: Path) -> Iterator[Path]:
        for entry in sorted(folder.iterdir()):
            if entry.name in GENERATED or entry.name.endswith(".egg-info"):
                continue
            if entry.name.startswith(".") and entry.name not in KEPT_HIDDEN:
                continue
            if entry.is_dir():
                yield from walk(entry)
            elif not suffixes or entry.suffix in suffixes:
                yield entry

    return list(walk(ROOT))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def lines_of(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    """Things that are of no use to a reader of the project, or that must never leave somebody's machine."""
    pattern = re.compile(FORBIDDEN[what])
    found = [
        f"{name(path)}:{number}: {line.strip()[:100]}"
        for path in files()
        if path.suffix != ".lock"
        for number, line in enumerate(lines_of(path), 1)
        if pattern.search(line)
    ]
    assert not found, f"{what}:\n" + "\n".join(found)


def test_files_stay_short() -> None:
    """A file that outgrows this holds two rooms; most stay near 300 lines."""
    long = {name(path): len(lines_of(path)) for path in files(".py") if len(lines_of(path)) > LONGEST}
    assert not long


def test_every_folder_of_code_is_a_package_that_says_what_it_is_for() -> None:
    """The docstring of a package is what a newcomer reads first."""
    folders = {path.parent for path in files(".py") if path.is_relative_to(ROOT / "streams")}
    silent = []
    for folder in sorted(folders):
        init = folder / "__init__.py"
        if not init.is_file() or not ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))):
            silent.append(name(folder))
    assert not silent


def test_no_exception_disappears() -> None:
    """A handler that only passes, or a suppression of everything, hides the fault that on-call looks for."""
    everything = {"", "Exception", "BaseException"}

    def hides(node: ast.AST) -> bool:
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else ""
            return caught in everything and all(isinstance(step, ast.Pass) for step in node.body)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            return not everything.isdisjoint(ast.unparse(argument) for argument in node.args)
        return False

    found = [
        f"{name(path)}:{node.lineno}"
        for path in files(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if hides(node)
    ]
    assert not found


def test_every_test_file_tests() -> None:
    """A file of the test folder without a test proves nothing; a state machine counts as one."""
    silent = [
        name(path)
        for path in files(".py")
        if path.name.startswith("test_")
        and not re.search(
            r"^\s*(async )?def test_|^\w+ = \w+\.TestCase$", path.read_text(encoding="utf-8"), re.MULTILINE
        )
    ]
    assert not silent


def test_no_test_imports_a_benchmark() -> None:
    """What both need is in the harness."""
    found = [
        name(path)
        for path in files(".py")
        if path.is_relative_to(ROOT / "tests")
        and re.search(r"^\s*(from|import) bench\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert not found


def test_one_version_everywhere() -> None:
    """Package, project file and changelog name the same version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == streams.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?{re.escape(streams.__version__)}\b", changelog, re.MULTILINE)


# -- what the documents say must be there ------------------------------------------------------------------------


DOCUMENTS = [path for path in files(".md") if path.parent in {ROOT, ROOT / "docs"} and path.name != "CHANGELOG.md"]
COMMAND = re.compile(
    r"(?:^|[`$]\s?|&& )(?:cx|(?:python3|\.venv/bin/python) -m streams)((?: [a-z][a-z-]*)+)", re.MULTILINE
)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def missing_command(words: list[str]) -> str:
    """Follow the words through the command groups; return the one that does not exist, or an empty string."""
    from streams.cli import main

    command: click.Command = main
    for word in words:
        if not isinstance(command, click.Group):
            return ""
        found = command.get_command(click.Context(command), word)
        if found is None:
            return word
        command = found
    return ""


def test_there_is_a_readme_with_both_commands() -> None:
    """A stranger needs two commands: one to see it run, one to see it proven."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "python3 -m streams up" in text
    assert "python3 -m streams test" in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_commands_in_documents_exist(document: Path) -> None:
    """Every `cx …`, `python3 -m streams …` and `make …` that is told can be typed."""
    text = document.read_text(encoding="utf-8")
    wrong = [
        f"cx{words}: there is no {missing!r}"
        for words in COMMAND.findall(text)
        if (missing := missing_command(words.split()))
    ]
    wrong += [
        f"make {target}"
        for target in re.findall(r"(?:^|[`$]\s?)make ([a-z-]+)", text, re.MULTILINE)
        if target not in make_targets()
    ]
    assert not wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_paths_in_documents_exist(document: Path) -> None:
    """A path that was moved is told by this test instead of by a lost reader."""
    text = document.read_text(encoding="utf-8")
    inside = re.findall(r"`((?:streams|tests|deploy|docs|sql|schemas|\.ci)/[\w./-]+)`", text)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text) if "://" not in link]
    gone = [path for path in inside if not (ROOT / path).exists()]
    gone += [link for link in links if not (document.parent / link).exists()]
    assert not gone


def test_shell_scripts_can_be_run() -> None:
    """A script that lost its mode fails on the machine where it is needed."""
    for path in files():
        head = path.read_bytes()[:2]
        if head == b"#!":
            assert os.access(path, os.X_OK), name(path)
