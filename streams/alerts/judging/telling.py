"""Makes transitions of changes of state: puts them in order, holds some back, and adds evidence and texts."""

from __future__ import annotations

import zlib
from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from streams.alerts.judging.evidence import WholeCauses, add_children, evidence_of, explain_change
from streams.alerts.judging.inhibition import Mutes, Trust, parent_of
from streams.alerts.judging.machine import RESOLVED_MINUTES, Instance, Step, ended_unjudged, is_flapping, minutes
from streams.alerts.judging.outcome import tell_abandoned, tell_end
from streams.alerts.judging.state import InstanceStore, chunk_of
from streams.alerts.judging.watch import Index, Subject, by_rank
from streams.alerts.rules.rules import Rule
from streams.alerts.types import ClosedView, Transition, Verdict
from streams.kpis.language.series import parse_series
from streams.wording.moments import ZoneTimes

Place: TypeAlias = tuple[str, str]
"""Rule and series key."""


class Teller:
    """Makes transitions of changes of state, and remembers which alerts were passed on to receivers."""

    def __init__(
        self,
        store: InstanceStore,
        windows: Sequence[str],
        indexes: Mapping[str, Index],
        fault: Callable[[Rule, str, int], None],
        times: ZoneTimes,
    ) -> None:
        self.reported: dict[Place, Instance] = {}
        """Instances that were passed on: those that fire, and those that ended less than RESOLVED_MINUTES ago."""
        self._store = store
        self._windows = windows
        self._indexes = indexes
        self._fault = fault
        self._times = times
        self._firing: dict[Subject, None] = {}
        self._abandoned: set[Place] = set()

    def attach(self, subject: Subject) -> None:
        """Note a subject whose instance was restored from records."""
        if subject.instance is not None and subject.instance.state == "firing":
            self._firing[subject] = None

    def tell(self, view: ClosedView, changes: Mapping[Subject, Step], trust: Trust, mutes: Mutes) -> list[Transition]:
        """Return the transitions of a minute by `Subject.rank`, with those of alerts that are no longer held back."""
        self._forget(view.minute)
        for subject, step in changes.items():
            if step.new == "firing":
                self._firing[subject] = None
            elif step.old == "firing":
                del self._firing[subject]
        held = [subject for subject in self._firing if subject.instance and not subject.instance.delivered]
        if not changes and not held:
            return []
        holds = _Holds(trust, mutes, self._firing)
        whole_causes = WholeCauses(view, self._indexes)
        transitions = []
        for subject in sorted({*changes, *held}, key=by_rank):
            found = self._tell(subject, changes.get(subject), holds, view, whole_causes)
            if found is not None:
                transitions.append(found)
        return transitions

    def abandon(self, rule: str, series: str, minute: int) -> Transition | None:
        """
        End an instance whose rule is gone or does not watch its series any more.

        Returns its transition if it was pending or firing, else None.
        """
        instance = self._store.get(rule, series)
        assert instance is not None
        chunk = chunk_of(series)
        self._store.drop(rule, series, chunk)
        reported, delivered = instance.last, instance.delivered and instance.state == "firing"
        kpi, labels = parse_series(series)
        if reported is not None and delivered:
            texts = tell_abandoned(rule, dict(labels), instance.episode, self._times)
            reported = msgspec.structs.replace(reported, annotations=reported.annotations | texts)
        if reported is not None:
            left = Instance(last=reported, ended=minute if delivered else instance.ended)
            self._store.put(rule, series, chunk, left)
            self.reported[rule, series] = left
            self._abandoned.add((rule, series))
        if instance.state not in {"firing", "pending"}:
            return None
        firing = instance.state == "firing"
        return Transition(
            seq=self._next(),
            rule=rule,
            kpi=kpi,
            labels=dict(labels),
            old=instance.state,
            new="resolved" if firing else "inactive",
            minute=minute,
            why=f"{'FIRING => RESOLVED' if firing else 'PENDING => INACTIVE'}: no rule of this name judges it any more",
            severity=reported.severity if reported is not None else "info",
            owner=reported.owner if reported is not None else "",
            alert_labels=dict(reported.alert_labels) if reported is not None else {},
            annotations=dict(reported.annotations) if reported is not None else {},
            inhibited_by=instance.held_by if firing and not delivered else None,
            episode=instance.episode,
        )

    def _tell(
        self, subject: Subject, step: Step | None, holds: _Holds, view: ClosedView, whole_causes: WholeCauses
    ) -> Transition | None:
        """Return the transition of one subject; None: it is still held back, and nothing has changed."""
        instance, minute = subject.instance, view.minute
        assert instance is not None
        if step is not None and step.old in {"inactive", "resolved"} and step.new in {"pending", "firing"}:
            instance.episode = f"{subject.watch.rule.alert}-{zlib.crc32(subject.key.encode()):08x}-{minute}"
        if instance.state != "firing":
            assert step is not None
            transition = self._transition(subject, instance, step, view)
            if step.old == "firing":
                transition.inhibited_by = None if instance.delivered else instance.held_by
                self._fill(subject, transition)
                judged = instance.cause == "no data" or not ended_unjudged(step, subject.verdict or Verdict(None))
                self._say_end(subject, instance, transition, judged=judged)
                if instance.delivered:
                    instance.ended = minute
                instance.delivered, instance.held_by = False, None
            elif step.new == "pending":
                self._fill(subject, transition)
            return transition
        if step is not None:
            instance.delivered, instance.held_by = False, None
        elif not _is_in_trouble(subject, instance):
            return None
        hold = holds.of(subject)
        if step is None:
            if hold is not None:
                return None
            reason = f"no longer held back by {instance.held_by}"
            verdict = subject.verdict
            step = Step("firing", "firing", f"{reason}; {verdict.reason}" if verdict is not None else reason)
        transition = self._transition(subject, instance, step, view)
        transition.inhibited_by = instance.held_by = hold
        if is_flapping(instance, subject.watch.policy):
            policy = subject.watch.policy
            transition.why += (
                f"; fired {len(instance.fired)} times in {policy.flap_hours} h,"
                f" so it stays until it was calm for {minutes(policy.flap_hold)}"
            )
        if hold is None:
            holds.deliver(subject)
            instance.delivered, instance.last, instance.ended = True, transition, None
            self.reported[subject.watch.rule.alert, subject.key] = instance
            self._explain(subject, transition, view, whole_causes)
        else:
            transition.why += f"; held back by {hold}"
            if hold.startswith("limit"):
                self._fault(subject.watch.rule, f"{subject.name} is held back by the {hold}", minute)
        self._fill(subject, transition)
        self._store.touch(subject.chunk)
        return transition

    def _transition(self, subject: Subject, instance: Instance, step: Step, view: ClosedView) -> Transition:
        """Return a transition with the numbers of the verdict, without texts."""
        rule = subject.watch.rule
        return Transition(
            seq=self._next(),
            rule=rule.alert,
            kpi=rule.kpi.id,
            labels=dict(subject.labels),
            old=step.old,
            new=step.new,
            minute=view.minute,
            why=f"{step.old.upper()} => {step.new.upper()}: {step.reason}",
            severity=rule.severity_of(subject.labels),
            owner=rule.owner,
            evidence=evidence_of(subject, subject.verdict or Verdict(None), view),
            episode=instance.episode,
        )

    def _fill(self, subject: Subject, transition: Transition) -> None:
        """Add the texts of the rule."""
        transition.alert_labels, transition.annotations = subject.watch.rule.say(
            subject.labels, transition.minute, transition.evidence, self._times
        )

    def _say_end(self, subject: Subject, instance: Instance, transition: Transition, *, judged: bool) -> None:
        """Write the texts of an alert that has ended, also into the firing transition that receivers get repeatedly."""
        # If this episode was held back, what was passed on last belongs to an earlier episode, which ended already.
        passed_on = instance.last if instance.delivered else None
        fired = passed_on.evidence if passed_on is not None else transition.evidence
        transition.annotations |= tell_end(
            subject.watch.rule,
            subject.labels,
            instance,
            fired,
            transition.evidence,
            transition.minute,
            self._times,
            judged=judged,
        )
        if passed_on is not None:
            instance.last = msgspec.structs.replace(passed_on, annotations=transition.annotations)

    def _explain(self, subject: Subject, transition: Transition, view: ClosedView, whole_causes: WholeCauses) -> None:
        rule = subject.watch.rule
        add_children(transition.evidence, subject, self._firing, view)
        try:
            below = self._indexes[rule.kpi.id].below(subject.key)
            explain_change(transition.evidence, subject, below, view, self._windows, whole_causes)
        except Exception as error:  # noqa: BLE001 - an alert without an explanation is better than none
            self._fault(rule, f"{subject.name} cannot be explained: {type(error).__name__}: {error}", view.minute)

    def _forget(self, minute: int) -> None:
        """Forget what ended RESOLVED_MINUTES ago or longer: receivers know of it by then."""
        over = [
            place
            for place, instance in self.reported.items()
            if instance.ended is not None and minute - instance.ended >= RESOLVED_MINUTES
        ]
        for rule, series in over:
            instance = self.reported.pop((rule, series))
            instance.last = instance.ended = None
            self._store.touch(chunk_of(series))
            if (rule, series) in self._abandoned:
                self._abandoned.discard((rule, series))
                self._store.drop(rule, series, chunk_of(series))

    def _next(self) -> int:
        self._store.commit.seq += 1
        return self._store.commit.seq


class _Holds:
    """What holds alerts back while the transitions of one minute are made."""

    def __init__(self, trust: Trust, mutes: Mutes, firing: Iterable[Subject]) -> None:
        self._trust = trust
        self._mutes = mutes
        self._parents: dict[str, list[Subject]] = {}
        self._delivered: dict[str, int] = {}
        for subject in firing:
            if subject.instance is not None and subject.instance.delivered:
                self.deliver(subject)

    def deliver(self, subject: Subject) -> None:
        """Note that a subject fires and is passed on."""
        rule = subject.watch.rule
        insort(self._parents.setdefault(rule.kpi.id, []), subject, key=by_rank)
        self._delivered[rule.alert] = self._delivered.get(rule.alert, 0) + 1

    def of(self, subject: Subject) -> str | None:
        """Return what holds a subject back, None if nothing does."""
        rule = subject.watch.rule
        if "pipeline" in rule.inhibit_by:
            found = self._trust.distortion_of(subject)
            if found is not None:
                return found
        if "refused" in rule.inhibit_by:
            found = self._trust.refused(subject)
            if found is not None:
                return found
        if "parent" in rule.inhibit_by:
            parent = parent_of(subject, self._parents.get(rule.kpi.id, ()))
            if parent is not None:
                return f"{'parent' if len(parent.labels) < len(subject.labels) else 'alert'} {parent.name}"
        calendar = self._mutes.of(rule.mute)
        if calendar is not None:
            return f"mute {calendar}"
        if self._delivered.get(rule.alert, 0) >= rule.limit:
            return f"limit of {rule.limit} alerts"
        return None


def _is_in_trouble(subject: Subject, instance: Instance) -> bool:
    """Return whether the trouble is present in this minute; a firing alert may only be waiting for calm to last."""
    if instance.cause == "no data":
        return instance.calm_since is None
    return subject.verdict is not None and subject.verdict.breach is True
