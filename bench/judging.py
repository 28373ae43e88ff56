"""
How long the judge takes for a closed minute: `python -m bench.judging [SERIES] [MINUTES]`.

Ten rules, one of each method and two more, watch SERIES series each (default 1,000: ten thousand rule × series), all of
which have new answers every minute. Half-way a tenth of the series falls. Printed are CPU seconds per minute: of the
judging alone, and of packing what is to be saved, at rest and with trouble.
"""

import sys
import time
from random import Random
from statistics import mean

from streams.alerts.facts import Expected
from streams.alerts.judging.judge import Judge
from streams.alerts.rules.parsing import parse_rules
from streams.alerts.types import SourceHealth
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.series import series_key
from tests.harness.closed import Closed

RULES = """
groups:
  - name: bench
    owner: nobody
    rules:
      - {alert: A, kpi: csat, by: [agentid], method: floor, window: 15m, params: {target: 70}, severity: ticket, for: 5m}
      - {alert: B, kpi: csat, by: [agentid], method: cusum, window: 1h, params: {p0: 85, p1: 75}, severity: ticket}
      - {alert: C, kpi: csat, by: [agentid], method: cusum, window: 1h, params: {baseline: 24h, delta: 10}, severity: info}
      - {alert: D, kpi: csat, by: [agentid], method: ztest, window: 15m, params: {baseline: 24h}, severity: ticket}
      - {alert: E, kpi: csat, by: [agentid], method: ewma, window: 15m, params: {baseline: 24h}, severity: info}
      - {alert: F, kpi: csat, by: [agentid], method: burn_rate, params: {target: 80, factor: 2, long: 1h, short: 5m},
         severity: ticket}
      - {alert: G, kpi: csat, by: [agentid], method: seasonal, window: 1h, severity: info}
      - {alert: H, kpi: aht, by: [agentid], method: ztest, window: 15m, params: {baseline: 24h}, severity: info}
      - {alert: I, kpi: aht, by: [agentid], method: ewma, window: 15m, params: {baseline: 24h}, severity: info}
      - {alert: J, kpi: contacts_handled, by: [agentid], method: absence, window: 15m, params: {baseline: 1h},
         severity: ticket}
"""


class SeasonalBaselines:
    """A baseline that is there at once."""

    def expected(self, rule, series: str, window: str, minute: int) -> Expected:
        return Expected(85.0, 2.0, 240.0, 0.01, 6, "hour of the week")


def main() -> None:
    """Play, and print."""
    series, minutes = int([*sys.argv, "1000"][1]), int([*sys.argv, "", "120"][2] or 120)
    judge = Judge(parse_rules(RULES, Catalogue.load()))
    rng, closed, usual = Random(1), Closed(), SeasonalBaselines()
    agents = [(("agentid", f"a{number:05d}"),) for number in range(series)]
    health = [SourceHealth(channel, 0, 3000, 0) for channel in ("web", "app", "store", "call_center")]
    took: list[tuple[float, float, int, int]] = []
    for minute in range(28_000_000, 28_000_000 + minutes):
        falling = minute >= 28_000_000 + minutes // 2
        held = {}
        for number, labels in enumerate(agents):
            share = 0.5 if falling and number % 10 == 0 else 0.85
            n = rng.randrange(2, 7)
            held[series_key("csat", labels)] = [n, sum(rng.random() < share for _ in range(n))]
            times = [rng.randrange(1000, 6000) for _ in range(n)]
            held[series_key("aht", labels)] = [n, sum(times), sum(t * t for t in times)]
            held[series_key("contacts_handled", labels)] = [n]
        view = closed.close(minute, held, health)
        start = time.process_time()
        found = judge.step(view, baselines=usual)
        stepped = time.process_time()
        records = [*judge.dirty_records(), judge.commit_record()]
        took.append(
            (stepped - start, time.process_time() - stepped, len(found), sum(len(v or b"") for _, v in records))
        )
        judge.confirm(1 << 40)
    faults = judge.take_faults()
    assert all("limit" in fault.reason for fault in faults), faults[:3]
    half = len(took) // 2
    print(f"{judge.instances:,} rule × series, CPU seconds per closed minute:")
    for name, part in (("at rest", took[half // 2 : half]), ("in trouble", took[half:])):
        judging, packing = mean(t[0] for t in part), mean(t[1] for t in part)
        print(
            f"  {name:10} judging {judging:.3f} (at most {max(t[0] for t in part):.3f}), packing {packing:.3f},"
            f" {mean(t[3] for t in part) / 1000:.0f} kB saved, {sum(t[2] for t in part)} transitions,"
            f" {judge.instances / (judging + packing):,.0f} evaluations per CPU second"
        )


if __name__ == "__main__":
    main()
