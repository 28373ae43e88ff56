"""Parts of the oracle of relations: which events, what is kept of them, working time. None of the product."""

import fnmatch
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta
from functools import cache
from itertools import pairwise
from math import floor
from typing import Any
from zoneinfo import ZoneInfo

import holidays

from tests.harness.conditions_oracle import MISSING, asked

Event = dict[str, Any]
ATTRIBUTES = (
    "channel", "touchpoint", "stage", "sessionid", "journeyid", "orderid", "contactid", "unitid", "agentid", "segment",
    "region", "experiment", "variant", "synthetic", "traceid",
)  # fmt: skip
UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def length(text: str | None) -> int:
    return int(text[:-1]) * UNITS[text[-1]] if text else 0


def seconds(milliseconds: int) -> float:
    return milliseconds / 1000


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


class Clock:
    """Opening hours, looked at minute by minute of no day: by their moments."""

    def __init__(self, block: dict[str, Any]) -> None:
        self.zone = ZoneInfo(block["zone"])
        self.shut = {str(day) for day in block.get("holidays", [])}
        self.public = holidays.country_holidays(block["country"]) if "country" in block else {}
        self.hours: dict[int, list[str]] = {}
        for days, times in block["hours"].items():
            first, *rest = (
                next(i for i, name in enumerate(WEEK) if name[:3] == d.strip()[:3]) for d in days.split("-")
            )
            for step in range((rest[0] - first) % 7 + 1 if rest else 1):
                self.hours.setdefault((first + step) % 7, []).extend(listed(times))

    @cache  # noqa: B019 - as long as a test
    def day(self, day: date) -> list[tuple[int, int]]:
        if str(day) in self.shut or day in self.public:
            return []
        found = []
        for text in self.hours.get(day.weekday(), []):
            ends = [int(part[:2]) * 60 + int(part[3:]) for part in text.replace(" ", "").split("-")]
            found.append(tuple(self.moment(day, minute) for minute in ends))
        return sorted(found)

    def moment(self, day: date, minute: int) -> int:
        wall = datetime(day.year, day.month, day.day, tzinfo=self.zone) + timedelta(days=minute // 1440)
        wall = wall.replace(hour=minute % 1440 // 60, minute=minute % 60)
        return round(wall.timestamp() * 1000)

    def between(self, start: int, end: int) -> int:
        total, day = 0, datetime.fromtimestamp(start / 1000, self.zone).date()
        while start < end and self.moment(day, 0) < end:
            total += sum(max(0, min(until, end) - max(since, start)) for since, until in self.day(day))
            day += timedelta(days=1)
        return total

    def after(self, start: int, wanted: int) -> int:
        day = datetime.fromtimestamp(start / 1000, self.zone).date()
        while True:
            for since, until in self.day(day):
                worked = max(0, until - max(since, start))
                if 0 < wanted <= worked:
                    return max(since, start) + wanted
                wanted -= worked
            day += timedelta(days=1)


class Which:
    """Which events are meant."""

    def __init__(self, block: dict[str, Any], known: list[str]) -> None:
        self.types = {name for pattern in listed(block["events"]) for name in fnmatch.filter(known, pattern)}
        self.where = asked(block["where"]) if "where" in block else lambda _: True

    def __call__(self, event: Event, kept: dict[str, Any] = {}) -> bool:  # noqa: B006 - read only
        return (
            event["type"] in self.types and self.where({**event, **{f"kept_{k}": v for k, v in kept.items()}}) is True
        )


class Kept:
    """What is kept under a name."""

    def __init__(self, name: str, block: dict[str, Any], known: list[str], of: Callable[..., bool]) -> None:
        self.name, self.how, self.back = name, block["take"], length(block.get("within") or block.get("before"))
        self.since = length(block.get("since"))
        self.itself = block.get("itself", False)
        self.of = Which(block, known) if "events" in block else of
        self.value = asked(str(block["value"])) if "value" in block else lambda _: True

    def come_to(self, events: Iterable[Event], now: int) -> Any:
        """Return what it comes to on events in order; MISSING: nothing."""
        taken = [(e["time"], v) for e in events if self.of(e) and (v := self.value(e)) is not MISSING]
        values = [value for _, value in taken]
        match self.how:
            case "count":
                return len(values)
            case "sum":
                return sum(floor(value * 1000 + 0.5) for value in values) / 1000
            case "distinct":
                return min(100, len(set(values)))
            case "changes":
                return sum(1 for former, latter in pairwise(values) if former != latter)
        if not values:
            return MISSING
        match self.how:
            case "min":
                return min(values)
            case "max":
                return max(values)
            case "since_first" | "since_last":
                return seconds(now - taken[0 if self.how == "since_first" else -1][0])
        return values[0 if self.how == "first" else -1]


class Relation:
    """What all kinds have: events of one matter at a time, in order."""

    def __init__(self, block: dict[str, Any], known: list[str], clocks: dict[str, Clock]) -> None:
        self.id = block["id"]
        self.by = [name for name in listed(block.get("by", [])) if name != "subject"]
        self.clock = clocks.get(block.get("clock", ""))
        self.ranks: dict[str, int] = {}
        self.keeps: list[Kept] = []

    def keep(self, block: dict[str, Any], known: list[str], of: Callable[..., bool]) -> None:
        self.keeps = [Kept(name, given, known, of) for name, given in block.get("keeps", {}).items()]
        for kept in self.keeps:
            for name in getattr(kept.of, "types", ()):
                self.ranks.setdefault(name, 1 if block["kind"] != "stages" else 0)

    def groups(self, events: Iterable[Event]) -> Iterator[list[Event]]:
        groups: dict[tuple[Any, ...], list[Event]] = {}
        for event in events:
            key = tuple(event.get(name) for name in self.by)
            if event["type"] in self.ranks and None not in key:
                groups.setdefault((event["subject"], event.get("synthetic", False), *key), []).append(event)
        for group in groups.values():
            yield sorted(group, key=lambda e: (e["time"], self.rank(e), e["source"], e["id"]))

    def rank(self, event: Event) -> int:
        return self.ranks[event["type"]]

    def common(self, event: Event, said: dict[str, Any]) -> dict[str, Any]:
        """Return all that a result says: its event's attributes, what tells matters apart, and its own."""
        named = {name: event[name] for name in (*ATTRIBUTES, *self.by) if name in event}
        return {**named, **{name: value for name, value in said.items() if value is not MISSING}}


def before(kept: Kept, events: list[Event], place: int) -> Any:
    """Return what came before an event, and perhaps itself."""
    now = events[place]["time"]
    past = [e for e in events[:place] if e["time"] >= now - kept.back]
    return kept.come_to([*past, events[place]] if kept.itself else past, now)
