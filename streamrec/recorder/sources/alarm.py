"""Waiting for the next tick, unless something ends first."""

from __future__ import annotations

import asyncio
import select
import socket
import sys
from collections.abc import Callable


class Alarm:
    """Waits for a moment that the end of something else may bring forward."""

    def __init__(self) -> None:
        self.is_rung = False
        self.on_ring: Callable[[], None] | None = None
        self._waiting: asyncio.Future[None] | None = None

    async def wait(self, until: float) -> None:
        """Return at `until` in the running loop's `time()`, or at once when it is rung, now or earlier."""
        if self.is_rung:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        handle = loop.call_at(until, _wake, self._waiting)
        try:
            await self._waiting
        finally:
            handle.cancel()
            self._waiting = None

    def ring(self) -> None:
        """End this wait and all later ones."""
        self.is_rung = True
        if self._waiting is not None:
            _wake(self._waiting)
        if self.on_ring is not None:
            self.on_ring()


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class Hangups:
    """Has the kernel tell at once when a server ends or resets a connection, while data waits for its tick.

    One epoll for all sockets, which wakes the loop for nothing else. Where there is no epoll, a tick finds out.
    """

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._alarms: dict[int, Alarm] = {}

    def watch(self, sock: socket.socket, alarm: Alarm) -> None:
        """Ring `alarm` when `sock` hangs up. Call it from the loop, and `unwatch` before the socket is closed."""
        if sys.platform != "linux":
            return
        if self._epoll is None:
            self._epoll = select.epoll()
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._tell)
        self._alarms[sock.fileno()] = alarm
        self._epoll.register(sock.fileno(), select.EPOLLRDHUP | select.EPOLLONESHOT)

    def unwatch(self, sock: socket.socket) -> None:
        """Forget `sock`."""
        if self._epoll is None or self._alarms.pop(sock.fileno(), None) is None:
            return
        self._epoll.unregister(sock.fileno())
        if not self._alarms:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _tell(self) -> None:
        assert self._epoll is not None
        for number, _ in self._epoll.poll(0):
            if number in self._alarms:
                self._alarms[number].ring()
