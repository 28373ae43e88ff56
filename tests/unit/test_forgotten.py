"""People who were forgotten: what is taken of them, and what stays of an event that names one."""

from __future__ import annotations

import json

import msgspec

from streams.events.anonymous import Anonymous
from streams.privacy.forgotten import Forgotten, Oblivion


def test_nothing_is_taken_that_was_before_once_all_workers_know() -> None:
    forgotten = Forgotten(7)
    assert not forgotten
    forgotten.learn([Oblivion(forgotten.person("c-1"), until=100.0, since=220.0)])
    assert forgotten
    events = [("c-1", 99.0), ("c-2", 99.0), ("c-1", 100.0), ("c-1", 100.5)]
    assert forgotten.others(events, now=220.0) == [1, 3]
    assert forgotten.others(events, now=219.0) == [0, 1, 2, 3], "a range that some worker took without knowing"


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
