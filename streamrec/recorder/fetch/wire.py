"""Bytes over a non-blocking socket, plain or TLS alike."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from typing import Final

MOST_BYTES: Final = 262_144
TICK_SECONDS: Final = 0.05


class _Shared(threading.local):
    """Where a thread's bytes arrive: fresh room for each call would cost more than what usually comes."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(MOST_BYTES))


_shared = _Shared()


def receive(sock: socket.socket, limit: int) -> bytes | None:
    """Up to `limit` bytes that are there now, and MOST_BYTES; None if there are none yet, b"" at the end.

    Raises OSError for a connection that broke.
    """
    try:
        return bytes(_shared.view[: sock.recv_into(_shared.view, min(limit, MOST_BYTES))])
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None


async def read_some(sock: socket.socket, limit: int) -> bytes:
    """Wait for bytes, at most `limit`; b"" at the end. Raises OSError for a connection that broke."""
    while (data := receive(sock, limit)) is None:
        await readable(sock)
    return data


async def read_soon(sock: socket.socket, limit: int) -> bytes:
    """The same, up to TICK_SECONDS late: all who wait so are woken together, because wake-ups are what costs."""
    while (data := receive(sock, limit)) is None:
        await tick()
    return data


async def tick() -> None:
    """Wait for the next multiple of TICK_SECONDS."""
    now = asyncio.get_running_loop().time()
    await asyncio.sleep((now // TICK_SECONDS + 1) * TICK_SECONDS - now)


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Send it all. Raises OSError for a connection that broke."""
    left = memoryview(data)
    while left:
        try:
            left = left[sock.send(left) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            await writable(sock)
        except ssl.SSLWantReadError:
            await readable(sock)


async def readable(sock: socket.socket) -> None:
    """Wait until there is something to read. With TLS, call `receive` first: it may hold decrypted bytes."""
    loop, number = asyncio.get_running_loop(), sock.fileno()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(number, _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_reader(number)


async def writable(sock: socket.socket) -> None:
    """Wait until there is room to write."""
    loop, number = asyncio.get_running_loop(), sock.fileno()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(number, _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_writer(number)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
