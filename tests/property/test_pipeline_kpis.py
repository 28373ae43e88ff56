"""KPIs over ranges: however records are cut into ranges, what they add up to is the same, and is what became of them."""

from collections import Counter
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from streams.kpis.arithmetic.accumulators import Acc, merge_acc
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Folder
from streams.kpis.folding.ranges import events_of
from tests.property.test_intake import NOON, NOW, close, make, record

FOLDER = Folder(Catalogue.load())
SHARES = {
    "validated_rate": (("counted", "late", "bad"), ("counted", "late")),
    "violation_rate": (("read",), ("bad",)),
    "duplicate_rate": (("read",), ("duplicate",)),
    "late_rate": (("counted", "late"), ("late",)),
}

good = st.builds(lambda n, s: record(n, NOON + timedelta(seconds=s)), st.integers(0, 30), st.integers(-7200, 900))
bad = st.sampled_from([b"{}", None, b"\xff", b"{", b""])
records = st.lists(st.one_of(good, good, bad), min_size=1, max_size=80)
cuts = st.lists(st.tuples(st.integers(1, 9), st.floats(0, 400)), min_size=1, max_size=80)


def totals(values: list[bytes | None], sizes: list[tuple[int, float]]) -> tuple[dict[str, Acc], Counter[str], int]:
    """What ranges of these sizes, some time after each other, add to each series, and what became of their records."""
    intake, found, outcomes = make(), dict[str, Acc](), Counter[str]()
    position = turn = 0
    now = NOW
    while position < len(values):
        size, pause_s = sizes[turn % len(sizes)]
        now, turn = now + pause_s, turn + 1
        part = values[position : position + size]
        intake.add(part, range(position, position + len(part)), now)
        position += len(part)
        outcome = close(intake)
        for name in ("read", "counted", "duplicate", "late", "bad"):
            outcomes[name] += getattr(outcome.tally, name)
        for series in FOLDER.fold(events_of(outcome, "web")).values():
            for key, acc in series.items():
                if key in found:
                    merge_acc(found[key], acc)
                else:
                    found[key] = acc.copy()
    return found, outcomes, turn


@given(records, cuts)
def test_ranges_add_up_to_what_became_of_their_records(
    values: list[bytes | None], sizes: list[tuple[int, float]]
) -> None:
    """Trials and hits are the sums of the balance; each refused record is counted once by reason."""
    found, outcomes, ranges = totals(values, sizes)
    for kpi, (trials, hits) in SHARES.items():
        wanted = [sum(outcomes[name] for name in trials), sum(outcomes[name] for name in hits)]
        for key in (kpi, f"{kpi}\x1fchannel\x1fweb"):
            assert found.get(key, [0, 0]) == wanted
    reasons = [acc[0] for key, acc in found.items() if key.startswith("violations\x1freason\x1f")]
    assert sum(reasons) == found.get("violations", [0])[0] == outcomes["bad"]
    assert sum(found.get("freshness", {}).values()) <= ranges  # type: ignore[union-attr]


@given(records, cuts, cuts)
def test_cuts_do_not_show(
    values: list[bytes | None], one: list[tuple[int, float]], other: list[tuple[int, float]]
) -> None:
    """With the same clock, other ranges give the same sums of everything but of what is counted by range."""
    first, second = (totals(values, [(size, 0.0) for size, _ in sizes])[0] for sizes in (one, other))
    for found in (first, second):
        for key in [key for key in found if key.startswith("freshness")]:
            del found[key]
    assert first == second
