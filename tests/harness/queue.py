"""Cases put into a store by hand, as the workers would."""

import time
from typing import Any

from streams.kpis.catalogue.catalogue import Catalogue
from streams.loop.reading import load_rules
from streams.loop.rows import CaseRow
from streams.shipped import CASES
from streams.storage.cases import CASE_COLUMNS, case_row
from streams.storage.setup import prepare
from tests.harness.cases import Desk, action, survey
from tests.harness.clickhouse import Database

HOUR = 3_600_000


def store_cases(database: Database, rows: list[CaseRow]) -> None:
    """Store cases, or what has become of them."""
    database.client.insert("cases", [case_row(row) for row in rows], column_names=list(CASE_COLUMNS))


def unhappy_customers(number: int, now: int) -> Desk:
    """A desk with so many open cases: the first ones are the most urgent, by segment, score and age."""
    desk = Desk(load_rules([CASES]))
    for index in range(number):
        ago = (30, 23.5, 3, 1)[index % 4] * HOUR
        segment = ("gold", "silver", "bronze")[index % 3]
        values: dict[str, Any] = {
            "segment": segment,
            "touchpoint": ("checkout", "store_visit", "phone_agent")[index % 3],
        }
        desk.give((f"c-{index}", survey(int(now - ago) - index, f"e{index}", index % 7, **values)), until=now)
    desk.step()
    return desk


def rows_of(desk: Desk) -> list[CaseRow]:
    return [desk.row(case_id) for _, case_id in desk.cases()]


def fill_cases(database: Database, number: int = 12) -> list[CaseRow]:
    """Store open cases, one that waits for the customer, one that was contacted, and one that is closed."""
    prepare(database.admin, Catalogue.load(), lambda _: None)
    now = int(time.time() * 1000)
    desk = unhappy_customers(number, now)
    ids = dict(desk.cases().keys())
    desk.give(
        ("c-1", action(now - HOUR // 2, "a1", "held", ids["c-1"], agentid="Neda")),
        ("c-2", action(now - HOUR // 3, "a2", "contacted", ids["c-2"], agentid="Neda", reached=True)),
        ("c-2", action(now - HOUR // 4, "a3", "assigned", ids["c-2"], owner="x", if_version=1, agentid="Omid")),
        ("c-3", action(now - HOUR // 5, "a4", "closed", ids["c-3"], agentid="Omid", outcome="rescued")),
        until=now,
    )
    desk.step()
    rows = rows_of(desk)
    store_cases(database, rows)
    return rows
