"""A stretch of an open file on its way to a client, from the event loop."""

from __future__ import annotations

import os
import re
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from streamrec.handlers._problems import Refused

_CHUNK: Final = 1 << 18  # bytes
_RANGE: Final = re.compile(rb"\s*bytes\s*=\s*(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))\s*", re.IGNORECASE)


def stretch(header: bytes | None, size: int) -> tuple[int, int] | None:
    """The first byte and the end of what a `Range` header asks for; None for all there is.

    One range is followed; several, and what is malformed, are ignored, as RFC 9110 (14.2) allows.

    Raises:
        Refused: no byte of it exists (416).
    """
    match = _RANGE.fullmatch(header or b"")
    if match is None or (match[1] and match[2] and int(match[2]) < int(match[1])):
        return None
    if match[1]:
        first, end = int(match[1]), min(int(match[2]) + 1 if match[2] else size, size)
    else:
        first, end = max(0, size - int(match[3])), size
    if first >= end:
        headers = {"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"}
        raise Refused(416, "range-not-satisfiable", f"The file has {size} bytes.", headers=headers)
    return first, end


class Stretch(Response):
    """What is in the file now, by one range; the file may grow and get another name meanwhile.

    Owns the descriptor.
    """

    def __init__(self, descriptor: int, *, media_type: str | None, is_final: bool) -> None:
        """`is_final`: the bytes are those of a closed recording and may be kept by caches for an hour."""
        super().__init__(media_type=media_type)
        self._descriptor = descriptor
        self._is_final = is_final

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._send(scope, send)
        finally:
            os.close(self._descriptor)

    async def _send(self, scope: Scope, send: Send) -> None:
        size = os.fstat(self._descriptor).st_size
        given = next((value for name, value in scope["headers"] if name == b"range"), None)
        asked = stretch(given, size)
        first, end = asked or (0, size)
        self.headers["content-length"] = str(end - first)
        self.headers["accept-ranges"] = "bytes"
        self.headers["cache-control"] = "private, max-age=3600" if self._is_final else "no-cache"
        if asked is not None:
            self.status_code = 206
            self.headers["content-range"] = f"bytes {first}-{end - 1}/{size}"
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            end = first
        while first < end:
            chunk = await run_in_threadpool(os.pread, self._descriptor, min(_CHUNK, end - first), first)
            if not chunk:
                break  # it was cut short: the server sees that less came than was promised, and hangs up
            first += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class Filler(Response):
    """A few bytes, by one range."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = next((value for name, value in scope["headers"] if name == b"range"), None)
        asked = stretch(given, len(self.body))
        if asked is not None:
            self.status_code = 206
            self.headers["content-range"] = f"bytes {asked[0]}-{asked[1] - 1}/{len(self.body)}"
            self.body = self.body[slice(*asked)]
            self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)
