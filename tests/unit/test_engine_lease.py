"""Nothing is written without a membership that the broker has confirmed within the session."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from faust.types import TP

from streams.engine import BatchApp, StaleGenerationError
from streams.engine.fence import Fence
from streams.engine.lease import MARGIN_S, Lease
from streams.engine.outgoing import LeaseLostError, Outgoing
from streams.engine.producer import LeasedProducer
from streams.engine.state import FencedTable

SESSION_S = 10.0
UNKNOWN_MEMBER = 25
REBALANCE_IN_PROGRESS = 27


class Clocks:
    """A clock that counts suspension, and the wall clock."""

    def __init__(self) -> None:
        self.steady = 1_000.0
        self.wall = 2_000_000.0

    def pass_s(self, seconds: float) -> None:
        self.steady += seconds
        self.wall += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def lease(clocks: Clocks) -> Lease:
    return Lease(SESSION_S, clock=lambda: clocks.steady, wall=lambda: clocks.wall)


def test_before_the_first_confirmation_nothing_may_be_written(lease: Lease) -> None:
    assert not lease.is_held


def test_it_counts_from_the_sending_of_what_was_confirmed(lease: Lease, clocks: Clocks) -> None:
    sent = lease.now()
    clocks.pass_s(4.0)
    lease.answered(sent, 0, generation=3)
    assert lease.left_s() == pytest.approx(SESSION_S - MARGIN_S - 4.0)
    assert lease.generation == 3
    clocks.pass_s(5.1)
    assert not lease.is_held


def test_an_older_confirmation_that_comes_later_shortens_nothing(lease: Lease, clocks: Clocks) -> None:
    early = lease.now()
    clocks.pass_s(2.0)
    lease.answered(lease.now(), 0, 1)
    lease.answered(early, 0, 1)
    assert lease.left_s() == pytest.approx(SESSION_S - MARGIN_S)


def test_a_member_of_a_group_that_rebalances_is_one(lease: Lease) -> None:
    lease.answered(lease.now(), REBALANCE_IN_PROGRESS, 1)
    assert lease.is_held


@pytest.mark.parametrize("code", [22, 25, 82])
def test_whom_the_broker_does_not_know_may_write_no_more(lease: Lease, code: int) -> None:
    lease.answered(lease.now(), 0, 1)
    lease.answered(lease.now(), code, 1)
    assert not lease.is_held
    assert lease.term == 1


def test_a_failure_of_the_coordinator_confirms_nothing(lease: Lease, clocks: Clocks) -> None:
    lease.answered(lease.now(), 0, 1)
    clocks.pass_s(8.0)
    lease.answered(lease.now(), 15, 1)
    assert lease.left_s() == pytest.approx(1.0)


def test_a_machine_that_slept_finds_it_over_by_either_clock(lease: Lease, clocks: Clocks) -> None:
    lease.answered(lease.now(), 0, 1)
    clocks.wall += 60.0  # moved to another host: its own clock went on where it was
    assert not lease.is_held
    lease.answered(lease.now(), 0, 1)
    assert lease.is_held
    clocks.wall -= 3_600.0
    assert lease.is_held, "a wall clock that is set back says nothing"
    clocks.steady += 60.0
    assert not lease.is_held


async def test_who_waits_goes_on_with_the_next_confirmation_or_hears_that_it_is_over(
    lease: Lease, clocks: Clocks
) -> None:
    waiting = asyncio.ensure_future(lease.renewed(0))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    lease.answered(lease.now(), 0, 1)
    assert await asyncio.wait_for(waiting, 90)
    clocks.pass_s(60.0)
    waiting = asyncio.ensure_future(lease.renewed(0))
    lease.answered(lease.now(), UNKNOWN_MEMBER, 1)
    assert not await asyncio.wait_for(waiting, 90)


# The application


class Log:
    """A changelog partition that everybody writes to; stands for the producer and for reading back."""

    def __init__(self, app: BatchApp) -> None:
        self.records: list[SimpleNamespace] = []
        app.producer.send = self.send
        app.read_back = self.read_back  # type: ignore[method-assign]

    def append(self, key: bytes, value: bytes | None, fence: Fence | None) -> int:
        """Write as somebody else does."""
        headers = [fence.header()] if fence else []
        self.records.append(SimpleNamespace(offset=len(self.records), key=key, value=value, headers=headers))
        return len(self.records) - 1

    async def send(
        self, _topic: str, key: bytes, value: bytes, _partition: int, _at: Any, headers: Any
    ) -> asyncio.Future[Any]:
        self.records.append(SimpleNamespace(offset=len(self.records), key=key, value=value, headers=headers or []))
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(SimpleNamespace(offset=len(self.records) - 1))
        return done

    async def read_back(self, _tp: TP, start: int, end: int) -> list[Any]:
        return self.records[start:end]

    def restored(self, app: BatchApp) -> Mapping[bytes, bytes]:
        """What a new owner reads."""
        table = FencedTable.__new__(FencedTable)
        table.name, table._app, table._logs = "restored", app, {}
        table._copies, table._certain = None, True
        table.absorb(0, self.records)
        return table.load(0)


@pytest.fixture
async def app() -> AsyncIterator[BatchApp]:
    app = BatchApp("leases", brokers="127.0.0.1:1", partitions=1)
    app.generation = app.live_generation = 1
    app.lease.answered(app.lease.now(), 0, 5)
    thread_loop = app.batch_consumer.thread.thread_loop
    yield app
    thread_loop.close()


OLD = Fence(1, 0)


async def test_what_an_earlier_owner_wrote_before_the_claim_is_taken_in(app: BatchApp) -> None:
    log, table = Log(app), app.fenced_table("state")
    log.append(b"0/k", b"old", OLD)
    table.absorb(0, log.records)
    log.append(b"0/k", b"just before the claim", OLD)
    await table.claim(1, [0])
    assert table.load(0) == {b"k": b"just before the claim"}


async def test_what_an_earlier_owner_writes_after_the_claim_is_void_and_replaced(app: BatchApp) -> None:
    log, table = Log(app), app.fenced_table("state")
    await table.claim(1, [0])
    await table.write(1, 0, [(b"k", b"ours"), (b"gone", b"x")])
    await table.write(1, 0, [(b"gone", None)])
    for key in (b"0/k", b"0/gone", b"0/new"):
        log.append(key, b"theirs", OLD)
    assert log.restored(app) == {b"k": b"ours"}, "already by its order"
    await table.write(1, 0, [(b"other", b"y")])
    ours = {b"k": b"ours", b"other": b"y"}
    assert table.load(0) == log.restored(app) == ours
    compacted = {record.key: record for record in log.records}
    log.records = sorted(compacted.values(), key=lambda record: record.offset)
    assert log.restored(app) == ours, "also when only the last record of each key is kept"


async def test_who_finds_a_higher_fence_in_its_log_writes_no_more(app: BatchApp) -> None:
    log, table = Log(app), app.fenced_table("state")
    await table.claim(1, [0])
    log.append(b"0/claim", None, Fence(99, 0))
    with pytest.raises(StaleGenerationError, match="belongs to"):
        await table.write(1, 0, [(b"k", b"v")])


async def test_a_send_that_was_repeated_by_the_client_is_no_intruder(app: BatchApp) -> None:
    log, table = Log(app), app.fenced_table("state")
    await table.claim(1, [0])
    repeated = log.records[-1]
    log.records.append(SimpleNamespace(**{**vars(repeated), "offset": len(log.records)}))
    await table.write(1, 0, [(b"k", b"v")])
    assert len(log.records) == 3
    assert log.restored(app) == {b"k": b"v"}


async def test_nothing_is_produced_when_the_membership_is_over(app: BatchApp) -> None:
    log = Log(app)
    app.lease.answered(app.lease.now(), UNKNOWN_MEMBER, 5)
    with pytest.raises(StaleGenerationError, match="no member"):
        await app.produce(1, [Outgoing("t", 0, None, b"x")])
    assert log.records == []
    assert not app.may_tell()


async def test_a_thread_that_asks_for_a_permit_hears_that_the_membership_is_over(app: BatchApp) -> None:
    permit = app.permit(1)
    assert 0 < permit() <= app.lease.session_s
    app.lease.lose()
    with pytest.raises(StaleGenerationError):
        permit()


# The wire


class Client:
    """Takes requests as aiokafka's client does."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def ready(self, _node: int) -> bool:
        return True

    async def send(self, _node: int, request: Any, **_options: Any) -> None:
        self.sent.append(request)


@pytest.fixture
def leased(monkeypatch: pytest.MonkeyPatch, lease: Lease) -> Client:
    """A client whose producer looks at `lease`."""
    client = Client()
    made = SimpleNamespace(client=client)
    monkeypatch.setattr("faust.transport.drivers.aiokafka.Producer._new_producer", lambda *_: made)
    producer = LeasedProducer.__new__(LeasedProducer)
    producer.app = SimpleNamespace(lease=lease)
    producer._new_producer()
    return client


def produce() -> ProduceRequest:
    return ProduceRequest(transactional_id=None, required_acks=-1, timeout=1, topics=[])


async def test_records_that_waited_while_the_membership_ended_are_never_sent(leased: Client, lease: Lease) -> None:
    lease.answered(lease.now(), 0, 1)
    await leased.send(0, produce())
    assert len(leased.sent) == 1
    lease.lose()
    lease.answered(lease.now(), 0, 2)
    with pytest.raises(LeaseLostError):
        await leased.send(0, produce())
    assert len(leased.sent) == 1, "a later membership is not theirs"


async def test_records_wait_for_a_membership_that_is_in_doubt(leased: Client, lease: Lease, clocks: Clocks) -> None:
    lease.answered(lease.now(), 0, 1)
    clocks.pass_s(60.0)
    sending = asyncio.ensure_future(leased.send(0, produce()))
    await asyncio.sleep(0.05)
    assert not sending.done()
    lease.answered(lease.now(), 0, 1)
    await asyncio.wait_for(sending, 90)
    assert len(leased.sent) == 1


async def test_other_requests_need_no_membership(leased: Client) -> None:
    await leased.send(0, MetadataRequest([], True))
    assert len(leased.sent) == 1
