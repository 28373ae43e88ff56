"""The scorecard of six dimensions, of readings that are known."""

from streams.definitions import kpis_of
from streams.gaps.scorecard import DIMENSIONS, ProxyReading, scorecard
from streams.kpis.arithmetic.intervals import NOTHING, Measure
from streams.settings import Settings

NAMES = [name for one in DIMENSIONS for name in one.proxies]


def reading(value: float, half: float | None) -> ProxyReading:
    ends = (None, None) if half is None else (value - half, value + half)
    return ProxyReading(Measure(value, 100, *ends), "closed", "x@1")


def test_every_proxy_is_a_kpi_that_people_can_look_up() -> None:
    kpis = kpis_of(Settings(relations="all"))
    assert [one.name for one in DIMENSIONS] == [
        "communication", "personalisation", "problem solving", "empathy", "integration", "transparency",
    ]  # fmt: skip
    assert [name for name in NAMES if name not in kpis] == []
    assert all(kpis[name].formula and () in kpis[name].groupings for name in NAMES)
    assert {kpis[name].direction for name in NAMES} == {"up", "down"}


def test_verdicts_follow_the_direction_of_the_kpi() -> None:
    kpis = {name: kpi for name, kpi in kpis_of(Settings(relations="all")).kpis.items() if name != "repeat_contacts"}
    now = {
        "offers_accepted": reading(20, 3), "transfer_rate": reading(20, 3), "fcr_disposition": reading(20, 3),
        "resolution_time": reading(20, None), "agent_tone": reading(0.5, 0.1), "reachable_channels": reading(100, 0),
        "delivery_lateness": ProxyReading(NOTHING, "", "", "no data: nothing came"),
    }  # fmt: skip
    before = {
        "offers_accepted": reading(10, 3), "transfer_rate": reading(10, 3), "fcr_disposition": reading(16, 3),
        "resolution_time": reading(30, None), "delivery_lateness": reading(1, 1), "reachable_channels": reading(100, 0),
    }  # fmt: skip
    found = {one.name: one for one in scorecard(kpis, now, before)}
    assert [*found] == NAMES
    assert {name: one.verdict for name, one in found.items()} == {
        "reachable_channels": "no change shown", "matters_over_channels": "no data", "offers_accepted": "better",
        "resolution_time": "without an interval", "fcr_disposition": "no change shown", "agent_tone": "nothing before",
        "transfer_rate": "worse", "repeat_contacts": "no data: its relation does not run",
        "proactive_delay_notices": "no data", "delivery_lateness": "no data: nothing came",
    }  # fmt: skip
    change = found["offers_accepted"].change
    assert change is not None
    # Both intervals are 3 wide on each side: their difference is 3 √2.
    assert (round(change.value, 9), round(change.hi or 0, 4)) == (10, 14.2426)
