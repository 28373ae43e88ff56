"""
How sources have done, by minute of event time: what was read of each, and how much of it was refused.

A function of the partials in the order of their topic, as sums are: whoever reads them again finds the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from streams.events.intake import Tally

SPAN: Final = 5
"""Minutes that a report looks back."""

_KEPT_AHEAD = 1_440  # of a source that reads history far ahead of the others, only the newest minutes


class Lately(NamedTuple):
    """A source as of a minute."""

    silent_minutes: int
    """Minutes up to that one in which nothing was read; 0 when something was read in it."""
    read: int
    """Records in the last `SPAN` minutes."""
    bad: int
    """Those of them that were refused."""


class SourceMinutes(msgspec.Struct, array_like=True):
    """What is known of a source."""

    minutes: dict[int, tuple[int, int]] = {}
    """Records read and refused, by minute."""
    heard: int | None = None
    """The newest of the minutes that are no longer kept."""


class SourceHealths:
    """All sources of a merge partition."""

    def __init__(self, sources: dict[str, SourceMinutes] | None = None) -> None:
        self.sources = {} if sources is None else sources

    def note(self, source: str, tally: Tally, minutes: Sequence[int]) -> None:
        """
        Take note of a range and of the minutes that it has counted events of.

        What was read is dealt to them evenly, what was refused to the newest of them. Of a range without any counted
        event nobody knows the time: it belongs where the newest source is.
        """
        if not tally.read:
            return
        if not minutes:
            front = [max(one.minutes) for one in self.sources.values() if one.minutes]
            if not front:
                return
            minutes = [max(front)]
        known = self.sources.setdefault(source, SourceMinutes())
        each, rest = divmod(tally.read - tally.bad, len(minutes))
        newest = max(minutes)
        for minute in minutes:
            read, bad = known.minutes.get(minute, (0, 0))
            more = each + (rest + tally.bad if minute == newest else 0)
            known.minutes[minute] = read + more, bad + (tally.bad if minute == newest else 0)
        if len(known.minutes) > 2 * _KEPT_AHEAD:
            kept = sorted(known.minutes)[-_KEPT_AHEAD:]
            self._drop(known, kept[0])

    def as_of(self, minute: int) -> dict[str, Lately]:
        """Return how the sources are that were ever heard of, as of a minute not before the last `prune`."""
        found = {}
        for source, known in self.sources.items():
            heard = max((at for at in known.minutes if at <= minute), default=known.heard)
            if heard is None or heard > minute:
                continue
            lately = [known.minutes.get(at, (0, 0)) for at in range(minute - SPAN + 1, minute + 1)]
            found[source] = Lately(minute - heard, sum(read for read, _ in lately), sum(bad for _, bad in lately))
        return found

    def prune(self, minute: int) -> None:
        """Forget what no report as of this minute, or a later one, looks at."""
        for known in self.sources.values():
            if known.minutes and min(known.minutes) <= minute - SPAN:
                self._drop(known, minute - SPAN + 1)

    def copy(self) -> dict[str, SourceMinutes]:
        """Return what is known, to be saved."""
        return {source: SourceMinutes(known.minutes.copy(), known.heard) for source, known in self.sources.items()}

    def _drop(self, known: SourceMinutes, first_kept: int) -> None:
        gone = [at for at in known.minutes if at < first_kept]
        # The newest stays, gone or not: it tells for how long the source has been silent.
        known.heard = max([*gone, *([] if known.heard is None else [known.heard])], default=None)
        known.minutes = {at: counts for at, counts in known.minutes.items() if at >= first_kept}
