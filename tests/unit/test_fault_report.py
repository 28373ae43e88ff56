"""The fault suite writes its figures into a document, and leaves the rest of it alone."""

from tests.fault.evidence import Outcome
from tests.fault.report import BEGIN, END, Line, remember, write_report

EARLIER = """
| scenario | day, commit | seeds | faults | records | transitions | lost | doubled | wrong | bricked | restarts |
|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|
| pauses | 2026-11-28, 6236a62 | 20 | 6 | 17,592 | 7 | 0 | 0 | 0 | 0 | 0 |
| kills | 2026-11-28, c231322 | 1 42 | 21 | 128,277 | 46 | 0 | 0 | 0 | 0 | 0 |

| scenario | recovery from | times | median | longest |
|---|---|--:|--:|--:|
| pauses | short pause | 1 | 9.0 s | 9.0 s |
| kills | killed once, same name | 1 | 16.7 s | 16.7 s |
"""


def line(seed, **changes):
    outcome = Outcome("pauses", seed, faults=10, records=1_000, transitions=4, recoveries={"short pause": [1.0, 3.0]})
    for name, value in changes.items():
        setattr(outcome, name, value)
    return Line.of(outcome)


def test_figures_of_several_runs_come_between_the_marks(tmp_path):
    document, results = tmp_path / "doc.md", tmp_path / "results"
    document.write_text(f"before\n{BEGIN}\nold\n{EARLIER}\n{END}\nafter\n")
    remember([line(1)], results)
    write_report(document, remember([line(2, problems={"lost": ["a", "b"], "doubled": []})], results))
    text = document.read_text()
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert text.count("| kills |") == 2
    assert text.count("| pauses |") == 3, "of another commit, and of this one; the kind of fault stands once"
    assert " | 1 2 | 20 | 2,000 | 8 | 2 | 0 | 0 | 0 | 0 |" in text
    assert f"5 batches; something was wrong in:\n- pauses, {line(1).day}, {line(1).commit}\n" in text
    assert "| pauses | short pause | 4 | 2.0 s | 3.0 s |" in text
    write_report(document, [line(3)])
    assert "6 batches; something" not in document.read_text(), "rows of the same commit are replaced"
    assert "4 batches; nothing was wrong in any of them." in document.read_text()
