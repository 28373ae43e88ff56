"""What is said of a rule before it is put to work is what it does."""

import numpy as np
import pytest

from streams.alerts.offline import outlook
from streams.alerts.offline.outlook import outlooks
from streams.alerts.offline.past import DAY, Past
from streams.alerts.rules.parsing import parse_rules
from streams.kpis.catalogue.catalogue import Catalogue

CATALOGUE = Catalogue.load()


def rule(kpi: str, rest: str):
    text = f"groups: [{{name: g, rules: [{{alert: A, kpi: {kpi}, severity: ticket, {rest}}}]}}]"
    return parse_rules(text, CATALOGUE)["A"]


def past(per_minute: float, share: float, days: int = 3) -> Past:
    generator = np.random.default_rng(7)
    n = generator.poisson(per_minute, (days, DAY, 1))
    return Past(n, generator.binomial(n, share), np.arange(days))


@pytest.mark.slow
def test_the_smallest_change_seen_in_a_day_is_told():
    [found] = outlooks(rule("csat", "method: cusum, window: 1h, params: {baseline: 24h, delta: 20}"),
                       past(0.5, 0.85), ["csat"])  # fmt: skip
    assert found.can_fire
    assert 10 <= found.smallest <= 70
    assert found.lo <= found.per_day <= found.hi
    assert found.hi > 1, "three days show no less"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rest", "per_minute", "said"),
    [
        ("method: floor, window: 15m, params: {target: 55}, min_n: 100", 2.0, "came at most in 15m, 100 needed"),
        ("method: cusum, window: 1h, params: {baseline: 24h, delta: 20, min_failures: 500}", 0.05, "no change is seen"),
    ],
)
def test_a_rule_that_can_never_fire_is_told(rest, per_minute, said):
    [found] = outlooks(rule("csat", rest), past(per_minute, 0.85), ["csat"])
    assert found.can_fire is False
    assert said in found.note


def test_of_methods_that_are_not_simulated_only_the_volume_is_judged():
    quiet, busy = past(0.005, 1.0), past(50.0, 1.0)
    silence = rule("volume", "by: [channel], method: absence, window: 5m, params: {baseline: 1h, min_expected: 20}")
    seasonal = rule("csat", "method: seasonal, window: 1h, params: {weeks: 6}, min_n: 100")
    [dead], [alive] = (list(outlooks(silence, one, ["volume"])) for one in (quiet, busy))
    assert (dead.can_fire, alive.can_fire) == (False, None)
    assert alive.note == "absence is not simulated"
    assert "came at most in 1h, 4.292 needed" in dead.note
    [thin] = outlooks(seasonal, quiet, ["csat"])
    assert thin.can_fire is False


@pytest.mark.slow
def test_many_series_are_simulated_a_few_at_a_time(monkeypatch):
    """Each keeps its own numbers: one is busy, one has nothing, one is quiet."""
    monkeypatch.setattr(outlook, "AT_ONCE", 1)
    both = [past(per_minute, 0.85, days=2) for per_minute in (20.0, 0.0, 2.0)]
    together = Past(
        np.concatenate([one.n for one in both], 2), np.concatenate([one.hits for one in both], 2), both[0].day
    )
    floor = rule("csat", "method: floor, window: 15m, params: {target: 55}, min_n: 10, by: [channel]")
    busy, empty, quiet = outlooks(floor, together, ["a", "b", "c"])
    assert [busy.series, empty.series, quiet.series] == ["a", "b", "c"]
    assert (busy.can_fire, empty.can_fire, quiet.can_fire) == (True, False, True)
    assert 25 < busy.smallest <= quiet.smallest
