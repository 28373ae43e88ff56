"""How sources have done lately, and what the judge of alerts is shown when."""

import random

import pytest

from streams.events.intake import Tally
from streams.kpis.folding.partials import Partial, decode_partial, encode_partial
from streams.kpis.language.series import series_key
from streams.kpis.rolling.health import Lately, SourceHealths, SourceMinutes
from streams.kpis.rolling.merge import MergeState

CSAT = series_key("csat")
WEB = series_key("csat", (("channel", "web"),))


def good(count):
    return Tally(count, count)


def bad(count):
    return Tally(count, 0, 0, 0, count)


def test_what_was_read_is_dealt_to_its_minutes():
    health = SourceHealths()
    health.note("web/0", Tally(11, 8, 0, 0, 3), [100, 101, 102])
    assert health.as_of(102) == {"web/0": Lately(0, 11, 3)}
    assert health.as_of(101) == {"web/0": Lately(0, 4, 0)}
    assert health.as_of(106)["web/0"] == Lately(4, 7, 3)
    assert health.as_of(107)["web/0"] == Lately(5, 0, 0)


def test_a_source_never_heard_of_is_not_silent():
    health = SourceHealths()
    health.note("web/0", good(5), [100])
    health.note("app/0", good(0), [])
    assert set(health.as_of(100)) == {"web/0"}
    assert health.as_of(99) == {}


def test_refused_records_belong_where_the_others_are():
    health = SourceHealths()
    health.note("app/0", bad(4), [])
    assert health.sources == {}, "nobody knows the time yet"
    health.note("web/0", good(5), [100])
    health.note("app/0", bad(4), [])
    health.note("web/0", good(5), [103])
    health.note("app/0", bad(2), [])
    assert health.as_of(103)["app/0"] == Lately(0, 6, 6)
    assert health.as_of(102)["app/0"] == Lately(2, 4, 4)


def test_a_silence_is_remembered_when_its_minutes_are_forgotten():
    health = SourceHealths()
    health.note("web/0", good(5), [100])
    health.prune(200)
    assert health.sources["web/0"] == SourceMinutes({}, 100)
    assert health.as_of(200)["web/0"] == Lately(100, 0, 0)


def test_pruning_changes_no_report():
    chance = random.Random(7)
    kept, pruned = SourceHealths(), SourceHealths()
    for minute in range(100, 200):
        for source in ("web/0", "app/0"):
            if chance.random() < 0.4:
                for health in (kept, pruned):
                    health.note(source, Tally(9, 6, 0, 0, 3), [minute, minute + 1])
        assert kept.as_of(minute) == pruned.as_of(minute)
        pruned.prune(minute)
        pruned = SourceHealths(pruned.copy())


def test_a_source_far_ahead_stays_small():
    health = SourceHealths()
    for minute in range(10_000):
        health.note("web/0", good(1), [minute])
    assert len(health.sources["web/0"].minutes) <= 2 * 1_440
    assert health.as_of(9_999)["web/0"] == Lately(0, 5, 0)


def test_partials_carry_what_became_of_their_records():
    partial = Partial(
        source="web/0", first=0, last=9, watermark=1.0, caught_up=True, tally=Tally(10, 7, 1, 1, 1), minutes=[3, 4]
    )
    assert decode_partial(encode_partial(partial)) == partial


# -- minutes as the judge is shown them --------------------------------------------------------------------------


class Seen:
    """Keeps what each minute held, as text, since a view is only valid until the next minute."""

    def __init__(self):
        self.minutes = []
        self.held = {}

    def __call__(self, view):
        self.minutes.append(view.minute)
        window = view.window(CSAT, "5m")
        silent = {source: one.silent_minutes for source, one in view.lately().items()}
        self.held[view.minute] = (view.in_minute(CSAT), window and window.copy(), list(view.series("csat")), silent)
        return len(self.minutes) % 20 > 0


def state():
    return MergeState(windows=("1m", "5m"), slack_minutes=1, idle_s=30, grace_s=0, open_every_s=10)


def feed(merge, minute, offset, source="web/0", caught_up=True):
    merge.apply(
        Partial(
            source=source, first=offset, last=offset, watermark=minute * 60.0, caught_up=caught_up,
            deltas={minute: {CSAT: [1, 1], WEB: [1, 0]}}, tally=Tally(1, 1), minutes=[minute],
        ),
        offset,
    )  # fmt: skip


def flush(merge, now, seen=None, changelog=None, horizon_s=86_400.0):
    for key, value in merge.dirty_records():
        if changelog is not None:
            changelog[key] = value
    outputs = merge.drain_outputs(now, seen, horizon_s)
    key, value = merge.marker()
    if changelog is not None:
        changelog[key] = value
    return outputs


def test_every_minute_is_shown_once_in_order_as_it_was_when_it_closed():
    merge, seen = state(), Seen()
    for minute in range(100, 131):
        feed(merge, minute, minute)
    rounds = 0
    while rounds == 0 or merge.behind:
        flush(merge, 131 * 60.0, seen)
        rounds += 1
    assert seen.minutes == list(range(100, 130))
    assert rounds == 2, "not all in one go"
    assert seen.held[100] == ([1, 1], [1, 1], [CSAT, WEB], {"web/0": 0})
    assert seen.held[120] == ([1, 1], [5, 5], [CSAT, WEB], {"web/0": 0})


def test_a_minute_without_anything_is_shown_too():
    merge, seen = state(), Seen()
    feed(merge, 100, 0)
    feed(merge, 108, 1)
    flush(merge, 110 * 60.0, seen)
    assert seen.minutes == list(range(100, 108))
    assert seen.held[104] == (None, [1, 1], [CSAT, WEB], {"web/0": 4})
    assert seen.held[105] == (None, None, [CSAT, WEB], {"web/0": 5})


def test_history_beyond_the_horizon_is_passed_by():
    merge, seen = state(), Seen()
    feed(merge, 100, 0)
    feed(merge, 5_000, 1)
    flush(merge, 5_000 * 60.0, seen, horizon_s=600.0)
    assert seen.minutes == list(range(4_990, 5_000))
    merge, seen = state(), Seen()
    feed(merge, 100, 0)
    feed(merge, 300, 1)
    flush(merge, 5_000 * 60.0, seen, horizon_s=600.0)
    assert seen.minutes == []
    assert merge.closed == 299


def test_what_is_published_is_the_same_with_and_without_a_judge():
    def published(judged):
        merge, rows, chance = state(), {}, random.Random(3)
        for step in range(200):
            minute = 100 + step // 2 + chance.randrange(3)
            feed(merge, minute, step, caught_up=chance.random() < 0.5)
            now = 1e6 + step * 4.0
            outputs = flush(merge, now, (lambda view: view.minute % 7 > 0) if judged else None, horizon_s=1e9)
            rows |= {(row.series, row.window): row.acc for row in outputs.values if row.maturity == "closed"}
        feed(merge, 300, 1_000)
        for extra in range(20):
            outputs = flush(
                merge, 2e6 + extra * 100, (lambda view: view.minute % 7 > 0) if judged else None, horizon_s=1e9
            )
            rows |= {(row.series, row.window): row.acc for row in outputs.values if row.maturity == "closed"}
        return rows, merge.closed

    assert published(judged=True) == published(judged=False)


@pytest.mark.parametrize("seed", range(4))
def test_after_a_crash_minutes_are_shown_again_as_they_were(seed):
    """Killed between any two flushes, and between pages and marker: the judge sees the same minutes in order."""
    undisturbed = Seen()
    merge = state()
    for minute in range(100, 200):
        feed(merge, minute, minute)
        flush(merge, minute * 60.0, undisturbed)

    chance, seen, changelog = random.Random(seed), Seen(), {}
    merge, minute = state(), 100
    while minute < 200:
        feed(merge, minute, minute)
        before = dict(changelog)
        flush(merge, minute * 60.0, seen, changelog)
        minute += 1
        if chance.random() < 0.2:
            if chance.random() < 0.5:  # pages were saved, the marker was not
                changelog = {**changelog, **{key: value for key, value in before.items() if key == b"m"}}
                if b"m" not in before:
                    changelog.pop(b"m")
            merge = state()
            merge.restore([(key, value) for key, value in changelog.items() if value is not None])
            minute = max(merge.fence + 1, 100)
    again = [at for place, at in enumerate(seen.minutes) if at in seen.minutes[:place]]
    assert sorted(set(seen.minutes)) == undisturbed.minutes
    assert seen.held == undisturbed.held
    assert again, "the test proves nothing if no minute was shown twice"


def test_a_source_that_sends_only_refused_records_holds_no_minute_open():
    merge, seen = state(), Seen()
    feed(merge, 100, 0, source="app/0")
    for offset in range(1, 60):
        now = 6_000.0 + offset * 10
        feed(merge, 100 + offset, offset, source="web/0")
        broken = Partial(
            source="app/0", first=offset, last=offset, watermark=6_000.0, caught_up=True, tally=bad(1), minutes=[]
        )
        merge.apply(broken, 1_000 + offset)
        flush(merge, now, seen)
    assert merge.closed == 158
