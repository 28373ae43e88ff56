"""The live page's alerts: which are on top, their episodes, their order, what is announced."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from math import inf

import pytest

from streams.board.charts import Backdrop, chart
from streams.board.episodes import COLUMNS, episodes
from streams.board.feed import AlertRow, alert_periods, alert_views, announcement, firing_view
from streams.board.pages import PageRenderer, PageView
from streams.board.poller import Detail, Poller
from streams.board.readings import ALL, ChangeMarker, KpiInfo, Latest, PublishedReading, SeriesKey
from streams.board.store import BoardStore
from streams.board.tiles import detail_step, up_to_window
from streams.storage.connection import Address
from tests.harness.readings import CSAT, NOW, known


def fired(episode: str, age: int, **changes: object) -> AlertRow:
    row = AlertRow(episode=episode, rule="CsatLow", kpi="csat", labels={"channel": "web"}, state="firing",
                   severity="ticket", owner="cx", why="low", at=NOW - age, value=60.0, n=50, unit="percent")  # fmt: skip
    return replace(row, **changes)


def test_what_fires_is_on_top_of_the_page_on_its_tile_and_in_the_title() -> None:
    """The most urgent first, however old; what is held back or over is not among it."""
    alerts = [
        fired("new", 10),
        fired("worst", 900, severity="page", labels={}),
        fired("held", 5, severity="page", inhibited_by="parent X", kpi="nps"),
        fired("over", 5, severity="page", state="resolved", kpi="nps"),
    ]
    for lang, count, name in (("en", "2", "Customer satisfaction · All"), ("fa", "۲", "رضایت مشتری · همه")):
        parts = PageRenderer().fragments(PageView(lang=lang), known(alerts=alerts), NOW)
        assert f'data-title="({count}) {name}"' in parts["firing"]
        assert f": {count}</strong>" in parts["firing"]
        assert "▲" in parts["tile-csat"]
        assert "▲" not in parts["tile-nps"]
    page = PageRenderer().whole(PageView(), known(alerts=alerts), NOW)
    assert page.index('id="firing"') < page.index("<main>")


def test_where_nothing_fires_nothing_is_on_top() -> None:
    for alerts in (None, [], [fired("a", 5, state="pending")], [fired("a", 5, inhibited_by="mute night")]):
        parts = PageRenderer().fragments(PageView(), known(alerts=alerts), NOW)
        assert parts["firing"].strip() == ""
        assert "▲" not in parts["tile-csat"]
    assert firing_view([fired("a", 5)], {}, "app", "en") is None


def transition(number: int, old: str, new: str, **changes: object) -> dict[str, object]:
    row = dict.fromkeys(COLUMNS, "") | {
        "id": f"1/0/{number}", "at": NOW + 60 * number, "rule": "CsatLow", "kpi": "csat", "labels": {"channel": "web"},
        "old": old, "new": new, "why": f"{old} => {new}", "severity": "page", "owner": "cx", "episode": "e1",
        "window": "15m", "unit": "percent", "value": 60.0, "n": 50, "lo": 46.0, "hi": 72.0, "baseline": 80.0,
        "contributors": '[{"labels": {"region": "tehran"}, "explained": 0.7}]', "annotations": {}, "links": {},
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


def test_an_alert_says_what_to_check_and_leads_onward() -> None:
    """To the details of its KPI in its window and channel, to the runbook, and whose it is; in the reader's language."""
    texts = {
        "summary": "Low",
        "check": "Is it up?",
        "summary_fa": "پایین",
        "check_fa": "کار می‌کند؟",
        "suspects": "app 5 was deployed",
    }
    alert = fired("CsatLow-1-100", 60, texts=texts, links={"runbook": "http://elsewhere/runbook#csatlow"}, window="15m")
    for lang, check in (("en", "Is it up?"), ("fa", "کار می‌کند؟")):
        part = PageRenderer().fragments(PageView(lang=lang), known(alerts=[alert], windows=("15m",)), NOW)["alerts"]
        assert check in part
        assert "app 5 was deployed" in part
        assert 'href="/runbook#csatlow"' in part
        assert re.search(r'href="/\?[^"]*channel=web[^"]*kpi=csat"', part)
    over = fired("CsatLow-1-100", 60, texts=texts, state="resolved")
    assert "Is it up?" not in PageRenderer().fragments(PageView(), known(alerts=[over]), NOW)["alerts"]


def test_the_times_at_which_alerts_fired_are_known_to_the_chart() -> None:
    began = NOW // 60 - 20
    alerts = [
        fired(f"A-1-{began}", 60),
        fired(f"B-1-{began - 60}", 600, state="resolved"),
        fired(f"C-1-{began}", 60, labels={"channel": "app"}),
        fired(f"D-1-{began}", 60, inhibited_by="mute night"),
    ]
    found = alert_periods(alerts, "csat", "web")
    assert found == [(60.0 * (began + 1), inf), (60.0 * (began - 59), float(NOW - 600))]
    points = [PublishedReading(NOW - 60 * age, 50.0, 9, 40.0, 60.0) for age in range(40, 0, -1)]
    drawn = chart(points, 60, "percent", "en", "course", behind=Backdrop(periods=found))
    assert drawn.count('class="alerted"') == 2


def test_releases_are_marked_and_the_week_before_is_behind_the_course() -> None:
    """Names of strangers are escaped; what lies outside the course is left out; the axis reaches what is drawn."""
    points = [PublishedReading(NOW - 60 * age, 50.0, 9, 40.0, 60.0) for age in range(40, 0, -1)]
    changes = [ChangeMarker(NOW - age, "web", "<b>shop", "5") for age in (120, 600, 9_000)]
    before = [replace(point, value=5.0) for point in points]
    drawn = chart(points, 60, "percent", "en", "course", behind=Backdrop(changes=changes, earlier=before))
    assert drawn.count('class="changed"') == drawn.count("<title>&lt;b&gt;shop 5</title>") == 2
    assert drawn.count('class="earlier"') == 1
    assert min(map(float, re.findall('text-anchor="end">([0-9.]+)', drawn))) <= 10
    assert 'class="earlier"' not in chart(points, 60, "percent", "en", "course")


def test_details_list_what_went_live_in_the_channel_that_is_shown() -> None:
    points = [PublishedReading(NOW - 60 * age, 50.0, 9, 40.0, 60.0) for age in range(40, 0, -1)]
    changes = [ChangeMarker(NOW - 600, "web", "shop", "5"), ChangeMarker(NOW - 900, "app", "nowruz", "")]
    course = {("csat", where, ""): points for where in (ALL, "web")}
    detail = Detail(course, 60, [], changes, course)
    for channel, listed in ((ALL, ["shop 5", "nowruz"]), ("web", ["shop 5"])):
        view = PageView(kpi="csat", channel=channel)
        part = PageRenderer().fragments(view, known(details={("csat", "15m"): detail}), NOW)["detail"]
        assert re.findall("<bdi>([a-z0-9 ]+)</bdi></li>", part) == listed
        assert "the same times a week before" in part


class Courses(BoardStore):
    """A store with a point every quarter of an hour since a moment, unix s."""

    def __init__(self, since: int) -> None:
        super().__init__(Address("http://127.0.0.1:1"))
        self.since = since

    def first(self, kpis: Iterable[str]) -> dict[tuple[str, str], int]:
        return {(kpi, ALL): self.since for kpi in kpis}

    def trend(self, info: KpiInfo, start: int, end: int, step: int) -> dict[SeriesKey, list[PublishedReading]]:
        times = range(max(start, self.since), end, step)
        return {(info.id, ALL, ""): [PublishedReading(at, 50.0, 9, since=at - step) for at in times]}

    def ask(self, sql: str, **parameters: object) -> list[Sequence[object]]:
        return []


def test_the_week_before_is_asked_for_only_where_all_of_it_is_known() -> None:
    """A course of twelve hours needs a week and twelve hours of history: else its beginning would be missing."""
    for first, shown in ((NOW - 8 * 86_400, True), (NOW - 7 * 86_400 - 600, False), (NOW - 86_400, False)):
        poller = Poller(Courses(first), clock=lambda: float(NOW))
        poller.known = known()
        poller.want("15m", "csat")
        poller._details()
        detail = poller.known.details["csat", "15m"]
        assert bool(detail.earlier) == shown
        assert all(one.at <= NOW for course in detail.earlier.values() for one in course)


def test_a_course_goes_on_where_it_was_left_and_begins_anew_with_another_step() -> None:
    """Half an hour old it has minutes, an hour later steps of five; nobody looked for ten minutes between."""
    poller, now = Poller(Courses(NOW - 1_800), clock=lambda: now), float(NOW)
    poller.known = known()
    for passed, step in ((0, 60), (600, 60), (660, 60), (3_600, 300)):
        now = float(NOW + passed)
        numbers = replace(poller.known.numbers["15m"], closed_until=NOW + passed)
        poller.known = replace(poller.known, numbers={"15m": numbers})
        poller._trends()
        found = [point.at for point in poller.known.numbers["15m"].trends["csat", ALL, ""]]
        assert {later - earlier for earlier, later in pairwise(found)} == {step}
        assert (found[0], poller.known.numbers["15m"].steps["csat"]) == (NOW - 1_800, step)
        assert found[-1] >= NOW + passed - step


def test_the_newest_value_ends_a_course_of_points_as_long_as_its_window_only() -> None:
    """Else eighty orders of a quarter of an hour would stand behind five of a minute each."""
    points, newest = [PublishedReading(NOW - 60, 5.0, 5)], Latest(PublishedReading(NOW, 80.0, 80))
    assert [one.value for one in up_to_window(points, 900, "15m", newest)] == [5.0, 80.0]
    assert [one.value for one in up_to_window(points, 60, "15m", newest)] == [5.0]


@pytest.mark.parametrize(
    ("window", "history_s", "step"),
    [("15m", 600, 60), ("15m", 3_600, 300), ("15m", 86_400, 900), ("24h", 86_400, 3_600), ("7d", 90 * 86_400, 604_800), ("1m", 0, 60)],
)  # fmt: skip
def test_a_course_has_points_however_young_it_is(window: str, history_s: int, step: int) -> None:
    assert detail_step(window, history_s) == step
