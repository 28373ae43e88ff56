"""When the ingest agent closes its ranges without waiting for the timer."""

import time
from types import SimpleNamespace

import pytest

from streams.agents.ingest import Ingest

LATENESS_S = 60.0
IDLE_S = 600.0  # longer than a test may be held up


class Reading:
    """An agent that does nothing but read; `ask` sets what its sources have reached, in seconds after a minute."""

    def __init__(self, minute: float) -> None:
        self._minute = minute + LATENESS_S
        self._agent = object.__new__(Ingest)
        self._agent._settings = SimpleNamespace(lateness_s=LATENESS_S, idle_s=IDLE_S)  # type: ignore[assignment]
        self._agent._minute = None

    def ask(self, *reached: float, quiet: float | None = None, quiet_s: float = 0.0) -> bool:
        """Have sources with records in hand, and one without that is `quiet` since its newest event came."""
        intakes = [self._intake(one, 1, 0.0) for one in reached]
        if quiet is not None:
            intakes.append(self._intake(quiet, 0, quiet_s))
        self._agent._sources = {n: SimpleNamespace(intake=one) for n, one in enumerate(intakes)}  # type: ignore[assignment,misc]
        return self._agent._closes()

    def _intake(self, reached: float, records: int, quiet_s: float) -> SimpleNamespace:
        head = SimpleNamespace(moved=time.time() - quiet_s)
        return SimpleNamespace(reached=self._minute + reached, open_records=records, head=head)


def now() -> float:
    return time.time() // 60 * 60 - 120


def test_a_flush_comes_at_once_when_the_last_source_passes_a_minute() -> None:
    reading = Reading(now())
    assert not reading.ask(-3, -2), "nothing is known to compare with"
    assert not reading.ask(1, -1), "one is still before it"
    assert reading.ask(2, 0)
    assert not reading.ask(3, 1), "once for each minute"
    assert reading.ask(60, 61)


def test_who_was_just_heard_is_waited_for_and_who_is_idle_is_not() -> None:
    reading = Reading(now())
    assert not reading.ask(-1, quiet=-1)
    assert not reading.ask(1, quiet=-1, quiet_s=IDLE_S / 2)
    assert reading.ask(1, quiet=-1, quiet_s=IDLE_S * 2)
    assert not reading.ask(quiet=2, quiet_s=IDLE_S * 2), "nobody has anything in hand"


def test_a_partition_that_was_never_used_holds_nobody() -> None:
    reading = Reading(now())
    never = {"quiet": float("-inf"), "quiet_s": float("inf")}
    assert not reading.ask(-1, **never)
    assert reading.ask(1, **never)


@pytest.mark.parametrize("silent", [float("-inf"), -600.0])
def test_who_tells_nothing_leaves_it_to_the_timer(silent: float) -> None:
    reading = Reading(now())
    assert not reading.ask(-1, silent)
    assert not reading.ask(1, silent)


def test_history_waits_for_full_ranges() -> None:
    reading = Reading(now() - 86_400)
    assert not reading.ask(-1, -1)
    assert not reading.ask(1, 1)
