"""The defaults of a rule, and the rules that KPIs bring along."""

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Final

from streams.alerts.detectors import DETECTORS, Detector, ParamError
from streams.alerts.detectors.absence import Absence
from streams.alerts.detectors.burn_rate import BurnRate, budget_of
from streams.alerts.detectors.cusum import Cusum
from streams.alerts.detectors.ewma import Ewma
from streams.alerts.detectors.floor import Floor
from streams.alerts.detectors.seasonal import Seasonal
from streams.alerts.detectors.ztest import ZTest
from streams.alerts.facts import Facts
from streams.alerts.rules.rules import NoData, Recover, Rule, RulesError
from streams.alerts.rules.texts import Text, compile_text
from streams.kpis.aggregators import ADDITIVE, LASTING
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.definition import Alert, Kpi
from streams.kpis.language.lengths import WINDOWS, window_minutes

GROUP: Final = "catalogue"
COMPARED_WITH: Final = 20
"""Answers that each sample needs which a window is compared with, by default."""
LIMIT: Final = 100
"""Alerts of one rule that may fire at once, by default."""

_DAY: Final = 1440
_BURN: Final = 0.6  # of what can be reached: 3 times the budget of an 80 % promise
_SUMMARY: Final = "{{ name }}, {{ series }}: {{ value | show }}"
_SUMMARY_FA: Final = "{{ name }}، {{ series }}: {{ value | show }}"


def _description(of: str, interval: str, span: str) -> str:
    return "{{ value | show }}{% if lo is not none and hi is not none %} " + interval + "{% endif %}" + of + span


_INTERVAL: Final = "(95 % interval {{ lo | show }} to {{ hi | show }})"
_INTERVAL_FA: Final = "(بازهٔ ۹۵٪: {{ lo | show }} تا {{ hi | show }})"
_OF: Final = " of {{ n | number }} so far"
_OF_FA: Final = " از {{ n | number }} مورد تا اینجا"
_N: Final = " (n = {{ n | number }} so far)"
_N_FA: Final = " ({{ n | number }} مورد تا اینجا)"
_SPAN: Final = ", in the {{ window }} up to {{ until }}."
_SPAN_FA: Final = "، در {{ window }} تا {{ until }}."


def default_annotations(method: str, aggregator: str) -> dict[str, Text]:
    """Return the texts of a rule that brings none along; of amounts no number of answers is said, they are it."""
    detector = DETECTORS[method]
    of, of_fa = (_OF, _OF_FA) if aggregator == "ratio" else (_N, _N_FA)
    if aggregator in ADDITIVE or aggregator in LASTING:
        of = of_fa = ""
    return {
        "summary": compile_text(_SUMMARY + detector.summary),
        "description": compile_text(_description(of, _INTERVAL, _SPAN)),
        "summary_fa": compile_text(_SUMMARY_FA + detector.summary_fa),
        "description_fa": compile_text(_description(of_fa, _INTERVAL_FA, _SPAN_FA)),
    }


def catalogue_rules(catalogue: Catalogue, rules: Iterable[Rule] = (), windows: Sequence[str] = WINDOWS) -> list[Rule]:
    """
    Make rules of the alerts that KPIs carry in their definitions.

    A KPI that any of `rules` judges is left out: whoever writes a rule for it has thought about more than its
    definition can say. They are tickets, for the whole: to wake somebody takes a runbook.

    Raises:
        RulesError: An alert cannot be judged with the windows that are kept; names file and line of each.
    """
    taken = list(rules)
    judged = {rule.kpi.id for rule in taken}
    names = {rule.alert for rule in taken}
    found, problems = [], []
    for kpi in catalogue:
        if kpi.alert is None or kpi.id in judged:
            continue
        try:
            rule = _rule(kpi, kpi.alert, windows)
        except ParamError as error:
            problems.append(f"{kpi.alert.place}: KPI {kpi.id}, alert: {error}")
            continue
        problems += [
            f"{kpi.alert.place}: KPI {kpi.id}, alert: {rule.method}: {message}"
            for _, message in rule.params.misfits(kpi, rule.by, rule.window)
        ]
        if rule.alert not in names:
            found.append(rule)
    if problems:
        raise RulesError(problems)
    return found


def _rule(kpi: Kpi, alert: Alert, windows: Sequence[str]) -> Rule:
    params = _params(kpi, alert, windows)
    return Rule(
        alert="".join(part.capitalize() for part in kpi.id.split("_")),
        group=GROUP,
        kpi=kpi,
        by=() if () in kpi.groupings else kpi.groupings[0],
        where=MappingProxyType({}),
        longer=(),
        window=getattr(params, "long", alert.window),
        method=params.method,
        params=params,
        min_n=params.default_min_n(kpi),
        min_denominator=COMPARED_WITH,
        for_minutes=alert.for_minutes,
        keep_firing_minutes=0,
        recover=Recover(),
        no_data=NoData(),
        maturity=kpi.maturity,
        inhibit_by=() if params.is_absence else ("parent", "pipeline"),
        mute=(),
        severity="ticket",
        severity_by=MappingProxyType({}),
        owner=kpi.owner,
        runbook="",
        dashboard="",
        labels=MappingProxyType({}),
        annotations=MappingProxyType(default_annotations(params.method, kpi.aggregator)),
        limit=LIMIT,
        place=GROUP,
    )


def _params(kpi: Kpi, alert: Alert, windows: Sequence[str]) -> Detector:
    """Read the few words of a definition as a method with all its parameters."""
    longer = sorted(
        (name for name in windows if window_minutes(name) > window_minutes(alert.window)), key=window_minutes
    )
    nearest = longer[0] if longer else alert.window
    baseline = next((name for name in longer if window_minutes(name) >= _DAY), nearest)
    target = alert.target if alert.target is not None else 0.0
    match alert.method:
        case "cusum" if longer:
            # A target is a promise: who is worse than that has eroded, whatever was normal before.
            return Cusum(baseline=baseline, p1=target)
        case "floor" | "cusum":
            return Floor(target=target)
        case "ztest":
            return ZTest(baseline=baseline)
        case "ewma":
            return Ewma(baseline=baseline)
        case "seasonal":
            return Seasonal()
        case "burn_rate":
            room = budget_of(Facts.of(kpi), target)
            if not 0 < room < 1:
                raise ParamError("target", f"target {target:g} {kpi.unit} leaves no budget that could burn")
            factor = _BURN / room
            return BurnRate(target=target, factor=factor, long=nearest, short=alert.window)
        case "absence":
            return Absence(baseline="1h" if "1h" in longer else nearest)
