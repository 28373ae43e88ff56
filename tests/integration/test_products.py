"""What is stored of products becomes days of them, and `cx products defects` tells of the one that comes back."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from streams.cli import main
from streams.products.defects import ProductDay
from streams.storage.connection import connect
from streams.storage.products import product_days
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, block_of, event

BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def happened(number: int, at: int, kind: str, data: dict[str, Any], **envelope: Any) -> bytes:
    whole = json.loads(event(number, type=kind, time=(BEGIN + timedelta(days=at)).isoformat(), **envelope))
    return json.dumps({**whole, "data": data}).encode()


def test_products_of_the_store(database: Database, tmp_path: Path) -> None:
    sold = [{"product": f"p-{n}", "category": "shoe", "quantity": 10} for n in range(3)]
    lines = [(at, "cx.product.sold", one) for at in range(60) for one in sold]
    back = {"product": "p-1", "category": "shoe", "reason": "Broken"}
    lines += [(at, "cx.order.return_requested", back) for at in range(40, 60) for _ in range(2)]
    lines += [(at, "cx.order.return_requested", {**back, "product": f"p-{at // 5 % 3}"}) for at in range(0, 40, 5)]
    bad = {"product": "p-1", "scale": 5, "score": "۲"}
    lines += [(59, "cx.review.published", bad), (59, "cx.review.published", {**bad, "score": 3})]
    lines += [
        (59, "cx.order.return_requested", {**back, "reason": "regret"}),
        (59, "cx.product.sold", {"product": " \u200b", "quantity": 7}),
        (59, "cx.product.sold", {"product": "p-9"}),
    ]
    made_up = happened(0, 59, "cx.order.return_requested", back, synthetic=True)
    writer = Writer(database.writer)
    writer.insert_blocks([block_of([made_up, *(happened(n, *line) for n, line in enumerate(lines, 1))])])
    writer.close()

    client = connect(database.reader)
    days, nameless = product_days(client, BEGIN, BEGIN + timedelta(days=90), "Asia/Tehran", {"broken"})
    client.close()
    assert (len(days), nameless) == (181, 7)
    assert ProductDay("p-1", (BEGIN + timedelta(days=59)).date(), 10.0, 3, "shoe") in days
    assert ProductDay("p-9", (BEGIN + timedelta(days=59)).date(), 1.0, 0, "") in days

    password = tmp_path / "password"
    password.write_text(database.reader.password)
    environment = {
        "CX_CLICKHOUSE": database.reader.url, "CX_CLICKHOUSE_DATABASE": database.name, "CX_CONFIG": "",
        "CX_CLICKHOUSE_USER": database.reader.user, "CX_CLICKHOUSE_PASSWORD_FILE": str(password), "COLUMNS": "100",
    }  # fmt: skip

    def asked(*more: str) -> Any:
        command = ["products", "defects", "--from", "2026-01-01", "--to", "2026-04-01", *more]
        return CliRunner().invoke(main, command, env=environment)

    told = asked("--json")
    assert told.exit_code == 3, told.output
    found = json.loads(told.output)
    assert (found["products"], found["alarms"]) == (4, 1)
    assert found["suspected"][0]["product"] == "p-1"
    assert [text for text in asked().output.splitlines() if "p-1: " in text] == [found["suspected"][0]["text"]["en"]]
    assert [text for text in asked("--lang", "fa").output.splitlines() if "p-1: " in text] == [
        found["suspected"][0]["text"]["fa"]
    ]
    assert "7 units sold and defects are of products whose codes say nothing" in asked().output
    nothing = asked("--reasons", "smell", "--to", "2026-01-20")
    assert nothing.exit_code == 0, nothing.output
