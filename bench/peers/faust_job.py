"""The job on stock Faust: `python faust_job.py BOOTSTRAP OUT PARTITIONS TOPIC...`; runs until it is ended."""

import sys
import tempfile

import faust

from bench.peers.contributions import contributions, merge

if __name__ == "__main__":
    bootstrap, out, partitions, *topics = sys.argv[1:]
    app = faust.App(
        f"{out}-faust",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        datadir=tempfile.mkdtemp(prefix="cx-faust-"),
        topic_partitions=int(partitions),
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
    )
    events = app.topic(*topics, value_type=bytes, value_serializer="raw")
    by_series = app.topic(f"{out}-by-series", key_type=str, key_serializer="raw", value_serializer="json")
    sums = app.Table("sums", key_type=str, value_type=list, partitions=int(partitions))
    results = app.topic(out, key_type=str, key_serializer="raw", value_serializer="json")

    @app.agent(events)
    async def contribute(stream):
        """Send what each event adds to where its series lives."""
        async for payload in stream:
            for series, minute, acc in contributions(payload):
                await by_series.send(key=series.encode(), value=[minute, acc])

    @app.agent(by_series)
    async def add(stream):
        """Add it up; the sum so far is the result."""
        async for key, (minute, acc) in stream.items():
            series = key.decode() if isinstance(key, bytes) else key
            place = f"{minute} {series}"
            known = sums.get(place)
            total = sums[place] = [acc] if known is None else [merge(known[0], acc)]
            await results.send(key=series.encode(), value=[minute, total[0]])

    print("READY", flush=True)
    app.Worker(loglevel="WARNING").execute_from_commandline()
