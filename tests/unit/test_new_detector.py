"""A detector is one class in one file, and says all of itself; rules on levels judge the level."""

from __future__ import annotations

from pathlib import Path
from pkgutil import iter_modules

import pytest

from streams.alerts import detectors
from streams.alerts.detectors import DETECTORS
from streams.alerts.judging.judge import Judge
from streams.alerts.judging.view import MinuteView
from streams.alerts.offline.minutes import Minutes
from streams.alerts.rules import defaults, keys, parsing, reference
from streams.alerts.rules.parsing import parse_rules
from streams.alerts.rules.rules import RulesError
from streams.commands.rules_history import replayable
from streams.kpis.aggregators import AGGREGATORS
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.series import series_key

CATALOGUE = Catalogue.parse("""
- {id: inside, name: Inside, question: q, unit: count, direction: down, class: A, aggregator: level, formula: f,
   source: s, owner: o, groupings: [[], [unitid]], of: {events: cx.store.visitor_entered},
   minus: {events: cx.store.visitor_left}}
- {id: entered, name: Entered, question: q, unit: count, direction: none, class: A, aggregator: count, formula: f,
   source: s, owner: o, groupings: [[]], of: {events: cx.store.visitor_entered}}
""")


def fired(rules: str, minutes: dict[int, dict[str, Acc]]) -> list[str]:
    """Play minutes to a judge; return its transitions as `minute rule{labels} new`."""
    book = parse_rules(rules, CATALOGUE)
    judge, closing = Judge(book), Minutes(lasting=book.lasting)
    found = []
    for minute in range(min(minutes), max(minutes) + 1):
        view = MinuteView(closing.close(minute, minutes.get(minute, {}), {"store/0": (10, 0)}))
        found += [f"{one.minute} {one.rule}{{{','.join(one.labels.values())}}} {one.new}" for one in judge.step(view)]
    assert judge.take_faults() == []
    return found


def test_every_method_is_one_module_named_after_it() -> None:
    """Whoever looks for one finds it."""
    modules = {module.name for module in iter_modules(detectors.__path__)} - {
        "base",
        "cusum_levels",
        "learning",
        "noise",
    }
    assert modules == set(DETECTORS)
    for method, kind in DETECTORS.items():
        assert kind.__module__.endswith(f".{method}")
        assert kind.__doc__
        assert set(kind.aggregators) <= set(AGGREGATORS)


NEW = """
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from streams.alerts.detectors.base import Detector
from streams.alerts.facts import Facts, SeriesReading
from streams.alerts.types import Verdict
from streams.kpis.arithmetic.accumulators import count_of


class Crowd(Detector, frozen=True, kw_only=True):
    \"\"\"Too many at once.\"\"\"

    method: ClassVar = "crowd"
    aggregators: ClassVar = ("count",)
    sided: ClassVar = False

    limit: Annotated[int, Meta(ge=1, description="More than so many are a crowd.")]

    def judge(self, facts: Facts, window: str, reading: SeriesReading, memory: Any) -> tuple[Verdict, Any]:
        n = count_of(reading.window(window) or [0])
        return Verdict(n > self.limit, n <= self.limit, float(n), n, reason=f"{n} came", threshold=self.limit), None
"""


def test_a_detector_that_is_added_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found, its parameters are read and described, and a rule fires by it."""
    (tmp_path / "crowd.py").write_text(NEW, encoding="utf-8")
    monkeypatch.setattr(detectors, "__path__", [*detectors.__path__, str(tmp_path)])
    found = {kind.method: kind for kind in detectors._found()}
    assert found.keys() - DETECTORS.keys() == {"crowd"}
    for module in (keys, parsing, defaults, reference):
        monkeypatch.setattr(module, "DETECTORS", found)
    assert "| `limit` | required | More than so many are a crowd. |" in reference.tables()["methods"]
    text = """
    groups:
      - name: g
        rules:
          - {alert: Full, kpi: entered, method: crowd, severity: info, owner: o, window: 1m, params: {limit: %s}}
    """
    with pytest.raises(RulesError, match="limit"):
        parse_rules(text % 0, CATALOGUE)
    key = series_key("entered")
    played = {100: {key: [5]}, 101: {key: [11]}, 102: {key: [3]}}
    assert fired(text % 10, played) == ["101 Full{} firing", "102 Full{} resolved"]


LEVELS = """
groups:
  - name: levels
    owner: o
    rules:
      - {alert: TooMany, kpi: inside, method: floor, window: 1m, severity: info, params: {target: 100}}
      - {alert: ShopFull, kpi: inside, by: [unitid], method: floor, window: 5m, severity: info, params: {target: 50},
         for: 2m}
"""
RATES = "      - {alert: Nobody, kpi: entered, method: absence, window: 5m, severity: info}"


def change(n: int, by: int, unit: str = "") -> dict[str, Acc]:
    """So many changes that raise the level by so much, in a shop and in the whole."""
    acc = [n, 1000 * by, n]
    return {series_key("inside"): acc, series_key("inside", (("unitid", unit),)): list(acc)} if unit else {}


def test_a_rule_on_a_level_judges_the_level_and_not_what_changed_it() -> None:
    """It fires once the level is above the target, goes on while nothing changes, and ends when it is back."""
    minutes = {100: change(60, 40, "a"), 103: change(60, 60, "b"), 104: change(3, 3, "a"), 120: change(80, -60, "b")}
    assert fired(LEVELS, minutes) == [
        "103 ShopFull{b} pending",
        "104 TooMany{} firing",
        "105 ShopFull{b} firing",
        "120 TooMany{} resolved",
        "120 ShopFull{b} resolved",
    ]


def test_rules_on_levels_are_not_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    """History begins with some minute, and a level with the first event."""
    left = replayable(parse_rules(LEVELS + RATES, CATALOGUE))
    assert [rule.alert for rule in left] == ["Nobody"]
    assert "TooMany, ShopFull" in capsys.readouterr().err


def test_other_methods_refuse_a_level() -> None:
    """A running total has no rate, and no answers of its own."""
    for method, params in (("ztest", "{baseline: 1h}"), ("seasonal", "{}"), ("absence", "{}")):
        text = LEVELS.replace("method: floor, window: 1m, severity: info, params: {target: 100}",
                              f"method: {method}, window: 1m, severity: info, params: {params}")  # fmt: skip
        with pytest.raises(RulesError, match="inside is a level"):
            parse_rules(text, CATALOGUE)
