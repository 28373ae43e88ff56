"""Which records may go on: the verdict of the code behind the door, plus what only the door can know."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from streams.collector.access import Key
from streams.collector.checks import (
    EXPLAINED_BYTES,
    EXPLAINED_FREE,
    EXPLAINED_LONGEST,
    SLICE_BYTES,
    SLICE_RECORDS,
    Checked,
    Checking,
    slices,
    warnings_of,
)
from streams.events.decode import decode_batch, decode_one
from streams.events.intake import Intake
from streams.events.limits import RecordLimits
from streams.producers.client import MAX_EVENT_BYTES
from tests.harness.door import event

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC).timestamp()
NOW_TEXT = "2026-11-22T10:30:00Z"
ANYTHING = Key(key="")


def encoded(*events: Any) -> list[bytes]:
    return [json.dumps(one, ensure_ascii=False).encode() for one in events]


def check(records: list[bytes], key: Key, now: float) -> Checked:
    checking = Checking(key, now, sum(map(len, records)))
    for part in slices(records):
        checking.add(part)
    return checking.checked


def test_a_good_event_goes_on_with_its_own_bytes() -> None:
    records = encoded(event(1), event(2, subject="مشتری-۱"))
    checked = check(records, ANYTHING, NOW)
    assert checked.payloads == records
    assert checked.refusals == {}
    assert [one.subject for one in checked.events if one] == ["c-1", "مشتری-۱"]
    assert checked.ids() == ["e-1", "e-2"]


def test_a_missing_time_is_when_it_came_and_says_so() -> None:
    sent = event(1, time=None, timeimputed=False, note={"متن": [1.50]})
    checked = check(encoded(sent), ANYTHING, NOW)
    assert json.loads(checked.payloads[0]) == {**sent, "time": "2026-11-22T10:30:00Z", "timeimputed": True}
    assert checked.events[0]
    assert (checked.events[0].time.timestamp(), checked.events[0].timeimputed) == (NOW, True)


def test_nothing_else_is_filled_in() -> None:
    """An id that is made here would be another one when the event comes again."""
    for name in ("specversion", "id", "source", "subject", "channel", "type", "data"):
        (refusal,) = check(encoded(event(1, **{name: None})), ANYTHING, NOW).refusals.values()
        assert (refusal.reason, refusal.path) == ("missing_field", name)
    (refusal,) = check(encoded(event(1, time=None, subject=None)), ANYTHING, NOW).refusals.values()
    assert refusal.path in {"time", "subject"}
    (refusal,) = check(encoded({**event(1), "time": None}), ANYTHING, NOW).refusals.values()
    assert (refusal.reason, refusal.path) == ("bad_time", "time")


def test_an_event_without_time_is_refused_for_what_else_is_wrong_at_its_own_place() -> None:
    checked = check(encoded(event(1), event(2, time=None, data={"page": 7})), ANYTHING, NOW)
    assert checked.events[1] is None
    assert list(checked.refusals) == [1]
    assert (checked.refusals[1].index, checked.refusals[1].path) == (1, "data.page")


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        ("2026-11-22T10:41:00Z", "time_in_future"),
        ("1989-12-31T23:59:59Z", "time_too_old"),
        ("9999-12-31T23:59:59-23:59", "time_in_future"),
        ("0001-01-01T00:00:00+23:59", "time_too_old"),
    ],
)
def test_times_out_of_bounds_are_refused_as_the_intake_would(time: str, reason: str) -> None:
    records = encoded(event(1), event(2, time=time))
    (refusal,) = check(records, ANYTHING, NOW).refusals.values()
    intake = Intake("web/0", retention_s=86_400.0, dedup_ids=1_000)
    intake.add(records, [0, 1], NOW)
    outcome = intake.close()
    assert outcome
    assert msgspec.structs.replace(outcome.bad[0].refusal, index=1) == refusal
    assert (refusal.index, refusal.reason, refusal.path) == (1, reason, "time")


def test_times_within_bounds_pass_however_late() -> None:
    """What is late is stored behind the door, and counted as late there."""
    records = encoded(event(1, time="2026-11-22T10:39:59Z"), event(2, time="1990-01-01T00:00:00Z"))
    assert check(records, ANYTHING, NOW).refusals == {}


def test_an_event_beyond_what_kafka_takes_is_refused() -> None:
    (record,) = encoded(event(1))
    wide = record[:-1] + b" " * (MAX_EVENT_BYTES - len(record)) + b"}"
    checked = check([wide, wide[:-1] + b" }"], ANYTHING, NOW)
    assert checked.events[0]
    assert (checked.refusals[1].reason, checked.refusals[1].expected) == ("too_large", "at most 900000 bytes")


def test_an_event_beyond_the_limits_that_are_set_is_refused() -> None:
    checking = Checking(ANYTHING, NOW, 10_000, RecordLimits(values=64))
    checking.add(encoded(event(1), event(2, note=list(range(64)))))
    [(place, found)] = checking.checked.refusals.items()
    assert (place, found.reason, found.expected) == (1, "too_many_values", "at most 64 values")


def test_what_a_key_may_not_send_is_refused_event_by_event() -> None:
    key = Key(key="", channels=("web",), source="/shop/")
    checked = check(encoded(event(1), event(2, channel="app"), event(3, source="/other")), key, NOW)
    assert [bool(one) for one in checked.events] == [True, False, False]
    assert [(one.reason, one.path) for one in checked.refusals.values()] == [
        ("not_allowed", "channel"),
        ("not_allowed", "source"),
    ]


def test_ids_of_refused_events_are_told_where_one_can_be_read() -> None:
    records = [*encoded(event(1, channel="fax"), {"id": 7}, {"id": "x" * 200}, [1]), b"{", b'{"id":"\xff"}', b""]
    assert check(records, ANYTHING, NOW).ids() == ["e-1", None, None, None, None, None, None]


def test_refusals_are_those_of_dead_letters() -> None:
    records = [b"", b"{", b"7", b'{"type":"cx.page.viewd"}', *encoded(event(1, data={"page": 7}), event(2))]
    assert list(check(records, ANYTHING, NOW).refusals.values()) == decode_batch(records)[1]


def test_slices_are_bounded_by_number_and_by_bytes() -> None:
    records = [b"x" * size for size in (*[10] * 40, SLICE_BYTES, 10, SLICE_BYTES // 2, SLICE_BYTES, 10)]
    parts = list(slices(records))
    assert [record for part in parts for record in part] == records
    assert all(len(part) <= SLICE_RECORDS for part in parts)
    assert all(sum(map(len, part[:-1])) < SLICE_BYTES for part in parts)
    assert list(slices([])) == []


def test_outcomes_do_not_depend_on_the_slice() -> None:
    records = encoded(
        *(event(n, channel="fax" if n % 3 else "web", time=None if n % 5 else NOW_TEXT) for n in range(60))
    )
    whole = check(records, ANYTHING, NOW)
    alone = [check([record], ANYTHING, NOW) for record in records]
    assert whole.payloads == [one.payloads[0] for one in alone]
    assert whole.events == [one.events[0] for one in alone]
    assert sorted(whole.refusals) == [place for place, one in enumerate(alone) if one.refusals]
    assert all(refusal.index == place for place, refusal in whole.refusals.items())


def test_only_so_many_refusals_are_explained_in_full() -> None:
    """The others are named all the same, with reason, field and the decoder's words; good ones among them pass."""
    records = encoded(*({"id": f"e-{n}", "type": "cx.page.viewed", "time": 7} for n in range(1_000)), event(1))
    checked = check(records, ANYTHING, NOW)
    full = [refusal for refusal in checked.refusals.values() if refusal.reason != "invalid"]
    assert len(full) == EXPLAINED_FREE + sum(map(len, records)) // EXPLAINED_BYTES
    assert len(checked.refusals) == 1_000
    assert all(refusal.message for refusal in checked.refusals.values())
    assert checked.events[1_000]


def test_a_flood_without_times_is_still_taken() -> None:
    """To add a time is no explanation, of which there are only so many."""
    records = encoded(*(event(n, time=None) for n in range(1_000)))
    assert check(records, ANYTHING, NOW).refusals == {}


@pytest.mark.parametrize(
    ("filling", "reason"),
    [
        (b'"\xff"', "not_utf8"), (b"[" * 5_000 + b"]" * 5_000, "too_deep"), (b"[" + b"{}," * 5_000 + b"7]", "too_many_values"),
        (b'"\\ud800"', "invalid"),
    ],
)  # fmt: skip
def test_a_long_event_is_refused_in_a_few_words(filling: bytes, reason: str) -> None:
    sent = event(1, data={"page": 7})
    record = b'{"note":' + filling + b',"pad":"' + b"x" * EXPLAINED_LONGEST + b'",' + json.dumps(sent).encode()[1:]
    (refusal,) = check([record], ANYTHING, NOW).refusals.values()
    assert refusal.reason == reason
    assert refusal.message


def test_what_the_sender_of_a_right_event_will_miss_is_said() -> None:
    """Of one that is too old for any KPI, and of a touchpoint that nobody knows; of refused and usual ones nothing."""
    at = datetime(2026, 11, 22, 10, tzinfo=UTC)
    events = [
        None,
        decode_one(json.dumps(event(1, time=at.isoformat(), touchpoint="checkout")).encode()),
        decode_one(json.dumps(event(2, time=(at - timedelta(seconds=86_401)).isoformat())).encode()),
        decode_one(json.dumps(event(3, time=at.isoformat(), touchpoint="nowhere")).encode()),
        decode_one(json.dumps(event(4, time=at.isoformat(), touchpoint=" check\u200bout")).encode()),
        decode_one(json.dumps(event(5, time=at.isoformat(), touchpoint="\u200b")).encode()),
    ]
    found = warnings_of(events, at.timestamp(), 86_400, {"checkout"})  # type: ignore[arg-type]
    assert {place: text.partition(":")[0] for place, text in found.items()} == {2: "late", 3: "unknown_touchpoint"}
