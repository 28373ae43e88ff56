"""
How the state of a judge is saved, so that no transition is lost or numbered twice, whenever its worker dies.

| record | key | value |
|---|---|---|
| chunk | `j/<chunk>/<slot>` | the instances of the series that hash to this chunk, one for each rule and series |
| commit | `j` | the judged minute, the outbox, the state of sources, and which version of each chunk belongs to it |
| sent | `j/sent` | the number of the last transition whose delivery is confirmed |

A chunk has two slots and is written to them in turn. The commit record comes last and names the slot and version of
every chunk, so whatever prefix of a flush survives a crash, there is one whole state: the one before, while the commit
record is missing, as no slot it names was touched; the new one, once it is there.

Transitions leave only after the commit record that holds them. Until their delivery is confirmed they stay in the
outbox. A worker that takes over sends those with a higher number than the sent record's again, under the same numbers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

import cramjam
import msgspec

from streams.alerts.judging.machine import Instance
from streams.alerts.judging.sources import ChannelHealth
from streams.alerts.types import Transition

Record: TypeAlias = tuple[bytes, bytes | None]
"""Key and value, as in the journal of KPIs."""

Instances: TypeAlias = dict[str, dict[str, Instance]]
"""By rule and series key."""

COMMIT_KEY: Final = b"j"
SENT_KEY: Final = b"j/sent"
CHUNKS: Final = 16
"""Number of chunks that series are divided into; a change would need all of them written anew."""

_LEVEL: Final = 1
_FORMAT: Final = 1


class Chunk(msgspec.Struct, array_like=True):
    """The instances of the series of one chunk."""

    version: int
    instances: Instances


class Commit(msgspec.Struct, kw_only=True):
    """The commit record: which chunks are valid after one flush, and all state that is not in chunks."""

    format: int = _FORMAT
    version: int = 0
    chunks: dict[int, tuple[int, int]] = {}
    """Slot and version by chunk; chunks never written are missing."""
    judged: int | None = None
    """The newest judged minute."""
    seq: int = 0
    """Number of the last transition."""
    outbox: list[Transition] = []
    """Transitions whose delivery is not confirmed."""
    channels: dict[str, ChannelHealth] = {}
    detectors: dict[str, str] = {}
    """By rule, `Watch.fingerprint`: detectors' memory is dropped when it differs."""


class SavedJudge(msgspec.Struct):
    """The state of a judge as read from its records."""

    commit: Commit
    instances: Instances
    sent: int = 0
    """Number of the last transition whose delivery is confirmed."""


_ENCODER: Final = msgspec.msgpack.Encoder()
_COMMIT: Final = msgspec.msgpack.Decoder(Commit)
_CHUNK: Final = msgspec.msgpack.Decoder(Chunk)
_SENT: Final = msgspec.msgpack.Decoder(int)


def chunk_of(series: str) -> int:
    """Return the chunk of a series: the same for ever."""
    return zlib.crc32(series.encode()) % CHUNKS


def is_ours(key: bytes) -> bool:
    """Return whether a record of a shared changelog belongs to a judge."""
    return key == COMMIT_KEY or key.startswith(b"j/")


def chunk_records(commit: Commit, chunks: Mapping[int, Instances]) -> list[Record]:
    """
    Return the records of changed chunks, and enter their slots and version in `commit`, which is written after them.

    Empty chunks are written too: their slot must not keep what was there.
    """
    records: list[Record] = []
    for chunk, instances in sorted(chunks.items()):
        slot = 1 - commit.chunks[chunk][0] if chunk in commit.chunks else 0
        commit.chunks[chunk] = slot, commit.version
        records.append((b"j/%d/%d" % (chunk, slot), _pack(Chunk(commit.version, instances))))
    return records


def commit_record(commit: Commit) -> Record:
    """Return the record that makes a flush valid."""
    return COMMIT_KEY, _pack(commit)


def read_back(records: Iterable[Record]) -> SavedJudge:
    """
    Return the state that the newest commit record names; an empty one when there is no commit record.

    Records are in the order they were written. Raises ValueError when a chunk that the commit names is missing, or the
    format is unknown.
    """
    latest = {key: value for key, value in records if is_ours(key)}
    raw = latest.get(COMMIT_KEY)
    if raw is None:
        return SavedJudge(Commit(), {})
    commit = _COMMIT.decode(_unpack(raw))
    if commit.format != _FORMAT:
        raise ValueError(f"the alerts' state is of format {commit.format}; this version reads {_FORMAT}")
    sent = latest.get(SENT_KEY)
    saved = SavedJudge(commit, {}, 0 if sent is None else _SENT.decode(sent))
    for chunk, (slot, version) in commit.chunks.items():
        record = latest.get(b"j/%d/%d" % (chunk, slot))
        found = None if record is None else _CHUNK.decode(_unpack(record))
        if found is None or found.version != version:
            got = "nothing" if found is None else f"version {found.version}"
            raise ValueError(f"alerts, chunk {chunk}: expected version {version} in slot {slot}, found {got}")
        for rule, instances in found.instances.items():
            saved.instances.setdefault(rule, {}).update(instances)
    return saved


class InstanceStore:
    """All instances in memory, and which of them have changed since they were last saved."""

    def __init__(self) -> None:
        self.commit = Commit()
        self._chunks: dict[int, Instances] = {}
        self._sent = self._sent_saved = 0
        self._dirty: set[int] = set()
        self._uncommitted = False

    @property
    def is_dirty(self) -> bool:
        """Return whether there is anything to write."""
        return self._uncommitted

    def __iter__(self) -> Iterator[tuple[str, str, Instance]]:
        for instances in self._chunks.values():
            for rule, by_series in instances.items():
                for series, instance in by_series.items():
                    yield rule, series, instance

    def get(self, rule: str, series: str) -> Instance | None:
        """Return the instance of a rule on a series; None: there is none."""
        return self._chunks.get(chunk_of(series), {}).get(rule, {}).get(series)

    def put(self, rule: str, series: str, chunk: int, instance: Instance) -> None:
        """Keep an instance, to be saved with the next flush."""
        self._chunks.setdefault(chunk, {}).setdefault(rule, {})[series] = instance
        self._dirty.add(chunk)

    def drop(self, rule: str, series: str, chunk: int) -> None:
        """Forget an instance."""
        by_series = self._chunks.get(chunk, {}).get(rule, {})
        if by_series.pop(series, None) is not None:
            self._dirty.add(chunk)
            if not by_series:
                del self._chunks[chunk][rule]

    def touch(self, chunk: int) -> None:
        """Note that an instance of a chunk has changed."""
        self._dirty.add(chunk)

    def note_judged(self, minute: int, transitions: Iterable[Transition]) -> None:
        """Note that a minute is judged, and put its transitions in the outbox."""
        self.commit.judged = minute
        self.commit.outbox += transitions
        self._uncommitted = True

    def note_transitions(self, transitions: Iterable[Transition]) -> None:
        """Put transitions in the outbox of which no minute is judged."""
        self.commit.outbox += transitions
        self._uncommitted = True

    def dirty_records(self) -> list[Record]:
        """Return the records of chunks that changed since the last call, to be written before the commit record."""
        self.commit.version += 1
        changed = {chunk: self._chunks.get(chunk, {}) for chunk in self._dirty}
        self._dirty = set()
        return chunk_records(self.commit, changed)

    def commit_record(self) -> Record:
        """Return the record that makes the chunks valid."""
        self._uncommitted = False
        return commit_record(self.commit)

    def note_sent(self, seq: int) -> None:
        """Note that the delivery of all transitions up to a number is confirmed; they leave the outbox."""
        self._sent = max(self._sent, seq)
        self.commit.outbox = [transition for transition in self.commit.outbox if transition.seq > self._sent]

    def sent_records(self) -> list[Record]:
        """Return the sent record if it has changed since the last call."""
        if self._sent == self._sent_saved:
            return []
        self._sent_saved = self._sent
        return [(SENT_KEY, _ENCODER.encode(self._sent))]

    def restore(self, records: Iterable[Record]) -> None:
        """Load the saved state; raises ValueError when part of it is missing (`read_back`)."""
        saved = read_back(records)
        self.commit = saved.commit
        self._sent_saved = saved.sent
        self.note_sent(saved.sent)
        for rule, by_series in saved.instances.items():
            for series, instance in by_series.items():
                self._chunks.setdefault(chunk_of(series), {}).setdefault(rule, {})[series] = instance


def _pack(content: Chunk | Commit) -> bytes:
    return bytes(cramjam.zstd.compress(_ENCODER.encode(content), _LEVEL))


def _unpack(record: bytes) -> bytes:
    return bytes(cramjam.zstd.decompress(record))
