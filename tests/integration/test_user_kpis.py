"""A KPI file of the user's goes through the whole job without code, whatever aggregators it uses, and is exact."""

import random
from datetime import UTC, datetime, timedelta

from streams.events.decode import encode
from streams.events.families import contact, digital, feedback
from streams.events.types import new_event
from streams.kpis.aggregators import AGGREGATORS
from streams.kpis.catalogue.catalogue import Catalogue
from streams.producers.readers.base import Touch
from tests.harness.plain import ONE_OF_EACH

FILE = (
    ONE_OF_EACH
    + """
- {id: u_rates, name: n, question: q, unit: currency, direction: up, class: A, aggregator: sum, formula: f, source: s,
   owner: o, groupings: [[], [channel]], params: {dollar: 420000}, of: {events: cx.order.placed,
   where: "currency in ['IRR', 'USD']", value: amount * (dollar if currency == 'USD' else 1)}}
- {id: u_visitors, name: n, question: q, unit: count, direction: up, class: A, aggregator: distinct, formula: f, source: s,
   owner: o, groupings: [[], [channel]], of: {events: cx.session.started, value: subject}}
- {id: u_later, name: n, question: q, unit: per_100, direction: up, class: B, aggregator: ratio, formula: f, source: s,
   owner: o, groupings: [[], [queue]], of: {events: cx.contact.queue_entered, delay_s: 20},
   hits: {events: cx.contact.queue_left, where: reason == 'answered' and wait_s <= 20, delay_s: 20 - wait_s}}
- {id: u_matured, name: n, question: q, unit: per_100, direction: up, class: C, maturity: matured, wait: 2d, aggregator: ratio,
   formula: f., source: s, owner: o, groupings: [[]],
   of: {events: cx.contact.queue_entered}, hits: {events: cx.contact.queue_left, age_s: wait_s * 1000}}
- {id: u_crowd, name: n, question: q, unit: fraction, direction: up, class: A, aggregator: derived, formula: f, source: s,
   owner: o, groupings: [[], [channel]], derive: {how: quotient, of: u_level, by: u_distinct}}
- {id: u_words, name: n, question: q, unit: percent, direction: up, class: A, aggregator: ratio, formula: f, source: s,
   owner: o, groupings: [[], [channel]], of: {events: cx.survey.answered},
   hits: {where: "starts_with(subject, ['c1', 'c2']) or ends_with(subject, '7') or contains(segment, 'i')"}}
- {id: u_hours, name: n, question: q, unit: percent, direction: up, class: A, aggregator: ratio, formula: f, source: s,
   owner: o, groupings: [[], [channel]], params: {zone: Asia/Tehran}, of: {events: '*'},
   hits: {where: "hour_of_day(time, zone) >= 8 and day_of_week(time, 'Asia/Kathmandu') == 'saturday'
     or minute_of_day(time, 'Australia/Lord_Howe') < 905"}}
- {id: u_dated, name: n, question: q, unit: currency, direction: up, class: A, aggregator: sum, scale: 1, formula: f,
   source: s, owner: o, groupings: [[], [channel]], params: {day: '2026-03-21', usd: 42}, of: {events: cx.order.placed,
   where: "currency in ['IRR', 'USD']",
   value: "amount * (1 if currency == 'IRR' else 45 if since(time, day, 'America/Chicago') else usd)"}}
- {id: u_derived, name: n, question: q, unit: percent, direction: up, class: A, aggregator: derived, formula: f, source: s,
   owner: o, groupings: [[], [channel]], derive: {how: quotient, of: u_visitors, by: u_distinct}}
- {id: u_own, name: n, question: q, unit: count, direction: up, class: A, aggregator: count, formula: f, source: s,
   owner: o, groupings: [[], [own_plan], [channel, own_plan]], of: {events: '*', where: own_brand is None or own_brand != 'b 1'}}
- {id: u_gap, name: n, question: q, unit: points, direction: down, class: A, aggregator: derived, formula: f, source: s,
   owner: o, groupings: [[]], derive: {how: gap, of: u_ratio, over: channel}}
"""
)

START = datetime(2026, 3, 21, 4, tzinfo=UTC)


def touches(count: int) -> list[Touch]:
    """Two hours of customers who visit, order, answer and queue."""
    r = random.Random(8)
    made = []
    for n in range(count):
        data = r.choice([
            digital.SessionStarted,
            lambda: digital.OrderPlaced(
                amount=r.choice([None, round(r.uniform(1, 900), 2)]), currency=r.choice([None, "IRR", "USD", "EUR"])
            ),
            lambda: feedback.SurveyAnswered(survey_id="s", metric="csat", scale=5, score=r.randint(1, 5)),
            lambda: feedback.SurveyAnswered(survey_id="s", metric="nps", scale=10, score=r.randint(0, 10)),
            lambda: contact.ContactQueueEntered(queue=r.choice(["a", "ب"])),
            lambda: contact.ContactQueueLeft(
                queue=r.choice(["a", "ب"]), reason=r.choice(["answered", "abandoned"]), wait_s=r.expovariate(0.05)
            ),
        ])()  # fmt: skip
        channel = r.choice(["web", "app", "store", "call_center"])
        event = new_event(
            data, id=f"u{n}", source="/test", time=START + timedelta(seconds=n * 7200 / count), channel=channel,
            subject=f"c{r.randint(1, 400)}", segment=r.choice([None, "vip"]), touchpoint=r.choice([None, "t"]),
            labels=r.choice([None, {"plan": r.choice(["gold", "كتاب", "کتاب "])}, {"plan": "gold", "brand": r.choice(["b  1", "c"])}]),
        )  # fmt: skip
        made.append(Touch(event.time.timestamp(), channel, event.subject, encode(event)))
    return made


def test_a_file_with_every_aggregator_is_exact(pipelines, tmp_path) -> None:
    """Streamed by a worker that was given the file, verified to zero."""
    file = tmp_path / "mine.yaml"
    file.write_text(FILE, encoding="utf-8")
    mine = Catalogue.load([file], built_in=False)
    assert {kpi.aggregator for kpi in mine} == {*AGGREGATORS, "derived"}
    pipeline = pipelines(kpis_path=file)
    pipeline.catalogue = Catalogue.load([file])
    pipeline.start_alone()
    sent = pipeline.send(touches(4_000))
    pipeline.wait_stored(sent)

    report = pipeline.verify()
    assert list(map(str, report.differences)) == []
    stored = {kpi for (kpi,) in pipeline.database.rows("SELECT DISTINCT kpi FROM kpi_values WHERE n > 0")}
    assert {kpi.id for kpi in mine} <= stored | {"u_matured"}, "what waits two days is stored by minutes ahead"
    assert pipeline.database.value("SELECT sum(n) FROM kpi_minutes FINAL WHERE kpi = 'u_matured'") > 500
    plans = "SELECT DISTINCT labels['own_plan'] FROM kpi_minutes WHERE kpi = 'u_own' AND by = 'own_plan' ORDER BY 1"
    assert pipeline.database.rows(plans) == [("gold",), ("کتاب",)], "spellings of one plan meet"
    customers, n = pipeline.total("u_distinct")
    assert n == sent
    assert customers is not None
    assert abs(customers - 400) <= 25
    assert pipeline.database.value("SELECT count() FROM kpi_values WHERE window = '7d' AND kpi = 'u_distinct'") > 0
