"""
Which channels can be trusted: one that is silent, or sends mostly what cannot be read, must not pose as a drop of KPIs.

A silent channel is one from which records would have come by now. A collector sends a heartbeat every few seconds, so
that a channel with no customers is not silent. Minutes in which a channel could not be trusted are remembered as long
as windows reach back to them: without it, the mixture of customers in them is another one.

Where next to nothing comes of what came a moment ago, what is left may be anything: its own numbers are not its
customers' either. Shops that close look the same, so after some hours that is usual, and nothing is remembered of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from streams.alerts.types import SourceHealth

MISSED: Final = 9.0
"""Records that would have come in the silence if all was well: 9 are missed by luck once in eight thousand times."""

BAD_SHARE: Final = 0.2
"""Share of bad records above which a channel's numbers are not its customers' any more."""

BAD_LEAST: Final = 20
"""Records it takes to speak of a share."""

SCARCE: Final = 0.2
"""Share of the usual records below which what still comes is next to nothing."""

SCARCE_LEAST: Final = 20.0
"""Records a minute that must be usual to speak of next to nothing."""

STEEP_LEAST: Final = 60.0
"""The same for a single minute: fewer come and go by chance."""

MEAN_MINUTES: Final = 60
"""Over how long the usual rate is the mean."""

FORGET_MINUTES: Final = 240
"""The same while next to nothing comes: what goes on for half a day is usual."""

HEALTH_MINUTES: Final = 5
"""Over how long the health of a source is told."""

Kind: TypeAlias = Literal["", "silent", "refused", "scarce"]
"""What is wrong with a channel."""

_REMEMBERED = 7 * 1440  # no window reaches back further
_SPANS = 200


class ChannelHealth(msgspec.Struct, array_like=True, omit_defaults=True):
    """What is remembered of a channel."""

    per_minute: float = 0.0
    """Records per minute when it was last heard of."""
    spans: list[tuple[int, int]] = []
    """First and last of minutes that cannot be trusted, in order."""
    trouble: str = ""
    """What is wrong as of the last minute; empty if nothing."""
    lost: float = 0.0
    """Share of the last five minutes' records that never arrived or cannot be read."""
    kind: Kind = ""
    """Of the trouble."""
    mean_per_minute: float = 0.0
    """Records per minute over the last hour in which all was well."""
    looks: int = 0
    """Minutes that the rate is the mean of, as far as they count."""
    seen: int = -1
    """The last minute."""
    read: int = 0
    """Records of the five minutes up to it."""

    def is_scarce(self, minute: int, read: int) -> bool:
        """
        Return whether next to nothing comes, of the records of the last five minutes.

        Known is only their sum: it is next to nothing, or on the way there, losing a usual minute each minute.
        """
        least = SCARCE * self.mean_per_minute
        if self.mean_per_minute >= SCARCE_LEAST and read < least * HEALTH_MINUTES:
            return True
        lost = self.read - read if minute == self.seen + 1 else 0
        return (
            self.mean_per_minute >= STEEP_LEAST
            and lost > self.mean_per_minute - least
            and read < HEALTH_MINUTES * self.mean_per_minute - lost + least
        )

    def missing(self, minute: int, length: int) -> float:
        """Return the share of a window of `length` minutes, the last being `minute`, that cannot be trusted."""
        start = minute - length + 1
        within = sum(min(last, minute) - max(first, start) + 1 for first, last in self.spans if last >= start)
        return max(0, within) / length


def observe(channels: dict[str, ChannelHealth], minute: int, sources: Mapping[str, SourceHealth]) -> None:
    """Take note of how all sources are as of a minute, later than any before."""
    for name, (silent, read, bad) in _by_channel(sources).items():
        channel = channels.setdefault(name, ChannelHealth())
        before = channel.trouble
        if not silent:
            channel.per_minute = read / HEALTH_MINUTES
        channel.trouble, channel.lost, channel.kind = "", 0.0, ""
        now, scarce = read / HEALTH_MINUTES, channel.is_scarce(minute, read)
        channel.seen, channel.read = minute, read
        if silent and channel.per_minute * silent >= MISSED:
            channel.trouble, channel.kind = f"silent for {silent} min", "silent"
            channel.lost = min(silent, HEALTH_MINUTES) / HEALTH_MINUTES
            _mark(channel, minute - silent + 1, minute, joined=bool(before))
        elif _is_refused(read, bad):
            channel.trouble, channel.kind = _refused_text(read, bad), "refused"
            channel.lost = bad / read
            _mark(channel, minute, minute, joined=bool(before))
        elif scarce:
            channel.trouble, channel.kind = (
                f"{read} records where {channel.mean_per_minute * HEALTH_MINUTES:.0f} are usual",
                "scarce",
            )
            channel.lost = max(0.0, 1 - read / (channel.mean_per_minute * HEALTH_MINUTES))
            channel.mean_per_minute += (now - channel.mean_per_minute) / FORGET_MINUTES
        else:
            channel.looks = min(MEAN_MINUTES, channel.looks + 1)
            channel.mean_per_minute += (now - channel.mean_per_minute) / channel.looks


def ahead(channels: Mapping[str, ChannelHealth], sources: Mapping[str, SourceHealth]) -> dict[str, ChannelHealth]:
    """
    Return how channels are in a minute that is still open, by what is known of them and how their sources are there.

    A minute that has just begun holds little of anything: silence counts from the one before it.
    """
    found = dict(channels)
    for name, (silent, read, bad) in _by_channel(sources).items():
        known = found.get(name, ChannelHealth())
        if known.trouble:
            continue
        if silent > 1 and known.per_minute * (silent - 1) >= MISSED:
            found[name] = msgspec.structs.replace(known, trouble=f"silent for {silent - 1} min", kind="silent")
        elif _is_refused(read, bad):
            found[name] = msgspec.structs.replace(known, trouble=_refused_text(read, bad), kind="refused")
    return found


def _by_channel(sources: Mapping[str, SourceHealth]) -> dict[str, tuple[int, int, int]]:
    """Return by channel the minutes in which none of its sources was heard of, records read, and those refused."""
    together: dict[str, list[SourceHealth]] = {}
    for health in sources.values():
        together.setdefault(health.channel, []).append(health)
    return {
        name: (min(p.silent_minutes for p in parts), sum(p.read for p in parts), sum(p.bad for p in parts))
        for name, parts in together.items()
    }


def _is_refused(read: int, bad: int) -> bool:
    return read >= BAD_LEAST and bad > BAD_SHARE * read


def _refused_text(read: int, bad: int) -> str:
    return f"{100 * bad / read:.0f} % of {read} records bad"


def _mark(channel: ChannelHealth, first: int, last: int, *, joined: bool) -> None:
    """Note minutes that cannot be trusted; with what lies between if the trouble just went on."""
    spans = [span for span in channel.spans if span[1] > last - _REMEMBERED]
    if spans and (joined or spans[-1][1] >= first - 1):
        first = min(first, spans.pop()[0])
    channel.spans = [*spans, (first, last)][-_SPANS:]
