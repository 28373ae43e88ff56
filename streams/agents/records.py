"""What the agents write to each other's topics: one record per range or flush, never one per event."""

import base64
from collections.abc import Iterator

import msgspec

from streams import __version__
from streams.alerts.types import Transition
from streams.engine.batch import RecordBatch
from streams.events.intake import Outcome, Tally
from streams.kpis.folding.ranges import RangeTimes, times_of
from streams.kpis.rolling.publish import PublishedMinute, PublishedValue
from streams.relations.ranges import FactRange, decode_range
from streams.storage.rows import Events, pack_events
from streams.storage.setaside import EXPECTED, REASON, SetAside

EPOCH_BITS = 40

_encoder = msgspec.msgpack.Encoder()


class DeadLetterRecord(msgspec.Struct, frozen=True, array_like=True):
    """A refused record with the reason; see `streams.events.decode.Refusal` for the fields."""

    offset: int
    reason: str
    path: str
    got: str
    expected: str
    message: str
    payload: bytes


class BlockRecord(msgspec.Struct, frozen=True, array_like=True):
    """One frozen range of a source as it is stored: the same range always gives the same bytes."""

    topic: str
    partition: int
    first: int
    last: int
    at: float
    """When the range was taken in (Unix s); repeated unchanged after a crash."""
    tally: Tally
    events: Events
    dead: list[DeadLetterRecord]
    times: RangeTimes = RangeTimes()
    """When KPIs count it; not at all in blocks from before they did."""


def position(epoch: int, offset: int) -> int:
    """Return an offset that stays unique when topics are created anew: the epoch in the high bits."""
    return (epoch << EPOCH_BITS) + offset


def epoch_of(position: int) -> int:
    """Return the epoch of a position."""
    return position >> EPOCH_BITS


def block_of(outcome: Outcome, topic: str, partition: int, epoch: int) -> BlockRecord:
    """Build the block of a closed range; its offsets are positions."""
    frozen = outcome.frozen
    base = position(epoch, 0)
    dead = [
        DeadLetterRecord(
            base + bad.offset,
            bad.refusal.reason,
            bad.refusal.path,
            bad.refusal.got,
            bad.refusal.expected,
            bad.refusal.message,
            bad.payload,
        )
        for bad in sorted([*outcome.bad, *outcome.conflicts], key=lambda one: one.offset)
    ]
    return BlockRecord(
        topic,
        partition,
        base + frozen.first,
        base + frozen.last,
        frozen.now,
        outcome.tally,
        pack_events(
            topic,
            partition,
            [base + offset for offset in outcome.offsets] if epoch else outcome.offsets,
            outcome.payloads,
            [base + offset for offset in outcome.late_offsets],
            outcome.unambiguous,
        ),
        dead,
        times_of(frozen),
    )


def encode_dead_letter(block: BlockRecord, dead: DeadLetterRecord) -> bytes:
    """Return a dead letter for its topic, as JSON: the block's place, the reason, the original bytes."""
    return msgspec.json.encode(
        {
            "topic": block.topic,
            "partition": block.partition,
            "offset": dead.offset,
            "reason": dead.reason,
            "path": dead.path,
            "got": dead.got,
            "expected": dead.expected,
            "message": dead.message,
            "payload": base64.b64encode(dead.payload).decode(),
            "code_version": __version__,
            "at": block.at,
        }
    )


def encode_set_aside(letter: SetAside) -> bytes:
    """Return a row that the store refuses as it is written to the topic of dead letters, as JSON."""
    return msgspec.json.encode(
        {
            "topic": letter.topic,
            "partition": letter.partition,
            "offset": letter.offset,
            "reason": REASON,
            "path": "",
            "got": letter.got,
            "expected": EXPECTED,
            "message": letter.message,
            "payload": base64.b64encode(letter.payload).decode(),
            "code_version": __version__,
            "at": letter.at,
        }
    )


class KpiRecord(msgspec.Struct, frozen=True):
    """A part of what one flush of a merge partition publishes on `cx.kpis`, as JSON for everybody who listens."""

    at: float
    """When it was published (Unix s)."""
    minutes: list[PublishedMinute]
    values: list[PublishedValue]


class AlertRecord(Transition, kw_only=True):
    """A transition as published on `cx.alerts`, as JSON for everybody who listens, and as webhooks are sent it."""

    id: str
    """Names it for ever: what comes again under the same id is the same."""
    at: int
    """End of the judged minute, Unix s of event time."""
    published: float
    """When it was sent first (Unix s)."""


def alert_of(transition: Transition, partition: int, epoch: int, published: float) -> AlertRecord:
    """Return the record of a transition; its id is made of partition, epoch and sequence number."""
    return AlertRecord(
        id=f"{partition}/{epoch}/{transition.seq}",
        at=(transition.minute + 1) * 60,
        published=published,
        **{name: getattr(transition, name) for name in Transition.__struct_fields__},
    )


encode = _encoder.encode
encode_block = _encoder.encode
decode_block = msgspec.msgpack.Decoder(BlockRecord).decode
encode_kpis = msgspec.json.Encoder().encode
encode_alert = msgspec.json.Encoder().encode
decode_alert = msgspec.json.Decoder(AlertRecord).decode
decode_kpis = msgspec.json.Decoder(KpiRecord).decode


def fact_ranges(batch: RecordBatch, epoch: int) -> Iterator[tuple[FactRange, int]]:
    """
    Yield the ranges of facts of a batch, each with its position.

    Raises:
        ValueError: A record is none.
    """
    for value, offset in zip(batch.values, batch.offsets, strict=True):
        if value is None:
            raise ValueError(f"{batch.topic}/{batch.partition}@{offset}: a range of facts cannot be empty")
        yield decode_range(value), position(epoch, offset)
