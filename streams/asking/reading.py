"""Rules of surveys as people write them: blocks of YAML, read strictly."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from streams.asking.deciding import length_text
from streams.asking.definition import AnswerPlan, Survey, SurveyRules
from streams.events.scalars import LABEL_LENGTH
from streams.kpis.language.blocks import CatalogueError, Problems, YamlBlock, blocks_of, files_of, text_of
from streams.kpis.language.expressions import suggest
from streams.kpis.language.fields import Kind, all_fields, lacking
from streams.relations.clocks import read_duration
from streams.relations.matching import read_matcher
from streams.value.valuations import CUSTOMER_FIELDS

_KINDS: Final = ("limits", "survey", "review")
_NAME: Final = re.compile(rf"[^\x00-\x1f\x7f]{{1,{LABEL_LENGTH}}}")
_OF_SURVEYS: Final = (
    "cx.survey.eligible", "cx.survey.suppressed", "cx.survey.sent", "cx.survey.delivered", "cx.survey.opened",
    "cx.survey.started", "cx.survey.dismissed",
)  # fmt: skip
_MOST_ANSWERS: Final = 1_000_000_000


def load_surveys(paths: Sequence[Path], touchpoints: Collection[str] = ()) -> SurveyRules:
    """
    Read the rules of files and of the YAML files of folders; surveys ask at the `touchpoints` alone, if there are any.

    Raises:
        CatalogueError: Anything cannot be right; names every problem with file and line.
    """
    problems, blocks = Problems(), list[YamlBlock]()
    for file in files_of(paths, "rules of surveys", problems):
        blocks += blocks_of(text_of(file, problems), str(file), "rule", problems)
    for block in blocks if touchpoints else ():
        name = block.text("touchpoint")
        if name and name not in touchpoints:
            block.problem("touchpoint", f"no touchpoint {name!r}{suggest(name, touchpoints)}")
    return _read(blocks, problems, str(paths[0]) if paths else "")


def parse_surveys(text: str, file: str = "<text>") -> SurveyRules:
    """
    Read rules from a text alone.

    Raises:
        CatalogueError: Anything cannot be right; names every problem with file and line.
    """
    problems = Problems()
    return _read(blocks_of(text, file, "rule", problems), problems, file)


def _read(blocks: Sequence[YamlBlock], problems: Problems, file: str) -> SurveyRules:
    limits: list[tuple[YamlBlock, int]] = []
    written: list[tuple[YamlBlock, Survey]] = []
    defined: dict[str, str] = {}
    for block in blocks:
        if "kind" not in block:
            block.problem("kind", f"'kind' is missing: it is one of {', '.join(_KINDS)}")
        kind = block.choice("kind", _KINDS, "") if "kind" in block else ""
        name = block.text("id")
        if name and name in defined:
            block.problem("id", f"{name} is defined already at {defined[name]}")
        defined.setdefault(name, f"{block.file}:{block.line}")
        if kind == "limits":
            block.expect(("id", "kind", "gap"), ())
            limits.append((block, read_duration(block, "gap")))
        elif kind:
            written.append((block, _survey(block, kind, len(written))))
    for block, _ in limits[1:]:
        block.problem("kind", "there is one 'limits' only, for all surveys together")
    if not limits and not len(problems):
        problems.add(file, 1, "there is no 'limits': '- {id: limits, kind: limits, gap: 30d}' says how long anybody "
                     "who was asked is left alone")  # fmt: skip
    gap_ms = limits[0][1] if limits else 0
    names = {survey.id for _, survey in written if not survey.review}
    surveys = [_fitting(block, survey, gap_ms, names) for block, survey in written]
    problems.raise_any(CatalogueError)
    return SurveyRules({one.id: one for one in surveys}, gap_ms)


def _survey(block: YamlBlock, kind: str, rank: int) -> Survey:
    """Read a survey by itself; how it fits the others is seen when all are known."""
    review = kind == "review"
    block.expect(
        ("id", "kind", "name", "touchpoint", "opens", *(("again",) if review else ())),
        ("matter", "share", "plan", *(() if review else ("again", "after"))),
    )
    name = block.text("id")
    if name and not _NAME.fullmatch(name):
        block.problem(
            "id", f"id {name!r} must be what events carry as 'survey_id': one line, {LABEL_LENGTH} characters at most"
        )
    texts = block.block("name")
    if texts is not None:
        texts.expect(("en",), ("fa",))
    opens = read_matcher(
        block,
        "opens",
        _OF_SURVEYS,
        "is what becomes of surveys: it cannot be an occasion, or one would lead to another",
        CUSTOMER_FIELDS,
    )
    after_frequent, after = _after(block)
    by, shares, share = _shares(block, opens.events)
    return Survey(
        id=name,
        name={language: texts.text(language) for language in texts} if texts is not None else {},
        touchpoint=block.text("touchpoint"),
        opens=opens,
        again_ms=read_duration(block, "again"),
        after_ms=after,
        after_frequent_ms=after_frequent,
        matter=_field(block, "matter", opens.events),
        by=by,
        shares=shares,
        share=share,
        plan=_plan(block),
        review=review,
        rank=rank,
    )


def _fitting(block: YamlBlock, survey: Survey, gap_ms: int, names: Collection[str]) -> Survey:
    """Hold a survey against the others; one that does not say when it comes again does so after the gap of all."""
    if survey.review or not gap_ms:
        return survey
    gap = length_text(gap_ms)
    if 0 < survey.again_ms < gap_ms:
        block.problem("again", f"'again' cannot be shorter than the gap of {gap} between any two surveys")
    if survey.after_frequent_ms is not None and survey.after_frequent_ms >= gap_ms:
        block.problem("after", f"'after' is an exception for a rare survey: it must be shorter than the gap of {gap}")
    for other in survey.after_ms:
        if other == survey.id:
            block.problem("after", f"'after' names {other!r} itself: 'again' says how long after itself it comes")
        elif other not in names:
            block.problem("after", f"there is no survey {other!r}{suggest(other, names)}")
    return survey if survey.again_ms else replace(survey, again_ms=gap_ms)


def _after(block: YamlBlock) -> tuple[int | None, Mapping[str, int]]:
    """Read the exceptions of a rare survey: one for all frequent ones, or one for each that is named."""
    given: Any = block.plain("after")
    if not isinstance(given, dict):
        return (read_duration(block, "after") if "after" in block else None), {}
    named = block.block("after")
    assert named is not None
    if not given:
        block.problem("after", "'after' is empty: give a length of time, or one for each survey that is named")
    return None, {other: read_duration(named, other) for other in named}


def _field(block: YamlBlock, key: str, events: Iterable[str], beside: Collection[str] = ()) -> str:
    """Read the name of a field that all events have which are an occasion, or that is known `beside` them."""
    name, known = block.text(key), all_fields(events)
    if not name or not known or name in beside:
        return name if known else ""
    if name not in known or known[name].kind is not Kind.TEXT:
        texts = [one for one, field in known.items() if field.kind is Kind.TEXT]
        block.problem(key, f"{key}: {name!r} is no text that these events have{suggest(name, texts)}")
    elif without := lacking(name, events):
        block.problem(key, f"{key}: {name!r} is no field of {without}")
    return name


def _shares(block: YamlBlock, events: Iterable[str]) -> tuple[str, Mapping[str, float], float]:
    """Read how many are asked: a percentage, or one for each value of a field."""
    if not isinstance(block.plain("share"), dict):
        return "", {}, _share(block, "share")
    given = block.block("share")
    assert given is not None
    if "by" not in given or "other" not in given:
        given.problem("by", "'share' by group needs 'by', the field, and 'other', the percentage of all other values")
    shares = {group: _share(given, group) for group in given if group not in {"by", "other"}}
    return _field(given, "by", events, ("customer_tier",)), shares, _share(given, "other")


def _share(block: YamlBlock, key: str) -> float:
    found = block.number(key)
    if found is not None and not 0 <= found <= 100:
        block.problem(key, f"{key!r} must be a percentage from 0 to 100, not {found:g}")
    return 100.0 if found is None else float(found)


def _plan(block: YamlBlock) -> AnswerPlan | None:
    given = block.block("plan")
    if given is None:
        return None
    given.expect(("answers", "every"), ())
    return AnswerPlan(given.whole("answers", 1, _MOST_ANSWERS), read_duration(given, "every", 1))
