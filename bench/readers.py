"""
Bare readers of the source topics, to compare with: `python -m bench.readers KIND BOOTSTRAP PREFIX PARTITIONS COUNT`.

Each reads all partitions to `COUNT` records and prints one JSON object: records, CPU seconds of the process from its
first fetch to its last record, wall clock. Neither validates, deduplicates, counts, keeps or stores anything.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable

from streams.engine.names import CHANNELS

KINDS = ("aiokafka", "confluent")


def _decode(value: bytes) -> object:
    try:
        return json.loads(value)
    except ValueError:  # the benchmark's traffic has a few bad records
        return None


def _aiokafka(bootstrap: str, topics: list[tuple[str, int]], count: int) -> tuple[float, float]:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    async def read() -> tuple[float, float]:
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, partition) for topic, partition in topics]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            cpu, wall, seen = time.process_time(), time.monotonic(), 0
            while seen < count:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        _decode(record.value)
                    seen += len(records)
            return time.process_time() - cpu, time.monotonic() - wall
        finally:
            await consumer.stop()

    return asyncio.run(read())


def _confluent(bootstrap: str, topics: list[tuple[str, int]], count: int) -> tuple[float, float]:
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-reader", "enable.auto.commit": False})
    try:
        cpu, wall, seen = time.process_time(), time.monotonic(), 0
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in topics])
        while seen < count:
            messages = consumer.consume(10_000, 0.5)
            for message in messages:
                if message.error() is not None:
                    raise RuntimeError(str(message.error()))
                _decode(message.value())
            seen += len(messages)
        return time.process_time() - cpu, time.monotonic() - wall
    finally:
        consumer.close()


_READERS: dict[str, Callable[[str, list[tuple[str, int]], int], tuple[float, float]]] = {
    "aiokafka": _aiokafka,
    "confluent": _confluent,
}


def main() -> None:
    """Read, and print what it took."""
    kind, bootstrap, prefix, partitions, count = sys.argv[1:]
    topics = [(f"{prefix}.touchpoints.{channel}", p) for channel in CHANNELS for p in range(int(partitions))]
    cpu_s, wall_s = _READERS[kind](bootstrap, topics, int(count))
    print(json.dumps({"records": int(count), "cpu_s": cpu_s, "wall_s": wall_s}))


if __name__ == "__main__":
    main()
