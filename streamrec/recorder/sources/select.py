"""Chooses how an address is captured by what comes from it, and remembers it for the next attempt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from streamrec import egress
from streamrec.clock import Clock
from streamrec.errors import Invalid
from streamrec.models import CaptureMode, GapReason
from streamrec.recorder.events import Address, Closed, Event, Opened, Source, Title
from streamrec.recorder.fetch.dial import Resolver
from streamrec.recorder.fetch.errors import Refused
from streamrec.recorder.fetch.redirects import Trail
from streamrec.recorder.fetch.request import get
from streamrec.recorder.sources import frames, stations
from streamrec.recorder.sources.alarm import Hangups
from streamrec.recorder.sources.ffmpeg import Sources as FfmpegSources
from streamrec.recorder.sources.hls import Sources as HlsSources
from streamrec.recorder.sources.icy import STOPPED, IcySource
from streamrec.recorder.sources.pipe import PipeSource
from streamrec.recorder.sources.sniff import Kind, kind_of
from streamrec.recorder.sources.stream import RECEIVE_BYTES, Stream

SNIFF_SECONDS: Final = 8.0
PLAYLIST_DEPTH: Final = 2
MOST_KNOWN: Final = 4096
_TICK_SECONDS: Final = 0.05
_NOT_MEDIA: Final = Closed(GapReason.NOT_MEDIA, "What the server sends is not media.")
_SILENT: Final = Closed(GapReason.STALLED, "The server did not say in time what it sends.")

Open = Callable[[Address], Source]


class Sources:
    """Opens sources: our own for HTTP, ffmpeg for everything else and wherever a channel asks for it."""

    def __init__(self, resolver: Resolver, clock: Clock, ffmpeg: FfmpegSources, hls: Open | None = None) -> None:
        """`hls` opens what is found to be an HLS playlist, if we do not."""
        self.resolver = resolver
        self.clock = clock
        self.ffmpeg = ffmpeg
        self.hangups = Hangups()
        native = HlsSources(resolver, clock, ffmpeg)
        self._elsewhere: dict[Kind, Open] = {Kind.HLS: hls or native.open, Kind.MANIFEST: ffmpeg.open}
        self._known: dict[Address, Kind] = {}
        self._liars: set[Address] = set()

    def open(self, address: Address) -> Source:
        """A new attempt at `address`."""
        if address.mode is CaptureMode.FFMPEG or not address.url.startswith(("http://", "https://")):
            return self.ffmpeg.open(address)
        return HttpSource(self, address)

    def known(self, address: Address) -> Open | None:
        """Who opens this address, if that was found out earlier and is not us."""
        kind = self._known.get(address)
        return self._elsewhere[kind] if kind is not None else None

    def learn(self, address: Address, kind: Kind) -> Open | None:
        """Take note of what was found at an address; who opens such, if not us."""
        if kind not in self._elsewhere:
            return None
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()  # addresses of channels that are gone are among them
        self._known[address] = kind
        return self._elsewhere[kind]

    def may_ask_for_titles(self, address: Address) -> bool:
        """Whether this server, as far as we know, sends its metadata where it says."""
        return address not in self._liars

    def note_lie(self, address: Address) -> None:
        """It does not: without metadata its frames come whole."""
        if len(self._liars) >= MOST_KNOWN:
            self._liars.clear()
        self._liars.add(address)

    def forget(self, address: Address) -> None:
        """What was known of `address` proved wrong."""
        self._known.pop(address, None)


class HttpSource:
    """One attempt at an http or https address."""

    def __init__(self, sources: Sources, address: Address) -> None:
        self._sources = sources
        self._address = address
        self._clock = sources.clock
        self._inner: Source | None = None
        self._stream: Stream | None = None
        self._finding: asyncio.Future[Source] | None = None
        self._is_closing = False
        self._titles: list[Title] = []

    async def events(self) -> AsyncGenerator[Event]:
        try:
            self._inner = await self._found()
        except Refused as exc:
            yield Closed(exc.reason, exc.detail, exc.retry_after_seconds)
            return
        if self._inner is None:
            yield STOPPED
            return
        if self._is_closing:
            await self._inner.close()  # it was found in the very moment
        for title in self._titles:
            yield title
        is_open = False
        async with aclosing(self._inner.events()) as events:
            async for event in events:
                is_open = is_open or isinstance(event, Opened)
                if isinstance(event, Closed) and not is_open:
                    self._sources.forget(self._address)
                if isinstance(event, Closed) and self._stream is not None and self._stream.is_lying:
                    self._sources.note_lie(self._address)
                yield event
                del event  # its bytes are not to be kept until there are others; so in all that pass it on

    async def close(self) -> None:
        self._is_closing = True
        if self._finding is not None:
            self._finding.cancel()
        if self._inner is not None:
            await self._inner.close()

    async def _found(self) -> Source | None:
        """The source for what there is, or None if the attempt was closed meanwhile. Raises Refused."""
        if self._is_closing:
            return None
        self._finding = asyncio.ensure_future(self._find())
        try:
            return await self._finding
        except asyncio.CancelledError:
            if not self._is_closing:
                raise
            return None
        finally:
            self._finding.cancel()
            self._finding = None

    async def _find(self) -> Source:
        opener = self._sources.known(self._address)
        if opener is not None:
            return opener(self._address)
        try:
            trail = Trail(egress.parse(self._address.url), self._address.credentials)
        except Invalid as exc:
            raise Refused(GapReason.UNSUPPORTED, exc.detail) from exc
        for _ in range(PLAYLIST_DEPTH + 1):
            self._stream, data, kind = await self._look(trail)
            if self._stream.is_lying and self._sources.may_ask_for_titles(self._address):
                self._stream.close()
                self._sources.note_lie(self._address)
                self._stream, data, kind = await self._look(trail)
            stream = self._stream
            if kind is Kind.PLAYLIST:
                stream.close()
                _follow(trail, data)
                continue
            opener = self._sources.learn(self._address, kind)
            if opener is None:
                return self._native(stream, data, kind)
            stream.close()
            return opener(self._address)
        raise Refused(GapReason.NOT_MEDIA, "Playlists lead to playlists there.")

    def _native(self, stream: Stream, data: bytes, kind: Kind) -> Source:
        row = frames.recognised(data) if kind is Kind.FRAMES else None
        if row is not None:
            titles, self._titles = self._titles, []
            return IcySource(stream, data, row, self._clock, titles=titles)
        return PipeSource(stream, data, self._sources.ffmpeg, self._clock)

    async def _look(self, trail: Trail) -> tuple[Stream, bytes, Kind]:
        """Ask, and take in as much as shows what it is. Raises Refused."""
        has_titles = self._sources.may_ask_for_titles(self._address)
        answer = await get(
            trail,
            self._sources.resolver,
            headers={"Icy-MetaData": "1"} if has_titles else {},
            receive_bytes=RECEIVE_BYTES,
            tls_verify=self._address.tls_verify,
        )
        stream = Stream(answer, self._sources.hangups, was_asked=has_titles)
        try:
            data, kind = await self._sniffed(stream)
        except BaseException:
            stream.close()
            raise
        return stream, data, kind

    async def _sniffed(self, stream: Stream) -> tuple[bytes, Kind]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SNIFF_SECONDS
        data, self._titles = b"", []
        while True:
            more, titles = stream.drain(stations.MOST_BYTES)
            data += more
            self._titles += titles
            is_whole = stream.ended is not None or loop.time() >= deadline
            kind = kind_of(data, is_whole=is_whole) if data or is_whole else None
            if kind is Kind.TEXT:
                raise _refusal(_NOT_MEDIA if data else stream.ended or _SILENT)
            if kind is not None:
                return data, kind
            await stream.alarm.wait(min(deadline, (loop.time() // _TICK_SECONDS + 1) * _TICK_SECONDS))


def _refusal(closed: Closed) -> Refused:
    return Refused(closed.reason, closed.detail)


def _follow(trail: Trail, data: bytes) -> None:
    """Go to the first entry that can be used. Raises Refused."""
    refusal = Refused(GapReason.NOT_MEDIA, "The playlist there is empty.")
    for entry in stations.entries(data):
        try:
            return trail.follow(entry)
        except Refused as exc:
            refusal = exc
    raise refusal
