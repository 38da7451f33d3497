"""The way out for an ffmpeg that speaks HTTP by itself: the egress rules hold for every connection it asks for.

ffmpeg follows redirects, child playlists, segments and keys wherever they lead; with `-http_proxy` it asks here
for each of them (RFC 9110 section 9.3.6, RFC 9112 section 3.2.2), and here the checked address is connected to.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

from streamrec import egress
from streamrec.errors import Invalid
from streamrec.models import GapReason
from streamrec.recorder.fetch.dial import Resolver, dial
from streamrec.recorder.fetch.errors import Refused

HEAD_BYTES: Final = 32_768
HEAD_SECONDS: Final = 5.0
MOST_CONNECTIONS: Final = 64  # one ffmpeg needs a handful
_PIECE_BYTES: Final = 65_536
_REQUEST: Final = re.compile(r"([A-Z]+) (\S+) HTTP/1\.[01]", re.ASCII)
_CONNECT: Final = re.compile(r"\S+:\d{1,5}", re.ASCII)
_HOP_BY_HOP: Final = ("proxy-", "connection:", "keep-alive:")


class Proxy:
    """What one ffmpeg may reach, and why it could not; made by `opened`."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._connections: set[asyncio.Task[None]] = set()
        self.refused: Refused | None = None
        """Why the latest connection was refused; what ffmpeg says of it is only a status."""
        self.port = 0

    @property
    def url(self) -> str:
        """For ffmpeg's option `http_proxy`."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of ffmpeg's."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) <= MOST_CONNECTIONS:
                await self._pass_on(reader, writer)
        except Refused as exc:
            self.refused = exc
            writer.write(_answer("403 Forbidden" if exc.reason is GapReason.EGRESS_DENIED else "502 Bad Gateway"))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass  # ffmpeg left, or what it sent is no request
        finally:
            self._connections.discard(task)
            await _closed(writer)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, _, fields = head.partition("\r\n")
        match = _REQUEST.fullmatch(line)
        if match is None:
            return
        method, target = match.groups()
        if method == "CONNECT":
            sock = await dial(_parsed(f"http://{target}/", _CONNECT.fullmatch(target) is not None), self._resolver)
            greeting, first = b"HTTP/1.1 200 Connection established\r\n\r\n", b""
        else:
            url = _parsed(target, target.startswith("http://"))
            sock = await dial(url, self._resolver)
            greeting, first = b"", _request(method, url, fields)
        there_reader, there_writer = await asyncio.open_connection(sock=sock, limit=_PIECE_BYTES)
        try:
            writer.write(greeting)
            there_writer.write(first)
            await _both_ways((reader, there_writer), (there_reader, writer))
        finally:
            await _closed(there_writer)

    async def close(self) -> None:
        """Cut every connection."""
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)


@asynccontextmanager
async def opened(resolver: Resolver) -> AsyncIterator[Proxy]:
    """A proxy on a loopback port of its own, for as long as the block lasts."""
    proxy = Proxy(resolver)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=HEAD_BYTES)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()


def _parsed(text: str, is_sound: bool) -> egress.StreamUrl:
    """A URL that ffmpeg asks for, read as strictly as a channel's. Raises Refused."""
    try:
        if not is_sound:
            raise Invalid("The address cannot be read.", field="url")
        return egress.parse(text)
    except Invalid as exc:
        raise Refused(GapReason.EGRESS_DENIED, exc.detail) from exc


def _request(method: str, url: egress.StreamUrl, fields: str) -> bytes:
    """The request as the server itself is asked, for one answer."""
    parts = urlsplit(url.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    kept = [line for line in fields.split("\r\n") if line and not line.lower().startswith(_HOP_BY_HOP)]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *kept, "Connection: close", "", ""]).encode("latin-1")


def _answer(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


async def _both_ways(*ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """Pass bytes on until one side hangs up; then what the other still holds is nobody's."""
    pumps = [asyncio.ensure_future(_pump(reader, writer)) for reader, writer in ways]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE_BYTES):
        writer.write(piece)
        await writer.drain()


async def _closed(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        writer.close()
        await writer.wait_closed()
