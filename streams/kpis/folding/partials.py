"""
Partials: what one source range adds to the KPIs of one merge partition, and how it travels.

Every source sends a partial for every range to every merge partition, also when it adds nothing there: the watermark
it carries is what lets minutes close.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import cramjam
import msgspec

from streams.events.intake import Tally
from streams.kpis.arithmetic.accumulators import Acc

Deltas: TypeAlias = dict[int, dict[str, Acc]]
"""By minute (unix seconds // 60) and series key."""


class Partial(msgspec.Struct, kw_only=True):
    """The contribution of the records `first` to `last` of a source; with first > last only news of its watermark."""

    source: str
    """`"{channel}/{partition}"`."""
    first: int
    last: int
    watermark: float | None
    """Unix seconds before which no event is expected any more; None before the first event."""
    caught_up: bool
    """False while the source reads records that have waited, so that silence elsewhere proves nothing."""
    deltas: Deltas = {}
    tally: Tally | None = None
    """What became of the records of the range; the same in the partials for all merge partitions."""
    minutes: list[int] = []
    """The newest of the minutes that the range has counted events of, whether or not they add anything here."""
    brought: dict[str, str] = {}
    """Series that the sending worker had not met before, by key, and the sender who brought them."""

    @property
    def channel(self) -> str:
        """The channel of the source."""
        return self.source.partition("/")[0]


MINUTES: Final = 1_440
"""How many minutes of its range a partial names, at most."""

_LEVEL: Final = 1

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Partial)
_WIDE_DECODER: Final = msgspec.msgpack.Decoder(dict[str, Any])


def encode_partial(partial: Partial) -> bytes:
    """
    Return the record of a partial: message-pack, whole numbers beyond 64 bits as text, compressed.

    A range of history can hold a minute of its own for every event: uncompressed, such a record would be larger than a
    Kafka client sends, for ever.
    """
    return bytes(cramjam.zstd.compress(_packed(partial), _LEVEL))


def _packed(partial: Partial) -> bytes:
    try:
        return _ENCODER.encode(partial)
    except OverflowError:  # squares of large amounts; rare, so the common record pays nothing for it
        deltas = {
            minute: {
                key: [narrow(value) for value in acc] if isinstance(acc, list) else acc for key, acc in series.items()
            }
            for minute, series in partial.deltas.items()
        }
        return _ENCODER.encode({**msgspec.structs.asdict(partial), "deltas": deltas})


def decode_partial(record: bytes) -> Partial:
    """
    Return the partial of a record.

    Raises msgspec.ValidationError, msgspec.DecodeError or cramjam.DecompressionError for a record that
    `encode_partial` has not written.
    """
    packed = bytes(cramjam.zstd.decompress(record))
    try:
        return _DECODER.decode(packed)
    except msgspec.ValidationError:
        loose = _WIDE_DECODER.decode(packed)
        for series in loose.get("deltas", {}).values():
            for key, acc in series.items():
                if isinstance(acc, list):
                    series[key] = [int(value) for value in acc]
        return msgspec.convert(loose, Partial)


def narrow(value: int) -> int | str:
    """Return a whole number as message-pack can carry it: as text when it needs more than 64 bits."""
    return value if -(1 << 63) <= value < 1 << 63 else str(value)
