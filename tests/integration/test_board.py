"""The live page in a real browser, in front of a real ClickHouse."""

import http.client
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Page, expect

from streams.kpis.language.lengths import WINDOWS
from streams.local.clickhouse import EmbeddedClickHouse
from streams.local.run import EmbeddedRun, Load
from streams.settings import load
from tests.harness.board import Board, Wall, filled, questions_per_second, running_board
from tests.harness.browser import HARD_TO_READ, POOR_CONTRAST, WIDTH_WITH_LONG_NAMES, chromium
from tests.harness.clickhouse import Database, fresh_database, running_server

# What appears does so at once; on a machine that has other things to do, it may take so long.
PATIENCE_S = 120
expect.set_options(timeout=1000 * PATIENCE_S)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    """A server of this module's own: one test takes it away."""
    with running_server(tmp_path_factory.mktemp("board-store")) as running:
        yield running


@pytest.fixture(scope="module")
def wall(server: EmbeddedClickHouse) -> Iterator[Wall]:
    with fresh_database(server) as database:
        yield filled(database)


@pytest.fixture(scope="module")
def board(wall: Wall, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with running_board(wall.database, tmp_path_factory.mktemp("board") / "board.log") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


Opener = Callable[..., Page]


@pytest.fixture
def look(browser: Browser, board: Board) -> Iterator[Opener]:
    """Open the page; at the end nothing may have been complained of, nor asked of another machine."""
    complaints: list[str] = []
    asked, own = set[str](), set[str]()
    contexts = []

    def look(query: str = "", *, board: Board = board, **options: Any) -> Page:
        own.add(str(urlsplit(board.url).netloc))
        context = browser.new_context(**{"viewport": {"width": 1920, "height": 1080}, **options})
        context.set_default_timeout(1000 * PATIENCE_S)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.add(str(urlsplit(request.url).netloc)))
        page.goto(f"{board.url}/{query}")
        return page

    yield look
    for context in contexts:
        context.close()
    assert complaints == []
    assert asked == own


# -- what is shown ---------------------------------------------------------------------------------------------------


def test_everything_appears(look: Opener) -> None:
    page = look()
    tile = page.locator("#tile-csat")
    expect(tile.locator(".value")).to_have_text("80.0%")
    expect(tile.locator(".facts")).to_contain_text(re.compile("77.1 to 82.6.*800", re.DOTALL))
    expect(tile.locator(".change")).to_contain_text("worse")
    expect(tile.locator(".change")).to_contain_text("−15.0\u00a0pp vs a day earlier")
    expect(tile.locator(".spark path.line")).to_have_count(1)
    expect(tile.locator(".part").nth(0)).to_contain_text("90.0\u00a0%")
    assert "thin" in (tile.locator(".part").nth(2).get_attribute("class") or "")
    expect(page.locator("#tile-nps")).to_contain_text("no data")
    expect(page.locator("#tile-asa .value")).to_have_text("2:34min")
    expect(page.locator("#tile-volume .value")).to_have_text("4,321")
    heat = page.locator("#heat")
    expect(heat.locator("td.good")).to_have_text(re.compile("97.5"))
    expect(heat.locator("td.bad")).to_have_attribute("title", re.compile("n 150.*surely worse"))
    expect(heat.locator("td.thin")).to_have_count(1)
    for part, said in (
        ("alerts", "SatisfactionLow: satisfaction fell"), ("alerts", "tehran: 62%"), ("pipeline", "adds up"),
        ("advice", "5,500 EUR at stake"), ("paths", "web-order"),
    ):  # fmt: skip
        expect(page.locator(f"#{part}")).to_contain_text(said)


def test_a_closed_minute_of_just_now_is_live_and_an_old_one_is_not(
    look: Opener, database: Database, tmp_path: Path
) -> None:
    wall = Wall(database)
    with running_board(database, tmp_path / "board.log") as board:
        page = look(board=board)
        for age_s, shown in ((600, "stale"), (0, "Live")):
            wall.values("csat", 80.0, 800, at=int(time.time()) // 60 * 60 - age_s)
            expect(page.locator("#status b")).to_have_text(shown)
        page.context.close()


def test_customers_stay_pseudonymous(look: Opener) -> None:
    said = look().locator("#verbatims")
    expect(said).to_contain_text("پرداخت انجام نشد")
    assert "ali" not in said.inner_text()
    assert "۰۹۱۲۳۴۵۶۷۸۹" not in said.inner_text()


def test_the_first_numbers_are_there_soon(look: Opener, board: Board) -> None:
    page = look()
    expect(page.locator("#tile-csat .value")).to_have_text("80.0%")
    took = []
    for _ in range(3):
        started = time.monotonic()
        page.goto(board.url, wait_until="commit")
        page.locator("#tile-csat .value", has_text="80.0").wait_for()
        took.append(time.monotonic() - started)
    # Less than a second where nothing else goes on.
    assert min(took) < 10


def test_what_is_new_appears_without_reloading(look: Opener, wall: Wall) -> None:
    page = look()
    expect(page.locator("#tile-apdex")).to_contain_text("no data")
    page.evaluate("window.kept = 1")
    wall.values("apdex", 0.87, 500, 0.85, 0.89)
    wall.say("تازه همین حالا")
    wall.alert("ApdexLow", "firing", kpi="apdex", unit="fraction")
    expect(page.locator("#tile-apdex .value")).to_have_text("0.87")
    expect(page.locator("#verbatims li").first).to_contain_text("تازه همین حالا")
    expect(page.locator("#announce")).to_contain_text("ApdexLow. Apdex · Web")
    assert page.locator("#announce").get_attribute("aria-live") == "polite"
    assert page.evaluate("window.kept") == 1


# -- choosing --------------------------------------------------------------------------------------------------------


def test_choosing_a_channel_changes_the_tiles_and_the_address_but_not_the_focus(look: Opener) -> None:
    page = look()
    page.evaluate("window.kept = 1")
    page.get_by_role("link", name="Call centre", exact=True).click()
    expect(page.locator("#tile-csat .value")).to_have_text("55.0%")
    expect(page.locator('#controls a[aria-current="true"]')).to_have_text(["15\u00a0min", "Call centre"])
    assert "channel=call_center" in page.url
    assert page.evaluate("document.activeElement.textContent") == "Call centre"
    page.go_back()
    expect(page.locator("#tile-csat .value")).to_have_text("80.0%")
    assert page.evaluate("window.kept") == 1


def test_the_map_shows_another_kpi(look: Opener, wall: Wall) -> None:
    wall.values("ces", 70.0, 60, 58.0, 80.0)
    wall.values("ces", 33.0, 60, 22.0, 45.0, channel="app", touchpoint="delivery")
    page = look()
    expect(page.get_by_label("KPI of the map")).to_have_value("csat")
    page.get_by_label("KPI of the map").select_option("ces")
    expect(page.locator("#heat td.bad")).to_contain_text("33.0")
    assert "heat=ces" in page.url


def test_details_open_over_the_page_and_give_the_focus_back(look: Opener, wall: Wall) -> None:
    wall.happens({"what": "checkout", "version": "5.3"}, ago_s=1_800, type="cx.change.deployed")
    page = look()
    page.locator("#tile-csat a").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Customer satisfaction")
    expect(dialog).to_be_visible()
    # The newest closed value is a point of its own, unless a quarter of an hour ends with it.
    expect(dialog.locator(".chart.wide circle")).to_have_count(8 if wall.minute % 900 == 0 else 9)
    for words in ("Formula", "csat@", "customer-insight"):
        expect(dialog).to_contain_text(words)
    expect(dialog.locator(".chart.wide .changed")).to_have_count(1)
    expect(dialog.locator(".changes li")).to_contain_text("Web · checkout 5.3")
    expect(dialog.get_by_role("row", name=re.compile("Call centre · Telephone agent.*40.0"))).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "close"
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert page.evaluate("document.activeElement.dataset.kpi") == "csat"
    assert "kpi=" not in page.url


def test_the_page_says_all_without_a_script(look: Opener) -> None:
    page = look("?kpi=csat", java_script_enabled=False)
    expect(page.locator("#tile-csat .value")).to_have_text("80.0%")
    expect(page.locator("#detail")).to_contain_text("Formula")


# -- for everybody ---------------------------------------------------------------------------------------------------


def test_the_keyboard_reaches_everything_in_order(look: Opener) -> None:
    page = look()
    seen: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break  # past the last one
        seen.append(page.evaluate("(document.activeElement.dataset.kpi || document.activeElement.textContent).trim()"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", f"the focus cannot be seen on {seen[-1]}"
    order = ["Skip to the numbers", "5\u00a0min", "Call centre", "فارسی", "csat", "nps", "volume"]
    assert [seen.index(name) for name in order] == sorted(seen.index(name) for name in order)
    page.reload()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.kpi") == "csat"


def test_a_screen_reader_finds_its_way(look: Opener) -> None:
    page = look()
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    for role in ("banner", "main", "navigation"):
        expect(page.get_by_role(role)).to_have_count(1)
    for name in ("Key figures", "Channel × touchpoint", "Alerts", "In their own words", "Pipeline"):
        expect(page.get_by_role("region", name=name, exact=True).first).to_be_attached()
    told = page.locator("#tile-csat a").get_attribute("aria-label") or ""
    assert told.startswith(
        "Customer satisfaction: 80.0 %, n 800, 95 % interval 77.1 to 82.6; meets the target ≥ 70.0\u00a0%; worse: −15.0"
    )
    assert "Call centre: 55.0\u00a0%, n 200" in told
    assert page.locator("svg:not([aria-label]), img:not([alt]), select:not([id])").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(look: Opener, scheme: str) -> None:
    """Contrast of at least 4.5, as WCAG 2 asks for at level AA."""
    page = look("?kpi=csat", color_scheme=scheme, reduced_motion="reduce")
    expect(page.locator("#detail .chart.wide")).to_be_visible()
    assert page.evaluate(POOR_CONTRAST) == []


def test_light_and_dark_follow_the_device_and_the_reader(look: Opener) -> None:
    page = look(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_label("Colours").select_option("light")
    light = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == light, "the choice is forgotten"


def test_persian_runs_from_right_to_left(look: Opener) -> None:
    page = look("?lang=fa", timezone_id="Asia/Tehran")
    expect(page.locator("#tile-csat .value")).to_have_text("۸۰٫۰٪")
    assert page.evaluate("[document.documentElement.dir, document.documentElement.lang]") == ["rtl", "fa"]
    boxes = [page.locator(f"#tile-{kpi}").bounding_box() for kpi in ("csat", "nps")]
    assert boxes[0]
    assert boxes[1]
    assert boxes[0]["x"] > boxes[1]["x"], "the first tile stands right of the second"
    expect(page.locator("#tile-csat .change")).to_contain_text("بدتر")
    for part in ("#kpis", "#heat", "#pipeline", "#status", "#controls"):
        words = page.locator(part).inner_text().replace("ClickHouse", "")
        assert not re.search("[0-9]", words), f"{part}: {words}"
    english = page.locator("#verbatims .words", has_text="Easy to order")
    expect(english).to_have_css("direction", "ltr")
    expect(english).to_have_css("text-align", "left")


def test_persian_words_run_right_to_left_in_an_english_page(look: Opener) -> None:
    words = look().locator("#verbatims .words", has_text="پرداخت انجام نشد")
    expect(words).to_have_css("direction", "rtl")
    expect(words).to_have_attribute("lang", "fa")


def test_the_language_changes_with_the_rest_of_the_view_kept(look: Opener) -> None:
    page = look("?channel=app")
    page.get_by_role("link", name="فارسی").click()
    expect(page.locator("#tile-csat .value")).to_have_text("۹۰٫۰٪")
    assert "channel=app" in page.url


@pytest.mark.parametrize(("query", "value"), [("?kpi=csat", "80.0%"), ("?kpi=csat&lang=fa", "۸۰٫۰٪")])
def test_it_fits_a_telephone(look: Opener, query: str, value: str) -> None:
    page = look(query, viewport={"width": 390, "height": 844})
    expect(page.locator("#tile-csat .value")).to_have_text(value)
    expect(page.locator(".chart.narrow")).to_be_visible()
    expect(page.locator("#controls .switch").first.locator("a")).to_have_count(len(WINDOWS) + 1)
    assert page.evaluate(HARD_TO_READ) == []


@pytest.mark.parametrize("lang", ["en", "fa"])
def test_the_wall_fills_the_screen(look: Opener, lang: str) -> None:
    """No scrolling, no controls, figures as large as the screen allows; status by sign and edge."""
    page = look(f"?wall=1&lang={lang}")
    expect(page.locator("#tile-csat .goal b")).to_have_text("✓")
    expect(page.locator("#heat td.misses .missed")).not_to_have_count(0)
    expect(page.locator("#controls")).to_be_hidden()
    for width, height in ((1920, 1080), (3840, 2160)):
        page.set_viewport_size({"width": width, "height": height})
        needed = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
        assert page.evaluate(needed) == [width, height]
        filled = page.evaluate(
            "[...document.querySelectorAll('.column')].map((one) => one.getBoundingClientRect().bottom)"
        )
        assert min(filled) > 0.98 * height
        cut = page.evaluate(
            "[...document.querySelectorAll('.tile')].filter((one) => one.scrollHeight > one.clientHeight + 1).length"
        )
        assert cut == 0, "every tile is whole"
        size = page.locator("#tile-csat .value").evaluate("(one) => parseFloat(getComputedStyle(one).fontSize)")
        assert size > width / 45


@pytest.mark.parametrize(("lang", "says"), [("", r"Alerts firing: [1-9]\s"), ("?lang=fa", r"هشدارهای فعال: [۱-۹]\s")])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1366, 768), (3840, 2160)])
def test_what_fires_is_the_first_thing_that_is_seen(
    look: Opener, width: int, height: int, lang: str, says: str
) -> None:
    """Before anything is scrolled, and still then; in the title of the window; and it leads to the explanation."""
    page = look(lang, viewport={"width": width, "height": height})
    bar = page.locator("#firing a")
    expect(bar).to_contain_text(re.compile(says))
    assert re.match(r"\([1-9۱-۹]\) (Customer satisfaction|رضایت مشتری) · ", page.title())
    assert (box := bar.bounding_box())
    assert box["y"] + box["height"] < 420
    assert page.evaluate(WIDTH_WITH_LONG_NAMES) <= width
    expect(page.locator("#tile-csat .chip")).to_contain_text("▲")
    bar.click()
    expect(page.locator("#alerts-title")).to_be_in_viewport()
    expect(bar).to_be_in_viewport()


# -- the server ------------------------------------------------------------------------------------------------------


def test_fifty_viewers_cost_the_store_what_one_costs(board: Board, wall: Wall) -> None:
    wall.share("csat", 640, 800)
    one, _ = questions_per_second(board, 1, 8)
    fifty, cpu = questions_per_second(board, 50, 8)
    assert fifty <= 1.5 * one + 1
    assert cpu < 0.5


def test_nobody_looking_means_nothing_asked(board: Board) -> None:
    urlopen(board.url, timeout=PATIENCE_S).close()
    deadline = time.monotonic() + PATIENCE_S
    while True:
        asked = board.health()["asked"]
        time.sleep(5)
        if board.health()["asked"] == asked:
            break
        assert time.monotonic() < deadline, "it goes on asking"


def test_a_foreign_name_is_refused(board: Board) -> None:
    """A page on the web could make a name of its own point at loopback and read everything."""
    where = urlsplit(board.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=PATIENCE_S)
    connection.request("GET", "/", headers={"Host": "evil.example"})
    assert connection.getresponse().status == 421
    connection.close()


def test_a_store_that_goes_away_is_told_and_comes_back(look: Opener, server: EmbeddedClickHouse) -> None:
    page = look()
    expect(page.locator("#tile-csat .value")).to_have_text("80.0%")
    server.stop()
    try:
        expect(page.locator("#status")).to_contain_text("ClickHouse does not answer since")
        expect(page.locator("#tile-csat .value")).to_have_text("80.0%")
        expect(page.locator("#status b")).to_have_text("stale")
        another = look()
        expect(another.locator("#status")).to_contain_text("ClickHouse does not answer since")
    finally:
        again = EmbeddedClickHouse(
            server.data_dir, http_port=server.http_port, tcp_port=server.tcp_port, restart=False
        ).start()
    expect(page.locator("#status")).not_to_contain_text("does not answer")
    again.stop()
    server._stopping.clear()
    server.start()


@pytest.mark.slow
def test_the_embedded_run_serves_it(tmp_path: Path) -> None:
    said: list[str] = []
    settings = load(data_dir=str(tmp_path / "data"), environ={})
    with EmbeddedRun(settings, Load(), said.append, board=True) as run:
        address = f"http://127.0.0.1:{run.board_port}/"
        assert ("live page", address) in run.places()
        assert f"live page at {address}" in said
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with urlopen(address, timeout=PATIENCE_S) as answer:
                    assert b"Customer satisfaction" in answer.read()
                break
            except OSError:
                assert time.monotonic() < deadline, run.board and run.board.tail()
                time.sleep(0.2)
        told = run.environment()["CX_BOARD_URL"]
        with urlopen(f"{told}/?kpi=csat&channel=web&window=15m", timeout=PATIENCE_S) as answer:
            assert b"Customer satisfaction" in answer.read()
        run.watch()
    assert run.board is not None
    assert run.board.exit_code == 0
