"""The live page without browser and store: what tiles, map, feed and pipeline say for what is known."""

import asyncio
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.board import texts
from streams.board.charts import chart, spans, sparkline, ticks, time_ticks
from streams.board.compare import Baseline, apart, change, difference_interval
from streams.board.episodes import COLUMNS, episodes
from streams.board.feed import AlertRow, Verbatim, alert_views, announcement, verbatim_views
from streams.board.formats import (
    amount,
    difference_text,
    direction_of,
    interval_text,
    masked,
    number,
    one_text,
    pseudonym,
)
from streams.board.health import Counts, Health, Rate, health_view
from streams.board.heat import heat_kpis, heat_map
from streams.board.pages import Pages, View
from streams.board.poller import Known, Numbers
from streams.board.readings import ALL, KpiInfo, Latest, Reading, overlaid
from streams.board.server import Board, Rendered, is_loopback_host
from streams.board.texts import KPI_NAMES_FA, LANGS, Texts, window_text, words
from streams.board.tiles import GROUPS, HEADLINE, TileFacts, course_span, course_step, tile
from streams.events.refusal import REASONS
from streams.events.scalars import CHANNELS
from streams.events.touchpoints import STAGES, load_touchpoints
from streams.kpis.catalogue import Catalogue
from streams.kpis.intervals import wilson
from streams.storage.connection import Address

NOW = 1_800_000_000
CSAT = KpiInfo(
    id="csat", name="Customer satisfaction", unit="percent", direction="up", aggregator="ratio",
    groupings=((), ("channel",), ("channel", "touchpoint")),
)  # fmt: skip
VOLUME = KpiInfo(id="volume", name="Events", groupings=((), ("channel",)))
TOUCHPOINTS = load_touchpoints()


def share(hits: int, n: int, at: int = NOW, **changes: object) -> Reading:
    lo, hi = wilson(hits, n)
    return replace(Reading(at, 100 * hits / n, n, 100 * lo, 100 * hi), **changes)


def facts(latest: Latest | None = None, baselines: tuple[Baseline, ...] = (), **changes: object) -> TileFacts:
    values = {("csat", ALL, ""): latest} if latest else {}
    made = TileFacts(values, {("csat", ALL, ""): baselines}, {}, "15m", NOW)
    return replace(made, **changes)


# -- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "en", "fa"),
    [
        (82.44, "percent", "82.4\u00a0%", "۸۲٫۴٪"),
        (12.0, "seconds", "12.0\u00a0s", "۱۲٫۰\u00a0ثانیه"),
        (331.4, "seconds", "5:31\u00a0min", "۵:۳۱\u00a0دقیقه"),
        (-33.0, "points", "−33\u00a0pts", "\u200e−۳۳\u00a0امتیاز"),
        (4.256, "score", "4.26", "۴٫۲۶"),
        (1234.0, "count", "1,234", "۱٬۲۳۴"),
        (3_456_000.0, "currency", "3.5\u202fM", "۳٫۵\u202fمیلیون"),
        (36.5, "hours", "36.5\u00a0h", "۳۶٫۵\u00a0ساعت"),
        (0.0, "percent", "0.0\u00a0%", "۰٫۰٪"),
    ],
)
def test_values_read_as_each_language_writes_them(value: float, unit: str, en: str, fa: str) -> None:
    assert one_text(value, unit, "en") == en
    assert one_text(value, unit, "fa") == fa


def test_intervals_of_minutes_are_minutes_on_both_ends_and_unknown_ends_are_open() -> None:
    assert interval_text(105, 130, "seconds", "en") == "1:45 to 2:10"
    assert interval_text(105, 130, "seconds", "fa") == "۱:۴۵ تا ۲:۱۰"
    assert interval_text(3, None, "seconds", "en") == "3.0 to …"
    assert interval_text(None, None, "seconds", "en") == ""


def test_differences_of_percentages_are_percentage_points() -> None:
    assert difference_text(-2.34, "percent", "en") == "−2.3\u00a0pp"
    assert difference_text(150, "count", "en") == "+150"
    assert amount(-130.0, "seconds", "en", sign=True) == ("−2:10", "min")


@given(st.floats(-1e12, 1e12))
def test_no_latin_digit_is_left_in_persian_and_no_zero_has_a_sign(value: float) -> None:
    assert not re.search("[0-9]", number(value, "fa"))
    assert number(value, "en") not in {"−0", "−0.0", "−0.00"}


# -- texts -----------------------------------------------------------------------------------------------------------


def test_every_text_is_there_in_every_language() -> None:
    for key, pair in words().items():
        assert len(pair) == len(LANGS), key
        assert all(text.strip() for text in pair), key
        if key not in {"clickhouse", "other_language", "no_data"}:
            assert re.search("[\u0600-\u06ff]", pair[1]), f"{key} is not Persian: {pair[1]}"


def test_templates_use_only_texts_that_exist() -> None:
    folder = Path(texts.__file__).parent
    sources = "".join(file.read_text(encoding="utf-8") for file in [*folder.rglob("*.py"), *folder.rglob("*.html")])
    used = set(re.findall(r"""\b(?:t|texts|Texts\(\w+(?:\.\w+)?\))\[['"](\w+)['"]\]""", sources))
    assert len(used) > 60
    assert used <= set(words())


def test_what_the_page_names_by_key_has_a_text() -> None:
    keys = [*CHANNELS, ALL, *STAGES, *(f"reason_{reason}" for reason in REASONS), *(f"group_{name}" for name in GROUPS)]
    assert [key for key in keys if key not in words()] == []


def test_kpis_of_the_page_exist_and_have_a_persian_name() -> None:
    catalogue = Catalogue.load()
    assert {*HEADLINE, *KPI_NAMES_FA} <= {kpi.id for kpi in catalogue}
    assert set(HEADLINE) <= set(KPI_NAMES_FA)


def test_windows_read_as_people_say_them() -> None:
    assert window_text("15m", "en") == "15\u00a0min"
    assert window_text("24h", "fa") == "۲۴\u00a0ساعت"
    assert window_text("7d", "en") == "7\u00a0d"
    assert window_text("total", "en") == "since start"


# -- comparisons -----------------------------------------------------------------------------------------------------


def test_the_interval_of_a_difference_is_newcombes() -> None:
    """56/70 against 48/80: Newcombe (1998), table II, method 10."""
    found = difference_interval(share(56, 70), share(48, 80))
    assert found is not None
    assert found == pytest.approx((5.24, 33.39), abs=0.01)


def test_only_a_sure_change_is_marked() -> None:
    day = Baseline("day", share(850, 1000))
    sure = change(CSAT, share(750, 1000), [day])
    unsure = change(CSAT, share(840, 1000), [day])
    assert sure is not None
    assert (sure.significant, sure.better) == (True, False)
    assert unsure is not None
    assert not unsure.significant


def test_marks_hardly_ever_appear_when_nothing_has_changed() -> None:
    """At 99.9 % about one of a thousand pairs of samples may be marked."""
    rng = random.Random(5)
    draw = [sum(rng.random() < 0.8 for _ in range(150)) for _ in range(4000)]
    marked = sum(
        bool((found := change(CSAT, share(a, 150), [Baseline("day", share(b, 150))])) and found.significant)
        for a, b in zip(draw[::2], draw[1::2], strict=True)
    )
    assert marked <= 8


def test_the_best_baseline_with_enough_answers_is_taken() -> None:
    week, day = Baseline("week", share(3, 4)), Baseline("day", share(80, 100))
    found = change(CSAT, share(80, 100), [week, day])
    assert found is not None
    assert (found.kind, found.baseline_n) == ("day", 100)
    assert change(CSAT, share(80, 100), []) is None
    assert change(CSAT, None, [day]) is None


def test_amounts_are_compared_with_the_same_length_only_and_never_judged() -> None:
    now, before = Reading(NOW, 900.0, 900), Reading(NOW - 86_400, 300.0, 300)
    found = change(VOLUME, now, [Baseline("24h", before), Baseline("day", before)])
    assert found is not None
    assert (found.kind, found.difference, found.significant) == ("day", 600.0, False)


def test_fewer_complaints_are_better() -> None:
    late = replace(CSAT, direction="down")
    found = change(late, share(100, 1000), [Baseline("day", share(300, 1000))])
    assert found is not None
    assert found.better is True


@pytest.mark.parametrize(("hits", "side"), [(95, 1), (80, 0), (40, -1)])
def test_a_part_is_apart_when_its_interval_excludes_the_whole(hits: int, side: int) -> None:
    assert apart(share(hits, 100), share(800, 1000)) == side


# -- tiles -----------------------------------------------------------------------------------------------------------


def test_a_tile_says_value_unit_n_interval_and_change() -> None:
    shown = tile(CSAT, ALL, facts(Latest(share(750, 1000)), (Baseline("day", share(850, 1000)),)), "en")
    assert (shown.value, shown.unit, shown.n, shown.interval) == ("75.0", "%", "1,000", "72.2 to 77.6")
    assert (shown.state, shown.mark) == ("ok", "worse")
    assert shown.change == "−10.0\u00a0pp vs a day earlier"
    assert "before: 85.0\u00a0%, n 1,000" in shown.change_tip
    assert shown.spoken.startswith("Customer satisfaction: 75.0 %, n 1,000, 95 % interval 72.2 to 77.6; worse:")


def test_no_data_is_never_zero() -> None:
    for latest in (None, Latest(Reading(NOW, None, 0))):
        shown = tile(CSAT, ALL, facts(latest), "en")
        assert (shown.state, shown.value, shown.n, shown.mark, shown.change) == ("none", "", "", "", "")
        assert "no data" in shown.spoken


def test_zero_is_a_value() -> None:
    shown = tile(CSAT, ALL, facts(Latest(share(0, 50))), "en")
    assert (shown.value, shown.state) == ("0.0", "ok")


def test_thin_samples_are_grey_and_say_so() -> None:
    shown = tile(CSAT, ALL, facts(Latest(share(4, 5)), (Baseline("day", share(10, 1000)),)), "en")
    assert (shown.state, shown.note, shown.mark) == ("thin", "few answers", "same")


def test_the_open_minute_is_shown_but_not_of_amounts_and_not_compared() -> None:
    closed, opened = share(80, 100), share(10, 100, NOW + 60, closed=False)
    shown = tile(CSAT, ALL, facts(Latest(closed, opened), (Baseline("day", share(80, 100)),)), "en")
    assert (shown.value, shown.open, shown.mark) == ("10.0", True, "same")
    amounts = TileFacts({("volume", ALL, ""): Latest(Reading(NOW, 900.0, 900), Reading(NOW + 60, 20.0, 20, closed=False))},
                        {}, {}, "15m", NOW)  # fmt: skip
    assert tile(VOLUME, ALL, amounts, "en").value == "900"


def test_a_value_behind_the_page_is_told_to_be_old() -> None:
    assert tile(CSAT, ALL, facts(Latest(share(8, 10, NOW - 600))), "en").old
    assert not tile(CSAT, ALL, facts(Latest(share(8, 10, NOW - 60))), "en").old


def test_the_whole_has_its_channels_and_one_channel_has_none() -> None:
    values = {("csat", ALL, ""): Latest(share(80, 100)), ("csat", "web", ""): Latest(share(9, 9))}
    shown = tile(CSAT, ALL, replace(facts(), latest=values), "en")
    assert [(part.channel, part.text, part.state) for part in shown.parts] == [
        ("web", "100.0\u00a0%", "thin"), ("app", "–", "none"), ("store", "–", "none"), ("call_center", "–", "none"),
    ]  # fmt: skip
    web = tile(CSAT, "web", replace(facts(), latest=values), "en")
    assert (web.value, web.parts) == ("100.0", ())
    alone = tile(replace(CSAT, groupings=((),)), "web", facts(), "en")
    assert alone.note == "not kept by channel"


def test_fresh_halves_keep_the_other_half() -> None:
    old, key = Latest(share(1, 2), share(1, 2, NOW + 60, closed=False)), ("csat", ALL, "")
    newer = share(2, 3, NOW + 60)
    assert overlaid({key: old}, {key: Latest(closed=newer)})[key] == Latest(newer, old.open)


# -- charts ----------------------------------------------------------------------------------------------------------


def test_a_gap_breaks_the_line_and_what_is_missing_is_not_zero() -> None:
    points = [share(5, 10, NOW + 60 * step) for step in (0, 1, 2, 6, 7)]
    assert [len(run) for run in spans([*points, Reading(NOW + 480, None, 0)], 60)] == [3, 2]
    drawn = sparkline(points, 60, "x")
    assert drawn.count('class="line"') == 2
    assert drawn.count('class="band"') == 2


def test_a_line_needs_two_values() -> None:
    assert sparkline([share(5, 10)], 60, "x") == ""
    assert chart([], 60, "percent", "en", "x") == ""


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 12
    assert all(low - 1e-6 * abs(low) - 1e-9 <= tick <= low + width + 1e-6 * abs(low + width) + 1e-9 for tick in found)


@given(st.integers(0, 2_000_000_000), st.integers(600, 40_000_000))
def test_time_ticks_are_few_and_inside(start: int, length: int) -> None:
    found = time_ticks(start, start + length)
    assert 1 <= len(found) <= 16
    assert all(start <= at <= start + length for at in found)


@pytest.mark.parametrize("window", ["1m", "5m", "15m", "1h", "24h", "7d", "total", "30m"])
def test_courses_are_whole_steps(window: str) -> None:
    assert course_span(window) % course_step(window) == 0


# -- heat map --------------------------------------------------------------------------------------------------------


def test_the_map_colours_only_what_is_known_to_differ() -> None:
    values = {
        ("csat", ALL, ""): Latest(share(800, 1000)),
        ("csat", "web", "search"): Latest(share(99, 100)),
        ("csat", "app", "search"): Latest(share(81, 100)),
        ("csat", "web", "checkout"): Latest(share(40, 100)),
        ("csat", "app", "checkout"): Latest(share(1, 3)),
        ("csat", "web", "something_new"): Latest(share(80, 100)),
    }
    found = heat_map(CSAT, values, TOUCHPOINTS, "en")
    cells = {row.id: row.cells for row in found.rows}
    assert list(cells) == ["search", "checkout", "something_new"]
    assert [(cell.tone, cell.sure, cell.shade > 0) for cell in cells["search"][:2] if cell] == [
        ("good", True, True), ("good", False, False),
    ]  # fmt: skip
    worse, thin = cells["checkout"][0], cells["checkout"][1]
    assert worse is not None
    assert (worse.tone, worse.sure, worse.text) == ("bad", True, "40.0\u00a0%")
    assert "n 100" in worse.tip
    assert thin is not None
    assert (thin.state, thin.shade) == ("thin", 0)
    assert cells["search"][2] is None, "search is not met in a store"


def test_the_map_names_touchpoints_in_persian() -> None:
    values = {("csat", ALL, ""): Latest(share(8, 10)), ("csat", "web", "search"): Latest(share(8, 10))}
    assert heat_map(CSAT, values, TOUCHPOINTS, "fa").rows[0].name == "جست‌وجو"
    assert [name for name, _ in heat_map(CSAT, values, TOUCHPOINTS, "fa", "web").channels] == ["web"]


# -- feed ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("call me at 0912 345 6789 please", "call me at ••• please"),
        ("ایمیل من a.b@example.com است", "ایمیل من ••• است"),
        ("شمارهٔ من ۰۹۱۲۳۴۵۶۷۸۹", "شمارهٔ من •••"),
        ("waited 45 minutes, 3 times", "waited 45 minutes, 3 times"),
    ],
)
def test_what_could_reach_a_person_is_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_customers_are_pseudonymous() -> None:
    assert pseudonym("ali@example.com") == pseudonym("ali@example.com")
    assert pseudonym("ali@example.com") != pseudonym("sara@example.com")
    assert "ali" not in pseudonym("ali@example.com")


@pytest.mark.parametrize(("text", "side"), [("سلام", "rtl"), ("5 از ۵ خوب", "rtl"), ("Good", "ltr"), ("!! 12", "ltr")])
def test_the_first_letter_gives_the_direction(text: str, side: str) -> None:
    assert direction_of(text) == side


def test_verbatims_are_newest_first_and_of_the_channel() -> None:
    said = [Verbatim(NOW - age, f"{age}", channel, "search", "c", "متن" if age % 2 else "text", 4, 5)
            for age, channel in ((30, "web"), (10, "app"), (21, "web"))]  # fmt: skip
    assert [view.id for view in verbatim_views(said, ALL, TOUCHPOINTS, "en")] == ["10", "21", "30"]
    web = verbatim_views(said, "web", TOUCHPOINTS, "fa")
    assert [(view.id, view.dir, view.lang) for view in web] == [("21", "rtl", "fa"), ("30", "ltr", "en")]
    assert web[0].rating == "امتیاز ۴ از ۵"


def transition(number: int, old: str, new: str, **changes: object) -> dict[str, object]:
    row = dict.fromkeys(COLUMNS, "") | {
        "id": f"1/0/{number}", "at": NOW + 60 * number, "rule": "CsatLow", "kpi": "csat", "labels": {"channel": "web"},
        "old": old, "new": new, "why": f"{old} => {new}", "severity": "page", "owner": "cx", "episode": "e1",
        "window": "15m", "unit": "percent", "value": 60.0, "n": 50, "lo": 46.0, "hi": 72.0, "baseline": 80.0,
        "contributors": '[{"labels": {"region": "tehran"}, "explained": 0.7}]', "annotations": {},
    }  # fmt: skip
    return row | changes


def test_an_episode_shows_its_state_with_the_evidence_it_fired_on() -> None:
    steps = [
        transition(12, "firing", "resolved", value=81.0, contributors=""),
        transition(9, "pending", "firing"),
        transition(2, "inactive", "pending", value=70.0),
    ]
    (found,) = episodes(steps)
    assert (found.state, found.at, found.value) == ("resolved", NOW + 720, 60.0)
    assert found.contributors == (({"region": "tehran"}, 0.7),)


def test_what_never_fired_is_no_alert_and_order_within_a_minute_is_by_number() -> None:
    assert episodes([transition(1, "inactive", "pending"), transition(2, "pending", "inactive")]) == []
    same = [transition(10, "pending", "firing", at=NOW), transition(9, "inactive", "pending", at=NOW)]
    assert [one.state for one in episodes(same)] == ["firing"]
    still = [transition(1, "pending", "firing"), transition(5, "firing", "firing", inhibited_by="parent X")]
    assert [(one.at, one.inhibited_by) for one in episodes(still)] == [(NOW + 60, "parent X")]


def test_alerts_that_fire_come_first_and_are_announced() -> None:
    made = episodes([transition(3, "pending", "firing")])
    resolved = replace(made[0], state="resolved", at=NOW + 900, episode="e0", rule="Other")
    views = alert_views([resolved, *made], {"csat": CSAT}, ALL, "en")
    assert [view.title for view in views] == ["CsatLow", "Other"]
    assert views[0].where == "Customer satisfaction · Web"
    assert views[0].numbers == "60.0\u00a0% · [46.0 to 72.0] · n 50 · before 80.0\u00a0% · 15\u00a0min"
    assert views[0].because == ("tehran: 70%",)
    assert announcement(views, "en").startswith("New alert: CsatLow. Customer satisfaction · Web.")
    assert announcement(alert_views([resolved], {}, ALL, "en"), "en") == ""
    assert alert_views(made, {"csat": CSAT}, "app", "en") == []


# -- pipeline --------------------------------------------------------------------------------------------------------


def test_the_rate_is_over_the_last_half_minute() -> None:
    rate = Rate()
    rate.tell(0, 1_000_000)
    assert rate.per_second() is None
    for second in range(2, 62, 2):
        rate.tell(second, 1_000_000 + 50 * second)
    assert rate.per_second() == pytest.approx(50)
    rate.tell(64, 10)
    assert rate.per_second() is None, "counted anew: the old totals mean nothing"


def test_the_balance_is_told() -> None:
    good = Counts(read=10, counted=7, duplicate=1, late=1, bad=1, stored_at=NOW)
    assert health_view(Health(channels={"web": good}), "en").balanced
    assert not health_view(Health(channels={"web": good, "app": replace(good, read=11)}), "en").balanced
    view = health_view(Health(fullest=900), "en")
    assert (view.slow, view.merges, view.channels[0].rate) == (True, "unknown", "no data")


# -- page ------------------------------------------------------------------------------------------------------------


def known(**changes: object) -> Known:
    numbers = Numbers(values={("csat", ALL, ""): Latest(share(80, 100))}, closed_until=NOW)
    made = Known(infos={"csat": CSAT, "volume": VOLUME}, windows=["5m", "15m"], numbers={"15m": numbers}, newest=NOW)
    return replace(made, **changes)


@pytest.mark.parametrize("lang", LANGS)
def test_the_page_is_whole_in_every_language(lang: texts.Lang) -> None:
    whole = Pages().whole(View(lang=lang, kpi="csat"), known(), NOW + 70)
    assert f'<html lang="{lang}" dir="{Texts(lang).direction}">' in whole
    assert Texts(lang)["no_data"] in whole
    assert Texts(lang)["alerts_absent"] in whole
    assert "style=" not in whole, "the content policy allows no style in the page"
    assert "<script>" not in whole
    assert "onclick" not in whole


def test_details_are_shown_before_anything_is_known() -> None:
    assert 'id="detail-title">csat<' in Pages().whole(View(kpi="csat", heat="nps", window="1h"), Known(), NOW)


@pytest.mark.parametrize(
    ("changes", "later", "state"),
    [
        ({}, 70, "live"),
        ({}, 3_600, "still"),
        ({"away_since": NOW}, 70, "away"),
        ({"refusal": "no table"}, 70, "refused"),
        ({"numbers": {}}, 70, "loading"),
        ({"numbers": {"15m": Numbers()}}, 70, "empty"),
    ],
)
def test_the_page_says_how_fresh_it_is(changes: dict[str, object], later: int, state: str) -> None:
    parts = Pages().fragments(View(), known(**changes), NOW + later)
    assert f'data-state="{state}"' in parts["status"]


def test_what_customers_write_cannot_become_markup() -> None:
    said = Verbatim(NOW, "1", "web", "<b>", "c", "<script>alert(1)</script>")
    fired = AlertRow(episode="e", rule="<i>", kpi="k", labels={"channel": "web", "x": "<u>"}, state="firing",
                     severity="page", owner="", why="<img src=x>", at=NOW)  # fmt: skip
    parts = Pages().fragments(View(), known(verbatims=[said], alerts=[fired]), NOW)
    for name in ("verbatims", "alerts", "announce"):
        assert not re.search("<(script|img|u|i|b)>|<img", parts[name].replace("<b>&lt;i&gt;</b>", "")), name


def test_a_view_falls_back_to_what_there_is() -> None:
    query = {"lang": "xx", "window": "3m", "channel": "fax", "heat": "nothing", "kpi": "csat"}
    assert View.of(query, ["5m", "15m"], {"csat": CSAT}) == View(kpi="csat")
    assert View.of({}, ["5m"], {}).window == "5m"
    unknown = {"window": "1h", "heat": "nps", "kpi": "csat"}
    assert View.of(unknown, [], {}) == View(window="1h", heat="nps", kpi="csat")
    assert View.of({"window": "<b>", "kpi": "a b"}, [], {}) == View()
    assert View.of({"window": "99999m"}, [], {}) == View()
    assert View(lang="fa", channel="web").link(window="5m") == "/?lang=fa&window=5m&channel=web"
    assert View().link() == "/"
    assert View(kpi="csat").stream() == "/stream?kpi=csat"


def test_a_viewer_gets_only_what_changed() -> None:
    rendered = Rendered(4, {"a": "1", "b": "2"})
    assert b'"a": "1"' in rendered.message(-1)
    rendered.renew(5, {"a": "1", "b": "3"})
    assert rendered.message(4) == b'event: parts\ndata: {"b": "3"}\n\n'
    assert rendered.message(5) == b""
    assert b'"a"' in rendered.message(3)


@pytest.mark.parametrize(
    ("host", "near"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_only_loopback_is_near(host: str, near: bool) -> None:
    assert is_loopback_host(host) is near


def test_the_map_offers_what_is_kept_by_channel_and_touchpoint_the_usual_first() -> None:
    other = replace(CSAT, id="self_score", name="A first by name")
    assert [info.id for info in heat_kpis([other, VOLUME, CSAT])] == ["csat", "self_score"]


async def test_a_fault_in_the_poller_ends_the_page() -> None:
    board = Board(Address("http://127.0.0.1:1"))

    async def broken() -> None:
        raise KeyError("no such thing")

    board.poller.run = broken
    async with board.app(["*"]).router.lifespan_context(board.app(["*"])):
        await asyncio.wait_for(board.failed.wait(), 5)


def test_of_amounts_the_larger_is_the_darker() -> None:
    counted = replace(VOLUME, groupings=((), ("channel",), ("channel", "touchpoint")))
    values = {
        ("volume", where, touchpoint): Latest(Reading(NOW, float(n), n))
        for where, touchpoint, n in (
            (ALL, "", 1_000),
            ("web", "search", 900),
            ("app", "search", 400),
            ("web", "cart", 3),
        )
    }
    (search, cart) = heat_map(counted, values, TOUCHPOINTS, "en").rows
    assert [cell and (cell.tone, cell.shade, cell.sure) for cell in (*search.cells[:2], cart.cells[0])] == [
        ("high", 3, False), ("high", 2, False), ("high", 1, False),
    ]  # fmt: skip
