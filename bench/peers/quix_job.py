"""The job on Quix Streams: `python quix_job.py BOOTSTRAP OUT TOPIC...`; runs until it is ended."""

import sys
import tempfile

from quixstreams import Application

from bench.peers.contributions import contributions, merge


def _contribute(payload):
    return [{"s": series, "m": minute, "a": acc} for series, minute, acc in contributions(payload)]


if __name__ == "__main__":
    bootstrap, out, *topics = sys.argv[1:]
    app = Application(
        broker_address=bootstrap,
        consumer_group=f"{out}-quix",
        auto_offset_reset="earliest",
        state_dir=tempfile.mkdtemp(prefix="cx-quix-"),
        loglevel="WARNING",
    )
    frames = [app.dataframe(app.topic(topic, value_deserializer="bytes")) for topic in topics]
    events = frames[0]
    for frame in frames[1:]:
        events = events.concat(frame)
    (
        events.apply(_contribute, expand=True)
        .set_timestamp(lambda value, *_: value["m"] * 60_000)
        .group_by("s")
        # Long enough for the partitions, which are read one faster than the other.
        .tumbling_window(60_000, grace_ms=3_600_000)
        .reduce(lambda agg, item: {**agg, "a": merge(agg["a"], item["a"])}, lambda item: item)
        .current()
        .apply(lambda row: [row["value"]["m"], row["value"]["a"]])
        .to_topic(app.topic(out, key_serializer="str", value_serializer="json"))
    )
    print("READY", flush=True)
    app.run()
