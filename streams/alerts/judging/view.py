"""Closed minutes of a merge partition as a judge reads them."""

from __future__ import annotations

from collections.abc import Mapping

from streams.alerts.types import SourceHealth
from streams.kpis.rolling.closed import ClosedMinute, OpenMinutes


class MinuteView:
    """A closed minute as the judge wants it."""

    def __init__(self, closed: ClosedMinute) -> None:
        self.minute = closed.minute
        self.series = closed.series
        self.in_minute = closed.in_minute
        self.window = closed.window
        self._lately = closed.lately

    def sources(self) -> Mapping[str, SourceHealth]:
        """Return the health of every source that was ever heard of, by name."""
        return {
            name: SourceHealth(name.partition("/")[0], lately.silent_minutes, lately.read, lately.bad)
            for name, lately in self._lately().items()
        }


class AheadView(MinuteView):
    """The newest closed minute, with what has come since."""

    def __init__(self, open_: OpenMinutes) -> None:
        super().__init__(open_.closed)
        self.ahead = open_.ahead
        self._lately = open_.lately
        self.window = open_.window
        self.latest = open_.latest
