"""Rules that KPIs bring along in their definitions."""

import re

import pytest

from streams.alerts.detectors.absence import Absence
from streams.alerts.detectors.burn_rate import BurnRate
from streams.alerts.detectors.cusum import Cusum
from streams.alerts.detectors.floor import Floor
from streams.alerts.detectors.seasonal import Seasonal
from streams.alerts.rules.defaults import catalogue_rules
from streams.alerts.rules.parsing import parse_rules
from streams.alerts.rules.rules import RulesError
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.blocks import CatalogueError
from streams.shipped import CLONE

ROOT = CLONE
CATALOGUE = Catalogue.load()
OF_CSAT = "groups: [{name: g, rules: [{alert: A, kpi: csat, window: 1h, method: floor, params: {target: 70}, severity: info}]}]"


def test_an_alert_of_a_definition_is_a_rule_until_a_file_has_one():
    found = {r.alert: r for r in catalogue_rules(CATALOGUE)}
    csat = found["Csat"]
    assert (csat.params, csat.window, csat.severity) == (Cusum(baseline="24h", p1=70), "1h", "ticket")
    assert found["Abandonment"].params == Floor(target=8)
    assert found["Conversion"].params == Seasonal()
    assert found["Volume"].params == Absence(baseline="1h")
    assert (csat.group, csat.place, csat.owner) == ("catalogue", "catalogue", "customer-insight")
    assert {kpi.id for kpi in CATALOGUE if kpi.alert} == {r.kpi.id for r in found.values()}
    left = catalogue_rules(CATALOGUE, [*parse_rules(OF_CSAT, CATALOGUE)])
    assert "csat" not in {r.kpi.id for r in left}
    assert len(left) == len(found) - 1


def test_the_former_name_of_a_burn_rate_is_refused_with_its_name_now():
    """A definition that was right before says what to write."""
    text = (ROOT / "streams/kpis/definitions/feedback.yaml").read_text(encoding="utf-8")
    text = re.sub(
        r"alert: \{method: cusum, target: 70, window: 1h\}", "alert: {method: burn, target: 80, window: 5m}", text
    )
    with pytest.raises(CatalogueError, match=r"'method' cannot be 'burn': it is one of .*burn_rate"):
        Catalogue.parse(text)


def test_a_burn_rate_of_a_definition_can_be_reached():
    text = (ROOT / "streams/kpis/definitions/feedback.yaml").read_text()
    text = re.sub(
        r"alert: \{method: cusum, target: 70, window: 1h\}", "alert: {method: burn_rate, target: 80, window: 5m}", text
    )
    burning = next(r for r in catalogue_rules(Catalogue.parse(text)) if r.kpi.id == "csat")
    assert isinstance(burning.params, BurnRate)
    assert burning.params.factor == pytest.approx(3)
    assert (burning.params.target, burning.params.long, burning.params.short) == (80, "15m", "5m")
    assert burning.window == "15m"


@pytest.mark.parametrize("target", [0, 100, 99.9999999999999])
def test_a_promise_of_a_definition_that_leaves_no_budget_is_refused(target):
    text = (ROOT / "streams/kpis/definitions/feedback.yaml").read_text()
    text = text.replace("{method: cusum, target: 70,", f"{{method: burn_rate, target: {target},")
    line = text[: text.index("{method: burn_rate")].count("\n") + 1
    with pytest.raises(RulesError, match=rf"^mine\.yaml:{line}: KPI csat, alert: (target .* leaves no budget|factor)"):
        catalogue_rules(Catalogue.parse(text, "mine.yaml"))


def test_an_alert_of_a_definition_that_needs_a_longer_window_is_refused():
    with pytest.raises(
        RulesError, match=r"volume\.yaml:\d+: KPI volume, alert: absence: baseline 5m must be longer than the window 5m"
    ):
        catalogue_rules(CATALOGUE, windows=("1m", "5m"))
