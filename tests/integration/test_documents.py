"""What the documents show can be done as it stands there: programs, questions to the store, answers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from streams.kpis.catalogue.catalogue import Catalogue
from streams.shipped import CLONE
from tests.conftest import Broker
from tests.harness.clickhouse import Database
from tests.harness.door import door_in_process
from tests.harness.topics import create_topics, read_all

README = CLONE / "README.md"
PRODUCERS = CLONE / "docs" / "PRODUCERS.md"
TOPICS = {f"cx.touchpoints.{channel}": 2 for channel in ("web", "app", "store", "call_center")}


def blocks(document: Path, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for name, text in fenced if name == language]


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=CLONE, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def bootstrap(embedded_broker: Broker) -> str:
    create_topics(embedded_broker.bootstrap, TOPICS)
    return embedded_broker.bootstrap


def test_the_producer_of_the_readme(bootstrap: str) -> None:
    """Its event arrives, beside what other programs have sent."""
    [program] = blocks(README, "python")
    assert "127.0.0.1:9092" in program
    before = {(record.partition, record.offset) for record in read_all(bootstrap, "cx.touchpoints.web")}
    done = run(program.replace("127.0.0.1:9092", bootstrap))
    assert done.returncode == 0, done.stderr
    [event] = [
        json.loads(record.value)
        for record in read_all(bootstrap, "cx.touchpoints.web")
        if (record.partition, record.offset) not in before
    ]
    assert (event["subject"], event["data"]["score"]) == ("customer-4711", "۴")


def test_the_programs_of_the_producers_page(bootstrap: str) -> None:
    """The first prints what is shown; the others compile, and the last one sends with the first one's producer."""
    first, secured, simulated = blocks(PRODUCERS, "python")
    done = run(first, bootstrap)
    assert done.returncode == 0, done.stderr
    shown = blocks(PRODUCERS, "")[0]
    assert done.stdout == shown
    compile(secured, "docs/PRODUCERS.md", "exec")
    program = (
        f"from streams.producers import TouchpointProducer\nproducer = TouchpointProducer({bootstrap!r})\n{simulated}"
    )
    assert "duration_s=60" in program
    done = run(program.replace("duration_s=60", "duration_s=1") + "producer.close()\n")
    assert done.returncode == 0, done.stderr


async def test_the_door_answers_as_the_readme_shows() -> None:
    """To the events that the page of producers gives for `events.json`."""
    [shown] = [block for block in blocks(README, "") if block.startswith('{"accepted"')]
    async with door_in_process() as door:
        answer = await door.post(blocks(PRODUCERS, "json")[0].encode())
    assert answer.json == json.loads(shown)


def test_the_kpi_of_the_readme() -> None:
    [text] = blocks(README, "yaml")
    assert "app_share" in Catalogue.parse(text)


def test_the_store_answers_the_questions_of_the_documents(database: Database) -> None:
    """Every statement shown, typed as it stands, is one that ClickHouse takes."""
    asked = [
        statement
        for page in CLONE.glob("docs/*.md")
        for block in blocks(page, "sql")
        for statement in block.split(";\n")
    ]
    for page in CLONE.glob("docs/*.md"):
        asked += [text for block in blocks(page, "") for text in re.findall(r'cx query "(SELECT [^"]*)"', block)]
    assert len(asked) >= 4
    for statement in filter(str.strip, asked):
        database.client.query(statement)
