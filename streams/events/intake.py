"""
Decide the outcome of every record of one source partition: counted, duplicate, late or bad.

The intake is a deterministic function of (state, records, `now`), whatever the edges of the fetches.
That is what lets a worker that was killed repeat its last frozen range with the very same outputs.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from streams.events.clock import Clock
from streams.events.decode import Refusal, read_batch
from streams.events.dedup import SeenIds, Segment, digest, join_ids
from streams.events.frozen import NEVER, FrozenRange, Head, Tally
from streams.events.limits import CONTRACT, RecordLimits
from streams.events.refusal import bad_time
from streams.events.types import Envelope

__all__ = ["BadRecord", "FrozenRange", "Head", "Intake", "Outcome", "Tally"]

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
FUTURE_TOLERANCE = timedelta(minutes=10)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST_S = (EARLIEST - _EPOCH).total_seconds()
_AT_ONCE = 512  # records that are still in the processor's cache when they are looked at again


class BadRecord(msgspec.Struct, frozen=True):
    """One refused record: where it stands, what was refused, and its original bytes."""

    offset: int
    refusal: Refusal
    payload: bytes


class Outcome(msgspec.Struct, frozen=True):
    """Everything that one closed range gives to the stages after it."""

    frozen: FrozenRange
    tally: Tally
    counted: list[Envelope]
    """Those that `collect` has not given out before."""
    payloads: list[bytes]
    """Stored records: the counted and the late ones, in offset order, as they were sent or as they were mended."""
    offsets: list[int]
    late_offsets: list[int]
    bad: list[BadRecord]
    mended: dict[str, int]
    """How many records were mended, by what was wrong with them."""
    forgotten: list[bytes]
    """Changelog keys that are no longer needed once this range is frozen."""


class _Open:
    """A range under construction."""

    def __init__(self, now: float, head: Head, limits: RecordLimits) -> None:
        self.now = now
        self.limits = limits
        self.before = head
        self.first = -1
        self.last = -1
        self.read = 0
        self.duplicate = 0
        self.newest = head.newest
        self.latest = NEVER
        self.ids: list[int] = []
        self.own: set[int] = set()
        self.counted: list[Envelope] = []
        self.collected = 0
        self.payloads: list[bytes] = []
        self.offsets: list[int] = []
        self.late_offsets: list[int] = []
        self.bad: list[BadRecord] = []
        self.mended: Counter[str] = Counter()
        self.sent: dict[int, bytes] = {}
        """By offset, what was mended as it came."""

    def note(self, at: float) -> None:
        """Take note of the time of an accepted event (Unix s)."""
        self.latest = max(self.latest, at)
        # A device whose clock runs ahead must not close minutes that are still filling.
        self.newest = max(self.newest, min(at, self.now))


class Intake:
    """The state machine of one source partition (see the module's text)."""

    def __init__(
        self,
        source: str,
        *,
        retention_s: float,
        dedup_ids: int,
        clock: Clock | None = None,
        limits: RecordLimits = CONTRACT,
    ) -> None:
        """Know nothing yet; sources and their times are told to `clock`; a record may hold what `limits` say."""
        self.source = source
        self._clock = clock or Clock()
        self._retention_s = retention_s
        self._dedup_ids = dedup_ids
        self._limits = limits
        self._head = Head()
        self._seen = SeenIds(dedup_ids)
        self._open: _Open | None = None
        self._pending: FrozenRange | None = None
        self._complete = False
        # Changelog keys of forgotten ids. They are deleted one range later than they are forgotten:
        # until the range that forgot them is emitted, a successor needs them to repeat it.
        self._forgotten: list[bytes] = []

    @property
    def head(self) -> Head:
        """The state after the last closed range."""
        return self._head

    @property
    def pending(self) -> FrozenRange | None:
        """The frozen range that was restored and must be repeated with the same edges, if any."""
        return self._pending

    @property
    def open_records(self) -> int:
        """Records in the range under construction."""
        return self._open.read if self._open else 0

    def restore(self, ranges: Sequence[FrozenRange]) -> None:
        """
        Take over the frozen ranges of a changelog.

        All but the newest are finished. The newest may not have been emitted: it is repeated if its records come again,
        unless it is an inherited one.
        """
        ordered = sorted(ranges, key=lambda frozen: frozen.first)
        self._open = None
        self._pending = ordered[-1] if ordered else None
        self._complete = False
        self._head = self._pending.before if self._pending else Head()
        self._seen = SeenIds(self._dedup_ids, self._head.horizon)
        self._forgotten = []
        for frozen in ordered[:-1]:
            self._remember(frozen)
        self._seen.horizon = self._head.horizon
        if self._pending is not None and self._pending.inherited:
            self._finish_pending(self._pending)

    def cut(self, offsets: Sequence[int]) -> int:
        """
        Return how many of these records (a fetch, offsets ascending) may go into the current range.

        Only a restored range has a fixed edge; without one, all of them may.
        """
        pending = self._pending
        if pending is None or not offsets or offsets[-1] <= pending.last:
            return len(offsets)
        if self._open is None and offsets[0] > pending.last:
            # The source was committed beyond the frozen range, so it had been emitted completely.
            self._finish_pending(pending)
            return len(offsets)
        self._complete = True
        return sum(1 for offset in offsets if offset <= pending.last)

    def add(
        self, values: Sequence[bytes | None], offsets: Sequence[int], now: float, steady: float | None = None
    ) -> int:
        """
        Classify records that `cut` allowed into the current range, whose `now` (Unix s) its first ones fix.

        A clock that is believed to be behind decides about no event that may be of the present: the first such record,
        and all after it, are left. A range that is repeated was decided before.

        Args:
            values: The records.
            offsets: Where they stand.
            now: What the worker's clock says.
            steady: What the one beside it says that nobody sets; None: `now` is not doubted.

        Returns:
            How many records were taken, from the first one on.
        """
        floor = self._head.next
        skip = sum(1 for offset in offsets if offset < floor) if offsets and offsets[0] < floor else 0
        if skip == len(offsets):
            return skip
        if self._open is None:
            repeated = self._pending
            now, limits = (repeated.now, repeated.limits) if repeated else (now, self._limits)
            self._open = _Open(now, self._head, limits)
        current = self._open
        if self._pending is not None:
            steady = None
        for start in range(skip, len(values), _AT_ONCE):
            stop = min(start + _AT_ONCE, len(values))
            taken = self._take(current, values[start:stop], offsets[start:stop], steady)
            if taken:
                current.first = offsets[start] if current.first < 0 else current.first
                current.last = offsets[start + taken - 1]
                current.read += taken
            if start + taken < stop:
                if not current.read:
                    self._open = None
                return start + taken
        return len(values)

    def collect(self) -> list[Envelope]:
        """Give out the counted events of the range under construction, each once: whoever takes them must fold them."""
        current = self._open
        if current is None:
            return []
        counted, current.counted = current.counted, []
        current.collected += len(counted)
        return counted

    def _take(
        self, current: _Open, values: Sequence[bytes | None], offsets: Sequence[int], steady: float | None
    ) -> int:
        """Classify some records; return how many of them, fewer when the clock is in doubt about one."""
        events, refusals, mended = read_batch(values, limits=current.limits)
        taken = len(values)
        if refusals:
            good = [index for index, event in enumerate(events) if event is not None]
            events = [events[index] for index in good]
        if events:
            times = [event.time for event in events]  # type: ignore[union-attr]  # no None is left
            if steady is not None:
                doubtful = self._doubtful(current.now, steady, events, times)  # type: ignore[arg-type]
                if doubtful is not None:
                    taken = good[doubtful] if refusals else doubtful
                    return self._take(current, values[:taken], offsets[:taken], None) if taken else 0
        if refusals:
            current.bad.extend(BadRecord(offsets[r.index], r, values[r.index] or b"") for r in refusals)
        if mended:
            current.sent |= {offsets[index]: values[index] or b"" for index in mended}
            current.mended.update(kind for one in mended.values() for kind in one.kinds)
            values = [mended[index].value if index in mended else value for index, value in enumerate(values)]
        if refusals:
            values, offsets = [values[index] for index in good], [offsets[index] for index in good]
        if events:
            self._classify(current, events, times, values, offsets)  # type: ignore[arg-type]  # no None is left
        return taken

    def _doubtful(self, now: float, steady: float, events: Sequence[Envelope], times: Sequence[datetime]) -> int | None:
        """Return the place of the first event that is ahead of the clock, though perhaps not of the right time."""
        limit = now + FUTURE_TOLERANCE.total_seconds()
        if _unix(max(times)) <= limit:
            self._clock.heard(events[-1].source, _unix(times[-1]), now)  # one of each lot is enough
            return None
        for event, at in zip(events, times, strict=True):
            self._clock.heard(event.source, _unix(at), now)
        latest = limit + max(0.0, self._clock.read(now, steady).ahead_s)
        return next((place for place, at in enumerate(times) if limit < _unix(at) <= latest), None)

    def _classify(
        self,
        current: _Open,
        events: Sequence[Envelope],
        times: Sequence[datetime],
        values: Sequence[bytes],
        offsets: Sequence[int],
    ) -> None:
        """Count runs of plain records at once, and decide about those in between one by one."""
        ids = [digest(event.id) for event in events]
        start = 0
        odd, known = self._odd(current, ids, times)
        for place in [*odd, len(events)]:
            if start < place:
                run = slice(start, place)
                current.note(_unix(max(times[run])))
                current.ids += ids[run]
                current.own.update(ids[run])
                current.counted += events[run]
                current.payloads += values[run]
                current.offsets += offsets[run]
            if place < len(events):
                self._decide(current, events[place], values[place], offsets[place], ids[place], known)
            start = place + 1

    def _odd(self, current: _Open, ids: Sequence[int], times: Sequence[datetime]) -> tuple[list[int], set[int]]:
        """Return the places, ascending, of all that might end as anything but counted, and the ids seen before."""
        fresh = set(ids)
        known = self._seen.among(fresh)
        repeated = known | (current.own & fresh)
        if len(fresh) < len(ids):
            repeated |= {event_id for event_id, count in Counter(ids).items() if count > 1}
        odd = {place for place, event_id in enumerate(ids) if event_id in repeated} if repeated else set()
        newest, latest = _unix(max(times)), current.now + FUTURE_TOLERANCE.total_seconds()
        # What is late when the newest of all came first; fewer may be when it is their turn.
        floor = max(self._seen.horizon, max(current.newest, min(newest, current.now)) - self._retention_s, _EARLIEST_S)
        if newest > latest or _unix(min(times)) <= floor:
            odd |= {place for place, at in enumerate(times) if not floor < _unix(at) <= latest}
        return sorted(odd), known

    def _decide(
        self, current: _Open, event: Envelope, payload: bytes, offset: int, event_id: int, known: Collection[int]
    ) -> None:
        at = _unix(event.time)
        if event.time < EARLIEST or at > current.now + FUTURE_TOLERANCE.total_seconds():
            sent = current.sent.get(offset, payload)
            current.bad.append(BadRecord(offset, bad_time(event.time, EARLIEST, _latest(current.now)), sent))
            return
        if event_id in current.own or event_id in known:
            current.duplicate += 1
            return
        current.own.add(event_id)
        current.ids.append(event_id)
        current.payloads.append(payload)
        current.offsets.append(offset)
        # No id is held for anything at or before the horizon, so such an event cannot be proven new.
        if at <= self._seen.horizon or at < current.newest - self._retention_s:
            current.late_offsets.append(offset)
        else:
            current.counted.append(event)
        current.note(at)

    def close(self) -> Outcome | None:
        """Close the range under construction; None if it has no records, or must still wait for its restored edge."""
        current, pending = self._open, self._pending
        if current is None or (pending is not None and current.last < pending.last and not self._complete):
            return None
        self._open, self._pending, self._complete = None, None, False
        last = max(current.last, pending.last) if pending else current.last
        first = pending.first if pending else current.first
        tally = Tally(
            current.read,
            current.collected + len(current.counted),
            current.duplicate,
            len(current.late_offsets),
            len(current.bad),
        )
        if tally.read != tally.counted + tally.duplicate + tally.late + tally.bad:
            raise AssertionError(f"{self.source} [{first}..{last}]: outcomes do not add up: {tally}")
        deletable, self._forgotten = self._forgotten, []
        ids = join_ids(current.ids)
        self._forget_by(Segment(first, last, ids, current.latest), current.now)
        before = current.before
        moved = current.now if current.newest > before.newest else before.moved
        after = self._head = Head(last + 1, current.newest, self._seen.horizon, before.tally + tally, moved)
        time = pending.time if pending else _time_of(after, current.now)
        current.bad.sort(key=lambda bad: bad.offset)
        return Outcome(
            FrozenRange(
                self.source,
                first,
                last,
                current.now,
                before,
                after,
                ids,
                current.latest,
                time,
                sum(1 for bad in current.bad if bad.refusal.reason == "time_in_future"),
                current.limits,
            ),
            tally,
            current.counted,
            current.payloads,
            current.offsets,
            current.late_offsets,
            current.bad,
            dict(current.mended),
            deletable,
        )

    def settle(self) -> None:
        """
        Wait no longer for a restored range: the source is read to its end.

        Without any record of it, the range had been committed; with some, the others are gone from the log.
        """
        if self._pending is not None:
            if self._open is None:
                self._finish_pending(self._pending)
            else:
                self._complete = True

    @property
    def reached(self) -> float:
        """The newest event time (Unix s) by now, with that of the range under construction."""
        return self._open.newest if self._open else self._head.newest

    def watermark(self, lateness_s: float) -> float:
        """Return the event time (Unix s) before which no more events are expected; minus infinity before the first."""
        return self._head.newest - lateness_s

    def _finish_pending(self, pending: FrozenRange) -> None:
        self._remember(pending)
        self._seen.horizon = pending.after.horizon
        self._head = pending.after
        self._pending = None

    def _remember(self, frozen: FrozenRange) -> None:
        self._forget_by(Segment(frozen.first, frozen.last, frozen.ids, frozen.newest), frozen.now)

    def _forget_by(self, segment: Segment, now: float) -> None:
        self._forgotten += [f"{self.source}|{old.first:020d}".encode() for old in self._seen.add(segment, now)]


def _unix(at: datetime) -> float:
    return (at - _EPOCH).total_seconds()


def _time_of(after: Head, now: float) -> float:
    """
    Give the event time of a range: the source's newest, and while that stands still, what the clock went on since.

    Who sends nothing but what is refused would otherwise be counted in minutes that are over. Before the first event
    there is nothing but the clock.
    """
    if after.newest == NEVER:
        return now
    return after.newest + (max(0.0, now - after.moved) if after.moved > NEVER else 0.0)


def _latest(now: float) -> datetime:
    return _EPOCH + timedelta(seconds=now) + FUTURE_TOLERANCE
