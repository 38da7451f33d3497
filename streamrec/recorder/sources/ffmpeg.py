"""A source for any URL: an ffmpeg child that copies the streams to its stdout."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streamrec import egress
from streamrec.clock import Clock
from streamrec.errors import Invalid
from streamrec.media import ffmpeg
from streamrec.media.confinement import CONNECTING
from streamrec.media.ffmpeg import Input
from streamrec.media.probe import MediaInfo, probe_async
from streamrec.media.process import GRACE_SECONDS, Child
from streamrec.media.report import Failure, Lines, Report
from streamrec.models import GapReason
from streamrec.recorder.events import Address, Chunk, Closed, Event, Opened, Source, Title
from streamrec.recorder.fetch import proxy
from streamrec.recorder.fetch.dial import Resolver
from streamrec.recorder.fetch.proxy import Proxy

TICK_SECONDS: Final = 0.2
BUSY_TICK_SECONDS: Final = 0.01
FIRST_TICK_SECONDS: Final = 0.05  # until the first byte: it stamps the run
READ_BYTES: Final = 1 << 20
ERROR_BYTES: Final = 1 << 18
BUSY_BYTES: Final = 49_152  # of a pipe that may have room for only 65,536
MOST_KNOWN: Final = 4096
PROBE_SECONDS: Final = 12.0
RADIOS: Final = frozenset({"mp3", "aac"})  # inputs that are nothing but frames


@dataclass(slots=True)
class Sources:
    """Opens sources and remembers, per address, what was found there, so that a reconnect need not probe."""

    executable: str
    clock: Clock
    allow: tuple[str, ...]
    register: Path
    resolver: Resolver
    _known: dict[Address, MediaInfo] = field(default_factory=dict)

    def open(self, address: Address) -> Source:
        """A new attempt at `address`."""
        return FfmpegSource(self, address)

    async def describe(self, address: Address, way: Input | None) -> MediaInfo:
        """What is at `address`; asks the network only when the last attempt there did not end well.

        The egress rules are checked every time: a name may point somewhere else by now.
        """
        known = self._known.get(address)
        if known is not None and await self._is_allowed(address):
            return known
        info = await probe_async(
            address.url,
            address.credentials,
            executable=self.executable,
            allow=self.allow,
            timeout_seconds=PROBE_SECONDS,
            register=self.register,
            clock=self.clock,
            way=way,
        )
        if info.recordable:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()  # addresses of channels that are gone are among them
            self._known[address] = info
        return info

    async def _is_allowed(self, address: Address) -> bool:
        try:
            await asyncio.to_thread(egress.check, address.url, self.allow)
        except Invalid:
            return False
        return True

    def forget(self, address: Address) -> None:
        """What was known of `address` proved wrong, or is not needed any more."""
        self._known.pop(address, None)


class FfmpegSource:
    """One attempt at one address by one ffmpeg child."""

    def __init__(self, sources: Sources, address: Address) -> None:
        self._sources = sources
        self._address = address
        self._clock = sources.clock
        self._child: Child | None = None
        self._probing: asyncio.Future[MediaInfo] | None = None
        self._proxy: Proxy | None = None
        self._is_closing = False
        self._has_media = False
        self._given_bytes = 0
        secrets = (address.credentials.username, address.credentials.password) if address.credentials else ()
        self._report = Report(tuple(filter(None, secrets)), address.url.partition("://")[0])
        self._lines = Lines()

    async def events(self) -> AsyncGenerator[Event]:
        async with AsyncExitStack() as stack:
            if self._address.url.startswith(("http://", "https://")):
                way = proxy.opened(self._sources.resolver, self._address, self._clock.monotonic)
                self._proxy = await stack.enter_async_context(way)
            async for event in self._attempt():
                yield event

    async def _attempt(self) -> AsyncGenerator[Event]:
        info = await self._describe()
        if info is None or self._is_closing:
            yield _closed(_STOPPED)
        elif not info.recordable:
            failure = Failure(info.reason or GapReason.UNKNOWN, info.detail or "It cannot be recorded.")
            yield _closed(self._refusal() or failure)
        else:
            async for event in self._capture(info):
                yield event

    async def close(self) -> None:
        """ffmpeg writes what it holds and leaves; after GRACE_SECONDS it is killed."""
        self._is_closing = True
        if self._probing is not None:
            self._probing.cancel()
        if self._child is not None:
            self._child.terminate()

    async def _describe(self) -> MediaInfo | None:
        """What there is, or None if the attempt was closed meanwhile."""
        if self._is_closing:
            return None
        self._probing = asyncio.ensure_future(self._sources.describe(self._address, self._way))
        try:
            return await self._probing
        except asyncio.CancelledError:
            if not self._is_closing:
                raise
            return None
        finally:
            self._probing = None

    async def _capture(self, info: MediaInfo) -> AsyncGenerator[Event]:
        self._child = child = Child(
            self._command(info), register=self._sources.register, limits=CONNECTING, told=self._input.script
        )
        try:
            async for event in self._pump(child, info):
                yield event
            status = await child.ended(self._clock, GRACE_SECONDS)
            self._read_errors(child)
        finally:
            child.kill()
            await child.finish(self._clock)
        if not self._has_media:
            self._sources.forget(self._address)
        yield _closed(_STOPPED if self._is_closing else self._failure(status))

    def _command(self, info: MediaInfo) -> list[str]:
        assert info.format is not None
        return ffmpeg.capture_command(
            self._sources.executable,
            self._input,
            file_format=info.format,
            video=info.video_codec,
            audio=info.audio_codec,
        )

    @property
    def _input(self) -> Input:
        return self._way or Input(egress.with_credentials(self._address.url, self._address.credentials))

    @property
    def _way(self) -> Input | None:
        """What ffmpeg is given for an http address: nobody who lists processes shall read the credentials."""
        return self._proxy.input if self._proxy is not None else None

    def _refusal(self) -> Failure | None:
        """What the proxy has refused; ffmpeg knows only that something was."""
        refused = self._proxy.refused if self._proxy is not None else None
        return Failure(refused.reason, refused.detail) if refused is not None else None

    async def _pump(self, child: Child, info: MediaInfo) -> AsyncGenerator[Event]:
        """Drain both pipes on a tick until stdout ends, or too long after the child was told to leave."""
        if info.title:
            yield Title(info.title)
        deadline: float | None = None
        while deadline is None or self._clock.monotonic() < deadline:
            said, titles = self._read_errors(child)
            for title in titles:
                yield Title(title)
            data = child.read_output(READ_BYTES)
            if self._report.must_end:
                child.kill()
            if data == b"" or self._report.must_end:
                return
            if data is not None:
                for event in self._media(data, info):
                    yield event
            if self._is_closing and deadline is None:
                deadline = self._clock.monotonic() + GRACE_SECONDS
            await self._clock.sleep(self._tick(len(data or b""), said))
        child.kill()  # it had its time to leave

    def _media(self, data: bytes, info: MediaInfo) -> list[Event]:
        self._report.recover()
        if self._proxy is not None:
            self._proxy.refused = None
        is_radio = info.container in RADIOS
        chunks = self._chunks(data, is_radio=is_radio)
        if self._has_media:
            return chunks
        self._has_media = True
        assert info.format is not None
        return [Opened(info.format, info.codecs, is_continuous=is_radio), *chunks]

    def _chunks(self, data: bytes, *, is_radio: bool) -> list[Event]:
        """What ffmpeg gave, by when it had come to us: of a radio it gives the very bytes of the answer's body."""
        begin = self._given_bytes
        self._given_bytes += len(data)
        passage = self._proxy.passage if self._proxy is not None else None
        if passage is None or not is_radio:
            return [Chunk(data, self._clock.monotonic())]
        chunks: list[Event] = []
        for size, came_at in passage.parts(begin, self._given_bytes):
            chunks.append(Chunk(data[:size], came_at))
            data = data[size:]
        return chunks

    def _read_errors(self, child: Child) -> tuple[int, list[str]]:
        """Take in what ffmpeg has said; how many bytes that were, and the titles in them."""
        data = child.read_errors(ERROR_BYTES) or b""
        titles = [self._report.read(line) for line in self._lines.feed(data)]
        return len(data), [title for title in titles if title is not None]

    def _tick(self, data: int, errors: int) -> float:
        if max(data, errors) >= BUSY_BYTES or self._is_closing:
            return BUSY_TICK_SECONDS
        tick = TICK_SECONDS if self._has_media else FIRST_TICK_SECONDS
        return tick - self._clock.monotonic() % tick  # all captures tick together: one wake-up for all

    def _failure(self, status: int | None) -> Failure:
        """ffmpeg exits 0 for an end, a reset and a stall alike, so its words count for more than its status."""
        if status is not None and status < 0 and not self._report.must_end:
            return Failure(GapReason.CAPTURE_CRASHED, f"ffmpeg was ended by signal {-status}.")
        failure = self._refusal() or self._report.failure
        if failure is not None:
            return failure
        if self._has_media:
            return Failure(GapReason.SOURCE_ENDED, "The stream ended.")
        return Failure(GapReason.UNKNOWN, "ffmpeg ended without a word.")


_STOPPED: Final = Failure(GapReason.DISABLED, "The capture was stopped.")


def _closed(failure: Failure) -> Closed:
    return Closed(failure.reason, failure.detail)
