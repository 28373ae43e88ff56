"""Timelines of what went wrong elsewhere: each is right by name, and under everything that may happen on the way."""

from pathlib import Path

import pytest

from streams.relations.catalogue import load
from streams.relations.timelinefiles import SWITCHES, Timeline, check, load_timelines

ROOT = Path(__file__).resolve().parents[2]
TIMELINES = load_timelines([ROOT / "deploy" / "relations" / "tests"], load([ROOT / "deploy" / "relations"]))


@pytest.mark.parametrize("timeline", TIMELINES, ids=lambda timeline: timeline.name)
def test_timeline(timeline: Timeline) -> None:
    assert check(timeline) == []


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("timeline", TIMELINES, ids=lambda timeline: timeline.name)
def test_nothing_on_the_way_changes_what_holds_in_the_end(timeline: Timeline, switch: str) -> None:
    for seed in range(5):
        assert check(timeline, switch, seed) == []
