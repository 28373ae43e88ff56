"""Forgetting people in a real store: nothing of them is left, and every KPI is what it was."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streams.cli import main
from streams.events.anonymous import ERASED, NOBODY, names_for_nobody
from streams.events.decode import encode
from streams.events.intake import Intake
from streams.kpis.arithmetic.coupons import bin_of
from streams.kpis.catalogue.catalogue import Catalogue
from streams.privacy.forgotten import Forgotten, Oblivion
from streams.privacy.pseudonyms import Pseudonyms, SecretKey
from streams.privacy.records import Protection
from streams.producers.simulator import Plan, simulated
from streams.secured.protection import protection_of
from streams.settings import Settings
from streams.storage import erasing
from streams.storage.verify import verify
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, event
from tests.harness.pipeline import Pipeline
from tests.harness.related import fill_with_relations

START = datetime(2026, 11, 22, 6, tzinfo=UTC)
ALL = Catalogue.load()
CHOSEN = {kpi.id for kpi in ALL if kpi.aggregator == "distinct"} | {"csat", "orders", "conversion", "dead_letters"}
CATALOGUE = ALL.without({kpi.id for kpi in ALL} - CHOSEN)
NO_KPIS = Catalogue({})
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


def test_many_of_more_are_forgotten_and_old_topics_bring_none_back(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 of 2,000, by the command: nothing of them is found, all else and all KPIs stay, and a replay changes nothing."""
    monkeypatch.setattr(erasing, "_VISIBLE_AFTER", timedelta(seconds=-2))
    payloads = [
        event(
            number,
            subject=f"c-{number % 2_000:04}",
            time=f"2026-11-22T06:{number % 60:02}:00Z",
            data={"score": number % 5 + 1},
        )
        for number in range(6_000)
    ]
    writer = Writer(database.writer)
    pipeline = Pipeline(writer, CATALOGUE)
    pipeline.feed(payloads)
    pipeline.finish()
    writer.close()
    people = [f"c-{number:04}" for number in range(0, 2_000, 20)]
    before, kpis = _others(database, people), _kpis(database)
    (tmp_path / "key").write_text("k" * 32)
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "password").write_text(database.admin.password)
    (tmp_path / "people.txt").write_text("\n".join(people))
    settings = {
        "CX_CLICKHOUSE": database.admin.url,
        "CX_CLICKHOUSE_DATABASE": database.name,
        "CX_CLICKHOUSE_USER": database.admin.user,
        "CX_CLICKHOUSE_PASSWORD_FILE": str(tmp_path / "password"),
        "CX_PRIVACY_KEY_FILE": str(tmp_path / "key"),
        "CX_DATA_DIR": str(tmp_path),
    }
    done = CliRunner().invoke(main, ["forget", "--from", str(tmp_path / "people.txt"), "--json"], env=settings)
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    assert (said["people"], said["events"], said["found"]) == (100, 300, [])
    assert (_others(database, people), _kpis(database)) == (before, kpis)
    report = verify(database.client, CATALOGUE)
    assert (report.differences, report.checked["records"]) == ([], 6_000)
    protection = protection_of(Settings(privacy_key_file=str(tmp_path / "key")))
    assert protection is not None
    protection.forgotten.learn(erasing.read_forgotten(database.client))
    again = Intake("web/1", retention_s=1e9, dedup_ids=10_000, protection=protection)
    again.add(payloads, range(len(payloads)), datetime.now(UTC).timestamp() + 1_000)
    outcome = again.close()
    assert outcome is not None
    assert (outcome.tally.counted, outcome.tally.duplicate) == (5_700, 300)
    assert not {one.subject for one in outcome.counted} & {*people}


def test_relations_of_the_forgotten_are_left_out_of_the_second_derivation(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matters of everybody else are judged as before; what stays of the forgotten is said not to be, and is no difference."""
    monkeypatch.setattr(erasing, "_VISIBLE_AFTER", timedelta(seconds=-2))
    relations = fill_with_relations(database)
    judged = verify(database.client, NO_KPIS, relations=relations)
    assert judged.differences == []
    people = ["c-3", "c-5"]
    erased = erasing.erase(database.client, names_for_nobody(people, bin_of))
    assert erased.events > 20
    assert erasing.search(database.client, people)[1] == []
    after = verify(database.client, NO_KPIS, relations=relations)
    assert after.differences == []
    assert 0 < judged.checked["matters"] - after.checked["matters"] < judged.checked["matters"] / 2
    assert any("of people who were forgotten: not judged" in note for note in after.notes)
    # One comes back: what relations say of them is not taken any more, which is no difference to who has the key.
    database.client.command(
        "ALTER TABLE events DELETE WHERE subject = 'c-1' AND endsWith(topic, '.derived') SETTINGS mutations_sync = 2"
    )

    def derived_wrongly(back: str) -> set[str]:
        report = verify(database.client, NO_KPIS, relations=relations, is_forgotten=lambda subject: subject == back)
        return {one.check for one in report.differences if one.check.startswith("derived")}

    assert derived_wrongly("c-2") == {"derived_missing"}
    assert derived_wrongly("c-1") == set()


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
