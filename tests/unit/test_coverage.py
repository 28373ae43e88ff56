"""Intervals of means hold the true mean as often as they say: the simulation of the docs in short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.coverage import AMOUNTS, SCALES, SHAPES, SIZES, Shape, coverage

DOCS = Path(__file__).resolve().parents[2] / "docs" / "INTERVALS.md"
RUNS = 300


@pytest.mark.parametrize("shape", SCALES, ids=lambda shape: shape.name)
def test_means_on_a_scale_are_covered(shape: Shape) -> None:
    """From two answers on, and every sample has an interval; 0.92 is 2.4 standard errors of 300 runs below 0.95."""
    for n in (2, 5, 20, 100):
        found = coverage(shape, n, RUNS)
        assert found.shown == 1
        assert found.held >= 0.92, n


@pytest.mark.parametrize("shape", [one for one in AMOUNTS if "= 2" not in one.name], ids=lambda shape: shape.name)
def test_means_of_times_and_amounts_are_covered(shape: Shape) -> None:
    """Skewed ones too, and ones with many zeros: from twenty answers on; fewer have too few intervals to tell."""
    for n, least in ((20, 0.87), (100, 0.91), (300, 0.92)):
        assert coverage(shape, n, RUNS).held >= least, n


def test_small_samples_have_no_interval_of_amounts() -> None:
    for shape in AMOUNTS:
        assert coverage(shape, 4, 50).shown == 0


def test_the_docs_tell_of_all_shapes() -> None:
    text = DOCS.read_text()
    assert [line for line in SHAPES if f"\n| {line.name} |" not in text] == []
    assert f"| answers | {' | '.join(map(str, SIZES))} |" in text
