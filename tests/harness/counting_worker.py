"""A worker that counts numbers exactly: one fenced table, one lane, and switches to die in the wrong moment.

Run as a child by the integration tests; every line it prints is a JSON object.
"""

import argparse
import asyncio
import json
import os
import signal

import faust
import msgspec

from streams.engine import Assignment, BatchApp, RecordBatch, StaleGenerationError
from streams.engine.watchdog import Limits


class Count(msgspec.Struct, array_like=True):
    """Records of one source partition, complete up to `last`."""

    last: int = -1
    records: int = 0
    total: int = 0


def say(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, "pid": os.getpid(), **fields}), flush=True)


def build(options: argparse.Namespace) -> BatchApp:
    app = BatchApp(
        options.app_id,
        brokers=options.brokers,
        partitions=options.partitions,
        limits=Limits(rebalance_s=180.0),
        broker_session_timeout=6.0,
        broker_heartbeat_interval=0.5,
        consumer_group_instance_id=options.instance,
        sole=options.sole,
    )
    app.finish_timeout_s = options.finish_timeout_s
    table = app.fenced_table("counts")
    lane = app.lane(options.topic)
    counts: dict[int, Count] = {}
    waiting: list[RecordBatch] = []
    flushing = asyncio.Lock()
    seen = {"writes": 0, "skipped": 0}

    @lane.on_assigned
    async def take_over(assignment: Assignment) -> None:
        counts.clear()
        waiting.clear()
        keys: set[str] = set()
        for partition in assignment.owned:
            entries = table.load(partition)
            keys |= {key.decode() for key in entries}
            counts[partition] = msgspec.json.decode(entries[b"count"], type=Count) if entries else Count()
        records = sum(count.records for count in counts.values())
        say("assigned", generation=assignment.generation, owned=assignment.owned, records=records, keys=sorted(keys))

    @lane.on_finish
    async def flush() -> None:
        async with flushing:
            if lane.assignment is None or not waiting:
                return
            generation, done = lane.assignment.generation, list(waiting)
            waiting.clear()
            changed = {batch.partition for batch in done}
            await table.write_many(generation, [(p, b"count", msgspec.json.encode(counts[p])) for p in sorted(changed)])
            seen["writes"] += 1
            if seen["writes"] == options.kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
            lane.ack(*done)

    @app.agent(lane.topic, name="count")
    async def count(stream: faust.StreamT) -> None:
        async for batch in lane.batches(stream):
            state = counts[batch.partition]
            for offset, value in zip(batch.offsets, batch.values, strict=True):
                if offset <= state.last:
                    seen["skipped"] += 1
                    continue
                state.records += 1
                state.total += int(value or b"0")
            state.last = max(state.last, batch.last_offset)
            batch.release()
            waiting.append(batch)

    @app.timer(0.1)
    async def tick() -> None:
        try:
            await flush()
        except StaleGenerationError:
            say("stale")
        if lane.assignment is not None:
            caught_up = all(lane.caught_up(tp.topic, tp.partition) for tp in lane.assignment.tps)
            records = sum(state.records for state in counts.values())
            say("state", records=records, skipped=seen["skipped"], caught_up=caught_up and not waiting)

    if options.stuck_topic:
        stuck = app.lane(options.stuck_topic, stall_limit_s=None)

        @app.agent(stuck.topic, name="stuck")
        async def wait_for_ever(stream: faust.StreamT) -> None:
            async for batch in stuck.batches(stream):
                say("stuck", offset=batch.first_offset)
                await asyncio.Event().wait()

        @stuck.on_finish
        async def never() -> None:
            await asyncio.Event().wait()

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--app-id", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--instance")
    parser.add_argument("--sole", action="store_true")
    parser.add_argument("--kill-after", type=int, default=0)
    parser.add_argument("--stuck-topic")
    parser.add_argument("--finish-timeout-s", type=float, default=40.0)
    worker = faust.Worker(build(parser.parse_args()), loglevel="INFO")
    worker.execute_from_commandline()
