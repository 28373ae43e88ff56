"""The course of a KPI by steps of time, asked as a user who can only read: exact, whatever zone the steps follow."""

import itertools
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from streams.kpis.language.steps import Steps
from streams.storage.connection import Address, PermanentStorageError
from streams.storage.queries import NOTE, Answer, run_query

COLUMNS: Final = ("time", "until", "zone", "labels", "stat", "value", "lo", "hi", "n", "maturity", "step", "note")
"""
Of the answer; with another calendar than the Gregorian one a `date` by it comes after `until`.

`note` says why a value or its interval is missing.
"""

MOST_STEPS: Final = 100_000
"""Steps in one answer, at most."""

Run: TypeAlias = tuple[int, int, int]
"""The first of some bounds, the end, and how far they are apart."""

_STORED: Final = """
    SELECT count(), toUnixTimestamp(min(minute)), toUnixTimestamp(max(minute)) FROM kpi_minutes
    WHERE kpi = {kpi:String} AND by = {by:String} AND minute >= {from:DateTime('UTC')} AND minute < {to:DateTime('UTC')}
"""
_TREND: Final = """
    SELECT toUnixTimestamp(time), labels, stat, value, lo, hi, n, maturity, @note
    FROM kpi_steps(kpi = {kpi:String}, from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')}, step = {step:UInt32},
        bounds = (
            SELECT arrayFlatten(arrayMap(r -> range(r.1, r.2, r.3), {runs:Array(Tuple(UInt32, UInt32, UInt32))}))))
    WHERE by = {by:String} ORDER BY labels, stat, time
"""


def runs_of(bounds: Sequence[int]) -> list[Run]:
    """Write rising bounds as runs of even distance: those of years of days are as many as clock changes."""
    runs: list[Run] = []
    for at in bounds:
        if runs:
            begin, end, apart = runs[-1]
            if begin + apart == end:  # one bound: the next one says how far they are apart
                runs[-1] = (begin, at + at - begin, at - begin)
                continue
            if at == end:
                runs[-1] = (begin, at + apart, apart)
                continue
        runs.append((at, at + 1, 1))
    return runs


def run_series(
    kpi: str, by: str, since: int, until: int, steps: Steps, address: Address, *, timeout_s: float = 60.0
) -> Answer:
    """
    Ask for a KPI per step between two moments (Unix seconds): what the minutes of each step add up to.

    A step that begins before `since` or ends after `until` is there as far as it lies between them, and says `cut`.

    Raises:
        PermanentStorageError: The question cannot be answered, or is for more than `MOST_STEPS` steps.
        UnreachableError: No answer, or not within `timeout_s`.
    """
    asked = {"kpi": kpi, "by": by}
    [[stored, first, last]] = run_query(_STORED, {**asked, **_span(since, until)}, address, timeout_s=timeout_s).rows
    jalali = steps.calendar != "gregorian"
    columns = (*COLUMNS[:2], *(("date",) if jalali else ()), *COLUMNS[2:])
    if not int(stored):
        return Answer(columns, [])
    bounds = steps.bounds(max(since, int(first)), min(until, int(last) + 60))
    if len(bounds) > MOST_STEPS:
        raise PermanentStorageError(
            f"{len(bounds) - 1:,} steps are asked for, at most {MOST_STEPS:,} are given: take longer steps or less time"
        )
    span = _span(max(since, bounds[0]), min(until, bounds[-1]))
    # Steps of even length need no list, which takes its time where it is long.
    even = steps.fixed_s(bounds[0], bounds[-1])
    given = {"step": even or 0, "runs": [] if even else runs_of(bounds)}
    answer = run_query(_TREND.replace("@note", NOTE), {**asked, **span, **given}, address, timeout_s=timeout_s)
    ends = dict(itertools.pairwise(bounds))
    rows: list[Sequence[Any]] = []
    for at, *row, note in answer.rows:
        begin, end = max(since, int(at)), min(until, ends[int(at)])
        whole = "whole" if (begin, end) == (int(at), ends[int(at)]) else "cut"
        dated = (steps.day(begin),) if jalali else ()
        rows.append((steps.label(begin), steps.label(end), *dated, steps.zone, *row, whole, note))
    return Answer(columns, rows)


def _span(since: int, until: int) -> dict[str, str]:
    # Ten digits are read as Unix seconds.
    return {"from": f"{since:010}", "to": f"{until:010}"}
