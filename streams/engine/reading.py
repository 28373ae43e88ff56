"""Whole topics, read once from beginning to end for those who look into them: no group, nothing is committed."""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streams.engine.drain import probe_end_offsets
from streams.engine.topics import TopicsError
from streams.secured.aio import reading_options
from streams.settings import Settings

_PAUSE_S: Final = 0.1
_ANSWER_S: Final = 60.0


def read_topics(
    settings: Settings, topics: Sequence[str], see: Callable[[str, Sequence[tuple[bytes, bytes]]], None]
) -> list[str]:
    """
    Show every record that topics hold now, a fetch at a time.

    Args:
        settings: Where Kafka is.
        topics: Those that do not exist are passed over.
        see: Is given the name of a topic, and keys and values of records of it.

    Returns:
        The topics that were read.

    Raises:
        TopicsError: Kafka does not serve.
    """
    try:
        return asyncio.run(_read(settings, topics, see))
    except (KafkaError, OSError, TimeoutError) as error:
        raise TopicsError(f"{settings.kafka} cannot be read: {error or type(error).__name__}") from error


async def _read(settings: Settings, topics: Sequence[str], see: Callable[..., None]) -> list[str]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        client_id="cx-reading",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **reading_options(settings),
    )
    await consumer.start()
    try:
        existing = await consumer.topics()
        firsts = [TopicPartition(topic, 0) for topic in topics if topic in existing]
        if firsts:
            # The client knows the partitions of topics that it is assigned to, and of no others: asked for the ends of
            # these, it has learnt of all.
            consumer.assign(firsts)
            await consumer.end_offsets(firsts)
        parts = [
            TopicPartition(first.topic, number)
            for first in firsts
            for number in sorted(consumer.partitions_for_topic(first.topic) or ())
        ]
        if parts:
            await _whole(consumer, parts, see)
        read = list(dict.fromkeys(part.topic for part in parts))
        if len(read) < len(firsts):
            unread = next(first.topic for first in firsts if first.topic not in read)
            raise TopicsError(f"{settings.kafka} names no partitions of {unread}")
        return read
    finally:
        await consumer.stop()


async def _whole(consumer: Any, parts: Sequence[TopicPartition], see: Callable[..., None]) -> None:
    consumer.assign(parts)
    for part, start in (await consumer.beginning_offsets(parts)).items():
        consumer.seek(part, start)
    # The embedded broker tells the start of the last batch for the end: only the answer to a fetch is right.
    claimed, probed = await consumer.end_offsets(parts), dict[Any, int]()
    async with asyncio.timeout(_ANSWER_S):
        while probed.keys() != claimed.keys():
            probed = await probe_end_offsets(consumer, claimed)
            await asyncio.sleep(_PAUSE_S)
    heard = monotonic()
    while waiting := [part for part in parts if await consumer.position(part) < max(claimed[part], probed[part])]:
        found = await consumer.getmany(*waiting, timeout_ms=500)
        if not found and monotonic() - heard > _ANSWER_S:
            raise TimeoutError(f"nothing came of {waiting[0].topic} for {_ANSWER_S:.0f} s")
        heard = monotonic() if found else heard
        for part, records in found.items():
            see(part.topic, [(bytes(record.key or b""), bytes(record.value or b"")) for record in records])
