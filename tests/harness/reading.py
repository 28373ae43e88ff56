"""One series played to a detector, minute by minute; kinds of KPIs, and samples of them."""

from collections.abc import Iterable, Mapping
from typing import Any

from streams.alerts.detectors import Detector
from streams.alerts.facts import Expected, Facts, length_of
from streams.alerts.types import SourceHealth, Verdict
from streams.kpis.arithmetic.accumulators import Acc, cleared, copy_acc, is_empty, merge_acc, subtract_acc
from streams.kpis.arithmetic.sketch import bin_of, rank_of, value_at

SHARE = Facts("ratio", "up", "percent")
LOSS = Facts("ratio", "down", "percent")
SCORE = Facts("mean", "up", "score", 1000)
WAIT = Facts("mean", "down", "seconds", 1000)
NPS = Facts("nps", "up", "points")
COUNT = Facts("count", "none", "count")
P95 = Facts("quantile", "down", "seconds", 1000, 0.95)


class Played:
    """A reading whose windows are kept as the merge keeps them: by adding what comes and taking out what leaves."""

    def __init__(self, names: Iterable[str], minute: int = -1) -> None:
        self.minute = minute
        self.usual: Expected | None = None
        self.health: dict[str, SourceHealth] = {}
        self.by_label: dict[tuple[str, str], dict[str, Acc]] = {}
        self._lengths = {name: length_of(name) for name in names}
        self._sums: dict[str, Acc] = {}
        self._minutes: dict[int, Acc] = {}
        self._longest = max(self._lengths.values(), default=0)

    def play(self, acc: Acc | None) -> None:
        """Close one more minute."""
        self.minute += 1
        if acc is not None:
            self._minutes[self.minute] = acc
        for name, length in self._lengths.items():
            known = self._sums.get(name)
            if acc is not None:
                if known is None:
                    known = self._sums[name] = cleared(acc)
                merge_acc(known, acc)
            gone = self._minutes.get(self.minute - length)
            if gone is not None and known is not None:
                subtract_acc(known, gone)
        self._minutes.pop(self.minute - self._longest, None)

    def in_minute(self) -> Acc | None:
        return self._minutes.get(self.minute)

    def window(self, name: str) -> Acc | None:
        found = self._sums.get(name)
        if name not in self._lengths:
            raise KeyError(name)
        return None if found is None or is_empty(found) else found

    def set_window(self, name: str, acc: Acc | None) -> None:
        self._lengths[name] = length_of(name)
        if acc is None:
            self._sums.pop(name, None)
        else:
            self._sums[name] = copy_acc(acc)

    def parts(self, label: str, window: str) -> Mapping[str, Acc]:
        return self.by_label.get((label, window), {})

    def expected(self, window: str) -> Expected | None:
        return self.usual

    def sources(self) -> Mapping[str, SourceHealth]:
        return self.health


def verdicts(params: Detector, facts: Facts, window: str, reading: Played, accs: Iterable[Acc | None]) -> list[Verdict]:
    """Judge every minute of a series."""
    memory, found = None, []
    for acc in accs:
        reading.play(acc)
        verdict, memory = params.judge(facts, window, reading, memory)
        found.append(verdict)
    return found


def standing(minute: int = 100_000, usual: Expected | None = None, **windows: Acc | None) -> Played:
    """A reading of one minute; windows as `w1h=[n, hits]`."""
    reading = Played((), minute)
    for name, acc in windows.items():
        reading.set_window(name.removeprefix("w"), acc)
    reading.usual = usual
    return reading


def judge(params: Detector, facts: Facts, window: str, reading: Played, memory: Any = None) -> Verdict:
    """Judge one minute."""
    return params.judge(facts, window, reading, memory)[0]


def mean_of(values: Iterable[float]) -> list[int]:
    """What a mean keeps of values."""
    steps = [round(1000 * value) for value in values]
    return [len(steps), sum(steps), sum(step * step for step in steps)]


def bins_of(values: Iterable[float]) -> dict[int, int]:
    """What a quantile keeps of values."""
    bins: dict[int, int] = {}
    for value in values:
        add_value(bins, round(1000 * value))
    return bins


def add_value(bins: dict[int, int], steps: int) -> None:
    """Count one quantised value."""
    index = bin_of(steps)
    bins[index] = bins.get(index, 0) + 1


def quantile(bins: Mapping[int, int], q: float, scale: int = 1) -> float | None:
    """Return the quantile `q` in units of `scale` steps, None when there is no value."""
    n = sum(bins.values())
    return value_at(bins, rank_of(q, n), scale) if n else None
