"""
Tests of rules, written in YAML: so many minutes of some series, and which alerts there are at certain times.

```yaml
rules: [../experience.yaml]            # files and folders beside this one; without: the configured rules
tests:
  - name: One channel collapses
    start: 2026-03-03T06:00            # event time of the first minute (UTC), for calendars
    series:                            # a line of minutes each, see `shorthand`
      - {kpi: csat, labels: {channel: web}, minutes: "85/100x1440 40/100x30"}
      - {kpi: csat, labels: {channel: app}, minutes: "85/100x1470"}
    sources:                           # health of channels; without: all well
      - {source: web/0, minutes: "60x1470"}
    restart_at: [1445m]                # the judge dies, and another goes on with what was saved
    expect:
      - at: 1440m                      # when so many minutes have closed
        firing: []
      - at: 1450m
        firing:                        # exactly these; a state that is not named is not looked at
          - {alert: CsatCollapseByChannel, labels: {channel: web}, severity: page, why: "became 55 %"}
```

Series of coarser groupings of a KPI, the whole among them, are added up from what is given unless given themselves. A
test with restarts is played without them too, and both must tell the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.alerts.offline.ruletest import Check, ExpectedAlert, RuleTest
from streams.alerts.offline.shorthand import minutes_of, sources_of
from streams.alerts.rules.keys import check_value, duration_minutes
from streams.alerts.rules.rules import SEVERITIES, RuleBook, RulesError
from streams.alerts.types import State
from streams.events.touchpoints import CHANNELS
from streams.kpis.arithmetic.accumulators import Acc, merge_acc
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.blocks import Problems, YamlBlock, block_of, text_of
from streams.kpis.language.definition import Kpi
from streams.kpis.language.expressions import suggest
from streams.kpis.language.series import SEPARATOR, parse_series, series_key

STATES: Final[tuple[State, ...]] = ("pending", "firing", "resolved")
START: Final = datetime(2026, 1, 5, tzinfo=UTC)
"""Event time of the first minute by default: a Monday."""
YEARS: Final = range(1971, 2105)
"""Years that a test can be in: those whose minutes the store can hold."""

_TEST_KEYS: Final = ("start", "series", "sources", "restart_at", "only", "expect")
_ALERT_KEYS: Final = ("labels", "severity", "why", "held_by", "annotations")


class TestFile(msgspec.Struct, frozen=True):
    """The tests of a file."""

    __test__ = False

    file: str
    rules: tuple[str, ...]
    """Files and folders of rules, as the file names them; none: the configured ones."""
    root: Any


def load_file(path: Path) -> TestFile:
    """
    Read which rules a file is about, before the tests themselves can be.

    Raises:
        RulesError: It cannot be read, is not YAML, or has unknown keys.
    """
    problems = Problems()
    return read_file(text_of(path, problems), str(path), problems)


def read_file(text: str, file: str, problems: Problems | None = None) -> TestFile:
    """
    Read the text of a file as `load_file` does; add to `problems` what others found.

    Raises:
        RulesError: As for `load_file`.
    """
    problems = Problems() if problems is None else problems
    root = block_of(text, file, "'tests', a list", problems)
    problems.raise_any(RulesError)
    if root is None:
        raise RulesError([f"{file}:1: empty: expected 'tests', a list"])
    root.what = "tests"
    root.expect(("tests",), ("rules",))
    rules = tuple(str(name) for name in root.list("rules"))
    problems.raise_any(RulesError)
    return TestFile(file, rules, root)


def read_tests(given: TestFile, rules: RuleBook, catalogue: Catalogue) -> list[RuleTest]:
    """
    Read the tests of a file.

    Raises:
        RulesError: Any of them cannot be right; names every problem with file and line.
    """
    root: YamlBlock = given.root
    tests, names = [], dict[str, str]()
    for block in root.blocks("tests", "test", "name"):
        block.expect(("name", "series", "expect"), _TEST_KEYS)
        name = block.text("name")
        if name in names:
            block.problem("name", f"there is one of this name already at {names[name]}")
        names[name] = f"{block.file}:{block.line}"
        tests.append(_TestReader(block, rules, catalogue).read(name))
    if not tests and not len(root.problems):
        root.problem("tests", "there are none")
    root.problems.raise_any(RulesError)
    return tests


class _TestReader:
    """Reads one test."""

    def __init__(self, block: YamlBlock, rules: RuleBook, catalogue: Catalogue) -> None:
        self._block = block
        self._rules = rules
        self._catalogue = catalogue
        self._kpis: dict[str, Kpi] = {}

    def read(self, name: str) -> RuleTest:
        """Return the test; if problems were noted on the way, it means nothing."""
        block = self._block
        series = self._series()
        sources = self._sources()
        length = max([len(line) for line in series.values()] + [len(line) for line in sources.values()], default=0)
        start = block.plain("start")
        if isinstance(start, str):
            with contextlib.suppress(ValueError):
                start = datetime.fromisoformat(start)
        if start is not None and not (isinstance(start, datetime) and start.year in YEARS):
            block.problem("start", f"'start' {start!r} is no time; expected e.g. 2026-03-03T06:00 (UTC)")
            start = None
        began = START if start is None else start if start.tzinfo else start.replace(tzinfo=UTC)
        only = frozenset(str(alert) for alert in block.list("only"))
        for alert in sorted(only):
            self._known(block, "only", alert)
        return RuleTest(
            name=name,
            place=f"{block.file}:{block.line}",
            start=int(began.timestamp()) // 60,
            length=length,
            minutes=self._minutes(series, length),
            sources=[
                {source: line[at] for source, line in sources.items() if at < len(line) and line[at] is not None}  # type: ignore[misc]
                for at in range(length)
            ],
            restarts=frozenset(self._time(block, "restart_at", at, length) for at in block.list("restart_at")),
            only=only,
            checks=[self._check(each, length, only) for each in block.blocks("expect", "expectation at", "at")],
        )

    def _series(self) -> dict[str, list[Acc | None]]:
        found: dict[str, list[Acc | None]] = {}
        for block in self._block.blocks("series", "series of", "kpi"):
            block.expect(("kpi", "minutes"), ("labels",))
            name, line = block.text("kpi"), str(block.written("minutes") or "")
            if not name:
                continue
            if name not in self._catalogue:
                hint = suggest(name, self._catalogue.kpis) or "; see cx kpis list"
                block.problem("kpi", f"no KPI {name!r}{hint}")
                continue
            kpi = self._kpis[name] = self._catalogue[name]
            labels = tuple(_labels(block, kpi))
            names = tuple(label for label, _ in labels)
            if names not in kpi.groupings:
                kept = "; ".join(" × ".join(grouping) or "the whole" for grouping in kpi.groupings)
                block.problem("labels", f"{name} is not kept by {' × '.join(names) or 'the whole'}; kept: {kept}")
            key = series_key(name, labels)
            if key in found:
                block.problem("labels", "this series is given already")
            try:
                found[key] = minutes_of(line, kpi, key)
            except ValueError as error:
                block.problem("minutes", str(error))
            else:
                if not found[key]:
                    block.problem("minutes", "there are none; expected e.g. '85/100x60'")
        return found

    def _sources(self) -> dict[str, list[tuple[int, int] | None]]:
        found: dict[str, list[tuple[int, int] | None]] = {}
        for block in self._block.blocks("sources", "source", "source"):
            block.expect(("source", "minutes"), ())
            name = block.text("source")
            if name in found:
                block.problem("source", "this source is given already")
            channel = name.partition("/")[0]
            if name and channel not in CHANNELS:
                hint = suggest(channel, CHANNELS) or f"; they are those of {', '.join(CHANNELS)}"
                block.problem("source", f"no channel {channel!r} has sources{hint}, e.g. web/0")
            try:
                found[name] = sources_of(str(block.written("minutes") or ""))
            except ValueError as error:
                block.problem("minutes", str(error))
        return found

    def _minutes(self, series: Mapping[str, list[Acc | None]], length: int) -> list[dict[str, Acc]]:
        """Turn lines into minutes, with the coarser groupings that nobody gave."""
        given: dict[str, set[tuple[str, ...]]] = {}
        for key in series:
            kpi, labels = parse_series(key)
            given.setdefault(kpi, set()).add(tuple(name for name, _ in labels))
        made: dict[tuple[str, tuple[str, ...]], list[tuple[str, ...]]] = {}
        for kpi, theirs in given.items():
            for grouping in set(self._kpis[kpi].groupings) - theirs:
                finer = [names for names in theirs if set(grouping) < set(names)]
                if finer:
                    source = min(finer, key=lambda names: (len(names), names))
                    made.setdefault((kpi, source), []).append(grouping)
        minutes: list[dict[str, Acc]] = [{} for _ in range(length)]
        for key, line in sorted(series.items()):
            kpi, labels = parse_series(key)
            whole = [
                series_key(kpi, tuple(pair for pair in labels if pair[0] in grouping))
                for grouping in sorted(made.get((kpi, tuple(name for name, _ in labels)), ()))
            ]
            for at, acc in enumerate(line):
                if acc is None:
                    continue
                minutes[at][key] = acc
                for larger in whole:
                    known = minutes[at].get(larger)
                    if known is None:
                        minutes[at][larger] = acc.copy()
                    else:
                        merge_acc(known, acc)
        return minutes

    def _check(self, block: YamlBlock, length: int, only: frozenset[str]) -> Check:
        block.expect(("at",), STATES)
        states: dict[State, Sequence[ExpectedAlert]] = {}
        for state in STATES:
            if state in block:
                states[state] = [self._expected(each, only) for each in block.blocks(state, "alert", "alert")]
        if not states:
            block.problem("at", f"nothing is expected: give any of {', '.join(STATES)}, e.g. 'firing: []'")
        return Check(f"{block.file}:{block.line}", self._time(block, "at", block.plain("at"), length), states)

    def _expected(self, block: YamlBlock, only: frozenset[str]) -> ExpectedAlert:
        block.expect(("alert",), _ALERT_KEYS)
        alert = block.text("alert")
        known = bool(alert) and self._known(block, "alert", alert)
        labels = tuple(_labels(block, self._rules[alert].kpi if known else None))
        if known:
            by = self._rules[alert].by
            if tuple(name for name, _ in labels) != by:
                block.problem("labels", f"its series have the labels {', '.join(by) or 'none'}; all of them are needed")
            if only and alert not in only:
                block.problem("alert", f"'only' does not name {alert}")
        held = block.plain("held_by") if "held_by" in block else None
        annotations = block.block("annotations")
        texts = {} if annotations is None else {name: annotations.text(name) for name in annotations}
        return ExpectedAlert(
            f"{block.file}:{block.line}", alert, labels, block.choice("severity", SEVERITIES, ""), block.text("why"),
            None if held is None else "" if held == "nothing" else str(held), texts,
        )  # fmt: skip

    def _known(self, block: YamlBlock, key: str, alert: str) -> bool:
        known = alert in self._rules.rules
        if not known:
            block.problem(key, f"no rule {alert!r}{suggest(alert, self._rules.rules)}")
        return known

    def _time(self, block: YamlBlock, key: str, value: object, length: int) -> int:
        try:
            at = duration_minutes(str(value))
        except ValueError as error:
            block.problem(key, str(error))
            return 0
        if length and not 1 <= at <= length:
            block.problem(key, f"{key!r} is {value}: expected from 1m to {length}m, as many as the lines have")
        return at


def _labels(block: YamlBlock, kpi: Kpi | None) -> list[tuple[str, str]]:
    given = block.block("labels")
    if given is None:
        return []
    found = {name: given.written(name) for name in given}
    for name, value in found.items():
        if not value or SEPARATOR in value or given.plain(name) is None:
            given.problem(name, f"{name!r} must be a text")
        elif kpi is not None:
            check_value(given, name, kpi, name, value)
    return sorted((name, value or "") for name, value in found.items())
