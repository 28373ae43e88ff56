"""The catalogue: what is refused, with which words, and that the page of KPIs is up to date."""

from pathlib import Path

import pytest

from streams.kpis.catalogue.catalogue import Catalogue, CatalogueError
from streams.kpis.catalogue.docs import alert_text, page
from streams.kpis.language.definition import Alert

PAGE = Path(__file__).parents[2] / "docs" / "KPIS.md"

GOOD = """\
- id: search_failure
  name: Searches without result
  question: Which share of searches finds nothing?
  unit: percent
  direction: down
  class: A
  aggregator: ratio
  formula: Searches with no result of all searches.
  source: Own
  owner: digital
  groupings: [[], [channel], [touchpoint, channel]]
  params: {enough: 1}
  of: {events: cx.search.performed}
  hits: {where: results < enough}
"""

WAIT = GOOD.replace("ratio", "quantile").replace("percent", "seconds").replace("  params: {enough: 1}\n", "").replace(
    "of: {events: cx.search.performed}\n  hits: {where: results < enough}",
    "of: {events: cx.store.queue_served, value: wait_s}",
)  # fmt: skip


def refused(text: str) -> list[str]:
    with pytest.raises(CatalogueError) as caught:
        Catalogue.parse(text, "mine.yaml")
    return list(caught.value.problems)


def test_a_block_in_a_file_is_a_kpi(tmp_path: Path) -> None:
    """One block of YAML adds a KPI beside the built-in ones."""
    (tmp_path / "mine.yaml").write_text(GOOD, encoding="utf-8")
    built_in = Catalogue.load()
    catalogue = Catalogue.load([tmp_path])
    assert len(catalogue) == len(built_in) + 1
    kpi = catalogue["search_failure"]
    assert kpi.of.events == ("cx.search.performed",)
    assert kpi.groupings == ((), ("channel",), ("channel", "touchpoint"))
    assert kpi.nested
    assert kpi.hits
    assert kpi.hits.where.text == "results < 1"
    assert kpi.min_n.alert == 30


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("hits: {where: results < enough}", "hits: {where: results < enough, delay_s: 5}", 14, "unknown key 'delay_s'"),
        ("performed}", "performed, delay_s: query}", 13, "delay_s: 'query' is text where a number is needed"),
        ("aggregator: ratio", "aggregator: distinkt", 7, "did you mean 'distinct'?"),
        ("owner: digital", "owners: digital", 10, "unknown key 'owners'; did you mean 'owner'?"),
        ("  owner: digital\n", "", 1, "'owner' is missing"),
        ("owner: digital", "owner:", 10, "'owner' is empty"),
        ("owner: digital", "owner: 7", 10, "'owner' must be a text, not 7"),
        ("unit: percent", "unit: seconds", 4, "unit 'seconds' is impossible for ratio"),
        ("unit: percent", "unit: precent", 4, "did you mean 'percent'?"),
        ("direction: down", "direction: downwards", 5, "'direction' cannot be 'downwards'"),
        ("class: A", "class: C", 6, "class C cannot be immediate"),
        ("aggregator: ratio", "aggregator: rate", 7, "did you mean 'ratio'?"),
        ("cx.search.performed", "cx.search.preformed", 13, "did you mean 'cx.search.performed'?"),
        ("cx.search.performed", "cx.serch.*", 13, "unknown event type 'cx.serch.*'"),
        ("results < enough", "result < enough", 14, "'result' is no field of these events; did you mean 'results'?"),
        ("results < enough", "results < 'one'", 14, "\"'one'\" is text where a number is needed"),
        ("results < enough", "results", 14, "'results' is a number where yes or no is needed"),
        ("results < enough", "results < 1", 12, "parameter 'enough' is never used"),
        ("{enough: 1}", "{enough: 1, results: 2}", 12, "parameter 'results' hides the field of that name"),
        ("[channel], ", "[chanel], ", 11, "label 'chanel' is no field of its events; did you mean 'channel'?"),
        ("[channel], ", "[sessionid], ", 11, "'sessionid' names single customers or visits"),
        ("[channel], ", "[query], ", 11, "label 'query' has too many values"),
        ("[channel], ", "[channel], [channel], ", 11, "grouping ['channel'] repeats"),
        ("[channel], ", "channel, ", 11, "grouping 'channel' must be a list"),
        ("  params", "  scale: 10\n  params", 12, "'scale' means nothing for ratio"),
        ("  params", "  min_n: {show: 50}\n  params", 12, "needs show ≤ colour ≤ alert"),
        ("  params", "  min_n: {alarm: 50}\n  params", 12, "did you mean 'alert'?"),
        ("  params", "  maturity: matured\n  params", 12, "class A cannot be matured"),
        ("  hits: {where: results < enough}\n", "", 1, "'hits' is missing"),
        ("performed}", "performed, value: results}", 14, "'hits' have one alone: how many of them hit"),
        ("results < enough}", "results < enough, value: results}", 14, "'of' needs the 'value' that says how many"),
        ("cx.search.performed}", "[cx.search.performed, pipeline.range]}", 13, "'pipeline.range' stands alone"),
        ("cx.search.performed", "pipeline.rnge", 13, "did you mean 'pipeline.range'?"),
        ("cx.search.performed", "pipeline.*", 13, "unknown event type 'pipeline.*'"),
        ("owner: digital", "owner: !!timestamp soon", 10, "'owner' cannot be read: it is no timestamp"),
        ("owner: digital", "owner: !!bool soon", 10, "'owner' cannot be read: it is no bool"),
        ("owner: digital", 'owner: !!int ""', 10, "'owner' cannot be read: it is no int"),
        ("owner: digital", 'owner: "\\ud800"', 10, "holds half a character"),
        ("owner: digital", "owner: \x07", 10, "the character U+0007 cannot stand in it"),
        ("owner: digital", f"owner: {'[' * 3000}{']' * 3000}", 1, "is nested too deeply"),
        ("owner: digital", f"owner: {'[' * 40}{']' * 40}", 10, "is nested deeper than 32 levels"),
        ("owner: digital", "owner: &own [*own]", 10, "is nested deeper than 32 levels"),
        ("{enough: 1}", f"{{enough: 1{'0' * 30}}}", 12, "'enough' is too large a number"),
        ("id: search_failure", "id: [1]", 1, "KPI without id: 'id' must be a text"),
        ("[channel], ", "[specversion], ", 11, "'specversion' names single customers or visits"),
        ("results < enough", "results < enough and dataschema is None", 14, "'dataschema' is no field"),
        ("id: search_failure", "id: Search", 1, "id 'Search' must be lower case"),
        ("id: search_failure", "id: a\n  id: b", 2, "'id' stands twice"),
        ("id: search_failure", 'id: "a\\nb\\u202e"', 1, r"KPI a\nb\u202e: id 'a\nb"),
        ("owner: digital", "owner: digital\n  value: results", 11, "unknown key 'value'; it belongs below 'of'"),
        ("unit: percent", "unit: minutes", 4, "unit 'minutes' is impossible for ratio"),
        ("id: search_failure", "id: [", 3, "not YAML"),
    ],
)
def test_a_definition_that_cannot_be_right_is_refused(old: str, new: str, line: int, says: str) -> None:
    """With file and line, and what was probably meant."""
    assert old in GOOD
    changed = GOOD.replace(old, new, 1)
    problems = refused(changed)
    assert any(says in problem and problem.startswith(f"mine.yaml:{line}: ") for problem in problems), problems


@pytest.mark.parametrize("maturity", ["provisional", "matured"])
def test_an_outcome_that_needs_waiting_says_how_sure_it_is(maturity: str) -> None:
    """Classes C and D name their maturity, and keep it."""
    waiting = GOOD.replace("class: A", f"class: C\n  maturity: {maturity}")
    assert Catalogue.parse(waiting)["search_failure"].maturity == maturity


def test_all_problems_are_told_at_once() -> None:
    """Nobody wants to mend one line per attempt."""
    problems = refused(GOOD.replace("percent", "feet").replace("digital", "''") + GOOD)
    assert len(problems) == 3
    assert problems[2].startswith("mine.yaml:15: ")
    assert problems[2].endswith("is defined already at mine.yaml:1")


def test_a_problem_is_one_line_whatever_names_are_in_it() -> None:
    problems = refused(GOOD.replace("id: search_failure", 'id: "a\\nmine.yaml:9: KPI b: fine"'))
    assert not [problem for problem in problems if "\n" in problem]
    assert all(problem.startswith("mine.yaml:1: KPI a\\nmine.yaml:9: KPI b: fine: ") for problem in problems)


def test_minutes_are_meant_as_seconds() -> None:
    """Of all units there are, not the one that is spelled most alike."""
    mean = GOOD.replace("aggregator: ratio", "aggregator: mean").replace("unit: percent", "unit: minutes")
    assert any("did you mean 'seconds'?" in problem for problem in refused(mean))


def test_values_and_quantiles() -> None:
    """A quantile needs a value, may name its quantiles, and only such as can be computed."""
    assert Catalogue.parse(WAIT)["search_failure"].quantiles == (0.5, 0.9)
    assert "'value' is missing" in refused(WAIT.replace(", value: wait_s", ""))[0]
    for wrong in ("50", "'0.5'", ".nan", ".inf", "true", "{a: 1}"):
        assert "between 0 and 1" in refused(WAIT + f"  quantiles: [{wrong}]\n")[0]
    for wrong in ("[0.5, 0.5]", "[]"):
        assert "must be one or more, each once" in refused(WAIT + f"  quantiles: {wrong}\n")[0]
    nps = WAIT.replace("quantile", "nps").replace("seconds", "points")
    assert "an NPS is made of ratings" in refused(nps)[0]


def test_a_field_that_some_types_lack_needs_a_reason() -> None:
    """It is refused as a slip, unless the expression tells the types apart."""
    both = WAIT.replace("cx.store.queue_served", "[cx.store.queue_served, cx.store.queue_left]")
    assert Catalogue.parse(both)
    slip = both.replace("value: wait_s", "value: wait_s, where: reason == 'abandoned'")
    assert "'reason' is no field of cx.store.queue_served" in refused(slip)[0]
    meant = slip.replace("reason ==", "type == 'cx.store.queue_served' or reason ==")
    assert Catalogue.parse(meant)
    assert "label 'reason' is no field of cx.store.queue_served" in refused(both.replace("[channel]", "[reason]"))[0]
    many = refused(WAIT.replace("cx.store.queue_served", "'*'"))[0]
    assert many.endswith(" more")
    assert many.count("cx.") == 5


ALERT = GOOD + "  alert: {method: cusum, target: 20, window: 15m, for: 5m}\n"


def test_a_kpi_comes_with_an_alert() -> None:
    """It is kept and told, and changes no number."""
    kpi = Catalogue.parse(ALERT)["search_failure"]
    assert kpi.alert == Alert("cusum", 20, "15m", 5)
    assert kpi.definition_id == Catalogue.parse(GOOD)["search_failure"].definition_id
    assert alert_text(kpi) == "cusum, above 20 percent, over 15m, lasting 5 min"
    absence = Catalogue.parse(ALERT.replace("cusum, target: 20", "absence").replace(", for: 5m", ""))
    assert alert_text(absence["search_failure"]) == "absence, over 15m"
    assert Catalogue.parse(GOOD)["search_failure"].alert is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("cusum", "cosum", "'method' cannot be 'cosum'"),
        ("target: 20, ", "", "'target' is missing"),
        ("target: 20", "target: 101", "target 101 is no value in percent"),
        ("target: 20", "target: [20]", "target [20] is no value in percent"),
        ("cusum", "absence", "unknown key 'target'"),
        ("window: 15m", "window: 20m", "'window' cannot be '20m'"),
        ("for: 5m", "for: soon", "for: window 'soon'"),
        ("for: 5m", "until: 5m", "unknown key 'until'"),
        ("direction: down", "direction: none", "cusum needs a better and a worse side"),
    ],
)
def test_an_alert_that_cannot_be_right_is_refused(old: str, new: str, says: str) -> None:
    assert any(says in problem and problem.startswith("mine.yaml:") for problem in refused(ALERT.replace(old, new, 1)))


def test_single_hits_are_judged_of_ratios_only() -> None:
    assert "cusum judges hits among trials" in refused(WAIT + "  alert: {method: cusum, target: 20, window: 15m}\n")[0]
    assert Catalogue.parse(WAIT + "  alert: {method: floor, target: 20, window: 15m}\n")


def test_the_definition_id_follows_the_numbers() -> None:
    """It changes with a threshold, not with a word."""
    before = Catalogue.parse(GOOD)["search_failure"].definition_id
    assert before.startswith("search_failure@")
    assert Catalogue.parse(GOOD.replace("finds nothing", "fails"))["search_failure"].definition_id == before
    assert Catalogue.parse(GOOD.replace("enough: 1", "enough: 2"))["search_failure"].definition_id != before


def test_missing_files_and_ids_are_told(tmp_path: Path) -> None:
    """A path that leads nowhere is refused; an unknown id comes with the nearest known one."""
    with pytest.raises(CatalogueError, match="no such file or folder"):
        Catalogue.load([tmp_path / "none.yaml"])
    latin = tmp_path / "latin.yml"
    latin.write_bytes(b"# one\n# caf\xe9\n")
    with pytest.raises(CatalogueError, match=r"latin\.yml:2: not UTF-8"):
        Catalogue.load([tmp_path])
    latin.unlink()
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(CatalogueError, match=r"folder\.yaml:1: cannot be read"):
        Catalogue.load([tmp_path])
    with pytest.raises(KeyError, match="did you mean 'csat'"):
        Catalogue.load()["csatt"]


def test_the_page_is_written_from_the_definitions() -> None:
    """docs/KPIS.md is what `cx kpis docs` writes."""
    assert PAGE.read_text(encoding="utf-8") == page(Catalogue.load())


RATE = GOOD.replace("  params: {enough: 1}\n", "").replace(
    "of: {events: cx.search.performed}\n  hits: {where: results < enough}",
    "of: {events: cx.payment.attempted}\n  hits: {events: cx.payment.failed}",
).replace("touchpoint, channel", "method")  # fmt: skip


@pytest.mark.parametrize("unit", ["percent", "fraction"])
def test_a_share_of_what_is_not_among_its_trials_is_refused(unit: str) -> None:
    """In a file of a user too, with the line of the events and both ways out of it."""
    (problem,) = refused(RATE.replace("percent", unit))
    assert problem.startswith("mine.yaml:13: KPI search_failure, hits: a share cannot count cx.payment.failed beside")
    assert "events: [cx.payment.failed, cx.payment.attempted]" in problem
    assert "hits: {where: type == 'cx.payment.failed'}" in problem
    assert "unit: per_100" in problem


def test_hits_that_name_events_of_the_trials_again_are_refused() -> None:
    """They would be counted beside the condition of the trials; the message says what to write."""
    both = RATE.replace("cx.payment.attempted", "[cx.payment.failed, cx.payment.succeeded]")
    (problem,) = refused(both)
    assert problem.endswith("leave 'events' out and say which of them hit, e.g. where: type == 'cx.payment.failed'")
    listed = both.replace("{events: cx.payment.failed}", "{where: type == 'cx.payment.failed'}")
    assert Catalogue.parse(listed)["search_failure"].nested


def test_a_rate_is_of_other_events() -> None:
    """Hits among the trials are a share, whatever it is called."""
    assert Catalogue.parse(RATE.replace("percent", "per_100"))["search_failure"].unit == "per_100"
    assert any(
        "hits that are counted among 'of' are a share" in one for one in refused(GOOD.replace("percent", "per_100"))
    )


def test_no_shipped_share_can_exceed_all() -> None:
    """Every ratio in percent or as a fraction counts its hits among its trials; every other one is a rate."""
    ratios = [kpi for kpi in Catalogue.load() if kpi.aggregator == "ratio"]
    assert {kpi.id for kpi in ratios if kpi.unit != "per_100" and not kpi.nested} == set()
    assert all("per 100" in kpi.name for kpi in ratios if kpi.unit == "per_100")


def test_the_example_on_the_page_works() -> None:
    """Whoever copies the block of the page gets a KPI."""
    example = PAGE.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    assert "search_failure" in Catalogue.parse(example)


SHARE = GOOD.replace("ratio", "share").replace("search.performed}", "agent.state_changed, value: duration_s}")
SHARE = (
    SHARE.replace("  params: {enough: 1}\n", "")
    .replace("results < enough", "previous == 'busy'")
    .replace("touchpoint, channel", "queue")
)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("hits: {where: previous == 'busy'}", "", "'hits' is missing: a share counts them among 'of'"),
        ("{where: previous == 'busy'}", "{}", "the part is the whole: 'hits' needs 'where', or a 'value' of its own"),
        ("{where: previous == 'busy'}", "{value: 3}", "unit 'percent' is impossible for a share of two values"),
        ("{where: previous == 'busy'}", "{events: cx.order.placed}", "'value' is missing: events of their own"),
        (", value: duration_s", "", "'value' is missing: share measures one"),
        ("unit: percent", "unit: points", "unit 'points' is impossible for share"),
    ],
)
def test_shares_that_are_none_are_refused(old: str, new: str, says: str) -> None:
    """In words that say what a share needs."""
    assert Catalogue.parse(SHARE)["search_failure"].nested
    assert any(says in problem for problem in refused(SHARE.replace(old, new)))


def test_a_distinct_count_is_of_texts() -> None:
    """Of customers, visits, places; not of numbers."""
    text = WAIT.replace("quantile", "distinct").replace("unit: seconds", "unit: count")
    assert any("is a number where text is needed" in problem for problem in refused(text))
    kpi = Catalogue.parse(text.replace("value: wait_s", "value: subject"))["search_failure"]
    assert kpi.of.value
    assert kpi.of.value.text == "subject"


WAITING = GOOD.replace("percent", "per_100").replace("class: A", "class: C\n  maturity: matured\n  wait: 2d").replace(
    "hits: {where: results < enough}", "hits: {events: cx.search.clicked, age_s: delay_s, where: position <= enough}"
).replace("touchpoint, channel", "touchpoint")  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("wait: 2d", "wait: 2 days", "expected minutes, hours or days"),
        ("wait: 2d", "wait: 200d", "'wait' is at most 100 days"),
        ("maturity: matured", "maturity: provisional", "'wait' belongs to a KPI that is matured"),
        ("age_s: delay_s, ", "", "'age_s', the time since then"),
        ("age_s: delay_s", "age_s: delay", "age_s: 'delay' is no field of these events; did you mean 'delay_s'?"),
        ("wait: 2d", "min_n: {show: 1}", "unknown key 'age_s'"),
    ],
)
def test_waits_that_cannot_be_are_refused(old: str, new: str, says: str) -> None:
    """A right one gives two KPIs."""
    assert [kpi.id for kpi in Catalogue.parse(WAITING)] == ["search_failure", "search_failure_provisional"]
    assert any(says in problem for problem in refused(WAITING.replace(old, new)))
