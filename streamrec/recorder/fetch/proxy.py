"""The way out for an ffmpeg that speaks HTTP by itself: the egress rules hold for every connection it asks for.

ffmpeg follows redirects, child playlists, segments and keys wherever they lead; with `-http_proxy` it asks here
for each of them (RFC 9110 section 9.3.6, RFC 9112 section 3.2.2), and here the checked address is connected to.
The channel's own server is asked for without TLS and without credentials: both are added here, so that no command
line has a password in it, and certificates are checked as everywhere else.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

from streamrec import egress
from streamrec.errors import Invalid
from streamrec.media.ffmpeg import Input
from streamrec.models import GapReason
from streamrec.recorder.events import Address
from streamrec.recorder.fetch.dial import HANDSHAKE_SECONDS, Resolver, dial, trust, words
from streamrec.recorder.fetch.errors import Refused
from streamrec.recorder.fetch.passage import Passage
from streamrec.recorder.fetch.request import authorization, host_field

HEAD_BYTES: Final = 32_768
HEAD_SECONDS: Final = 5.0
MOST_CONNECTIONS: Final = 64  # one ffmpeg needs a handful
_TURNS: Final = 10  # of the loop, from an accepted connection to the first line of its handler, and more
_PIECE_BYTES: Final = 65_536
_REQUEST: Final = re.compile(r"([A-Z]+) (\S+) HTTP/1\.[01]", re.ASCII)
_CONNECT: Final = re.compile(r"\S+:\d{1,5}", re.ASCII)
_HOP_BY_HOP: Final = ("proxy-", "connection:", "keep-alive:")


class Proxy:
    """What one ffmpeg may reach, and why it could not; made by `opened`."""

    def __init__(self, resolver: Resolver, address: Address, monotonic: Callable[[], float]) -> None:
        self._resolver = resolver
        self._address = address
        self._start = egress.parse(address.url)
        self._connections: set[asyncio.Task[None]] = set()
        self.refused: Refused | None = None
        """Why the latest connection was refused; what ffmpeg says of it is only a status."""
        self.passage: Passage | None = None
        """By when the latest answer had come; None before the first, and of one that only ffmpeg can read."""
        self.port = 0
        self._monotonic = monotonic

    @property
    def input(self) -> Input:
        """What ffmpeg is given: the address as it is to be asked for here, and here."""
        _, _, rest = self._start.url.partition("://")
        authority = re.split("[/?]", rest, maxsplit=1)[0]
        host = f"[{self._start.host}]" if ":" in self._start.host else self._start.host
        url = f"http://{host}:{self._start.port}{rest[len(authority) :]}"
        return Input(url, f"http://127.0.0.1:{self.port}")

    def _is_start(self, url: egress.StreamUrl) -> bool:
        """Whether it is the channel's own server that is asked for."""
        return (url.host, url.port) == (self._start.host, self._start.port)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of ffmpeg's, in a task of ours: of its own asyncio tells a cancellation as an error."""
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if len(self._connections) <= MOST_CONNECTIONS:
                await self._pass_on(reader, writer)
        except Refused as exc:
            self.refused = exc
            writer.write(_answer("403 Forbidden" if exc.reason is GapReason.EGRESS_DENIED else "502 Bad Gateway"))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass  # ffmpeg left, or what it sent is no request
        finally:
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
            url = _parsed(f"http://{target}/", _CONNECT.fullmatch(target) is not None)
            sock = await dial(url, self._resolver)
            greeting, first = b"HTTP/1.1 200 Connection established\r\n\r\n", b""
            self.passage = None
        else:
            url = _parsed(target, target.startswith("http://"))
            sock = await dial(url, self._resolver)
            greeting, first = b"", self._request(method, url, fields)
            self.passage = Passage(self._monotonic)
        is_secured = method != "CONNECT" and self._start.scheme == "https" and self._is_start(url)
        there_reader, there_writer = await self._opened(sock, is_secured=is_secured)
        try:
            writer.write(greeting)
            there_writer.write(first)
            note = self.passage.note if self.passage is not None else _nothing
            await _both_ways((reader, there_writer, _nothing), (there_reader, writer, note))
        finally:
            await _closed(there_writer)

    async def _opened(
        self, sock: socket.socket, *, is_secured: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The connection there, in TLS if ffmpeg would have asked for it. Raises Refused (`tls`)."""
        if not is_secured:
            return await asyncio.open_connection(sock=sock, limit=_PIECE_BYTES)
        try:
            return await asyncio.open_connection(
                sock=sock,
                limit=_PIECE_BYTES,
                ssl=trust(self._address.tls_verify),
                server_hostname=self._start.host,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        except ssl.SSLError as exc:
            raise Refused(GapReason.TLS, f"TLS failed: {words(exc)}.") from None
        except OSError:
            raise Refused(GapReason.TLS, "TLS failed: the server hung up.") from None

    def _request(self, method: str, url: egress.StreamUrl, fields: str) -> bytes:
        """The request as the server itself is asked, for one answer."""
        parts = urlsplit(url.url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        kept = [line for line in fields.split("\r\n") if line and not line.lower().startswith(_HOP_BY_HOP)]
        if self._is_start(url):
            kept = [line for line in kept if not line.lower().startswith(("host:", "authorization:"))]
            kept.insert(0, f"Host: {host_field(self._start)}")
            if self._address.credentials is not None:
                kept.append(f"Authorization: {authorization(self._address.credentials)}")
        return "\r\n".join([f"{method} {target} HTTP/1.1", *kept, "Connection: close", "", ""]).encode("latin-1")

    async def close(self) -> None:
        """Cut every connection."""
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)


@asynccontextmanager
async def opened(
    resolver: Resolver, address: Address, monotonic: Callable[[], float] = time.monotonic
) -> AsyncIterator[Proxy]:
    """A way to `address` on a loopback port of its own, for as long as the block lasts. Raises Invalid."""
    proxy = Proxy(resolver, address, monotonic)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0, limit=HEAD_BYTES)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        await _let_nobody_in(server)
        await proxy.close()


async def _let_nobody_in(server: asyncio.Server) -> None:
    """Close the door, once who is just coming in has met the handler, which hangs up when it is cancelled.

    asyncio of Python 3.11 loses a connection whose server is closed between its accept and its transport.
    """
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening.fileno())
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    server.close()


def _parsed(text: str, is_sound: bool) -> egress.StreamUrl:
    """A URL that ffmpeg asks for, read as strictly as a channel's. Raises Refused."""
    try:
        if not is_sound:
            raise Invalid("The address cannot be read.", field="url")
        return egress.parse(text)
    except Invalid as exc:
        raise Refused(GapReason.EGRESS_DENIED, exc.detail) from exc


def _answer(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


Note = Callable[[bytes], None]


def _nothing(piece: bytes) -> None:
    """What ffmpeg asks is not noted."""


async def _both_ways(*ways: tuple[asyncio.StreamReader, asyncio.StreamWriter, Note]) -> None:
    """Pass bytes on until one side hangs up; then what the other still holds is nobody's."""
    pumps = [asyncio.ensure_future(_pump(*way)) for way in ways]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Note) -> None:
    while piece := await reader.read(_PIECE_BYTES):
        note(piece)
        writer.write(piece)
        await writer.drain()


async def _closed(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        writer.close()
        await writer.wait_closed()
