"""What the agents make of transitions: records, notices, messages; and an enricher that must never be in the way."""

import asyncio
import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

import pytest

from streams.agents import enrich, records
from streams.agents.enrich import Enricher, Enrichment
from streams.agents.judge import Judges, concerns_receivers
from streams.agents.notices import notice_of
from streams.agents.seasonal import SeasonalBaselines
from streams.alerts.judging.judge import Active
from streams.alerts.judging.view import MinuteView
from streams.alerts.rules.parsing import parse_rules
from streams.alerts.types import Contribution, Evidence, Movement, Transition
from streams.board.pages import PageView as BoardView
from streams.dashboards.sql import VARIABLE_OF
from streams.delivery.alertmanager import Alertmanagers
from streams.engine.names import Topics
from streams.events.intake import Tally
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.partials import Partial
from streams.kpis.language.series import series_key
from streams.kpis.rolling.merge import MergeState
from streams.local.ports import free_port
from streams.settings import Settings
from streams.storage.alerts import ALERT_COLUMNS, alert_row
from streams.storage.connection import Address, UnreachableError
from streams.wording.moments import ZoneTimes
from tests.harness.incident import RULES

CATALOGUE = Catalogue.load()
APP = series_key("csat", (("channel", "app"),))


def transition(new="firing", old="pending", **changes):
    evidence = Evidence(
        method="floor", value=61.0, n=240, unit="percent", window="15m",
        contributors=[
            Contribution(labels={"touchpoint": "checkout"}, value=40.0, baseline=80.0, n=9, baseline_n=9,
                         rate_effect=-20.0, share_effect=0.0, explained=0.83)
        ],
        movements=[Movement(kpi="volume", labels={}, value=1.0, baseline=None, statistic=9.0, unit="count", name="volume", name_fa="رویدادها")],
        verbatims=["دیر رسید"],
        links={"dashboard": "http://g/d", "runbook": "http://r"},
    )  # fmt: skip
    values = {
        "seq": 7, "rule": "CsatLow", "kpi": "csat", "labels": {"channel": "app"}, "old": old, "new": new, "minute": 1000,
        "why": "PENDING => FIRING: low", "severity": "page", "owner": "digital", "alert_labels": {"journey": "buy"},
        "annotations": {"summary": "CSAT fell"}, "evidence": evidence, "episode": "CsatLow-1",
    }  # fmt: skip
    return Transition(**{**values, **changes})


def test_a_record_says_all_and_comes_back_the_same():
    record = records.alert_of(transition(), 3, 2, 99.5)
    assert record.id == "3/2/7"
    assert record.at == 1001 * 60
    assert records.decode_alert(records.encode_alert(record)) == record


def test_a_row_has_every_column():
    row = alert_row("3/2/7", 60060, transition())
    assert len(row) == len(ALERT_COLUMNS)
    by_name = dict(zip(ALERT_COLUMNS, row, strict=True))
    assert by_name["labels"] == {"channel": "app"}
    assert by_name["inhibited_by"] == ""
    assert '"explained":0.83' in by_name["contributors"]


@pytest.mark.parametrize(
    ("old", "new", "held", "concerns"),
    [
        ("pending", "firing", None, True),
        ("firing", "firing", None, True),
        ("firing", "resolved", None, True),
        ("pending", "firing", "parent CsatLow{}", False),
        ("firing", "resolved", "pipeline web", False),
        ("inactive", "pending", None, False),
        ("resolved", "inactive", None, False),
    ],
)
def test_people_hear_of_what_fires_or_ends_and_is_not_held_back(old, new, held, concerns):
    assert concerns_receivers(transition(new, old, inhibited_by=held)) is concerns


def test_a_notice_carries_the_explanation():
    notice = notice_of(Active(transition(), None), ZoneTimes())
    assert notice.labels == {
        "alertname": "CsatLow", "kpi": "csat", "channel": "app", "journey": "buy", "severity": "page",
        "owner": "digital", "scope": "part",
    }  # fmt: skip
    assert notice.starts_at == 1001 * 60
    assert notice.ends_at is None
    assert notice.annotations == {
        "summary": "CSAT fell", "since": "1970-01-01 00:02 UTC", "explained_by": "touchpoint checkout (83 %)",
        "also_moved": "volume (overall) at 1", "verbatims": "«دیر رسید»", "dashboard": "http://g/d",
        "since_fa": "۰۰:۰۲، ۱۱ دی ۱۳۴۸ (به وقت UTC)", "explained_by_fa": "نقطهٔ تماس checkout (۸۳٪)",
        "also_moved_fa": "رویدادها (در کل) اکنون ۱", "runbook_url": "http://r",
    }  # fmt: skip
    assert notice_of(Active(transition(labels={}), 1010), ZoneTimes()).labels["scope"] == "whole"
    assert notice_of(Active(transition(), 1010), ZoneTimes()).ends_at == 1011 * 60


# -- the enricher ------------------------------------------------------------------------------------------------


def enricher(url, **options):
    return Enricher(Address(url), CATALOGUE, public_url="https://cx.example/", **options)


async def test_without_a_store_the_alert_says_so_and_is_not_late():
    alert = transition()
    alert.evidence.verbatims = []
    made = enricher(f"http://127.0.0.1:{free_port()}", timeout_s=600.0)
    await asyncio.wait_for(made.enrich([alert]), 90)
    made.close()
    assert alert.annotations["incomplete"].startswith("without customers' words")
    assert alert.evidence.verbatims == []
    assert alert.evidence.links["dashboard"] == "http://g/d", "a rule's own dashboard stays"


async def links_of(labels, **places):
    alert = transition(labels=labels, evidence=Evidence(window="15m"))
    made = Enricher(Address(f"http://127.0.0.1:{free_port()}"), CATALOGUE, timeout_s=600.0, **places)
    await asyncio.wait_for(made.enrich([alert]), 90)
    made.close()
    return {name: urlsplit(link) for name, link in alert.evidence.links.items()}


async def test_links_lead_to_dashboards_that_there_are():
    """Events and course are on one dashboard; each label that it has a variable for narrows it, whatever its value."""
    labels = {"channel": "web", "unitid": r"a\b $__c", "agentid": "7"}
    links = await links_of(labels, public_url="https://cx.example/grafana/")
    assert set(links) == {"dashboard", "events"}
    events = dict(parse_qsl(links["events"].query))
    until = 60 * (transition().minute + 1)
    assert (events.pop("from"), events.pop("to")) == (f"{1000 * (until - 900)}", f"{1000 * until}")
    assert events == {"var-kpi": "csat", "var-channel": "web", "var-unit": r"a\\b \x24__c"}
    explorer = json.loads((Path(__file__).parents[2] / "deploy/grafana/dashboards/explorer.json").read_text())
    assert all(link.path == f"/grafana/d/{explorer['uid']}" for link in links.values())
    variables = {f"var-{one['name']}" for one in explorer["templating"]["list"]}
    assert {"var-kpi", *(f"var-{name}" for name in enrich.EXPLORER_VARIABLES.values())} <= variables
    assert enrich.EXPLORER_VARIABLES == VARIABLE_OF
    assert any(panel["title"].startswith("Events behind") for panel in explorer["panels"])


async def test_a_link_leads_to_the_live_page_where_there_is_one():
    links = await links_of({"channel": "web", "unitid": "7"}, board_url="http://127.0.0.1:8080")
    assert set(links) == {"page"}
    view = BoardView.of(dict(parse_qsl(links["page"].query)), ["5m", "15m"], {"csat": None})
    assert view == BoardView(window="15m", channel="web", kpi="csat")
    assert (
        notice_of(Active(transition(evidence=Evidence(links={"page": "http://p"})), 1010), ZoneTimes()).url
        == "http://p"
    )


async def test_no_link_leads_nowhere():
    assert await links_of({"channel": "web"}) == {}


async def test_a_store_that_hangs_costs_its_time_once(monkeypatch):
    answers = threading.Event()

    def hang(*_args, **_options):
        assert answers.wait(90)
        raise UnreachableError("at last")

    monkeypatch.setattr(enrich, "connect", hang)
    made = enricher("http://127.0.0.1:1", timeout_s=0.2)
    first, second = transition(), transition()
    began = time.monotonic()
    await made.enrich([first])
    assert time.monotonic() - began > 0.15
    await made.enrich([second])
    assert "did not answer within 0.2 s" in first.annotations["incomplete"]
    assert "earlier questions" in second.annotations["incomplete"], "it was waited for again"
    answers.set()
    await asyncio.to_thread(made._pool.shutdown, wait=True)


@pytest.mark.slow
async def test_answers_are_taken_as_far_as_they_came():
    made = enricher("http://127.0.0.1:1", timeout_s=2.0)
    await asyncio.wrap_future(made._pool.submit(int))  # its thread runs
    asked = threading.Event()

    def ask(transitions, answers):
        answers.append(Enrichment(transitions[0], ["word"], [moved()], None, []))
        assert asked.wait(90)

    def moved():
        return Movement(kpi="waits", labels={}, value=2.0, baseline=1.0, statistic=5.0, unit="s")

    made._ask = ask  # type: ignore[method-assign]
    first, second = transition(), transition()
    await made.enrich([first, second])
    assert first.evidence.verbatims == ["word"]
    assert [one.kpi for one in first.evidence.movements] == ["volume", "waits"]
    assert "incomplete" not in first.annotations
    assert "incomplete" in second.annotations
    asked.set()
    await asyncio.to_thread(made._pool.shutdown, wait=True)


# -- judges ------------------------------------------------------------------------------------------------------


class Store:
    def __init__(self):
        self.entries: dict[bytes, bytes] = {}

    def write(self, entries):
        for _, key, value in entries:
            self.entries[key] = value


def judges(**settings):
    rules = parse_rules(RULES, CATALOGUE)
    address = Address("http://127.0.0.1:1")
    quiet = SimpleNamespace(enrich=None)
    return Judges(
        Settings(**settings),
        Topics("cx"),
        rules,
        quiet,
        Alertmanagers(["http://127.0.0.1:9"]),
        SeasonalBaselines(address, rules),
    )


def bad_minutes(merge, first, last, offset, score):
    for minute in range(first, last):
        merge.apply(
            Partial(
                source="app/0", first=offset, last=offset, watermark=minute * 60.0 + 61, caught_up=True,
                deltas={minute: {APP: [12, 12 if score else 0]}}, tally=Tally(12, 12), minutes=[minute],
            ),
            offset,
        )  # fmt: skip
        offset += 1
    return offset


async def test_what_was_committed_is_sent_again_until_it_is_confirmed():
    saved = Store()
    merge = MergeState(idle_s=1e9, grace_s=0)
    made = judges(webhooks="http://127.0.0.1:1/x")
    await made.take_over({0: []})
    offset = bad_minutes(merge, 1000, 1020, 0, 1)
    bad_minutes(merge, 1020, 1032, offset, 0)
    made.start_stretch()
    made._stretch_ends = float("inf")
    merge.drain_outputs(1040 * 60.0, lambda view: made.step(0, view), made.horizon_s)
    saved.write(made.entries())
    first = list(made.emissions())
    assert [one.topic for one in first if one.topic == "cx.notifications"] == ["cx.notifications"]
    assert len({records.decode_alert(one.value).id for one in first}) >= 2
    assert made.sent_entries() == []

    again = judges(webhooks="http://127.0.0.1:1/x")
    await again.take_over({0: saved.entries.items()})
    assert [records.decode_alert(one.value).id for one in again.emissions()] == [
        records.decode_alert(one.value).id for one in first
    ]
    assert len(again._alertmanagers.alerts) == 1, "what fires is told to Alertmanager at once"

    finished = judges()
    made.confirm()
    saved.write(made.sent_entries())
    assert made.sent_entries() == [], "it is written once"
    await finished.take_over({0: saved.entries.items()})
    assert list(finished.emissions()) == []
    assert finished.entries() == []


async def test_a_view_tells_how_sources_are():
    merge = MergeState(idle_s=1e9, grace_s=0)
    bad_minutes(merge, 1000, 1005, 0, 1)
    seen = []

    def look(closed):
        seen.append(
            {name: (one.channel, one.silent_minutes, one.read) for name, one in MinuteView(closed).sources().items()}
        )
        return True

    merge.drain_outputs(1006 * 60.0, look)
    assert seen[0] == {"app/0": ("app", 0, 12)}
    assert seen[-1] == {"app/0": ("app", 0, 60)}
