"""
Rules tried on history: minutes are replayed through the judge, and what fired is held against what really happened.

An incident is a time, and labels of the series it was about. A firing belongs to it if it began inside, or not longer
after it than the rule's window reaches back, on a series whose labels do not say otherwise. What was told to somebody
and belongs to none is a false alarm. What was held back (by a parent, a mute, a silent channel) woke nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Final, NamedTuple

from streams.alerts.facts import Facts, length_of, without
from streams.alerts.judging.inhibition import TRUSTED_BY
from streams.alerts.judging.judge import Judge
from streams.alerts.judging.view import MinuteView
from streams.alerts.judging.watch import CHANNEL, Baselines, Fault
from streams.alerts.offline.minutes import Minutes
from streams.alerts.rules.rules import Rule, RuleBook
from streams.alerts.types import ClosedView, Transition
from streams.kpis.aggregators import ADDITIVE, measure
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.arithmetic.intervals import Z95, Measure
from streams.kpis.language.lengths import WINDOWS
from streams.kpis.language.series import Labels, parse_series

DAY: Final = 1440
POINTS: Final = 1500
"""Points of a line in a picture, at most about."""


class RealIncident(NamedTuple):
    """Something that really happened."""

    since: int
    until: int
    """First and last minute, unix seconds // 60."""
    labels: Mapping[str, str]
    """Of the series it was about; `kpi` and `alert` name which of those should see it. Empty: any."""

    def concerns(self, rule: Rule, labels: Mapping[str, str]) -> bool:
        """Return whether a rule on a series might see it."""
        own = {**labels, "kpi": rule.kpi.id, "alert": rule.alert}
        return all(own.get(name, value) == value for name, value in self.labels.items())

    @property
    def name(self) -> str:
        """Name it by its labels."""
        return ", ".join(f"{name}={value}" for name, value in self.labels.items()) or "all"


@dataclass(slots=True)
class Firing:
    """One rule fired on one series, once."""

    rule: Rule
    labels: Mapping[str, str]
    severity: str
    began: int
    why: str
    held_by: str | None
    ended: int | None = None
    """None while it still fires at the end."""
    notified: int | None = None
    """The minute in which it was passed on to people; None if it was held back all the time."""


class Score(NamedTuple):
    """How a rule did."""

    rule: Rule
    series: int
    days: float
    """Series × days in which nothing was the matter."""
    firings: int
    held: int
    """Firings of which nobody heard."""
    false: int
    per_day: float | None
    """False alarms per day and series, None without any such day; with the ends of a 95 % interval."""
    lo: float | None
    hi: float | None


class IncidentSeen(NamedTuple):
    """How an incident was noticed."""

    incident: RealIncident
    delays: Mapping[str, int]
    """Minutes until a rule fired, by rule and series, soonest first; 1 is in its first minute."""
    notified: int | None
    """Minutes until somebody was told; None if nobody was."""


@dataclass(slots=True)
class Track:
    """The value of a series over a rule's window, thinned out to fit a picture."""

    rule: Rule
    labels: Mapping[str, str]
    minutes: list[int] = field(default_factory=list)
    found: list[Measure] = field(default_factory=list)
    baseline: list[float | None] = field(default_factory=list)
    """What it is compared with."""


class Backtest:
    """A judge on history, and what is to be said of it."""

    def __init__(
        self,
        rules: RuleBook,
        start: int,
        end: int,
        *,
        windows: Sequence[str] = WINDOWS,
        incidents: Iterable[RealIncident] = (),
        baselines: Baselines | None = None,
        drawn: bool = False,
    ) -> None:
        """
        Start with nothing.

        Args:
            rules: All rules.
            start: The first minute that counts; those before it only teach.
            end: The last minute.
            windows: The rolling windows that are kept.
            incidents: What really happened.
            baselines: What was usual, as it was known at the time.
            drawn: Whether values are kept for a picture.

        Raises:
            ValueError: Rules read a window that is not kept.
        """
        self.start, self.end = start, end
        self.incidents = tuple(incidents)
        self.transitions: list[Transition] = []
        """Those that count."""
        self.faults: list[Fault] = []
        self.tracks: dict[tuple[str, str], Track] = {}
        """By rule and series key."""
        self._rules = rules
        self._judge = Judge(rules, windows=windows)
        self._minutes = Minutes(windows)
        self._baselines = baselines
        self._every = max(1, (end - start + 1) // POINTS) if drawn else 0
        self._first_seen: dict[str, int] = {}
        self._watched: list[tuple[Rule, Mapping[str, str], str]] = []
        self._known = {rule.kpi.id: 0 for rule in rules}
        self._firings: list[Firing] = []
        self._open: dict[tuple[str, Labels], Firing] = {}
        self._last: int | None = None

    def close(
        self, minute: int, sums: Mapping[str, Acc], sources: Mapping[str, tuple[int, int]] | None = None
    ) -> list[Transition]:
        """Replay a minute, later than any before; return its transitions. Minutes left out held nothing."""
        if self._last is not None:
            for between in range(self._last + 1, minute):
                self._step(between, {}, {})
        return self._step(minute, sums, sources or {})

    @property
    def firings(self) -> list[Firing]:
        """What fired in the time that counts, or did so when it began."""
        return [one for one in self._firings if one.ended is None or one.ended >= self.start]

    @property
    def series(self) -> int:
        """How many rule × series were judged."""
        return len(self._watched)

    def scores(self) -> list[Score]:
        """Return how each rule did that had a series to judge."""
        found = []
        for rule in self._rules:
            watched = [(labels, key) for own, labels, key in self._watched if own is rule]
            if not watched:
                continue
            days = sum(self._calm(rule, labels, key) for labels, key in watched) / DAY
            own = [one for one in self.firings if one.rule is rule and one.began >= self.start]
            false = sum(one.notified is not None and not self._explained(one) for one in own)
            lo, hi = rate_interval(false, days) if days else (None, None)
            held = sum(one.notified is None for one in own)
            rate = false / days if days else None
            found.append(Score(rule, len(watched), days, len(own), held, false, rate, lo, hi))
        return found

    def seen(self) -> list[IncidentSeen]:
        """Return how each incident was noticed."""
        found = []
        for incident in self.incidents:
            delays: dict[str, int] = {}
            notified: list[int] = []
            for one in sorted(self.firings, key=lambda firing: firing.began):
                if _belongs(one, incident):
                    delays.setdefault(name_of(one.rule, one.labels), one.began - incident.since + 1)
                    if one.notified is not None:
                        notified.append(one.notified - incident.since + 1)
            found.append(IncidentSeen(incident, delays, min(notified, default=None)))
        return found

    def held(self) -> dict[str, int]:
        """Return what kept firings back of which nobody heard, with how many, most first."""
        reasons = Counter(one.held_by for one in self.firings if one.notified is None and one.held_by is not None)
        return dict(reasons.most_common())

    def is_false(self, firing: Firing) -> bool:
        """Return whether somebody was told of something that did not happen."""
        return firing.notified is not None and firing.began >= self.start and not self._explained(firing)

    def _step(self, minute: int, sums: Mapping[str, Acc], sources: Mapping[str, tuple[int, int]]) -> list[Transition]:
        self._last = minute
        view = MinuteView(self._minutes.close(minute, sums, sources))
        transitions = self._judge.step(view, baselines=self._baselines)
        self.faults += self._judge.take_faults()
        for transition in transitions:
            self._note(transition)
        if transitions:
            self._judge.confirm(transitions[-1].seq)
        self._meet(view)
        if self._every and minute >= self.start and (minute - self.start) % self._every == 0:
            self._track(view)
        if minute < self.start:
            return []
        self.transitions += transitions
        return transitions

    def _note(self, transition: Transition) -> None:
        """Take note of what begins to fire, is passed on later, or ends."""
        key = transition.rule, tuple(sorted(transition.labels.items()))
        minute, held = transition.minute, transition.inhibited_by
        if transition.old == "firing" and transition.new != "firing":
            ended = self._open.pop(key, None)
            if ended is not None:
                ended.ended = minute
        elif transition.new == "firing":
            firing = self._open.get(key)
            if firing is None:
                rule = self._rules[transition.rule]
                firing = Firing(rule, transition.labels, transition.severity, minute, transition.why, held)
                self._open[key] = firing
                self._firings.append(firing)
            if held is None and firing.notified is None:
                firing.notified = minute

    def _meet(self, view: ClosedView) -> None:
        """Take note of series that are new."""
        for kpi, seen in self._known.items():
            keys = view.series(kpi)
            for key in keys[seen:]:
                labels = parse_series(key)[1]
                self._first_seen[key] = view.minute
                by, named = tuple(name for name, _ in labels), dict(labels)
                self._watched += [
                    (rule, named, key) for rule in self._rules.of_kpi(kpi) if rule.by == by and rule.judges(named)
                ]
            self._known[kpi] = len(keys)

    def _track(self, view: ClosedView) -> None:
        for rule, labels, key in self._watched:
            track = self.tracks.get((rule.alert, key))
            if track is None:
                track = self.tracks[rule.alert, key] = Track(rule, labels)
            facts = Facts.of(rule.kpi)
            track.minutes.append(view.minute)
            track.found.append(_measured(facts, view.window(key, rule.window)))
            track.baseline.append(self._baseline(rule, facts, view, key))

    def _baseline(self, rule: Rule, facts: Facts, view: ClosedView, key: str) -> float | None:
        """Return what a series is compared with: its target, the time before, or what this hour of the week has."""
        if rule.target is not None:
            return rule.target
        baseline = getattr(rule.params, "baseline", None)
        if baseline is not None:
            found = _measured(facts, without(view.window(key, baseline), view.window(key, rule.window))).value
            if found is None or facts.aggregator not in ADDITIVE:
                return found
            length = length_of(rule.window)
            return found * length / (length_of(baseline) - length)
        if self._baselines is None:
            return None
        expected = self._baselines.expected(rule, key, rule.window, view.minute)
        return None if expected is None else expected.value

    def _explained(self, firing: Firing) -> bool:
        return any(_belongs(firing, incident) for incident in self.incidents)

    def _calm(self, rule: Rule, labels: Mapping[str, str], key: str) -> int:
        """Return the minutes in which a series was judged and nothing was the matter with it."""
        first, last = max(self.start, self._first_seen[key]), min(self.end, self._last or self.end)
        spans = sorted(
            (max(first, one.since), min(last, one.until + length_of(rule.window)))
            for one in self.incidents
            if one.concerns(rule, labels)
        )
        calm = max(0, last - first + 1)
        reached = first - 1
        for since, until in spans:
            calm -= max(0, until - max(since, reached + 1) + 1)
            reached = max(reached, until)
        return max(0, calm)


def groupings_of(rules: Iterable[Rule]) -> frozenset[tuple[str, ...]]:
    """
    Return the label names of the series that verdicts of rules depend on, or what holds them back.

    What explains an alert besides, to people, is not among them.
    """
    found: set[tuple[str, ...]] = set()
    for rule in rules:
        found.add(rule.by)
        label: str | None = getattr(rule.params, "label", None)
        if label is not None:
            found.add(tuple(sorted({*rule.by, label})))
        # How much of a series comes from a channel, `Trust` looks up where the fewest other labels are.
        kept = [names for names in rule.kpi.groupings if {CHANNEL, *rule.by} <= set(names)]
        found |= {min(kept, key=lambda names: (len(names), names))} if kept else set()
        found |= {(CHANNEL,)} & set(rule.kpi.groupings)
    return frozenset(found)


def windows_of(rules: Iterable[Rule], kept: Iterable[str]) -> tuple[str, ...]:
    """Return which of the kept windows verdicts of rules depend on, or what holds them back; and those not kept."""
    read = {name for rule in rules for name in (*rule.params.windows(rule.window), *rule.longer)}
    own = tuple(kept)
    return (*(name for name in own if name in read | TRUSTED_BY), *sorted(read.difference(own)))


def name_of(rule: Rule, labels: Mapping[str, str]) -> str:
    """Name an alert for people: `CsatCollapse{channel=web}`."""
    return f"{rule.alert}{{{', '.join(f'{name}={value}' for name, value in labels.items())}}}"


def rate_interval(events: float, days: float) -> tuple[float, float]:
    """Return a 95 % interval of a Poisson rate: Byar's approximation (Breslow & Day 1987, vol. II, eq. 2.12-2.13)."""
    lo = 0.0 if not events else max(0.0, events * (1 - 1 / (9 * events) - Z95 / (3 * sqrt(events))) ** 3)
    more = events + 1
    return lo / days, more * (1 - 1 / (9 * more) + Z95 / (3 * sqrt(more))) ** 3 / days


def _belongs(firing: Firing, incident: RealIncident) -> bool:
    latest = incident.until + length_of(firing.rule.window)
    return incident.since <= firing.began <= latest and incident.concerns(firing.rule, firing.labels)


def _measured(facts: Facts, acc: Acc | None) -> Measure:
    if acc is None:
        return Measure(None, 0, None, None)
    return measure(facts.aggregator, acc, facts.scale, unit=facts.unit, q=facts.q, within=facts.within)
