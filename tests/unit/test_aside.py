"""Side tasks: whatever they raise is counted and tried again, and the worker goes on."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams import metrics
from streams.agents import clocks, records
from streams.agents.clocks import References
from streams.agents.ingest import Ingest
from streams.agents.judge import Judges
from streams.agents.merge import Merge
from streams.agents.notify import Notify
from streams.agents.seasonal import SeasonalBaselines
from streams.agents.store import StoreStage
from streams.alerts.rules.parsing import parse_rules
from streams.alerts.rules.rules import RuleBook
from streams.alerts.types import Transition
from streams.aside import Aside
from streams.commands import worker
from streams.delivery.alertmanager import Alertmanagers
from streams.delivery.webhook import Webhook
from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.names import Topics
from streams.events.clock import Clock
from streams.events.intake import Tally
from streams.kpis.catalogue.catalogue import Catalogue
from streams.settings import Settings
from streams.storage import baselines
from streams.storage.baselines import BaselineQuery, Learnt, learn_kpi
from streams.storage.connection import Address
from streams.storage.rows import pack_events
from tests.harness import twin
from tests.harness.onelane import OneApp
from tests.harness.receiver import Receiver

SEASONAL = """
groups:
  - name: test
    owner: o
    rules:
      - {alert: Odd, kpi: csat, method: seasonal, window: 1h, severity: ticket}
      - {alert: Silent, kpi: contacts_handled, method: absence, window: 15m, params: {baseline: 1h}, severity: ticket}
"""


def usual_rules() -> RuleBook:
    return parse_rules(SEASONAL, Catalogue.load())


class OddError(Exception):
    """What nobody expects."""


def failures(task: str) -> float:
    return metrics.REGISTRY.get_sample_value("cx_side_task_failures_total", {"task": task}) or 0.0


async def until(condition: Callable[[], bool], timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.01)


async def test_it_is_counted_and_told_with_a_traceback_once_of_each_kind(caplog: pytest.LogCaptureFixture) -> None:
    before, aside, left = (
        failures("test"),
        Aside("test", first_pause_s=0.001),
        [OddError("a"), OddError("b"), ValueError("c")],
    )

    async def work() -> None:
        if left:
            raise left.pop(0)

    await aside.keep(work)
    assert failures("test") == before + 3
    told = [record for record in caplog.records if record.name == "streams.aside"]
    assert [bool(record.exc_info) for record in told] == [True, False, True]
    assert "test failed, the worker goes on: OddError: b" in told[1].getMessage()
    assert all(record.levelno == logging.WARNING for record in told)


def test_pauses_grow_to_a_limit_and_begin_anew_after_a_quiet_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    aside = Aside("test", first_pause_s=1.0, longest_pause_s=10.0)
    assert [aside.failed(OddError()) for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    now += 21
    assert aside.failed(OddError()) == 1


async def test_a_side_task_can_still_be_cancelled() -> None:
    running = asyncio.create_task(Aside("test").keep(asyncio.Event().wait))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


# -- learning ----------------------------------------------------------------------------------------------------


def some_lesson() -> BaselineQuery:
    return BaselineQuery(Catalogue.load()["csat"], 4, 2, None)


@pytest.mark.parametrize("rows", [[], [(0, None)]])
def test_an_empty_answer_of_the_store_teaches_nothing(rows: list[tuple[int, None]]) -> None:
    client = SimpleNamespace(query=lambda *_, **__: SimpleNamespace(result_rows=rows))
    assert learn_kpi(client, some_lesson(), [()]) == Learnt({}, 0)  # type: ignore[arg-type]


async def test_learning_goes_on_after_whatever_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """One KPI that cannot be learnt keeps no other from it, and is tried again."""
    before, asked, broken = failures("learning"), [], True

    def learn(_client: Any, lesson: BaselineQuery, *_args: Any) -> Learnt:
        asked.append(lesson.kpi.id)
        if broken and len(set(asked)) == 1:
            raise OddError("an answer that nobody expects")
        return Learnt({}, 2**40)

    monkeypatch.setattr(baselines, "connect", lambda _address: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(baselines, "learn_kpi", learn)
    usual = SeasonalBaselines(Address("http://127.0.0.1:9"), usual_rules())
    usual._aside = Aside("learning", first_pause_s=0.01)
    learning = asyncio.create_task(usual.keep_learning())
    try:
        await asyncio.wait_for(usual.ready(), 90)
        await until(lambda: failures("learning") > before)
        assert set(asked) == {"csat", "contacts_handled"}
        broken = False
        await until(lambda: len(usual._baselines._learnt) == 2)
        assert not learning.done()
    finally:
        learning.cancel()
        await asyncio.gather(learning, return_exceptions=True)


# -- enriching, notifying ----------------------------------------------------------------------------------------


async def test_an_alert_that_cannot_be_enriched_goes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def enrich(_begun: Sequence[Transition]) -> None:
        raise OddError

    before = failures("enriching")
    judges = Judges(
        Settings(), Topics("cx"), usual_rules(), SimpleNamespace(enrich=enrich),  # type: ignore[arg-type]
        Alertmanagers([]), SeasonalBaselines(Address("http://127.0.0.1:9"), usual_rules()),
    )  # fmt: skip
    judges._fresh = [SimpleNamespace(new="firing", inhibited_by=None)]  # type: ignore[list-item]
    await judges.enrich()
    assert failures("enriching") == before + 1
    assert not judges._fresh


async def test_an_alert_that_alertmanager_cannot_be_told_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = failures("alertmanager")
    judges = Judges(
        Settings(), Topics("cx"), usual_rules(), SimpleNamespace(),  # type: ignore[arg-type]
        Alertmanagers(["http://127.0.0.1:9"]), SeasonalBaselines(Address("http://127.0.0.1:9"), usual_rules()),
    )  # fmt: skip
    judges._judges[0] = SimpleNamespace(judged=1, active=lambda _: [None], confirm=lambda _: None)  # type: ignore[assignment]
    judges._tell_alertmanagers(0)
    assert failures("alertmanager") == before + 1


def alert(number: int) -> bytes:
    transition = Transition(
        seq=number, rule="Low", kpi="csat", labels={}, old="pending", new="firing", minute=1, why="", severity="page",
        owner="o",
    )  # fmt: skip
    return records.encode_alert(records.alert_of(transition, 0, 0, time.time()))


async def test_a_notification_that_nobody_can_read_holds_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does one that cannot be posted: it is tried again, while others go out."""
    before = failures("webhooks")
    post, raised = Webhook._post, []

    async def odd(self: Webhook, session: Any, message: Any) -> tuple[int, str, float]:
        if message.id == "0/0/1" and not raised:
            raised.append(message.id)
            raise OddError
        return await post(self, session, message)

    monkeypatch.setattr(Webhook, "_post", odd)
    app = OneApp()
    with Receiver() as receiver:
        notify = Notify(app, Settings(webhooks=receiver.url), Topics("cx"))  # type: ignore[arg-type]
        batch = RecordBatch("cx.notifications", 0, [b"{", alert(1), alert(2)], range(3))
        await notify._run([batch])
        await until(lambda: batch in app.one_lane.acked)
        await notify._give_up()
    assert failures("webhooks") == before + 2
    assert {request.headers["webhook-id"] for request in receiver.received} == {"0/0/1", "0/0/2"}


@pytest.mark.slow
async def test_notifications_that_cannot_be_finished_are_tried_again() -> None:
    before, app = failures("webhooks"), OneApp()
    lags = iter([OddError("once")])

    def report_lag(*_: Any) -> None:
        for error in lags:
            raise error

    app.one_lane.report_lag = report_lag
    notify = Notify(app, Settings(), Topics("cx"))  # type: ignore[arg-type]
    await notify._run([RecordBatch("cx.notifications", 0, [alert(1)], range(1))])
    await until(lambda: not notify._waiting)
    assert failures("webhooks") == before + 1


async def test_partitions_move_on_though_webhooks_cannot_be_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    before = failures("webhooks")
    notify = Notify(OneApp(), Settings(), Topics("cx"))  # type: ignore[arg-type]
    monkeypatch.setattr(notify._webhooks["alert"], "close", raising)
    await notify._take_over(Assignment(1, {}))
    assert failures("webhooks") == before + 1


async def test_alertmanagers_that_cannot_be_started_are_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before, real, raised = failures("alertmanager"), Alertmanagers.start, []

    def start(self: Alertmanagers) -> None:
        if not raised:
            raised.append(True)
            raise OddError
        real(self)

    monkeypatch.setattr(Alertmanagers, "start", start)
    client = Alertmanagers(["http://127.0.0.1:9"], first_pause_s=0.01)
    serving = asyncio.create_task(client.serve())
    await until(lambda: bool(client._tasks))
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert failures("alertmanager") == before + 1


# -- metrics, memory ---------------------------------------------------------------------------------------------


def raising(*_: Any) -> None:
    raise OddError


@pytest.mark.parametrize("kind", [Ingest, Merge])
async def test_a_flush_whose_metrics_fail_is_a_flush(kind: type[Ingest | Merge]) -> None:
    before, app = failures("metrics"), twin.Application(twin.Broker(), 1)
    stage = kind(app, Settings(partitions=1), Topics("cx"), Catalogue.load())  # type: ignore[arg-type]
    await app.begin()
    stage.lane.report_lag = raising  # type: ignore[method-assign]
    await stage.flush()
    assert failures("metrics") == before + 1


async def test_what_is_stored_is_acknowledged_though_metrics_fail() -> None:
    before, broker = failures("metrics"), twin.Broker()
    app = twin.Application(broker, 1)
    stage = StoreStage(app, Settings(partitions=1), Topics("cx"), twin.Database(broker))  # type: ignore[arg-type]
    await app.begin()
    stage.lane.report_lag = raising  # type: ignore[method-assign]
    block = records.BlockRecord("cx.touchpoints.web", 0, 0, 0, 0.0, Tally(1, 1), pack_events("t", 0, [0], [b"{}"]), [])
    await stage.take(RecordBatch("cx.blocks", 0, [records.encode_block(block)], range(1)))
    await stage.flush()
    assert failures("metrics") == before + 2, "when it was taken, and when it was stored"
    assert broker.committed == {TP("cx.blocks", 0): 1}


async def test_memory_that_cannot_be_returned_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = failures("memory")
    monkeypatch.setattr(worker.ctypes, "CDLL", raising)
    await worker._return_memory()
    assert failures("memory") == before + 1


# -- clocks ------------------------------------------------------------------------------------------------------


async def test_clocks_are_compared_again_after_whatever_came(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two answers that are no time, and then one of a store whose clock is 20 minutes ahead."""
    caplog.set_level(logging.INFO)
    before, answers = failures("clocks"), [[], [("soon",)]]

    def query(_sql: str) -> SimpleNamespace:
        return SimpleNamespace(result_rows=answers.pop(0) if answers else [((time.time() + 1_200) * 1000,)])

    monkeypatch.setattr(clocks, "connect", lambda *_, **__: SimpleNamespace(query=query))
    clock = Clock()
    references = References(clock, Address("http://127.0.0.1:9"))
    references._aside = Aside("clocks", first_pause_s=0.01)
    comparing = asyncio.create_task(references.keep_comparing())
    try:
        await until(lambda: clocks.read(clock).verdict == "suspected")
        await until(lambda: "clock: UNKNOWN => SUSPECTED" in caplog.text)
    finally:
        comparing.cancel()
        await asyncio.gather(comparing, return_exceptions=True)
    assert failures("clocks") == before + 2
    assert metrics.CLOCK_WRONG._value.get() == 1
    assert metrics.CLOCK_DIFFERENCE.labels("clickhouse")._value.get() > 1_000
    references.broker_said(time.time(), 0.1)
    references._tell()
    assert metrics.CLOCK_WRONG._value.get() == 0
    assert "SUSPECTED => RIGHT: the worker's clock agrees with kafka" in caplog.text
