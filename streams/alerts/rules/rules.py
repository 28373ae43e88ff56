"""
Alert rules: what is judged, how, how patiently, and whom it concerns.

Rules are read from YAML files (`deploy/rules`, or the setting `rules_path`) and checked against the catalogue of KPIs
before the first minute is judged; all problems are reported together. A KPI that no rule judges but whose definition
carries an `alert` gets a rule made of that (`streams.alerts.rules.defaults`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from streams.alerts.detectors import Detector
from streams.alerts.rules.calendars import Calendar
from streams.alerts.rules.texts import LANG, Text, moment
from streams.alerts.types import Evidence, Severity
from streams.kpis.aggregators import LASTING
from streams.kpis.language.blocks import CatalogueError
from streams.kpis.language.definition import Kpi, Maturity
from streams.kpis.language.expressions import suggest
from streams.wording.moments import ZoneTimes
from streams.wording.texts import LANGS, Lang, Texts, series_text, window_text

NoDataAction: TypeAlias = Literal["ok", "alert", "keep"]
Inhibitor: TypeAlias = Literal["parent", "pipeline", "refused"]

SEVERITIES: Final[tuple[Severity, ...]] = ("page", "ticket", "info")


class RulesError(CatalogueError):
    """Rules or calendars that cannot be right; one line per problem: file, line, what is wrong, what would be right."""


@dataclass(frozen=True, slots=True)
class Recover:
    """
    When an alert is over; in the KPI's unit, and on the better side.

    Attributes:
        above: The value must be above it; None if that does not matter.
        below: The value must be below it; None if that does not matter.
        for_minutes: For how long.
    """

    above: float | None = None
    below: float | None = None
    for_minutes: int = 0


@dataclass(frozen=True, slots=True)
class NoData:
    """
    What becomes of an alert when there is nothing to judge.

    Attributes:
        action: `ok` ends it, `keep` lets it fire on until recovery is shown, `alert` makes missing data an alert of its
            own.
        for_minutes: After how long nothing came.
        limit_minutes: For how long one that fires does so at most while it cannot be judged.
    """

    action: NoDataAction = "ok"
    for_minutes: int = 15
    limit_minutes: int = 1440


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    One rule; each series of its KPI under the grouping `by` is judged on its own.

    Attributes:
        alert: Its name, unique among all rules.
        group: The group it stands in.
        kpi: The KPI it judges.
        by: One of the KPI's groupings; label names in alphabetical order, `()` for the whole.
        where: Label values to judge, by label; of labels that are not named all values are.
        window: The kept window that is judged.
        longer: Longer ones that are judged in its place, one after the other, while it holds fewer than `min_n`.
        min_n: Answers, trials or events that the window must hold; with fewer there is no verdict.
        min_denominator: The same for each sample that it is compared with: baseline, second window, label value.
        for_minutes: How long trouble must last before it fires.
        keep_firing_minutes: How long it fires on after the trouble.
        inhibit_by: What keeps it from being delivered: `parent`, a rule of the same KPI that fires on a series this
            one is part of; `pipeline`, a channel that cannot be trusted; `refused`, that its records come, but bad.
        mute: Calendars in which it is not delivered.
        severity_by: Other severities by label and value: the first label that has one decides.
        limit: Alerts of this rule that may fire at once.
        target: What the value is held against, if anything is, for display.
        place: File and line; `catalogue` if made of a definition's alert.
    """

    alert: str
    group: str
    kpi: Kpi
    by: tuple[str, ...]
    where: Mapping[str, tuple[str, ...]]
    window: str
    longer: tuple[str, ...]
    method: str
    params: Detector
    min_n: int
    min_denominator: int
    for_minutes: int
    keep_firing_minutes: int
    recover: Recover
    no_data: NoData
    maturity: Maturity
    inhibit_by: tuple[Inhibitor, ...]
    mute: tuple[str, ...]
    severity: Severity
    severity_by: Mapping[str, Mapping[str, Severity]]
    owner: str
    runbook: str
    dashboard: str
    labels: Mapping[str, Text]
    annotations: Mapping[str, Text]
    limit: int
    place: str = field(compare=False)

    @property
    def target(self) -> float | None:
        """What the value is held against, if the method has such."""
        found = getattr(self.params, "target", None)
        return getattr(self.params, "p1", None) if found is None else found

    def judges(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with these labels, those of `by`, is to be judged."""
        return all(labels.get(label) in values for label, values in self.where.items())

    def severity_of(self, labels: Mapping[str, str]) -> Severity:
        """Return how much an alert on a series is worth."""
        for label, by_value in self.severity_by.items():
            found = by_value.get(labels.get(label, ""))
            if found is not None:
                return found
        return self.severity

    def say(
        self, labels: Mapping[str, str], minute: int, evidence: Evidence, times: ZoneTimes
    ) -> tuple[dict[str, str], dict[str, str]]:
        """
        Fill in the labels and annotations of an alert on a series; those named `..._fa` in Persian.

        Args:
            labels: Of the series.
            minute: The judged minute, unix seconds // 60.
            evidence: What is known of it; what is filled in later (verbatims, links) cannot be named by templates.
            times: Writes moments.
        """
        variables: dict[str, object] = {
            "alert": self.alert,
            "kpi": self.kpi.id,
            "labels": dict(labels),
            "value": evidence.value,
            "n": evidence.n,
            "lo": evidence.lo,
            "hi": evidence.hi,
            "baseline": evidence.baseline,
            "baseline_n": evidence.baseline_n,
            "statistic": evidence.statistic,
            "threshold": evidence.threshold,
            "target": self.target,
            "unit": self.kpi.unit,
            "method": self.method,
            "severity": self.severity_of(labels),
            "owner": self.owner,
            "runbook": self.runbook,
            "at": moment(minute),
        }
        by_lang: dict[Lang, dict[str, object]] = {
            lang: {
                **variables,
                LANG: lang,
                "name": Texts(lang).kpi(self.kpi.name, self.kpi.name_fa),
                "series": series_text(labels, lang),
                "window": window_text(evidence.window or self.window, lang),
                "until": times.moment((minute + 1 + evidence.ahead) * 60, lang),
            }
            for lang in LANGS
        }
        return (
            {name: text.fill(by_lang["en"]) for name, text in self.labels.items()},
            {
                name: text.fill(by_lang["fa" if name.endswith("_fa") else "en"])
                for name, text in self.annotations.items()
            },
        )


@dataclass(frozen=True, slots=True)
class RuleBook:
    """All rules by name, in the order of their files, and the calendars they know; `zone`: of the times in texts."""

    rules: Mapping[str, Rule]
    calendars: Mapping[str, Calendar]
    zone: str = "UTC"

    @classmethod
    def of(cls, rules: Iterable[Rule] = (), calendars: Iterable[Calendar] = ()) -> "RuleBook":
        """Put rules and calendars together that were checked before."""
        return cls(
            MappingProxyType({rule.alert: rule for rule in rules}),
            MappingProxyType({calendar.name: calendar for calendar in calendars}),
        )

    def of_kpi(self, kpi: str) -> tuple[Rule, ...]:
        """Return the rules that judge a KPI."""
        return tuple(rule for rule in self.rules.values() if rule.kpi.id == kpi)

    @property
    def lasting(self) -> frozenset[str]:
        """The ids of judged KPIs whose accumulators last."""
        return frozenset(rule.kpi.id for rule in self if rule.kpi.aggregator in LASTING)

    def __getitem__(self, alert: str) -> Rule:
        if alert not in self.rules:
            raise KeyError(f"no rule {alert!r}{suggest(alert, self.rules)}")
        return self.rules[alert]

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules.values())

    def __len__(self) -> int:
        return len(self.rules)


def rule_files(paths: Iterable[Path]) -> list[Path]:
    """
    List the files of rules: those given, and `*.yaml` in the folders given.

    Raises:
        RulesError: There is no such file or folder.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(path.glob("*.yaml"))
        elif path.is_file():
            found.append(path)
        else:
            raise RulesError([f"{path}:1: no such file or folder of rules"])
    return found
