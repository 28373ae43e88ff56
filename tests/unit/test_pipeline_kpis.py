"""KPIs of the pipeline itself: what ranges of records say of them, and when."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import pytest

from streams.agents import records
from streams.events.inheritance import inherited_ranges
from streams.events.intake import FrozenRange, Intake, Outcome, Tally
from streams.events.types import EVENT_TYPES, PIPELINE_TYPES
from streams.kpis.aggregators import measure
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Deltas, Folder
from streams.kpis.folding.ranges import RangeTimes, events_of, times_of
from streams.kpis.language.series import series_key
from tests.property.test_intake import NOON, NOW, close, make, record

CATALOGUE = Catalogue.load()
MINUTE = int(NOW) // 60
MIXED = [
    *(record(number) for number in range(80)),
    *(record(number) for number in range(10)),
    *(record(number, NOON - timedelta(hours=2)) for number in range(100, 105)),
    *[b"{"] * 3,
    *[b'{"type": "cx.no.such"}'] * 2,
]


def taken(values: Sequence[bytes | None], now: float = NOW, intake: Intake | None = None) -> Outcome:
    intake = intake or make()
    intake.add(values, range(intake.head.next, intake.head.next + len(values)), now)
    return close(intake)


def deltas(outcome: Outcome) -> Deltas:
    return Folder(CATALOGUE).fold(events_of(outcome, "app"))


@pytest.mark.parametrize(
    ("kpi", "acc", "value"),
    [
        ("validated_rate", [90, 85], 94.444),
        ("violation_rate", [100, 5], 5.0),
        ("duplicate_rate", [100, 10], 10.0),
        ("late_rate", [85, 5], 5.882),
        ("violations", [5], 5),
    ],
)
@pytest.mark.parametrize("labels", [(), (("channel", "app"),)])
def test_a_hundred_records(kpi: str, acc: Acc, value: float, labels: tuple[tuple[str, str], ...]) -> None:
    """80 counted, 10 repeated, 5 late, 5 refused; each KPI says of what it is a share."""
    found = deltas(taken(MIXED))[MINUTE][series_key(kpi, labels)]
    assert found == acc
    shown = measure(CATALOGUE[kpi].aggregator, found, CATALOGUE[kpi].scale, unit=CATALOGUE[kpi].unit)
    assert shown.value == pytest.approx(value, abs=0.001)
    assert shown.n == acc[0]


def test_refused_records_are_told_apart_by_reason() -> None:
    """With the field where there is one."""
    series = deltas(taken(MIXED))[MINUTE]
    assert series[series_key("violations", (("reason", "not_json"),))] == [3]
    assert series[series_key("violations", (("channel", "app"), ("reason", "unknown_type")))] == [2]
    assert series[series_key("violations", (("path", "type"), ("reason", "unknown_type")))] == [2]
    assert not [key for key in series if "path" in key and "not_json" in key]


def test_freshness_is_the_age_of_the_newest_event() -> None:
    """In milliseconds cut off, never below nothing, and unknown before the first event."""
    outcome = taken([record(1), record(2, NOON - timedelta(minutes=5))], NOW + 7.2519)
    assert times_of(outcome.frozen) == RangeTimes(int(NOW) * 1000, int(NOW) * 1000 + 7251, int(NOW) * 1000)
    kpi = CATALOGUE["freshness"]
    found = measure("quantile", deltas(outcome)[MINUTE]["freshness"], kpi.scale, unit=kpi.unit, q=0.95)
    assert found.value == pytest.approx(7.251, rel=0.01)
    ahead = taken([record(1, NOON + timedelta(minutes=9))])
    assert measure("quantile", deltas(ahead)[MINUTE]["freshness"], kpi.scale, unit=kpi.unit).value == 0.0
    assert "freshness" not in deltas(taken([b"{"]))[MINUTE]


def test_a_range_counts_at_the_newest_event_time_of_its_source() -> None:
    """Not at the clock's: a replay of old days is counted in those days."""
    old = NOON - timedelta(days=900, seconds=3)
    outcome = taken([record(1, old), b"{"])
    assert outcome.frozen.time == old.timestamp()
    assert list(deltas(outcome)) == [int(old.timestamp()) // 60]


def test_time_goes_on_with_the_clock_while_nothing_but_refused_records_comes() -> None:
    """Otherwise they would be counted in minutes that are over, and no rule would ever look at them."""
    intake = make()
    taken([record(1)], NOW + 2, intake)
    stuck = taken([b"{"], NOW + 602, intake)
    assert stuck.frozen.time == NOW + 600
    assert times_of(stuck.frozen).newest == int(NOW) * 1000
    assert taken([record(2, NOON + timedelta(seconds=601))], NOW + 603, intake).frozen.time == NOW + 601
    assert taken([b"{"], NOW - 50, intake).frozen.time == NOW + 601, "a clock that was set back changes nothing"


def test_before_the_first_event_there_is_only_the_clock() -> None:
    """A channel that never sent anything right is told of, too."""
    outcome = taken([b"{", b"["], NOW + 61)
    assert outcome.frozen.time == NOW + 61
    assert deltas(outcome)[MINUTE + 1]["violation_rate"] == [2, 2]
    assert all(CATALOGUE[kpi].delayed for kpi in ("violation_rate", "freshness", "violations")), "it opens no minute"


def test_a_repeated_range_keeps_its_time() -> None:
    """What is repeated after a crash adds the same, and what was frozen by an older version adds nothing."""
    first = taken(MIXED, NOW + 9)
    again = make()
    again.restore([msgspec.msgpack.decode(msgspec.msgpack.encode(first.frozen), type=FrozenRange)])
    repeated = taken(MIXED, NOW + 900, again)
    assert deltas(repeated) == deltas(first)
    assert records.block_of(repeated, "t", 0, 0) == records.block_of(first, "t", 0, 0)

    older = msgspec.msgpack.encode(msgspec.structs.astuple(first.frozen)[:8])
    heir = make()
    heir.restore([msgspec.msgpack.decode(older, type=FrozenRange)])
    outcome = taken(MIXED, NOW + 900, heir)
    assert events_of(outcome, "app") == []
    assert records.block_of(outcome, "t", 0, 0).times == RangeTimes()
    assert events_of(taken([record(999)], NOW + 901, heir), "app") != []


def test_blocks_of_an_older_version_are_read() -> None:
    """They have no times, and are counted by none of these KPIs."""
    block = records.block_of(taken(MIXED), "t", 0, 0)
    older = msgspec.msgpack.encode(msgspec.structs.astuple(block)[:-1])
    assert records.decode_block(older) == msgspec.structs.replace(block, times=RangeTimes())


def test_a_source_that_goes_on_over_a_kept_store_has_its_time() -> None:
    """The newest event time is inherited, and the clock begins with the restart."""
    ranges = inherited_ranges(
        "app/0",
        [("t", "1", 0), ("t", "2", 0)],
        [NOW - 90.0, NOW - 86_400.0],
        tally=Tally(5, 2, 0, 0, 3),
        now=NOW,
        dedup_ids=9,
    )
    intake = make()
    intake.restore(list(ranges))
    assert taken([b"{"], NOW + 30, intake).frozen.time == NOW - 60


def test_nobody_can_send_what_only_the_pipeline_tells() -> None:
    """Neither is it an event of a pattern such as `*`."""
    assert PIPELINE_TYPES.isdisjoint(EVENT_TYPES)
    assert PIPELINE_TYPES.isdisjoint(CATALOGUE["volume"].of.events)
    sent = record(1).replace(b"cx.session.started", b"pipeline.range")
    assert [bad.refusal.reason for bad in taken([sent]).bad] == ["unknown_type"]


def test_records_of_the_future_do_not_move_a_range() -> None:
    """A device whose clock runs ahead is capped by ours."""
    outcome = taken([record(1, datetime.fromtimestamp(NOW + 500, NOON.tzinfo))])
    assert outcome.frozen.time == NOW
