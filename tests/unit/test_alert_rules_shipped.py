"""The rules that are shipped, the page that tells of rules, and the command."""

import json
import re
from random import Random

import msgspec
import pytest
from click.testing import CliRunner

from streams.alerts.detectors import DETECTORS
from streams.alerts.detectors.cusum import Cusum, CusumState, advance
from streams.alerts.detectors.cusum_levels import false_alarms_per_day, level_of
from streams.alerts.detectors.floor import Floor
from streams.alerts.facts import Facts
from streams.alerts.offline.testfiles import read_file, read_tests
from streams.alerts.rules.parsing import GROUP_ALLOWED, RULE_ALLOWED, RULE_REQUIRED, load_rules, parse_rules
from streams.alerts.rules.reference import CALENDAR_KEYS, GROUP_KEYS, KEYS, filled
from streams.alerts.rules.rules import RulesError
from streams.alerts.types import Evidence
from streams.cli import main
from streams.commands import rules as commands
from streams.kpis.catalogue.catalogue import Catalogue
from streams.shipped import CLONE, RULES
from streams.wording.moments import ZoneTimes

ROOT = CLONE
CATALOGUE = Catalogue.load()
SHIPPED = load_rules([RULES], CATALOGUE)


# The rules that are shipped


def test_shipped_rules_leave_no_kpi_to_its_default():
    assert [r.alert for r in SHIPPED if r.group == "catalogue"] == []
    assert len(SHIPPED) >= 40


def test_every_shipped_rule_has_an_owner_a_runbook_and_texts():
    sections = re.split(r"^#+ ", (ROOT / "docs/RUNBOOK.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    by_anchor = {section.split("\n")[0].lower().replace(" ", "-"): section for section in sections}
    for found in SHIPPED:
        file, _, anchor = found.runbook.partition("#")
        assert file == "docs/RUNBOOK.md", found.alert
        assert found.alert in by_anchor[anchor], found.alert
        assert found.owner
        assert found.labels["journey"].source
        assert found.severity != "page" or "check" in found.annotations, found.alert


def test_shipped_texts_can_be_filled_with_much_and_with_little():
    full = Evidence(value=12.5, n=100, lo=10.0, hi=15.0, baseline=20.0, baseline_n=900, statistic=4.2, threshold=3.7)
    for found in SHIPPED:
        for evidence in (full, Evidence()):
            labels, annotations = found.say(dict.fromkeys(found.by, "x"), 29_000_000, evidence, ZoneTimes())
            for text in (*labels.values(), *annotations.values()):
                assert text, found.alert
                assert "this text failed" not in text, found.alert


@pytest.mark.parametrize(
    "kpi",
    [
        "csat", "nps", "service_level_all_offered", "abandonment", "asa", "payment_failure", "conversion", "apdex",
        "zero_result_searches", "request_failure", "crash_rate", "delivery_lateness", "damage_rate", "store_queue_wait",
    ],
)  # fmt: skip
def test_what_matters_is_judged_for_the_whole_and_for_parts(kpi):
    groupings = {found.by for found in SHIPPED.of_kpi(kpi)}
    assert any(groupings)
    assert () in groupings or kpi == "conversion"


def test_every_channel_has_one_rule_for_silence_that_pages():
    silent = [r for r in SHIPPED.of_kpi("volume") if r.method == "absence" and r.severity == "page"]
    assert sorted(channel for r in silent for channel in r.where["channel"]) == ["app", "call_center", "store", "web"]
    assert all(r.by == ("channel",) and "pipeline" not in r.inhibit_by for r in silent)
    others = [r for r in SHIPPED if r not in silent]
    assert all("pipeline" in r.inhibit_by for r in others)


def test_pages_want_many_answers_or_many_bad_ones():
    for found in SHIPPED:
        if found.severity == "page" and isinstance(found.params, Cusum):
            assert found.params.min_failures >= 10
        elif found.severity == "page" and found.kpi.aggregator not in {"count", "sum"}:
            assert found.min_n >= 100, found.alert


def test_cusum_pages_are_wrong_less_than_once_in_twenty_days():
    usual = {"csat": 85.0, "payment_failure": 5.0, "request_failure": 0.8, "crash_rate": 0.2}
    judged = 0
    for found in SHIPPED:
        if found.severity != "page" or not isinstance(found.params, Cusum):
            continue
        normal = usual[found.kpi.id]
        level = level_of(Cusum(p0=normal, delta=found.params.delta), Facts.of(found.kpi), None)
        assert false_alarms_per_day(level, Facts.of(found.kpi), found.params.h) <= 0.05, found.alert
        judged += 1
    assert judged >= 5


@pytest.mark.parametrize(("alert", "share", "most"), [("CsatCollapseByChannel", 0.65, 65), ("CsatErosion", 0.75, 200)])
def test_falls_of_csat_are_seen_within_few_answers(alert, share, most):
    found = SHIPPED[alert]
    facts = Facts.of(found.kpi)
    level = level_of(Cusum(p0=85, delta=found.params.delta), facts, None)
    random = Random(5)
    taken = []
    for _ in range(201):
        state, answers = CusumState(), 0
        while not state.fired:
            answers += 1
            state = advance(level, found.params, facts, [1, int(random.random() < share)], state, None)
        taken.append(answers)
    assert sorted(taken)[100] <= most


# The page that tells of them


def test_the_reference_tells_of_every_key_and_of_no_other():
    assert set(KEYS) == {*RULE_REQUIRED, *RULE_ALLOWED}
    assert set(GROUP_KEYS) == {"name", "rules", *GROUP_ALLOWED}
    page = (ROOT / "docs/RULES.md").read_text(encoding="utf-8")
    assert filled(page) == page
    for kind in DETECTORS.values():
        for described in msgspec.structs.fields(kind):
            row = next(line for line in page.splitlines() if line.startswith(f"| `{described.encode_name}` |"))
            assert not row.endswith("|  |"), row


def test_keys_of_calendars_are_those_that_are_told_of():
    with pytest.raises(RulesError) as caught:
        parse_rules("calendars:\n  - {name: c, zone: UTC, x: 1}", CATALOGUE)
    assert set(re.search(r"known: (.*)", str(caught.value))[1].split(", ")) == set(CALENDAR_KEYS)


def test_a_page_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="the page has marks for no table"):
        filled("# Rules")


def test_examples_of_the_reference_are_rules():
    page = (ROOT / "docs/RULES.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    assert len(examples) >= 5
    for number, example in enumerate(examples):
        if "\ntests:" in example:
            assert read_tests(read_file(example, f"example {number}"), load_rules([RULES], CATALOGUE), CATALOGUE)
        elif "replace: true" not in example:
            parse_rules(example, CATALOGUE, f"example {number}")


def test_the_example_that_replaces_goes_with_the_shipped_rules(tmp_path):
    page = (ROOT / "docs/RULES.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    mine = tmp_path / "my-rules.yaml"
    mine.write_text(next(example for example in examples if "replace: true" in example), encoding="utf-8")
    found = load_rules([RULES, mine], CATALOGUE)
    assert found["AppCrashes"].params == Floor(target=0.5)
    assert "RageClicks" not in found.rules


# The command


@pytest.fixture(autouse=True)
def _read_once(monkeypatch):
    monkeypatch.setattr(commands, "catalogue_of", lambda _settings: CATALOGUE)


def run(*arguments, **environment):
    return CliRunner(env=environment).invoke(main, ["rules", *arguments])


def test_the_command_checks_what_is_shipped():
    result = run("check")
    assert result.exit_code == 0
    assert f"{len(SHIPPED)} alert rules" in result.output


def test_the_command_tells_of_problems(tmp_path):
    file = tmp_path / "bad.yaml"
    rule = {
        "alert": "A",
        "kpi": "csta",
        "window": "1h",
        "method": "floor",
        "params": {"target": 70},
        "severity": "info",
    }
    file.write_text(json.dumps({"groups": [{"name": "g", "rules": [rule]}]}))
    result = run("check", str(file))
    assert result.exit_code == 1
    assert f"{file}:1: alert A: no KPI 'csta'; did you mean 'csat'?" in result.output
    found = json.loads(run("check", str(file), "--json").stdout)
    assert found["problems"][0].startswith(f"{file}:1: ")
    assert run("list", CX_RULES_PATH=str(file)).exit_code == 1


def test_the_command_lists_and_shows():
    result = run("list", "--severity", "page")
    assert "CsatCollapseByChannel" in result.output
    assert "CsatErosion" not in result.output
    listed = json.loads(run("list", "--json", "--kpi", "csat").output)
    assert {row["kpi"] for row in listed} == {"csat"}
    shown = run("show", "PaymentsFail")
    assert "cusum over 15m: baseline 24h, delta 10.0" in shown.output
    row = json.loads(run("show", "PaymentsFail", "--json").output)
    again = {key: row[key] for key in row if key in {*RULE_REQUIRED, *RULE_ALLOWED}}
    again["recover"] = {"for": row["recover"]["for"]}
    again["params"] = {key: value for key, value in row["params"].items() if value is not None}
    del again["dashboard"]
    assert (
        parse_rules(json.dumps({"groups": [{"name": "g", "rules": [again]}]}), CATALOGUE)["PaymentsFail"].params
        == SHIPPED["PaymentsFail"].params
    )


def test_the_command_suggests_what_was_meant():
    result = run("show", "PaymentFail")
    assert result.exit_code == 1
    assert "no rule 'PaymentFail'; did you mean 'PaymentsFail'" in result.output


def test_the_page_is_up_to_date():
    assert run("docs", "--check").exit_code == 0
