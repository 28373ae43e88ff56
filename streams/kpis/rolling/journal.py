"""
How the state of a merge partition is written down: names and contents of the records of its changelog.

| record | key | value |
|---|---|---|
| series | `s/<shard>` | the series keys of a shard, in the order of their numbers |
| admitted | `a` | what was decided of series, and how many of them are valid |
| page | `p/<minute>/<shard>/<part>` | packed totals with their fence |
| hour | `h/<minute>/<shard>` | packed totals of an hour's pages, and which of them it took in last |
| base | `b/<shard>` | packed totals of all evicted pages, and which of them were evicted last |
| marker | `m` | how far everything is complete |

Records of one flush must be written in the order given. Whatever prefix of them survives a crash, the state restored
from it and replayed from behind the marker's fence is the state before the crash:

- series come first, so no page names a series that is unknown, and then what was decided of them: pages that came by
  these decisions are repeated by them;
- a page says by its fence which partials it contains;
- hours and bases name the pages they have taken in, in case their tombstones, which follow, are not there;
- the marker comes last, after the outputs of the flush.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

import cramjam
import msgspec

from streams.kpis.rolling.admission import Admitted
from streams.kpis.rolling.health import SourceMinutes
from streams.kpis.rolling.packing import Totals, decode, unpack
from streams.kpis.rolling.pages import HOUR_PART, Page
from streams.kpis.rolling.watermarks import SourceReport

Record: TypeAlias = tuple[bytes, bytes | None]
"""Key and value; None deletes what the key named."""

MARKER_KEY: Final = b"m"
ADMITTED_KEY: Final = b"a"


class Marker(msgspec.Struct, array_like=True):
    """How far the state is complete: everything up to `fence` is contained and published."""

    fence: int = -1
    """Offset of the last partial; a restart reads from the one behind it."""
    applied: dict[str, int] = {}
    """Last record counted, by source."""
    reports: dict[str, SourceReport] = {}
    watermark: float | None = None
    closed: int | None = None
    """The newest closed minute."""
    newest: int | None = None
    """The newest minute seen."""
    health: dict[str, SourceMinutes] = {}
    """What was read of each source lately."""
    unused: int = 0
    """Holds the place of what the judge saves by itself now."""
    stopped: dict[str, str] = {}
    """Sources of which nothing is counted any more, and why."""
    passed: bool = False
    """Whether totals may hold more than was published, as when later minutes than `closed` were only closed."""
    form: int = 0
    """The `VALUE_FORM` by which totals were published."""


class SavedMerge(msgspec.Struct):
    """A state as read back from its records."""

    marker: Marker
    series: dict[int, list[str]]
    pages: list[Page]
    hours: list[Page]
    bases: dict[int, bytes]
    absorbed: list[Page]
    """Pages that an hour or a base already contains, whose tombstones were not written."""
    admitted: Admitted | None = None
    """None: saved before anything was decided."""


_ENCODER: Final = msgspec.msgpack.Encoder()
_MARKER: Final = msgspec.msgpack.Decoder(Marker)
_ADMITTED: Final = msgspec.msgpack.Decoder(Admitted)
_SERIES: Final = msgspec.msgpack.Decoder(list[str])


def series_record(shard: int, keys: list[str]) -> Record:
    """Return the record of a shard's series."""
    return b"s/%d" % shard, bytes(cramjam.zstd.compress(_ENCODER.encode(keys), 1))


def admitted_record(admitted: Admitted) -> Record:
    """Return the record of what was decided of series."""
    return ADMITTED_KEY, bytes(cramjam.zstd.compress(_ENCODER.encode(admitted), 1))


def page_key(page: Page) -> bytes:
    """Return the key of a page, of a minute or of an hour."""
    return b"h/%d/%d" % (page.minute, page.shard) if page.part == HOUR_PART else b"p/%d/%d/%d" % page.name


def base_key(shard: int) -> bytes:
    """Return the key of a shard's totals of evicted pages."""
    return b"b/%d" % shard


def marker_record(marker: Marker) -> tuple[bytes, bytes]:
    """Return the record of a marker."""
    return MARKER_KEY, _ENCODER.encode(marker)


def read_back(records: Iterable[Record]) -> SavedMerge:
    """
    Sort records, given in the order they were written, into what they say.

    Raises ValueError for a key that is none of ours.
    """
    latest: dict[bytes, bytes] = {}
    for key, value in records:
        if value is None:
            latest.pop(key, None)
        else:
            latest[key] = value
    saved = SavedMerge(Marker(), {}, [], [], {}, [])
    for key, value in latest.items():
        kind, *numbers = key.split(b"/")
        match kind, [int(number) for number in numbers]:
            case b"m", []:
                saved.marker = _MARKER.decode(value)
            case b"a", []:
                saved.admitted = _ADMITTED.decode(bytes(cramjam.zstd.decompress(value)))
            case b"s", [shard]:
                saved.series[shard] = _SERIES.decode(bytes(cramjam.zstd.decompress(value)))
            case b"p", [minute, shard, part]:
                saved.pages.append(Page.restored(minute, shard, part, value))
            case b"h", [minute, shard]:
                saved.hours.append(Page.restored(minute, shard, HOUR_PART, value))
            case b"b", [shard]:
                saved.bases[shard] = value
            case _:
                raise ValueError(f"record {key!r} is none of a merge partition")
    takers = [*saved.bases.values(), *(hour.save() for hour in saved.hours)]
    taken_in = {name for taker in takers for name in decode(taker).absorbed}
    saved.absorbed = [page for page in (*saved.pages, *saved.hours) if page.name in taken_in]
    saved.pages = [page for page in saved.pages if page.name not in taken_in]
    saved.hours = [hour for hour in saved.hours if hour.name not in taken_in]
    return saved


def base_totals(bases: dict[int, bytes]) -> Totals:
    """Return the totals of all evicted pages."""
    totals: Totals = {}
    for packed in bases.values():
        totals.update(unpack(packed))
    return totals
