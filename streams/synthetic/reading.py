"""Scripted paths as people write them: blocks of YAML, read strictly, each event held against its contract."""

import re
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from streams.events.decode import decode_one
from streams.events.refusal import Refusal
from streams.events.scalars import CHANNELS
from streams.events.types import DATA_TYPES, DERIVED_TYPES, ENVELOPE_FIELDS, data_fields
from streams.kpis.language.blocks import CatalogueError, Problems, YamlBlock, blocks_of, files_of, nothing_in, text_of
from streams.kpis.language.expressions import suggest
from streams.privacy.finding import find
from streams.relations.clocks import read_duration
from streams.synthetic.definition import BadHoleError, Derives, DoorName, PathStep, SyntheticPath, event_of

MOST_PATHS: Final = 50
MOST_STEPS: Final = 50
_MOST_TIMES: Final = 5
_LONGEST_MS: Final = 600_000
_OF_A_RUN: Final = (
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "subject",
    "channel",
    "synthetic",
    "timeimputed",
    "dataschema",
)
"""Attributes that each run gives its events."""
_ATTRIBUTES: Final = tuple(name for name in (*ENVELOPE_FIELDS, "labels") if name not in _OF_A_RUN)
_ID: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_A_MOMENT: Final = datetime(2026, 3, 21, 9, 30, tzinfo=UTC)
_OF_RESULTS: Final = "cx.synthetic."


def load_paths(paths: Sequence[Path], touchpoints: Collection[str] = ()) -> dict[str, SyntheticPath]:
    """
    Read the paths of files and of the YAML files of folders, by id; touchpoints must be known ones, if there are any.

    Raises:
        CatalogueError: Anything cannot be right; names every problem with file and line.
    """
    problems, blocks = Problems(), list[YamlBlock]()
    for file in files_of(paths, "synthetic paths", problems):
        blocks += blocks_of(text_of(file, problems), str(file), "path", problems)
    nothing_in(paths, blocks, "path", problems)
    return _read(blocks, problems, touchpoints)


def parse_paths(text: str, file: str = "<text>", touchpoints: Collection[str] = ()) -> dict[str, SyntheticPath]:
    """
    Read paths from a text alone.

    Raises:
        CatalogueError: Anything cannot be right; names every problem with file and line.
    """
    problems = Problems()
    return _read(blocks_of(text, file, "path", problems), problems, touchpoints)


def _read(blocks: Sequence[YamlBlock], problems: Problems, touchpoints: Collection[str]) -> dict[str, SyntheticPath]:
    found: dict[str, SyntheticPath] = {}
    defined: dict[str, str] = {}
    for block in blocks:
        name = block.text("id")
        if name in defined:
            block.problem("id", f"{name} is defined already at {defined[name]}")
        defined.setdefault(name, f"{block.file}:{block.line}")
        found[name] = _path(block, name, touchpoints)
    if len(found) > MOST_PATHS:
        blocks[MOST_PATHS].problem("id", f"there are {len(found)} paths, {MOST_PATHS} may be gone at a time")
    problems.raise_any(CatalogueError)
    return found


def _path(block: YamlBlock, name: str, touchpoints: Collection[str]) -> SyntheticPath:
    before = len(block.problems)
    block.expect(("id", "name", "channel", "steps"), ("door", "within", "derives"))
    if name and not _ID.fullmatch(name):
        block.problem(
            "id", f"id {name!r} must be of a-z, 0-9, - and _, begin with a letter, and have 32 characters at most"
        )
    texts = block.block("name")
    if texts is not None:
        texts.expect(("en",), ("fa",))
    within_ms = read_duration(block, "within", 30_000)
    if within_ms > _LONGEST_MS:
        block.problem("within", f"'within' must be at most {_LONGEST_MS // 60_000}m, not {block.plain('within')}")
    written = block.blocks("steps", "step", "event")
    if "steps" in block and not 0 < len(written) <= MOST_STEPS:
        block.problem("steps", f"a path has 1 to {MOST_STEPS} steps, not {len(written)}")
    steps = [_step(one, touchpoints) for one in written]
    if sum(step.wait_s for step in steps) * 1000 >= within_ms:
        block.problem("within", f"the waits of the steps take {sum(step.wait_s for step in steps):g} s, which is not"
                      f" less than the {within_ms / 1000:g} s that a run may take")  # fmt: skip
    path = SyntheticPath(
        id=name,
        name={language: texts.text(language) for language in texts} if texts is not None else {},
        channel=block.choice("channel", CHANNELS, CHANNELS[0]),
        door=block.choice("door", get_args(DoorName), "kafka"),
        within_s=within_ms / 1000,
        steps=steps,
        derives=[*_derives(block)],
    )
    if len(block.problems) == before:
        for number, one in enumerate(written):
            _hold_to_contract(one, path, number)
    return path


def _step(block: YamlBlock, touchpoints: Collection[str]) -> PathStep:
    block.expect(("event",), ("wait", "times", "refused", *_ATTRIBUTES, "data"))
    for name in _OF_A_RUN:
        if name in block:
            block.problem(name, f"{name!r} is set by each run and cannot be given")
    kind = block.text("event")
    if kind.startswith(_OF_RESULTS):
        block.problem("event", f"{kind!r} says what came of a run: no step can be one")
    elif kind and kind not in DATA_TYPES:
        block.problem("event", f"unknown event type {kind!r}{suggest(kind, DATA_TYPES)}")
    place = block.plain("touchpoint")
    if place is not None and touchpoints and place not in touchpoints:
        block.problem("touchpoint", f"no touchpoint {place!r}{suggest(str(place), touchpoints)}")
    data = block.block("data")
    if data is not None and kind in DATA_TYPES and "refused" not in block:
        data.expect((), tuple(data_fields(kind)))
    return PathStep(
        type=kind,
        attributes={name: block.plain(name) for name in _ATTRIBUTES if name in block},
        data={name: data.plain(name) for name in data} if data is not None else {},
        wait_s=read_duration(block, "wait") / 1000,
        times=block.whole("times", 1, _MOST_TIMES),
        refused=block.text("refused"),
    )


def _hold_to_contract(block: YamlBlock, path: SyntheticPath, number: int) -> None:
    """Note what the door will say of the event of a step, unless it is meant to."""
    step = path.steps[number]
    try:
        event = event_of(path, number, "run", _A_MOMENT)
    except BadHoleError as error:
        block.problem("event", str(error))
        return
    for name, text in _texts({**event["data"], **{name: event[name] for name in step.attributes}}):
        if found := find(text):
            _note(
                block, name, f"{name!r} holds what looks like personal data ({found[0].kind}): a path knows no person"
            )
    refusal = decode_one(msgspec.json.encode(event))
    reason = refusal.reason if isinstance(refusal, Refusal) else ""
    if reason == step.refused:
        return
    if not isinstance(refusal, Refusal):
        block.problem("refused", f"the event is right, it will not be refused as {step.refused!r}")
    elif step.refused:
        block.problem("refused", f"the event will be refused as {reason!r}, not as {step.refused!r}")
    else:
        _note(block, refusal.path.rpartition(".")[2], refusal.message)


def _note(block: YamlBlock, name: str, message: str) -> None:
    data = block.block("data")
    (data if data is not None and name in data else block).problem(name, message)


def _texts(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, dict):
            yield from ((name, text) for _, text in _texts(value))


def _derives(block: YamlBlock) -> Iterator[Derives]:
    for one in block.blocks("derives", "derives", "event"):
        one.expect(("event",), ("says",))
        kind, says = one.text("event"), one.block("says")
        if kind and kind not in DERIVED_TYPES:
            one.problem("event", f"no relation says {kind!r}{suggest(kind, DERIVED_TYPES)}")
        elif says is not None and kind:
            says.expect((), tuple(data_fields(kind)))
        yield Derives(kind, {name: says.plain(name) for name in says} if says is not None else {})
