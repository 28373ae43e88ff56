"""Measures of customer value as rows of the table `value_measures`."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from streams.value.periods import Period
from streams.value.published import ValueMeasure

MEASURE_COLUMNS: Final = ("since", "until", "month", "measured_at", *ValueMeasure._fields)


def measure_rows(period: Period, measured_at: datetime, measures: Iterable[ValueMeasure]) -> Iterator[list[Any]]:
    """Return the rows of a period, in the order of `MEASURE_COLUMNS`."""
    since, until = (datetime.fromtimestamp(at, UTC) for at in (period.since, period.until))
    for one in measures:
        yield [since, until, period.month, measured_at, *one]
