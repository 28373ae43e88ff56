"""The job on Bytewax: `python bytewax_job.py BOOTSTRAP OUT TOPIC...`; ends at the end of its input."""

import json
import sys
from datetime import UTC, datetime, timedelta

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.testing import cluster_main

from bench.peers.contributions import contributions, merge

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def _contribute(message):
    return [(series, (minute, acc)) for series, minute, acc in contributions(message.value)]


def _message(item):
    series, (window, acc) = item
    return KafkaSinkMessage(series.encode(), json.dumps([window, acc]).encode())


def dataflow(bootstrap: str, out: str, topics: list[str]) -> Dataflow:
    """Kafka → contributions → one-minute windows of event time → Kafka."""
    flow = Dataflow("kpis")
    read = kop.input("in", flow, brokers=[bootstrap], topics=topics, tail=False, batch_size=1000)
    contributed = op.flat_map("contribute", read.oks, _contribute)
    windows = win.fold_window(
        "minutes",
        contributed,
        # Long enough for the partitions, which are read one faster than the other.
        win.EventClock(lambda item: EPOCH + item[0] * MINUTE, wait_for_system_duration=timedelta(hours=1)),
        win.TumblingWindower(length=MINUTE, align_to=EPOCH),
        lambda: None,
        lambda acc, item: item[1] if acc is None else merge(acc, item[1]),
        merge,
        ordered=False,
    )
    kop.output("out", op.map("pack", windows.down, _message), brokers=[bootstrap], topic=out)
    return flow


if __name__ == "__main__":
    bootstrap, out, *topics = sys.argv[1:]
    job = dataflow(bootstrap, out, topics)
    print("READY", flush=True)
    cluster_main(job, [], 0)
