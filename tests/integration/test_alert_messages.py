"""What mail, Slack, PagerDuty, Telegram and Bale show of an alert, as the real Alertmanager sends it."""

import asyncio
import json
import shutil
import time
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import msgspec
import pytest

from streams.agents.notices import notice_of
from streams.alerts.judging.judge import Active
from streams.alerts.judging.machine import Instance
from streams.alerts.judging.outcome import tell_end
from streams.alerts.rules.parsing import load_rules
from streams.alerts.types import Contribution, Evidence, Movement, Transition
from streams.delivery.alertmanager import Alertmanagers
from streams.kpis.catalogue.catalogue import Catalogue
from streams.shipped import RULES
from streams.wording.moments import ZoneTimes
from tests.harness.alertmanager import Alertmanager, binary, messages_config
from tests.harness.kafka import require_or_skip
from tests.harness.mailbox import Mailbox
from tests.harness.receiver import Receiver

TIMES = ZoneTimes("Asia/Tehran")
MINUTE = 29_570_741
RULE = load_rules([RULES], Catalogue.load())["PaymentsDown"]
LINKS = {
    "runbook": "http://127.0.0.1:8080/runbook#paymentsfail",
    "page": "http://127.0.0.1:8080/?kpi=payment_failure&window=5m",
}


def fired() -> Transition:
    evidence = Evidence(
        value=82.3, n=124, lo=74.6, hi=88.0, unit="percent", window="5m", baseline=2.1, baseline_n=9_000, target=40.0,
        contributors=[Contribution(labels={"code": "timeout"}, value=515.0, baseline=3.0, n=515, baseline_n=3,
                                   rate_effect=512.0, share_effect=0.0, explained=0.93, statistic=40.0)],
        movements=[Movement(kpi="orders", labels={}, value=87.0, baseline=412.0, statistic=-17.0, unit="count", name="Orders", name_fa="سفارش‌ها")],
        verbatims=["پرداخت <b>نشد</b>"], links=LINKS,
    )  # fmt: skip
    _, annotations = RULE.say({}, MINUTE, evidence, TIMES)
    return Transition(
        seq=1, rule=RULE.alert, kpi=RULE.kpi.id, labels={}, old="pending", new="firing", minute=MINUTE, why="",
        severity="page", owner="digital", annotations=annotations, evidence=evidence, episode=f"PaymentsDown-0-{MINUTE - 2}",
    )  # fmt: skip


def over() -> Transition:
    instance = Instance(episode=f"PaymentsDown-0-{MINUTE - 2}", during=[900, 741])
    first = fired()
    texts = tell_end(RULE, {}, instance, first.evidence, Evidence(value=2.0, n=390), MINUTE + 46, TIMES)
    return msgspec.structs.replace(first, annotations=first.annotations | texts)


class Messages:
    """All that receivers got, by the receiver's name."""

    def __init__(self, receiver: Receiver, mailbox: Mailbox) -> None:
        self._receiver = receiver
        self._mailbox = mailbox

    def of(self, name: str) -> list[Any]:
        return [
            json.loads(one.body.decode()) if one.body[:1] == b"{" else one.body.decode()
            for one in list(self._receiver.received)
            if one.path.startswith(f"/{name}")
        ]

    def counts(self) -> int:
        """How many messages whoever got least has got."""
        return min(len(self.mails()), *(len(self.of(name)) for name in CHATS))

    def mails(self) -> list[EmailMessage]:
        return [mail for mail in list(self._mailbox.mails) if mail["To"] == "digital@example.org"]


CHATS = ("slack-pages", "pagerduty", "telegram", "bale")


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Messages:
    """What came of an alert that fired, and of its end."""
    if binary() is None or shutil.which("amtool") is None:
        require_or_skip("there is no Alertmanager (Debian: prometheus-alertmanager)")
    folder = tmp_path_factory.mktemp("messages")
    with Receiver() as receiver, Mailbox() as mailbox:
        receiver.body = b'{"ok":true,"result":{"message_id":1,"chat":{"id":1}}}'
        receiver.answer = lambda request: (202 if "pagerduty" in request.path else 200, {})
        server = Alertmanager(messages_config(receiver.url, mailbox.address, folder), folder)
        server.start()
        got = Messages(receiver, mailbox)
        try:
            asyncio.run(_tell(server.url, got))
        finally:
            server.stop()
        return got


async def _tell(url: str, got: Messages) -> None:
    client = Alertmanagers([url], resend_s=1.0)
    client.start()
    now = time.time()
    firing, ended = notice_of(Active(fired(), None), TIMES), notice_of(Active(over(), MINUTE + 46), TIMES)
    client.put(0, [msgspec.structs.replace(firing, starts_at=now - 120)])
    await _until(lambda: got.counts() >= 1)
    client.put(0, [msgspec.structs.replace(ended, starts_at=now - 120, ends_at=now)])
    await _until(lambda: got.counts() >= 2)
    await client.stop()


async def _until(condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - a thread makes it true
            await asyncio.sleep(0.05)


ENGLISH = """\
Payments fail, overall: 82.3 % of 124 attempts in 5\u00a0min, usually 2.1 %
Since 2026-03-23 09:10 (Asia/Tehran)
82.3 % (95 % interval 74.6 % to 88.0 %) of 124 so far, in the 5\u00a0min up to 2026-03-23 09:12 (Asia/Tehran).
Where the change comes from: code timeout (93 %)
Changed at the same time: Orders from 412 to 87
Check first: One bank, one payment method or all? The failure code says so. Then the payment gateway's own status page.
Customers say:
«پرداخت <b>نشد</b>»
Owner: digital
Live page: http://127.0.0.1:8080/?kpi=payment_failure&window=5m
Runbook: http://127.0.0.1:8080/runbook#paymentsfail
"""
PERSIAN = """\
پرداخت‌ها ناموفق‌اند، در کل: ۸۲٫۳٪ از ۱۲۴ تلاش در ۵\u00a0دقیقه، معمولاً ۲٫۱٪
از ۰۹:۱۰، ۳ فروردین ۱۴۰۵ (به وقت تهران)
۸۲٫۳٪ (بازهٔ ۹۵٪: ۷۴٫۶٪ تا ۸۸٫۰٪) از ۱۲۴ مورد تا اینجا، در ۵\u00a0دقیقه تا ۰۹:۱۲، ۳ فروردین ۱۴۰۵ (به وقت تهران).
تغییر از کجاست: کد timeout (۹۳٪)
هم‌زمان تغییر کرد: سفارش‌ها از ۴۱۲ به ۸۷
نخست بررسی کنید: یک بانک، یک روش پرداخت یا همه؟ کد خطا آن را نشان می‌دهد. سپس صفحهٔ وضعیت خود درگاه پرداخت.
مشتریان می‌گویند:
«پرداخت <b>نشد</b>»
مسئول: digital
صفحهٔ زنده: http://127.0.0.1:8080/?kpi=payment_failure&window=5m
راهنمای رفع: http://127.0.0.1:8080/runbook#paymentsfail
"""
OVER = "Resolved: Failed payments, overall: 2.0 % of 390 now, limit 40.0 %"
OVER_FA = "برطرف شد: پرداخت ناموفق، در کل: اکنون ۲٫۰٪ از ۳۹۰ مورد، حد هشدار ۴۰٫۰٪"
COST = "Lasted 48 min, from 2026-03-23 09:10 to 09:58 (Asia/Tehran). Meanwhile 741 of 900 (82.3 %), 381 more than at the limit of 40.0 %."
COST_FA = "۴۸ دقیقه طول کشید، از ۰۹:۱۰ تا ۰۹:۵۸، ۳ فروردین ۱۴۰۵ (به وقت تهران). در این مدت ۷۴۱ از ۹۰۰ (۸۲٫۳٪)، ۳۸۱ مورد بیشتر از حد هشدار ۴۰٫۰٪."


def test_slack_says_all_of_it_and_how_it_ended(messages: Messages) -> None:
    first, last = (one["attachments"][0] for one in messages.of("slack-pages")[:2])
    assert first["title"] == f"[FIRING 1] {ENGLISH.splitlines()[0]}"
    assert first["text"].startswith(ENGLISH)
    assert "#/silences/new?filter=" in first["text"]
    assert first["title_link"] == LINKS["page"]
    assert last["title"] == OVER
    assert COST in last["text"]
    for gone in ("82.3 % of 124", "Check first", "Since", "Silence"):
        assert gone not in last["title"] + last["text"]


def test_pagerduty_links_to_what_to_do(messages: Messages) -> None:
    first, last = messages.of("pagerduty")[:2]
    assert (first["event_action"], last["event_action"]) == ("trigger", "resolve")
    assert first["payload"]["custom_details"]["what"].startswith(ENGLISH)
    links = {link["text"]: link["href"] for link in first["links"]}
    assert links["Runbook"] == LINKS["runbook"]
    assert "#/silences/new?filter=" in links["Silence"]
    assert first["client_url"] == LINKS["page"]


def test_mail_is_html_in_which_words_are_no_markup(messages: Messages) -> None:
    first, last = messages.mails()[:2]
    assert first["Subject"] == f"[FIRING 1] {ENGLISH.splitlines()[0]}"
    html, text = (body(first, kind) for kind in ("html", "plain"))
    assert text.startswith(ENGLISH)
    assert "<b>Check first:</b> One bank" in html
    assert "<b>نشد</b>" not in html
    assert f'<a href="{LINKS["runbook"]}">runbook</a>' in html
    assert last["Subject"] == OVER
    assert COST in body(last, "html")


def test_telegram_and_bale_say_it_in_their_own_language(messages: Messages) -> None:
    told = ("telegram", f"[FIRING 1]\n{ENGLISH}", OVER, COST), ("bale", f"[فعال ۱]\n{PERSIAN}", OVER_FA, COST_FA)
    for name, shown, over_title, cost in told:
        first, last = (one["text"] for one in messages.of(name)[:2])
        assert first.startswith(shown)
        assert last.startswith(over_title)
        assert cost in last


def body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")
