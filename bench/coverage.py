"""
How often intervals of means hold the true mean: `python -m bench.coverage`.

Answers are drawn by chance from shapes whose mean is known, put into the accumulator of a mean, and measured as a KPI
is. Told are the share of intervals that hold the true mean, and where it is not all, the share of samples that have one.
The table in `docs/INTERVALS.md` is what this prints.
"""

import argparse

from tests.harness.coverage import RUNS, SHAPES, SIZES, coverage


def table(runs: int = RUNS, seed: int = 1) -> list[str]:
    """Return the table of all shapes and sizes as lines of Markdown."""
    lines = [f"| {' | '.join(['answers', *map(str, SIZES)])} |", f"|---|{'---:|' * len(SIZES)}"]
    for shape in SHAPES:
        cells = []
        for n in SIZES:
            shown, held = coverage(shape, n, runs, seed)
            of = f" of {shown:.0%}" if shown < 1 else ""
            cells.append("none" if shown < 0.05 else f"{100 * held:.1f}{of}")
        lines.append(f"| {' | '.join([shape.name, *cells])} |")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.coverage", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="samples of each size (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    print("\n".join(table(chosen.runs, chosen.seed)))


if __name__ == "__main__":
    main()
