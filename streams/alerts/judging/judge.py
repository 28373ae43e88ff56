"""
The judge of one merge partition: all rules on all series, one closed minute after the other.

Pure: closed minutes come in, transitions come out, and records in which all that is remembered can be saved. The agent
around it goes round like this, and may die between any two steps:

1. `step` for each minute that has closed, in order;
2. write `dirty_records()` and then `commit_record()`, and wait;
3. send `outbox`, and wait; receivers drop what has a number they know;
4. call `confirm` with the number of the last transition sent, write `sent_records()`, and wait.

A new owner calls `restore` with the records, and sends what the outbox holds. A minute that was judged already is not
judged again, so a transition is never lost and never gets a second number.

What a minute yields depends on the minutes before it and on nothing else: no clock, no order in which series were
found, no late event, as that changes the windows of later minutes but no verdict that was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from streams.alerts.judging.gates import gated, lengthened
from streams.alerts.judging.inhibition import Mutes, Trust
from streams.alerts.judging.machine import RESOLVED_MINUTES, Instance, Step, advance, ended_unjudged, ends_unjudged_at
from streams.alerts.judging.outcome import count_during
from streams.alerts.judging.sources import ahead, observe
from streams.alerts.judging.state import InstanceStore, Record, chunk_of
from streams.alerts.judging.telling import Teller
from streams.alerts.judging.watch import Baselines, Fault, Index, OpenSubjectReading, Subject, SubjectReading, Watch
from streams.alerts.rules.rules import Rule, RuleBook
from streams.alerts.types import ClosedView, OpenView, Transition
from streams.kpis.language.lengths import WINDOWS
from streams.wording.moments import ZoneTimes

MAX_SERIES: Final = 10_000
"""Series that one rule watches, by default."""

FURTHEST: Final = 4
"""Minutes that may have begun since the newest closed one: of more, a source is behind, and what closes then is old."""

_FAULTS: Final = 1_000  # of which nobody took note yet


class Unjudged(msgspec.Struct, frozen=True):
    """Since when an alert that fires cannot be judged."""

    since: int
    """The first minute."""
    ends: int | None
    """The minute in which it ends, unless it can be judged before; None: it stays."""
    empty: bool
    """Whether nothing at all came since then, rather than too little."""


class Active(msgspec.Struct, frozen=True):
    """An alert that was passed on, as long as receivers should hear of it."""

    transition: Transition
    """Its firing: labels, texts, evidence."""
    ended: int | None
    """The minute in which it ended; None while it fires."""
    unjudged: Unjudged | None = None
    """While it fires and cannot be judged."""


class Judge:
    """Rules, what is remembered of their series, and transitions on their way."""

    def __init__(
        self,
        rules: RuleBook,
        *,
        windows: Sequence[str] = WINDOWS,
        max_series: int = MAX_SERIES,
    ) -> None:
        """
        Start with nothing remembered.

        Args:
            rules: All rules; of KPIs that live in other partitions there are simply no series.
            windows: The rolling windows that views keep.
            max_series: Series that one rule may watch; more are left out, and that is a fault.

        Raises:
            ValueError: Rules read a window that is not kept.
        """
        self._faults: list[Fault] = []
        self._calendars = rules.calendars
        self._windows = tuple(windows)
        self._max_series = max_series
        self._watches = [Watch(rule, order) for order, rule in enumerate(rules)]
        for watch in self._watches:
            if lacking := {*watch.rule.params.windows(watch.rule.window), *watch.rule.longer} - set(windows):
                raise ValueError(
                    f"rule {watch.rule.alert} reads {', '.join(sorted(lacking))}; kept are {', '.join(windows)}"
                )
        self._hasty = [watch for watch in self._watches if watch.rule.params.glances]
        self._stumbled: set[Subject] = set()
        """Series that are not looked at ahead any more."""
        self._policies = {watch.rule.alert: watch.policy for watch in self._watches}
        self._indexes = {watch.rule.kpi.id: Index(watch.rule.kpi.id) for watch in self._watches}
        self._store = InstanceStore()
        self._unclaimed: set[tuple[str, str]] | None = None
        """Restored instances that no rule has claimed yet; None once that was seen to."""
        self._teller = Teller(self._store, self._windows, self._indexes, self._fault, ZoneTimes(rules.zone))

    @property
    def judged(self) -> int | None:
        """The newest judged minute."""
        return self._store.commit.judged

    @property
    def outbox(self) -> Sequence[Transition]:
        """Transitions whose delivery is not confirmed, in order; evidence may be added before a commit."""
        return self._store.commit.outbox

    @property
    def is_dirty(self) -> bool:
        """Return whether there is anything to commit."""
        return self._store.is_dirty

    @property
    def instances(self) -> int:
        """How many rule × series are watched."""
        return sum(len(watch.subjects) for watch in self._watches)

    def step(self, view: ClosedView, *, baselines: Baselines | None = None) -> list[Transition]:
        """
        Judge a closed minute; return its transitions, parents before children, absence first.

        A minute at or before the newest judged one yields nothing: it was judged before a crash. Minutes may be left
        out: clocks go on in event time, detectors get nothing for what was left out.
        """
        minute = view.minute
        if self.judged is not None and minute <= self.judged:
            return []
        observe(self._store.commit.channels, minute, view.sources())
        self._grow(view)
        trust = Trust(view, self._store.commit.channels, self._indexes, self._windows)
        reading = SubjectReading(view, self._indexes, baselines)
        changes: dict[Subject, Step] = {}
        for watch in self._watches:
            self._judge_rule(watch, view, reading, trust, changes)
        transitions = self._abandon_unclaimed(minute)
        transitions += self._teller.tell(view, changes, trust, Mutes(self._calendars, minute))
        self._store.note_judged(minute, transitions)
        return transitions

    def glance(self, view: OpenView) -> list[Transition]:
        """
        Look at what has come since the newest judged minute for what cannot wait; return its transitions.

        What is seen depends on how much has come, so it may be another thing after a crash; what was told is not, as
        it is saved before. The minute is judged as always once it has closed.
        """
        if view.minute != self.judged or view.ahead > FURTHEST:
            return []
        self._grow(view)
        reading = OpenSubjectReading(view, self._indexes, None)
        channels = ahead(self._store.commit.channels, view.sources())
        trust = Trust(view, channels, self._indexes, self._windows)
        changes: dict[Subject, Step] = {}
        for watch in self._hasty:
            self._glance_at(watch, reading, trust, changes)
        if not changes:
            return []
        transitions = self._teller.tell(view, changes, trust, Mutes(self._calendars, view.minute + view.ahead))
        self._store.note_transitions(transitions)
        return transitions

    def _glance_at(self, watch: Watch, reading: OpenSubjectReading, trust: Trust, changes: dict[Subject, Step]) -> None:
        """Look at all series of one rule; a fault in one of them is no reason to leave out the others."""
        for subject in watch.subjects.values():
            if subject.instance is None or subject.instance.state == "firing" or subject in self._stumbled:
                continue
            reading.turn_to(subject)
            try:
                step = self._glance(subject, subject.instance, reading, trust)
            except Exception as error:  # noqa: BLE001 - whatever one series stumbles over, the others must go on
                self._stumbled.add(subject)  # else it would be said twice a second
                reason = f"{subject.name}: {type(error).__name__}: {error}; it waits for closed minutes from now on"
                self._fault(watch.rule, reason, reading.minute)
                continue
            if step is not None:
                changes[subject] = step

    def _glance(self, subject: Subject, instance: Instance, reading: OpenSubjectReading, trust: Trust) -> Step | None:
        watch = subject.watch
        found = watch.rule.params.glance(watch.facts, reading, instance.detector)
        if found is None or trust.trouble_of(subject) is not None:
            return None
        verdict = gated(watch.rule, found[0], reading)
        if not verdict.breach:
            return None
        subject.verdict, instance.detector = verdict, found[1]
        step = advance(instance, watch.policy, reading.minute, verdict)
        # What the open minute holds is counted when it has closed.
        count_during(instance, step, watch.rule, None)
        self._store.touch(subject.chunk)
        return step

    def active(self, minute: int) -> list[Active]:
        """Return the alerts that receivers should hear of as of a minute: those that fire, and those ended lately."""
        found = [
            Active(instance.last, instance.ended, self._unjudged(rule, instance))
            for (rule, _), instance in self._teller.reported.items()
            if instance.last is not None and (instance.ended is None or minute - instance.ended < RESOLVED_MINUTES)
        ]
        return sorted(found, key=lambda active: active.transition.seq)

    def take_faults(self) -> list[Fault]:
        """Return what went wrong since the last call."""
        found, self._faults = self._faults, []
        return found

    def dirty_records(self) -> list[Record]:
        """
        Return what changed since the last call, to be written before the commit record.

        A caller that cannot write them must throw the judge away and restore it.
        """
        return self._store.dirty_records()

    def commit_record(self) -> Record:
        """Return the record that makes all written before it valid; it holds the outbox."""
        for watch in self._watches:
            self._store.commit.detectors[watch.rule.alert] = watch.fingerprint
        return self._store.commit_record()

    def confirm(self, seq: int) -> None:
        """Note that the delivery of all transitions up to a number is confirmed."""
        self._store.note_sent(seq)

    def sent_records(self) -> list[Record]:
        """Return the record of what was confirmed, if that has changed since the last call."""
        return self._store.sent_records()

    def restore(self, records: Iterable[Record]) -> None:
        """
        Take over what was saved, from records in the order they were written; only on a new judge.

        Other records than ours are passed over. Of a rule that judges otherwise than before, the states of its alerts
        are taken over, but not what its detectors remember.

        Raises:
            ValueError: The records are not whole, or of a later version.
        """
        self._store.restore(records)
        known = self._store.commit.detectors
        same = {watch.rule.alert for watch in self._watches if known.get(watch.rule.alert) == watch.fingerprint}
        self._store.commit.detectors = {}
        self._unclaimed = set()
        for rule, series, instance in self._store:
            if rule not in same and instance.detector is not None:
                instance.detector = None
                self._store.touch(chunk_of(series))
            self._unclaimed.add((rule, series))
            if instance.last is not None:
                self._teller.reported[rule, series] = instance

    def _unjudged(self, rule: str, instance: Instance) -> Unjudged | None:
        # Of a rule that is no more alerts are still there until the first minute is judged.
        policy = self._policies.get(rule)
        firing = instance.ended is None and instance.state == "firing"
        if policy is None or not firing or instance.unjudged_since is None:
            return None
        ends = ends_unjudged_at(instance, policy)
        return Unjudged(instance.unjudged_since, ends, instance.empty_since == instance.unjudged_since)

    def _grow(self, view: ClosedView) -> None:
        """Watch series that are new."""
        for kpi, index in self._indexes.items():
            fresh = index.update(view.series(kpi))
            if not fresh:
                continue
            for watch in self._watches:
                if watch.rule.kpi.id == kpi:
                    self._watch(watch, fresh, view.minute)

    def _watch(self, watch: Watch, fresh: Iterable[tuple[str, Any]], minute: int) -> None:
        before = watch.too_many
        for key, labels in fresh:
            subject = watch.take(key, labels, self._max_series)
            if subject is None:
                continue
            instance = self._store.get(watch.rule.alert, key)
            if instance is None:
                continue
            try:
                instance.detector = watch.rule.params.restore(instance.detector)
            except msgspec.ValidationError as error:
                instance.detector = None
                self._fault(
                    watch.rule, f"what its detector remembered of {subject.name} cannot be read: {error}", minute
                )
            subject.instance = instance
            self._teller.attach(subject)
            if self._unclaimed is not None:
                self._unclaimed.discard((watch.rule.alert, key))
        if watch.too_many > before:
            self._fault(
                watch.rule,
                f"it watches {self._max_series} series, which is the limit; {watch.too_many} are left out",
                minute,
            )

    def _judge_rule(
        self, watch: Watch, view: ClosedView, reading: SubjectReading, trust: Trust, changes: dict[Subject, Step]
    ) -> None:
        """Judge all series of one rule; a fault in one of them is no reason to leave out the others."""
        rule = watch.rule
        longest = rule.longer[-1] if rule.longer else rule.window
        needs_data = rule.no_data.action != "alert" and not rule.params.sees_silence
        failed = 0
        for subject in watch.subjects.values():
            if needs_data and subject.instance is None and view.window(subject.key, longest) is None:
                continue
            reading.turn_to(subject)
            if rule.params.by_minutes and trust.trouble_of(subject) is not None:
                reading.trusted = False
            try:
                step = self._judge(subject, reading, view.minute)
            except Exception as error:  # noqa: BLE001 - whatever one rule stumbles over, the others must go on
                failed += 1
                if failed == 1:
                    self._fault(rule, f"{subject.name}: {type(error).__name__}: {error}", view.minute)
                continue
            if step is not None:
                changes[subject] = step

    def _judge(self, subject: Subject, reading: SubjectReading, minute: int) -> Step | None:
        """Judge one series by one rule."""
        watch, instance = subject.watch, subject.instance
        rule = watch.rule
        memory = None if instance is None else instance.detector
        found, after = rule.params.judge(watch.facts, rule.window, reading, memory)
        verdict = gated(rule, found, reading)
        if rule.longer and verdict.breach is None:
            verdict = lengthened(rule, watch.facts, found, verdict, reading)
        subject.verdict = verdict
        if instance is None:
            if after is None and not verdict.breach and not (verdict.breach is None and rule.no_data.action == "alert"):
                return None
            instance = Instance()
        if after is not memory and after != memory:
            instance.detector = after
            self._store.touch(subject.chunk)
        step = advance(instance, watch.policy, minute, verdict)
        if step is not None and ended_unjudged(step, verdict):
            instance.detector = rule.params.without_evidence(instance.detector)
        count_during(instance, step, rule, reading.in_minute())
        if step is not None or instance.state != "inactive" or instance.fired:
            self._store.touch(subject.chunk)
        if subject.instance is None:
            if instance.is_fresh:
                return None
            subject.instance = instance
            self._store.put(rule.alert, subject.key, subject.chunk, instance)
        elif instance.is_fresh and step is None:
            subject.instance = None
            self._store.drop(rule.alert, subject.key, subject.chunk)
        return step

    def _abandon_unclaimed(self, minute: int) -> list[Transition]:
        """End what was restored of rules that are no more, or watch other series now."""
        if self._unclaimed is None:
            return []
        unclaimed, self._unclaimed = sorted(self._unclaimed), None
        return [t for rule, series in unclaimed if (t := self._teller.abandon(rule, series, minute)) is not None]

    def _fault(self, rule: Rule, reason: str, minute: int) -> None:
        if len(self._faults) < _FAULTS:
            self._faults.append(Fault(rule.alert, reason, minute))
