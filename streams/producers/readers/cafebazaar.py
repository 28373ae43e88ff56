"""
Cafe Bazaar: Persian reviews of bank apps in Iran's app store.

A review has a Jalali date in Persian digits and no time of day: it is placed within two hours of noon in Tehran,
where in them its id decides, and marked `timeimputed`. Text is passed on as written.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from streams.events.families.awareness import ReviewPublished
from streams.events.mending import what_is_seen
from streams.producers.readers.base import (
    BadRowError,
    DataSet,
    Made,
    Origin,
    ReadReport,
    rows_of,
    spread,
    whole_of,
)
from streams.producers.readers.jalali import to_gregorian

_NAME = "cafebazaar"
_ORIGIN = Origin(_NAME)
_ZONE = ZoneInfo("Asia/Tehran")
_FROM, _HOURS = time(10), 4
_NEEDED = (
    "id",
    "app_package",
    "app_name",
    "comment",
    "rating",
    "likes",
    "total_votes",
    "date",
    "version_code",
    "from_developer",
    "is_edited",
)


def _events(path: Path, report: ReadReport) -> Iterator[Made]:
    seen: set[str] = set()
    for number, row in rows_of(path, _NEEDED, report):
        review = row["id"]
        if review in seen:
            report.drop("review repeated", number)
            continue
        if row["from_developer"] == "True":
            report.drop("a developer's reply, not a review", number)
            continue
        try:
            at = _moment(row["date"], review)
            published = ReviewPublished(
                scale=5,
                score=whole_of(row["rating"], "rating", least=1, most=5),
                text=row["comment"] or None,
                lang="fa",
                product=row["app_package"] or None,
                version=row["version_code"] or None,
                store="cafebazaar",
                likes=whole_of(row["likes"], "likes"),
                votes=whole_of(row["total_votes"], "total_votes"),
                edited=row["is_edited"] == "True",
            )
        except BadRowError as bad:
            report.drop(str(bad), number)
            continue
        seen.add(review)
        yield _ORIGIN.made(
            number,
            (review,),
            published,
            at,
            subject=f"review-{review}",
            channel="app",
            unitid=row["app_package"],
            touchpoint="app_review",
            timeimputed=True,
        )


def _moment(text: str, review: str) -> datetime:
    """
    Place a review of a Jalali day, yyyy/mm/dd in any digits, near its noon.

    Raises:
        BadRowError: There is no such day.
    """
    try:
        year, month, day = map(int, what_is_seen(text).split("/"))
        date = to_gregorian(year, month, day)
    except ValueError as error:
        raise BadRowError("date is not a Jalali date") from error
    seconds = int(spread(_NAME, review) * _HOURS * 3600)
    return datetime.combine(date, _FROM, _ZONE).astimezone(UTC) + timedelta(seconds=seconds)


CAFEBAZAAR = DataSet(
    name=_NAME,
    title="Cafe Bazaar: Persian reviews of bank apps (Iran, 2024-2025)",
    folder="app_cafebazaar_fa",
    files=("cafe_bazaar_comments_nopii.csv",),
    events=_events,
)
