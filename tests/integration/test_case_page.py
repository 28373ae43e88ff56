"""The case page as people use it: in a browser by keyboard, and as those attack it who have no business there."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from streams.loop.rows import CaseRow
from tests.harness.browser import POOR_CONTRAST, chromium
from tests.harness.casepage import KEY, CasePageRig, running_case_page
from tests.harness.cases import action
from tests.harness.queue import rows_of, unhappy_customers

PATIENCE_S = 120
expect.set_options(timeout=1000 * PATIENCE_S)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CasePageRig]:
    """One for all tests, each of which takes cases that are open still."""
    now = int(time.time() * 1000)
    with running_case_page(unhappy_customers(24, now), tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest.fixture
def page(browser: Browser, rig: CasePageRig) -> Iterator[Page]:
    """A page of which nothing is complained."""
    context = browser.new_context(viewport={"width": 1366, "height": 768})
    context.set_default_timeout(1000 * PATIENCE_S)
    page, complaints = context.new_page(), list[str]()
    page.on("console", lambda message: complaints.append(message.text) if message.type == "warning" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{rig.url}/cases")
    yield page
    context.close()
    assert complaints == []


def sign_in(page: Page, name: str = "Neda") -> None:
    page.locator("#sign-in").click()
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator(".signed b")).to_have_text(name)


def order(page: Page) -> list[str]:
    return [str(row.get_attribute("data-key")) for row in page.locator(".queue .row").all()]


def an_open_case(rig: CasePageRig) -> CaseRow:
    return next(row for row in rows_of(rig.desk) if row.state == "open" and row.version == 1)


def closed(rig: CasePageRig) -> dict[str, str]:
    return {row.case_id: row.outcome for row in rows_of(rig.desk) if row.state == "closed"}


# -- by keyboard -----------------------------------------------------------------------------------------------------


def test_five_cases_are_closed_by_keyboard_in_a_minute(page: Page, rig: CasePageRig) -> None:
    """As somebody new would: look at the keys, sign in, then one after the other, without waiting for answers."""
    rig.sender.delay_s = 0.1
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("next, previous case")
    page.keyboard.press("Escape")
    sign_in(page)
    before = len(order(page))
    wanted = order(page)[:5]
    began = time.monotonic()
    page.keyboard.press("j")
    for letter in "rlui1":
        page.keyboard.press("c")
        page.keyboard.press("x")
        expect(page.get_by_role("dialog", name="How did it end?")).to_be_visible()
        page.keyboard.press(letter)
    expect(page.locator(".queue .row")).to_have_count(before - 5)
    rig.sender.delay_s = 0.0
    assert time.monotonic() - began < 60
    assert list(map(closed(rig).get, wanted)) == ["rescued", "lost", "unreachable", "informed", "rescued"]
    expect(page.locator("#said p")).to_contain_text("closed by Neda: ")
    expect(page.locator("#said li")).to_have_count(0)
    # The next one is chosen, and has the focus.
    assert page.evaluate("document.activeElement.closest('.row').dataset.key") == order(page)[0]
    sent = [event for event in rig.sender.sent if event["data"]["case_id"] in wanted]
    assert sorted(event["type"] for event in sent) == ["cx.case.closed"] * 5 + ["cx.case.contacted"] * 5
    assert {event["agentid"] for event in sent} == {"Neda"}
    assert {event["source"] for event in sent} == {"/cx/people/page"}
    page.goto(f"{rig.url}/cases/{wanted[0]}")
    expect(page.locator(".history")).to_contain_text("closed by Neda: rescued")
    expect(page.locator(".history")).to_contain_text("on this page")


def test_who_was_slower_is_told_what_happened_meanwhile(page: Page, rig: CasePageRig) -> None:
    sign_in(page)
    page.keyboard.press("j")
    first = order(page)[0]
    page.keyboard.press("x")
    subject = next(row.subject for row in rows_of(rig.desk) if row.case_id == first)
    rig.desk.give((subject, action(int(time.time() * 1000), "other", "assigned", first, owner="ops", agentid="Omid")))
    rig.desk.step()
    page.keyboard.press("l")
    expect(page.locator("#said li")).to_contain_text("assigned to ops by Omid meanwhile, version 2")
    assert first not in closed(rig)
    # What is shown now is the newer version, so the second try is taken.
    expect(page.locator(f'.row[data-key="{first}"]')).to_have_attribute("data-version", "2")
    page.locator(f'.row[data-key="{first}"] .open').focus()
    page.keyboard.press("x")
    page.keyboard.press("l")
    expect(page.locator(f'.row[data-key="{first}"]')).to_have_count(0)
    assert closed(rig)[first] == "lost"


def test_a_case_and_a_verbatim_lead_to_the_story_of_their_customer(page: Page, rig: CasePageRig) -> None:
    row = an_open_case(rig)
    page.goto(f"{rig.url}/cases/{row.case_id}")
    story = page.locator("#story")
    expect(story.locator("li.answer")).to_contain_text("2 of 10")
    expect(story.locator(".words")).to_have_text("Call me at •••, <b>now</b>")
    page.goto(f"{rig.url}/customers/cx.touchpoints.web/0/{rows_of(rig.desk).index(row)}?lang=fa")
    expect(story.locator("li.answer")).to_contain_text("۲ از ۱۰")
    assert row.subject not in re.sub("data-key=.*?>", "", story.inner_text())
    story.get_by_role("link", name="پرونده: توصیه نمی‌کند").first.click()
    expect(page.locator("#case")).to_contain_text(row.case_id)
    assert page.goto(f"{rig.url}/customers/cx.touchpoints.web/0/9999").status == 404  # type: ignore[union-attr]
    assert rig.ask("GET", "/customers/c-1").status == 404


def test_a_persian_page_with_a_persian_keyboard(page: Page, rig: CasePageRig) -> None:
    page.goto(f"{rig.url}/cases?lang=fa")
    page.locator("#sign-in").click()
    page.get_by_label("نام شما").fill("علی‌رضا")
    page.get_by_label("کلید").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator(".signed b")).to_have_text("علی‌رضا")
    assert page.evaluate("document.dir") == "rtl"
    first = order(page)[0]

    def press(letter: str, code: str) -> None:
        """A key as it comes with a Persian layout."""
        page.evaluate(
            "([key, code]) => document.activeElement.dispatchEvent("
            "new KeyboardEvent('keydown', {key, code, bubbles: true, cancelable: true}))",
            [letter, code],
        )

    press("ت", "KeyJ")
    press("ش", "KeyA")
    owner = page.get_by_label("مسئول", exact=True).last
    expect(owner).to_have_value("علی‌رضا")
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_contain_text("سپرده شد به علی‌رضا")
    press("ط", "KeyX")
    expect(page.get_by_role("dialog", name="چگونه پایان یافت؟")).to_be_visible()
    press("۲", "Digit2")
    expect(page.locator("#said")).to_contain_text("بسته شد به دست علی‌رضا: خشنود")
    assert closed(rig)[first] == "satisfied"


def test_all_of_it_without_a_script_and_by_tab(browser: Browser, rig: CasePageRig) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{rig.url}/cases/{an_open_case(rig).case_id}")
    page.get_by_role("button", name="Close").click()  # nobody is signed in
    page.get_by_label("Your name").fill("Neda")
    page.get_by_label("Key").fill(KEY)
    page.get_by_role("button", name="Sign in").click()
    page.locator("#case select[name=outcome]").select_option("lost")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#said")).to_contain_text("closed by Neda: lost")
    expect(page.get_by_role("button", name="Reopen")).to_be_visible()
    page.reload()
    expect(page.locator("#said")).to_contain_text("(it was done before)")
    assert closed(rig)[page.url.partition("/cases/")[2]] == "lost"
    context.close()


def test_everything_fits_is_named_and_can_be_read(page: Page, rig: CasePageRig) -> None:
    sign_in(page)
    first = order(page)[0]
    for path in (
        "/cases", "/cases?lang=fa", f"/cases/{first}", f"/cases/{first}?lang=fa", "/sign-in?lang=fa",
        f"/cases/{'x' * 250}",
    ):  # fmt: skip
        page.goto(f"{rig.url}{path}")
        page.evaluate("""for (const one of document.querySelectorAll('#case bdi, #story li bdi, .signed bdi'))
            one.textContent += 'x'.repeat(200)""")
        for width in (1920, 1366, 390):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (path, width)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            assert page.evaluate(POOR_CONTRAST) == [], (path, scheme)
        unnamed = """[...document.querySelectorAll('a, button, input:not([type=hidden]), select')].filter((e) =>
            !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)).map((e) => e.outerHTML)"""
        assert page.evaluate(unnamed) == []


# -- who has no business here ----------------------------------------------------------------------------------------


def form_of(row: CaseRow, **more: Any) -> dict[str, Any]:
    return {"do": "closed", "outcome": "lost", "version": row.version, **more}


def test_nobody_acts_without_the_key_or_from_elsewhere(rig: CasePageRig) -> None:
    row = an_open_case(rig)
    path, form, cookie, before = f"/cases/{row.case_id}", form_of(row), rig.session(), len(rig.sender.sent)
    assert cookie
    for wanted, headers in [
        (401, {}),
        (401, {"Cookie": cookie[:-1] + ("0" if cookie[-1] != "0" else "1")}),
        (401, {"Cookie": cookie.partition("=")[0] + "=a.b.c"}),
        (401, {"Cookie": cookie.partition("=")[0] + "="}),
        (403, {"Cookie": cookie, "Origin": "http://evil.example"}),
        (403, {"Cookie": cookie, "Origin": "null"}),
        (403, {"Cookie": cookie, "Origin": ""}),
        (403, {"Cookie": cookie, "Origin": rig.url.replace("127.0.0.1", "127.0.0.2")}),
        (403, {"Cookie": cookie, "Sec_Fetch_Site": "same-site"}),
        (421, {"Cookie": cookie, "Host": "evil.example", "Origin": "http://evil.example"}),
        (415, {"Cookie": cookie, "Content_Type": "text/plain"}),
        (415, {"Cookie": cookie, "Content_Type": "application/json"}),
    ]:
        assert rig.post(path, form, **headers).status == wanted, headers
    assert rig.post(path, form_of(row, owner="x" * 5_000), Cookie=cookie).status == 413
    assert rig.ask("GET", f"{path}?do=closed", Cookie=cookie).status == 200
    assert rig.ask("PUT", path, "x", Cookie=cookie, Origin=rig.url).status == 405
    assert len(rig.sender.sent) == before
    assert rig.post(path, form, Cookie=cookie).status == 200
    assert closed(rig)[row.case_id] == "lost"


def test_what_is_nothing_to_do_is_refused_with_its_field(rig: CasePageRig) -> None:
    row, cookie, before = an_open_case(rig), rig.session(), len(rig.sender.sent)
    for form, field in [
        ({"do": "opened"}, "do"), ({"do": "escalated"}, "do"), ({}, "do"), ({"do": "closed", "outcome": "fine"}, "outcome"),
        ({"do": "closed", "outcome": "lost", "version": "x"}, "version"), ({"do": "held", "version": "9" * 30}, "version"),
        ({"do": "assigned", "owner": "  "}, "owner"), ({"do": "assigned", "owner": "a\u202eb"}, "owner"),
        ({"do": "assigned", "owner": "x" * 129}, "owner"),
    ]:  # fmt: skip
        answer = rig.post(f"/cases/{row.case_id}", {"version": row.version, **form}, Cookie=cookie)
        assert (answer.status, answer.body.decode().find(f'"says":"{field} is') > 0) == (422, True), form  # type: ignore[attr-defined]
    unknown = rig.post("/cases/none%2F1", form_of(row), Cookie=cookie)
    assert (unknown.status, b"there is no case none/1" in unknown.body) == (404, True)  # type: ignore[attr-defined]
    persian = rig.post(f"/cases/none?lang={quote('fa')}", form_of(row), Cookie=cookie)
    assert "پرونده‌ای با نام none نیست" in persian.body.decode()  # type: ignore[attr-defined]
    assert len(rig.sender.sent) == before


def test_the_same_again_is_one_action(rig: CasePageRig) -> None:
    row, cookie, before = an_open_case(rig), rig.session(), len(rig.sender.sent)
    first, again = (rig.post(f"/cases/{row.case_id}", form_of(row), Cookie=cookie) for _ in range(2))
    assert (first.status, again.status, len(rig.sender.sent)) == (200, 200, before + 1)
    assert b'"repeat":true' in again.body  # type: ignore[attr-defined]
    other = rig.post(f"/cases/{row.case_id}", form_of(row), Cookie=rig.session(name="Omid"))
    assert (other.status, b"closed by Neda meanwhile, version 2" in other.body) == (409, True)  # type: ignore[attr-defined]


def test_a_session_is_for_this_page_alone(rig: CasePageRig) -> None:
    answer = rig.post("/sign-in", {"key": KEY, "name": "Neda", "next": "//evil.example"})
    assert (answer.status, answer.headers["Location"]) == (303, "/cases")
    cookie = answer.headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"))
    assert KEY not in cookie
    assert rig.post("/sign-in", {"key": KEY, "name": " "}).status == 401
    assert rig.post("/sign-in", {"key": KEY, "name": "x" * 65}).status == 401
    assert rig.post("/sign-in", {"key": KEY, "name": "Neda"}, Origin="http://evil.example").status == 403
    left = rig.post("/sign-out", {"next": "/cases"}, Cookie=cookie.partition(";")[0])
    assert (left.status, "Max-Age=0" in left.headers["Set-Cookie"]) == (303, True)


def test_without_a_key_the_page_only_shows(tmp_path: Path) -> None:
    with running_case_page(unhappy_customers(2, int(time.time() * 1000)), tmp_path, key="") as rig:
        row = an_open_case(rig)
        shown = rig.ask("GET", "/cases").body.decode()  # type: ignore[attr-defined]
        assert "This page only shows" in shown
        assert 'class="acts' not in shown
        assert rig.post(f"/cases/{row.case_id}", form_of(row)).status == 403
        assert rig.post("/sign-in", {"key": "", "name": "Neda"}).status == 403
        assert rig.sender.sent == []


def test_keys_are_not_tried_by_the_hundred_and_end_in_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running_case_page(unhappy_customers(1, int(time.time() * 1000)), tmp_path) as rig:
        _try_keys(rig, caplog)


def _try_keys(rig: CasePageRig, caplog: pytest.LogCaptureFixture) -> None:
    answers = [rig.post("/sign-in", {"key": f"wrong-key-{number}", "name": "Eve"}) for number in range(7)]
    assert [answer.status for answer in answers] == [401] * 5 + [429] * 2
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
    assert not rig.session(), "nor is the right one taken from there now"
    shown = "".join(answer.body.decode() + str(answer.headers) for answer in answers)  # type: ignore[attr-defined]
    assert not re.search("wrong-key", shown + caplog.text)
