"""HTTP/1.1 connections as uvicorn keeps them, with bounds on the head of a request, and problems as answers."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar, Final

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

from streamrec.handlers._stream import ABORT

MOST_HEAD_BYTES: Final = 65_536  # more than the guard lets pass; it names what is too long, this bounds the memory
HEAD_SECONDS: Final = 10.0  # from the first byte, or the connection, to the end of a head


class Connection(HttpToolsProtocol):
    """One client's connection; uvicorn alone waits for ever for the end of a head, and keeps all of it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes: int | None = None  # while a head is being read
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request has to come soon."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and count what belongs to a head that has not ended."""
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._wait_for_head()
        super().data_received(data)
        if self._head_bytes is not None and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                limit = f"The head of a request may have {MOST_HEAD_BYTES} bytes."
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "request-header-fields-too-large", limit)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """It has ended; the body is the guard's business."""
        self._head_bytes = None
        self._stop_waiting()
        super().on_headers_complete()

    def on_url(self, url: bytes) -> None:
        """An answer without end may have to be cut off; closing waits for a client that does not read."""
        super().on_url(url)
        self.scope[ABORT] = self.transport.abort  # type: ignore[typeddict-unknown-key]

    def shutdown(self) -> None:
        """The server stops: those who listen for events would never leave of themselves."""
        hub = self.app_state.get("events")
        if hub is not None:
            hub.close()
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer to bytes that are no HTTP, as a problem."""
        self._refuse(HTTPStatus.BAD_REQUEST, "bad-request", "This is not a request that HTTP/1.1 knows.")

    def _wait_for_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self._head_bytes is None:
            self.transport.close()  # nothing was asked: browsers open connections that they may need
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "request-timeout", "The head of the request came too slowly.")

    def _refuse(self, status: HTTPStatus, name: str, detail: str) -> None:
        """Answer before the API is asked, and hang up; RFC 9457."""
        problem = {
            "type": f"urn:streamrec:problem:{name}",
            "title": name.replace("-", " ").capitalize(),
            "status": status.value,
            "detail": detail,
        }
        body = orjson.dumps(problem)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class Worker(UvicornWorker):  # type: ignore[misc]
    """gunicorn's worker, with these connections."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {**UvicornWorker.CONFIG_KWARGS, "http": Connection}
