"""When the ingest agent closes its ranges without waiting for the timer."""

import time
from types import SimpleNamespace

import pytest

from streams.agents.ingest import Ingest

LATENESS_S = 60.0


class Reading:
    """An agent that does nothing but read; `ask` sets what its sources have reached, in seconds after a minute."""

    def __init__(self, minute: float) -> None:
        self._minute = minute + LATENESS_S
        self._agent = object.__new__(Ingest)
        self._agent._settings = SimpleNamespace(lateness_s=LATENESS_S)  # type: ignore[assignment]
        self._agent._minute = None

    def ask(self, *reached: float) -> bool:
        sources = [SimpleNamespace(intake=SimpleNamespace(reached=self._minute + one)) for one in reached]
        self._agent._sources = dict(enumerate(sources))  # type: ignore[assignment,arg-type]
        return self._agent._closes()


def now() -> float:
    return time.time() // 60 * 60 - 120


def test_a_flush_comes_at_once_when_the_last_source_passes_a_minute() -> None:
    reading = Reading(now())
    assert not reading.ask(-3, -2), "nothing is known to compare with"
    assert not reading.ask(1, -1), "one is still before it"
    assert reading.ask(2, 0)
    assert not reading.ask(3, 1), "once for each minute"
    assert reading.ask(60, 61)


@pytest.mark.parametrize("silent", [float("-inf"), -600.0])
def test_who_tells_nothing_leaves_it_to_the_timer(silent: float) -> None:
    reading = Reading(now())
    assert not reading.ask(-1, silent)
    assert not reading.ask(1, silent)


def test_history_waits_for_full_ranges() -> None:
    reading = Reading(now() - 86_400)
    assert not reading.ask(-1, -1)
    assert not reading.ask(1, 1)
