"""Whole answers over connections that are kept: for playlists, segments and keys."""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streamrec.egress import Credentials, StreamUrl
from streamrec.models import GapReason
from streamrec.recorder.fetch import head, request, wire
from streamrec.recorder.fetch.body import BadBody, Plain, body_of
from streamrec.recorder.fetch.dial import Resolver, dial
from streamrec.recorder.fetch.errors import Refused
from streamrec.recorder.fetch.redirects import REDIRECTS, Trail
from streamrec.recorder.fetch.request import location

MOST_KEPT: Final = 4  # connections; playlists, segments and keys may come from different servers
_STEP_BYTES: Final = 262_144
_BULK_BYTES: Final = 1 << 20
_UNCHANGED: Final = 304
_PARTIAL: Final = 206
_GZIP_OR_ZLIB: Final = 32 + zlib.MAX_WBITS
_TOO_LARGE: Final = "The server sends more than belongs there."
_Server = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and all of its body."""

    head: head.Head
    body: bytes
    url: StreamUrl  # where it came from, after redirects

    @property
    def is_unchanged(self) -> bool:
        """Whether the server says that we have it already."""
        return self.head.status == _UNCHANGED


class Session:
    """Fetches for one channel; at most one kept connection per server. `close` it in the end."""

    def __init__(
        self, resolver: Resolver, start: StreamUrl, credentials: Credentials | None, *, tls_verify: bool = True
    ) -> None:
        """`credentials` are sent to the server of `start` and to no other."""
        self._resolver = resolver
        self._start = start
        self._credentials = credentials
        self._tls_verify = tls_verify
        self._kept: dict[_Server, socket.socket] = {}

    def close(self) -> None:
        """Hang up everywhere; may be called twice."""
        for sock in self._kept.values():
            sock.close()
        self._kept.clear()

    async def get(
        self,
        url: StreamUrl,
        *,
        most_bytes: int,
        seconds: float,
        headers: Mapping[str, str] | None = None,
        span: tuple[int, int] | None = None,
    ) -> Reply:
        """The answer at `url` or where it leads: 200 to 299, or 304 if `headers` ask for it.

        `span` is a first byte and a length. Raises Refused for whatever goes wrong: `stalled` when it takes longer
        than `seconds` in all, `source_error` for a body of more than `most_bytes`, decoded or not.
        """
        fields = dict(headers or {})
        if span is not None:
            fields["Range"] = f"bytes={span[0]}-{span[0] + span[1] - 1}"
        try:
            async with asyncio.timeout(seconds):
                reply = await self._follow(Trail(url), fields, most_bytes)
        except TimeoutError:
            raise Refused(GapReason.STALLED, "The server did not answer in time.") from None
        return reply if span is None else _cut(reply, span)

    async def _follow(self, trail: Trail, fields: Mapping[str, str], most_bytes: int) -> Reply:
        while True:
            reply = await self._ask(trail.url, fields, most_bytes)
            if reply.head.status not in REDIRECTS or not reply.head.text("location"):
                if not reply.is_unchanged:
                    reply.head.require_success()
                return reply
            trail.follow(location(reply.head))

    async def _ask(self, url: StreamUrl, fields: Mapping[str, str], most_bytes: int) -> Reply:
        """On the kept connection, if the server has not closed it meanwhile; else on another one."""
        kept = self._kept.pop(_server(url), None)
        if kept is not None:
            try:
                return await self._exchange(kept, url, fields, most_bytes)
            except _Gone:
                pass
        try:
            sock = await dial(url, self._resolver, tls_verify=self._tls_verify)
            return await self._exchange(sock, url, fields, most_bytes)
        except _Gone as exc:
            raise Refused(GapReason.SOURCE_ENDED, exc.detail) from None

    async def _exchange(
        self, sock: socket.socket, url: StreamUrl, fields: Mapping[str, str], most_bytes: int
    ) -> Reply:
        """One request and its answer. Raises Refused, and _Gone if there was no answer at all."""
        is_usable = False
        try:
            credentials = self._credentials if url.is_same_server(self._start) else None
            try:
                await request.send(sock, request.compose(url, credentials, fields))
                first, rest = await head.read(sock, more=wire.read_soon)
            except Refused as exc:
                raise _Gone(exc.detail) if exc.reason is GapReason.SOURCE_ENDED else exc from None
            body, is_usable = await _body(sock, first, rest, most_bytes)
            return Reply(first, body, url)
        finally:
            if is_usable and len(self._kept) < MOST_KEPT:
                self._kept[_server(url)] = sock
            else:
                sock.close()


class _Gone(Exception):
    """The server hung up before it said anything, as it may on a connection that was kept too long."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def _server(url: StreamUrl) -> _Server:
    return url.scheme, url.host, url.port


async def _body(sock: socket.socket, first: head.Head, rest: bytes, most_bytes: int) -> tuple[bytes, bool]:
    """The body, and whether another request may follow on the connection."""
    if first.status in {_UNCHANGED, 204}:
        return b"", first.keeps_alive and not rest
    body = body_of(first)
    pieces: list[bytes] = []
    room = most_bytes
    data: bytes | None = rest
    try:
        while True:
            if data:
                data = body.feed(data)
                room -= len(data)
                pieces.append(data)
            if room < 0:
                raise Refused(GapReason.SOURCE_ERROR, _TOO_LARGE)
            if body.is_complete:
                break
            is_bulky = most_bytes - room >= _BULK_BYTES  # the kernel's buffer may be full before the next tick
            data = await (wire.read_some if is_bulky else wire.read_soon)(sock, _STEP_BYTES)
            if not data:
                if isinstance(body, Plain):
                    break
                raise Refused(GapReason.SOURCE_ENDED, "The server hung up in the middle of an answer.")
    except BadBody:
        raise Refused(GapReason.SOURCE_ERROR, "The server broke the rules of chunked transfer.") from None
    except OSError:
        raise Refused(GapReason.SOURCE_ENDED, "The connection was reset.") from None
    coding = first.text("content-encoding").lower()
    return _decoded(b"".join(pieces), coding, most_bytes), body.is_complete and first.keeps_alive


def _decoded(data: bytes, coding: str, most_bytes: int) -> bytes:
    """The content (RFC 9110 section 8.4); we ask for none, and some servers compress all the same."""
    if coding in {"", "identity"}:
        return data
    if coding not in {"gzip", "x-gzip", "deflate"}:
        raise Refused(GapReason.UNSUPPORTED, "The server compresses in a way that is not understood.")
    decoder = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        content = decoder.decompress(data, most_bytes + 1)
    except zlib.error:
        raise Refused(GapReason.SOURCE_ERROR, "The server's compressed answer is damaged.") from None
    if len(content) > most_bytes:
        raise Refused(GapReason.SOURCE_ERROR, _TOO_LARGE)
    if not decoder.eof:
        raise Refused(GapReason.SOURCE_ENDED, "The server hung up in the middle of an answer.")
    return content


def _cut(reply: Reply, span: tuple[int, int]) -> Reply:
    """The bytes that were asked for, also from a server that sends all of them."""
    start, length = span
    body = reply.body if reply.head.status == _PARTIAL else reply.body[start : start + length]
    if len(body) != length:
        raise Refused(GapReason.SOURCE_ERROR, "The server does not send the range that was asked for.")
    return Reply(reply.head, body, reply.url)
