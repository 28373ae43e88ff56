"""
Rules made ready for many series: which series each rule watches, and how a detector reads one of them.

Series keys are parsed once, when they are first seen. A KPI's list of series only grows, so in a minute without new
ones only its length is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, Protocol

from streams.alerts.facts import Expected, Facts, length_of
from streams.alerts.judging.machine import Instance, Policy
from streams.alerts.judging.state import chunk_of
from streams.alerts.rules.rules import SEVERITIES, Rule
from streams.alerts.types import ClosedView, OpenView, SourceHealth, Verdict
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.language.series import Labels, parse_series

CHANNEL: Final = "channel"


INDEXED_BYTES: Final = 800
"""Memory that `Index` takes for one series of a KPI that has rules."""

WATCHED_BYTES: Final = 1_500
"""Memory of a rule on one series (`Subject`), including what most detectors remember."""


def bytes_of_series(rules: Iterable[Rule]) -> Callable[[tuple[str, tuple[str, ...]]], int]:
    """Return the function that says how many bytes judging needs of each series of a grouping: KPI id, label names."""
    by_kpi: dict[str, list[Rule]] = {}
    for rule in rules:
        by_kpi.setdefault(rule.kpi.id, []).append(rule)

    @cache
    def of(grouping: tuple[str, tuple[str, ...]]) -> int:
        kpi, names = grouping
        own = [rule for rule in by_kpi.get(kpi, ()) if rule.by == names]
        watched = sum(WATCHED_BYTES + rule.params.memory_bytes for rule in own)
        return watched + INDEXED_BYTES if kpi in by_kpi else 0

    return of


def policy_of(rule: Rule) -> Policy:
    """Return how many minutes a rule waits before each change of state, as `machine` wants it."""
    return Policy(
        for_=rule.for_minutes,
        keep_firing_for=rule.keep_firing_minutes,
        recover_for=rule.recover.for_minutes,
        window=length_of(rule.window),
        no_data=rule.no_data.action,
        no_data_for=rule.no_data.for_minutes,
        unjudged_limit=rule.no_data.limit_minutes,
    )


class Fault(NamedTuple):
    """An error in one rule, which did not stop the others."""

    rule: str
    reason: str
    minute: int


class Baselines(Protocol):
    """What windows usually have at a time of the week, as learnt from history."""

    def expected(self, rule: Rule, series: str, window: str, minute: int) -> Expected | None:
        """Return what a window of a series that ends with a minute usually has; None while too little is known."""
        ...


class Subject:
    """A rule on a series."""

    __slots__ = ("chunk", "instance", "key", "labels", "rank", "verdict", "watch")

    def __init__(self, watch: Watch, key: str, labels: Mapping[str, str]) -> None:
        self.watch = watch
        self.key = key
        self.labels = labels
        self.chunk = chunk_of(key)
        rule = watch.rule
        self.rank = (
            not rule.params.is_absence,
            len(labels),
            SEVERITIES.index(rule.severity_of(labels)),
            watch.order,
            key,
        )
        """The order in which alerts of a minute are sent: absence, the whole before its parts, then by severity."""
        self.instance: Instance | None = None
        """None as long as nothing needs to be remembered of it."""
        self.verdict: Verdict | None = None
        """Of the last judged minute that had one."""

    @property
    def severity_rank(self) -> int:
        """Position in SEVERITIES: 0 is a page, higher numbers are less severe."""
        return self.rank[2]

    @property
    def name(self) -> str:
        """Name the alert for people: `ServiceLevelLow{channel=web}`."""
        return f"{self.watch.rule.alert}{{{', '.join(f'{name}={value}' for name, value in self.labels.items())}}}"


def by_rank(subject: Subject) -> tuple[bool, int, int, int, str]:
    """Return the key to sort alerts of a minute by."""
    return subject.rank


class Watch:
    """A rule with the series it watches."""

    __slots__ = ("definition", "facts", "fingerprint", "order", "policy", "rule", "subjects", "too_many")

    def __init__(self, rule: Rule, order: int) -> None:
        self.rule = rule
        self.order = order
        self.facts = Facts.of(rule.kpi)
        self.definition = rule.kpi.definition_id
        self.fingerprint = f"{self.definition} {rule.window} {rule.method} {rule.params.memory_key}"
        """What the memory of its detectors depends on: memory saved under another fingerprint is dropped."""
        self.policy = policy_of(rule)
        self.subjects: dict[str, Subject] = {}
        self.too_many = 0
        """Series that are not watched because the rule has too many."""

    def take(self, key: str, labels: Labels, at_most: int) -> Subject | None:
        """Watch a series if its labels fit the rule and the rule watches fewer than `at_most`; None: not watched."""
        if tuple(name for name, _ in labels) != self.rule.by:
            return None
        by_name = dict(labels)
        if not self.rule.judges(by_name):
            return None
        if len(self.subjects) >= at_most:
            self.too_many += 1
            return None
        subject = self.subjects[key] = Subject(self, key, by_name)
        return subject


class Index:
    """All series of one KPI seen so far, by their label names."""

    def __init__(self, kpi: str) -> None:
        self.kpi = kpi
        self.keys: list[str] = []
        self._by_names: dict[tuple[str, ...], list[tuple[Labels, str]]] = {}
        self._parts: dict[tuple[str, str], list[tuple[str, str]]] = {}

    def update(self, keys: Sequence[str]) -> list[tuple[str, Labels]]:
        """Add the series that `keys`, all there are, has behind those known; return them with their labels."""
        seen = len(self.keys)
        if len(keys) == seen:
            return []
        fresh = []
        for key in keys[seen:]:
            labels = parse_series(key)[1]
            self.keys.append(key)
            self._by_names.setdefault(tuple(name for name, _ in labels), []).append((labels, key))
            fresh.append((key, labels))
        self._parts.clear()
        return fresh

    def parts(self, key: str, label: str) -> list[tuple[str, str]]:
        """Return the series that have the labels of `key` and `label` besides: the value of `label`, and the key."""
        found = self._parts.get((key, label))
        if found is None:
            labels = parse_series(key)[1]
            names = tuple(sorted([label, *(name for name, _ in labels)]))
            own = set(labels)
            found = self._parts[key, label] = [
                (dict(theirs)[label], series)
                for theirs, series in self._by_names.get(names, ())
                if own.issubset(theirs)
            ]
        return found

    def below(self, key: str) -> list[str]:
        """Return the series that have all labels of `key` and more; only groupings that can have such are searched."""
        labels = parse_series(key)[1]
        own, names = set(labels), {name for name, _ in labels}
        return [
            series
            for grouping, members in self._by_names.items()
            if names < set(grouping)
            for theirs, series in members
            if own.issubset(theirs)
        ]

    def with_label(self, label: str, within: Iterable[str]) -> list[tuple[Labels, str]]:
        """Return the series of the grouping with the fewest labels that has `label` and all of `within`."""
        needed = {label, *within}
        fitting = [names for names in self._by_names if needed.issubset(names)]
        return self._by_names[min(fitting, key=lambda names: (len(names), names))] if fitting else []


class SubjectReading:
    """How a detector reads a series; one object serves all subjects of a minute, one after the other (`turn_to`)."""

    def __init__(self, view: ClosedView, indexes: Mapping[str, Index], baselines: Baselines | None) -> None:
        self.minute = view.minute
        self.trusted = True
        """Whether the sources of the series are healthy, so that this minute shows what happened."""
        self._view = view
        self._indexes = indexes
        self._baselines = baselines
        self._subject: Subject | Any = None
        self._key = ""

    def turn_to(self, subject: Subject) -> None:
        """Read another series from now on."""
        self._subject, self._key, self.trusted = subject, subject.key, True

    def in_minute(self) -> Acc | None:
        """Return the sum of this minute alone; None also when it cannot be trusted."""
        return self._view.in_minute(self._key) if self.trusted else None

    def window(self, name: str) -> Acc | None:
        """Return the sum over a kept window that ends with this minute."""
        return self._view.window(self._key, name)

    def parts(self, label: str, window: str) -> Mapping[str, Acc]:
        """Return the sums over a window of the parts of this series by one more label, by its value."""
        found = {}
        for value, key in self._indexes[self._subject.watch.rule.kpi.id].parts(self._key, label):
            acc = self._view.window(key, window)
            if acc is not None:
                found[value] = acc
        return found

    def expected(self, window: str) -> Expected | None:
        """Return what the window usually has at this time of the week; None while too little was learnt."""
        if self._baselines is None:
            return None
        return self._baselines.expected(self._subject.watch.rule, self._key, window, self.minute)

    def sources(self) -> Mapping[str, SourceHealth]:
        """Return the health of the sources that feed the series, by name."""
        channel = self._subject.labels.get(CHANNEL)
        sources = self._view.sources()
        return {name: health for name, health in sources.items() if channel is None or health.channel == channel}


class OpenSubjectReading(SubjectReading):
    """The same with what has come since the closed minute."""

    def __init__(self, view: OpenView, indexes: Mapping[str, Index], baselines: Baselines | None) -> None:
        super().__init__(view, indexes, baselines)
        self.ahead = view.ahead
        """How many minutes after the closed one have begun."""
        self._open = view

    def latest(self, minutes: int) -> Acc | None:
        """Return what has come for the newest minutes, the open one among them."""
        return self._open.latest(self._key, minutes)
