"""The documents that tell newcomers where things are are true."""

import re

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
