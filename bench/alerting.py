"""
How long from the closing of a minute until an alert about it has reached a webhook, under a steady load.

    .venv/bin/python -m bench.alerting --rate 5000 --seconds 240

Shops whose customers turn from happy to unhappy and back with every second minute, so that every closing makes half of
them fire or end. A minute can close as soon as every source has told of an event `lateness` after it; counted is from
that moment of the wall clock, since events are sent with its time. So it holds whatever comes behind: reading, freezing,
merging, judging, saving, asking the store for words and movements, sending, delivering.
"""

import argparse
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.pool import pool
from bench.stand import MemoryBudget, Stand
from streams.producers.client import TouchpointProducer
from streams.producers.simulator import Emission, recycled
from tests.harness.receiver import Received, Receiver

LATENESS_S = 10.0
"""Shorter than the default minute, so that a run of minutes shows several closings; what is measured begins behind it."""
ANSWERS_PER_MINUTE = 40
SETTLE_MINUTES = 1

RULES = """
groups:
  - name: bench
    rules:
      - alert: ShopCsat
        kpi: csat
        by: [unitid]
        method: floor
        params: {target: 70}
        window: 1m
        min_n: 30
        min_denominator: 1
        recover: {above: 70}
        keep_firing_for: 0m
        inhibit_by: []
        limit: 1000
        severity: ticket
        owner: stores
"""

_TIME = b'"time":"'


def main() -> None:
    """Run it and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=5_000.0, help="events per second of the whole job")
    parser.add_argument("--seconds", type=int, default=240)
    parser.add_argument("--shops", type=int, default=40, help="series that fire or end, half of them each minute")
    parser.add_argument("--partitions", type=int, default=4)
    chosen = parser.parse_args()
    events = pool(50_000, 500.0, 7, _say)
    with (
        tempfile.TemporaryDirectory(prefix="cx-alerting-") as folder,
        Receiver() as receiver,
        Stand("embedded", Path(folder), chosen.partitions) as stand,
    ):
        rules = Path(folder) / "rules.yaml"
        rules.write_text(RULES)
        budget = stand.budget(
            "cxalerting",
            {"CX_RULES_PATH": str(rules), "CX_WEBHOOKS": receiver.url, "CX_LATENESS_S": str(LATENESS_S)},
        )
        with stand.worker(budget) as worker:
            before, began = worker.usage(), time.monotonic()
            sent = _send(stand, budget, events, chosen.rate, chosen.seconds, chosen.shops)
            wall_s = time.monotonic() - began
            cpu = (worker.usage().cpu_s - before.cpu_s) / wall_s
            time.sleep(3)
        _print(receiver.received, sent / wall_s, cpu, began_at=time.time() - wall_s - 3)


def _send(stand: Stand, budget: MemoryBudget, events: Sequence[Emission], rate: float, seconds: int, shops: int) -> int:
    """Send the load and the shops' answers, all with the time of the clock; return how many."""
    number = 0
    supply = recycled(list(events), 1 << 40)
    with TouchpointProducer(stand.broker.bootstrap, topic_prefix=budget.name) as producer:
        began = time.monotonic()
        answers = _answers(shops)
        answered = 0
        while (now := time.monotonic()) < began + seconds:
            stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
            due = int((now - began) * rate)
            while number < due:
                one = next(supply)
                producer.send_encoded(_now(one.payload, stamp), one.channel, one.subject)
                number += 1
            while answered < int((now - began) * shops * ANSWERS_PER_MINUTE / 60):
                subject, payload = next(answers)
                producer.send_encoded(payload, "store", subject)
                answered += 1
            time.sleep(0.005)
    return number + answered


def _answers(shops: int) -> Iterator[tuple[str, bytes]]:
    """Yield answers of one shop after the other; even shops are bad in even minutes, odd ones in odd minutes."""
    number = 0
    while True:
        number += 1
        shop, now = number % shops, time.time()
        score = 1 if shop % 2 == int(now // 60) % 2 else 5
        at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        subject = f"bench-{number % 997}"
        yield (
            subject,
            msgspec.json.encode(
                {
                    "specversion": "1.0", "id": str(uuid.uuid4()), "source": "/bench", "type": "cx.survey.answered",
                    "time": at, "subject": subject, "channel": "store", "unitid": f"bench-shop-{shop}",
                    "data": {"survey_id": "bench", "metric": "csat", "scale": 5, "score": score},
                }
            ),
        )  # fmt: skip


def _now(payload: bytes, stamp: bytes) -> bytes:
    head, found, tail = payload.partition(_TIME)
    return head + found + stamp + tail[tail.index(b'"') :] if found else payload


def _print(received: Sequence[Received], rate: float, cpu: float, *, began_at: float) -> None:
    """Print delays of the alerts of shops, without the first minutes, in which the worker starts."""
    first = began_at + 60 * (1 + SETTLE_MINUTES)
    alerts = [(one.at, one.json) for one in received if one.json["rule"] == "ShopCsat"]
    delays = [at - (alert["at"] + LATENESS_S) for at, alert in alerts if alert["at"] >= first]
    minutes = len({alert["at"] for _, alert in alerts if alert["at"] >= first})
    if len(delays) < 2:
        sys.exit(f"only {len(delays)} alerts came: nothing is measured")
    cuts = statistics.quantiles(delays, n=100)
    print(
        f"{rate:,.0f} events/s, worker at {100 * cpu:.0f} % of a core, {len(delays)} alerts of {minutes} closed minutes"
    )
    print(
        f"closing to webhook: p50 {cuts[49]:.2f} s, p90 {cuts[89]:.2f} s, p99 {cuts[98]:.2f} s, most {max(delays):.2f} s"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
