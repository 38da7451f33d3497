"""Just enough of an HTTP server for players and recorders: GET and HEAD, one request a connection (RFC 1945)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

_HEAD_BYTES = 8192
_HEAD_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]


class Response:
    """The way back to one client."""

    def __init__(self, writer: asyncio.StreamWriter, request: Request) -> None:
        self._writer = writer
        self._request = request

    async def start(self, headers: dict[str, str], status: str = "200 OK") -> bool:
        """Send the head, in the HTTP/1.0 form that Icecast uses; whether a body is wanted."""
        lines = [f"HTTP/1.0 {status}", "Connection: close", *(f"{name}: {text}" for name, text in headers.items())]
        self._writer.write("\r\n".join([*lines, "", ""]).encode())
        await self._writer.drain()
        return self._request.method == "GET"

    async def write(self, data: bytes) -> None:
        """Send a piece of the body, waiting while the client is slow."""
        self._writer.write(data)
        await self._writer.drain()

    async def whole(self, body: bytes, media_type: str, status: str = "200 OK") -> None:
        """Send a complete answer."""
        headers = {"Content-Type": media_type, "Content-Length": str(len(body)), "Cache-Control": "no-cache"}
        if await self.start(headers, status):
            await self.write(body)


Handler = Callable[[Request, Response], Awaitable[None]]


async def serve(handler: Handler, host: str, port: int) -> asyncio.Server:
    """Listen on `host:port` (0 chooses one)."""
    return await asyncio.start_server(connected(handler), host, port, limit=_HEAD_BYTES)


def connected(handler: Handler) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """What a server does with a connection; a client that leaves ends only its own."""

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                request = _parsed(await reader.readuntil(b"\r\n\r\n"))
            await handler(request, Response(writer, request))
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it left, or does not speak HTTP
        except asyncio.CancelledError:
            pass  # the station closes; asyncio's streams would tell that as a fault of theirs (Python 3.11)
        finally:
            writer.close()

    return serve_one


def _parsed(head: bytes) -> Request:
    """Raises ValueError unless it is a GET or HEAD."""
    request_line, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = request_line.split(" ")
    if method not in {"GET", "HEAD"}:
        raise ValueError(method)
    pairs = (line.partition(":") for line in lines if line)
    return Request(method, target.partition("?")[0], {name.lower(): text.strip() for name, _, text in pairs})
