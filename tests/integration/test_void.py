"""Numbers that mean nothing are no numbers: streamed, stored, asked and verified alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from streams.events.decode import encode
from streams.events.envelope import Data, new_event
from streams.events.families.contact import ContactHandled, ContactTransferred
from streams.events.families.digital import OrderPlaced, PaymentFailed, PaymentSucceeded
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.steps import Steps
from streams.storage.connection import connect
from streams.storage.queries import run_query
from streams.storage.series import run_series
from streams.storage.verify import verify
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database
from tests.harness.pipeline import Pipeline

START = datetime(2026, 3, 20, 10, tzinfo=UTC)
SPAN = {"from": START, "to": START + timedelta(hours=1)}


def payload(data: Data, n: int, channel: str = "call_center") -> bytes:
    at = START + timedelta(seconds=7 * n)
    return encode(
        new_event(data, id=f"{type(data).__name__}/{n}", source="/test", subject=f"c{n}", time=at, channel=channel)
    )


def test_they_are_no_data_wherever_one_asks(database: Database) -> None:
    """A centre that sends no transfers, orders in rial and dollar; then the first transfer comes."""
    catalogue = Catalogue.load()
    writer = Writer(database.writer)
    writer.store_catalogue(catalogue.kpis.values())
    pipeline = Pipeline(writer, catalogue)
    calls = [payload(ContactHandled(talk_s=60, hold_s=0, wrapup_s=5, queue="q1"), n) for n in range(30)]
    orders = [
        payload(OrderPlaced(amount=amount, currency=currency), n, "app")
        for n, (amount, currency) in enumerate([(85_000_000, "IRR"), (120.5, "USD")])
    ]
    pipeline.feed([*calls, *orders])
    pipeline.finish()

    def asked(kpi: str, by: str = "") -> list[tuple[object, object, object, object]]:
        answer = run_query("kpi", {"kpi": kpi, "by": by, **SPAN}, database.reader)
        place = {name: i for i, name in enumerate(answer.columns)}
        return [tuple(row[place[name]] for name in ("labels", "value", "lo", "note")) for row in answer.rows]

    never = "no data: nothing of cx.contact.transferred where kind == 'queue' was ever received"
    several = "no data: several currencies: see the values by currency"
    assert asked("transfers_to_queue") == [({}, None, None, never)]
    assert asked("transfers_to_queue", "queue") == [({"queue": "q1"}, None, None, never)]
    assert asked("revenue") == [({}, None, None, several)]
    assert asked("revenue", "channel") == [({"channel": "app"}, None, None, several)]
    assert asked("order_value") == [({}, None, None, several)]
    by_currency = {row[0]["currency"]: row[1] for row in asked("revenue", "currency")}  # type: ignore[index]
    assert by_currency == {"IRR": 85_000_000, "USD": 120.5}
    latest = run_query("latest", {"kpi": "transfers_to_queue"}, database.reader)
    assert {(row[latest.columns.index("value")], row[-1]) for row in latest.rows} == {(None, never)}
    steps = run_series("revenue", "", 0, 2**32 - 1, Steps.parse("1y"), database.reader)
    assert [(row[steps.columns.index("value")], row[-1]) for row in steps.rows] == [(None, several)]
    with connect(database.reader) as client:
        report = verify(client, catalogue)
        assert report.differences == []

        pipeline.feed([payload(ContactTransferred(kind="queue", queue="q2"), 31)])
        pipeline.finish()
        assert asked("transfers_to_queue")[0][1] == 100 / 30
        assert asked("transfers_to_queue", "queue")[0][1:] == (0, 0, ""), "q1 is known to have none"
        report = verify(client, catalogue)
        assert report.differences == []
    writer.close()


def test_without_a_whole_each_series_tells_of_itself(database: Database) -> None:
    """A step without hits of a queue that had some before is 0 %, not unknown."""
    catalogue = Catalogue.parse("""
- {id: passed_on, name: Passed on, question: q, unit: per_100, direction: none, class: A, aggregator: ratio, formula: f,
   source: s, owner: o, groupings: [[queue]], of: {events: cx.contact.handled}, hits: {events: cx.contact.transferred}}
""")
    writer = Writer(database.writer)
    writer.store_catalogue(catalogue.kpis.values())
    pipeline = Pipeline(writer, catalogue)
    pipeline.feed([payload(ContactHandled(talk_s=60, queue=f"q{n % 2}"), n) for n in range(20)])
    pipeline.feed([payload(ContactTransferred(kind="queue", queue="q1"), 5)])
    pipeline.finish()
    steps = "SELECT labels['queue'], value FROM kpi_steps(kpi = 'passed_on', from = {from:DateTime('UTC')},"
    found = run_query(f"{steps} to = {{to:DateTime('UTC')}}, step = 60, bounds = [])", SPAN, database.reader)
    told = set(map(tuple, found.rows))
    assert told == {("q0", None), ("q1", 0), ("q1", 25)}
    writer.close()


def test_a_share_of_outcomes_that_are_events_needs_both(database: Database) -> None:
    """A shop that sends failed payments alone has no 100 %; then the web sends one that succeeded, then the app."""
    catalogue = Catalogue.load()
    writer = Writer(database.writer)
    writer.store_catalogue(catalogue.kpis.values())
    pipeline = Pipeline(writer, catalogue)
    pipeline.feed([payload(PaymentFailed(code="x", method="card"), n, "app") for n in range(5)])
    pipeline.finish()

    def asked(by: str) -> dict[str, tuple[object, object]]:
        answer = run_query("kpi", {"kpi": "payment_failure", "by": by, **SPAN}, database.reader)
        place = {name: i for i, name in enumerate(answer.columns)}
        return {
            row[place["labels"]].get(by, ""): (row[place["value"]], row[place["note"]])  # type: ignore[attr-defined]
            for row in answer.rows
        }

    never = (None, "no data: not each of cx.payment.failed, cx.payment.succeeded was ever received")
    assert asked("") == {"": never}
    assert asked("channel") == {"app": never}
    with connect(database.reader) as client:
        assert verify(client, catalogue).differences == []
        pipeline.feed([payload(PaymentSucceeded(method="card"), n, "web") for n in range(30, 35)])
        pipeline.finish()
        assert asked("") == {"": (50, "")}
        assert asked("channel") == {"app": never, "web": never}
        assert verify(client, catalogue).differences == []
        pipeline.feed([payload(PaymentSucceeded(method="card"), n, "app") for n in range(60, 75)])
        pipeline.finish()
        assert asked("channel") == {"app": (25, ""), "web": never}
        assert verify(client, catalogue).differences == []
    writer.close()
