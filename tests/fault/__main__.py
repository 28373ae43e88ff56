"""
The long form of the fault suite: `python -m tests.fault --minutes 30`.

Scenarios are run one after the other, again and again with the next seed, until the time is over. Each begins with
fresh topics and an empty database, does its faults under live traffic, and is compared with the oracle at its end.
"""

import argparse
import logging
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.fault.report import Line, keep_evidence, remember, summary, write_report
from tests.fault.running import ImpossibleError, Stage
from tests.fault.scenarios import SCENARIOS


def main() -> None:
    """Run, print, write the figures; exit 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long to go on (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first batch of each scenario (%(default)s)")
    parser.add_argument("--only", help=f"scenarios, comma-separated: {', '.join(SCENARIOS)}")
    parser.add_argument("--batches", type=int, default=0, help="of each scenario, at most; 0: as time allows")
    parser.add_argument("--faults", type=int, default=0, help="per batch; 0: as the scenario has it")
    parser.add_argument("--rate", type=float, default=300.0, help="events per second (%(default)s)")
    parser.add_argument("--evidence", type=Path, help="folder for the logs of what failed")
    parser.add_argument("--results", type=Path, help="file of figures that this run's are added to")
    parser.add_argument("--report", type=Path, help="document whose figures are written anew, from all results")
    chosen = parser.parse_args()
    names = chosen.only.split(",") if chosen.only else list(SCENARIOS)
    if unknown := [name for name in names if name not in SCENARIOS]:
        parser.error(f"--only: no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    logging.basicConfig(level=logging.CRITICAL)  # clients tell of every connection that this suite cuts
    # Whatever was started is ended with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    deadline = time.monotonic() + 60 * chosen.minutes
    outcomes, lines, broken = [], list[Line](), list[str]()
    with tempfile.TemporaryDirectory(prefix="cx-fault-") as folder, Stage(Path(folder)) as stage:
        seed = chosen.seed
        while time.monotonic() < deadline and not 0 < chosen.batches <= seed - chosen.seed:
            for name in names:
                if time.monotonic() > deadline:
                    break
                try:
                    outcome = stage.run(SCENARIOS[name], seed, rate=chosen.rate, faults=chosen.faults)
                except ImpossibleError as error:
                    print(f"{name} left out: {error}", flush=True)
                    continue
                except Exception as error:  # noqa: BLE001 - the suite's own trouble is no reason to leave out the rest
                    print(f"{name} seed {seed} broke off: {error!r}", flush=True)
                    traceback.print_exc()
                    broken.append(name)
                    continue
                outcomes.append(outcome)
                lines.append(Line.of(outcome))
                if chosen.results:
                    remember(lines[-1:], chosen.results)
                print(summary(outcome), flush=True)
                if not outcome.passed and chosen.evidence:
                    print(
                        f"  evidence: {keep_evidence(outcome, stage.folder_of(outcome), chosen.evidence)}", flush=True
                    )
                stage.clear(outcome)
            seed += 1
    if chosen.report:
        write_report(chosen.report, remember([], chosen.results) if chosen.results else lines)
    sys.exit(0 if not broken and all(outcome.passed for outcome in outcomes) else 1)


if __name__ == "__main__":
    main()
