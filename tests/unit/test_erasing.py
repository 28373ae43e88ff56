"""Where a person is named in what is stored, and where it is only part of a longer name; statements of a cluster."""

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from clickhouse_connect.driver.client import Client

from streams.storage import erasing, retention
from streams.storage.erasing import _needles


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"subject":"customer-47"}', True),
        ("/login?next=%2Faccount%2Fcustomer-47", True),
        ("c%3Dcustomer-47&x=1", True),
        (r"line\ncustomer-47", True),
        (r"\u0645customer-47", True),
        ("customer-4711", False),
        ("oldcustomer-47", False),
    ],
)
def test_names_are_found_behind_escapes_and_alone(text: str, *, named: bool) -> None:
    """The pattern is what ClickHouse is asked with."""
    assert bool(re.search(_needles(["customer-47"])["alone"], text)) is named


class Asked:
    """A store that answers with the same rows, and remembers what it was told to do."""

    def __init__(self, **answers: list[list[Any]]) -> None:
        self.answers = answers
        self.told: list[str] = []

    def query(self, sql: str, **_: Any) -> Any:
        rows = next((rows for part, rows in self.answers.items() if part in sql), [])
        return SimpleNamespace(result_rows=rows)

    def command(self, sql: str, **_: Any) -> None:
        self.told.append(sql)

    def insert(self, *_: Any, **__: Any) -> None:
        self.told.append("INSERT")


def test_on_a_cluster_rows_are_changed_where_they_are_and_on_all_machines() -> None:
    """What is split is changed in its parts, what is whole as it is; nothing is said to one machine alone."""
    store = Asked(
        sipHash64=[[[1]]],
        reason=[["t", 0, 1, "not_json", "x"]],
        ingested_at=[["t", 0, 1, "counted", '{"subject":"c-1"}', 0]],
    )
    client = cast("Client", store)
    erasing.erase(client, {"c-1": "erased-1"}, "prod")
    told = [f"{sql} " for sql in store.told if not sql.startswith("INSERT")]
    assert all(" ON CLUSTER prod " in sql for sql in told)
    assert {sql.split()[2] for sql in told} == {"erasing", "events_local", "cases", "dead_letters_local"}
    assert not any("c-1" in sql for sql in told)
    store = Asked(
        engine_full=[["events_local", "ReplicatedMergeTree TTL ingested_at + toIntervalDay(400)"]],
        create_table_query=[[name, ""] for name in ("dead_letters_local", "alerts", "cases")],
    )
    retention.keep(cast("Client", store), {"events": 400, "alerts": 9, "text": 30}, "prod")
    assert {" ".join(sql.split()[2:5]) for sql in store.told} == {
        f"{table} ON CLUSTER" for table in ("alerts", "dead_letters_local", "cases", "events_local")
    }
    assert store.told[-1].endswith("SET payload = left(any(payload), 0), data = left(any(data), 0)")
