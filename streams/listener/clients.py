"""
Who has what share of the process: clients pay for the CPU time that they cost, whatever the shape of what they send.

Time is measured, not estimated, so that no shape of request costs its sender less than the others. Shares bind only
while the process is short of time: a client alone may use all of it.
"""

import asyncio
import heapq
import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from types import TracebackType
from typing import Final, Self, TypeAlias

from streams.settings import ConfigError

Network: TypeAlias = IPv4Network | IPv6Network

WHOLE_SHARE: Final = 0.8
"""Beyond this share of its time the process is short of it."""
BURST_S: Final = 1.0
"""CPU time that may be used at once, for a share of all; smaller shares have as much less."""
LONGEST_S: Final = 2.0
"""Nobody owes more than is made good in this time: who was heavy while alone is not shut out for long."""
SLICE_S: Final = 0.003
"""Work that takes longer lets others go on in between."""
CLIENTS_KEPT: Final = 10_000


class Budget:
    """
    CPU time that may be used: fills up at an even pace; what was used beyond it is owed.

    Args:
        share: of one process, 1: all of it.
        clock: seconds, never going back.
    """

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.share = share
        self._size = share * BURST_S
        self._left = self._size
        self._clock = clock
        self._at = clock()

    def left(self) -> float:
        """Return the seconds that are left; below 0 they are owed."""
        now = self._clock()
        self._left = min(self._size, self._left + (now - self._at) * self.share)
        self._at = now
        return self._left

    def spend(self, seconds: float) -> None:
        """Take note of what was used."""
        self._left = max(self.left() - seconds, -LONGEST_S * self.share)

    def full_at(self) -> float:
        """Return when all will be left again; of two budgets, that which was used less is full sooner."""
        return self._clock() + (self._size - self.left()) / self.share

    def wait_s(self) -> float:
        """Return how long it takes until nothing is owed."""
        return max(0.0, -self.left() / self.share)


class Client:
    """Whoever sends from one address: what it holds, and what it may use."""

    def __init__(self, name: str, budget: Budget, *, proxy: bool = False) -> None:
        self.name = name
        self.budget = budget
        self.proxy = proxy
        """It sends for others, whom it names: limits are for them."""
        self.connections = 0
        self.streams = 0
        self.held_bytes = 0

    @property
    def idle(self) -> bool:
        """Return whether nothing is lost when it is forgotten."""
        return not (self.connections or self.streams or self.held_bytes)


class Clients:
    """
    All clients of a listener.

    Args:
        share: of one process that each may use while it is short of time.
        proxies: networks whose `X-Forwarded-For` is believed.
    """

    def __init__(self, share: float, proxies: Sequence[Network] = ()) -> None:
        self.whole = Budget(WHOLE_SHARE)
        self.turns = Turns()
        self.connections = 0
        self._share = share
        self._proxies = proxies
        self._known: OrderedDict[str, Client] = OrderedDict()

    def of(self, address: str) -> Client:
        """Return the client at an address; those of one IPv6 network of 64 bits are one."""
        name, proxy = self._read(address)
        client = self._known.get(name)
        if client is None:
            client = self._known[name] = Client(name, Budget(self._share), proxy=proxy)
            if len(self._known) > CLIENTS_KEPT:
                self._forget(client)
        else:
            self._known.move_to_end(name)
        return client

    def behind(self, peer: Client, forwarded_for: bytes) -> Client:
        """Return for whom a peer asks: if it is a proxy, the nearest address that it names and that is no proxy."""
        if not peer.proxy:
            return peer
        for part in reversed(forwarded_for.decode("latin-1").split(",")[-16:]):
            named = self.of(part.strip())
            if not named.name:
                break
            if not named.proxy:
                return named
        return peer

    def wait_s(self, client: Client) -> float:
        """Return how long a client has to wait: only while the process is short of time, and it has had its share."""
        if client.proxy or self.whole.left() > 0:
            return 0.0
        return client.budget.wait_s()

    def spend(self, seconds: float, client: Client, *shared: Budget) -> None:
        """
        Charge CPU time to the process as a whole and to the client that it was used for.

        What several clients share pays only while time is short: else one of them, alone, could use it up for all.
        """
        self.whole.spend(seconds)
        client.budget.spend(seconds)
        if self.whole.left() < 0:
            for budget in shared:
                budget.spend(seconds)

    @contextmanager
    def metered(self, client: Client) -> Iterator[None]:
        """Charge the CPU time of a block that does not wait."""
        began = time.thread_time()
        try:
            yield
        finally:
            self.spend(time.thread_time() - began, client)

    def _read(self, address: str) -> tuple[str, bool]:
        try:
            found = ip_address(address.partition("%")[0])
        except ValueError:
            return "", False
        if isinstance(found, IPv6Address):
            found = found.ipv4_mapped or found
        proxy = any(found in network for network in self._proxies)
        if isinstance(found, IPv6Address) and not proxy:
            return f"{IPv6Address(int(found) >> 64 << 64)}/64", False
        return str(found), proxy

    def _forget(self, new: Client) -> None:
        for name, client in itertools.islice(self._known.items(), 64):
            if client.idle and client is not new:
                del self._known[name]
                return


class Turns:
    """
    One piece of work at a time; next is the client that used its share least.

    So a client that asks little waits for one slice of the others' work at most, however much they have queued.
    """

    def __init__(self) -> None:
        self._busy = False
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @property
    def wanted(self) -> bool:
        """Return whether somebody waits."""
        return bool(self._waiting)

    async def take(self, client: Client) -> None:
        """Wait for a turn."""
        if not self._busy:
            self._busy = True
            return
        turn = asyncio.get_running_loop().create_future()
        # To the millisecond, since the same moment comes out a little otherwise each time: of one client, in order.
        heapq.heappush(self._waiting, (round(client.budget.full_at(), 3), next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()
            raise

    def give(self) -> None:
        """Let the next one go on."""
        while self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                turn.set_result(None)
                return
        self._busy = False


class Work:
    """
    A client's work in slices: `async with` takes a turn, `pause` gives it away when the slice is used up.

    Args:
        clients: of the listener.
        client: whose turn it is.
        shared: budgets that others use too, and that pay as well.
    """

    def __init__(self, clients: Clients, client: Client, *shared: Budget) -> None:
        self._clients = clients
        self.client = client
        self._shared = shared
        self._began = 0.0
        self._held = False

    async def __aenter__(self) -> Self:
        await self._clients.turns.take(self.client)
        self._held = True
        self._began = time.thread_time()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    async def pause(self) -> None:
        """Let others go on if the slice is used up."""
        if time.thread_time() - self._began <= SLICE_S:
            return
        self._charge()
        # Others on the loop go on meanwhile, but no other slice is begun: one is the most that anybody waits for.
        await asyncio.sleep(0)
        turns = self._clients.turns
        if turns.wanted:
            self._held = False
            turns.give()
            await turns.take(self.client)
            self._held = True
        self._began = time.thread_time()

    def _stop(self) -> None:
        if self._held:
            self._charge()
            self._held = False
            self._clients.turns.give()

    def _charge(self) -> None:
        now = time.thread_time()
        self._clients.spend(now - self._began, self.client, *self._shared)
        self._began = now


def read_networks(text: str) -> tuple[Network, ...]:
    """
    Read comma-separated addresses and networks.

    Raises:
        ConfigError: one is none.
    """
    networks: list[Network] = []
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        try:
            networks.append(ip_network(part))
        except ValueError as exc:
            raise ConfigError(
                f"http_proxies: {part!r} is no address or network ({exc}); expected such as 10.0.0.7 or 10.0.0.0/24"
            ) from exc
    return tuple(networks)
