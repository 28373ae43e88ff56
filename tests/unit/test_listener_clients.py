"""Shares of time: who waits, who goes next, and what is forgotten."""

import asyncio
import time

import pytest

from streams.listener import clients as module
from streams.listener.clients import BURST_S, LONGEST_S, Budget, Clients, Turns, Work, read_networks
from streams.settings import ConfigError


def spin(seconds: float) -> None:
    """Use so much CPU time."""
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass


def test_a_budget_fills_evenly_and_what_is_owed_is_bounded() -> None:
    now = [0.0]
    budget = Budget(0.5, lambda: now[0])
    assert budget.left() == 0.5 * BURST_S
    budget.spend(1.0)
    assert (budget.left(), budget.wait_s()) == (-0.5, 1.0)
    now[0] += 1.0
    assert (budget.left(), budget.wait_s()) == (0.0, 0.0)
    now[0] += 1_000.0
    assert budget.left() == 0.5 * BURST_S
    budget.spend(1_000.0)
    assert budget.wait_s() == LONGEST_S


def test_a_client_waits_only_while_the_process_is_short_of_time() -> None:
    clients = Clients(0.25)
    heavy, light = clients.of("10.0.0.1"), clients.of("10.0.0.2")
    clients.spend(0.5, heavy)
    assert heavy.budget.left() < 0
    assert clients.wait_s(heavy) == 0.0
    clients.spend(0.5, heavy)
    assert clients.wait_s(heavy) > 0.0
    assert clients.wait_s(light) == 0.0


def test_what_is_shared_pays_only_while_time_is_short() -> None:
    """Else who is alone for a while would use up what others need later."""
    clients, key = Clients(0.25), Budget(0.5)
    client = clients.of("10.0.0.1")
    clients.spend(0.5, client, key)
    assert key.left() == 0.5 * BURST_S
    clients.spend(1.0, client, key)
    assert key.left() < 0


def test_time_is_measured_whatever_took_it() -> None:
    clients = Clients(0.25)
    client = clients.of("10.0.0.1")
    before = client.budget.left()
    with clients.metered(client):
        spin(0.02)
    assert before - client.budget.left() > 0.01


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "no address", True),
    ],
)
def test_addresses_of_one_network_are_one_client(one: str, other: str, same: bool) -> None:
    clients = Clients(0.25)
    assert (clients.of(one) is clients.of(other)) is same


@pytest.mark.parametrize(
    ("forwarded", "name"),
    [
        (b"203.0.113.5", "203.0.113.5"),
        (b"198.51.100.1, 203.0.113.5", "203.0.113.5"),
        (b"203.0.113.5, 10.0.0.8", "203.0.113.5"),
        (b"", "10.0.0.7"),
        (b"unknown", "10.0.0.7"),
        (b"203.0.113.5, nonsense", "10.0.0.7"),
        (b"10.0.0.8", "10.0.0.7"),
    ],
)
def test_a_proxy_names_its_clients_and_nobody_else_does(forwarded: bytes, name: str) -> None:
    """What stands further left may be invented by the client itself."""
    clients = Clients(0.25, read_networks("10.0.0.0/24"))
    proxy, other = clients.of("10.0.0.7"), clients.of("203.0.113.9")
    assert clients.behind(proxy, forwarded).name == name
    assert clients.behind(other, forwarded) is other
    clients.spend(100.0, proxy)
    assert clients.wait_s(proxy) == 0.0


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"http_proxies: 'proxy.example' is no address or network"):
        read_networks("10.0.0.7, proxy.example")


def test_clients_that_hold_nothing_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLIENTS_KEPT", 10)
    clients = Clients(0.25)
    held = clients.of("10.0.0.1")
    held.connections = 1
    for number in range(100):
        clients.of(f"10.1.0.{number}")
    assert clients.of("10.0.0.1") is held
    assert len(clients._known) <= 11


async def test_who_used_least_goes_next() -> None:
    clients, order = Clients(0.25), list[str]()
    heavy, light = clients.of("10.0.0.1"), clients.of("10.0.0.2")
    clients.spend(0.1, heavy)

    async def work(name: str) -> None:
        async with Work(clients, heavy if name.startswith("heavy") else light):
            order.append(name)

    async with Work(clients, heavy):
        tasks = [asyncio.create_task(work(name)) for name in ("heavy 1", "heavy 2", "light")]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == ["light", "heavy 1", "heavy 2"]


async def test_long_work_lets_others_go_on() -> None:
    clients = Clients(0.25)
    client, ticks = clients.of("10.0.0.1"), [0]

    async def tick() -> None:
        while True:
            ticks[0] += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    async with Work(clients, client) as work:
        for _ in range(20):
            spin(0.004)
            await work.pause()
    ticking.cancel()
    assert ticks[0] >= 19


async def test_a_turn_is_not_lost_when_who_waits_for_it_is_cancelled() -> None:
    clients = Clients(0.25)
    client = clients.of("10.0.0.1")

    async def work() -> None:
        async with Work(clients, client):
            pass

    async with Work(clients, client):
        given_up, waiting = asyncio.create_task(work()), asyncio.create_task(work())
        await asyncio.sleep(0)
        given_up.cancel()
    woken = asyncio.create_task(work())
    await asyncio.wait_for(asyncio.gather(waiting, woken), 60)
    turns = Turns()
    await turns.take(client)
    late = asyncio.create_task(turns.take(client))
    await asyncio.sleep(0)
    turns.give()
    # It has its turn already, and is cancelled before it knows.
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    await asyncio.wait_for(turns.take(client), 60)
