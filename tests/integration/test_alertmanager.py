"""Alerts end to end through the real Alertmanager and the shipped routing, to a receiver that asserts what arrives."""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from streams.delivery.alertmanager import Alertmanagers
from streams.delivery.notice import Notice
from streams.kpis.catalogue.catalogue import Catalogue
from tests.harness.alertmanager import SHIPPED, Alertmanager, binary, config_for
from tests.harness.kafka import require_or_skip
from tests.harness.receiver import Receiver

TEMPLATES = SHIPPED.parent / "templates" / "cx.tmpl"
IMPATIENT = {"first_pause_s": 0.1, "longest_pause_s": 0.5}


@pytest.fixture(autouse=True)
def _alertmanager_is_here():
    if binary() is None or shutil.which("amtool") is None:
        require_or_skip("there is no Alertmanager (Debian: prometheus-alertmanager)")


def amtool(*arguments):
    done = subprocess.run(["amtool", *map(str, arguments)], check=False, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def route(**labels):
    told = [f"{name}={value}" for name, value in labels.items()]
    return amtool("config", "routes", "test", "--config.file", SHIPPED, *told)


def notice(name, severity="page", ends_at=None, **labels):
    return Notice(
        labels={"alertname": name, "kpi": "csat", "severity": severity, "owner": "digital", **labels},
        annotations={"summary": f"{name} ☹ رضایت", "why": "61 % of 240, 95 % interval 55 to 67, normal is 85 %"},
        starts_at=time.time() - 120,
        ends_at=ends_at,
        url="http://127.0.0.1:3000/d/cx",
    )


async def until(condition, what, timeout_s=180.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


def messages(receiver, path):
    """Status of each alert of each message to one receiver, in order."""
    return [
        {
            (alert["labels"]["alertname"], alert["labels"].get("channel", "")): alert["status"]
            for alert in request.json["alerts"]
        }
        for request in list(receiver.received)
        if request.path == path
    ]


def resolved(receiver, path):
    return any(message.get(("CsatLow", "")) == "resolved" for message in messages(receiver, path))


# -- the shipped files -------------------------------------------------------------------------------------------


def test_the_shipped_configuration_is_valid():
    assert "SUCCESS" in amtool("check-config", SHIPPED)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ({"severity": "page", "owner": "digital"}, "pagerduty,slack-pages"),
        ({"severity": "ticket", "owner": "contact-centre"}, "mail-contact-centre"),
        ({"severity": "ticket", "owner": "logistics"}, "mail-operations"),
        ({"severity": "ticket", "owner": "nobody"}, "mail-platform"),
        ({"severity": "info", "owner": "digital"}, "slack-digest"),
        ({"owner": "digital"}, "mail-platform"),
    ],
)
def test_routing_by_severity_and_owner(labels, receivers):
    assert route(**labels) == receivers


def test_every_owner_of_the_catalogue_is_routed_on_purpose():
    left_over = {kpi.owner for kpi in Catalogue.load() if route(severity="ticket", owner=kpi.owner) == "mail-platform"}
    assert left_over == {"platform"}


def test_secrets_stand_in_files():
    """Only what Alertmanager 0.25 cannot read from a file is a placeholder, and says so."""
    config = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    text = json.dumps(config)
    for secret in ("smtp_auth_password", "slack_api_url", "routing_key", "credentials"):
        assert f'"{secret}"' not in text
        assert f'"{secret}_file"' in text
    tokens = [bot["bot_token"] for one in config["receivers"] for bot in one.get("telegram_configs", ())]
    assert tokens == ["put-the-token-of-your-bot-here"] * 2


@pytest.mark.parametrize("template", ["cx.title", "cx.text", "cx.html", "cx.link"])
def test_templates_render(template, tmp_path):
    alert = {
        "status": "firing", "labels": {"alertname": "CsatLow", "owner": "digital"}, "startsAt": "2026-03-21T10:00:00Z",
        "annotations": {"summary": "CSAT of web fell", "verbatims": "«سفارش <b>دیر</b> رسید»", "dashboard": "http://g/d"},
        "generatorURL": "http://g/",
    }  # fmt: skip
    data = {
        "status": "firing",
        "alerts": [alert],
        "commonAnnotations": {"summary": "CSAT of web fell"},
        "groupLabels": {},
    }
    file = tmp_path / "data.json"
    file.write_text(json.dumps(data))
    kind = "html" if template == "cx.html" else "text"
    made = amtool("template", "render", f"--template.glob={TEMPLATES}", f"--template.data={file}",
                  f"--template.type={kind}", f'--template.text={{{{ template "{template}" . }}}}')  # fmt: skip
    expected = {"cx.link": "http://g/d", "cx.title": "[FIRING 1] CSAT of web fell"}
    if template in expected:
        assert made == expected[template]
    else:
        assert "CSAT of web fell" in made
        assert ("<b>دیر</b>" in made) == (kind == "text"), "what customers write is text, never markup"


FIRING = {
    "summary": "Payments fail, channel web: 31.0 % of 400 attempts in 15m, usually 2.1 %",
    "since": "2026-03-21 10:04 UTC",
    "explained_by": "code timeout (93 %)",
    "also_moved": "Checkout completed 61.0 % to 38.0 %",
    "check": "Is the gateway up?",
    "verbatims": "«پرداخت <b>نشد</b>»",
    "page": "http://127.0.0.1:8080/?kpi=payment_failed",
    "runbook_url": "https://wiki.example/payments",
}
ENDED = {
    "summary": "Resolved: Failed payments, channel web: 2.0 % of 390 now",
    "description": "Lasted 48 min, from 2026-03-21 10:04 to 2026-03-21 10:52 UTC.",
    "check": "Is the gateway up?",
    "page": "http://127.0.0.1:8080/?kpi=payment_failed",
}
SHOWN = {
    "firing": """\
Payments fail, channel web: 31.0 % of 400 attempts in 15m, usually 2.1 %
Since 2026-03-21 10:04 UTC
Where the change comes from: code timeout (93 %)
Changed at the same time: Checkout completed 61.0 % to 38.0 %
Check first: Is the gateway up?
Customers say:
«پرداخت <b>نشد</b>»
Owner: digital
Live page: http://127.0.0.1:8080/?kpi=payment_failed
Runbook: https://wiki.example/payments

Silence: http://am.example/#/silences/new?filter=%7Balertname%3D%22PaymentsFail%22%2Cchannel%3D%22web%22%7D""",
    "resolved": """\
Resolved: Failed payments, channel web: 2.0 % of 390 now
Lasted 48 min, from 2026-03-21 10:04 to 2026-03-21 10:52 UTC.
Owner: digital
Live page: http://127.0.0.1:8080/?kpi=payment_failed""",
}
TITLES = {"firing": f"[FIRING 1] {FIRING['summary']}", "resolved": ENDED["summary"]}


@pytest.mark.parametrize("status", ["firing", "resolved"])
@pytest.mark.parametrize("template", ["cx.text", "cx.title", "cx.html"])
def test_templates_say_what_a_person_needs(status: str, template: str, tmp_path: Path) -> None:
    """In this order, and nothing of z values, states or ids."""
    annotations = FIRING if status == "firing" else ENDED
    data = {
        "status": status,
        "externalURL": "http://am.example",
        "groupLabels": {},
        "commonLabels": {"alertname": "PaymentsFail", "channel": "web"},
        "commonAnnotations": annotations,
        "alerts": [
            {
                "status": status,
                "labels": {"alertname": "PaymentsFail", "owner": "digital"},
                "annotations": annotations,
                "startsAt": "2026-03-21T10:00:00Z",
                "generatorURL": "",
            }
        ],
    }
    (tmp_path / "data.json").write_text(json.dumps(data))
    command = [
        "amtool", "template", "render", f"--template.glob={TEMPLATES}", f"--template.data={tmp_path}/data.json",
        f"--template.type={'html' if template == 'cx.html' else 'text'}", f'--template.text={{{{ template "{template}" . }}}}',
    ]  # fmt: skip
    made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    if template == "cx.html":
        assert "<b>نشد</b>" not in made
        assert ("Check first:" in made) == (status == "firing")
        assert made.count("silences/new") == (status == "firing")
    else:
        assert made == (SHOWN if template == "cx.text" else TITLES)[status]


# -- with the real server ----------------------------------------------------------------------------------------


@asynccontextmanager
async def telling(*servers: Alertmanager, **patience: float) -> AsyncIterator[Alertmanagers]:
    """Tell servers, which are stopped in the end; they need not run yet."""
    client = Alertmanagers([server.url for server in servers], resend_s=1.0, **patience)
    client.start()
    try:
        yield client
    finally:
        await client.stop()
        for server in servers:
            server.stop()


async def test_a_page_arrives_is_resolved_and_children_stay_silent(tmp_path):
    with Receiver() as receiver:
        server = Alertmanager(config_for(receiver.url, tmp_path), tmp_path)
        server.start()
        async with telling(server) as client:
            whole, part = notice("CsatLow", scope="whole"), notice("CsatLow", scope="part", channel="web")
            client.put(0, [whole])
            await until(lambda: messages(receiver, "/pagerduty"), "the page")
            client.put(0, [whole, part, notice("Digest", severity="ticket", kpi="nps")])
            await until(lambda: messages(receiver, "/mail-digital"), "the ticket")
            await asyncio.sleep(1.5)
            assert all(("CsatLow", "web") not in message for message in messages(receiver, "/pagerduty"))
            first = next(request for request in receiver.received if request.path == "/pagerduty").json["alerts"][0]
            assert first["annotations"]["summary"] == "CsatLow ☹ رضایت"
            assert first["generatorURL"] == "http://127.0.0.1:3000/d/cx"

            now = time.time()
            ended = [
                notice("CsatLow", scope="whole", ends_at=now), notice("CsatLow", scope="part", channel="web", ends_at=now)
            ]  # fmt: skip
            client.put(0, ended)
            for path in ("/pagerduty", "/slack-pages"):
                await until(lambda path=path: resolved(receiver, path), f"the end at {path}")
                assert "firing" not in messages(receiver, path)[-1].values()


async def test_a_ticket_for_the_whole_keeps_no_page_for_a_part_quiet(tmp_path):
    """The other way round: a page for the whole speaks for the tickets of its parts."""
    with Receiver() as receiver:
        server = Alertmanager(config_for(receiver.url, tmp_path), tmp_path)
        server.start()
        async with telling(server) as client:
            whole = notice("CsatLow", severity="ticket", scope="whole")
            client.put(0, [whole])
            await until(lambda: messages(receiver, "/mail-digital"), "the ticket for the whole")
            page = notice("CsatCollapse", severity="page", scope="part", channel="web")
            client.put(0, [whole, page, notice("CsatErosion", severity="ticket", scope="part", channel="app")])
            await until(lambda: messages(receiver, "/pagerduty"), "the page for a part")
            await asyncio.sleep(1.5)
            assert {place for message in messages(receiver, "/mail-digital") for place in message} == {("CsatLow", "")}


async def test_nothing_is_lost_while_alertmanager_is_away(tmp_path):
    with Receiver() as receiver:
        server = Alertmanager(config_for(receiver.url, tmp_path), tmp_path)
        async with telling(server, **IMPATIENT) as client:
            client.put(0, [notice("First")])
            await asyncio.sleep(0.5)
            client.put(0, [notice("First"), notice("Second")])
            server.start()
            await until(lambda: len({k for m in messages(receiver, "/pagerduty") for k in m}) == 2, "both pages")

            server.stop()
            ended = notice("First", ends_at=time.time())
            client.put(0, [ended, notice("Second"), notice("Third")])
            await asyncio.sleep(0.5)
            server.start()
            # It lost its memory of what it notified, as after a loss of its disk: it still hears all that is.
            await until(lambda: any(("Third", "") in m for m in messages(receiver, "/pagerduty")), "the third page")


async def test_what_began_and_ended_while_it_was_away_wakes_nobody(tmp_path):
    """As the runbook says: it hears of the end, and notifies none that it never knew."""
    with Receiver() as receiver:
        server = Alertmanager(config_for(receiver.url, tmp_path), tmp_path)
        async with telling(server, **IMPATIENT) as client:
            client.put(0, [notice("Gone")])
            await asyncio.sleep(0.3)
            client.put(0, [notice("Gone", ends_at=time.time())])
            server.start()
            await asyncio.sleep(2)
            client.put(0, [notice("Gone", ends_at=time.time()), notice("Here", kpi="nps")])
            await until(lambda: messages(receiver, "/pagerduty"), "the page of what fires")
            assert {place for message in messages(receiver, "/pagerduty") for place in message} == {("Here", "")}


async def test_two_instances_notify_once_and_either_can_go(tmp_path):
    with Receiver() as receiver:
        config = config_for(receiver.url, tmp_path)
        first = Alertmanager(config, tmp_path, "am0")
        second = Alertmanager(config, tmp_path, "am1", peers=[first])
        first.start()
        second.start()
        async with telling(first, second, **IMPATIENT) as client:
            await until(lambda: first.peers() == second.peers() == 2, "the two to find each other")
            client.put(0, [notice("Once")])
            # The second waits its turn, and then asks what the first has told it; both, for each of two receivers.
            await until(lambda: min(first.looked_up(), second.looked_up()) >= 2, "both to have had their turn")
            await until(lambda: messages(receiver, "/pagerduty"), "the page")
            await asyncio.sleep(1)
            assert messages(receiver, "/pagerduty") == [{("Once", ""): "firing"}]

            first.stop()
            client.put(0, [notice("Once", ends_at=time.time()), notice("Again", kpi="nps")])
            await until(
                lambda: {("Again", ""): "firing"} in messages(receiver, "/pagerduty"), "a page by the other one"
            )
            await until(lambda: {("Once", ""): "resolved"} in messages(receiver, "/pagerduty"), "the end")
