"""
The judge against itself: crashes between any two records, minutes in batches, rules dealt to several judges.

The log of transitions that receivers see, each number once, must be the one of a run that nothing disturbed.
"""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from streams.alerts.judging.judge import Judge
from streams.alerts.judging.state import COMMIT_KEY, is_ours, read_back
from streams.alerts.rules.parsing import parse_rules
from streams.alerts.rules.rules import RuleBook
from streams.alerts.types import SourceHealth
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.series import series_key
from tests.harness.closed import Closed

WINDOWS = ("1m", "5m", "1h")
CATALOGUE = Catalogue.load()
RULES = parse_rules(
    """
calendars:
  - {name: tea, zone: UTC, when: [{times: ['16:50-16:55']}]}
groups:
  - name: test
    owner: contact-centre
    rules:
      - {alert: Low, kpi: service_level_all_offered, method: floor, window: 1m, params: {target: 80}, severity: page,
         runbook: docs/R.md, for: 2m, keep_firing_for: 2m, recover: {above: 85, for: 1m}, min_n: 100}
      - {alert: LowByChannel, kpi: service_level_all_offered, by: [channel], method: floor, window: 1m,
         params: {target: 80}, severity: page, runbook: docs/R.md, for: 1m, min_n: 50,
         no_data: {action: alert, for: 2m}}
      - {alert: Erosion, kpi: service_level_all_offered, by: [channel], method: cusum, window: 5m,
         params: {p0: 90, p1: 80, h: 6}, severity: ticket, mute: [tea], no_data: {action: ok, for: 3m}}
      - {alert: Worse, kpi: service_level_all_offered, method: ztest, window: 5m, params: {baseline: 1h},
         severity: info, min_denominator: 50, min_n: 30}
      - {alert: Smoothed, kpi: service_level_all_offered, method: ewma, window: 5m, params: {baseline: 1h},
         severity: info, min_denominator: 50, min_n: 30}
      - {alert: Nothing, kpi: volume, by: [channel], method: absence, window: 1m, params: {baseline: 5m, min_expected: 5},
         severity: page, runbook: docs/R.md}
      - {alert: GivenUp, kpi: abandonment, method: floor, window: 1m, params: {target: 8}, severity: ticket,
         no_data: {action: keep}, min_n: 30, for: 1m}
""",
    CATALOGUE,
    windows=WINDOWS,
)
CHANNELS = ("web", "app")
# What a channel does in a minute: offered, answered in time, abandoned; None: dead.
DOINGS = {
    "good": (60, 56, 2),
    "bad": (60, 30, 12),
    "so-so": (60, 49, 4),
    "thin": (5, 1, 1),
    "none": (0, 0, 0),
    "dead": None,
}

Minute = tuple[int, dict[str, str], int]
"""Minutes since the one before, what each channel does, bad records of the first."""

minutes = st.tuples(
    st.sampled_from((1, 1, 1, 1, 1, 2, 20)),
    st.fixed_dictionaries({name: st.sampled_from(sorted(DOINGS)) for name in CHANNELS}),
    st.sampled_from((0, 0, 0, 100)),
)


@st.composite
def days(draw) -> list[Minute]:
    """Spells of a few minutes each, so that clocks run down."""
    spells = draw(st.lists(st.tuples(minutes, st.integers(1, 6)), min_size=1, max_size=9))
    return [(step if first else 1, doing, bad) for (step, doing, bad), long in spells for first in _firsts(long)]


def _firsts(long: int) -> list[bool]:
    return [True] + [False] * (long - 1)


def key(kpi: str, channel: str | None = None) -> str:
    return series_key(kpi, (("channel", channel),) if channel else ())


def play(day: list[Minute]):
    """Yield the closed views of a day; each may be looked at until the next is asked for."""
    closed, at, silent = Closed(WINDOWS), 1000, dict.fromkeys(CHANNELS, 0)
    for step, doing, bad in day:
        at += step
        held: dict[str, list[int]] = {}
        health = []
        for name in CHANNELS:
            done = DOINGS[doing[name]]
            silent[name] = silent[name] + step if done is None else 0
            health.append(SourceHealth(name, silent[name], 0 if silent[name] > 4 else 300, bad if name == "web" else 0))
            if done is None:
                continue
            offered, answered, abandoned = done
            for where in (None, name):
                for kpi, acc in (
                    ("service_level_all_offered", [offered, answered]),
                    ("abandonment", [offered, abandoned]),
                    ("volume", [offered + 6]),
                ):
                    total = held.setdefault(key(kpi, where), [0] * len(acc))
                    for field, value in enumerate(acc):
                        total[field] += value
        yield closed.close(at, {k: acc for k, acc in held.items() if any(acc)}, health)


def undisturbed(day: list[Minute], rules=RULES):
    judge = Judge(rules, windows=WINDOWS)
    return [transition for view in play(day) for transition in judge.step(view)], judge


def remembered(judge: Judge):
    return sorted((rule, series, msgspec.msgpack.encode(instance)) for rule, series, instance in judge._store)


class Agent:
    """Goes round as the merge agent does, on a changelog that keeps what was written, and dies when told to."""

    def __init__(self, day: list[Minute]) -> None:
        self.day = day
        self.changelog: list[tuple[bytes, bytes | None]] = [(b"s/0", b"another's"), (b"m", b"marker")]
        self.closed = 0
        """How many minutes of the day the last marker covers."""
        self.received: dict[int, object] = {}

    def live(self, batches: list[int], die_after: int) -> bool:
        """Live until the day is over, or for some writes; tell whether the day is over."""
        judge = Judge(RULES, windows=WINDOWS)
        judge.restore(self.changelog)
        writes = 0

        def dies() -> bool:
            nonlocal writes
            writes += 1
            return writes > die_after

        waiting, flushes, position = 0, 0, 0
        for position, view in enumerate(play(self.day), 1):
            if position > self.closed:  # what the merge has published it does not close again
                judge.step(view)
            waiting += 1
            if waiting < batches[flushes % len(batches)] and position < len(self.day):
                continue
            waiting, flushes = 0, flushes + 1
            for record in [*judge.dirty_records(), judge.commit_record()]:
                if dies():
                    return False
                self.changelog.append(record)
            for transition in list(judge.outbox):
                if dies():
                    return False
                known = self.received.setdefault(transition.seq, msgspec.msgpack.encode(transition))
                assert known == msgspec.msgpack.encode(transition), "the same number is the same transition"
            if judge.outbox:
                judge.confirm(judge.outbox[-1].seq)
            for record in judge.sent_records():
                if dies():
                    return False
                self.changelog.append(record)
            if dies():
                return False
            self.closed = position
        self.judge = judge
        return True


SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]
LIVELY: list[Minute] = [
    (1, {"web": "good", "app": "good"}, 0), *[(1, {"web": "bad", "app": "bad"}, 0)] * 6,
    *[(1, {"web": "good", "app": "so-so"}, 0)] * 6, *[(1, {"web": "dead", "app": "good"}, 0)] * 5,
    *[(1, {"web": "good", "app": "good"}, 0)] * 4, (20, {"web": "none", "app": "good"}, 100),
    *[(1, {"web": "none", "app": "bad"}, 0)] * 5, *[(1, {"web": "good", "app": "good"}, 0)] * 6,
]  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
@given(days(), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.lists(st.integers(0, 60), max_size=12))
@example(LIVELY, [1], list(range(0, 60, 3)))
@example(LIVELY, [3, 1], [5] * 12)
def test_crashes_are_not_seen(day, batches, deaths):
    """Whatever was written when it died, whoever takes over goes on as if nothing had happened."""
    expected, judge = undisturbed(day)
    agent = Agent(day)
    while not agent.live(batches, deaths.pop() if deaths else 1 << 30):
        pass
    got = [agent.received[seq] for seq in sorted(agent.received)]
    assert got == [msgspec.msgpack.encode(transition) for transition in expected]
    assert remembered(agent.judge) == remembered(judge)
    last = judge.judged or 0
    assert sorted(map(msgspec.json.encode, agent.judge.active(last))) == sorted(
        map(msgspec.json.encode, judge.active(last))
    )


def test_a_crash_after_every_single_record():
    """No boundary is left out: a day in which everything happens, ended after 1, 2, 3 … writes."""
    expected = [msgspec.msgpack.encode(transition) for transition in undisturbed(LIVELY)[0]]
    assert {state for t in undisturbed(LIVELY)[0] for state in (t.new, t.rule)} >= {
        "pending", "firing", "resolved", "inactive", "Low", "LowByChannel", "Erosion", "Worse", "Nothing", "GivenUp",
    }  # fmt: skip
    boundary = 0
    while True:
        agent = Agent(LIVELY)
        over = agent.live([2], boundary)
        if not over:
            assert agent.live([2], 1 << 30)
        assert [agent.received[seq] for seq in sorted(agent.received)] == expected, f"died after {boundary} writes"
        if over:
            break
        boundary += 7 if boundary > 60 else 1
    assert boundary > 100


@settings(max_examples=20, deadline=None, suppress_health_check=SLOW)
@given(days())
@example(LIVELY)
def test_rules_of_other_kpis_do_not_matter(day):
    """Dealt to judges by KPI, as partitions deal them, rules say the same."""

    def said(transitions):
        return sorted(
            (t.minute, t.rule, tuple(t.labels.items()), t.why, t.inhibited_by or "", t.episode) for t in transitions
        )

    apart = []
    for kpi in ("service_level_all_offered", "abandonment", "volume"):
        apart += undisturbed(day, RuleBook.of(RULES.of_kpi(kpi), RULES.calendars.values()))[0]
    assert said(apart) == said(undisturbed(day)[0])


@settings(max_examples=30, deadline=None, suppress_health_check=SLOW)
@given(days())
@example(LIVELY)
def test_the_log_is_a_walk_through_the_states(day):
    """Each transition begins where the one before ended; episodes are not mixed; nothing is told twice or held twice."""
    transitions, _ = undisturbed(day)
    assert [t.seq for t in transitions] == list(range(1, len(transitions) + 1))
    states: dict[tuple, str] = {}
    for transition in transitions:
        place = transition.rule, tuple(transition.labels.items())
        assert states.get(place, "inactive") == transition.old
        assert transition.old != transition.new or transition.why.startswith("FIRING => FIRING: no longer held back by")
        states[place] = transition.new
    for place in states:
        mine = [t for t in transitions if (t.rule, tuple(t.labels.items())) == place]
        for before, after in pairwise(mine):
            same = after.old in {"pending", "firing"} or after.new == "inactive"
            assert (before.episode == after.episode) == same


@settings(max_examples=30, deadline=None, suppress_health_check=SLOW)
@given(days())
@example([(1, {"web": "bad", "app": "bad"}, 0)] * 6 + [(1, {"web": "dead", "app": "none"}, 0)] * 9)
def test_what_is_over_is_held_against_nobody(day):
    """An alert that ended, by whatever way, leaves no evidence behind that could make it fire again."""
    judge = Judge(RULES, windows=WINDOWS)
    for view in play(day):
        over = {
            series_key(one.kpi, tuple(one.labels.items()))
            for one in judge.step(view)
            if one.rule == "Erosion" and one.new in {"inactive", "resolved"}
        }
        for rule, series, instance in judge._store:
            if rule == "Erosion" and series in over:
                assert instance.detector is None or not instance.detector.fired, series


def test_a_commit_needs_its_chunks():
    """A changelog that lost records is refused, not taken for an empty one."""
    agent = Agent(LIVELY)
    agent.live([1], 1 << 30)
    chunk = next(i for i, (name, _) in enumerate(agent.changelog) if is_ours(name) and name != COMMIT_KEY)
    lost = agent.changelog[chunk][0][:-1]
    kept = [(name, value) for name, value in agent.changelog if not name.startswith(lost)]
    judge = Judge(RULES, windows=WINDOWS)
    with pytest.raises(ValueError, match="expected version"):
        judge.restore(kept)
    assert read_back([]).commit.judged is None
