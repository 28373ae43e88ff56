"""What docs/PRODUCERS.md shows of the HTTP door is what a reader will see."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from streams.collector import access, bodies, checks, sending, server
from streams.collector.access import Key
from streams.events.refusal import REASONS
from tests.harness.door import door_in_process

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "PRODUCERS.md").read_text(encoding="utf-8")
DOOR = TEXT[TEXT.index("## Over HTTP") : TEXT.index("## Throughput")]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOOR, re.MULTILINE | re.DOTALL)


async def test_the_example_is_answered_as_shown() -> None:
    sent, shown = blocks("json")
    async with door_in_process() as door:
        answer = await door.post(sent.encode())
    assert answer.status == 207
    assert answer.json == json.loads(shown)


def test_the_file_of_keys_is_one() -> None:
    (text,) = blocks("toml")
    keys: dict[str, Any] = tomllib.loads(text)
    assert {name for entry in keys.values() for name in entry} == set(Key.__struct_fields__)
    assert [msgspec.convert(entry, Key).public for entry in keys.values()] == [False, True]


def test_every_reason_is_told() -> None:
    """Those that are not of dead letters are named in the text."""
    code = "".join(
        Path(module.__file__ or "").read_text(encoding="utf-8") for module in (access, bodies, checks, sending, server)
    )
    given = set(re.findall(r"RejectedError\(\s*\d+,\s*\"(\w+)\"", code)) | {"not_allowed"}
    assert len(given) > 10
    named = set(re.findall(r"`(\w+)`", DOOR))
    assert given - set(REASONS) <= named
