"""The shipped runbook as a page of its own: what the links of alerts lead to."""

import re
from functools import lru_cache
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from streams.shipped import RUNBOOK

_NO_WORD: Final = re.compile(r"[^\w\s-]")


@lru_cache(maxsize=1)
def runbook() -> Markup:
    """Return the runbook as HTML, each heading named as links to it do; links to other documents are plain words."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(RUNBOOK.read_text("utf-8"))
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor_of(tokens[place + 1].content))
        if token.children:
            token.children = _without_documents(token.children)
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704 - made of our own document


def anchor_of(heading: str) -> str:
    """Return what names a heading in links: small letters, with `-` between words."""
    return _NO_WORD.sub("", heading).strip().lower().replace(" ", "-")


def _without_documents(children: list[Token]) -> list[Token]:
    """Leave out links that lead to files beside the document, which this page does not have."""
    kept, dropped = [], False
    for token in children:
        if token.type == "link_open":
            dropped = not str(token.attrGet("href")).startswith(("#", "https://"))
        if not (dropped and token.type in {"link_open", "link_close"}):
            kept.append(token)
        if token.type == "link_close":
            dropped = False
    return kept
