"""Series that an earlier version named by labels in another form are named as now, with all they hold."""

import unicodedata
from dataclasses import replace

import pytest

from streams.events.decode import decode_batch
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Folder
from streams.kpis.language import series
from streams.kpis.language.series import LABEL_FORM
from streams.storage.relabel import name_anew, named_otherwise
from streams.storage.repair import repair
from streams.storage.rows import ValueRow
from streams.storage.starts import Start, record_label_form, record_starts, starts
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, block_of, event

PART = (7 << 40) - 1
LONG = "region " * 10
REGIONS = ["كتاب", "کتاب", " کتا\u200cب ", "fars", "fars ", f"{LONG}a", f"{LONG}b", "  "]
EVENTS = [
    event(number, region=region, time=f"2026-03-01T10:0{number % 3}:07Z", data={"score": 1 + number % 5})
    for number, region in enumerate(REGIONS * 3)
]


def label_of_before(value: str) -> str:
    """The rule of versions that recorded none."""
    return "".join(char for char in value if unicodedata.category(char) not in {"Cc", "Cs"})[:64]


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue.load()


@pytest.fixture
def filled(database: Database, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A store that a worker of an earlier version has filled."""
    events, refusals = decode_batch(EVENTS)
    assert refusals == []
    with monkeypatch.context() as before:
        before.setattr(series, "label_of", label_of_before)
        before.setattr("streams.kpis.folding.lookups.is_cut", lambda _: False)
        series.series_key.cache_clear()
        deltas = Folder(catalogue).fold([one for one in events if one is not None])
    series.series_key.cache_clear()
    writer = Writer(database.writer)
    writer.store_catalogue(catalogue)
    writer.insert_block(block_of(EVENTS))
    rows = [(key, minute, minute % 2, acc, 5) for minute, of_minute in deltas.items() for key, acc in of_minute.items()]
    writer.insert_kpi_minutes(rows, "t-0-0-0")
    writer.insert_kpi_values(
        [
            ValueRow(
                key, window, "", 60 * (max(deltas) + 1), 1.0, 9, None, None, catalogue["csat"].definition_id, True, 5
            )
            for key in {key for key, *_ in rows if key.startswith("csat")}
            for window in ("1h", "total")
        ],
        "t-0-0-0",
    )
    writer.close()
    return database


def regions(database: Database, table: str = "kpi_minute_sums") -> dict[str, int]:
    rows = database.rows(
        f"SELECT labels['region'], sum(n) FROM {table} WHERE kpi = 'csat' AND by = 'region' GROUP BY 1"
    )
    return dict(rows)


def test_all_are_recomputed_and_named_as_now(filled: Database, catalogue: Catalogue) -> None:
    """Spellings meet, what was cut comes apart again, what says nothing is no series; and nothing differs then."""
    assert sum(regions(filled).values()) == 24
    assert regions(filled)[LONG[:64]] == 6
    assert named_otherwise(filled.client)["csat"] > 0
    kpis = [catalogue["csat"], catalogue["volume"]]

    assert repair(filled.client, kpis, PART) == ["csat"]
    found = regions(filled)
    assert {name: n for name, n in found.items() if "~" not in name} == {"کتاب": 9, "fars": 6}
    assert sorted(n for name, n in found.items() if name.startswith("region region") and "~" in name) == [3, 3]
    assert repair(filled.client, kpis, PART) == [], "minutes are what the events say"
    assert "csat" not in named_otherwise(filled.client), "labels cut as now are in the form of now"
    assert "csat" in named_otherwise(filled.client, by_another_rule=True), "what another rule has cut nobody sees"
    assert set(regions(filled, "kpi_values")) <= set(found)


def test_minutes_whose_events_are_gone_are_added_up(filled: Database) -> None:
    """Under the name of now, whatever parts they came in; what was cut stays as it is. Twice is as good as once."""
    before = regions(filled)
    for _ in range(2):
        name_anew(filled.client, "csat", "now()", PART)
        assert regions(filled) == {"کتاب": 9, "fars": 6, LONG[:64]: 6}
    assert sum(before.values()) == 24
    by_minute = (
        "SELECT minute, sum(n) FROM kpi_minute_sums WHERE kpi = 'csat' AND by = {by:String} GROUP BY 1 ORDER BY 1"
    )
    assert len(filled.rows(by_minute, by="region")) == len(filled.rows(by_minute, by="")) == 3
    assert set(regions(filled, "kpi_values")) <= {"کتاب", "fars", LONG[:64]}


def test_what_is_named_as_now_is_left_alone(database: Database, catalogue: Catalogue) -> None:
    """An empty store, and one of workers of now."""
    assert named_otherwise(database.client) == {}
    assert name_anew(database.client, "csat", "now()", PART) is None
    record_starts(database.client, [Start(0, "t", "", 4, ())])
    assert [start.labels for start in starts(database.client)] == [LABEL_FORM]
    old = Start(1, "t", "", 4, (), labels=LABEL_FORM - 1)
    record_starts(database.client, [old, replace(old, epoch=2), replace(old, epoch=2, topic="u")])
    record_label_form(database.client)
    assert [(one.epoch, one.labels - LABEL_FORM) for one in starts(database.client)] == [
        (0, 0),
        (1, -1),
        (2, 0),
        (2, 0),
    ]
