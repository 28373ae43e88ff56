"""A simulated company: customers, journeys and troubles, as events."""

from streams.producers.simulator.emission import Emission, Flaws, emissions
from streams.producers.simulator.running import RunProgress, SimulationSender, pregenerate, recycled, run
from streams.producers.simulator.scenario import Plan, holidays_of, simulate, simulated

__all__ = [
    "Emission",
    "Flaws",
    "Plan",
    "RunProgress",
    "SimulationSender",
    "emissions",
    "holidays_of",
    "pregenerate",
    "recycled",
    "run",
    "simulate",
    "simulated",
]
