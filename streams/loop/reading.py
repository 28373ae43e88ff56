"""Rules for cases as people write them: blocks of YAML, read strictly."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from streams.kpis.language.blocks import CatalogueError, Problems, YamlBlock, blocks_of, files_of, text_of
from streams.kpis.language.expressions import Expression, suggest
from streams.kpis.language.fields import Kind
from streams.loop.case import PREFIX
from streams.loop.definition import LONGEST_WORD, NORMAL, SAID, CaseRules, Cause, Duty, Times, UrgencyPart
from streams.loop.urgency import KINDS_OF, NUMBERS
from streams.relations.clocks import WorkingClock, read_clock, read_duration
from streams.relations.definition import Matcher
from streams.relations.matching import read_expression, read_matcher
from streams.value.valuations import CUSTOMER_FIELDS

KINDS: Final = ("cause", "duty", "priority", "clock")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,47}")
_MOST: Final = 1e15
"""Weights and points are between it and its negative: products and sums of them are numbers, too."""
_NO_TIMES: Final = Times()
_SAYS: Final[Mapping[str, Kind]] = {
    name: Kind.TEXT if name in {"tier", "priority"} else Kind.NUMBER for name in SAID
}  # fmt: skip


def load_rules(paths: Sequence[Path]) -> CaseRules:
    """
    Read the rules of files and of the YAML files of folders.

    Raises:
        CatalogueError: Anything cannot be right; names every problem with file and line.
    """
    problems, blocks = Problems(), list[YamlBlock]()
    for file in files_of(paths, "rules of cases", problems):
        blocks += blocks_of(text_of(file, problems), str(file), "rule", problems)
    return read_rules(blocks, problems)


def parse_rules(text: str, file: str = "<text>") -> CaseRules:
    """
    Read rules from a text alone.

    Raises:
        CatalogueError: Anything cannot be right; names every problem with file and line.
    """
    problems = Problems()
    return read_rules(blocks_of(text, file, "rule", problems), problems)


def read_rules(blocks: Sequence[YamlBlock], problems: Problems) -> CaseRules:
    """
    Read rules from their blocks.

    Raises:
        CatalogueError: Anything cannot be right, or was noted before.
    """
    of_kind: dict[str, list[YamlBlock]] = {kind: [] for kind in KINDS}
    places: dict[str, str] = {}
    for block in blocks:
        kind = block.choice("kind", KINDS, "") if "kind" in block else ""
        if "kind" not in block:
            block.problem("kind", f"'kind' is missing: it is one of {', '.join(KINDS)}")
        name = block.text("id")
        if name in places:
            block.problem("id", f"{name} is defined already at {places[name]}")
        places.setdefault(name, f"{block.file}:{block.line}")
        of_kind.get(kind, []).append(block)
    clocks = {clock.name: clock for clock in map(read_clock, of_kind["clock"])}
    names = {block.text("id") for block in of_kind["cause"]}
    causes = [_cause(block, clocks, names) for block in of_kind["cause"]]
    duties = [_duty(block, clocks, names) for block in of_kind["duty"]]
    for block in of_kind["priority"][1:]:
        block.problem("kind", "there is one 'priority' only, by which all cases are put in order")
    parts = _priority(of_kind["priority"][0]) if of_kind["priority"] else ()
    problems.raise_any(CatalogueError)
    return CaseRules({cause.id: cause for cause in causes}, tuple(duties), parts, clocks)


def _cause(block: YamlBlock, clocks: Mapping[str, WorkingClock], names: Iterable[str]) -> Cause:
    block.expect(
        ("id", "kind", "name", "opens"),
        ("contact", "close", "clock", "priorities", "warns", "reopens", "yields_to", *SAID),
    )
    name = block.text("id")
    if name and not _NAME.fullmatch(name):
        block.problem("id", f"id {name!r} must be lower case letters, digits and underscores, 48 at most")
    texts = block.block("name")
    if texts is not None:
        texts.expect(("en",), ("fa",))
    opens = read_matcher(
        block,
        "opens",
        PREFIX,
        "is what happens to cases: it cannot open one, or they would never end",
        CUSTOMER_FIELDS,
    )
    times = {NORMAL: _times(block)}
    priorities = block.block("priorities")
    for priority in priorities or ():
        assert priorities is not None
        of_priority = priorities.block(priority)
        if of_priority is not None:
            of_priority.expect((), ("contact", "close"))
            times[priority] = _times(of_priority, times[NORMAL])
    yields_to = frozenset(map(str, block.list("yields_to")))
    for other in sorted(yields_to - set(names)):
        block.problem("yields_to", f"there is no cause {other!r}{suggest(other, names)}")
    if name in yields_to:
        block.problem("yields_to", f"{name!r} cannot yield to itself: a customer has one open case of a cause anyway")
    return Cause(
        id=name,
        name={language: texts.text(language) for language in texts} if texts is not None else {},
        opens=opens,
        says={one: found for one in SAID if (found := _said(block, one, opens)) is not None},
        times=times,
        clock=_clock(block, "clock", clocks),
        warns_ms=read_duration(block, "warns"),
        reopens_ms=read_duration(block, "reopens"),
        yields_to=yields_to,
    )


def _times(block: YamlBlock, normal: Times = _NO_TIMES) -> Times:
    contact, close = read_duration(block, "contact") or normal.contact, read_duration(block, "close") or normal.close
    if contact and close and contact > close:
        block.problem("contact", "'contact' must not be longer than 'close': nobody closes a case before the contact")
    return Times(contact, close)


def _said(block: YamlBlock, name: str, opens: Matcher) -> Expression | None:
    """Read what is said of a case: a number or a word as it is, or an expression over the fact."""
    if name not in block or not opens.events:
        return None
    return read_expression(block, name, _SAYS[name], tuple(sorted(opens.events)), CUSTOMER_FIELDS)


def _clock(block: YamlBlock, key: str, clocks: Mapping[str, WorkingClock]) -> WorkingClock | None:
    name = block.text(key) if key in block else ""
    if name and name not in clocks:
        block.problem(
            key, f"no clock {name!r}{suggest(name, clocks) or '; there are ' + (', '.join(clocks) or 'none')}"
        )
    return clocks.get(name)


def _duty(block: YamlBlock, clocks: Mapping[str, WorkingClock], names: Iterable[str]) -> Duty:
    block.expect(("id", "kind", "owner"), ("touchpoints", "causes", "shift"))
    causes = frozenset(map(str, block.list("causes")))
    for other in sorted(causes - set(names)):
        block.problem("causes", f"there is no cause {other!r}{suggest(other, names)}")
    touchpoints = frozenset(map(str, block.list("touchpoints")))
    if len(block.text("owner")) > LONGEST_WORD:
        block.problem("owner", f"'owner' must have {LONGEST_WORD} characters at most")
    return Duty(block.text("owner"), touchpoints, causes, _clock(block, "shift", clocks))


def _weight(block: YamlBlock, key: str) -> float:
    found = block.number(key) or 0.0
    if abs(found) > _MOST:
        block.problem(key, f"{key!r} must be between -{_MOST:g} and {_MOST:g}, not {found:g}")
    return found


def _priority(block: YamlBlock) -> tuple[UrgencyPart, ...]:
    block.expect(("id", "kind", "parts"), ())
    parts = block.block("parts")
    found = []
    for name in parts or ():
        assert parts is not None
        part = parts.block(name)
        if part is None:
            continue
        part.expect(("of", "weight"), ("points", "most"))
        of = part.choice("of", tuple(KINDS_OF), "severity")
        points = part.block("points")
        worth = {text: _weight(points, text) for text in points} if points is not None else {}
        if points is None and of not in NUMBERS:
            part.problem(
                "of", f"{of!r} is a word: 'points' has to say what each is worth, such as {{gold: 3, silver: 2}}"
            )
        if points is not None and of in NUMBERS:
            part.problem(
                "points", f"{of!r} is a number already: 'points' are for {', '.join(KINDS_OF.keys() - NUMBERS)}"
            )
        found.append(UrgencyPart(name, of, _weight(part, "weight"), worth, part.number("most")))
    return tuple(found)
