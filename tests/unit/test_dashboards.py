"""Dashboards as files: up to date, of the shape that Grafana loads, and readable by everybody."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from streams.commands.dashboards import dashboards as command
from streams.dashboards import files, look
from streams.dashboards.grafana import DashboardSpec, Panel, PanelRow, dashboard, target
from streams.dashboards.scores import breakdown
from streams.dashboards.variables import standard
from streams.events.touchpoints import CHANNELS
from streams.kpis.aggregators import AGGREGATORS, MEASURES
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.derivation import DERIVED_UNITS
from streams.kpis.language.lengths import WINDOWS, window_minutes
from streams.shipped import DASHBOARDS
from tests.harness import grafana

ROOT = Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
BOARDS = grafana.load(DASHBOARDS)
SCHEMA = json.loads(Path(grafana.__file__).with_name("grafana_dashboard.schema.json").read_text(encoding="utf-8"))
CATALOGUE = Catalogue.load()
EVERY = pytest.mark.parametrize("slug", BOARDS)

PERIOD = grafana.Period.over(*(datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2)))


def walk(node: Any, key: str) -> list[Any]:
    """All values under a key, however deep."""
    if isinstance(node, list):
        return [found for item in node for found in walk(item, key)]
    if isinstance(node, dict):
        return [value for name, value in node.items() if name == key] + walk(list(node.values()), key)
    return []


def test_files_are_what_the_catalogue_gives() -> None:
    assert files.problems(CATALOGUE, DASHBOARDS) == []


def test_none_is_lost() -> None:
    shipped = {
        "cx-executive": "Executive",
        "cx-channels": "Channels compared",
        "cx-contact-centre": "Contact centre",
        "cx-digital": "Digital: search, chat, purchase",
        "cx-delivery": "Delivery and returns",
        "cx-store": "Store",
        "cx-voice": "Voice of the customer",
        "cx-actions": "Drivers and actions",
        "cx-alerts": "Alerts",
        "cx-pipeline": "Pipeline health",
        "cx-explorer": "KPI explorer",
    }
    assert shipped.items() <= {board["uid"]: board["title"] for board in BOARDS.values()}.items()


@EVERY
def test_the_shape_is_grafanas(slug: str) -> None:
    """No key that Grafana's model does not know, and all that it needs."""
    validator = jsonschema.validators.validator_for(SCHEMA)(SCHEMA)
    problems = [
        f"{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in validator.iter_errors(BOARDS[slug])
    ]
    assert problems == []


@EVERY
def test_panels_have_ids_of_their_own_and_do_not_overlap(slug: str) -> None:
    panels = BOARDS[slug]["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for cell in (
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ):
            assert cell not in taken, f"{panel['title']} lies over {taken[cell]}"
            taken[cell] = panel["title"]


def test_a_panel_keeps_its_id_when_others_come() -> None:
    """Links and alert rules point at panels by their ids."""
    one, two = (Panel(key, key, "table", 8, 4, targets=(target("SELECT 1", "table"),)) for key in ("one", "two"))
    ids = [
        {
            panel["title"]: panel["id"]
            for panel in dashboard(DashboardSpec("b", "B", "", (PanelRow("r", panels),), ()))["panels"]
        }
        for panels in ((one,), (two, one))
    ]
    assert ids[0]["one"] == ids[1]["one"]
    with pytest.raises(ValueError, match="have the same id: rename one"):
        dashboard(DashboardSpec("b", "B", "", (PanelRow("r", (one, one)),), ()))
    with pytest.raises(ValueError, match="30 of 24 columns"):
        dashboard(DashboardSpec("b", "B", "", (PanelRow("r", (one.sized(30),)),), ()))


@EVERY
def test_variables(slug: str) -> None:
    """Each has the same ones, its data source first; All goes through the plugin's condition only."""
    named = {variable["name"]: variable for variable in grafana.variables(BOARDS[slug])}
    assert list(named)[:7] == ["datasource", "kpi", "channel", "touchpoint", "segment", "unit", "window"]
    assert named["channel"]["query"] == ",".join(CHANNELS)
    assert {name for name, variable in named.items() if variable.get("includeAll")} >= {
        "channel",
        "touchpoint",
        "segment",
        "unit",
    }
    windows = named["window"]["query"].split(",")
    assert set(WINDOWS) < set(windows)
    assert all(window == "total" or window_minutes(window) for window in windows)
    for name, variable in named.items():
        assert variable["current"], f"the plugin reads the current value of {name} before the page has one"


@EVERY
def test_every_variable_is_used(slug: str) -> None:
    asked = " ".join(query["rawSql"] for _, query in grafana.queries(BOARDS[slug]))
    asked += " ".join(
        grafana.variable_sql(variable) for variable in grafana.variables(BOARDS[slug]) if variable["type"] == "query"
    )
    for variable in grafana.variables(BOARDS[slug])[1:]:
        assert re.search(rf"\$\{{?{variable['name']}\b", asked), variable["name"]


@EVERY
def test_no_query_has_an_unknown_macro_or_variable(slug: str) -> None:
    """With one value in each variable, with several, and with All."""
    names = [variable["name"] for variable in grafana.variables(BOARDS[slug])]
    several = {variable["name"] for variable in grafana.variables(BOARDS[slug]) if variable.get("includeAll")}
    one = grafana.Choices({name: ["it's"] for name in names}, {name: ["a", "b"] for name in names})
    more = grafana.Choices({name: ["a", "it's"] if name in several else ["a"] for name in names}, one.options)
    everything = grafana.Choices({name: [grafana.ALL] if name in several else ["a"] for name in names}, one.options)
    for where, query in grafana.queries(BOARDS[slug]):
        for choices in (one, more, everything):
            expanded = grafana.expand(query["rawSql"], choices, PERIOD)
            assert "$" not in expanded, where
        assert not re.search(r"\$__conditionalAll\([^$]*\$\{\w+:", query["rawSql"].split(",")[-1])


@EVERY
def test_links_lead_to_dashboards_and_variables_that_exist(slug: str) -> None:
    uids = {board["uid"]: {variable["name"] for variable in grafana.variables(board)} for board in BOARDS.values()}
    urls = [url for url in walk(BOARDS[slug]["panels"], "url") if url]
    assert urls
    for url in urls:
        path = urlsplit(url).path.split("/")
        assert path[:2] == ["", "d"]
        known = uids[path[2]]
        named = {name.removeprefix("var-") for name, _ in parse_qsl(urlsplit(url).query) if name.startswith("var-")}
        named |= set(re.findall(r"\$\{(\w+):queryparam\}", url))
        assert named <= known, url
        assert "${__url_time_range}" in url
        assert "var-datasource=${datasource}" in url


@EVERY
def test_every_number_leads_to_its_events(slug: str) -> None:
    """Scores link to the explorer, which lists the events behind them."""
    for panel in grafana.panels(BOARDS[slug]):
        score = any(
            re.search(r"FROM kpi(_series)?\(", query["rawSql"]) for query in panel["targets"] if query["refId"] == "A"
        )
        if (
            score
            and panel["type"] in {"stat", "timeseries"}
            and slug != "explorer"
            and "volume" not in str(panel["targets"])
        ):
            assert any("/d/cx-explorer" in url for url in walk(panel, "url")), panel["title"]


@EVERY
def test_colours_can_be_told_apart_by_everybody(slug: str) -> None:
    """Only the palette made for colour-blind people, and never a colour without a word."""
    palette = {*look.SERIES, look.BLACK, look.GREY}
    assert set(walk(BOARDS[slug]["panels"], "fixedColor")) <= palette
    tints = {look.tint(colour) for colour in palette} | {"transparent"}
    for options in (
        mapping for mappings in walk(BOARDS[slug]["panels"], "mappings") for mapping in mappings if "type" in mapping
    ):
        for word, how in options["options"].items():
            assert re.search("[a-z]", how.get("text", word))
            assert how["color"] in palette | tints
    text = json.dumps(BOARDS[slug])
    assert not re.search(r'"(dark-|semi-dark-|light-)?(red|green)"', text)


def test_every_reading_has_a_colour_and_opposites_have_different_ones() -> None:
    assert len({look.READINGS[word] for word in (look.MEETS, look.MISSES, look.UNSURE, look.THIN)}) == 4
    assert look.READINGS[look.THIN] == look.GREY


def test_every_unit_of_the_catalogue_is_known() -> None:
    units = {*MEASURES, *DERIVED_UNITS, *(unit for kind in AGGREGATORS.values() for unit in kind.units)}
    assert {look.unit_of(unit) for unit in units} <= {"percent", "none", "short", "s", "ms", "h", "d", "suffix:per 100"}
    with pytest.raises(KeyError):
        look.unit_of("furlongs")


def test_descriptions_say_what_a_number_means() -> None:
    """Formula, source, owner and gates of the KPI stand behind the i of each of its panels."""
    for board in BOARDS.values():
        for panel in grafana.panels(board):
            names = [kpi for kpi in CATALOGUE if kpi.name == panel["title"]]
            if panel["type"] == "stat" and names:
                for part in (
                    names[0].formula,
                    names[0].source,
                    names[0].owner,
                    names[0].definition_id,
                    f"n = {names[0].min_n.colour}",
                ):
                    assert part in panel["description"], panel["title"]


def test_a_kpi_of_ones_own_is_on_the_board_of_its_owner(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        """
- id: store_smiles
  name: Smiles
  question: How many?
  unit: count
  direction: up
  class: A
  aggregator: count
  formula: It's the number of smiles.
  source: Own
  owner: stores
  groupings: [[], [unitid]]
  of: {events: cx.store.visitors_counted}
""".replace("cx.store.visitors_counted", next(iter(CATALOGUE["store_visitors"].event_types))),
        encoding="utf-8",
    )
    catalogue = Catalogue.load([own])
    assert "store_smiles" in catalogue
    written = files.texts(catalogue)
    assert "store_smiles" in written["store.json"]
    assert "store_smiles" in written["explorer.json"]
    assert "store_smiles" not in written["contact-centre.json"]


def test_a_table_by_labels_that_are_not_kept_is_refused() -> None:
    with pytest.raises(ValueError, match="asa is not kept by carrier; expected one of"):
        breakdown(CATALOGUE["asa"], "carrier")


def test_the_command_writes_checks_and_tidies(tmp_path: Path) -> None:
    """What is missing, changed or foreign is named, and set right."""
    run = CliRunner()
    assert run.invoke(command, ["check"]).exit_code == 0
    folder = ["--folder", str(tmp_path)]
    assert run.invoke(command, ["check", *folder]).exit_code == 1
    assert run.invoke(command, ["generate", *folder]).output.count("wrote") == len(BOARDS)
    (tmp_path / "store.json").write_text("{}")
    (tmp_path / "old.json").write_text("{}")
    (tmp_path / "voice.json").unlink()
    refused = run.invoke(command, ["check", *folder])
    for told in (
        "store.json: not what the catalogue gives",
        "old.json: not one of ours",
        "voice.json: not there",
        "cx dashboards generate",
    ):
        assert told in refused.output
    assert sorted(run.invoke(command, ["generate", *folder]).output.split("\n")) == [
        "",
        "removed old.json",
        "wrote store.json",
        "wrote voice.json",
    ]
    assert run.invoke(command, ["check", *folder]).exit_code == 0


def test_provisioning_names_what_the_dashboards_expect() -> None:
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/clickhouse.yaml").read_text(encoding="utf-8"))[
        "datasources"
    ]
    assert (source["type"], source["access"]) == (grafana.PLUGIN, "proxy")
    # The plugin reads the words true and false; an empty one stops it, so whoever starts Grafana must set both.
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    environment = compose["services"]["grafana"]["environment"]
    for name in ("secure", "tlsAuthWithCACert"):
        assert environment[source["jsonData"][name].removeprefix("$")] in {"true", "false"}
    assert source["jsonData"]["tlsSkipVerify"] is False
    for board in BOARDS.values():
        assert grafana.variables(board)[0]["current"]["value"] == source["uid"]
        assert grafana.variables(board)[0]["query"] == source["type"]
    known = {"host", "port", "protocol", "secure", "tlsAuthWithCACert", "tlsSkipVerify", "username", "defaultDatabase"}
    known |= {"dialTimeout", "queryTimeout"}
    assert set(source["jsonData"]) == known
    assert source["jsonData"]["protocol"] in {"native", "http"}
    assert "$" in source["secureJsonData"]["password"], "a password has no place in a file"
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/cx.yaml").read_text(encoding="utf-8"))["providers"]
    assert provider["type"] == "file"
    assert provider["allowUiUpdates"] is False


# The harness itself: what it expands is what the plugin's own tests say.


def test_nothing_to_choose_from_is_valid_sql() -> None:
    assert "IN ('')" in standard([CATALOGUE["csat"]], "csat", [], ["csat"])[4]["query"]["rawSql"]


@pytest.mark.parametrize(
    ("sql", "expanded"),
    [
        ("$__timeFilter(time)", "time >= toDateTime(1772323200) AND time <= toDateTime(1772409600)"),
        ("$__timeFilter_ms(t)", "t >= fromUnixTimestamp64Milli(1772323200000) AND t <= fromUnixTimestamp64Milli(1772409600000)"),
        ("$__dateFilter(d)", "d >= toDate('2026-03-01') AND d <= toDate('2026-03-02')"),
        ("$__fromTime, $__toTime", "toDateTime(1772323200), toDateTime(1772409600)"),
        ("$__timeInterval(toDate(t))", "toStartOfInterval(toDateTime(toDate(t)), INTERVAL 300 second)"),
        ("$__timeGroup(t, '5m')", "toStartOfInterval(toDateTime(t), INTERVAL 300 second)"),
        (
            "$__dt(d, t) -- $__nothing",
            (
                "(d >= toDate('2026-03-01') AND d <= toDate('2026-03-02')) AND "
                "(t >= toDateTime(1772323200) AND t <= toDateTime(1772409600))  "
            ),
        ),
        ("STEP $__interval_s", "STEP 300"),
        ("x IN (${some:singlequote}) '$one'", "x IN ('a','b\\'s') 'x'"),
        ("x IN ($some)", "x IN ('a','b's')"),
        ("${one} [[one]] $one", "x x x"),
        ("$__conditionalAll(f(a, b) IN (${some:singlequote}), $some)", "f(a, b) IN ('a','b\\'s')"),
        ("$__conditionalAll(a IN (${all:singlequote}), $all) AND $__conditionalAll(1 = 0, ${all})", "1=1 AND 1=1"),
        ("${all:singlequote}", "'p','q'"),
        ("$__conditionalAll(s = '$empty', $empty)", "1=1"),
    ],
)  # fmt: skip
def test_expansion(sql: str, expanded: str) -> None:
    choices = grafana.Choices(
        {"some": ["a", "b's"], "one": ["x"], "all": [grafana.ALL], "empty": [""]}, {"all": ["p", "q"]}
    )
    period = grafana.Period(PERIOD.start, PERIOD.end, 300)
    assert grafana.expand(sql, choices, period) == expanded


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("$__timeFiltre(t)", "unknown macro"),
        ("$__timeFilter(a, b)", "takes 1 arguments"),
        ("$nobody", "unknown variable"),
        ("${nobody:singlequote}", "unknown variable"),
        ("${one:csvv}", "no query needs the format"),
        ("$__conditionalAll(a = 1, ${one:singlequote})", "without a format"),
        ("$__conditionalAll(a = 1)", "takes a condition and a variable"),
        ("$__conditionalAll(a = 1, $nobody)", "unknown variable nobody"),
        ("$__timeFilter(a", "not closed"),
        ("$__lttb(100)", "unknown macro"),
        ("${__from:date}", "no meaning"),
    ],
)
def test_what_cannot_be_expanded_is_an_error(sql: str, told: str) -> None:
    with pytest.raises(grafana.DashboardError, match=told):
        grafana.expand(sql, grafana.Choices({"one": ["x"]}), PERIOD)


@pytest.mark.parametrize(("hours", "seconds"), [(1, 60), (24, 300), (24 * 30, 7200), (24 * 365, 86_400)])
def test_intervals_are_round(hours: int, seconds: int) -> None:
    end = PERIOD.start + timedelta(hours=hours)
    assert grafana.Period.over(PERIOD.start, end).interval_s == seconds
