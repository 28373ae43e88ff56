"""Closed minutes of one merge partition, made by hand: what a judge reads, without merge, Kafka or a store."""

from collections.abc import Iterable, Mapping, Sequence

from streams.alerts.judging.judge import Judge
from streams.alerts.types import SourceHealth, Transition
from streams.kpis.arithmetic.accumulators import Acc, copy_acc, is_empty, merge_acc, subtract_acc
from streams.kpis.language.lengths import WINDOWS, window_minutes
from streams.kpis.language.series import parse_series


class Ahead:
    """The newest closed minute and what has come of the next one; windows hold both."""

    def __init__(
        self, closed: "Closed", series: Mapping[str, Acc], health: Iterable[SourceHealth] | None = None, ahead: int = 1
    ) -> None:
        self.minute, self.ahead = closed.minute, ahead
        self.series, self.in_minute, self.sources = closed.series, closed.in_minute, closed.sources
        self._closed, self._series = closed, series
        if health is not None:
            parts = {f"{part.channel}/0": part for part in health}
            self.sources = lambda: parts

    def latest(self, key: str, minutes: int) -> Acc | None:
        found = [self._series.get(key), *(self._closed.minutes_of(key, minutes - 1))]
        held = [copy_acc(acc) for acc in found if acc is not None]
        for acc in held[1:]:
            merge_acc(held[0], acc)
        return held[0] if held else None

    def window(self, key: str, name: str) -> Acc | None:
        before, since = self._closed.window(key, name), self._series.get(key)
        if before is None or since is None:
            return before or since
        both = copy_acc(before)
        merge_acc(both, since)
        return both


def look(judge: Judge, view: "Closed | Ahead") -> list[Transition]:
    """Have a judge look at a view, and return its transitions."""
    return judge.glance(view) if isinstance(view, Ahead) else judge.step(view)


class Closed:
    """A view that is turned from minute to minute; windows are running sums, as in the merge."""

    def __init__(self, windows: Iterable[str] = WINDOWS) -> None:
        self.minute = -1
        self._lengths = {name: window_minutes(name) for name in windows}
        self._sums: dict[str, dict[str, Acc]] = {name: {} for name in (*self._lengths, "total")}
        self._minutes: dict[int, Mapping[str, Acc]] = {}
        self._known: dict[str, list[str]] = {}
        self._health: dict[str, SourceHealth] = {}

    def close(self, minute: int, series: Mapping[str, Acc], health: Iterable[SourceHealth] = ()) -> "Closed":
        """Move on to a minute and what it holds; minutes in between hold nothing."""
        assert minute > self.minute
        for name, length in self._lengths.items():
            for gone in [m for m in self._minutes if self.minute - length < m <= minute - length]:
                for key, acc in self._minutes[gone].items():
                    subtract_acc(self._sums[name][key], acc)
        self.minute = minute
        self._minutes[minute] = series
        for key, acc in series.items():
            kpi = parse_series(key)[0]
            if key not in self._sums["total"]:
                self._known.setdefault(kpi, []).append(key)
            for sums in self._sums.values():
                if key in sums:
                    merge_acc(sums[key], acc)
                else:
                    sums[key] = acc.copy()
        longest = max(self._lengths.values())
        self._minutes = {m: held for m, held in self._minutes.items() if m > minute - longest}
        self._health = {f"{part.channel}/{number}": part for number, part in enumerate(health)}
        return self

    def series(self, kpi: str) -> Sequence[str]:
        return self._known.get(kpi, [])

    def in_minute(self, key: str) -> Acc | None:
        return self._minutes[self.minute].get(key)

    def minutes_of(self, key: str, count: int) -> list[Acc | None]:
        """What the last minutes hold of a series, each of them."""
        return [self._minutes.get(self.minute - back, {}).get(key) for back in range(count)]

    def window(self, key: str, name: str) -> Acc | None:
        acc = self._sums[name].get(key)
        return None if acc is None or is_empty(acc) else acc

    def sources(self) -> Mapping[str, SourceHealth]:
        return self._health
