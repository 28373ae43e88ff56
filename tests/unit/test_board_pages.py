"""The live page without browser and store: what map, feed, pipeline and the page as a whole say."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from streams.alerts.rules.parsing import load_rules
from streams.board.advice import StoredAction
from streams.board.feed import AlertRow, Verbatim, verbatim_views
from streams.board.formats import direction_of, pseudonym
from streams.board.health import Counts, PipelineHealth, Rate, health_view
from streams.board.heat import heat_kpis, heat_map
from streams.board.pages import PageRenderer, PageView
from streams.board.poller import Known, Numbers, Poller
from streams.board.readings import ALL, Latest, PublishedReading
from streams.board.scripted import ScriptedPath
from streams.board.server import BoardServer
from streams.board.store import BoardStore
from streams.board.streaming import Rendered
from streams.board.workers import Workers, WorkerTrouble
from streams.kpis.catalogue.catalogue import Catalogue
from streams.listener.clients import Budget, Client
from streams.listener.hosts import Hosts
from streams.local.ports import free_port
from streams.settings import ConfigError, load
from streams.shipped import RULES
from streams.storage.connection import Address
from streams.wording import texts
from streams.wording.masking import masked
from streams.wording.texts import LANGS, Texts
from tests.harness.readings import CSAT, NOW, TOUCHPOINTS, VOLUME, known, share

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
        ("سفارش ۱۰۰۴۵۸۷۷ هنوز نرسیده", "سفارش ۱۰۰۴۵۸۷۷ هنوز نرسیده"),
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
    assert health_view(PipelineHealth(channels={"web": good}), "en").balanced
    assert not health_view(PipelineHealth(channels={"web": good, "app": replace(good, read=11)}), "en").balanced
    view = health_view(PipelineHealth(fullest=900), "en")
    assert (view.slow, view.merges, view.channels[0].rate) == (True, "unknown", "no data")


# -- page ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGS)
def test_the_page_is_whole_in_every_language(lang: texts.Lang) -> None:
    whole = PageRenderer().whole(PageView(lang=lang, kpi="csat"), known(), NOW + 70)
    assert f'<html lang="{lang}" dir="{Texts(lang).direction}">' in whole
    assert Texts(lang)["no_data"] in whole
    assert Texts(lang)["alerts_absent"] in whole
    assert "style=" not in whole, "the content policy allows no style in the page"
    assert "<script>" not in whole
    assert "onclick" not in whole


def test_what_is_still_counting_has_a_mark_and_the_details_say_it() -> None:
    """A ring beside the time of an open value, none beside that of a closed one; in the details it is said in words."""
    closed, opened = share(80, 100), share(75, 100, NOW + 60, closed=False)
    for latest, marked in ((Latest(None, opened), True), (Latest(closed, opened), False)):
        numbers = Numbers(values={("csat", ALL, ""): latest}, closed_until=NOW)
        for lang in LANGS:
            parts = PageRenderer().fragments(PageView(lang=lang, kpi="csat"), known(numbers={"15m": numbers}), NOW + 70)
            assert ('class="at counting"' in parts["tile-csat"]) == marked
            said = {
                word: Texts(lang)[word] in re.sub("<[^>]*>", "", parts["detail"]) for word in ("counting", "closed")
            }
            assert said == {"counting": marked, "closed": not marked}
            assert Texts(lang)["maturity_immediate"] in parts["detail"]


def test_details_in_persian_have_persian_digits() -> None:
    parts = PageRenderer().fragments(PageView(lang="fa", kpi="csat"), known(), NOW + 70)
    shown = re.sub("<code.*?</code>|<time.*?</time>|<[^>]*>", "", parts["detail"], flags=re.DOTALL)
    assert "۱ / ۱۰" in shown
    assert not re.search("[0-9]", shown)


def test_details_are_shown_before_anything_is_known() -> None:
    assert 'id="detail-title">csat<' in PageRenderer().whole(
        PageView(kpi="csat", heat="nps", window="1h"), Known(), NOW
    )


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
    parts = PageRenderer().fragments(PageView(), known(**changes), NOW + later)
    assert f'data-state="{state}"' in parts["status"]


def test_what_customers_write_cannot_become_markup() -> None:
    said = Verbatim(NOW, "1", "web", "<b>", "c", "<script>alert(1)</script>")
    fired = AlertRow(episode="e", rule="<i>", kpi="k", labels={"channel": "web", "x": "<u>"}, state="firing",
                     severity="page", owner="", why="<img src=x>", at=NOW)  # fmt: skip
    parts = PageRenderer().fragments(PageView(), known(verbatims=[said], alerts=[fired]), NOW)
    for name in ("verbatims", "alerts", "announce", "firing"):
        assert not re.search("<(script|img|u|i|b)>|<img", parts[name].replace("<b>&lt;i&gt;</b>", "")), name


def test_what_to_do_first_stands_there_once_it_is_known() -> None:
    assert PageRenderer().fragments(PageView(), known(), NOW)["advice"].strip() == ""
    boxes = StoredAction(
        NOW, "Stronger <b>boxes</b>", "logistics", 5, 0.064, 0.058, 0.07, 125, 5_500, "EUR", "association"
    )
    bare = replace(boxes, how="جعبه‌های محکم‌تر", at_stake=None, currency="", basis="experiment")
    english = PageRenderer().fragments(PageView(), known(actions=[boxes]), NOW)["advice"]
    assert "Stronger &lt;b&gt;boxes" in english
    for said in (
        "gain +0.06 (0.06 to 0.07)",
        "125 customers a month",
        "5,500 EUR at stake",
        "5 days of work",
        "not cause",
    ):
        assert said in english, said
    persian = PageRenderer().fragments(PageView(lang="fa"), known(actions=[bare]), NOW)["advice"]
    assert "۱۲۵ مشتری در ماه" in persian
    assert "در گرو" not in persian
    assert "نشان‌داده با آزمایش" in persian


def test_synthetic_paths_stand_there_where_there_are_any_those_in_trouble_first() -> None:
    assert PageRenderer().fragments(PageView(), known(), NOW)["paths"].strip() == ""
    down = AlertRow(episode="e", rule="SyntheticPathDown", kpi="synthetic_successes", labels={"path": "web-order"},
                    state="firing", severity="page", owner="platform", why="", at=NOW)  # fmt: skip
    paths = [
        ScriptedPath("app-answer", PublishedReading(NOW, 100.0, 15, 79.6, 100.0), NOW),
        ScriptedPath("store-receipt", PublishedReading(NOW, None, 0), NOW - 3_600),
        ScriptedPath("web-cart", PublishedReading(NOW, 80.0, 15, 54.8, 93.0), NOW),
        ScriptedPath("web-order", PublishedReading(NOW, 0.0, 15, 0.0, 20.4), NOW),
    ]
    for alerts, marks in (([down], "✗??✓"), ([replace(down, inhibited_by="mute night")], "???✓")):
        english = PageRenderer().fragments(PageView(), known(scripted=paths, alerts=alerts), NOW)["paths"]
        assert "".join(re.findall('aria-hidden="true">(.)<', english)) == marks
    assert re.findall('dir="ltr">([a-z-]+)<', english) == ["store-receipt", "web-cart", "web-order", "app-answer"]
    for said in (
        "no run<",
        "has not run; 15\u00a0min",
        "80.0\u00a0% · n 15",
        "all runs succeeded; 15\u00a0min; 95 % interval 79.6",
    ):
        assert said in english, said
    persian = PageRenderer().fragments(PageView(lang="fa"), known(scripted=paths, alerts=[down]), NOW)["paths"]
    assert "۸۰٫۰٪ · تعداد ۱۵" in persian
    assert "هشداری برای آن فعال است" in persian


def test_a_view_falls_back_to_what_there_is() -> None:
    query = {"lang": "xx", "window": "3m", "channel": "fax", "heat": "nothing", "kpi": "csat"}
    assert PageView.of(query, ["5m", "15m"], {"csat": CSAT}) == PageView(kpi="csat")
    assert PageView.of({}, ["5m"], {}).window == "5m"
    unknown = {"window": "1h", "heat": "nps", "kpi": "csat"}
    assert PageView.of(unknown, [], {}) == PageView(window="1h", heat="nps", kpi="csat")
    assert PageView.of({"window": "<b>", "kpi": "a b"}, [], {}) == PageView()
    assert PageView.of({"window": "99999m"}, [], {}) == PageView()
    assert PageView(lang="fa", channel="web").link(window="5m") == "/?lang=fa&window=5m&channel=web"
    assert PageView().link() == "/"
    assert PageView(kpi="csat").stream() == "/stream?kpi=csat"


def test_a_viewer_gets_only_what_changed() -> None:
    rendered = Rendered(4, {"a": "1", "b": "2"})
    assert b'"a": "1"' in rendered.message(-1)
    rendered.renew(5, {"a": "1", "b": "3"})
    assert rendered.message(4) == b'event: parts\ndata: {"b": "3"}\n\n'
    assert rendered.message(5) == b""
    assert b'"a"' in rendered.message(3)


def test_the_map_offers_what_is_kept_by_channel_and_touchpoint_the_usual_first() -> None:
    other = replace(CSAT, id="self_score", name="A first by name")
    assert [info.id for info in heat_kpis([other, VOLUME, CSAT])] == ["csat", "self_score"]


async def test_a_fault_in_the_poller_ends_the_page() -> None:
    board = BoardServer(Address("http://127.0.0.1:1"))

    async def broken() -> None:
        raise KeyError("no such thing")

    board.poller.run = broken
    app = board.app(Hosts("127.0.0.1"))
    async with app.router.lifespan_context(app):
        await asyncio.wait_for(board.failed.wait(), 90)


def test_of_amounts_the_larger_is_the_darker() -> None:
    counted = replace(VOLUME, groupings=((), ("channel",), ("channel", "touchpoint")))
    values = {
        ("volume", where, touchpoint): Latest(PublishedReading(NOW, float(n), n))
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


async def test_viewers_are_bounded_in_all_and_from_one_address() -> None:
    board = BoardServer(Address("http://127.0.0.1:1"), viewers=3, client_viewers=2)
    app = board.app(Hosts("127.0.0.1"))
    one, other = Client("a", Budget(1.0)), Client("b", Budget(1.0))

    async def stream(client: Client) -> int:
        """The status; a stream that is let in goes on until it is cancelled."""
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        scope = {
            "type": "http", "method": "GET", "path": "/stream", "query_string": b"", "root_path": "",
            "headers": [(b"host", b"localhost")], "state": {"client": client},
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                told.set_result(message["status"])

        streams.append(asyncio.create_task(app(scope, receive, send)))
        return await told

    streams: list[asyncio.Task[None]] = []
    assert [await stream(client) for client in (one, one, one, other, other)] == [200, 200, 503, 200, 503]
    assert (board.streams.viewers, one.streams, other.streams) == (3, 2, 1)
    streams[0].cancel()
    await asyncio.wait({streams[0]})
    assert (board.streams.viewers, one.streams) == (2, 1)
    assert await stream(other) == 200
    for running in streams:
        running.cancel()
    await asyncio.wait(streams)
    assert (board.streams.viewers, one.streams, other.streams) == (0, 0, 0)


def test_what_does_not_go_on_is_told_with_since_when_and_why() -> None:
    """At the top of the page as well, in both languages, and whatever the server's words hold."""
    troubles = [
        WorkerTrouble(
            "not_stored", "cx.touchpoints.web/0", 1_772_360_000.0, "more than 100 rows are refused: <b>no</b>"
        ),
        WorkerTrouble("stopped", "app/1"),
        WorkerTrouble("uncounted", "store/2"),
        WorkerTrouble("waiting", "web/3"),
    ]
    for lang in ("en", "fa"):
        parts = PageRenderer().fragments(PageView(lang=lang), Known(troubles=troubles), NOW)
        for one in troubles:
            assert one.what in parts["pipeline"]
            assert Texts(lang)[f"trouble_{one.kind}"] in parts["pipeline"]
        assert "2026-03-01T10:13:20" in parts["pipeline"]
        assert "refused: &lt;b&gt;no&lt;/b&gt;" in parts["pipeline"]
        assert f"{Texts(lang)['troubles']}: 4" in parts["status"]
        nothing = PageRenderer().fragments(PageView(lang=lang), Known(), NOW)
        assert Texts(lang)["troubles"] not in nothing["pipeline"] + nothing["status"]


def test_workers_are_asked_though_the_store_is_away() -> None:
    told = [WorkerTrouble("not_stored", "events")]
    poller = Poller(BoardStore(Address("http://127.0.0.1:1")), troubles=lambda: told)
    for step in (poller._workers, poller._essentials):
        poller._safely(step)
    assert poller.known.away_since is not None
    assert poller.known.troubles == told


def test_what_workers_say_is_read_from_their_metrics() -> None:
    registry = CollectorRegistry()
    Gauge("cx_breaker_open", "-", ["channel", "partition"], registry=registry).labels("web", "0").set(1)
    why = Gauge(
        "cx_breaker_reason_info", "-", ["channel", "partition", "reason", "message", "begins"], registry=registry
    )
    why.labels("web", "0", "not_json", "why", "00").set(1)
    Gauge("cx_clock_held", "-", ["channel", "partition"], registry=registry).labels("app", "1").set(0)
    Gauge("cx_merge_source_stopped", "-", ["partition", "source"], registry=registry).labels("3", "store/2").set(1)
    since = Gauge("cx_store_trouble_since_seconds", "-", ["what", "state", "why"], registry=registry)
    since.labels("alerts", "held", "no such column").set(12.0)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        workers = Workers.of(load(environ={}, workers=f"127.0.0.1:{server.server_port}, 127.0.0.1:{free_port()}"))
        stopped, uncounted, not_stored = workers.troubles()
        assert stopped[:2] == ("stopped", "web/0")
        assert "not_json: why; " in stopped.why
        assert "`cx sources skip web/0`" in stopped.why
        assert uncounted[:2] == ("uncounted", "store/2")
        assert "CX_EPOCH" in uncounted.why
        assert not_stored == WorkerTrouble("not_stored", "alerts", 12.0, "no such column")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert Workers.of(load(environ={}, metrics_port=0)).troubles() == []
    with pytest.raises(ConfigError, match="workers: 'worker' is not host:port"):
        Workers.of(load(environ={}, workers="worker"))


def test_the_runbook_is_a_page_to_which_alerts_can_link() -> None:
    page = PageRenderer().runbook()
    rules = load_rules([RULES], Catalogue.load())
    sections = {rule.runbook.partition("#")[2] for rule in rules if rule.runbook.startswith("docs/RUNBOOK.md#")}
    assert len(sections) > 20
    assert [section for section in sorted(sections) if f' id="{section}"' not in page] == []
    assert re.findall(r'href="(?!#|https://|/)[^"]*"', page) == []
