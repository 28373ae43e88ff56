"""
Which events were seen already: the identities of one source partition, bounded, exact as long as it is asked in order.

An event is named by its source and its id. What is written down are 64 bits of the id and, beside them, 32 bits each of
the source and of the content (a mark). In memory both names are one number, the key.
"""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter, xor
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

ID_SIZE: Final = 8
_IDS: Final = np.dtype("<u8")
_MARKS: Final = np.dtype([("source", "<u4"), ("content", "<u4")])
_LATEST: Final = np.dtype("<f8")
_HALF: Final = 0xFFFFFFFF
_GROWTH: Final = 4
"""How many times as long as the next younger run a run must be to stay apart."""
_SOURCES_KNOWN: Final = 10_000

UNKNOWN: Final = 0
"""Content of which nothing is known: a repeat of it is taken for a plain one."""


_ID: Final = attrgetter("id")
_SOURCE: Final = attrgetter("source")
_hash: Final = xxhash.xxh3_64_intdigest


def digest(event_id: str) -> int:
    """Return 64 bits of an event id: among 200,000 that are remembered, one new event in 10¹⁴ is taken for known."""
    return _hash(event_id.encode())


class Named(Protocol):
    """What has an identity."""

    @property
    def id(self) -> str:
        """Its id, unique within its source."""

    @property
    def source(self) -> str:
        """What produced it."""


class SourceBits(dict[str, int]):
    """By source, the 64 bits by which the keys of its events differ from their ids: 32, twice."""

    def __missing__(self, source: str) -> int:
        if len(self) >= _SOURCES_KNOWN:
            self.clear()  # senders name their sources themselves
        half = _hash(source.encode()) & _HALF
        self[source] = bits = half << 32 | half
        return bits


SOURCE_BITS: Final = SourceBits()


def key_of(source: str, event_id: str) -> int:
    """Return the key by which an event is remembered."""
    return digest(event_id) ^ SOURCE_BITS[source]


class Identities(NamedTuple):
    """Of some events their keys, the bits of their sources, and their contents."""

    keys: list[int]
    source_bits: list[int]
    contents: list[int]


def identify(events: Sequence[Named], said: Iterable[bytes], *, by_id: bool = False) -> Identities:
    """Name events that say this; `by_id`: as was done once, when nothing but an id named an event."""
    # Loops without a line of Python in them: this is done for every event.
    ids = map(_hash, map(str.encode, map(_ID, events)))
    if by_id:
        nothing = [UNKNOWN] * len(events)
        return Identities(list(ids), nothing, nothing)
    bits = list(map(SOURCE_BITS.__getitem__, map(_SOURCE, events)))
    return Identities(list(map(xor, ids, bits)), bits, list(map(_hash, said)))


def content_of(said: bytes) -> int:
    """Return the content of an event that says this."""
    return _hash(said)


def differ(content: int, other: int) -> bool:
    """Return whether two contents are known to differ."""
    return bool((content ^ other) & _HALF and content and other)


class Written(NamedTuple):
    """Identities as they are written down."""

    ids: bytes
    marks: bytes


def write_keys(keys: Collection[int], source_bits: Sequence[int], contents: Collection[int]) -> Written:
    """Write down the keys of events, with the bits of their sources and their contents."""
    bits = np.fromiter(source_bits, _IDS, len(source_bits))
    marks = np.empty(len(bits), _MARKS)
    marks["source"] = bits  # the lower half of each
    marks["content"] = np.fromiter(contents, _IDS, len(contents))
    return Written((np.fromiter(keys, _IDS, len(keys)) ^ bits).tobytes(), marks.tobytes())


class Segment(msgspec.Struct, frozen=True):
    """The identities accepted in one frozen range, in order of arrival."""

    first: int
    last: int
    ids: bytes
    newest: float
    """The newest event time among them (Unix s)."""
    marks: bytes | None = None
    """Sources and contents; None where ids alone were written down, as was done once."""
    latest: float = float("inf")
    """No event of them can be of a later time (Unix s)."""

    def __len__(self) -> int:
        return len(self.ids) // ID_SIZE

    def sorted(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the keys in ascending order, each once, with their contents; or ids with the latest time of each."""
        ids = np.frombuffer(self.ids, _IDS)
        if self.marks is None:
            found = np.unique(ids)
            return found, np.full(len(found), self.latest, _LATEST)
        marks = np.frombuffer(self.marks, _MARKS)
        source = marks["source"].astype(_IDS)
        keys, places = np.unique(ids ^ (source << 32 | source), return_index=True)
        return keys, marks["content"][places]


class _Runs:
    """Keys with a value each, in few sorted runs, the oldest first: a set of objects needs a hundred bytes for each."""

    def __init__(self) -> None:
        self._runs: list[tuple[NDArray[Any], NDArray[Any]]] = []

    def __bool__(self) -> bool:
        return bool(self._runs)

    def among(self, keys: Collection[int]) -> dict[int, Any]:
        """Return the values of those of `keys` that are here."""
        found: dict[int, Any] = {}
        asked = np.sort(np.fromiter(keys, _IDS, len(keys)))
        for run, values in self._runs:
            places = np.searchsorted(run, asked)
            places[places == len(run)] = 0  # beyond the largest: whatever stands first is another one
            hits = run[places] == asked
            if hits.any():
                found.update(zip(asked[hits].tolist(), values[places[hits]].tolist(), strict=True))
        return found

    def add(self, keys: NDArray[Any], values: NDArray[Any]) -> None:
        """Take in sorted keys that are younger than all here."""
        self._runs.append((keys, values))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < _GROWTH * len(self._runs[-1][0]):
            younger = self._runs.pop()
            keys, values = (np.concatenate(both) for both in zip(self._runs[-1], younger, strict=True))
            order = np.argsort(keys, kind="stable")
            self._runs[-1] = keys[order], values[order]

    def remove(self, keys: NDArray[Any]) -> None:
        """Take out the oldest that were added, which the oldest run holds all."""
        run, values = self._runs[0]
        places = np.searchsorted(run, keys)
        if len(left := np.delete(run, places)):
            self._runs[0] = left, np.delete(values, places)
        else:
            self._runs.pop(0)


class SeenIds:
    """
    The last `limit` events of a source partition by identity, forgotten by whole segments in the order of arrival.

    `horizon` is the newest event time (Unix s) among all that is forgotten.
    An event at or before it can no longer be proven new; the intake calls such an event late, so nothing is ever
    counted twice, however small the limit.
    """

    def __init__(self, limit: int, horizon: float = float("-inf")) -> None:
        self.limit = limit
        self.horizon = horizon
        self._keys = _Runs()
        self._bare = _Runs()
        self._segments: deque[Segment] = deque()
        self.total = 0

    def __contains__(self, key: int) -> bool:
        return bool(self.among([key]))

    def __len__(self) -> int:
        return self.total

    def among(self, keys: Collection[int]) -> dict[int, int]:
        """Return those of `keys` that were seen, with their contents."""
        return self._keys.among(keys)

    @property
    def has_bare(self) -> bool:
        """Whether ids are remembered of which the source was not written down."""
        return bool(self._bare)

    def bare(self, ids: Collection[int]) -> dict[int, float]:
        """Return those of `ids` that were seen of unknown sources, with the latest time they can have had (Unix s)."""
        return self._bare.among(ids)

    def add(self, segment: Segment, now: float) -> list[Segment]:
        """Remember a segment at `now` (Unix s); return the segments that had to be forgotten for it."""
        self._segments.append(segment)
        self.total += len(segment)
        if len(segment):
            self._runs_of(segment).add(*segment.sorted())
        forgotten: list[Segment] = []
        while self.total > self.limit and len(self._segments) > 1:
            oldest = self._segments.popleft()
            self.total -= len(oldest)
            if len(oldest):
                self._runs_of(oldest).remove(oldest.sorted()[0])
                # One device whose clock runs ahead must not make everybody else late.
                self.horizon = max(self.horizon, min(oldest.newest, now))
            forgotten.append(oldest)
        return forgotten

    def _runs_of(self, segment: Segment) -> _Runs:
        return self._bare if segment.marks is None else self._keys
