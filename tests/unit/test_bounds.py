"""What a file of definitions, rules or settings may cost: work in proportion to its length, and a length that is bounded."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from faust.types import TP

from streams.agents.sources import Source
from streams.alerts.rules.parsing import load_rules, parse_rules
from streams.alerts.rules.rules import RulesError
from streams.definitions import record_limits
from streams.events.clock import Clock
from streams.events.limits import RecordLimits
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language import blocks
from streams.kpis.language.blocks import MOST_BYTES, CatalogueError
from streams.settings import ConfigError, load
from tests.harness.clickhouse import event

CATALOGUE = Catalogue.load()
KPI = """
- id: mine_{0}
  name: Mine {0}
  question: How many answers are good?
  unit: percent
  direction: up
  class: A
  aggregator: ratio
  formula: hits / all
  source: cx.survey.answered
  hits: [1]
  wrong: x
  owner: me
  groupings: [[], [channel]]
"""
RULE = """
  - alert: Mine{0}
    kpi: csat
    method: floor
    target: 70
    wrong: x
"""


def calls(work: Callable[[], object]) -> int:
    """How many Python functions are called, built-in ones included."""
    count = 0

    def note(_frame: object, what: str, _of: object) -> None:
        nonlocal count
        count += what in {"call", "c_call"}

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def kpis(number: int) -> Callable[[], object]:
    text = "".join(KPI.format(place) for place in range(number))

    def work() -> None:
        with pytest.raises(CatalogueError):
            Catalogue.parse(text)

    return work


def rules(number: int) -> Callable[[], object]:
    text = "groups:\n- name: mine\n  rules:" + "".join(RULE.format(place) for place in range(number))

    def work() -> None:
        with pytest.raises(RulesError):
            parse_rules(text, CATALOGUE)

    return work


@pytest.mark.parametrize("file_of", [kpis, rules])
def test_four_times_as_many_entries_are_four_times_the_work(file_of: Callable[[int], Callable[[], object]]) -> None:
    """Also when each of them has problems to tell of."""
    small, large = calls(file_of(25)), calls(file_of(100))
    assert large < 4.4 * small


@pytest.mark.parametrize("read", [
    lambda path: Catalogue.load([path], built_in=False),
    lambda path: load_rules([path], CATALOGUE),
])  # fmt: skip
def test_a_file_that_is_too_large_is_not_even_parsed(
    read: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused with the size that is allowed."""
    path = tmp_path / "large.yaml"
    path.write_text("# " + "y" * MOST_BYTES)
    seen: list[str] = []
    compose = blocks.yaml.compose

    def noted(text: str, **options: Any) -> Any:
        seen.append(text)
        return compose(text, **options)

    monkeypatch.setattr(blocks.yaml, "compose", noted)
    with pytest.raises(CatalogueError, match=r"large\.yaml:1: is larger than 512 KiB: split it into several files"):
        read(path)
    assert not any("yyy" in text for text in seen)


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefghijklmno", "bcdefghijklmnop", strict=True)
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (LAUGHS, "aliases make more than 200000 values"),
        (f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 1_000)}]", "aliases make more than 4194304 characters"),
        ("a: &a [*a]", "aliases|nested deeper"),
        ("[" * 100_000, "nested too deeply"),
        ("a: " + "[" * 100 + "]" * 100, "nested deeper than 32 levels"),
        ("- " * 50_000 + "x", "nested too deeply"),
        (f"a: {'9' * 100_000}", "a number has at most 400 characters"),
        (f"a: 1{':59' * 100_000}", "a number has at most 400 characters"),
        (f"a: 0.{'1' * 100_000}", "a number has at most 400 characters"),
    ],
    ids=["laughs", "long-alias", "itself", "brackets", "levels", "dashes", "digits", "base-60", "fraction"],
)
def test_a_small_file_that_stands_for_a_large_one_is_refused(text: str, told: str) -> None:
    """Before any value of it is made."""
    made = yaml.SafeLoader.construct_object
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml.SafeLoader, "construct_object", lambda *_, **__: pytest.fail(str(made)))
        with pytest.raises(CatalogueError, match=told):
            Catalogue.parse(text)
        with pytest.raises(RulesError, match=told):
            parse_rules(text, CATALOGUE)


def test_settings_files_are_bounded_too(tmp_path: Path) -> None:
    """In length, in depth, and in the problems that are told."""
    file = tmp_path / "cx.toml"
    file.write_text("# " + "x" * 65_536)
    with pytest.raises(ConfigError, match="larger than 64 KiB"):
        load(file, {})
    file.write_text("a = " + "[" * 20_000)
    with pytest.raises(ConfigError, match="nested too deeply"):
        load(file, {})
    file.write_text("".join(f"x{place} = 1\n" for place in range(6_000)))
    with pytest.raises(ConfigError) as refused:
        load(file, {})
    told = str(refused.value).splitlines()
    assert len(told) == 51
    assert told[49].startswith(f"{file}, line 50: unknown setting 'x49'")
    assert told[50] == f"{file}: and more"
    file.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match="utf-8"):
        load(file, {})


@pytest.mark.parametrize("name", ["bytes", "depth", "values", "digits"])
def test_an_installation_may_allow_a_record_less_than_the_contract_and_not_more(name: str) -> None:
    most = getattr(RecordLimits(), name)
    assert getattr(record_limits(load(environ={f"CX_RECORD_{name.upper()}": str(most // 2)})), name) == most // 2
    with pytest.raises(ConfigError, match=f"CX_RECORD_{name.upper()}: record_{name} = .* <= {most}"):
        load(environ={f"CX_RECORD_{name.upper()}": str(most + 1)})


def test_sources_are_read_under_the_limits_that_are_set() -> None:
    settings = load(environ={}, record_values=64)
    source = Source.restored(TP("cx.touchpoints.web", 0), "web", [], None, settings, Clock())
    source.intake.add([event(0, note=[1] * 64), event(1)], [0, 1], datetime.now(UTC).timestamp())
    outcome = source.intake.close()
    assert outcome is not None
    assert [bad.refusal.reason for bad in outcome.bad] == ["too_many_values"]
