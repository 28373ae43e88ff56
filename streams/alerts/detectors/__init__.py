"""
Detectors: is it trouble, or is it noise. One pure function per method, all called through `detect`.

Each sees a series as of one closed minute and gives a verdict; what it must remember it returns and is given back with
the next minute. States are plain records that come back the same from msgpack and JSON.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import msgspec

from streams.alerts.detectors.cusum import CusumState, cusum, learnt_before
from streams.alerts.detectors.ewma import EwmaState, ewma
from streams.alerts.detectors.mix import mix_shift
from streams.alerts.detectors.params import Absence, BurnRate, Cusum, Ewma, Floor, MixShift, Params, Seasonal, ZTest
from streams.alerts.detectors.usual import AbsenceState, absence, seasonal
from streams.alerts.detectors.windows import ZState, burn_rate, floor, largest_burn, ztest
from streams.alerts.facts import Expected, Facts, SeriesReading
from streams.alerts.types import Verdict

__all__ = [
    "Expected",
    "Facts",
    "Memory",
    "Reading",
    "detect",
    "largest_burn",
    "restore",
    "windows_needed",
    "without_evidence",
]

Memory: TypeAlias = CusumState | EwmaState | ZState | AbsenceState | None
"""What a detector remembers of a series; None is nothing."""

_MEMORIES: Final[dict[type[Params], Any]] = {
    Cusum: CusumState, Ewma: EwmaState, ZTest: ZState, Absence: AbsenceState,
}  # fmt: skip


def detect(params: Params, facts: Facts, window: str, reading: SeriesReading, memory: Memory) -> tuple[Verdict, Memory]:
    """
    Judge one series as of a closed minute.

    Args:
        params: Of the rule's method.
        facts: Of its KPI.
        window: Its window, by name.
        reading: The series.
        memory: What the last call returned; None at the beginning.

    Raises:
        TypeError: The method or the memory is unknown.
        KeyError: A window is not kept.
    """
    match params:
        case Floor():
            return floor(params, facts, window, reading), None
        case Cusum():
            assert memory is None or isinstance(memory, CusumState)
            return cusum(params, facts, window, reading, memory)
        case ZTest():
            assert memory is None or isinstance(memory, ZState)
            return ztest(params, facts, window, reading, memory)
        case BurnRate():
            return burn_rate(params, facts, reading), None
        case Absence():
            assert memory is None or isinstance(memory, AbsenceState)
            return absence(params, window, reading, memory)
        case Seasonal():
            return seasonal(params, facts, window, reading), None
        case Ewma():
            assert memory is None or isinstance(memory, EwmaState)
            return ewma(params, facts, window, reading, memory)
        case MixShift():
            return mix_shift(params, facts, window, reading), None
        case _:
            raise TypeError(f"no detector takes {type(params).__name__}")


def restore(params: Params, plain: Any) -> Memory:
    """
    Return a memory from what it was decoded to: lists and numbers.

    Raises:
        msgspec.ValidationError: It is the memory of another method.
    """
    kind = _MEMORIES.get(type(params))
    if plain is None or kind is None:
        return None
    memory: Memory = plain if isinstance(plain, kind) else msgspec.convert(plain, kind)
    return memory


def without_evidence(memory: Memory) -> Memory:
    """
    Return a memory that holds nothing against its series; what is normal stays known.

    The reference of a z-test stays too: it is no evidence, and is held against data that is new.
    """
    match memory:
        case CusumState(normal=normal):
            return CusumState(normal=normal)
        case EwmaState(normal=normal):
            return EwmaState(normal=normal)
        case _:
            return memory


def windows_needed(params: Params, window: str) -> frozenset[str]:
    """Return the names of the kept windows that a detector reads."""
    names: Iterable[str]
    match params:
        case BurnRate():
            names = (params.long, params.short)
        case Cusum():
            names = (window, params.baseline, learnt_before(window)) if params.baseline else (window,)
        case ZTest() | Ewma() | Absence() | MixShift():
            names = (window, params.baseline)
        case Seasonal():
            names = (window, "24h")
        case _:
            names = (window,)
    return frozenset(names)
