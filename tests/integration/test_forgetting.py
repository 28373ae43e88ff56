"""Forgetting people in a real store: nothing of them is left, and every KPI is what it was."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streams.events.anonymous import ERASED, NOBODY, names_for_nobody
from streams.events.decode import encode
from streams.events.intake import Intake
from streams.kpis.arithmetic.coupons import bin_of
from streams.kpis.catalogue.catalogue import Catalogue
from streams.privacy.forgotten import Forgotten, Oblivion
from streams.privacy.pseudonyms import Pseudonyms, SecretKey
from streams.privacy.records import Protection
from streams.producers.simulator import Plan, simulated
from streams.storage import erasing
from streams.storage.verify import verify
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, event
from tests.harness.pipeline import Pipeline

START = datetime(2026, 11, 22, 6, tzinfo=UTC)
ALL = Catalogue.load()
CHOSEN = {kpi.id for kpi in ALL if kpi.aggregator == "distinct"} | {"csat", "orders", "conversion", "dead_letters"}
CATALOGUE = ALL.without({kpi.id for kpi in ALL} - CHOSEN)
KPI_TABLES = ("kpi_minutes", "kpi_values", "kpi_newest", "outcomes", "alerts")


def test_people_go_and_kpis_stay(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it is stopped in the middle: others' rows and all KPIs are the same, and verified to zero."""
    monkeypatch.setattr(erasing, "_VISIBLE_AFTER", timedelta(seconds=-2))
    people = _filled(database)
    before, kpis = _others(database, people), _kpis(database)
    rows = database.value("SELECT count() FROM events")
    mine = database.value(f"SELECT count() FROM events WHERE subject IN {tuple(people)}")
    assert mine > len(people) > 20
    names = names_for_nobody(people, bin_of)
    put_back, calls = erasing._put_back, iter(range(10))

    def stops(*arguments: Any) -> None:
        if next(calls) == 1:
            raise KeyboardInterrupt
        put_back(*arguments)

    monkeypatch.setattr(erasing, "_put_back", stops)
    with pytest.raises(KeyboardInterrupt):
        erasing.erase(database.client, names)
    assert database.value("SELECT count() FROM events") < rows
    monkeypatch.setattr(erasing, "_put_back", put_back)
    erased = erasing.erase(database.client, names)
    assert (erased.mentions, erased.dead_letters) == (1, 2)
    looked_in, found = erasing.search(database.client, people)
    assert found == []
    assert {"events", "dead_letters", "kpi_minutes", "alerts", "forgotten"} - set(looked_in) == {"forgotten"}
    assert _others(database, people) == before
    assert _kpis(database) == kpis
    report = verify(database.client, CATALOGUE)
    assert report.differences == []
    assert report.checked["records"] == rows + 2
    assert database.value("SELECT count() FROM events") == rows
    assert database.value(f"SELECT count() FROM events WHERE startsWith(subject, '{NOBODY}')") == mine
    assert database.value("SELECT uniqExact(subject) FROM events WHERE startsWith(subject, 'erased-')") == len(people)
    texts = database.rows(
        "SELECT DISTINCT JSONExtractString(data, 'text') FROM events WHERE startsWith(subject, 'erased-')"
    )
    assert {text for (text,) in texts} <= {"", ERASED}
    assert database.value("SELECT count() FROM erasing") == 0
    assert database.rows("SELECT case_id FROM cases") == [("case-2",)]
    erasing.record(database.client, len(people), erased, looked_in, found)
    [record] = database.rows("SELECT people, found FROM erasures")
    assert record == (len(people), 0)


def test_nothing_of_them_comes_back(database: Database) -> None:
    """The list holds no name, and what is read again of them up to then is taken for a duplicate; what is new is not."""
    forgotten = Forgotten(7)
    erasing.list_as_forgotten(database.client, forgotten, ["c1", "c2"], START)
    listed = erasing.read_forgotten(database.client)
    assert sorted(listed) == sorted(
        Oblivion(forgotten.person(name), START.timestamp(), START.timestamp() + erasing.LEARNED_S)
        for name in ("c1", "c2")
    )
    protection = Protection(Pseudonyms([SecretKey(b"k" * 32)]))
    protection.forgotten = forgotten
    forgotten.learn(listed)
    later = "2026-11-22T07:00:00Z"
    values = [*map(event, range(14)), event(15, time=later), event(16, subject="c2", time=later)]
    for now, duplicates in ((START.timestamp() + 1, 0), (START.timestamp() + 7_200, 4)):
        intake = Intake("web/0", retention_s=1e9, dedup_ids=1_000, protection=protection)
        intake.add(values, range(len(values)), now + 7_200)
        outcome = intake.close()
        assert outcome is not None
        assert outcome.tally.duplicate == (4 if now + 7_200 >= listed[0].since else duplicates)
        assert {one.subject for one in outcome.counted} == {f"c{number}" for number in range(7)}


def _filled(database: Database) -> list[str]:
    """Store a day of simulated customers, a link to one, and refused records of another; return whom to forget."""
    payloads = [encode(made) for made in simulated(Plan(start=START, rate=20.0, flat=True, seed=5), 1_000)]
    writer = Writer(database.writer)
    pipeline = Pipeline(writer, CATALOGUE)
    link = event(1, type="cx.identity.linked", subject="somebody-else", time="2026-11-22T06:00:30Z")
    named = {json.loads(payload)["subject"] for payload in payloads}
    subjects = sorted(name for name in named if name.startswith("c-"))[:30]
    link = link.replace(
        b'"survey_id": "s", "metric": "csat", "scale": 5, "score": 5', f'"alias": "{subjects[0]}"'.encode()
    )
    unknown = event(2, type="no.such", subject=subjects[1], time="2026-11-22T06:00:30Z")
    pipeline.feed([*payloads, link, unknown, event(3, channel=subjects[2], time="2026-11-22T06:00:30Z")])
    pipeline.finish()
    writer.close()
    database.client.insert(
        "cases", [["case-1", subjects[3]], ["case-2", "c-other"]], column_names=["case_id", "subject"]
    )
    return subjects


def _others(database: Database, people: Sequence[str]) -> Any:
    return database.rows(
        "SELECT count(), groupBitXor(cityHash64(topic, partition, offset, payload, ingested_at)) FROM events"
        f" WHERE subject NOT IN {tuple(people)} AND NOT startsWith(subject, '{NOBODY}') AND type != 'cx.identity.linked'"
    )


def _kpis(database: Database) -> list[Any]:
    return [database.rows(f"SELECT count(), groupBitXor(cityHash64(*)) FROM {table}") for table in KPI_TABLES]
