"""A TCP proxy on the way to a server: late, in bursts, or silent, as networks are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from tests.station.ending import let_nobody_in

_PIECE = 65_536
_Hold = Callable[[asyncio.StreamWriter, bytes], Awaitable[bytes]]


class Proxy:
    """Passes bytes on to `port`, each `delay` seconds late; holds them all back while `is_stalled`.

    Nothing is lost and nothing reordered: TCP would not let a reader see that. Set from any thread.

    With `stall_at`, a client that says this text gets no further, for as long as it is set, than `stall_behind`
    bytes behind its beginning, or the end of the piece that it came in; `has_stalled` tells that it did.
    """

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self.is_stalled = False
        self.stall_at = b""
        self.stall_behind = 0
        self.has_stalled = threading.Event()
        self.port = 0
        self._target = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> None:
        """Listen until stopped."""
        self._thread.start()
        assert self._started.wait(10), "the proxy did not start"

    def stop(self) -> None:
        """Hang up on everybody."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = int(server.sockets[0].getsockname()[1])
        self._started.set()
        await self._stopped.wait()
        await let_nobody_in([server])

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        ways: list[asyncio.Task[None]] = []
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            writers.append(back)
            passing = (self._pass_on(reader, back, self._held), self._pass_on(there, writer, None))
            ways = [asyncio.create_task(way) for way in passing]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # the server is not there
        except asyncio.CancelledError:
            for one in writers:
                one.transport.abort()  # what nobody reads would outlive the loop
        finally:
            for way in ways:
                way.cancel()
            for one in writers:
                one.close()

    async def _held(self, writer: asyncio.StreamWriter, data: bytes) -> bytes:
        """What of the data may pass, after the wait if there is one. The text must come in one piece."""
        at = data.find(self.stall_at) if self.stall_at else -1
        if at < 0:
            return data
        until = at + self.stall_behind
        writer.write(data[:until])
        await writer.drain()
        self.has_stalled.set()
        while self.stall_at:  # noqa: ASYNC110 - other threads set it
            await asyncio.sleep(0.01)
        return data[until:]

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hold: _Hold | None
    ) -> None:
        """Each piece at its time after it came: a delay is no brake."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1000)
        sender = asyncio.create_task(self._send(queue, writer, hold))
        try:
            while data := await reader.read(_PIECE):
                await queue.put((loop.time(), data))
            await queue.put((loop.time(), b""))
            await sender
        finally:
            sender.cancel()

    async def _send(
        self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, hold: _Hold | None
    ) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while True:
                came, data = await queue.get()
                while self.is_stalled or loop.time() < came + self.delay:  # noqa: ASYNC110 - other threads set it
                    await asyncio.sleep(0.01)
                if not data:
                    return
                writer.write(data if hold is None else await hold(writer, data))
                await writer.drain()


@contextmanager
def running(port: int) -> Iterator[Proxy]:
    """A proxy in front of a loopback port."""
    proxy = Proxy(port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
