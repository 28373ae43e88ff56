"""What a merge partition gives to be published: rows by series, in the merge's own terms."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

from streams.kpis.arithmetic.accumulators import Acc

VALUE_FORM: Final = 1
"""
Raised when the same sums make another value or interval than before.

Who takes over from an earlier form publishes all totals again: those of series that nothing comes for would stay.
"""

Maturity: TypeAlias = Literal["open", "closed"]
"""Whether more events are expected."""


class MinuteRow(NamedTuple):
    """All that a part of a minute holds of a series."""

    series: str
    minute: int
    """Unix seconds // 60."""
    part: int
    acc: Acc
    revision: int


class RollingSum(NamedTuple):
    """A rolling sum as of a minute; with an empty accumulator when the series has just fallen out."""

    series: str
    window: str
    at: int
    """End of the window, unix seconds."""
    acc: Acc
    maturity: Maturity
    revision: int
    inputs: tuple[tuple[str, Acc], ...] = ()
    """Of a derived series, which has no accumulator: what the windows of its inputs hold."""
    void: bool = False
    """Whether it has no value although it holds something, see `void`."""


class Outputs(NamedTuple):
    """What is to be published."""

    minutes: list[MinuteRow]
    values: list[RollingSum]
