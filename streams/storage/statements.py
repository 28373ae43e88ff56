"""Texts of SQL: where one statement ends, and which names it uses outside of quotes."""

import re
from collections.abc import Callable, Iterable
from typing import Final

_QUOTES: Final = frozenset("'\"`")
_HEREDOC: Final = re.compile(r"\$\w*\$")


def split_statements(text: str) -> list[str]:
    """
    Split SQL at the semicolons that end statements: not those in quotes, heredocs or comments.

    Comments outside of quotes are removed; statements of nothing else are left out.
    """
    statements: list[str] = []
    part: list[str] = []
    for piece, quoted in _pieces(text):
        if piece == ";" and not quoted:
            statements.append("".join(part).strip())
            part = []
        else:
            part.append(piece)
    return [statement for statement in (*statements, "".join(part).strip()) if statement]


def outside_quotes(text: str, change: Callable[[str], str]) -> str:
    """Apply a change to everything that stands in no quotes and no heredoc; comments are removed."""
    return "".join(part if quoted else change(part) for part, quoted in _runs(text))


def _runs(text: str) -> Iterable[tuple[str, bool]]:
    """Put neighbouring pieces together, so that a pattern may span them."""
    run: list[str] = []
    for piece, quoted in _pieces(text):
        if quoted:
            yield "".join(run), False
            yield piece, True
            run = []
        else:
            run.append(piece)
    yield "".join(run), False


def _pieces(text: str) -> Iterable[tuple[str, bool]]:
    """Cut text into single characters and whole quoted parts, with whether they are quoted; comments are left out."""
    place = 0
    while place < len(text):
        here, pair = text[place], text[place : place + 2]
        if pair == "--":
            place = _after(text, "\n", place) - 1 if "\n" in text[place:] else len(text)
        elif pair == "/*":
            place = _after(text, "*/", place + 2)
            yield " ", False
        else:
            end = place + 1
            if here in _QUOTES:
                end = _end_of_quoted(text, place)
            elif here == "$" and (tag := _HEREDOC.match(text, place)):
                end = _after(text, tag[0], tag.end())
            yield text[place:end], end > place + 1
            place = end


def _after(text: str, mark: str, start: int) -> int:
    """Return the place behind the next mark, or the end."""
    found = text.find(mark, start)
    return len(text) if found < 0 else found + len(mark)


def _end_of_quoted(text: str, start: int) -> int:
    """Return the place behind the closing quote; a doubled quote opens a new quoted part, which is as good."""
    place = start + 1
    while place < len(text) and text[place] != text[start]:
        place += 2 if text[place] == "\\" else 1
    return place + 1
