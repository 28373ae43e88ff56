"""Topics for tests."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from streams.engine.drain import probe_end_offsets

PATIENCE_S = 180.0
"""Whatever a broker is asked for may take so long on a machine that has other things to do."""


def create_topics(bootstrap: str, partitions: Mapping[str, int], config: Mapping[str, str] | None = None) -> None:
    """Create topics with so many partitions each."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        names = list(partitions)
        admin.create_topics(
            [NewTopic(name, count, 1, topic_configs=dict(config or {})) for name, count in partitions.items()]
        )
        deadline = time.monotonic() + PATIENCE_S
        while any(topic["error_code"] for topic in admin.describe_topics(names)):
            assert time.monotonic() < deadline, f"{names} do not appear"
            time.sleep(0.05)
    finally:
        admin.close()


def read_all(bootstrap: str, topic: str) -> list[Any]:
    """Every record that a topic holds now, in the order of its partitions and offsets."""
    return asyncio.run(_read_all(bootstrap, topic))


async def _read_all(bootstrap: str, topic: str) -> list[Any]:
    # aiokafka can undo every compression.
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", request_timeout_ms=round(1000 * PATIENCE_S)
    )
    await consumer.start()
    try:
        deadline = time.monotonic() + PATIENCE_S
        parts, ends, found = consumer.assignment(), {}, []
        assert parts, f"{topic} has no partitions"
        while ends.keys() != parts:
            assert time.monotonic() < deadline, f"the ends of {topic} are not told"
            ends = await probe_end_offsets(consumer, await consumer.end_offsets(parts))
        while any([await consumer.position(part) < end for part, end in ends.items()]):
            assert time.monotonic() < deadline, f"only {len(found)} records of {topic} came, up to {ends} are there"
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
    finally:
        await consumer.stop()
    return sorted(found, key=lambda record: (record.partition, record.offset))
