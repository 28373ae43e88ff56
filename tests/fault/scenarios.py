"""The list of scenarios: what is done to an installation, seeded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.fault import lost, moving, network, servers, state, stopping
from tests.fault.rig import Rig


@dataclass(frozen=True)
class Scenario:
    """One kind of fault, `play` does so many of them."""

    name: str
    play: Callable[[Rig, int], None]
    faults: int = 10
    nodes: int = 1
    """Kafka brokers; none: the embedded one."""
    proxied: bool = False
    """Whether workers reach Kafka and ClickHouse through proxies."""
    own_store: bool = False
    """Whether it needs a ClickHouse of its own, on a disk of its own."""
    speed: float = 0.0
    """How fast event time goes; 0: as the clock or eight times as fast, by the seed."""
    lives: bool = False
    """Whether all relations run, on what customers do on all channels."""
    plain: bool = False
    """Whether an older version takes part, to which an id alone names an event."""
    settings: Mapping[str, Any] = field(default_factory=dict)


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("undisturbed", stopping.undisturbed, faults=5),
        Scenario("pauses", stopping.pauses),
        Scenario("kills", stopping.kills, faults=8),
        Scenario("storm", moving.storm, faults=3),
        Scenario("clocks", moving.clocks, faults=6, speed=1.0),
        Scenario("broker-pauses", servers.broker_pauses, faults=6),
        Scenario("broker-kills", servers.broker_kills, faults=4),
        Scenario("broker-loss", servers.broker_loss, faults=4, nodes=3),
        Scenario("store-pauses", servers.store_pauses, faults=6),
        Scenario("store-kills", servers.store_kills, faults=6),
        Scenario("disk-full", servers.disk_full, faults=2, own_store=True),
        Scenario("network", network.bad_network, faults=8, proxied=True),
        Scenario("held", network.held, faults=6, proxied=True),
        Scenario("relations", stopping.comings, faults=20, lives=True, speed=30.0),
        Scenario("relations-embedded", stopping.kills_alone, faults=20, nodes=0, lives=True, speed=30.0),
        Scenario("compaction", state.compaction, faults=6),
        Scenario("losses", lost.losses, faults=2),
        Scenario("truncation", lost.truncation, faults=2),
        Scenario("upgrade", state.upgrade, faults=2, plain=True),
    )
}
