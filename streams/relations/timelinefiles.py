"""Tests of relations, written as timelines in YAML: events at times, and what is to be known of them, and when."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.events.decode import decode_one
from streams.events.refusal import Refusal
from streams.kpis.language.blocks import CatalogueError, Problems, YamlBlock, blocks_of, text_of
from streams.relations.catalogue import Relations, read
from streams.relations.clocks import read_duration
from streams.relations.facts import milliseconds, moment_of
from streams.relations.results import DerivedEvent
from streams.relations.timelines import Arrival, Played, Stop, disordered, duplicated, play, standing, stopped, value_of

_LATENESS_MS: Final = 60_000
SWITCHES: Final = ("disorder", "restart", "duplicates")
"""What may happen on the way and must change no result."""
_ANSWERS: Final = ("late", "ignored", "refused")


@dataclass(frozen=True)
class AsOfCheck:
    """
    What is known as of a moment; times in milliseconds.

    Attributes:
        open: How many wait for their end, by relation.
        oldest_s: For how long the oldest of them waits.
        counted: How many results hold, by relation and outcome.
        stages: How many are where, by relation and stage.
    """

    place: str
    as_of: int
    open: Mapping[str, int]
    oldest_s: Mapping[str, float]
    counted: Mapping[str, Mapping[str, int]]
    stages: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Timeline:
    """
    One test.

    Attributes:
        expect: What each result says, with its place in the file; no others may be given out.
        answers: What else is asked: ids of events refused, and how many were late and ignored by relation.
    """

    name: str
    place: str
    relations: Relations
    arrivals: Sequence[Arrival]
    lateness_ms: int
    stops: Sequence[Stop]
    expect: Sequence[tuple[str, Mapping[str, Any]]]
    checks: Sequence[AsOfCheck]
    answers: Mapping[str, Any]


def load_timelines(paths: Sequence[Path], relations: Relations) -> list[Timeline]:
    """
    Read the timelines of files; they test the relations given, or others that they define.

    Raises:
        CatalogueError: Anything cannot be right; names every problem with file and line.
    """
    problems = Problems()
    found = []
    files = [one for path in paths for one in (sorted(path.glob("*.y*ml")) if path.is_dir() else [path])]
    for path in files:
        blocks = blocks_of(text_of(path, problems), str(path), "timeline", problems)
        found += [_timeline(block, relations) for block in blocks]
    problems.raise_any()
    return [one for one in found if one is not None]


def check(timeline: Timeline, switch: str = "", seed: int = 0) -> list[str]:
    """
    Play a timeline, and tell what is not as it should be.

    Args:
        timeline: The test.
        switch: One of `SWITCHES`, with a seed for its chances: only what holds in the end is looked at then.
        seed: For its chances.
    """
    arrivals, stops = list(timeline.arrivals), list(timeline.stops)
    if switch == "disorder":
        arrivals = disordered(arrivals, timeline.lateness_ms, seed)
    elif switch == "duplicates":
        arrivals = duplicated(arrivals, seed)
    elif switch == "restart":
        stops += stopped(arrivals, seed)
    asked = [one.as_of for one in timeline.checks]
    played = play(timeline.relations, arrivals, timeline.lateness_ms, stops=stops, asked=asked)
    found = [*_differences(timeline, played, lasting=bool(switch))]
    if not switch:
        for one in timeline.checks:
            found += _unknown(one, played)
        found += _answers(timeline, played)
    return found


def _differences(timeline: Timeline, played: Played, *, lasting: bool) -> list[str]:
    """Hold results against what is expected: all of them in turn, or those that hold in the end."""
    given = list(played.results)
    if lasting:
        given = [(0, result) for result in played.standing().values()]
    missing = []
    for place, wanted in timeline.expect:
        if lasting and not _lasts(wanted, timeline.expect):
            continue
        fitting = next((at for at, one in enumerate(given) if _fits(one, wanted, lasting=lasting)), None)
        if fitting is None:
            missing.append(f"{place}: expected, and not given out: {_shown(wanted)}")
        else:
            del given[fitting]
    return [*missing, *(f"{timeline.place}: given out, and not expected: {_line_of(*one)}" for one in given)]


def _lasts(wanted: Mapping[str, Any], expect: Sequence[tuple[str, Mapping[str, Any]]]) -> bool:
    """Whether an expected result holds in the end: nothing takes it back, which would say the same."""
    withdrawn = [one for _, one in expect if one.get("withdrawn", False)]
    same = ("withdrawn", "known_from", "revision")
    return not wanted.get("withdrawn", False) and not any(
        one.get("revision", 0) == wanted.get("revision", 0)
        and all(wanted.get(key, value) == value for key, value in one.items() if key not in same)
        for one in withdrawn
    )


def _fits(given: tuple[int, DerivedEvent], wanted: Mapping[str, Any], *, lasting: bool) -> bool:
    clock, result = given
    whole = {"revision": 0, "withdrawn": False, **wanted}
    for name, value in whole.items():
        if name == "known_from":
            if not lasting and value != clock:
                return False
        elif not (lasting and name == "revision") and value_of(result, name) != value:
            return False
    return True


def _unknown(check_: AsOfCheck, played: Played) -> list[str]:
    known = played.known[check_.as_of]
    holding = standing(known.results).values()
    found = []
    for relation, number in check_.open.items():
        waiting = [opened for opened in known.open.get(relation, ()) if opened <= check_.as_of]
        if len(waiting) != number:
            found.append(f"{check_.place}: {relation} has {len(waiting)} open, expected {number}")
        oldest = (check_.as_of - min(waiting)) / 1000 if waiting else None
        if relation in check_.oldest_s and oldest != check_.oldest_s[relation]:
            found.append(
                f"{check_.place}: the oldest {relation} is open for {oldest} s, expected {check_.oldest_s[relation]}"
            )
    for relation, outcomes in check_.counted.items():
        counted = Counter(one.data.get("outcome", "") for one in holding if one.relation == relation)
        if counted != Counter(outcomes):
            found.append(f"{check_.place}: {relation} has {dict(counted)}, expected {dict(outcomes)}")
    for relation, stages in check_.stages.items():
        there = {stage: number for (name, stage), number in known.stages.items() if name == relation}
        if there != stages:
            found.append(f"{check_.place}: {relation} has {there}, expected {dict(stages)}")
    return found


def _answers(timeline: Timeline, played: Played) -> list[str]:
    there = {"late": dict(played.late), "ignored": dict(played.ignored), "refused": played.refused}
    return [
        f"{timeline.place}: {name}: {there[name]}, expected {wanted}"
        for name, wanted in timeline.answers.items()
        if there[name] != wanted
    ]


def _line_of(clock: int, result: DerivedEvent) -> str:
    said = {"relation": result.relation, "at": result.at, "subject": result.subject, **result.data}
    said |= {"revision": result.revision, "withdrawn": result.withdrawn}
    return _shown({**said, **({"known_from": clock} if clock else {})})


def _shown(values: Mapping[str, Any]) -> str:
    def one(name: str, value: Any) -> str:
        if isinstance(value, int) and not isinstance(value, bool) and value > 10**11:
            return f"{name} {moment_of(value).isoformat()}"
        return f"{name} {value}"

    return ", ".join(one(name, value) for name, value in values.items())


def _timeline(block: YamlBlock, beside: Relations) -> Timeline | None:
    block.expect(
        ("id", "events"), ("title", "why", "relations", "define", "lateness", "stops", "expect", "checks", *_ANSWERS)
    )
    place = f"{block.file}:{block.line} ({block.text('id')})"
    relations = _relations(block, beside)
    arrivals = [arrival for one in block.blocks("events", "event", "id") if (arrival := _arrival(one))]
    stops = [Stop(_time(one, "from"), _time(one, "until")) for one in block.blocks("stops", "stop", "from")]
    if relations is None:
        return None
    return Timeline(
        name=block.text("id"),
        place=place,
        relations=relations,
        arrivals=arrivals,
        lateness_ms=read_duration(block, "lateness", _LATENESS_MS),
        stops=stops,
        expect=[_expected(one, relations) for one in block.blocks("expect", "result of", "relation")],
        checks=[_check(one) for one in block.blocks("checks", "check as of", "as_of")],
        answers={name: block.plain(name) for name in _ANSWERS if name in block},
    )


def _relations(block: YamlBlock, beside: Relations) -> Relations | None:
    defined = block.blocks("define", "relation", "id")
    names = list(map(str, block.list("relations")))
    try:
        chosen = beside.only(names)
    except KeyError as error:
        block.problem("relations", str(error.args[0]))
        return None
    if not defined:
        return chosen
    own = Problems()
    for one in defined:
        one.problems = own
    try:
        return read(defined, own, chosen)
    except CatalogueError as error:
        for problem in error.problems:
            file, line, message = problem.split(":", 2)
            block.problems.add(file, int(line), message.strip())
        return None


def _arrival(block: YamlBlock) -> Arrival | None:
    if "at" not in block:
        block.problem("at", "'at' is missing: when it happened")
        return None
    at = _time(block, "at")
    raw = {
        "specversion": "1.0",
        "source": "timeline",
        "time": moment_of(at).isoformat(),
        "data": block.plain("fields") or {},
        **{name: block.plain(name) for name in block if name not in {"at", "arrives", "fields"}},
    }
    event = decode_one(msgspec.json.encode(_plain(raw)))
    if isinstance(event, Refusal):
        block.problem("type", f"is no event: {event.message}")
        return None
    fixed = "arrives" in block
    return Arrival(event, _time(block, "arrives") if fixed else at, fixed)


def _plain(value: Any) -> Any:
    """Write times that YAML took for times as text again."""
    if isinstance(value, datetime):
        return value.isoformat()
    return {name: _plain(one) for name, one in value.items()} if isinstance(value, dict) else value


def _time(block: YamlBlock, key: str) -> int:
    found = _milliseconds(block.plain(key))
    if found is None:
        block.problem(key, f"{key!r} cannot be {block.plain(key)!r}: expected a time with its zone")
    return found or 0


def _milliseconds(value: Any) -> int | None:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return None if moment.tzinfo is None else milliseconds(moment)


def _expected(block: YamlBlock, relations: Relations) -> tuple[str, Mapping[str, Any]]:
    wanted: dict[str, Any] = {}
    for name in block:
        value = block.plain(name)
        # Nothing but times looks like one.
        time = _milliseconds(value) if isinstance(value, str | datetime) and len(str(value)) > 18 else None
        wanted[name] = value if time is None else time
    if wanted.get("relation") not in relations:
        block.problem("relation", f"no relation {wanted.get('relation')!r}: this timeline has {', '.join(relations)}")
    return f"{block.file}:{block.line}", wanted


def _check(block: YamlBlock) -> AsOfCheck:
    keys = ("open", "oldest_s", "counted", "stages")
    block.expect(("as_of",), keys)
    found = {key: block.plain(key) or {} for key in keys}
    return AsOfCheck(f"{block.file}:{block.line}", _time(block, "as_of"), **found)
