"""Tests of rules written in YAML: the notation, what they find, what they say of it, and those that are shipped."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.alerts.offline.ruletest import run
from streams.alerts.offline.shorthand import minutes_of, sources_of
from streams.alerts.offline.testfiles import load_file, read_file, read_tests
from streams.alerts.rules.parsing import parse_rules
from streams.alerts.rules.rules import RulesError
from streams.cli import main
from streams.kpis.aggregators import measure
from streams.kpis.catalogue.catalogue import Catalogue

CATALOGUE = Catalogue.load()
RULES = """
groups:
  - name: test
    owner: contact-centre
    rules:
      - {alert: Low, kpi: abandonment, method: floor, window: 1m, params: {target: 35}, severity: page, min_n: 100,
         runbook: docs/RUNBOOK.md, for: 2m}
      - {alert: LowByChannel, kpi: abandonment, by: [channel], method: floor, window: 1m, params: {target: 35},
         severity: page, min_n: 100, runbook: docs/RUNBOOK.md, for: 2m}
"""
TEST = """rules: [rules.yaml]
tests:
  - name: Waiting
    series:
      - {kpi: abandonment, labels: {channel: web}, minutes: "5/200x3 120/200x4"}
    restart_at: [2m, 4m]
    expect:
      - at: 3m
        pending: []
        firing: []
      - at: 5m
        firing: []
        pending:
          - {alert: Low}
          - {alert: LowByChannel, labels: {channel: web}}
      - at: 7m
        firing:
          - {alert: Low, severity: page, held_by: nothing, why: "60 % of 200"}
          - {alert: LowByChannel, labels: {channel: web}, held_by: "parent Low{}"}
"""


def played(text: str = TEST, rules: str = RULES):
    book = parse_rules(rules, CATALOGUE)
    tests = read_tests(read_file(text, "t.yaml"), book, CATALOGUE)
    return [problem for test in tests for problem in run(test, book).problems]


def refusals(text: str) -> list[str]:
    with pytest.raises(RulesError) as caught:
        played(text)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("kpi", "line", "expected"),
    [
        ("abandonment", "8/10x2 _x2 0/3", [[10, 8], [10, 8], None, None, [3, 0]]),
        ("volume", "12 _ 0x2", [[12], None, [0], [0]]),
        ("nps", "50-10/100", [[100, 50, 10]]),
        ("asa", "180(n=4)", [[4, 7200, 4 * 1800**2]]),
        ("asa", "", []),
    ],
)
def test_a_line_is_minutes(kpi, line, expected):
    assert minutes_of(line, CATALOGUE[kpi]) == expected


def test_a_mean_with_a_deviation_has_it():
    """The interval is the one that these answers would have."""
    [acc] = minutes_of("180~60(n=100)", CATALOGUE["asa"])
    found = measure("mean", acc, CATALOGUE["asa"].scale)
    assert found.value == pytest.approx(180)
    assert found.hi - found.value == pytest.approx(1.984 * 60 / 10, rel=1e-3)


def test_a_quantile_is_written_by_its_values():
    kpi = next(kpi for kpi in CATALOGUE.kpis.values() if kpi.aggregator == "quantile")
    [acc] = minutes_of("60(n=18),300(n=2)", kpi)
    assert sorted(acc.values()) == [2, 18]
    assert measure("quantile", acc, kpi.scale, q=0.5).value == pytest.approx(60, rel=0.01)


def test_distinct_ones_never_come_again():
    kpi = CATALOGUE["experiment_customers"]
    found = minutes_of("400x2 _ 200", kpi)
    together = {}
    for acc in found:
        for coupon, n in (acc or {}).items():
            together[coupon] = together.get(coupon, 0) + n
    seen = measure("distinct", together, kpi.scale)
    assert (found[2], seen.n, seen.value) == (None, 1_000, pytest.approx(1_000, rel=0.03))
    [one], [other] = (minutes_of("300", kpi, series) for series in ("a", "b"))
    assert len(one.keys() & other.keys()) < 30, "those of another series are others"


def test_sources_are_records_and_what_was_refused():
    assert sources_of("60x2 60!20 _") == [(60, 0), (60, 0), (60, 20), None]


@pytest.mark.parametrize(
    ("kpi", "line", "message"),
    [
        ("abandonment", "1/2 12", "item 2: '12' is not hits/trials, e.g. 85/100"),
        ("volume", "1/2", "item 1: '1/2' is not a count"),
        ("volume", "5x0", "x0 repeats nothing"),
        ("volume", "5x100001", "more than 100000 minutes"),
        ("experiment_customers", "9999x101", "more than 1000000 different ones"),
        ("experiment_customers", "a few", "item 1: 'a' is not how many different ones, e.g. 12"),
        ("nps", "50-60/100", "more promoters and detractors than answers"),
        ("abandonment", "1/0", "'1/0' has hits without a trial"),
        ("revenue", "5(n=0)", "'5(n=0)' has a total of no events"),
    ],
)
def test_a_wrong_item_is_named(kpi, line, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        minutes_of(line, CATALOGUE[kpi])


def test_alerts_are_as_expected_with_restarts_in_the_middle():
    assert played() == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "- {alert: Low}\n",
            "- {alert: LowByChannel, labels: {channel: app}}\n",
            [
                "t.yaml:14: Waiting, at 5m: expected pending LowByChannel{channel=app}; got: nothing was ever said of it; pending instead: Low{}",
                "t.yaml:11: Waiting, at 5m: not expected, but pending: Low{}: INACTIVE => PENDING: 60 % of 200, at least 48.37 % with z = 3.29; target 35 %; fires if it lasts 2 min (at 4m)",
            ],
        ),
        (
            "severity: page, held",
            "severity: info, held",
            ["t.yaml:18: Waiting, at 7m: firing Low{}: expected severity info; got page"],
        ),
        (
            'why: "60 % of 200"',
            "why: sunshine",
            [
                "t.yaml:18: Waiting, at 7m: firing Low{}: expected why with 'sunshine'; got 'PENDING => FIRING: 60 % of 200, at least 48.37 % with z = 3.29; target 35 %; for 2 min'"
            ],
        ),
        (
            'held_by: "parent Low{}"',
            "held_by: nothing",
            ["t.yaml:19: Waiting, at 7m: firing LowByChannel{channel=web}: expected to be held by nothing; got parent Low{}"],
        ),
        (
            "held_by: nothing",
            "annotations: {summary: sunshine}",
            ["t.yaml:18: Waiting, at 7m: firing Low{}: expected annotation summary with 'sunshine'; got "],
        ),
    ],
)  # fmt: skip
def test_what_is_not_as_expected_is_told_with_its_line(old, new, expected):
    found = played(TEST.replace(old, new))
    assert len(found) == len(expected)
    for got, start in zip(found, expected, strict=True):
        assert got.startswith(start)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("alert: Low}", "alert: Lwo}", "t.yaml:14: alert Lwo: no rule 'Lwo'; did you mean 'Low'?"),
        ("kpi: abandonment", "kpi: abandonmnt", "no KPI 'abandonmnt'"),
        ("labels: {channel: web}, minutes", "labels: {colour: red}, minutes", "abandonment is not kept by colour"),
        ("at: 7m", "at: 8m", "'at' is 8m: expected from 1m to 7m"),
        ("restart_at: [2m", "restart_at: [soon", "'soon' is no duration"),
        ("{alert: LowByChannel, labels: {channel: web}}", "{alert: LowByChannel}", "have the labels channel"),
        ("expect:", "expects:", "unknown key 'expects'"),
        ("    series:", "    start: tomorrow\n    series:", "'tomorrow' is no time"),
        ("    series:", "    start: 9999-12-31T23:59\n    series:", "is no time; expected e.g. 2026"),
        ("    series:", "    start: 0001-01-01T00:00+05:00\n    series:", "is no time; expected e.g. 2026"),
        ("labels: {channel: web}, minutes", "labels: {channel: [web]}, minutes", "'channel' must be a text"),
        ("labels: {channel: web}, minutes", "labels: {channel: ''}, minutes", "'channel' must be a text"),
        ("labels: {channel: web}, minutes", 'labels: {channel: "a\\u001fb"}, minutes', "'channel' must be a text"),
        ("labels: {channel: web}, minutes", "labels: {channel: wbe}, minutes", "never 'wbe'; did you mean 'web'?"),
        ("severity: page, held", "severity: paeg, held", "did you mean 'page'?"),
        (
            "    series:",
            "    sources: [{source: wbe/0, minutes: 60x7}]\n    series:",
            "no channel 'wbe' has sources; did you",
        ),
        (
            "    series:",
            "    sources: [{source: web/0, minutes: 60x7}, {source: web/0, minutes: 6x7}]\n    series:",
            "this source is given already",
        ),
    ],
)
def test_a_test_that_cannot_be_right_is_refused(old, new, expected):
    found = refusals(TEST.replace(old, new, 1))
    assert any(expected in problem for problem in found), found
    assert all(problem.startswith("t.yaml:") for problem in found)


def test_a_restart_that_forgets_is_found(monkeypatch):
    """The clock of `for` starts anew when nothing is saved: the transitions are others."""
    monkeypatch.setattr("streams.alerts.judging.judge.Judge.restore", lambda self, records: None)
    found = played(TEST)
    assert any("with restarts at 2m, 4m transition 3 is another one" in problem for problem in found), found


@pytest.mark.slow
def test_the_command_tells_by_its_exit_code(tmp_path: Path):
    (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
    file = tmp_path / "tests.yaml"
    runner = CliRunner()
    for text, code in ((TEST, 0), (TEST.replace("severity: page, held", "severity: info, held"), 1), ("tests: 5", 2)):
        file.write_text(text, encoding="utf-8")
        assert runner.invoke(main, ["rules", "test", str(file)]).exit_code == code
    file.write_text(TEST, encoding="utf-8")
    [told] = json.loads(runner.invoke(main, ["rules", "test", "--json", str(file)]).stdout)
    assert (told["name"], told["minutes"], told["problems"]) == ("Waiting", 7, [])
    assert runner.invoke(main, ["rules", "test", str(file), "--only", "nothing such"]).exit_code == 2


@pytest.mark.slow
def test_the_shipped_rules_do_what_their_tests_say():
    result = CliRunner().invoke(main, ["rules", "test"])
    assert result.exit_code == 0, result.output


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"tests:\n# caf\xe9\n")
    with pytest.raises(RulesError, match=r"latin\.yaml:2: not UTF-8"):
        load_file(path)
    with pytest.raises(RulesError, match=r"none\.yaml:1: cannot be read"):
        load_file(tmp_path / "none.yaml")
    path.write_text(TEST, encoding="utf-8")
    assert load_file(path).rules == ("rules.yaml",)


@pytest.mark.parametrize(("answers", "expected"), [("0/500x5", ""), ("9/500 0/500x4", "{alert: None_}")])
def test_a_share_of_what_never_came_is_no_data_as_it_is_live(answers: str, expected: str) -> None:
    """Agents who answer nothing fire only once an answer is known to be sent."""
    rules = """
groups:
  - {name: test, owner: o, rules: [{alert: None_, kpi: agent_answer_rate, method: floor, window: 1m, params: {target: 5},
     severity: info, min_n: 100}]}
"""
    text = f"""rules: [rules.yaml]
tests:
  - {{name: No answers, series: [{{kpi: agent_answer_rate, minutes: "{answers}"}}],
     expect: [{{at: 5m, firing: [{expected}]}}]}}
"""
    assert played(text, rules) == []
