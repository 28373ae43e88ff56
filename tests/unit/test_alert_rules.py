"""Alert rules: read strictly, fitted to their KPI, and made of what KPIs bring along."""

import json
import re

import msgspec
import pytest

from streams.alerts.detectors import DETECTORS, ParamError
from streams.alerts.detectors.absence import Absence
from streams.alerts.detectors.floor import Floor
from streams.alerts.rules.keys import duration_minutes
from streams.alerts.rules.parsing import load_rules, parse_rules
from streams.alerts.rules.rules import NoData, Recover, RulesError
from streams.alerts.types import Evidence
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.blocks import CatalogueError
from streams.shipped import CLONE
from streams.wording.moments import ZoneTimes

ROOT = CLONE
CATALOGUE = Catalogue.load()

FULL = """
calendars:
  - {name: night, zone: Asia/Tehran, when: [times: [23:00-07:00]]}
groups:
  - name: contact-centre
    owner: contact-centre
    labels: {journey: service, tier: low}
    rules:
      - alert: ServiceLevelLow
        kpi: service_level_all_offered
        by: [channel]
        where: {channel: [call_center]}
        window: 15m
        method: floor
        params: {target: 65, z: 3}
        min_n: 120
        min_denominator: 25
        for: 90s
        keep_firing_for: 10m
        recover: {above: 70, for: 1h30m}
        no_data: {action: alert, for: 1d, limit: 2d}
        maturity: immediate
        inhibit_by: [pipeline]
        mute: [night]
        severity: ticket
        severity_by: {channel: {call_center: page}}
        owner: me
        runbook: docs/RUNBOOK.md#servicelevellow
        dashboard: https://grafana.example.org/d/x
        labels: {tier: "{{ labels.channel }}"}
        annotations:
          summary: "{{ value | show }}"
        limit: 7
"""


def one(text, alert="A"):
    return parse_rules(text, CATALOGUE, "r.yaml").rules[alert]


def rule(**keys):
    given = {
        "alert": "A",
        "kpi": "csat",
        "window": "1h",
        "method": "floor",
        "params": {"target": 70},
        "severity": "info",
    }
    left = {key: value for key, value in {**given, **keys}.items() if value is not None}
    return json.dumps({"groups": [{"name": "g", "rules": [left]}]})


def refused(text) -> str:
    with pytest.raises(RulesError) as caught:
        parse_rules(text, CATALOGUE, "r.yaml")
    return str(caught.value)


def test_every_key_is_read():
    found = one(FULL, "ServiceLevelLow")
    assert (found.group, found.kpi.id, found.by) == ("contact-centre", "service_level_all_offered", ("channel",))
    assert dict(found.where) == {"channel": ("call_center",)}
    assert (found.window, found.method, found.params) == ("15m", "floor", Floor(target=65.0, z=3.0))
    assert (found.min_n, found.min_denominator, found.limit) == (120, 25, 7)
    assert (found.for_minutes, found.keep_firing_minutes) == (2, 10)
    assert found.recover == Recover(above=70, below=None, for_minutes=90)
    assert found.no_data == NoData("alert", 1440, 2880)
    assert (found.maturity, found.inhibit_by, found.mute) == ("immediate", ("pipeline",), ("night",))
    assert found.severity == "ticket"
    assert found.severity_of({"channel": "call_center"}) == "page"
    assert found.severity_of({"channel": "other"}) == "ticket"
    assert (found.owner, found.runbook) == ("me", "docs/RUNBOOK.md#servicelevellow")
    assert found.judges({"channel": "call_center"})
    assert not found.judges({"channel": "web"})
    assert found.place == "r.yaml:9"


def test_a_rule_says_what_it_is_told():
    evidence = Evidence(value=40.0, n=200)
    labels, annotations = one(FULL, "ServiceLevelLow").say(
        {"channel": "call_center"}, 29_000_000, evidence, ZoneTimes()
    )
    assert labels == {"journey": "service", "tier": "call_center"}
    assert annotations["summary"] == "40.0 %"
    assert " of 200 so far" in annotations["description"]


def test_what_is_left_out_has_defaults_of_the_kpi_and_the_method():
    found = one(rule())
    assert (found.by, dict(found.where), found.min_n, found.owner) == ((), {}, 30, "customer-insight")
    assert (found.inhibit_by, found.no_data, found.recover) == (
        ("parent", "pipeline"),
        NoData("ok", 15, 1440),
        Recover(),
    )
    assert (found.for_minutes, found.keep_firing_minutes, found.maturity) == (0, 0, "immediate")
    silence = one(rule(kpi="volume", method="absence", params=None, window="5m"))
    assert (silence.params, silence.min_n, silence.inhibit_by) == (Absence(), 0, ())
    assert one(rule(method="cusum", params={"baseline": "24h", "delta": 10})).min_n == 1
    burning = one(
        rule(method="burn_rate", window=None, params={"target": 80, "factor": 3, "long": "1h", "short": "5m"})
    )
    assert burning.window == "1h"


def test_single_labels_and_values_may_stand_without_a_list():
    found = one(rule(by="channel", where={"channel": "web"}))
    assert (found.by, dict(found.where)) == (("channel",), {"channel": ("web",)})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kpi": "csta"}, "no KPI 'csta'; did you mean 'csat'?"),
        ({"alert": "Low CSAT"}, "letters, digits and underscores"),
        ({"method": "flor"}, "did you mean 'floor'?"),
        ({"metod": "floor"}, "unknown key 'metod'; did you mean 'method'?"),
        ({"severity": None}, "'severity' is missing"),
        ({"severity": "critical"}, "it is one of page, ticket, info"),
        ({"by": ["chanel"]}, "did you mean 'channel'?"),
        ({"by": ["channel", "segment"]}, "not kept by channel × segment; kept: the whole; channel;"),
        ({"where": {"channel": ["web"]}}, "it must be in 'by'"),
        ({"by": "channel", "where": {"channel": ["wbe"]}}, "channel is never 'wbe'; did you mean 'web'?"),
        ({"by": "channel", "where": {"channel": []}}, "'channel' lists no value"),
        ({"by": "unitid", "where": {"unitid": [True]}}, "must list texts, not True; write them in quotes"),
        ({"by": "unitid", "where": {"unitid": [["a"]]}}, "must list texts, not ['a']"),
        ({"window": None}, "'window' is missing: floor judges one of 1m, 5m"),
        ({"window": "10m"}, "window '10m' is not kept; kept: 1m, 5m, 15m, 1h, 24h"),
        ({"params": None}, "floor needs target below 'params'"),
        ({"params": {"target": 70, "h": 8}}, "unknown key 'h'"),
        ({"method": "cusum", "params": None}, "give either 'p0', the normal value, or 'baseline'"),
        ({"params": {"target": "70"}}, "'target' cannot be '70'"),
        ({"params": {"target": True}}, "'target' cannot be True"),
        ({"params": {"target": 700}}, "no value in percent (0 to 100)"),
        ({"params": {"target": 0}}, "nothing can be worse than 0 percent"),
        ({"params": {"target": 70, "z": 3, "confidence": 0.9}}, "'confidence' and 'z' say the same"),
        ({"params": {"target": 70, "confidence": 0.9999999999999999}}, "is too near 1: no interval is as wide"),
        ({"for": "30s"}, "less than a minute"),
        ({"for": "999999d"}, "'999999d' is more than a year"),
        ({"for": "5 minutes"}, "no duration; expected e.g. 90s"),
        ({"for": 5}, "'5' is no duration"),
        ({"min_n": 0}, "whole number from 1"),
        ({"recover": {"below": 80}}, "csat is better when high: recovery is 'above'"),
        ({"recover": {"above": 60}}, "60 is below the target 70"),
        ({"recover": {"above": 100}}, "nothing is above 100 percent: it would never recover"),
        ({"no_data": {"action": "resolve"}}, "it is one of ok, alert, keep"),
        ({"no_data": {"for": "5m"}}, "'action' is missing"),
        ({"maturity": "matured"}, "csat is immediate, never matured"),
        ({"inhibit_by": ["parents"]}, "did you mean 'parent'?"),
        ({"mute": "nigth"}, "no calendar 'nigth'"),
        ({"severity_by": {"segment": {"vip": "page"}}}, "it must be in 'by'"),
        ({"by": "segment", "severity_by": {"segment": {"vip": "paeg"}}}, "did you mean 'page'?"),
        (
            {"by": "channel", "severity_by": {"channel": {"wbe": "ticket"}}},
            "channel is never 'wbe'; did you mean 'web'?",
        ),
        ({"labels": {"severity": "high"}}, "label 'severity' is there already"),
        ({"by": "channel", "labels": {"channel": "x"}}, "label 'channel' is there already"),
        ({"annotations": {"summary": "{{ vlaue }}"}}, "unknown variable 'vlaue'; did you mean 'value'?"),
        ({"annotations": {"summary": ["a"]}}, "must be a text"),
        ({"limit": 0}, "whole number from 1 to 10000"),
        ({"replace": True}, "there is no 'A' to replace"),
        ({"severity": "page", "runbook": "r"}, "'owner' is missing"),
        ({"severity": "page", "owner": "me"}, "'runbook' is missing"),
        ({"severity": "page", "owner": "me", "runbook": "two words"}, "must be a link or a path"),
        ({"severity": "page", "owner": "me", "runbook": "r", "min_n": 5}, "a page on csat needs at least 30"),
        ({"by": "segment", "severity_by": {"segment": {"vip": "page"}}}, "'runbook' is missing"),
    ],
)
def test_what_cannot_be_right_is_refused(keys, message):
    told = refused(rule(**keys))
    assert told.startswith("r.yaml:1: ")
    assert message in told


@pytest.mark.parametrize(
    ("kpi", "method", "params", "message"),
    [
        ("volume", "cusum", {"baseline": "24h", "delta": 5}, "it judges ratio, mean, nps; volume is a count"),
        ("csat", "absence", None, "it judges count; csat is a ratio"),
        ("csat_mean", "burn_rate", {"target": 4, "factor": 2, "long": "1h", "short": "5m"}, "it judges ratio"),
        ("aht", "floor", {"target": 300}, "needs a better and a worse side"),
        ("csat", "ztest", {"baseline": "1h"}, "baseline 1h must be longer than the window 1h"),
        ("csat", "ztest", {"baseline": "25h"}, "window '25h' is not kept"),
        ("csat", "cusum", {"baseline": "24h", "p0": 85, "p1": 75}, "either 'p0'"),
        ("csat", "cusum", {"p0": 85}, "either 'p1'"),
        ("csat", "cusum", {"p0": 75, "p1": 85}, "85 is not worse than normal, 75: csat is worse below it"),
        ("payment_failure", "cusum", {"p0": 5, "p1": 3}, "payment_failure is worse above it"),
        ("csat", "cusum", {"p0": 100, "p1": 85}, "must lie between 0 and 100"),
        ("csat", "cusum", {"p0": 20, "delta": 30}, "delta puts it at -10"),
        ("csat", "cusum", {"p0": 85, "p1": 75, "sd": 3}, "'sd' means nothing for a ratio"),
        ("nps", "cusum", {"p0": 30, "p1": 10}, "'sd' is missing"),
        ("csat", "burn_rate", {"target": 80, "factor": 14.4, "long": "1h", "short": "5m"}, "at most 5 times"),
        ("payment_failure", "burn_rate", {"target": 5, "factor": 25, "long": "1h", "short": "5m"}, "at most 20 times"),
        ("csat", "burn_rate", {"target": 100, "factor": 2, "long": "1h", "short": "5m"}, "between 0 and 100"),
        ("csat", "burn_rate", {"target": 80, "factor": 3, "long": "5m", "short": "1h"}, "must be shorter"),
        ("csat", "seasonal", {"calendar": "irna"}, "no calendar 'irna'"),
        ("csat", "seasonal", {"weeks": 3, "min_weeks": 4}, "more than weeks"),
        ("csat", "mix_shift", {"label": "queue", "baseline": "24h", "min_effect": 2}, "csat is not kept by queue"),
        ("csat", "ewma", {"baseline": "24h", "lambda": 2}, "'lambda' cannot be 2"),
        ("csat", "ztest", {"baseline": "24h", "min_change": 100}, "min_change 100 can never be exceeded"),
        (
            "nps",
            "mix_shift",
            {"label": "channel", "baseline": "24h", "min_effect": 250},
            "values lie from -100 to 100 points",
        ),
        ("csat", "cusum", {"baseline": "24h", "delta": 200}, "delta 200 can never be exceeded"),
        ("csat", "seasonal", {"margin": 100}, "margin 100 can never be exceeded"),
    ],
)
def test_a_method_must_fit_the_kpi(kpi, method, params, message):
    window = None if method == "burn_rate" else "1h"
    assert message in refused(rule(kpi=kpi, method=method, params=params, window=window))


def test_pages_by_few_bad_answers_are_refused():
    params = {"baseline": "24h", "delta": 10, "min_failures": 3}
    told = refused(rule(method="cusum", params=params, severity="page", owner="me", runbook="r"))
    assert "a page needs 10 bad answers, not 3" in told


def test_mix_shift_does_not_split_by_what_series_have():
    params = {"label": "channel", "baseline": "24h", "min_effect": 2}
    assert "must not be in 'by'" in refused(rule(by="channel", method="mix_shift", params=params))


def test_all_problems_are_told_each_with_its_line():
    told = refused(
        "groups:\n"
        "  - name: g\n"
        "    mute: [nigth]\n"
        "    rules:\n"
        "      - alert: A\n"
        "        kpi: csat\n"
        "        window: 16m\n"
        "        method: floor\n"
        "        params:\n"
        "          targte: 70\n"
        "        severity: page\n"
        "        annotations:\n"
        "          summary: |\n"
        "            fine\n"
        "            {{ lables.channel }}\n"
        "      - alert: A\n"
        "        kpi: nothing_like_it\n"
        "        method: floor\n"
        "        severity: info\n"
    )
    lines = [re.match(r"r\.yaml:(\d+): ", line)[1] for line in told.splitlines()]
    assert lines == ["10", "7", "5", "5", "3", "15", "16", "17", "16"], "what is misspelt is not missing besides"


def test_the_line_of_a_text_that_begins_beside_its_key():
    text = 'groups:\n  - name: g\n    rules:\n      - {alert: A, kpi: csat, window: 1h, method: floor,\n         params: {target: 1}, severity: info,\n         labels: {x: "{{ no }}"}}\n'
    assert refused(text).startswith("r.yaml:6: ")


def test_files_are_read_in_order_and_may_replace_and_disable(tmp_path):
    (tmp_path / "a.yaml").write_text(rule())
    (tmp_path / "b.yaml").write_text(rule(params={"target": 60}, replace=True).replace('"g"', '"h"'))
    (tmp_path / "c.yaml").write_text("disable: [B]\n")
    (tmp_path / "d.yaml").write_text(rule(alert="B").replace('"g"', '"i"'))
    found = load_rules([tmp_path], CATALOGUE, defaults=False)
    assert [(r.alert, r.group, r.params.target) for r in found] == [("A", "h", 60)]
    assert "no rule 'C'" in refused("disable: [C]")
    assert "no rule \"['C']\"" in refused("disable: [[C]]")


def test_one_name_stands_for_one_rule_and_one_group(tmp_path):
    (tmp_path / "a.yaml").write_text(rule())
    (tmp_path / "b.yaml").write_text(rule())
    with pytest.raises(RulesError) as caught:
        load_rules([tmp_path], CATALOGUE)
    told = str(caught.value)
    assert (
        f"there is one of this name already at {tmp_path / 'a.yaml'}:1; to take its place, write 'replace: true'"
        in told
    )
    assert "there is a group of this name already" in told


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RulesError, match="no such file or folder of rules"):
        load_rules([tmp_path / "none.yaml"], CATALOGUE)


@pytest.mark.parametrize(
    "text", ["- alert: A", "groups: 3", "groups: [3]", "a: b", "\t", "groups:\n- {name: a, rules: [1]}"]
)
def test_what_is_no_file_of_rules_is_told(text):
    assert refused(text).startswith("r.yaml:1: " if "\n" not in text else "r.yaml:2: ")


def test_windows_that_are_not_kept_are_refused():
    with pytest.raises(RulesError, match="window '1h' is not kept; kept: 5m, 24h"):
        parse_rules(rule(), CATALOGUE, windows=("5m", "24h"))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("0", 0), ("0s", 0), ("60s", 1), ("90s", 2), ("5m", 5), ("2h", 120), ("1d", 1440), ("1h30m", 90)],
)
def test_durations_are_whole_minutes_never_less_than_said(text, minutes):
    assert duration_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "1.5h", "59s", "1s", "5 m", "1w"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"duration|minute"):
        duration_minutes(text)


LEAST = {
    "floor": {"target": 70},
    "ztest": {"baseline": "24h"},
    "cusum": {"baseline": "24h", "delta": 10},
    "ewma": {"baseline": "24h"},
    "seasonal": {},
    "burn_rate": {"target": 80, "factor": 3, "long": "1h", "short": "5m"},
    "absence": {},
    "mix_shift": {"label": "channel", "baseline": "24h", "min_effect": 2},
    "srm": {"label": "variant"},
}


@pytest.mark.parametrize("method", LEAST)
def test_parameters_check_themselves_wherever_they_are_made(method):
    kind, least = DETECTORS[method], LEAST[method]
    for field in msgspec.structs.fields(kind):
        assert kind(**least) == kind(**least)
        with pytest.raises(ParamError) as caught:
            kind(**{**least, field.name: object()})
        assert caught.value.key == field.encode_name


def test_the_width_of_an_interval_can_be_said_either_way():
    assert Floor(target=1, confidence=0.95).critical == pytest.approx(1.959964)
    assert Floor(target=1, z=3).critical == 3
    assert Floor(target=1).critical == pytest.approx(3.290527)


@pytest.mark.parametrize(
    ("method", "params"), [("floor", {"target": 20}), ("ztest", {"baseline": "24h"}), ("absence", {})]
)
def test_a_kpi_that_is_computed_from_others_is_refused_with_those(method, params):
    """No method judges it: the error says what can be judged instead, at the line of the KPI."""
    assert refused(rule(kpi="csat_channel_gap", method=method, params=params)) == (
        f"r.yaml:1: alert A: {method}: no method judges csat_channel_gap, which is computed from other KPIs;"
        " judge those: csat"
    )


def _rules_of(text):
    return parse_rules(text, CATALOGUE, "bomb.yaml")


def _definitions_of(text):
    return Catalogue.parse(text, "bomb.yaml")


@pytest.mark.parametrize("read", [_rules_of, _definitions_of])
def test_a_bomb_of_aliases_is_refused_at_once(read):
    """Thirty lines that stand for billions of values; they are counted, not made."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    with pytest.raises(CatalogueError, match=r"^bomb\.yaml:\d+: aliases make more than 200000 values of it$"):
        read("\n".join(lines) if read is _rules_of else "- id: x\n" + "\n".join(f"  {line}" for line in lines))


def test_a_file_of_another_encoding_is_named_with_its_line(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"# one\n# caf\xe9\n")

    with pytest.raises(RulesError, match=r"latin\.yaml:2: not UTF-8"):
        load_rules([tmp_path], CATALOGUE)
