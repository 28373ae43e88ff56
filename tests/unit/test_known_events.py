"""A public series with known events: the seasonal band finds them all, and tells of nothing in between."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from streams.alerts.detectors.seasonal import Seasonal
from streams.alerts.facts import Facts
from streams.alerts.judging.baseline import Week, learn
from streams.alerts.rules.calendars import Calendar
from streams.kpis.arithmetic.accumulators import Acc
from tests.harness.reading import standing

TAXIS: Final = Path(__file__).parent.parent / "golden" / "taxi_new_york.txt"
START: Final = int(datetime(2014, 7, 1, tzinfo=UTC).timestamp()) // 3600
WEEK: Final = Week(Calendar("new-york", UTC, "", 6, frozenset({5, 6}), ()))
"""Hours are local ones as they were noted down, so there is no zone to reckon with."""

WEEKS: Final = 6
JUDGED_FROM: Final = 7 * WEEKS
"""Days that are only learnt from."""

EVENTS: Final = {
    "the marathon, and clocks set back": (date(2014, 10, 30), date(2014, 11, 3)),
    "Thanksgiving": (date(2014, 11, 25), date(2014, 11, 29)),
    "Christmas": (date(2014, 12, 23), date(2014, 12, 27)),
    "New Year": (date(2014, 12, 29), date(2015, 1, 3)),
    "a snow storm": (date(2015, 1, 24), date(2015, 1, 29)),
}
"""As the benchmark has them, by whole days."""

HOLIDAYS: Final = {date(2014, 9, 1), date(2014, 10, 13), date(2014, 11, 11), date(2015, 1, 19)}
"""Other public holidays, which are no news: a calendar of the country would say so."""


def passengers() -> list[int]:
    lines = TAXIS.read_text(encoding="utf-8").splitlines()
    return [int(text) for line in lines if not line.startswith("#") for text in line.split()]


def unusual_days() -> set[date]:
    """Judge hour after hour by what was usual until the evening before; the days of falls, nights being the day before's."""
    facts = Facts("count", "up", "count")
    counts, found = passengers(), set()
    for day in range(JUDGED_FROM, len(counts) // 24):
        until = START + 24 * day
        rows: list[tuple[int, Acc]] = [
            (3600 * (until - back), [counts[24 * day - back]]) for back in range(24 * JUDGED_FROM, 0, -1)
        ]
        usual = learn(facts, rows, WEEK, until=3600 * until, weeks=WEEKS)
        assert usual is not None
        for hour in range(24):
            at = until + hour
            reading = standing(usual=usual.expected(60 * at + 59, 60), w1h=[counts[at - START]])
            if Seasonal(weeks=WEEKS).judge(facts, "1h", reading, None)[0].breach:
                found.add(datetime.fromtimestamp(3600 * (at - 5), UTC).date())
    return found


def test_known_events_are_found_and_nothing_in_between() -> None:
    days = unusual_days()
    for name, (first, last) in EVENTS.items():
        assert any(first <= day <= last for day in days), name
    between = {day for day in days if not any(first <= day <= last for first, last in EVENTS.values())}
    assert between <= HOLIDAYS
