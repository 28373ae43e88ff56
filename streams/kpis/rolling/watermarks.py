"""
The watermark of a merge partition: the time before which every source has said what it has to say.

A function of what sources reported and of the `now` passed in; nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

HISTORY_S: Final = 300.0
"""Event time this far behind the clock is history."""

STEP_S: Final = 120.0
"""Whoever asks does so every moment: a longer step, forth or back, is a clock that was set, or a process that slept."""


class SourceReport(msgspec.Struct, array_like=True):
    """The latest a source said about itself."""

    watermark: float | None
    caught_up: bool


class Watermarks:
    """
    Minimum over the sources that may still send older events.

    | source | holds the watermark |
    |---|---|
    | not caught up | at its own watermark, however long it is silent |
    | caught up, had something new within `idle_s` | at its own watermark |
    | caught up, nothing new for `idle_s` | not at all |
    | expected, never heard of | where it is, for `grace_s` after the start |

    When all are silent, event time goes on as fast as `now` from where the newest source stopped: a quiet night closes
    its minutes as well. The watermark never goes back.

    When `now` jumps, silence is measured anew: it closes no minute that nobody has waited for.
    """

    def __init__(self, *, idle_s: float, grace_s: float, expected: Iterable[str] = ()) -> None:
        self.value: float | None = None
        self.sources: dict[str, SourceReport] = {}
        self._idle_s = idle_s
        self._grace_s = grace_s
        self._expected = frozenset(expected)
        self._news: set[str] = set()
        self._heard: dict[str, float] = {}
        self._started: float | None = None
        self._quiet_since: float | None = None
        self._asked: float | None = None

    @property
    def catching_up(self) -> bool:
        """Return whether a source still reads what has waited."""
        return not all(report.caught_up for report in self.sources.values())

    def reads_history(self, now: float) -> bool:
        """
        Return whether what is read at `now` (Unix s) has waited for long, so that nobody waits for it.

        Under load a source is `catching_up` for moments: that is no history.
        """
        return self.catching_up and (self.value is None or now - self.value > HISTORY_S)

    def reported(self, now: float) -> float | None:
        """
        Return what all sources that are not idle at `now` (Unix s) have reached by their own account.

        None while the time of one of them is unknown, and while an expected source has never been heard of.
        """
        if not self._expected <= self.sources.keys():
            return None
        reported = [
            report.watermark
            for source, report in self.sources.items()
            if source in self._news or not self._is_idle(source, report, now)
        ]
        known = [watermark for watermark in reported if watermark is not None]
        return min(known) if known and len(known) == len(reported) else None

    def report(self, source: str, watermark: float | None, caught_up: bool, *, active: bool = False) -> None:
        """
        Take note of what a source says; an older watermark than before changes nothing.

        A source without events repeats itself. That is no news of it, unless it was `active`: sent records.
        """
        known = self.sources.get(source)
        if known is not None and known.watermark is not None:
            watermark = known.watermark if watermark is None else max(watermark, known.watermark)
        report = SourceReport(watermark, caught_up)
        if active or report != known:
            self._news.add(source)
        self.sources[source] = report

    def restore(self, value: float | None, sources: dict[str, SourceReport]) -> None:
        """Take over what was saved; the silence of sources is measured anew."""
        self.value = value
        self.sources = sources

    def advance(self, now: float) -> float | None:
        """Return the watermark at `now` (unix seconds), None before anything is known."""
        if self._started is None:
            self._started = now
        if self._asked is not None and abs(now - self._asked) > STEP_S:
            self._heard = dict.fromkeys(self.sources, now)
            self._quiet_since = None
        self._asked = now
        self._heard.update(dict.fromkeys(self._news | (self.sources.keys() - self._heard.keys()), now))
        self._news.clear()
        awake = [report for source, report in self.sources.items() if not self._is_idle(source, report, now)]
        if awake or not self.sources:
            self._quiet_since = None
        if self._awaits(now) or any(report.watermark is None and not report.caught_up for report in awake):
            return self.value
        holding = [report.watermark for report in awake if report.watermark is not None]
        if holding:
            self._raise_to(min(holding))
        elif not awake:
            self._go_on(now)
        return self.value

    def _awaits(self, now: float) -> bool:
        """Return whether an expected source may still be starting."""
        started = now if self._started is None else self._started
        return now - started < self._grace_s and not self._expected <= self.sources.keys()

    def _is_idle(self, source: str, report: SourceReport, now: float) -> bool:
        return report.caught_up and now - self._heard.get(source, now) >= self._idle_s

    def _go_on(self, now: float) -> None:
        """Let event time pass while every source is silent."""
        known = [report.watermark for report in self.sources.values() if report.watermark is not None]
        if not known:
            return
        self._raise_to(max(known))
        if self._quiet_since is not None and self.value is not None:
            self.value += max(0.0, now - self._quiet_since)
        self._quiet_since = now

    def _raise_to(self, watermark: float) -> None:
        self.value = watermark if self.value is None else max(self.value, watermark)
