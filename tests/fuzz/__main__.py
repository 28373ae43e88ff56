"""
The long form of the fuzzer: `python -m tests.fuzz`.

Embedded broker and ClickHouse, a worker and a door, honest senders, and beside them 22,000 records and 10,000 requests of
all kinds. Prints figures, and ends with 1 if anything is wrong. Seeds that found something are worth keeping.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from streams.local.broker import EmbeddedBroker
from tests.fuzz.attack import attack
from tests.fuzz.records import KINDS, records
from tests.fuzz.requests import KINDS_OF_REQUESTS, requests
from tests.harness.clickhouse import fresh_database, running_server
from tests.harness.wholejob import Pipeline


def main() -> None:
    """Attack, and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--records", type=int, default=22_000, help="written to the topics (%(default)s)")
    parser.add_argument("--requests", type=int, default=10_000, help="sent to the door (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of both (%(default)s)")
    parser.add_argument("--partitions", type=int, default=2, help="of each topic (%(default)s)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cx-fuzz-") as name, running_server(Path(name) / "clickhouse") as server:
        folder = Path(name)
        broker = EmbeddedBroker(folder / "broker.log")
        broker.start()
        try:
            with fresh_database(server) as database:
                pipeline = Pipeline(broker.bootstrap, database, folder, chosen.partitions)
                try:
                    made, asked = records(chosen.records, chosen.seed), requests(chosen.requests, chosen.seed)
                    found = attack(pipeline, folder, made, asked)
                finally:
                    pipeline.close()
        finally:
            broker.stop()
    print(f"seed {chosen.seed}, {len(KINDS)} kinds of records, {len(KINDS_OF_REQUESTS)} of requests")
    for what, figure in found.figures.items():
        print(f"{what}: {figure}")
    for wrong in found.wrong:
        print(f"WRONG: {wrong}")
    sys.exit(1 if found.wrong else 0)


if __name__ == "__main__":
    main()
