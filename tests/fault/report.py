"""What the fault suite says: a line per batch, evidence of what failed, and the figures in the documentation."""

import json
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.fault.evidence import Outcome

BEGIN, END = "<!-- figures of the fault suite: written by it -->", "<!-- end of the figures -->"
_CELLS = 11
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
            lines += [f"    {one[:4_000]}" for one in found[:4]]
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


@dataclass(frozen=True)
class Line:
    """The figures of one batch."""

    scenario: str
    seed: int
    day: str
    commit: str
    faults: int
    records: int
    transitions: int
    found: dict[str, int]
    """Problems by kind."""
    ended: int
    recoveries: dict[str, list[float]]

    @classmethod
    def of(cls, outcome: Outcome) -> "Line":
        """Return the figures of a batch that has just been run."""
        git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True)
        return cls(
            scenario=outcome.scenario,
            seed=outcome.seed,
            day=time.strftime("%Y-%m-%d"),
            commit=git.stdout.strip(),
            faults=outcome.faults,
            records=outcome.records,
            transitions=outcome.transitions,
            found={kind: len(outcome.problems.get(kind, ())) for kind in KINDS},
            ended=len(outcome.ended),
            recoveries=outcome.recoveries,
        )


def remember(lines: Sequence[Line], file: Path) -> list[Line]:
    """Append figures to a file of earlier runs; return all that it holds then."""
    with file.open("a", encoding="utf-8") as out:
        out.writelines(f"{json.dumps(asdict(line))}\n" for line in lines)
    return [Line(**json.loads(text)) for text in file.read_text(encoding="utf-8").splitlines()]


def write_report(document: Path, lines: Sequence[Line]) -> None:
    """Put the figures between the marks of a document; rows of other commits and kinds of faults stay."""
    before, rest = document.read_text(encoding="utf-8").split(BEGIN)
    earlier, after = rest.split(END)
    kept = [row for row in earlier.splitlines() if row.startswith("| ") and not row.startswith("| scenario ")]
    document.write_text(f"{before}{BEGIN}\n\n{figures(lines, kept)}\n{END}{after}", encoding="utf-8")


def figures(lines: Sequence[Line], kept: Sequence[str] = ()) -> str:
    """Return the figures as Markdown: a row per scenario, and the batches that failed; with the rows of earlier runs."""
    batches = {_key(row): row for row in kept if row.count("|") == _CELLS + 1}
    recoveries = {_key(row): row for row in kept if row.count("|") <= _CELLS}
    for name in dict.fromkeys(line.scenario for line in lines):
        of = [line for line in lines if line.scenario == name]
        sums = {kind: sum(line.found[kind] for line in of) for kind in KINDS}
        row = (
            f"| {name} | {'; '.join(dict.fromkeys(f'{line.day}, {line.commit}' for line in of))} | "
            f"{' '.join(str(line.seed) for line in of)} | {sum(line.faults for line in of)} | "
            f"{sum(line.records for line in of):,} | {sum(line.transitions for line in of)} | {sums['lost']} | "
            f"{sums['doubled']} | {sums['wrong'] + sums['verify']} | {sums['bricked']} | {sum(line.ended for line in of)} |"
        )
        batches[_key(row)] = row
        waits: dict[str, list[float]] = {}
        for line in of:
            for kind, took in line.recoveries.items():
                waits.setdefault(kind, []).extend(took)
        for kind, took in waits.items():
            row = f"| {name} | {kind} | {len(took)} | {statistics.median(took):.1f} s | {max(took):.1f} s |"
            recoveries[_key(row)] = row
    wrong = [_key(row) for row in batches.values() if any(int(cell) for cell in row.split(" | ")[6:10])]
    count = sum(len(row.split(" | ")[2].split()) for row in batches.values())
    rows = [
        "| scenario | day, commit | seeds | faults | records | transitions | lost | doubled | wrong | bricked | restarts |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
        *batches.values(),
        "",
        f"{count} batches; {'something was wrong in:' if wrong else 'nothing was wrong in any of them.'}",
        *(f"- {row.removeprefix('| ').replace(' | ', ', ')}" for row in wrong),
        "",
    ]
    if recoveries:
        rows += [
            "| scenario | recovery from | times | median | longest |",
            "|---|---|--:|--:|--:|",
            *recoveries.values(),
        ]
    return "\n".join([*rows, ""])


def _key(row: str) -> str:
    """Return what a row is about: scenario and commits, or scenario and kind of fault."""
    return " | ".join(row.split(" | ")[:2])
