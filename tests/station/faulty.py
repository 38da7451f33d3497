"""Our own station: knows to the millisecond when each frame was on air, and misbehaves on command."""

from __future__ import annotations

import asyncio
import base64
import socket
import struct
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from tests.station.clips import Clip
from tests.station.coding import Tags, chunk
from tests.station.ending import let_nobody_in
from tests.station.journal import Journal
from tests.station.mount import BURST_FRAMES, DROPPING, Fault, Mount, Refusal
from tests.station.numbered import Numbered
from tests.station.numbered_ts import NumberedSound
from tests.station.playing import TICK_SECONDS, Listener
from tests.station.programme import programme

__all__ = ["BURST_FRAMES", "Fault", "Mount", "Station", "running"]

_HEAD_SECONDS = 10.0
_REFUSALS = {Fault.END: Refusal("404 Not Found"), Fault.DENY: Refusal("403 Forbidden")}
T = TypeVar("T")
Headers = dict[str, str]
Endless = Numbered | NumberedSound


class Station:
    """Mounts by path, served from a thread of its own."""

    def __init__(self) -> None:
        self.mounts: dict[str, Mount] = {}
        self.journal = Journal()
        self.port = 0
        self._doors: dict[int, asyncio.Server] = {}
        self._listeners: set[Listener] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    # --- commands, from any thread

    def url(self, name: str) -> str:
        """The address of a mount."""
        mount = self.mounts.get(f"/{name}")
        return f"http://127.0.0.1:{mount.door if mount else self.port}/{name}"

    def add(
        self, name: str, clip: Clip | Endless, *, burst_frames: int = BURST_FRAMES, own_door: bool = False
    ) -> Mount:
        """Put a mount on air now; with a port of its own if that is to be closed."""
        played = programme(clip.path) if isinstance(clip, Clip) else clip
        mount = Mount(name, played, self.journal, burst_frames=burst_frames)
        mount.door = self._do(self._open(0)) if own_door else self.port
        self.mounts[f"/{name}"] = mount
        return mount

    def shut(self, mount: Mount) -> None:
        """Close the mount's own door, and hang up on who is inside."""
        assert mount.door != self.port, "others are behind this door"
        mount.fault = Fault.SHUT
        self._doors.pop(mount.door).close()

    def reopen(self, mount: Mount) -> None:
        """Listen again where the mount was, and play."""
        self._do(self._open(mount.door))
        mount.fault = None

    def listeners(self, mount: Mount) -> list[Listener]:
        """Who listens to it now."""
        return [listener for listener in list(self._listeners) if listener.mount is mount]

    def start(self) -> None:
        """Serve until stopped."""
        self._thread.start()
        assert self._started.wait(10), "the station did not start"

    def stop(self) -> None:
        """Drop every listener."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)

    # --- the server

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self, port: int) -> int:
        server = await asyncio.start_server(self._connected, "127.0.0.1", port, limit=8192)
        number = int(server.sockets[0].getsockname()[1])
        self._doors[number] = server
        return number

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.port = await self._open(0)
        self._started.set()
        await self._stopped.wait()
        await let_nobody_in(self._doors.values())

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                path, headers = _request(await reader.readuntil(b"\r\n\r\n"))
            await self._answer(path, headers, writer)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it left, or does not speak HTTP
        except asyncio.CancelledError:
            writer.transport.abort()  # the station ends, and what nobody reads would outlive its loop
        finally:
            writer.close()

    async def _answer(self, path: str, headers: Headers, writer: asyncio.StreamWriter) -> None:
        mount = self.mounts.get(path)
        if mount is None:
            return await _whole(writer, Refusal())
        self.journal.note(mount.name, "request", authorization="authorization" in headers, door=_door(writer))
        if mount.fault is Fault.REFUSE or mount.fault in _REFUSALS:
            return await _whole(writer, _REFUSALS.get(mount.fault, mount.refusal))
        if not _is_allowed(mount, headers):
            return await _whole(writer, Refusal("401 Unauthorized", {"WWW-Authenticate": 'Basic realm="radio"'}))
        if mount.fault in {Fault.SILENT, Fault.SLOW_HEAD}:
            return await _hold(mount, writer)
        return await self._play(mount, headers, writer)

    async def _play(self, mount: Mount, headers: Headers, writer: asyncio.StreamWriter) -> None:
        listener = Listener(mount)
        self._listeners.add(listener)
        mount.connects.append(time.time())
        self.journal.note(mount.name, "connect", listener=listener.number)
        has_titles = headers.get("icy-metadata") == "1"
        try:
            writer.write(_head(mount, has_titles=has_titles))
            await _send(listener, writer, Tags(mount) if has_titles else None)
        finally:
            self._listeners.discard(listener)
            self.journal.note(mount.name, "leave", listener=listener.number)
        if listener.is_dropped and mount.hang_up_resets:
            reset(writer)


async def _send(listener: Listener, writer: asyncio.StreamWriter, tags: Tags | None) -> None:
    mount = listener.mount
    is_chunked = mount.manner.is_chunked
    while not listener.is_dropped and mount.fault not in DROPPING:
        data = listener.next()
        data = tags.tagged(data) if tags else data
        writer.write(chunk(data) if is_chunked else data)
        await writer.drain()
        await asyncio.sleep(TICK_SECONDS)


def _head(mount: Mount, *, has_titles: bool) -> bytes:
    manner = mount.manner
    lines = [manner.start, "Connection: close"]
    lines += [f"Content-Type: {manner.content_type or mount.part.programme.media_type}"]
    lines += ["Transfer-Encoding: chunked"] if manner.is_chunked else []
    lines += [f"icy-metaint: {manner.metaint}"] if has_titles else []
    return "\r\n".join([*lines, "", ""]).encode()


async def _hold(mount: Mount, writer: asyncio.StreamWriter) -> None:
    """Answer nothing, or a byte a second of a head, for as long as that is the fault."""
    fault, head = mount.fault, iter(_head(mount, has_titles=False))
    while mount.fault is fault and not writer.is_closing():
        if fault is Fault.SLOW_HEAD:
            writer.write(bytes([next(head)]))
            await writer.drain()
        await asyncio.sleep(1)


async def _whole(writer: asyncio.StreamWriter, refusal: Refusal) -> None:
    headers = {"Content-Type": "text/plain", "Content-Length": str(len(refusal.body)), **refusal.headers}
    lines = [f"HTTP/1.0 {refusal.status}", "Connection: close", *(f"{name}: {headers[name]}" for name in headers)]
    writer.write("\r\n".join([*lines, "", ""]).encode() + refusal.body)
    await writer.drain()


def _request(head: bytes) -> tuple[str, Headers]:
    """The path and the header fields, whose names are in lower case. Raises ValueError."""
    request_line, *lines = head.decode("latin-1").split("\r\n")
    _, target, _ = request_line.split(" ")
    pairs = (line.partition(":") for line in lines if line)
    return target.partition("?")[0], {name.lower(): text.strip() for name, _, text in pairs}


def _is_allowed(mount: Mount, headers: Headers) -> bool:
    wanted = mount.manner.credentials
    basic = f"Basic {base64.b64encode(wanted.encode()).decode()}" if wanted else None
    return basic is None or headers.get("authorization") == basic


def _door(writer: asyncio.StreamWriter) -> int:
    return int(writer.get_extra_info("sockname")[1])


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST in the place of FIN (socket(7), SO_LINGER of 0 s)."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def running() -> Iterator[Station]:
    """A station without mounts on a free loopback port."""
    station = Station()
    station.start()
    try:
        yield station
    finally:
        station.stop()
