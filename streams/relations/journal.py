"""
How the states of the customers of one partition are written down: names and contents of the records of its changelog.

| record | key | value |
|---|---|---|
| step | `s` | what the newest step takes: written before it is taken |
| part | `p/<step>/<number>` | customers as a step has left them |
| marker | `m` | the newest step that is done |
| bucket | `b/<bucket>` | all customers of a bucket, as of a step |

A step writes a few customers of many: parts are short, and say only what changed. Now and then whole buckets are
written, so that the parts before them are needed no more.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias

import cramjam
import msgspec

from streams.kpis.rolling.watermarks import SourceReport
from streams.relations.facts import Fact
from streams.relations.pages import CustomerPage, Kept, pages_of

Record: TypeAlias = tuple[bytes, bytes | None]
"""Key and value; None deletes what the key named."""

STEP_KEY: Final = b"s"
MARKER_KEY: Final = b"m"
_LEVEL: Final = 1


class RelationStep(msgspec.Struct, array_like=True, frozen=True):
    """
    What one step takes.

    Attributes:
        number: Counts the steps.
        fence: Position of the last record of facts that had been read.
        since, until: The watermarks before and after it, in milliseconds.
        whole: Up to this position facts that are ahead of the watermark are in their customers' states too.
        applied: Last position by source.
        reports: What sources said of themselves.
        watermark: What followed from that, Unix s.
    """

    number: int = 0
    fence: int = -1
    since: int = 0
    until: int = 0
    whole: int = -1
    applied: dict[str, int] = {}
    reports: dict[str, SourceReport] = {}
    watermark: float | None = None

    def has(self, position: int, time: int, *, early: bool = True) -> bool:
        """Whether a fact of that position and time was taken by it or one before it; `early`: it may be, any time."""
        return (early and position <= self.whole) or (position <= self.fence and time <= self.until)


class StepMarker(msgspec.Struct, array_like=True, frozen=True):
    """
    The newest step that is done.

    Attributes:
        emitted: The offset of the last derived event sent by then; -1: none was.
        sent: The number of the last range that was sent to another partition.
        moved: How many keys have moved to another one.
    """

    step: RelationStep = RelationStep()
    emitted: int = -1
    sent: int = -1
    moved: int = 0


class CustomerPart(msgspec.Struct, array_like=True):
    """
    Customers, and the step that left them so; `emitted` as in a marker.

    Attributes:
        letters: Messages to other customers, sent when the step ends.
        moved: How many more keys have moved to another one.
    """

    step: int
    customers: list[tuple[str, Kept]]
    emitted: int = -1
    letters: list[tuple[str, Fact]] = []
    moved: int = 0


class CustomerBucket(msgspec.Struct, array_like=True, frozen=True):
    """All customers of a bucket in order, as of a step."""

    step: int
    pages: list[CustomerPage]


_encode: Final = msgspec.msgpack.Encoder().encode
_BUCKET: Final = msgspec.msgpack.Decoder(CustomerBucket)
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_STEP: Final = msgspec.msgpack.Decoder(RelationStep)
_MARKER: Final = msgspec.msgpack.Decoder(StepMarker)
_PART: Final = msgspec.msgpack.Decoder(CustomerPart)


class SavedPart(msgspec.Struct, frozen=True):
    """The record of a part, packed: together they are larger than all that is kept in memory."""

    key: bytes
    step: int
    number: int
    packed: bytes

    def read(self) -> CustomerPart:
        """Return what it says."""
        return _unpacked(self.packed)


class SavedCustomers(msgspec.Struct):
    """What a changelog says; parts in the order in which they were written."""

    step: RelationStep
    marker: StepMarker
    buckets: dict[int, CustomerBucket]
    parts: list[SavedPart]


def step_record(step: RelationStep) -> Record:
    """Return the record of a step that is about to be taken."""
    return STEP_KEY, _encode(step)


def marker_record(marker: StepMarker) -> Record:
    """Return the record that says that a step is done."""
    return MARKER_KEY, _encode(marker)


def part_record(number: int, part: CustomerPart) -> tuple[bytes, bytes]:
    """Return the record of the customers that a step has left otherwise, numbered within the step."""
    return b"p/%d/%d" % (part.step, number), _packed(part)


def bucket_record(number: int, bucket: CustomerBucket) -> tuple[bytes, bytes]:
    """Return the record of all customers of a bucket."""
    return b"b/%d" % number, _encode(bucket)


def read_bucket(value: bytes) -> CustomerBucket:
    """Return the bucket of a record; its pages stay where they are."""
    if value.startswith(_ZSTD):  # as it was written before there were pages
        part = _unpacked(value)
        return CustomerBucket(part.step, [*pages_of(part.customers)])
    return _BUCKET.decode(value)


def read_back(records: Iterable[tuple[bytes, bytes]]) -> SavedCustomers:
    """
    Sort records into what they say.

    Raises:
        ValueError: A key is none of ours.
    """
    saved = SavedCustomers(RelationStep(), StepMarker(), {}, [])
    for key, value in records:
        kind, *numbers = key.split(b"/")
        match kind, [int(number) for number in numbers]:
            case b"s", []:
                saved.step = _STEP.decode(value)
            case b"m", []:
                saved.marker = _MARKER.decode(value)
            case b"b", [bucket]:
                saved.buckets[bucket] = read_bucket(value)
            case b"p", [step, place]:
                saved.parts.append(SavedPart(key, step, place, value))
            case _:
                raise ValueError(f"record {key!r} is none of the customers of a partition")
    saved.parts.sort(key=lambda part: (part.step, part.number))
    return saved


def _packed(part: CustomerPart) -> bytes:
    return bytes(cramjam.zstd.compress(_encode(part), _LEVEL))


def _unpacked(record: bytes) -> CustomerPart:
    return _PART.decode(bytes(cramjam.zstd.decompress(record)))
