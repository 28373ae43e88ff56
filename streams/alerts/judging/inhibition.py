"""
What keeps an alert from being delivered: a parent that fires, a channel that cannot be trusted, a calendar, a limit.

An alert that is held fires all the same: its transition says what holds it, and it is delivered as soon as nothing
does and the trouble is still there. One that was delivered stays so until it ends: nobody shall read "resolved" where
only a parent fired.

| held by | while |
|---|---|
| `pipeline` | a channel with a relevant share of the series is silent or spoilt, or was, and that distorts the window |
| `refused` | most of what is missing came, and was refused: other rules tell of that |
| `parent` | a delivered alert of the same KPI fires on a series this one is part of, and is worth as much |
| `alert` | another rule's delivered alert fires on the very same series, and is worth as much |
| `mute` | a calendar of the rule covers the end of the minute |
| `limit` | as many alerts of the rule as it allows have been delivered and fire |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from streams.alerts.facts import length_of
from streams.alerts.judging.sources import HEALTH_MINUTES, ChannelHealth
from streams.alerts.judging.watch import CHANNEL, Index, Subject
from streams.alerts.rules.calendars import Calendar, muted
from streams.alerts.types import ClosedView
from streams.kpis.aggregators import ADDITIVE
from streams.kpis.arithmetic.accumulators import count_of
from streams.kpis.language.lengths import window_end

RELEVANT: Final = 0.1
"""Share of a series' answers that a channel must have for its trouble to matter."""

DISPLACED: Final = 0.05
"""
Weight that what is missing moves from one channel to the others, above which a window's value is not to be trusted.

A difference between channels of 20 points moves the whole by one point then.
"""

MISSING: Final = 0.1
"""Share of a window's volume that is missing, above which a count is not to be trusted."""

TRUSTED_BY: Final = frozenset({"5m", "1h", "24h"})
"""Windows that show what a channel has of a series, and what is missing of it, where they are kept."""

_ENOUGH = 10  # answers that must be missing to tell whether they are
_DAY = "24h"


class Trust:
    """Which series can be trusted as of one minute."""

    def __init__(
        self,
        view: ClosedView,
        channels: Mapping[str, ChannelHealth],
        indexes: Mapping[str, Index],
        kept: Iterable[str],
    ) -> None:
        self._view = view
        self._channels = {name: channel for name, channel in channels.items() if channel.trouble or channel.spans}
        self._troubled = [name for name, channel in channels.items() if channel.trouble]
        self._indexes = indexes
        self._kept = frozenset(kept)
        self._shares: dict[str, dict[str, float] | None] = {}

    def trouble_of(self, subject: Subject) -> str | None:
        """
        Say which channel of a series is in trouble right now, None if none is.

        What tells of records themselves is never in doubt: their trouble is the finding.
        """
        if not self._troubled or subject.watch.rule.kpi.of_pipeline:
            return None
        for name in self._troubled:
            if self._share(subject, name) >= RELEVANT:
                return f"pipeline {name}: {self._channels[name].trouble}"
        return None

    def refused(self, subject: Subject) -> str | None:
        """Say what is refused of the channel that a series is about, None if that is not why little of it is there."""
        channel = self._channels.get(subject.labels.get(CHANNEL, ""))
        return f"refused: {channel.trouble}" if channel is not None and channel.kind == "refused" else None

    def distortion_of(self, subject: Subject) -> str | None:
        """Say which channel in trouble, now or before, distorts the window of a rule on a series, None if none does."""
        if not self._channels or subject.watch.rule.kpi.of_pipeline:
            return None
        trouble = self.trouble_of(subject)
        if trouble is not None:
            return trouble
        rule = subject.watch.rule
        window = (subject.verdict.window if subject.verdict is not None else "") or rule.window
        minutes = length_of(window)
        for name, channel in self._channels.items():
            gap = channel.missing(self._view.minute, minutes)
            if not gap:
                continue
            share = self._share(subject, name, over=True)
            if rule.kpi.aggregator in ADDITIVE:
                distorted = share * gap >= MISSING
            else:
                distorted = share < 1 and share * (1 - share) * gap / (1 - share * gap) >= DISPLACED
            if distorted:
                return f"pipeline {name}: {100 * gap:.0f} % of {window} cannot be trusted"
        return None

    def _share(self, subject: Subject, channel: str, *, over: bool = False) -> float:
        """Estimate which share of a series comes from a channel; `over`: its trouble is over by now."""
        own = subject.labels.get(CHANNEL)
        if own is not None:
            return float(own == channel)
        if subject.key not in self._shares:
            self._shares[subject.key] = self._kept_shares(subject)
        shares = self._shares[subject.key]
        if shares is not None:
            return shares.get(channel, 0.0)
        if over:
            # A KPI that is not kept by channel mostly has but one: what is missing then takes nothing but volume.
            return float(subject.watch.rule.kpi.aggregator in ADDITIVE)
        return self._missing_share(subject, self._channels[channel].lost)

    def _kept_shares(self, subject: Subject) -> dict[str, float] | None:
        """Return the shares of the last day by channel; None when the KPI is not kept by channel."""
        members = self._indexes[subject.watch.rule.kpi.id].with_label(CHANNEL, subject.labels)
        own: set[tuple[str, str]] = set(subject.labels.items())
        if not members:  # by channel, and by these labels, but not by both: taken to be as the whole is
            members = self._indexes[subject.watch.rule.kpi.id].with_label(CHANNEL, ())
            own = set()
        if not members:
            return None
        counts: dict[str, int] = {}
        window = _DAY if _DAY in self._kept else "total"
        for labels, key in members:
            acc = self._view.window(key, window) if own.issubset(labels) else None
            if acc is not None:
                channel = dict(labels)[CHANNEL]
                counts[channel] = counts.get(channel, 0) + count_of(acc)
        total = sum(counts.values())
        return {channel: count / total for channel, count in counts.items()} if total > 0 else {}

    def _missing_share(self, subject: Subject, lost: float) -> float:
        """
        Estimate the share of a channel by what is missing of the series since a part of the channel is lost.

        All of it, when there is too little to tell.
        """
        if not {"5m", "1h"} <= self._kept or lost <= 0:
            return 1.0
        hour, now = self._view.window(subject.key, "1h"), self._view.window(subject.key, "5m")
        n = count_of(now) if now is not None else 0
        expected_n = ((count_of(hour) if hour is not None else 0) - n) / (60 - HEALTH_MINUTES) * HEALTH_MINUTES
        if expected_n * lost < _ENOUGH:
            return 1.0
        return min(1.0, max(0.0, (1 - n / expected_n) / lost))


def parent_of(subject: Subject, firing: Iterable[Subject]) -> Subject | None:
    """
    Return the first delivered alert of the same KPI that makes this one superfluous; None: there is none.

    That is one on the same series, or on one that this is part of, which is at least as severe.
    """
    labels = subject.labels.items()
    for other in firing:
        if other is not subject and other.severity_rank <= subject.severity_rank and other.labels.items() <= labels:
            return other
    return None


class Mutes:
    """Which calendars keep rules quiet at the end of one minute."""

    def __init__(self, calendars: Mapping[str, Calendar], minute: int) -> None:
        self._calendars = calendars
        self._at = datetime.fromtimestamp(window_end(minute), UTC)
        self._known: dict[tuple[str, ...], str | None] = {}

    def of(self, names: tuple[str, ...]) -> str | None:
        """Return the first of these calendars that covers the end of the minute."""
        if not names:
            return None
        if names not in self._known:
            self._known[names] = muted(self._calendars, names, self._at)
        return self._known[names]
