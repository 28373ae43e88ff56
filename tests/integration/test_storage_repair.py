"""A store whose KPIs and events had come differently far is made right; what was right is left alone."""

from datetime import UTC, datetime

import pytest

from streams.events.decode import decode_batch
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Folder
from streams.storage.history import closed_minutes, kpi_history, newest_position, source_histories
from streams.storage.repair import redefined, repair
from streams.storage.rows import MinuteRow, ValueRow
from streams.storage.verify import verify
from streams.storage.writer import Writer
from tests.harness.clickhouse import TOPIC, Database, block_of, event

MINUTE = int(datetime(2026, 3, 1, 10, tzinfo=UTC).timestamp()) // 60
PART = (7 << 40) - 1
EVENTS = [
    event(1),
    event(2, data={"score": 1}, region="fars"),
    event(3, time="2026-03-01T10:03:07Z", region="yazd", data={"score": "۳"}),
    event(4, type="cx.contact.handled", data={"talk_s": 61.5, "hold_s": 3, "wrapup_s": 20}, channel="call_center"),
]


def folded(catalogue: Catalogue, payloads: list[bytes]) -> list[MinuteRow]:
    """The rows a worker would have published."""
    events, refusals = decode_batch(payloads)
    assert refusals == []
    deltas = Folder(catalogue).fold([one for one in events if one is not None])
    return [(key, minute, 5, acc, 5) for minute, series in deltas.items() for key, acc in series.items()]


def minutes(database: Database, kpi: str) -> dict[tuple[str, int], tuple[list[int], dict[int, int]]]:
    rows = database.rows(
        "SELECT arrayStringConcat(mapValues(labels), ','), intDiv(toUInt32(minute), 60), fields, bins"
        " FROM kpi_minute_sums WHERE kpi = {kpi:String}",
        kpi=kpi,
    )
    return {(labels, minute - MINUTE): (fields, bins) for labels, minute, fields, bins in rows}


@pytest.fixture
def writer(database: Database):
    made = Writer(database.writer)
    made.store_catalogue(Catalogue.load())
    made.insert_block(block_of(EVENTS))
    yield made
    made.close()


def test_what_agrees_is_left_alone(database: Database, writer: Writer) -> None:
    """Nothing is written when the sums are right."""
    catalogue = Catalogue.load()
    writer.insert_kpi_minutes(folded(catalogue, EVENTS), "t-0-0-0")
    assert repair(database.client, catalogue, PART) == []
    assert database.value(f"SELECT countIf(part = {PART}) FROM kpi_minutes") == 0


@pytest.mark.parametrize("damage", ["lost", "too many", "of lost events", "in two parts"])
def test_sums_that_differ_are_replaced(database: Database, writer: Writer, damage: str) -> None:
    """Whatever came further, events or sums: afterwards the sums say what the events say."""
    catalogue = Catalogue.load()
    rows = folded(catalogue, EVENTS)
    match damage:
        case "lost":
            rows = [row for row in rows if row[1] != MINUTE + 3]
        case "too many":
            rows.append(("csat", MINUTE, 9, [4, 4], 9))
        case "of lost events":
            rows += [("csat\x1fregion\x1fqom", MINUTE + 1, 9, [1, 1], 9), ("csat", MINUTE + 1, 9, [1, 1], 9)]
        case "in two parts":
            writer.insert_kpi_minutes([(*row[:2], 6, row[3], 6) for row in rows], "t-0-1-1")
    writer.insert_kpi_minutes(rows, "t-0-0-0")
    assert any(one.check == "minute" for one in verify(database.client, catalogue).differences)

    repaired = repair(database.client, catalogue, PART)

    assert "csat" in repaired
    assert [one for one in verify(database.client, catalogue).differences if one.check == "minute"] == []
    assert minutes(database, "csat")["", 0] == ([2, 1], {})
    assert repair(database.client, catalogue, PART + (1 << 40)) == [], "once is enough"


def test_a_repair_that_was_interrupted_is_finished_by_the_next(database: Database, writer: Writer) -> None:
    """New sums beside old ones are a difference like any other."""
    catalogue = Catalogue.load()
    rows = folded(catalogue, EVENTS)
    writer.insert_kpi_minutes(rows, "t-0-0-0")
    writer.insert_kpi_minutes([(*row[:2], PART, row[3], PART) for row in rows], "t-0-1-1")
    repair(database.client, catalogue, PART + (1 << 40))
    assert [one for one in verify(database.client, catalogue).differences if one.check == "minute"] == []


def test_values_from_the_difference_on_are_deleted_and_older_ones_stay(database: Database, writer: Writer) -> None:
    kpi = Catalogue.load()["csat"]
    rows = folded(Catalogue.load(), EVENTS)
    writer.insert_kpi_minutes([row for row in rows if row[1] != MINUTE + 3], "t-0-0-0")
    at = [(MINUTE + 1) * 60, (MINUTE + 4) * 60]
    writer.insert_kpi_values(
        [ValueRow("csat", "5m", "", one, 50.0, 2, 1.0, 99.0, kpi.definition_id, True, 1) for one in at], "t-0-0-0"
    )
    repair(database.client, [kpi], PART)
    assert database.rows("SELECT toUnixTimestamp(at) FROM kpi_values") == [(at[0],)]


def test_a_kpi_that_is_new_or_changed_is_counted_from_the_events(database: Database, writer: Writer) -> None:
    """What a definition that is no more has counted is not mixed with what holds now."""
    catalogue = Catalogue.load()
    csat = catalogue["csat"]
    writer.insert_kpi_minutes([("csat", MINUTE, 5, [2, 4000, 9_000_000], 5)], "t-0-0-0")
    writer.insert_kpi_values(
        [ValueRow("csat", "5m", "p90", (MINUTE + 1) * 60, 2.0, 2, None, None, "csat@old", True, 1)], "t-0-0-0"
    )
    changed = redefined(database.client, catalogue)
    assert csat in changed
    assert len(changed) == len(catalogue), "none of the others has been counted yet"
    assert kpi_history(database.client, [csat], None).unfit == {"csat"}

    assert set(repair(database.client, changed, PART)) >= {"csat", "aht"}

    assert minutes(database, "csat")["", 0] == ([2, 1], {})
    assert database.value("SELECT count() FROM kpi_values") == 0
    assert [one for one in verify(database.client, catalogue).differences if one.check == "minute"] == []


def test_what_was_derived_of_wrong_sums_is_gone(database: Database, writer: Writer) -> None:
    """From the values, and from the newest ones that dashboards read."""
    catalogue = Catalogue.load()
    gap = next(kpi for kpi in catalogue if kpi.derive is not None)
    assert gap.derive is not None
    inputs = [catalogue[part.kpi] for part in gap.derive.parts]
    at = (MINUTE + 1) * 60
    writer.insert_kpi_minutes([(kpi.id, MINUTE + 9, 9, [9] * 3, 9) for kpi in inputs[:1]], "t-0-0-0")
    writer.insert_kpi_values(
        [ValueRow(gap.id, "5m", "", at, 5.0, 2, None, None, gap.definition_id, True, 1)], "t-0-0-0"
    )
    assert database.value(f"SELECT count() FROM kpi_latest WHERE kpi = '{gap.id}'") == 1
    assert gap.id in repair(database.client, [*inputs, gap], PART)
    for table in ("kpi_values", "kpi_latest"):
        assert database.value(f"SELECT count() FROM {table} WHERE kpi = '{gap.id}'") == 0


def test_history_of_sums_is_cut_where_windows_end(database: Database, writer: Writer) -> None:
    """What no window needs is one sum per series, a week one per hour, a day stands minute by minute, with all parts."""
    catalogue = Catalogue.load()
    kpis = [catalogue["csat"], catalogue["asa"]]
    old, older, new = MINUTE - 3_000, MINUTE - 12_000, MINUTE - 10
    rows: list[tuple[str, int, int, Acc, int]] = [
        ("csat", old, 1, [1, 1], 1), ("csat", old, 2, [2, 1], 2), ("csat", older, 1, [4, 0], 1),
        ("csat", new, 1, [8, 8], 1), ("csat", new, 2, [16, 1], 1), ("csat", new, 2, [32, 2], 2),
        ("csat\x1fchannel\x1fweb", new, 1, [0, 0], 1), ("asa", new, 1, [1, 1 << 40, 1 << 80], 1),
    ]  # fmt: skip
    writer.insert_kpi_minutes(rows, "t-0-0-0")
    found = kpi_history(database.client, kpis, MINUTE)
    assert found.before == {"csat": [4, 0]}
    assert found.hours == [(old // 60 * 60, {"csat": [3, 2]})]
    assert sorted(found.minutes, key=str) == [
        (new, {"asa": [1, 1 << 40, 1 << 80]}),
        (new, {"csat": [40, 10]}),
    ]
    everything = kpi_history(database.client, kpis, None)
    assert everything.before == {}
    assert len(everything.minutes) == 4


def test_history_of_a_source(database: Database, writer: Writer) -> None:
    """The newest accepted events in the order they came, late ones too; of older ones the newest time."""
    assert newest_position(database.client) == 3
    writer.insert_block(
        block_of([event(5, time="2026-03-01T09:00:00.1239Z"), event(6)], first=4, late_offsets=[4], duplicates=3)
    )
    [found] = list(source_histories(database.client, 3))
    assert (found.topic, found.partition, found.balance) == (TOPIC, 0, (9, 5, 3, 1, 0, 0))
    assert found.ids == ["e4", "e5", "e6"]
    nine = datetime(2026, 3, 1, 9, tzinfo=UTC).timestamp()
    assert found.times[1] == nine + 0.124
    assert found.forgotten_newest == nine + 3_787.001
    [whole] = list(source_histories(database.client, 100))
    assert (len(whole.ids), whole.forgotten_newest) == (6, float("-inf"))


def test_an_empty_store_has_no_history(database: Database) -> None:
    assert newest_position(database.client) is None
    assert list(source_histories(database.client, 10)) == []
    assert dict(closed_minutes(database.client)) == {}
