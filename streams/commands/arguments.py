"""What commands take: moments, lengths of time, KPIs and incidents, each read and completed in one way."""

import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from math import isfinite
from typing import Any, Final, NamedTuple

import click
from click.shell_completion import CompletionItem

from streams.kpis.language.lengths import window_minutes
from streams.settings import load

_AGO: Final = re.compile(r"-(\d{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DAYS: Final = {"today": 0, "yesterday": 1}
EARLIEST: Final = datetime(1990, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
"""What is outside can be in no store: a mistake, or a year of another calendar."""
_EXPECTED: Final = "2026-03-01, 2026-03-01T09:30, 2026-03-01T09:30+03:30, now, today, yesterday, -15m, -2h or -7d"


class When(NamedTuple):
    """A moment as it was asked for: one of the calendar, or so long before now."""

    at: datetime | None = None
    ago: timedelta | None = None
    days_back: int = 0

    def moment(self, zone: tzinfo = UTC) -> datetime:
        """Return the moment in UTC; days, and times without an offset, are those of `zone`."""
        now = datetime.now(UTC)
        if self.ago is not None:
            return now - self.ago
        if self.at is None:
            day = now.astimezone(zone).date() - timedelta(days=self.days_back)
            return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
        return (self.at.replace(tzinfo=zone) if self.at.tzinfo is None else self.at).astimezone(UTC)


class MomentType(click.ParamType):
    """A moment: of the calendar, or before now."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> When:
        """Read a moment in ASCII, Persian or Arabic digits; refuse what is none, with what is expected."""
        if isinstance(value, When):
            return value
        try:
            when = _when(_with_ascii_digits(str(value)).strip())
        except ValueError:
            self.fail(f"{value!r} is no moment; expected e.g. {_EXPECTED}", param, ctx)
        try:
            stored = EARLIEST <= when.moment() <= LATEST
        except OverflowError:
            stored = False
        if not stored:
            span = f"{EARLIEST:%Y} to {LATEST:%Y}"
            self.fail(f"{value!r} is too far away: expected a moment from {span}, Gregorian", param, ctx)
        return when

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Offer the words."""
        return _beginning(incomplete, ("now", "today", "yesterday", "-1h", "-24h", "-7d"))


class NumberRange(click.FloatRange):
    """A number, within bounds if there are any; NaN and infinity are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; refuse what is none, or outside."""
        number = super().convert(value, param, ctx)
        if not isfinite(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number

    def _describe_range(self) -> str:
        return super()._describe_range() if self.min is not None or self.max is not None else ""


class WindowType(click.ParamType):
    """A length of time in whole minutes."""

    name = "length"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the minutes of `15m`, `24h`, `7d`."""
        if isinstance(value, int):
            return value
        try:
            return window_minutes(_with_ascii_digits(str(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class MonthType(click.ParamType):
    """A month of whatever calendar: `2026-03`, `1404-12`."""

    name = "month"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return year and month in ASCII digits, whatever digits they are given in."""
        text = _with_ascii_digits(str(value)).strip()
        if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text):
            self.fail(f"{value!r} is no month; expected year and month, e.g. 2026-03 or 1404-12", param, ctx)
        return text


class IncidentType(click.ParamType):
    """An incident of the simulator; refused before anything starts if it is none."""

    name = "incident"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, in which the simulator finds no fault."""
        from streams.producers.incidents import IncidentError, parse_incident  # noqa: PLC0415 - brings Kafka's client

        try:
            parse_incident(str(value), datetime.now(UTC))
        except IncidentError as error:
            self.fail(str(error), param, ctx)
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Offer the kinds."""
        from streams.producers.incidents import KINDS  # noqa: PLC0415 - brings Kafka's client

        return [CompletionItem(f"{kind}@", help=text) for kind, text in KINDS.items() if kind.startswith(incomplete)]


class KpiIdType(click.ParamType):
    """The id of a KPI; whether there is one is for the command to say."""

    name = "kpi"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Offer those that are defined."""
        from streams.definitions import kpis_of  # noqa: PLC0415 - only completion needs it

        kpis = kpis_of(load())
        return [CompletionItem(kpi.id, help=kpi.name) for kpi in kpis if kpi.id.startswith(incomplete)]


class AlertType(click.ParamType):
    """The name of an alert rule; whether there is one is for the command to say."""

    name = "alert"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Offer those that are defined."""
        from streams.commands.rules import load_book  # noqa: PLC0415 - only completion needs it

        return [
            CompletionItem(rule.alert, help=rule.kpi.name) for rule in load_book() if rule.alert.startswith(incomplete)
        ]


def _when(text: str) -> When:
    if text in _DAYS:
        return When(days_back=_DAYS[text])
    if text == "now":
        return When(ago=timedelta())
    if found := _AGO.fullmatch(text):
        return When(ago=timedelta(**{_UNITS[found[2]]: int(found[1])}))
    return When(at=datetime.fromisoformat(text))


def _beginning(incomplete: str, words: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _with_ascii_digits(text: str) -> str:
    return "".join(str(unicodedata.decimal(letter, letter)) for letter in text)
