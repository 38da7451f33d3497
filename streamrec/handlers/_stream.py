"""Server-sent events (WHATWG HTML, 9.2) on their way to one client, from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from streamrec.events import RESET, Event, Hub, Listener

ABORT: Final = "streamrec.abort"  # in a scope: cuts the connection, whatever waits in its buffers
HEARTBEAT_SECONDS: Final = 15.0
STALLED_SECONDS: Final = 30.0  # that a client may take to read what is on its way
RETRY_MILLISECONDS: Final = 2000
_HEARTBEAT: Final = b": still here\n\n"


def written(event: Event) -> bytes:
    """An event in the stream's format; JSON has no line breaks."""
    if event is RESET:
        return b"event: reset\ndata: {}\n\n"
    data = orjson.dumps({"type": event.type, "channel_id": event.channel_id, **(event.body or {})})
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.number, event.type.encode(), data)


class EventStream(Response):
    """An answer without end: until the client goes, is too slow, or the service stops."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, listener: Listener) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._hub = hub
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(start)
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            await self._talk(receive, send, scope.get(ABORT, lambda: None))
        finally:
            self._hub.leave(self._listener)

    async def _talk(self, receive: Receive, send: Send, abort: Callable[[], None]) -> None:
        """Send until one of the two ends."""
        speaking = asyncio.create_task(self._speak(send, abort))
        hearing = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait({speaking, hearing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (speaking, hearing):
                task.cancel()
            await asyncio.gather(speaking, hearing, return_exceptions=True)

    async def _speak(self, send: Send, abort: Callable[[], None]) -> None:
        await self._send(send, abort, b"retry: %d\n\n" % RETRY_MILLISECONDS)
        while not self._listener.is_over:
            events = await self._listener.next(HEARTBEAT_SECONDS)
            if not self._listener.is_over:
                await self._send(send, abort, b"".join(map(written, events)) or _HEARTBEAT)
        await self._send(send, abort, b"", is_last=True)

    async def _send(self, send: Send, abort: Callable[[], None], body: bytes, *, is_last: bool = False) -> None:
        message: dict[str, Any] = {"type": "http.response.body", "body": body, "more_body": not is_last}
        sending = asyncio.ensure_future(send(message))
        while not sending.done():
            await asyncio.wait({sending}, timeout=STALLED_SECONDS)
            if not sending.done():
                self._listener.end()
                abort()
        sending.result()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
