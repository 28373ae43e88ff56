"""
Decide the outcome of every record of one source partition: counted, duplicate, late, bad or conflict.

The intake is a deterministic function of (state, records, `now`), whatever the edges of the fetches.
That is what lets a worker that was killed repeat its last frozen range with the very same outputs.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from streams.events.clock import Clock
from streams.events.decode import canonical, read_batch, unambiguous
from streams.events.dedup import UNKNOWN, SeenIds, Segment, content_of, differ, identify, write_keys
from streams.events.frozen import NEVER, FrozenRange, SourceHead, Tally
from streams.events.limits import CONTRACT, RecordLimits
from streams.events.outcome import BadRecord, OpenRange, Outcome, Record, Seen
from streams.events.refusal import bad_time, conflicting
from streams.events.types import Envelope
from streams.privacy.records import Protection, protect

__all__ = ["BadRecord", "FrozenRange", "Intake", "Outcome", "SourceHead", "Tally"]

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
FUTURE_TOLERANCE = timedelta(minutes=10)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST_S = (EARLIEST - _EPOCH).total_seconds()
_AT_ONCE = 512  # records that are still in the processor's cache when they are looked at again


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
        derived: bool = False,
        protection: Protection | None = None,
    ) -> None:
        """
        Know nothing yet; sources and their times are reported to `clock`; a record may hold what `limits` say.

        Of a source of `derived` events it is what relations say, and nothing that a channel sends. What `protection`
        takes out of a record is never looked at.
        """
        self._protection = protection
        self.source = source
        self._derived = derived
        self._clock = clock or Clock()
        self._retention_s = retention_s
        self._dedup_ids = dedup_ids
        self._limits = limits
        self._head = SourceHead()
        self._seen = SeenIds(dedup_ids)
        self._by_id: SeenIds | None = None
        """By id alone, as long as a range is repeated that was decided so."""
        self._open: OpenRange | None = None
        self._pending: FrozenRange | None = None
        self._complete = False
        # Changelog keys of forgotten ids. They are deleted one range later than they are forgotten:
        # until the range that forgot them is emitted, a successor needs them to repeat it.
        self._forgotten: list[bytes] = []

    @property
    def head(self) -> SourceHead:
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
        self._head = self._pending.before if self._pending else SourceHead()
        memory = self._pending.dedup_ids if self._pending else None
        self._seen = SeenIds(self._dedup_ids if memory is None else memory, self._head.horizon)
        self._forgotten = []
        for frozen in ordered[:-1]:
            self._remember(frozen)
        self._seen.horizon = self._head.horizon
        self._by_id = None
        if self._pending is not None and self._pending.marks is None:
            self._by_id = SeenIds(self._dedup_ids)
            for frozen in ordered[:-1]:
                self._by_id.add(Segment(frozen.first, frozen.last, frozen.ids, frozen.newest), frozen.now)
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
        self,
        values: Sequence[bytes | None],
        offsets: Sequence[int],
        now: float,
        steady: float | None = None,
        since: int | None = None,
        appended: float | None = None,
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
            since: From which offset on there is no record but these; None: from the first of them. The range that they
                begin reaches back to it: marks of transactions, and what was taken back in one, are no gap.
            appended: When the broker says that they came (Unix s); None: it does not.

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
            retention_s = repeated.retention_s if repeated and repeated.retention_s is not None else self._retention_s
            self._open = OpenRange(now, self._head, limits, retention_s)
        current = self._open
        current.appended = appended
        if self._pending is not None:
            steady = None
        for start in range(skip, len(values), _AT_ONCE):
            stop = min(start + _AT_ONCE, len(values))
            protected = protect(self._protection, values[start:stop])
            taken = self._take(current, protected.values, offsets[start:stop], steady)
            current.masked.update(protected.masked_in(taken))
            if taken:
                if current.first < 0:
                    current.first = offsets[start] if since is None else max(since, floor)
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
        self, current: OpenRange, values: Sequence[bytes | None], offsets: Sequence[int], steady: float | None
    ) -> int:
        """Classify some records; return how many of them, fewer when the clock is in doubt about one."""
        events, refusals, mended = read_batch(values, limits=current.limits, derived=self._derived)
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
        if events and self._protection and self._protection.forgotten:
            named = [(event.subject, _unix(event.time)) for event in events]  # type: ignore[union-attr]
            kept = self._protection.forgotten.others(named, current.now, derived=self._derived)
            current.duplicate += len(events) - len(kept)
            events, times = [events[index] for index in kept], [times[index] for index in kept]
            values, offsets = [values[index] for index in kept], [offsets[index] for index in kept]
        if events:
            self._classify(current, events, times, values, offsets)  # type: ignore[arg-type]
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
        current: OpenRange,
        events: Sequence[Envelope],
        times: Sequence[datetime],
        values: Sequence[bytes],
        offsets: Sequence[int],
    ) -> None:
        """Count runs of plain records at once, and decide about those in between one by one."""
        said = list(map(canonical, events))
        keys, bits, contents = identify(events, said, by_id=self._by_id is not None)
        alike = unambiguous(values, said)
        columns = (events, values, offsets, keys, bits, contents, alike)
        start = 0
        exceptional, seen = self._exceptional(current, keys, bits, times)
        for place in [*exceptional, len(events)]:
            if start < place:
                run = slice(start, place)
                current.note(_unix(max(times[run])))
                current.own.update(zip(keys[run], contents[run], strict=True))
                current.source_bits += bits[run]
                current.counted += events[run]
                current.payloads += values[run]
                current.unambiguous += alike[run]
                current.offsets += offsets[run]
            if place < len(events):
                self._decide(current, Record(*(of[place] for of in columns)), seen)  # type: ignore[arg-type]
            start = place + 1

    def _exceptional(
        self, current: OpenRange, keys: Sequence[int], bits: Sequence[int], times: Sequence[datetime]
    ) -> tuple[list[int], Seen]:
        """Return the places, ascending, of all that might end as anything but counted, and what was seen before."""
        fresh = set(keys)
        by_id = self._by_id
        seen = Seen(self._seen.among(fresh) if by_id is None else dict.fromkeys(by_id.bare(fresh), UNKNOWN), {})
        repeated = seen.keys.keys() | (current.own.keys() & fresh)
        if len(fresh) < len(keys):
            repeated |= {key for key, count in Counter(keys).items() if count > 1}
        exceptional = {place for place, key in enumerate(keys) if key in repeated} if repeated else set()
        if by_id is None and self._seen.has_bare:
            ids = [key ^ of_source for key, of_source in zip(keys, bits, strict=True)]
            seen = seen._replace(ids=self._seen.bare(set(ids)))
            exceptional |= {place for place, event_id in enumerate(ids) if event_id in seen.ids}
        newest, latest = _unix(max(times)), current.now + FUTURE_TOLERANCE.total_seconds()
        # What is late when the newest of all came first; fewer may be when it is their turn.
        floor = max(
            self._seen.horizon, max(current.newest, min(newest, current.now)) - current.retention_s, _EARLIEST_S
        )
        if newest > latest or _unix(min(times)) <= floor:
            exceptional |= {place for place, at in enumerate(times) if not floor < _unix(at) <= latest}
        return sorted(exceptional), seen

    def _decide(self, current: OpenRange, record: Record, seen: Seen) -> None:
        event, key = record.event, record.key
        at = _unix(event.time)
        if event.time < EARLIEST or at > current.now + FUTURE_TOLERANCE.total_seconds():
            bad = bad_time(event.time, EARLIEST, _EPOCH + timedelta(seconds=current.now) + FUTURE_TOLERANCE)
            current.bad.append(BadRecord(record.offset, bad, current.sent.get(record.offset, record.payload)))
            return
        first = current.own.get(key, seen.keys.get(key))
        if first is not None:
            # Written down once, and restored from the store, is the content of the bytes as they came.
            if differ(first, record.content) and differ(first, content_of(record.payload)):
                sent = current.sent.get(record.offset, record.payload)
                current.conflicts.append(BadRecord(record.offset, conflicting(event.source, event.id), sent))
            else:
                current.duplicate += 1
            return
        # Of these only the id is known. What happened later than all that was taken with it is of another source.
        if at <= seen.ids.get(key ^ record.source_bits, NEVER):
            current.duplicate += 1
            return
        current.own[key] = record.content
        current.source_bits.append(record.source_bits)
        current.payloads.append(record.payload)
        current.unambiguous.append(record.unambiguous)
        current.offsets.append(record.offset)
        # Nothing is remembered of what is at or before the horizon, so such an event cannot be proven new.
        if at <= self._seen.horizon or at < current.newest - current.retention_s:
            current.late_offsets.append(record.offset)
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
            len(current.conflicts),
        )
        if tally.read != tally.counted + tally.duplicate + tally.late + tally.bad + tally.conflict:
            raise AssertionError(f"{self.source} [{first}..{last}]: outcomes do not add up: {tally}")
        deletable, self._forgotten = self._forgotten, []
        ids, marks = write_keys(current.own.keys(), current.source_bits, current.own.values())
        written = marks if self._by_id is None else None
        self._by_id = None
        self._forget_by(Segment(first, last, ids, current.latest, written, current.latest), current.now)
        before = current.before
        moved = current.now if current.newest > before.newest else before.moved
        after = self._head = SourceHead(last + 1, current.newest, self._seen.horizon, before.tally + tally, moved)
        memory, self._seen.limit = self._seen.limit, self._dedup_ids
        time = pending.time if pending else after.time_at(current.now)
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
                written,
                current.retention_s,
                memory,
                pending.appended if pending else current.appended,
            ),
            tally,
            current.counted,
            current.payloads,
            bytes(current.unambiguous),
            current.offsets,
            current.late_offsets,
            current.bad,
            current.conflicts,
            dict(current.mended),
            dict(current.masked),
            deletable,
        )

    def finish_restored(self) -> None:
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
        self._seen.horizon, self._seen.limit = pending.after.horizon, self._dedup_ids
        self._head = pending.after
        self._pending = self._by_id = None

    def _remember(self, frozen: FrozenRange) -> None:
        latest = frozen.newest
        if frozen.inherited and latest >= frozen.now:
            latest = frozen.now + FUTURE_TOLERANCE.total_seconds()  # times ahead of the clock were written down as now
        segment = Segment(frozen.first, frozen.last, frozen.ids, frozen.newest, frozen.marks, latest)
        self._forget_by(segment, frozen.now)

    def _forget_by(self, segment: Segment, now: float) -> None:
        self._forgotten += [f"{self.source}|{old.first:020d}".encode() for old in self._seen.add(segment, now)]


def _unix(at: datetime) -> float:
    return (at - _EPOCH).total_seconds()
