"""Identity, labels and days, from intake to the store, against what plain Python makes of the same lines of JSON."""

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.steps import Steps
from streams.storage.connection import connect
from streams.storage.series import run_series
from streams.storage.setup import prepare
from streams.storage.verify import verify
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database
from tests.harness.pipeline import Pipeline

TEHRAN = ZoneInfo("Asia/Tehran")
START = datetime(2026, 3, 20, 12, tzinfo=UTC)
SPELLINGS = {
    "کرج": ["کرج", "كرج", " کرج", "کر\u200cج"],
    "شیراز": ["شیراز", "شيراز", "شــیراز", "شیراز\u200f"],
    "Tabriz": ["Tabriz", "Tabriz ", "Ta\u00adbriz"],
}
"""Ways to write a region, by how people read it."""


def lines() -> list[str]:
    """Orders of two shops that number from 1 both, some sent twice, over three nights of Tehran."""
    chance = random.Random(7)
    sent = []
    for number in range(300):
        at = START + timedelta(minutes=chance.randrange(3 * 24 * 60))
        for shop in ("/shop/a", "/shop/b"):
            region = chance.choice(chance.choice([*SPELLINGS.values()]))
            sent.append(json.dumps({
                "specversion": "1.0", "id": str(number), "source": shop, "type": "cx.order.placed", "channel": "web",
                "time": at.isoformat(), "subject": f"c{number % 31}", "region": region,
                "data": {"amount": 10, "currency": "IRR"},
            }, ensure_ascii=False))  # fmt: skip
    return sent + chance.sample(sent, 90)


def plain(sent: list[str]) -> Counter[tuple[str, str]]:
    """Count orders by day of Tehran and region, with nothing of the product."""
    read_as = {spelling: name for name, spellings in SPELLINGS.items() for spelling in spellings}
    once = {(line["source"], line["id"]): line for line in map(json.loads, sent)}
    days = ((datetime.fromisoformat(line["time"]).astimezone(TEHRAN), line["region"]) for line in once.values())
    return Counter((at.strftime("%Y-%m-%d"), read_as[region]) for at, region in days)


def test_days_of_regions_come_to_the_same_in_plain_python(database: Database) -> None:
    sent = lines()
    catalogue, writer = Catalogue.load(), Writer(database.writer)
    prepare(database.admin, catalogue, lambda _: None)
    pipeline = Pipeline(writer, catalogue)
    pipeline.feed([line.encode() for line in sent])
    pipeline.finish()
    writer.close()
    expected = plain(sent)
    assert expected.total() == 600
    assert len(expected) == 3 * len(SPELLINGS) + len(SPELLINGS), "four days, since it begins and ends at noon"

    since, until = int(START.timestamp()) - 86_400, int(START.timestamp()) + 5 * 86_400
    answer = run_series("orders", "region", since, until, Steps.parse("1d", "Asia/Tehran"), database.reader)
    place = {name: number for number, name in enumerate(answer.columns)}
    found = {
        (str(row[place["time"]])[:10], dict(row[place["labels"]])["region"]): row[place["n"]]
        for row in answer.rows
        if row[place["n"]]
    }
    assert found == dict(expected)
    client = connect(database.reader)
    assert verify(client, catalogue).differences == []
    client.close()
