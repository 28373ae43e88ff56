"""
A TCP proxy that makes the network bad: connections cut, bytes held back, delayed, or let through drop by drop.

What a client has sent is delivered even if the client is gone by the time it is let go, as routers and full buffers do.
"""

import asyncio
import re
import threading
import time
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from streams.local.ports import free_port

CHUNK = 1 << 16


class _Link:
    """One connection of a client, and ours to the server for it."""

    def __init__(self, proxy: "Proxy", client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.proxy, self.client, self.server = proxy, client, server
        self.port: int = client.get_extra_info("peername")[1]
        self.flowing = asyncio.Event()
        self.flowing.set()

    async def pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool) -> None:
        """Pass on bytes in order, each chunk when it is due; once the source has ended, so does the sink."""
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        passing = asyncio.ensure_future(self._pass_on(chunks, sink))
        due = 0.0
        with suppress(ConnectionError):  # the source has gone
            while chunk := await source.read(CHUNK):
                if up:
                    self.proxy.look(self, chunk)
                    if self.proxy.rewritten:
                        chunk = chunk.replace(*self.proxy.rewritten)
                now = time.monotonic()
                due = max(due, now + self.proxy.delay_s)
                if self.proxy.bytes_per_s:
                    due += len(chunk) / self.proxy.bytes_per_s
                chunks.put_nowait((due, chunk))
        chunks.put_nowait((0.0, b""))
        await passing

    async def _pass_on(self, chunks: "asyncio.Queue[tuple[float, bytes]]", sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # the sink has gone
            while True:
                due, chunk = await chunks.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await self.flowing.wait()
                if not chunk:
                    # Who has said everything may still be answered.
                    if not sink.is_closing():
                        sink.write_eof()
                    return
                sink.write(chunk)
                await sink.drain()

    def cut(self) -> None:
        """End both sides at once, whatever is on its way."""
        for side in (self.client, self.server):
            side.transport.abort()


class Proxy:
    """
    Listens on `port` of loopback and passes everything on to a port of loopback; methods may be called by any thread.

    `only` are ports of clients: of connections that come from others, nothing changes.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port or free_port()
        self.delay_s = 0.0
        """By how much every byte is late; for what comes from now on."""
        self.bytes_per_s = 0.0
        """How many bytes pass per connection and direction; 0: all."""
        self.held = threading.Event()
        """Set once a connection is held because of what it sent."""
        self.held_port = 0
        """The port of its client."""
        self.rewritten: tuple[bytes, bytes] | None = None
        """What is replaced in what clients send, and by what."""
        self._marker = b""
        self._only: Collection[int] | None = None
        self._refusing = False
        self._links: set[_Link] = set()
        self._target = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def start(self, target: int, *, http: bool = False) -> Self:
        """Begin to listen, and pass on to a port; a server of HTTP is told its own address instead of ours."""
        self._target = target
        if http:
            self.rewritten = f"Host: 127.0.0.1:{self.port}\r\n".encode(), f"Host: 127.0.0.1:{target}\r\n".encode()
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._connected, "127.0.0.1", self.port))
        return self

    def stop(self) -> None:
        """Cut everything and end."""
        self.cut(refuse=True)
        self._server.close()
        self._call(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self, *, only: Collection[int] | None = None, refuse: bool = False) -> None:
        """Cut connections; with `refuse` no new one is taken until `heal`."""

        def do() -> None:
            self._refusing = refuse
            for link in self._chosen(only):
                link.cut()

        self._do(do)

    def stall(self, *, only: Collection[int] | None = None) -> None:
        """Hold all bytes of connections that are open now, both ways, until `heal`."""
        self._do(lambda: [link.flowing.clear() for link in self._chosen(only)])

    def hold_next(self, marker: bytes, *, only: Collection[int] | None = None) -> None:
        """Hold the next connection whose client sends the marker, beginning with it; `held` is set when it has."""
        self.held.clear()
        self._marker, self._only = marker, only

    def heal(self) -> None:
        """Let go what is held, take connections again, be quick again."""

        def do() -> None:
            self._marker, self._refusing = b"", False
            self.delay_s = self.bytes_per_s = 0.0
            for link in self._links:
                link.flowing.set()

        self._do(do)

    def look(self, link: _Link, chunk: bytes) -> None:
        """Hold the connection if this is what was waited for."""
        if self._marker and self._marker in chunk and (self._only is None or link.port in self._only):
            self._marker = b""
            link.flowing.clear()
            self.held_port = link.port
            self.held.set()

    def _chosen(self, only: Collection[int] | None) -> list[_Link]:
        return [link for link in self._links if only is None or link.port in only]

    async def _connected(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self._refusing:
            client.transport.abort()
            return
        try:
            answers, server = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            client.transport.abort()
            return
        link = _Link(self, client, server)
        self._links.add(link)
        try:
            await asyncio.gather(link.pump(reader, server, up=True), link.pump(answers, client, up=False))
        finally:
            self._links.discard(link)
            link.cut()

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _do(self, action: Callable[[], object]) -> None:
        async def run() -> None:
            action()

        self._call(run())

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


def ports_of(pid: int) -> set[int]:
    """Return the local ports of the TCP connections of a process."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found = re.fullmatch(r"socket:\[(\d+)\]", str(entry.readlink()))
        except OSError:
            continue
        if found:
            inodes.add(found.group(1))
    ports = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[9] in inodes:
            ports.add(int(words[1].split(":")[1], 16))
    return ports
