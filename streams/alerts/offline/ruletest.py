"""Playing a test of rules (`testfiles`) through the judge, and telling what was not as it should be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from streams.alerts.judging.judge import Judge
from streams.alerts.judging.state import Record
from streams.alerts.judging.view import MinuteView
from streams.alerts.offline.minutes import Minutes
from streams.alerts.rules.rules import RuleBook
from streams.alerts.types import State, Transition
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.language.lengths import WINDOWS
from streams.kpis.language.series import Labels
from streams.kpis.language.void import rules_of


class ExpectedAlert(NamedTuple):
    """An alert that there should be."""

    place: str
    alert: str
    labels: tuple[tuple[str, str], ...]
    severity: str
    why: str
    """Part of its text; empty: whatever it is."""
    held_by: str | None
    """Part of what holds it back; empty: nothing does; None: whatever it is."""
    annotations: Mapping[str, str]
    """Parts of annotations, by name."""

    @property
    def name(self) -> str:
        """Name it as the log does."""
        return _named(self.alert, self.labels)


class Check(NamedTuple):
    """What there should be as of a time."""

    place: str
    at: int
    """Minutes that have closed."""
    states: Mapping[State, Sequence[ExpectedAlert]]


class RuleTest(NamedTuple):
    """One test."""

    name: str
    place: str
    start: int
    """The first minute, unix seconds // 60."""
    length: int
    minutes: Sequence[Mapping[str, Acc]]
    sources: Sequence[Mapping[str, tuple[int, int]]]
    restarts: frozenset[int]
    only: frozenset[str]
    """Rules that are looked at; none named: all."""
    checks: Sequence[Check]


class Result(NamedTuple):
    """What came of one test."""

    name: str
    place: str
    minutes: int
    problems: tuple[str, ...]
    """One each: file and line, what was expected, what there was."""


def run(test: RuleTest, rules: RuleBook, windows: Sequence[str] = WINDOWS) -> Result:
    """Play a test, and tell what was not as it should be."""
    seen, problems = _play(test, rules, windows, test.restarts)
    if test.restarts:
        undisturbed, _ = _play(test, rules, windows, frozenset())
        problems += _differences(test, undisturbed, seen)
    return Result(test.name, test.place, test.length, tuple(problems))


def _play(
    test: RuleTest, rules: RuleBook, windows: Sequence[str], restarts: frozenset[int]
) -> tuple[list[Transition], list[str]]:
    judge = Judge(rules, windows=windows)
    minutes = Minutes(windows, rules.lasting, rules_of(rule.kpi for rule in rules))
    saved: dict[bytes, bytes | None] = {}
    seen: list[Transition] = []
    newest: dict[tuple[str, Labels], Transition] = {}
    problems: list[str] = []
    for closed in range(1, test.length + 1):
        view = minutes.close(test.start + closed - 1, test.minutes[closed - 1], test.sources[closed - 1])
        for transition in judge.step(MinuteView(view)):
            seen.append(transition)
            newest[transition.rule, tuple(sorted(transition.labels.items()))] = transition
        problems += [
            f"{test.place}: {test.name}: rule {fault.rule} after {_after(closed)}: {fault.reason}"
            for fault in judge.take_faults()
        ]
        judge.confirm(seen[-1].seq if seen else 0)
        if closed in restarts:
            judge = _restarted(judge, rules, windows, saved)
        for check in test.checks:
            if check.at == closed:
                problems += _mismatches(test, check, newest)
    return seen, problems


def _restarted(judge: Judge, rules: RuleBook, windows: Sequence[str], saved: dict[bytes, bytes | None]) -> Judge:
    """Save a judge as a worker does, and return a new one that took over what was saved."""
    records: list[Record] = [*judge.dirty_records(), judge.commit_record()]
    for key, value in records:
        saved.pop(key, None)
        saved[key] = value
    successor = Judge(rules, windows=windows)
    successor.restore([(key, value) for key, value in saved.items() if value is not None])
    return successor


def _mismatches(test: RuleTest, check: Check, newest: Mapping[tuple[str, Labels], Transition]) -> Iterator[str]:
    looked_at = {key: one for key, one in newest.items() if not test.only or key[0] in test.only}
    for state, wanted in check.states.items():
        there = {key: one for key, one in looked_at.items() if one.new == state}
        wanted_keys = {(one.alert, one.labels) for one in wanted}
        for one in wanted:
            found = there.get((one.alert, one.labels))
            if found is None:
                last = looked_at.get((one.alert, one.labels))
                got = "nothing was ever said of it" if last is None else _said(last, test)
                others = ", ".join(sorted(_named(*key) for key in there if key not in wanted_keys))
                also = f"; {state} instead: {others}" if others else ""
                yield f"{one.place}: {test.name}, at {_after(check.at)}: expected {state} {one.name}; got: {got}{also}"
            else:
                for part, expected, got in _unlike(one, found):
                    yield (
                        f"{one.place}: {test.name}, at {_after(check.at)}: {state} {one.name}: expected {part}"
                        f" {expected}; got {got}"
                    )
        for key, found in there.items():
            if key not in wanted_keys:
                yield (
                    f"{check.place}: {test.name}, at {_after(check.at)}: not expected, but {state}: {_named(*key)}:"
                    f" {_said(found, test)}"
                )


def _unlike(expected: ExpectedAlert, found: Transition) -> Iterator[tuple[str, str, str]]:
    if expected.severity and found.severity != expected.severity:
        yield "severity", expected.severity, found.severity
    if expected.why not in found.why:
        yield "why with", repr(expected.why), repr(found.why)
    held = found.inhibited_by or ""
    if expected.held_by is not None and (expected.held_by not in held or bool(expected.held_by) != bool(held)):
        yield "to be held by", expected.held_by or "nothing", held or "nothing"
    for name, part in expected.annotations.items():
        text = found.annotations.get(name)
        if text is None or part not in text:
            got = "no such annotation" if text is None else repr(text)
            yield f"annotation {name} with", repr(part), got


def _differences(test: RuleTest, undisturbed: list[Transition], seen: list[Transition]) -> list[str]:
    """Tell where a run with restarts first went another way."""
    for place in range(max(len(undisturbed), len(seen))):
        was = undisturbed[place] if place < len(undisturbed) else None
        now = seen[place] if place < len(seen) else None
        if was != now:
            times = ", ".join(map(_after, sorted(test.restarts)))
            text = f"with restarts at {times} transition {place + 1} is another one: expected {_line(was, test)}"
            return [f"{test.place}: {test.name}: {text}; got {_line(now, test)}"]
    return []


def _line(one: Transition | None, test: RuleTest) -> str:
    return "none" if one is None else f"{_named(one.rule, one.labels.items())}: {_said(one, test)}"


def _said(one: Transition, test: RuleTest) -> str:
    held = f" [held by {one.inhibited_by}]" if one.inhibited_by else ""
    return f"{one.why} (at {_after(one.minute - test.start + 1)}){held}"


def _named(alert: str, labels: Iterable[tuple[str, str]]) -> str:
    return f"{alert}{{{', '.join(f'{name}={value}' for name, value in sorted(labels))}}}"


def _after(minutes: int) -> str:
    return f"{minutes}m"
