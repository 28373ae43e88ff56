"""Reading rules and calendars from YAML: strictly, each problem with its file and line, all of them together."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.alerts.detectors import DETECTORS, WINDOW_KEYS, Detector, ParamError
from streams.alerts.detectors.absence import Absence
from streams.alerts.rules import keys
from streams.alerts.rules.calendars import Calendar, read_calendar
from streams.alerts.rules.defaults import COMPARED_WITH, LIMIT, catalogue_rules, default_annotations
from streams.alerts.rules.rules import (
    SEVERITIES,
    Rule,
    RuleBook,
    RulesError,
    rule_files,
)
from streams.alerts.types import Severity
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.blocks import Problems, YamlBlock, block_of, text_of
from streams.kpis.language.definition import Kpi
from streams.kpis.language.expressions import suggest
from streams.kpis.language.lengths import WINDOWS

RULE_REQUIRED: Final = ("alert", "kpi", "method", "severity")
RULE_ALLOWED: Final = (
    "by", "where", "window", "lengthen", "params", "min_n", "min_denominator", "for", "keep_firing_for", "recover",
    "no_data", "maturity", "inhibit_by", "mute", "severity_by", "owner", "runbook", "dashboard", "labels",
    "annotations", "limit", "replace",
)  # fmt: skip
GROUP_ALLOWED: Final = ("owner", "labels", "mute")


def load_rules(
    paths: Iterable[Path], catalogue: Catalogue, *, windows: Sequence[str] = WINDOWS, defaults: bool = True
) -> RuleBook:
    """
    Read the rules and calendars of files and folders (`*.yaml`).

    Args:
        paths: Files and folders.
        catalogue: The KPIs that rules may judge.
        windows: The rolling windows that are kept.
        defaults: Whether KPIs that no rule judges are judged by the alert of their definition.

    Raises:
        RulesError: Anything cannot be right; names every problem with file and line.
    """
    problems = Problems()
    texts = [(text_of(path, problems), str(path)) for path in rule_files(paths)]
    return _read(texts, catalogue, windows, defaults, problems)


def parse_rules(
    text: str, catalogue: Catalogue, file: str = "<text>", *, windows: Sequence[str] = WINDOWS, defaults: bool = False
) -> RuleBook:
    """
    Read rules and calendars from a text alone.

    Raises:
        RulesError: As for `load_rules`.
    """
    return _read([(text, file)], catalogue, windows, defaults, Problems())


def _read(
    texts: Iterable[tuple[str, str]], catalogue: Catalogue, windows: Sequence[str], defaults: bool, problems: Problems
) -> RuleBook:
    roots = [
        root for text, file in texts if (root := block_of(text, file, "'groups' of rules, or 'calendars'", problems))
    ]
    calendars: dict[str, Calendar] = {}
    for root in roots:
        root.what = "rules"
        root.expect((), ("groups", "calendars", "disable"))
        for block in root.blocks("calendars", "calendar", "name"):
            calendar = read_calendar(block)
            if calendar.name in calendars:
                block.problem("name", "there is one of this name already")
            calendars[calendar.name] = calendar
    reader = _RuleReader(catalogue, windows, calendars, problems)
    for root in roots:
        for block in root.blocks("groups", "group", "name"):
            reader.group(block)
    for root in roots:
        reader.disable(root)
    problems.raise_any(RulesError)
    rules = list(reader.rules.values())
    if defaults:
        rules += catalogue_rules(catalogue, rules, windows)
    return RuleBook.of(rules, calendars.values())


@dataclass
class _RuleReader:
    """Reads groups of rules, one after the other."""

    catalogue: Catalogue
    windows: Sequence[str]
    calendars: Mapping[str, Calendar]
    problems: Problems

    def __post_init__(self) -> None:
        self.rules: dict[str, Rule] = {}
        self._places: dict[str, str] = {}
        self._groups: dict[str, str] = {}

    def group(self, block: YamlBlock) -> None:
        """Read a group and its rules."""
        block.expect(("name", "rules"), GROUP_ALLOWED)
        name = block.text("name")
        if name in self._groups:
            block.problem("name", f"there is a group of this name already at {self._groups[name]}")
        self._groups.setdefault(name, f"{block.file}:{block.line}")
        for rule_block in block.blocks("rules", "alert", "alert"):
            self._take(rule_block, block)

    def disable(self, root: YamlBlock) -> None:
        """Leave out the rules that a file switches off."""
        for name in map(str, root.list("disable")):
            if name not in self._places:
                root.problem("disable", f"no rule {name!r}{suggest(name, self._places)}")
            self.rules.pop(name, None)

    def _take(self, block: YamlBlock, group: YamlBlock) -> None:
        before = len(self.problems)
        block.expect(RULE_REQUIRED, RULE_ALLOWED)
        alert = block.text("alert")
        if alert and not keys.NAME.fullmatch(alert):
            block.problem("alert", f"name {alert!r} must be letters, digits and underscores, e.g. ServiceLevelLow")
        replaces = block.choice("replace", (True, False), False)
        if alert in self._places and not replaces:
            hint = "; to take its place, write 'replace: true'"
            block.problem("alert", f"there is one of this name already at {self._places[alert]}{hint}")
        if replaces and alert not in self._places:
            known = suggest(alert, self._places) or "; files are read in order"
            block.problem("replace", f"there is no {alert!r} to replace{known}")
        self._places[alert] = f"{block.file}:{block.line}"
        kpi = self._kpi(block)
        method: str | None = block.choice("method", tuple(DETECTORS), None)
        params = self._params(block, method) if method else None
        if kpi is None or method is None:
            return
        rule = self._rule(block, group, kpi, method, params)
        if len(self.problems) == before:
            self.rules[rule.alert] = rule

    def _kpi(self, block: YamlBlock) -> Kpi | None:
        name = block.text("kpi")
        if not name:
            return None
        if name not in self.catalogue:
            hint = suggest(name, self.catalogue.kpis) or "; see cx kpis list"
            block.problem("kpi", f"no KPI {name!r}{hint}")
            return None
        return self.catalogue[name]

    def _params(self, block: YamlBlock, method: str) -> Detector | None:
        """Read the parameters of a method; None if problems were noted."""
        kind = DETECTORS[method]
        fields = msgspec.structs.fields(kind)
        given = block.block("params")
        if given is None:
            if "params" in block:
                return None
            required = [field.encode_name for field in fields if field.required]
            if required:
                block.problem("params", f"{method} needs {', '.join(required)} below 'params'")
                return None
            return self._made(block, kind, {})
        before = len(self.problems)
        given.expect(
            [field.encode_name for field in fields if field.required],
            [field.encode_name for field in fields if not field.required],
        )
        values: dict[str, Any] = {}
        for field in fields:
            key = field.encode_name
            value = given.plain(key)
            if value is None:
                continue
            if key in WINDOW_KEYS:
                self._check_window(given, key, value)
            try:
                values[field.name] = msgspec.convert(value, field.type)
            except msgspec.ValidationError as error:
                given.problem(key, f"{key!r} cannot be {value!r}: {error}")
        if len(self.problems) > before:
            return None
        return self._made(given, kind, values)

    def _made(self, block: YamlBlock, kind: type[Detector], values: Mapping[str, Any]) -> Detector | None:
        try:
            return kind(**values)
        except ParamError as error:
            block.problem(error.key, str(error))
            return None

    def _check_window(self, block: YamlBlock, key: str, value: object) -> None:
        if value not in self.windows:
            kept = ", ".join(self.windows)
            block.problem(key, f"window {value!r} is not kept; kept: {kept}{suggest(str(value), self.windows)}")

    def _rule(self, block: YamlBlock, group: YamlBlock, kpi: Kpi, method: str, params: Detector | None) -> Rule:
        """Read the rest of a rule; if problems were noted on the way, what it returns means nothing."""
        window = self._window(block, method, params)
        by = keys.read_by(block, kpi)
        for key, message in params.misfits(kpi, by, window) if params else ():
            inner = block.block("params") if key not in {"kpi", "method"} else None
            (inner or block).problem(key, f"{method}: {message}")
        if params and (season := params.season()) and season.calendar:
            self._known_calendar(block.block("params") or block, "calendar", season.calendar)
        severity: Severity = block.choice("severity", SEVERITIES, "info")
        severity_by = keys.read_severity_by(block, kpi, by)
        pages = "page" in {severity, *(s for found in severity_by.values() for s in found.values())}
        owner = block.text("owner") or group.text("owner")
        runbook = block.text("runbook")
        if pages:
            keys.fit_to_page(block, owner, runbook)
        if runbook and not re.fullmatch(r"\S+", runbook):
            block.problem("runbook", f"runbook {runbook!r} must be a link or a path, e.g. docs/RUNBOOK.md#name")
        return Rule(
            alert=block.text("alert"),
            group=group.text("name"),
            kpi=kpi,
            by=by,
            where=keys.read_where(block, kpi, by),
            window=window,
            longer=keys.read_longer(block, method, window, self.windows),
            method=method,
            params=params or Absence(),  # no more than a stand-in: there are problems, so the rule is dropped
            min_n=keys.read_min_n(block, kpi, method, params, pages),
            min_denominator=block.whole("min_denominator", COMPARED_WITH, 10**9),
            for_minutes=keys.read_duration(block, "for", 0),
            keep_firing_minutes=keys.read_duration(block, "keep_firing_for", 0),
            recover=keys.read_recover(block, kpi, params),
            no_data=keys.read_no_data(block),
            maturity=keys.read_maturity(block, kpi),
            inhibit_by=keys.read_inhibit_by(block, method),
            mute=self._mute(block, group),
            severity=severity,
            severity_by=severity_by,
            owner=owner or kpi.owner,
            runbook=runbook,
            dashboard=block.text("dashboard"),
            labels=keys.read_texts(group, "labels", by) | keys.read_texts(block, "labels", by),
            annotations=default_annotations(method, kpi.aggregator) | keys.read_texts(block, "annotations", by),
            limit=block.whole("limit", LIMIT, 10_000),
            place=f"{block.file}:{block.line}",
        )

    def _window(self, block: YamlBlock, method: str, params: Detector | None) -> str:
        """Read the window; that of a burn rate is its long one."""
        long: str | None = getattr(params, "long", None)
        window = block.text("window")
        if long is not None:
            if window not in {"", long}:
                block.problem("window", f"a burn rate has its windows in 'params': drop it, or write {long}")
            return long
        if not window:
            if "window" not in block:
                block.problem("window", f"'window' is missing: {method} judges one of {', '.join(self.windows)}")
            return self.windows[0]
        self._check_window(block, "window", window)
        return window if window in self.windows else self.windows[0]

    def _mute(self, block: YamlBlock, group: YamlBlock) -> tuple[str, ...]:
        names: dict[str, None] = {}
        for where in (group, block):
            for name in where.list("mute"):
                self._known_calendar(where, "mute", str(name))
                names[str(name)] = None
        return tuple(names)

    def _known_calendar(self, block: YamlBlock, key: str, name: str) -> None:
        if name not in self.calendars:
            hint = suggest(name, self.calendars) or f"; known: {', '.join(self.calendars) or 'none'}"
            block.problem(key, f"no calendar {name!r}{hint}")
