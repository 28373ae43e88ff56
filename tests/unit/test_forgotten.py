"""People who were forgotten: what is taken of them, and what stays of an event that names one."""

from __future__ import annotations

import json
from types import SimpleNamespace

import msgspec

from streams.agents.cases import Cases
from streams.engine.names import Topics
from streams.events.anonymous import Anonymous
from streams.loop.case import ClockName
from streams.loop.definition import CaseRules
from streams.loop.desk import CaseDesk, CaseNews
from streams.loop.files import CaseChange
from streams.loop.rows import CaseRow, Happening
from streams.privacy.forgotten import Forgotten, Oblivion
from streams.value.valuations import Valuation


def test_nothing_is_taken_that_was_before_once_all_workers_know() -> None:
    forgotten = Forgotten(7)
    assert not forgotten
    forgotten.learn([Oblivion(forgotten.person("c-1"), until=100.0, since=220.0)])
    assert forgotten
    events = [("c-1", 99.0), ("c-2", 99.0), ("c-1", 100.0), ("c-1", 100.5)]
    assert forgotten.others(events, now=220.0) == [1, 3]
    assert forgotten.others(events, now=219.0) == [0, 1, 2, 3], "a range that some worker took without knowing"


def test_what_relations_say_of_the_forgotten_is_not_taken_whenever_it_became_so() -> None:
    """It may rest on what was before: a cart that is given up days later would bring the name back."""
    forgotten = Forgotten(7)
    forgotten.learn([Oblivion(forgotten.person("c-1"), until=100.0, since=220.0)])
    assert forgotten.others([("c-1", 900.0), ("c-2", 900.0)], now=1_000.0, derived=True) == [1]
    assert (forgotten.includes("c-1"), forgotten.includes("c-1", 100.5), forgotten.includes("c-2")) == (
        True,
        False,
        False,
    )
    assert not Forgotten(7).includes("c-1")


def test_cases_of_the_forgotten_are_told_no_more() -> None:
    """A clock that ends later would bring the name back: into topics, the store, and messages. What is new is told."""
    forgotten = Forgotten(7)
    forgotten.learn([Oblivion(forgotten.person("c-1"), until=100.0, since=220.0)])
    stage = SimpleNamespace(_topics=Topics("cx"), _webhooks=False, _forgotten=forgotten)
    empty = {str: "", int: 0, list[Happening]: [], list[ClockName]: []}
    row = CaseRow(**{field.name: empty.get(field.type) for field in msgspec.structs.fields(CaseRow)})
    news = [
        CaseNews(
            CaseChange(id_, None, ours=True), msgspec.structs.replace(row, case_id=id_, subject=subject, opened=at)
        )
        for id_, subject, at in (("old", "c-1", 99_000), ("new", "c-1", 101_000), ("other", "c-2", 99_000))
    ]
    assert [one.key for one in Cases._outgoing(stage, 0, news)] == [b"new", b"other"]  # type: ignore[arg-type]
    stage._forgotten = None
    assert len(list(Cases._outgoing(stage, 0, news))) == 3  # type: ignore[arg-type]


def test_what_the_forgotten_were_worth_is_forgotten_once_the_stage_knows_of_them() -> None:
    forgotten, desk = Forgotten(7), CaseDesk(CaseRules({}))
    stage, shard = SimpleNamespace(_forgotten=forgotten), SimpleNamespace(desk=desk, surveys=None, erased=0)
    for subject in ("c-1", "c-2"):
        desk.worths.take(subject, Valuation(99_000, 0, "high"))
    assert desk.begin(1e9)
    saved = {key for key, value in desk.records() if value is not None}
    desk.end()
    Cases._erase(stage, shard)  # type: ignore[arg-type]
    assert not desk.begin(1e9)
    forgotten.learn([Oblivion(forgotten.person("c-1"), until=100.0, since=220.0)])
    Cases._erase(stage, shard)  # type: ignore[arg-type]
    assert (desk.worths.newest("c-1"), len(desk.worths)) == (None, 1)
    assert desk.begin(1e9)
    deleted = [key for key, value in desk.records() if value is None]
    assert deleted == [b"v/c-1"]
    assert set(deleted) <= saved
    desk.worths.take("c-1", Valuation(101_000, 0, "low"))
    Cases._erase(stage, shard)  # type: ignore[arg-type]
    assert desk.worths.newest("c-1") is not None, "what is said of them later stays"


def test_another_key_knows_nobody() -> None:
    assert Forgotten(7).person("c-1") != Forgotten(8).person("c-1")


def test_ids_of_a_person_go_alike_and_what_names_a_shop_stays() -> None:
    event = {
        "specversion": "1.0", "id": "e-4711", "source": "/shop", "type": "cx.search.performed", "subject": "c-4711",
        "time": "2026-06-01T00:00:00Z", "channel": "web", "unitid": "shop-1", "sessionid": "s-4711",
        "data": {"search_id": "q-4711", "query": "shoes", "results": 3},
    }  # fmt: skip
    anonymous = Anonymous({"c-4711": "erased-x"})
    first, again = (msgspec.json.decode(anonymous.payload(json.dumps(event).encode())) for _ in range(2))
    assert first == again
    assert "4711" not in json.dumps(first)
    assert (first["subject"], first["unitid"], first["data"]["results"]) == ("erased-x", "shop-1", 3)
    assert first["data"]["search_id"].startswith("erased-")
