"""What the fault suite says: a line per batch, evidence of what failed, and the figures in the documentation."""

import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fault.evidence import Outcome

BEGIN, END = "<!-- figures of the fault suite: written by it -->", "<!-- end of the figures -->"
KINDS = ("bricked", "lost", "doubled", "wrong", "verify")


def summary(outcome: Outcome) -> str:
    """Return a line that says how a batch went, and a few more if it failed."""
    verdict = "ok" if outcome.passed else "FAILED"
    waits = "; ".join(
        f"{kind} {statistics.median(took):.1f}/{max(took):.1f} s" for kind, took in sorted(outcome.recoveries.items())
    )
    head = (
        f"{time.strftime('%H:%M:%S')} {verdict:6} {outcome.scenario} seed {outcome.seed}: {outcome.faults} faults, "
        f"{outcome.records:,} records, {outcome.transitions} transitions, {len(outcome.ended)} workers ended, "
        f"{outcome.seconds:.0f} s; recovery median/longest: {waits or 'none'}"
    )
    lines = [head]
    for kind in KINDS:
        found = outcome.problems.get(kind, [])
        if found:
            lines.append(f"  {kind}: {len(found)}")
            lines += [f"    {one[:600]}" for one in found[:4]]
    lines += [f"  ended: {one}" for one in outcome.ended[:4]]
    return "\n".join(lines)


def keep_evidence(outcome: Outcome, logs: Path, folder: Path) -> Path:
    """Copy diary, problems and logs of a batch; return where."""
    kept = folder / f"{outcome.scenario}-{outcome.seed}-{time.strftime('%H%M%S')}"
    kept.mkdir(parents=True)
    (kept / "problems.json").write_text(json.dumps(outcome.problems, indent=1, ensure_ascii=False))
    for log in logs.glob("*.log"):
        shutil.copy(log, kept)
    return kept


def write_report(document: Path, outcomes: Sequence[Outcome]) -> None:
    """Put the figures between the marks of a document, which gets them if it has none."""
    text = document.read_text(encoding="utf-8") if document.exists() else "# Reliability\n"
    if BEGIN not in text:
        text = f"{text.rstrip()}\n\n## Faults\n\n{BEGIN}\n{END}\n"
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    document.write_text(f"{before}{BEGIN}\n\n{_figures(outcomes)}\n{END}{after}", encoding="utf-8")


def _figures(outcomes: Sequence[Outcome]) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True).stdout
    lines = [
        f"{time.strftime('%Y-%m-%d')}, commit {commit.strip()}, Apache Kafka with one and with three brokers, sessions of 6 s.",
        "",
        "| scenario | seeds | faults | records | transitions | lost | doubled | wrong | bricked | recovery, median / longest |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name in dict.fromkeys(outcome.scenario for outcome in outcomes):
        of = [outcome for outcome in outcomes if outcome.scenario == name]
        seeds = sorted({outcome.seed for outcome in of})
        waits: dict[str, list[float]] = {}
        for outcome in of:
            for kind, took in outcome.recoveries.items():
                waits.setdefault(kind, []).extend(took)
        told = ", ".join(f"{kind} {statistics.median(took):.1f} / {max(took):.1f} s" for kind, took in waits.items())
        counts = [sum(len(outcome.problems.get(kind, ())) for outcome in of) for kind in KINDS]
        bricked, lost, doubled, wrong, differences = counts
        lines.append(
            f"| {name} | {seeds[0]}-{seeds[-1]} | {sum(outcome.faults for outcome in of)} | "
            f"{sum(outcome.records for outcome in of):,} | {sum(outcome.transitions for outcome in of)} | "
            f"{lost} | {doubled} | {wrong + differences} | {bricked} | {told} |"
        )
    failed = [f"{outcome.scenario} {outcome.seed}" for outcome in outcomes if not outcome.passed]
    lines += ["", f"{len(outcomes)} batches, {len(failed)} failed{': ' + ', '.join(failed) if failed else ''}.", ""]
    return "\n".join(lines)
