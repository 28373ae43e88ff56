"""The documents that tell newcomers where things are are true."""

import ast
import re
from pathlib import Path

from streams.shipped import CLONE

TERMS_AT_MOST = 40


def read(name: str) -> str:
    return (CLONE / "docs" / name).read_text(encoding="utf-8")


def missing(paths: list[str]) -> list[str]:
    return [path for path in paths if not (CLONE / path).exists()]


def test_every_term_of_the_glossary_lives_where_it_says() -> None:
    rows = re.findall(r"^\| ([a-z ]+?) \| .+? \| `(.+?)` \|$", read("GLOSSARY.md"), re.MULTILINE)
    terms = [term for term, _ in rows]
    assert terms == sorted(set(terms))
    assert 20 < len(terms) <= TERMS_AT_MOST
    assert missing([path for _, path in rows]) == []
    for term, path in rows:
        place = CLONE / path
        files = [place] if place.is_file() else list(place.rglob("*.py"))
        word = re.escape(term.partition(" ")[0]).replace("y", "[yi]")
        assert any(re.search(word, file.read_text("utf-8"), re.IGNORECASE) for file in files), f"{term}: not in {path}"


def test_what_is_touched_to_add_something_is_there() -> None:
    text = read("ARCHITECTURE.md")
    section = text[text.index("## How do I") : text.index("## Limits")]
    paths = re.findall(r"`((?:streams|deploy|sql|tests)/[^`]*)`", section)
    assert len(paths) > len(section.splitlines()) / 2
    assert missing(paths) == []


def test_the_picture_numbers_steps_as_the_text_does() -> None:
    text = read("ARCHITECTURE.md")
    picture, rest = text[: text.index("0. **Send.**")], text[text.index("0. **Send.**") :]
    drawn = re.findall(r"(?:│|──) (\d) (\w+)", picture)
    told = [(number, word.lower()) for number, word in re.findall(r"^(\d)\. \*\*(\w+)", rest, re.MULTILINE)]
    assert drawn == told[: len(drawn)]
    assert len(drawn) == 9


def test_documents_are_linked() -> None:
    """A document that no other names is not found."""
    names = {path.name for path in (CLONE / "docs").glob("*.md")}
    told = "".join(path.read_text("utf-8") for path in [CLONE / "README.md", *(CLONE / "docs").glob("*.md")])
    assert {name for name in names if f"]({name}" not in told and f"](docs/{name}" not in told} == set()


def test_relative_links_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in [CLONE / "README.md", *(CLONE / "docs").glob("*.md")]
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


RETIRED = {
    "told", "usual", "course", "courses", "surety", "fleet", "lesson", "lessons", "strangers", "forsake", "forsaken",
    "homes", "spoilt", "monstrous", "settle", "settled", "pace", "odd", "heir",
}  # fmt: skip
"""Words that had several meanings, or none that a dictionary of the field knows."""


def names_in(path: Path) -> set[str]:
    """Return what a module defines: classes, functions, arguments, attributes and variables."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.arg(arg=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(name)
            case _:
                pass
    return found


def test_retired_words_are_in_no_name() -> None:
    wrong = {
        f"{path.relative_to(CLONE)}: {name}"
        for path in (CLONE / "streams").rglob("*.py")
        for name in names_in(path)
        if RETIRED & set(re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower().split("_"))
    }
    assert wrong == set()


def test_a_class_name_has_one_meaning() -> None:
    """Whoever reads a name in an error or a search finds one class."""
    places: dict[str, list[str]] = {}
    for path in (CLONE / "streams").rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(CLONE)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
