"""A source for live HLS: playlists and segments over kept connections, recorded as they were published."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, Final

from streamrec import egress
from streamrec.clock import Clock
from streamrec.egress import StreamUrl
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
from streamrec.recorder.sources.ffmpeg import Sources as FfmpegSources
from streamrec.recorder.sources.icy import STOPPED
from streamrec.recorder.sources.mix import Duet

MOST_KNOWN: Final = 4096
STALE: Final = Closed(GapReason.STALE_PLAYLIST, "The playlist is served, but does not go on.")


class Sources:
    """Opens HLS sources, and remembers per address which segment was the last."""

    def __init__(self, resolver: Resolver, clock: Clock, ffmpeg: FfmpegSources) -> None:
        """`ffmpeg` puts together what is listed apart; it is given no address."""
        self.resolver = resolver
        self.clock = clock
        self.ffmpeg = ffmpeg
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

    def __init__(self, sources: Sources, address: Address) -> None:
        self._sources = sources
        self._address = address
        self._feed: Feed | None = None
        self._waiting: asyncio.Task[Any] | None = None  # whose turn it is to be given the next event
        self._is_closing = False

    async def events(self) -> AsyncGenerator[Event]:
        try:
            start = egress.parse(self._address.url)
        except Invalid as exc:
            yield Closed(GapReason.UNSUPPORTED, exc.detail)
            return
        session = Session(
            self._sources.resolver, start, self._address.credentials, tls_verify=self._address.tls_verify
        )
        try:
            async with aclosing(self._recorded(session, start)) as events:
                while (event := await self._next(events)) is not None:
                    yield event
                    del event
            yield STALE if self._feed is not None and self._feed.is_stale else STOPPED
        except Refused as exc:
            if self._feed is not None and self._feed.age_seconds:
                now = self._sources.clock.monotonic()
                yield Chunk(b"", now, is_edge=True, older_seconds=self._feed.age_seconds)
            yield Closed(exc.reason, exc.detail, exc.retry_after_seconds)
        finally:
            session.close()

    async def close(self) -> None:
        self._is_closing = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()

    async def _next(self, events: AsyncGenerator[Event]) -> Event | None:
        """The next event; None once the attempt is closed. Raises Refused."""
        if self._is_closing:
            return None
        self._waiting = task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        try:
            return await anext(events)
        except asyncio.CancelledError:
            if self._is_closing and task.uncancel() <= before:
                return None  # it was `close` and nobody else, as in asyncio.timeout
            raise
        finally:
            self._waiting = None

    async def _recorded(self, session: Session, start: StreamUrl) -> AsyncGenerator[Event]:
        """What is recorded, without an end. Raises Refused."""
        lists = Lists(session, start, max_bandwidth=self._address.max_bandwidth)
        try:
            self._feed = self._following(session, lists)
            async for event in self._solo(self._feed):
                yield event
                del event
        except SeparateSound as exc:
            picture, sound = exc.picture, exc.sound
        duet = Duet(
            self._following(session, Lists(session, picture)),
            lambda first: self._following(session, Lists(session, sound), first),
            self._sources.ffmpeg,
            self._sources.clock,
        )
        async with aclosing(duet.events()) as events:
            async for event in events:
                yield event

    def _following(self, session: Session, lists: Lists, first: int | None = None) -> Feed:
        last = self._sources.last(self._address) if first is None else None
        wanted_seconds = self._address.wanted_seconds
        return Feed(lists, session, self._sources.clock, last=last, wanted_seconds=wanted_seconds, first=first)

    async def _solo(self, feed: Feed) -> AsyncGenerator[Event]:
        while True:
            step = await feed.next()
            for event in _told(step):
                yield event
                del event
            del step
            if feed.last is not None:
                self._sources.note(self._address, feed.last)


def _told(step: Step) -> Iterator[Event]:
    """What a step means to a capture. Raises Refused for a segment that is nothing to record."""
    if isinstance(step, Missing):
        yield Skipped(step.seconds, step.detail)
        return
    if step.begins_run:
        yield _opened(step)
        if step.init:
            yield Chunk(step.init, step.listed_at)
    yield Chunk(step.data, step.listed_at, step.is_edge, step.later_seconds, older_seconds=step.older_seconds)


def _opened(step: Fetched) -> Opened:
    found = contents(step.data, step.init)
    return Opened(found.format, found.codecs, "hls")
