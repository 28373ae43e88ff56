"""A replay: order, pace, bounded disorder, repeats, moved times, and what it reports."""

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest

from streams.events.decode import decode_batch
from streams.producers.readers.base import Touch
from streams.producers.replay import RUN, replay


class Deliveries(NamedTuple):
    delivered: int
    undelivered: list
    errors: dict


class FullError(Exception):
    pass


class Recorder:
    """A producer that remembers what it was given, and when by a clock that only waiting moves."""

    def __init__(self, fail=(), keep=0, full_after=None):
        self.sent = []
        self.at = []
        self.now = 100.0
        self.told = 0
        self.fail = fail
        self.keep = keep
        self.full_after = full_after

    def send_encoded(self, payload, channel, subject):
        if len(self.sent) == self.full_after:
            raise FullError
        self.sent.append((payload, channel, subject))
        self.at.append(self.now)

    def flush(self, timeout_s=30.0):
        fresh = self.sent[self.told : len(self.sent) - self.keep]
        self.told += len(fresh)
        lost = [payload for payload, _, subject in fresh if subject in self.fail]
        return Deliveries(len(fresh) - len(lost), lost, {"gone": len(lost)} if lost else {})

    def clock(self):
        return self.now


class Waiting(threading.Event):
    """A stop signal whose wait moves the recorder's clock instead of sleeping; sets itself at `until`."""

    def __init__(self, recorder, until=float("inf")):
        super().__init__()
        self.recorder = recorder
        self.until = until
        self.waits = []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        self.recorder.now += timeout
        if self.recorder.now >= self.until:
            self.set()
        return self.is_set()


def touch(second, channel="web", subject="c1", **extra):
    at = datetime(2024, 5, 1, tzinfo=UTC) + timedelta(seconds=second)
    event = {
        "specversion": "1.0",
        "id": f"e{second}",
        "source": "/t",
        "type": "cx.session.started",
        "time": at.isoformat(),
        "subject": subject,
        "channel": channel,
        "data": {},
    } | extra
    return Touch(at.timestamp(), channel, subject, json.dumps(event).encode())


def ids(recorder):
    return [json.loads(payload)["id"] for payload, _, _ in recorder.sent]


def test_at_max_speed_all_is_sent_in_event_time_order_as_recorded():
    touches = [touch(3), touch(1, channel="app"), touch(2, subject="c2")]
    recorder = Recorder()
    report = replay(touches, recorder, "max")
    assert recorder.sent == [(t.value, t.channel, t.subject) for t in (touches[1], touches[2], touches[0])]
    assert (report.total, report.sent, report.delivered, report.complete) == (3, 3, 3, True)
    assert report.by_channel == {"app": 1, "web": 2}
    assert (report.stopped, report.shift, report.pending) == (False, None, 0)


@pytest.mark.parametrize(("speed", "arrivals"), [(1.0, [100, 110, 110, 130]), (10, [100, 101, 101, 103])])
def test_events_are_sent_when_their_time_has_come(speed, arrivals):
    recorder = Recorder()
    touches = [touch(0), touch(10), touch(10), touch(30)]
    report = replay(touches, recorder, speed, stop=Waiting(recorder), clock=recorder.clock)
    assert recorder.at == pytest.approx(arrivals)
    assert report.duration_s == pytest.approx(arrivals[-1] - 100)


def test_progress_comes_also_during_long_waits_and_at_the_end():
    recorder = Recorder()
    told = []
    replay(
        [touch(0), touch(5)],
        recorder,
        progress=told.append,
        progress_every_s=2,
        stop=Waiting(recorder),
        clock=recorder.clock,
    )
    assert [(p.elapsed_s, p.sent, p.delivered) for p in told] == [(2, 1, 1), (4, 1, 1), (5, 2, 2)]
    assert told[0].reached == datetime(2024, 5, 1, tzinfo=UTC)
    assert told[-1].total == 2


def test_stop_ends_a_wait_at_once_and_the_report_says_so():
    recorder = Recorder()
    stop = Waiting(recorder, until=101)
    report = replay([touch(0), touch(1_000_000)], recorder, stop=stop, clock=recorder.clock)
    assert (report.sent, report.delivered, report.total) == (1, 1, 2)
    assert report.stopped
    assert not report.complete
    assert stop.waits == [1.0]


def test_stop_is_seen_between_runs_at_max_speed():
    stop = threading.Event()
    recorder = Recorder()
    touches = [touch(second) for second in range(3 * RUN)]
    report = replay(touches, recorder, "max", stop=stop, progress=lambda _: stop.set(), progress_every_s=0)
    assert report.sent == RUN
    assert report.stopped


def test_disorder_is_real_keeps_its_bound_and_depends_on_the_seed_alone():
    touches = [touch(second / 10) for second in range(3_000)]

    def order(seed):
        recorder = Recorder()
        replay(touches, recorder, "max", shuffle_within_s=30, seed=seed)
        return [json.loads(payload)["time"] for payload, _, _ in recorder.sent]

    first = order(1)
    assert first == order(1)
    assert first != order(2)
    assert sorted(first) == sorted(json.loads(t.value)["time"] for t in touches)
    newest, latest = datetime.min.replace(tzinfo=UTC), timedelta(0)
    for time in map(datetime.fromisoformat, first):
        newest = max(newest, time)
        latest = max(latest, newest - time)
    assert timedelta(seconds=20) < latest <= timedelta(seconds=30)


def test_repeats_send_the_same_bytes_again():
    recorder = Recorder()
    report = replay([touch(1), touch(2)], recorder, "max", repeat=3)
    assert ids(recorder) == ["e1", "e2"] * 3
    assert (report.total, report.sent, report.by_channel) == (6, 6, {"web": 6})


def test_undelivered_and_pending_events_are_reported():
    recorder = Recorder(fail=("bad",), keep=1)
    report = replay([touch(1), touch(2, subject="bad"), touch(3), touch(4)], recorder, "max")
    assert (report.sent, report.delivered, report.undelivered, report.pending) == (4, 2, 1, 1)
    assert report.errors == {"gone": 1}
    assert not report.complete
    assert not report.stopped


def test_rebase_moves_all_times_to_end_now_as_new_events_that_say_so():
    due = "2024-05-03T00:00:00Z"
    touches = [
        touch(0, type="cx.promise.made", data={"due": due}),
        touch(60, type="cx.survey.sent", data={"survey_id": "s", "due": due}, note="kept"),
    ]
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    recorder = Recorder()
    report = replay(touches, recorder, "max", rebase=now)
    first, last = (json.loads(payload) for payload, _, _ in recorder.sent)
    assert last["time"] == "2026-01-01T12:00:00Z"
    assert first["time"] == "2026-01-01T11:59:00Z"
    assert first["timeimputed"] is last["timeimputed"] is True
    assert report.shift == now - datetime(2024, 5, 1, 0, 1, tzinfo=UTC)
    assert datetime.fromisoformat(first["data"]["due"]) == datetime.fromisoformat(due) + report.shift
    # Only fields that are times by the contract move; all else is as sent.
    assert last["data"] == {"survey_id": "s", "due": due}
    assert last["note"] == "kept"
    assert not decode_batch([recorder.sent[0][0]])[1]


def test_rebased_ids_are_new_for_each_shift_and_alike_for_the_same():
    def moved_to(day):
        recorder = Recorder()
        replay([touch(0), touch(1)], recorder, "max", rebase=datetime(2026, 1, day, tzinfo=UTC))
        return ids(recorder)

    assert moved_to(1) == moved_to(1)
    assert not set(moved_to(1)) & {*moved_to(2), "e0", "e1"}
    assert len(set(moved_to(1))) == 2


def test_rebase_leaves_what_is_bad_for_the_receiver_to_judge():
    recorder = Recorder()
    bad = touch(0, type="cx.promise.made", data={"due": "tomorrow"})
    odd = touch(1, type="cx.promise.made", id=7, data=None)
    replay([bad, odd], recorder, "max", rebase=datetime(2026, 1, 1, tzinfo=UTC))
    first, last = (json.loads(payload) for payload, _, _ in recorder.sent)
    assert first["data"] == {"due": "tomorrow"}
    assert (last["id"], last["data"]) == (7, None)


def test_an_empty_replay_is_complete():
    report = replay([], Recorder(), rebase=datetime(2026, 1, 1, tzinfo=UTC))
    assert (report.total, report.complete, report.stopped, report.shift) == (0, True, False, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": 0}, "speed is 0"),
        ({"speed": float("inf")}, "speed is inf"),
        ({"repeat": 0}, "repeat is 0"),
        ({"shuffle_within_s": -1}, "shuffle_within_s is -1"),
    ],
)
def test_impossible_wishes_are_refused_before_anything_is_sent(options, message):
    recorder = Recorder()
    with pytest.raises(ValueError, match=message):
        replay([touch(0)], recorder, **options)
    assert not recorder.sent


def test_an_error_of_the_producer_says_how_far_the_replay_had_come():
    with pytest.raises(FullError) as caught:
        replay([touch(1), touch(2), touch(3)], Recorder(full_after=2), "max")
    assert caught.value.__notes__ == ["the replay had sent 2 of 3 events"]
