"""The evidence of a transition: the numbers of the verdict, what explains them, and which narrower alerts also fire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from streams.alerts.explaining.explain import AT_MOST, baseline_of, change_of, explain
from streams.alerts.explaining.likelihood import BeforeAfter, likelihood_z
from streams.alerts.facts import badness, length_of
from streams.alerts.judging.watch import Index, Subject, by_rank
from streams.alerts.types import ClosedView, Contribution, Evidence, Movement, Verdict
from streams.kpis.aggregators import ADDITIVE, measure
from streams.kpis.arithmetic.accumulators import count_of
from streams.kpis.language.lengths import TOTAL
from streams.kpis.language.series import series_key

CHILDREN: Final = 10
"""How many firing alerts on parts of its series an alert lists at most."""

LEAST_BEFORE: Final = 30
"""Answers that the time before must have for a change from it to be explained."""

SURER: Final = 5.0
"""By so much more must the cause be surer that is named of an open minute: it is told when it looks worst."""

SHORTEST: Final = 5
"""Minutes of the shortest window in which a change is looked for, unless the rule's own is shorter."""


def evidence_of(subject: Subject, verdict: Verdict, view: ClosedView) -> Evidence:
    """
    Return the numbers of a verdict, and links to a dashboard and a runbook.

    The baseline is left out unless the series is older than the whole baseline window: a mean of its first minutes only
    would mislead.
    """
    rule = subject.watch.rule
    reference: str | None = getattr(rule.params, "baseline", None)
    whole = rule.params.is_absence or reference is None or reaches_back(view, subject.key, reference)
    links = {"dashboard": rule.dashboard, "runbook": rule.runbook}
    return Evidence(
        method=rule.method,
        value=verdict.value,
        n=verdict.n,
        lo=verdict.lo,
        hi=verdict.hi,
        unit=rule.kpi.unit,
        window=verdict.window or rule.window,
        baseline=verdict.baseline if whole else None,
        baseline_n=verdict.baseline_n if whole else 0,
        statistic=verdict.statistic,
        threshold=verdict.threshold,
        target=rule.target,
        definition=subject.watch.definition,
        maturity=rule.maturity,
        links={name: link for name, link in links.items() if link},
        ahead=verdict.ahead,
    )


def reaches_back(view: ClosedView, series: str, window: str) -> bool:
    """Return whether a series has events from before a window began, so that the window is fully covered."""
    ever, lately = view.window(series, TOTAL), view.window(series, window)
    return ever is not None and count_of(ever) > (0 if lately is None else count_of(lately))


def add_children(evidence: Evidence, subject: Subject, firing: Iterable[Subject], view: ClosedView) -> None:
    """Add the alerts of the same KPI that fire on parts of the series."""
    found = [
        other
        for other in firing
        if other.watch.rule.kpi.id == subject.watch.rule.kpi.id
        and len(other.labels) > len(subject.labels)
        and subject.labels.items() <= other.labels.items()
    ]
    for other in sorted(found, key=by_rank)[:CHILDREN]:
        verdict = other.verdict or Verdict(None)
        evidence.movements.append(
            Movement(
                kpi=other.watch.rule.kpi.id,
                labels=dict(other.labels),
                value=verdict.value,
                baseline=evidence_of(other, verdict, view).baseline,
                statistic=verdict.statistic,
                unit=other.watch.rule.kpi.unit,
                note=f"{other.watch.rule.alert} fires too",
                name=other.watch.rule.kpi.name,
                name_fa=other.watch.rule.kpi.name_fa,
            )
        )


class WholeCauses:
    """The likeliest causes of the changes of whole KPIs (series without labels) in one minute, each worked out once."""

    def __init__(self, view: ClosedView, indexes: Mapping[str, Index]) -> None:
        self._view = view
        self._indexes = indexes
        self._known: dict[tuple[str, str, str], Contribution | None] = {}

    def cause_outside(self, subject: Subject, window: str, longer: str) -> Contribution | None:
        """
        Return the likeliest cause of the whole KPI's change if it shares no label name with the subject, else None.

        When one segment turns bad, every channel falls a little, and the alert fires on the largest channel. The series
        below that channel have no segments, so they cannot show the cause; the series below the whole KPI can.
        """
        kpi = subject.watch.rule.kpi.id
        place = kpi, window, longer
        if place not in self._known:
            found = explain(
                subject.watch.facts,
                series_key(kpi, ()),
                self._indexes[kpi].keys,
                lambda key: change_of(self._view.window(key, longer), self._view.window(key, window)),
                minutes=_minutes(window, longer),
            )
            self._known[place] = found[0] if found and found[0].labels else None
        cause = self._known[place]
        return cause if cause is not None and cause.labels.keys().isdisjoint(subject.labels) else None


def explain_change(
    evidence: Evidence,
    subject: Subject,
    below: Sequence[str],
    view: ClosedView,
    windows: Sequence[str],
    whole_causes: WholeCauses,
) -> None:
    """
    Add what explains the change of a series, and a baseline if the verdict has none.

    Args:
        evidence: What they are added to.
        subject: The rule and the series.
        below: Keys of the series that are part of it.
        view: The closed minute, with their sums.
        windows: The windows that `view` keeps.
        whole_causes: The causes of the changes of whole KPIs.
    """
    facts = subject.watch.facts
    best: tuple[float, str, str, BeforeAfter] | None = None
    for window, longer in _spans(subject, sorted(windows, key=length_of)):
        whole = change_of(view.window(subject.key, longer), view.window(subject.key, window))
        if whole.earlier is None or count_of(whole.earlier) < LEAST_BEFORE:
            continue
        sure = badness(facts, likelihood_z(facts, whole, _minutes(window, longer)) or 0.0)
        if best is None or sure > best[0]:
            best = sure, window, longer, whole
    if best is None:
        return
    _, window, longer, whole = best
    evidence.contributors = explain(
        facts,
        subject.key,
        below,
        lambda key: change_of(view.window(key, longer), view.window(key, window)),
        minutes=_minutes(window, longer),
        surer=SURER if evidence.ahead else 0.0,
    )
    across = whole_causes.cause_outside(subject, window, longer) if subject.labels else None
    if across is not None:
        evidence.contributors = [across, *evidence.contributors[: AT_MOST - 1]]
    # The earlier part of the rule's own window may belong to the same trouble, so it is no baseline.
    earlier_than_judged = length_of(longer) > length_of(subject.watch.rule.window)
    no_baseline = evidence.baseline is None and facts.aggregator not in ADDITIVE
    if no_baseline and whole.earlier and earlier_than_judged and reaches_back(view, subject.key, longer):
        was = measure(facts.aggregator, whole.earlier, facts.scale, unit=facts.unit, q=facts.q)
        evidence.baseline, evidence.baseline_n = was.value, was.n


def _minutes(window: str, longer: str) -> tuple[int, int]:
    return length_of(longer) - length_of(window), length_of(window)


def _spans(subject: Subject, kept: Sequence[str]) -> Iterator[tuple[str, str]]:
    """
    Yield pairs of windows to compare: one to look at, and a longer one that ends with the same minute.

    The rule's own window can dilute fresh trouble with what was before; a shorter one has fewer answers. The caller
    takes the pair in which the change shows best.
    """
    rule = subject.watch.rule
    given: str | None = getattr(rule.params, "baseline", None)
    for window in kept:
        if not min(SHORTEST, length_of(rule.window)) <= length_of(window) <= length_of(rule.window):
            continue
        longer = given
        if longer is None or length_of(longer) <= length_of(window):
            longer = baseline_of(window, kept, aggregator=subject.watch.facts.aggregator)
        if longer is not None:
            yield window, longer
        if length_of(window) < length_of(rule.window):  # where nothing is known from before the rule's own window
            yield window, rule.window
