"""The rules about the pipeline's health: by the real promtool, and against the metrics that exist."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from streams import metrics
from streams.kpis.rolling.publish import PublishedValue

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = yaml.safe_load((PROMETHEUS / "rules" / "pipeline.yml").read_text())
ALL: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in ALL if "alert" in rule]


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        reason = "there is no promtool: it comes with Debian's package prometheus"
        if os.environ.get("CX_REQUIRE_PROMTOOL") == "1":
            pytest.fail(f"CX_REQUIRE_PROMTOOL=1, but {reason}", pytrace=False)
        pytest.skip(reason)
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "tests/pipeline.yml"],
        ["test", "rules", "tests/rates.yml"],
    ],
    ids=["configuration", "rules", "rates"],
)
def test_promtool_accepts_them(promtool: str, arguments: list[str]) -> None:
    """Syntax, and what fires when."""
    done = subprocess.run([promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_names_follow_the_conventions_of_prometheus(promtool: str) -> None:
    """Of the metrics of a worker, and of the KPIs among them."""
    value = PublishedValue("csat", {}, "15m", "", 0, 80.0, 10, 75.0, 85.0, "csat@1", "closed", 1)
    metrics.KPIS.take(0, [value])
    try:
        text = generate_latest(metrics.REGISTRY)
    finally:
        metrics.KPIS.clear()
    assert b"cx_kpi_value{" in text
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr.decode()) == (0, "")


def test_rules_ask_for_metrics_that_workers_have() -> None:
    """A metric that is renamed would silence a rule for ever."""
    names = {"up"}
    for family in metrics.REGISTRY.collect():
        names |= {family.name, f"{family.name}_total"}
    recorded = {rule["record"] for rule in ALL if "record" in rule}
    for rule in ALL:
        text = re.sub(r'"[^"]*"', "", rule["expr"])
        asked = set(re.findall(r"(?<![:\w])(?:cx_\w+|up)(?![:\w])", text))
        asked |= set(re.findall(r"[a-z_]+:cx_\w+:\w+", text))
        assert asked, rule
        assert asked <= names | recorded, rule


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_says_whose_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    """Owner, severity as in the rules of the KPIs, and a section of the runbook."""
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["labels"]["owner"]
    assert {"summary", "description", "runbook"} <= set(rule["annotations"])
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {heading.strip().lower() for heading in headings}


def test_every_alert_is_fired_by_a_test() -> None:
    """What nobody has seen fire may be out of reach."""
    tests = [
        test
        for file in ("pipeline.yml", "rates.yml")
        for test in yaml.safe_load((PROMETHEUS / "tests" / file).read_text())["tests"]
    ]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case.get("exp_alerts")}
    assert {rule["alert"] for rule in ALERTS} <= fired
