"""
From bytes to events, and back.

Every record is decoded and validated in one pass of C code. A record that fails costs its own explanation only:
its neighbours are neither decoded again nor affected, whatever bytes it holds.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from streams.events.finite import unfinite
from streams.events.limits import CONTRACT, Excess, RecordLimits, excess
from streams.events.mending import Mended, mend
from streams.events.refusal import Refusal, of_excess
from streams.events.refusal import explain as explain_fully
from streams.events.types import DERIVED_TYPES, Envelope, derived_union, wire_union

__all__ = [
    "Batch",
    "Refusal",
    "canonical",
    "decode_batch",
    "decode_derived",
    "decode_one",
    "decode_stored",
    "encode",
    "read_batch",
    "unambiguous",
]

_decode_sent: Final = msgspec.json.Decoder(wire_union()).decode
_encode: Final = msgspec.json.Encoder().encode
_in_order: Final = msgspec.json.Encoder(order="deterministic").encode
_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Batch(NamedTuple):
    """
    What became of a batch of records.

    `events` has one entry per record, None where it was refused; `refusals` are ascending by index; `mended` has, by
    index, the records that were mended before they were taken, as they read by then.
    """

    events: list[Envelope | None]
    refusals: list[Refusal]
    mended: dict[int, Mended]


def decode_batch(
    values: Sequence[bytes | None],
    explain: Callable[[int, bytes | None], Refusal] | None = None,
    limits: RecordLimits = CONTRACT,
) -> tuple[list[Envelope | None], list[Refusal]]:
    """Decode and validate a batch of records, of which the caller keeps none: see `read_batch`."""
    events, refusals, _ = read_batch(values, explain, limits)
    return events, refusals


def read_batch(
    values: Sequence[bytes | None],
    explain: Callable[[int, bytes | None], Refusal] | None = None,
    limits: RecordLimits = CONTRACT,
    *,
    derived: bool = False,
) -> Batch:
    """
    Decode and validate a batch of records.

    Args:
        values: the records.
        explain: says why one was refused, by its place and content; None: in full.
        limits: what each of them may hold.
        derived: whether they are what relations say, and not what channels send: neither can be the other.

    Returns:
        What became of each. The outcome of a record does not depend on its neighbours. No content makes this raise.
    """
    decode = _decode_derived(tuple(DERIVED_TYPES.values())) if derived else _decode_sent
    events: list[Envelope | None] = []
    refusals: list[Refusal] = []
    mended: dict[int, Mended] = {}
    longest = max(map(len, filter(None, values)), default=0)
    beyond = _beyond(values, limits) if longest > limits.harmless else {}
    records = iter(_readable(_without(values, beyond) if beyond else values))
    while True:
        try:
            # A failure leaves the events before it in the list: the list's length is the failing record's index.
            events.extend(map(decode, records))  # type: ignore[arg-type]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError) as error:
            index = len(events)
            if isinstance(error, TypeError) and values[index] is not None:
                raise
            value = values[index]
            better = mend(value) if value and index not in beyond else None
            event = _decoded(decode, better.value) if better else None
            if better and event is not None:
                mended[index] = better
            elif index in beyond and not explain:
                refusals.append(of_excess(index, beyond[index]))
            else:
                # What could be mended is not why it was refused.
                refused = better.value if better else value
                refusals.append(
                    explain(index, refused) if explain else explain_fully(index, refused, limits, derived=derived)
                )
            events.append(event)
        else:
            return Batch(events, refusals, mended)


def decode_one(value: bytes | None) -> Envelope | Refusal:
    """Decode and validate a single record that was sent."""
    (event,), refusals = decode_batch([value])
    return refusals[0] if event is None else event


def decode_derived(value: bytes | None) -> Envelope | Refusal:
    """Decode and validate a single record that says what was derived."""
    (event,), refusals, _ = read_batch([value], derived=True)
    return refusals[0] if event is None else event


def decode_stored(value: bytes) -> Envelope | Refusal:
    """Decode and validate a single record that was taken once, sent or derived."""
    event = decode_one(value)
    unknown = isinstance(event, Refusal) and event.reason == "unknown_type" and event.got in DERIVED_TYPES
    return decode_derived(value) if unknown else event


def encode(event: Envelope) -> bytes:
    """
    Write an event as it goes over the wire: JSON, with attributes that hold nothing left out.

    Raises:
        ValueError: JSON cannot hold one of its numbers.
    """
    payload = _encode(event)
    if (found := unfinite(event, payload)) is not None:
        raise ValueError(f"{found.path} is {found.got}, which JSON cannot hold")
    return payload


def canonical(event: Envelope) -> bytes:
    """
    Write what an event says: the same for every order of its members, white space and way to write a number or letter,
    and for every offset that its time is written with.

    A time that was filled in on its way is left out, for sent again it has another one; so is what the contract does
    not know.
    """
    if event.timeimputed:
        event = msgspec.structs.replace(event, time=_NO_TIME)
    elif event.time.tzinfo is not UTC:
        event = msgspec.structs.replace(event, time=_in_utc(event.time))
    return _in_order(event)


def unambiguous(values: Sequence[bytes], said: Sequence[bytes]) -> bytes:
    """
    Find the records that every reader of JSON reads alike: a byte for each, 1 for those that are known to be so.

    Args:
        values: Records that were taken: in UTF-8, and one of ours.
        said: What `canonical` writes of each.
    """
    # Nearly always all are as we would write them ourselves, which one comparison shows.
    return b"\1" * len(values) if values == said else bytes(map(_reads_alike, values, said))


def _reads_alike(value: bytes, said: bytes) -> bool:
    """
    Return whether no key stands twice in a record, and no number that is beyond some reader.

    Each key and text of `said` stands in the record, too. Where there are as many, there is none besides: no key twice,
    and none that is unknown, which alone may hold any number. With a backslash quotation marks tell of nothing.
    """
    return value == said or (b"\\" not in value and value.count(b'"') == said.count(b'"'))


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        # At the ends of the calendar there is no such moment in UTC; the event is refused for its time.
        return at


def _readable(values: Sequence[bytes | None]) -> Sequence[bytes | None]:
    """
    Empty the records that are not UTF-8, so that decoding refuses them.

    The decoder skips fields it does not know without a look at their text; the store reads whole records, or none.
    """
    try:
        for _ in map(bytes.decode, filter(None, values)):
            pass
    except UnicodeDecodeError:
        return [value if not value or _utf8(value) else b"" for value in values]
    return values


def _utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


@lru_cache(maxsize=1)
def _decode_derived(known: tuple[type[Envelope], ...]) -> Callable[[bytes], Any]:  # noqa: ARG001 - who knows others, decodes anew
    return msgspec.json.Decoder(derived_union()).decode


def _decoded(decode: Callable[[bytes], Any], value: bytes) -> Envelope | None:
    try:
        event: Envelope = decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return event


def _beyond(values: Sequence[bytes | None], limits: RecordLimits) -> dict[int, Excess]:
    found = ((index, excess(value, limits)) for index, value in enumerate(values) if value)
    return {index: exceeded for index, exceeded in found if exceeded is not None}


def _without(values: Sequence[bytes | None], beyond: Mapping[int, Excess]) -> list[bytes | None]:
    """
    Empty the records that are beyond a limit, so that decoding refuses them.

    The decoder's own limit of depth depends on how deep its caller stands; what is refused must not.
    """
    return [b"" if index in beyond else value for index, value in enumerate(values)]
