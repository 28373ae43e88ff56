"""What people read of an alert, word by word: in English, in Persian, and nothing that only we understand."""

import re

import pytest

from streams.agents.notices import notice_of
from streams.alerts.facts import Facts, badness
from streams.alerts.judging.judge import Active
from streams.alerts.judging.machine import Instance
from streams.alerts.judging.outcome import tell_end
from streams.alerts.rules.parsing import load_rules, parse_rules
from streams.alerts.types import Contribution, Evidence, Movement, Transition
from streams.kpis.catalogue.catalogue import Catalogue
from streams.shipped import KPIS_OF_RELATIONS, RULES
from streams.wording.masking import masked
from streams.wording.moments import ZoneTimes, minutes_text
from streams.wording.numbers import value_text

CATALOGUE = Catalogue.load()
SHIPPED = load_rules([RULES], CATALOGUE)
TEHRAN = ZoneTimes("Asia/Tehran")
MINUTE = 29_000_000 - 29_000_000 % 1440 + 611 - 210 - 1  # 10:11 in Tehran ends it
GOLDEN = """
groups:
  - name: g
    rules:
      - alert: DeliveryCsat
        kpi: csat
        by: [delivery]
        window: 1h
        method: floor
        params: {target: 80}
        owner: delivery team
        severity: ticket
"""
ENGLISH = re.compile(r"[0-9]")
PERSIAN = re.compile("[۰-۹]")


def golden_transition() -> Transition:
    """Golden case 29: 252 of 412 satisfied since 10:04, target 80 %; it fires at 10:11."""
    [rule] = parse_rules(GOLDEN, CATALOGUE)
    evidence = Evidence(
        value=61.165, n=412, lo=56.4, hi=65.7, unit="percent", window="1h", target=80.0,
        contributors=[Contribution(labels={"channel": "web"}, value=50.0, baseline=80.0, n=200, baseline_n=900,
                                   rate_effect=-15.0, share_effect=0.0, explained=0.83, statistic=-8.0)],
        movements=[Movement(kpi="orders", labels={"delivery": "late"}, value=29_850.0, baseline=41_203.0, statistic=-9.0, unit="count",
                            name="Orders", name_fa="سفارش‌ها")],
        verbatims=[masked("با 09120000111 تماس بگیرید، کد ملی 0009123458")],
        links={"runbook": "http://cx/runbook#csatlow", "page": "http://cx/?kpi=csat"},
    )  # fmt: skip
    _, annotations = rule.say({"delivery": "late"}, MINUTE, evidence, TEHRAN)
    return Transition(
        seq=1, rule=rule.alert, kpi="csat", labels={"delivery": "late"}, old="pending", new="firing", minute=MINUTE,
        why="PENDING => FIRING: z=-8.1", severity="ticket", owner=rule.owner, annotations=annotations,
        evidence=evidence, episode=f"DeliveryCsat-0-{MINUTE - 7}",
    )  # fmt: skip


def test_what_fires_says_what_since_when_how_bad_where_and_whose() -> None:
    """Golden case 29."""
    notice = notice_of(Active(golden_transition(), None), TEHRAN)
    found = notice.annotations
    assert found["summary"] == "Customer satisfaction, delivery late: 61.2 % against 80.0 %"
    assert found["since"].endswith(" 10:04 (Asia/Tehran)")
    assert found["description"].startswith(
        "61.2 % (95 % interval 56.4 % to 65.7 %) of 412 so far, in the 1\u00a0h up to"
    )
    assert found["explained_by"] == "channel web (83 %)"
    assert found["also_moved"] == "Orders from 41,203 to 29,850"
    assert found["runbook_url"] == "http://cx/runbook#csatlow"
    assert notice.labels["owner"] == "delivery team"


def test_persian_is_persian_throughout() -> None:
    """Golden case 29: its digits, its names, its dates; no number is half one and half the other."""
    found = notice_of(Active(golden_transition(), None), TEHRAN).annotations
    persian = {name: text for name, text in found.items() if name.endswith("_fa")}
    assert found["summary_fa"] == "رضایت مشتری، تحویل late: ۶۱٫۲٪ در برابر ۸۰٫۰٪"
    assert found["since_fa"] == "۱۰:۰۴، ۱ اسفند ۱۴۰۳ (به وقت تهران)"
    assert found["also_moved_fa"] == "سفارش‌ها از ۴۱٬۲۰۳ به ۲۹٬۸۵۰"
    assert set(persian) == {"summary_fa", "description_fa", "since_fa", "explained_by_fa", "also_moved_fa"}
    assert [text for text in persian.values() if ENGLISH.search(text)] == []


def test_an_alert_says_nothing_that_only_we_understand() -> None:
    """Golden case 29: no ids, no z, no powers of ten, no states, and nobody's number."""
    transition = golden_transition()
    [rule] = parse_rules(GOLDEN, CATALOGUE)
    now = Evidence(value=85.0, n=60)
    end = tell_end(rule, transition.labels, Instance(episode=transition.episode, during=[412, 252]), Evidence(), now,
                   MINUTE + 41, TEHRAN)  # fmt: skip
    assert "85.0 % of 60 now" in end["summary"]
    assert "Lasted 48 min, " in end["description"]
    assert "78 fewer than at the target of 80.0 %" in end["description"]
    said = " ".join([*notice_of(Active(transition, None), TEHRAN).annotations.values(), *end.values()])
    for never in ("csat_top2", " csat", "z=", "e+0", "09120000111", "0009123458", "FIRING", "PENDING", "=>"):
        assert never not in said
    assert not re.search(r"61\.2 %[^.]* now", end["summary"])


def test_shipped_texts_name_no_kpi_by_its_id() -> None:
    ids = {kpi.id for kpi in CATALOGUE if "_" in kpi.id}
    words = [(rule.alert, text.source) for rule in SHIPPED for text in rule.annotations.values()]
    assert [(alert, one) for alert, text in words for one in ids if re.search(rf"\b{one}\b", text)] == []


def test_whoever_is_woken_or_asked_is_told_what_to_check_first() -> None:
    """In both languages, by every rule that is shipped; those that KPIs bring along say what they know."""
    lacking = [
        rule.alert for rule in SHIPPED
        if rule.group != "catalogue" and not {"check", "check_fa", "summary", "summary_fa"} <= rule.annotations.keys()
    ]  # fmt: skip
    assert lacking == []


def test_every_shipped_rule_speaks_persian() -> None:
    evidence = Evidence(value=12.5, n=1_234, lo=10.0, hi=15.0, baseline=20.0, baseline_n=900, unit="percent")
    for rule in SHIPPED:
        labels = dict.fromkeys(rule.by, "web")
        _, said = rule.say(labels, MINUTE, evidence, TEHRAN)
        for name in ("summary_fa", "description_fa", "check_fa"):
            text = said.get(name, "")
            assert not ENGLISH.search(text), (rule.alert, text)
            assert not text or re.search("[\u0600-\u06ff]", text), (rule.alert, text)
        assert not PERSIAN.search(said["summary"] + said["description"]), rule.alert


def test_every_kpi_has_a_persian_name() -> None:
    for kpi in (*CATALOGUE, *Catalogue.load([KPIS_OF_RELATIONS], built_in=False)):
        assert re.search("[\u0600-\u06ff]", kpi.name_fa), kpi.id


@pytest.mark.parametrize(
    ("zone", "english", "persian"),
    [
        ("UTC", "from 2026-03-21 20:00 to 20:30 UTC", "از ۲۰:۰۰ تا ۲۰:۳۰، ۱ فروردین ۱۴۰۵ (به وقت UTC)"),
        (
            "Asia/Tehran",
            "from 2026-03-21 23:30 to 2026-03-22 00:00 (Asia/Tehran)",
            "از ۲۳:۳۰، ۱ فروردین ۱۴۰۵ تا ۰۰:۰۰، ۲ فروردین ۱۴۰۵ (به وقت تهران)",
        ),
    ],
)
def test_a_span_names_a_day_once(zone: str, english: str, persian: str) -> None:
    since = 1_774_123_200
    assert ZoneTimes(zone).span(since, since + 1_800, "en") == english
    assert ZoneTimes(zone).span(since, since + 1_800, "fa") == persian


@pytest.mark.parametrize(
    ("minutes", "english", "persian"),
    [(0, "0 min", "۰ دقیقه"), (48, "48 min", "۴۸ دقیقه"), (90, "1 h 30 min", "۱ ساعت و ۳۰ دقیقه"), (1_505, "1 d 1 h", "۱ روز و ۱ ساعت")],
)  # fmt: skip
def test_lengths_are_written_as_people_do(minutes: int, english: str, persian: str) -> None:
    assert minutes_text(minutes, "en") == english
    assert minutes_text(minutes, "fa") == persian


@pytest.mark.parametrize(
    ("value", "unit", "persian"),
    [
        (None, "percent", "بدون داده"),
        (61.25, "percent", "۶۱٫۲٪"),
        (3.21, "per_100", "۳٫۲ در هر ۱۰۰"),
        (200.4, "seconds", "۳ دقیقه ۲۰ ثانیه"),
        (3.25, "seconds", "۳٫۲ ثانیه"),
        (-12.0, "points", "-۱۲٫۰ امتیاز"),
        (1_234_567.0, "currency", "۱٬۲۳۴٬۵۶۷"),
    ],
)
def test_values_are_written_in_persian(value: float | None, unit: str, persian: str) -> None:
    assert value_text(value, unit, "fa") == persian


def test_no_rule_asks_for_more_than_the_target_of_its_kpi() -> None:
    """One target for page, dashboards and documents; a shipped rule may only wait for something worse."""
    stricter = [
        rule.alert for rule in SHIPPED
        if rule.target is not None and rule.kpi.target is not None
        and badness(Facts.of(rule.kpi), rule.target - rule.kpi.target) < 0
    ]  # fmt: skip
    assert stricter == []


def test_what_a_rule_lets_pass_beyond_the_target_is_called_a_limit() -> None:
    """Payments page from 40 %, which nobody aims at."""
    found = tell_end(SHIPPED["PaymentsDown"], {}, Instance(), Evidence(), Evidence(value=2.0, n=390), MINUTE, TEHRAN)
    assert found["summary"].endswith("2.0 % of 390 now, limit 40.0 %")
    assert found["summary_fa"].endswith("، حد هشدار ۴۰٫۰٪")
