"""A source for live HLS: playlists and segments over kept connections, recorded as they were published."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Final

from streamrec import egress
from streamrec.clock import Clock
from streamrec.errors import Invalid
from streamrec.models import GapReason
from streamrec.recorder.events import Address, Chunk, Closed, Event, Opened, Skipped, Source
from streamrec.recorder.fetch.dial import Resolver
from streamrec.recorder.fetch.errors import Refused
from streamrec.recorder.fetch.session import Session
from streamrec.recorder.hls.contents import contents
from streamrec.recorder.hls.feed import Feed, Fetched, Missing, Step
from streamrec.recorder.hls.lists import Lists, SeparateSound
from streamrec.recorder.hls.window import Last
from streamrec.recorder.sources.icy import STOPPED

MOST_KNOWN: Final = 4096
Open = Callable[[Address], Source]


class Sources:
    """Opens HLS sources, and remembers per address which segment was the last."""

    def __init__(self, resolver: Resolver, clock: Clock, elsewhere: Open) -> None:
        """`elsewhere` opens what must be put together from several playlists."""
        self.resolver = resolver
        self.clock = clock
        self.elsewhere = elsewhere
        self._last: dict[Address, Last] = {}

    def open(self, address: Address) -> Source:
        """A new attempt at `address`, which answers with an HLS playlist."""
        return HlsSource(self, address)

    def last(self, address: Address) -> Last | None:
        """The segment that the latest attempt at `address` fetched last."""
        return self._last.get(address)

    def note(self, address: Address, last: Last) -> None:
        """It was this one."""
        if len(self._last) >= MOST_KNOWN:
            self._last.clear()  # addresses of channels that are gone are among them
        self._last[address] = last


class HlsSource:
    """One attempt at one playlist's address."""

    def __init__(self, sources: Sources, address: Address, *, max_bandwidth: int | None = None) -> None:
        """`max_bandwidth` (bit/s) limits the choice of variants."""
        self._sources = sources
        self._address = address
        self._max_bandwidth = max_bandwidth
        self._inner: Source | None = None
        self._working: asyncio.Future[Step] | None = None
        self._is_closing = False

    async def events(self) -> AsyncGenerator[Event]:
        try:
            async with aclosing(self._recorded()) as events:
                async for event in events:
                    yield event
        except SeparateSound:
            self._inner = self._sources.elsewhere(self._address)
            if self._is_closing:
                await self._inner.close()
            async with aclosing(self._inner.events()) as events:
                async for event in events:
                    yield event
        except Refused as exc:
            yield Closed(exc.reason, exc.detail, exc.retry_after_seconds)

    async def close(self) -> None:
        self._is_closing = True
        if self._working is not None:
            self._working.cancel()
        if self._inner is not None:
            await self._inner.close()

    async def _recorded(self) -> AsyncGenerator[Event]:
        """The events of the attempt. Raises Refused, and SeparateSound."""
        try:
            start = egress.parse(self._address.url)
        except Invalid as exc:
            raise Refused(GapReason.UNSUPPORTED, exc.detail) from exc
        sources, address = self._sources, self._address
        session = Session(sources.resolver, start, address.credentials)
        try:
            feed = Feed(
                Lists(session, start, max_bandwidth=self._max_bandwidth),
                session,
                sources.clock,
                last=sources.last(address),
                wanted_seconds=address.wanted_seconds,
            )
            while (step := await self._next(feed)) is not None:
                for event in _told(step):
                    yield event
                if feed.last is not None:
                    sources.note(address, feed.last)
            yield STOPPED
        finally:
            session.close()

    async def _next(self, feed: Feed) -> Step | None:
        """The feed's next step; None once the attempt is closed."""
        if self._is_closing:
            return None
        self._working = asyncio.ensure_future(feed.next())
        try:
            return await self._working
        except asyncio.CancelledError:
            if not self._is_closing:
                raise
            return None
        finally:
            self._working.cancel()
            self._working = None


def _told(step: Step) -> Iterator[Event]:
    """What a step means to a capture. Raises Refused for a segment that is nothing to record."""
    if isinstance(step, Missing):
        yield Skipped(step.seconds, step.detail)
        return
    if step.begins_run:
        yield _opened(step)
        if step.init:
            yield Chunk(step.init, step.listed_at)
    yield Chunk(step.data, step.listed_at, step.is_edge)


def _opened(step: Fetched) -> Opened:
    found = contents(step.data, step.init)
    return Opened(found.format, found.codecs, "hls")
