"""What docs/PRODUCERS.md shows of the HTTP door is what a reader will see."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from streams.collector import access, bodies, checks, sending, server
from streams.collector.access import Key
from streams.events.intake import FUTURE_TOLERANCE
from streams.events.refusal import REASONS
from streams.listener import clients, framing, protocol
from streams.settings import Settings
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


def test_the_limits_are_those_of_settings_and_code() -> None:
    usual = Settings()
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.*?) \|$", DOOR[DOOR.index("### Limits") :], re.MULTILINE)
    limits = {what: limit for what, limit, _ in rows}
    for what, numbers in {
        "connections": (usual.collect_connections, usual.collect_client_connections),
        "requests of one connection": (protocol.REQUESTS,),
        "request line, header line": (framing.LINE_BYTES,),
        "head": (framing.HEAD_BYTES, framing.HEADERS),
        "chunks of a body": (framing.CHUNKS,),
        "time for a head, and again for a body": (usual.collect_read_s,),
        "time in which an answer must be read": (usual.collect_read_s,),
        "gzip": (bodies.RATIO, bodies.UNPACKED_FREE, bodies.MEMBERS),
        "memory of all requests": (usual.collect_in_flight_bytes / 2**20,),
        "CPU time": (clients.WHOLE_SHARE * 100,),
    }.items():
        for number in numbers:
            assert re.search(rf"(?<![\d,]){number:,.0f}(?!,?\d)", limits[what]), (what, number)
    assert (usual.collect_client_share, usual.collect_key_share) == (0.25, 0.5)
    assert "a quarter for one address" in limits["CPU time"]
    assert "a half for one key" in limits["CPU time"]
    assert sending.client_budget(usual) == usual.collect_in_flight_bytes // 4
    assert f"{checks.EXPLAINED_FREE} and one more for every {checks.EXPLAINED_BYTES} bytes" in DOOR
    assert checks.EXPLAINED_LONGEST == 8 * 1_024
    named = set(re.findall(r"`CX_(\w+)`", DOOR))
    assert {name.lower() for name in named} <= set(Settings.__struct_fields__)


def test_the_limits_of_time_and_memory_are_those_of_the_settings() -> None:
    """Whoever plans by the document loses nothing."""
    settings = Settings()
    ahead_s = FUTURE_TOLERANCE.total_seconds()
    assert f"more than {settings.retention_s:,.0f} s ago (`CX_RETENTION_S`)" in TEXT
    assert f"for {settings.lateness_s:.0f} s (`CX_LATENESS_S`)" in TEXT
    assert f"may be {ahead_s:.0f} s ahead" in TEXT
    assert f"last {settings.dedup_ids:,} events of a partition (`CX_DEDUP_IDS`)" in TEXT
