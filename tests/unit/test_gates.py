"""Windows that hold too little become longer, and rules see small companies."""

import dataclasses

import numpy as np
import pytest

from streams.alerts.detectors.floor import Floor
from streams.alerts.facts import Facts
from streams.alerts.judging.gates import lengthened
from streams.alerts.judging.judge import Judge
from streams.alerts.judging.machine import Policy
from streams.alerts.offline.vectorised import RulePlan, SeriesBatch, firings
from streams.alerts.rules.parsing import load_rules
from streams.alerts.rules.rules import RuleBook, RulesError
from streams.alerts.types import Verdict
from streams.shipped import RULES
from tests.harness.closed import Closed
from tests.harness.judged import CATALOGUE, Run, key, rules

KPI = "service_level_all_offered"
FLOOR = """
groups:
  - name: test
    owner: contact-centre
    rules:
      - {alert: Low, kpi: service_level_all_offered, method: floor, window: 15m, lengthen: 24h, params: {target: 80},
         severity: page, runbook: docs/RUNBOOK.md, min_n: 100, recover: {above: 85}}
"""


def calls(n: int, good: int):
    return {key(): [n, good]}


def test_a_window_that_holds_too_little_becomes_longer_and_the_alert_says_so():
    """Three calls a minute: fifteen minutes hold 45, an hour enough."""
    run = Run(FLOOR)
    assert run.play(calls(3, 3), 60) == []
    fired = run.play(calls(3, 0), 60)
    assert fired == ["1078 Low{} INACTIVE => FIRING"]
    one = run.log[-1]
    assert one.evidence.window == "1h"
    assert one.why.endswith("; target 80 %, in 1h, as 15m has too few (n = 45, 100 needed)")
    assert "of 180 so far, in the 1\u00a0h up to" in one.annotations["description"]
    assert run.play(calls(3, 3), 53) == ["1172 Low{} FIRING => RESOLVED"]


@pytest.mark.parametrize(
    ("hour", "breach"),
    [((10, 50.0), True), ((10, 90.0), False), ((5, 0.0), True), ((4, 0.0), None), ((0, None), None)],
)
def test_the_next_shorter_window_says_whether_trouble_goes_on(hour, breach):
    """Not the rule's own one, which has a bad answer here; well is a verdict, and next to nobody is none."""
    [rule] = rules(FLOOR)
    n, value = hour
    found = {"1h": Verdict(True, False, value, n), "24h": Verdict(True, False, 40.0, 200)}
    thin = Verdict(None, None, 0.0, 3)

    class Params:
        target = 80.0
        judge = staticmethod(lambda _facts, window, _reading, _memory: (found[window], None))
        compared_with = staticmethod(lambda _verdict, _reading: None)

    asked = dataclasses.replace(rule, params=Params())
    verdict = lengthened(asked, Facts("ratio", "up", "percent"), thin, thin, None)
    assert (verdict.breach, verdict.window) == (breach, "" if breach is None else "24h")


def test_with_enough_the_window_is_the_rules_own():
    run = Run(FLOOR)
    run.play(calls(20, 20), 60)
    run.play(calls(20, 0), 10)
    assert run.log[0].evidence.window == "15m"
    assert run.log[0].minute == 1065


def test_what_was_bad_in_the_evening_is_not_told_at_night():
    """The day still holds it, the last hour is well; nor where the last hour has next to nobody."""
    for night in ([1, 1], None):
        run = Run(FLOOR.replace("15m", "1h"))
        run.play(calls(20, 20), 300)
        run.play(calls(20, 0), 300)
        run.play(calls(20, 20), 90)
        assert [one.new for one in run.log] == ["firing", "resolved", "inactive"]
        for minute in range(500):
            run.play({key(): night} if night and minute % 5 == 0 else {})
        assert len([one for one in run.log if one.new == "firing"]) == 1


def test_the_longest_window_ends_it():
    """Where not even that holds enough nothing is judged."""
    run = Run(FLOOR.replace("24h", "1h"))
    assert run.play(calls(1, 0), 300) == []
    assert run.play(calls(2, 0), 60) == ["1340 Low{} INACTIVE => FIRING"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("lengthen: 24h", "lengthen: 5m"), "'5m' is no kept window longer than 15m; kept: 1h, 24h"),
        (("lengthen: 24h", "lengthen: 3h"), "'3h' is no kept window longer than 15m"),
        (("method: floor, window: 15m, lengthen: 24h, params: {target: 80}",
          "method: ztest, window: 15m, lengthen: 24h, params: {baseline: 24h}"), "a ztest is not judged over longer"),
    ],
)  # fmt: skip
def test_what_cannot_become_longer_is_refused(change, said):
    with pytest.raises(RulesError, match=said):
        rules(FLOOR.replace(*change))


def test_arrays_lengthen_as_the_judge_does():
    """Volumes that come and go, a fall and back."""
    rng = np.random.default_rng(3)
    n = rng.poisson(np.where(np.arange(1800) % 600 < 300, 9.0, 1.5))
    hits = rng.binomial(n, np.where((np.arange(1800) > 900) & (np.arange(1800) < 1100), 0.3, 0.9))
    run = Run(FLOOR.replace(", recover: {above: 85}", ""))
    for total, good in zip(n, hits, strict=True):
        run.play(calls(int(total), int(good)) if total else {})
    plan = RulePlan(Floor(target=80.0), Facts("ratio", "up", "percent"), "15m", Policy(), 100, 0, ("1h", "24h"))
    [found] = firings(plan, SeriesBatch.of(n[:, None], hits[:, None]))
    assert found == [one.minute - 1001 for one in run.log if one.new == "firing"]
    assert found


def shipped(*names: str) -> RuleBook:
    book = load_rules([RULES], CATALOGUE)
    return RuleBook.of([book[name] for name in names], book.calendars.values())


@pytest.mark.slow
@pytest.mark.parametrize(("per_hour", "share", "hours"), [(8, 0.02, 3), (8, 0.08, 4), (40, 0.05, 1)])
def test_an_outage_of_payments_at_few_attempts_is_told(per_hour, share, hours):
    """Eight an hour after two days; nothing is told before."""
    rng = np.random.default_rng(per_hour)
    judge, closed, told = (
        Judge(shipped("PaymentsFail", "PaymentsDown")),
        Closed(("1m", "5m", "15m", "1h", "24h", "7d")),
        [],
    )
    for minute in range(1000, 1000 + 2880 + 60 * hours):
        n = int(rng.poisson(per_hour / 60))
        bad = n if minute >= 3880 else int(rng.binomial(n, share))
        series = {key("payment_failure"): [n, bad]} if n else {}
        told += [(one.minute, one.rule) for one in judge.step(closed.close(minute, series, [])) if one.new == "firing"]
    assert told
    assert told[0][0] >= 3880
