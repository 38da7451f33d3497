"""A source for what only ffmpeg takes apart: we fetch, and an ffmpeg without network copies from pipe to pipe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final

from streamrec.clock import Clock
from streamrec.media import ffmpeg
from streamrec.media.probe import MediaInfo, describe
from streamrec.media.process import GRACE_SECONDS, Child
from streamrec.media.report import Lines, Report
from streamrec.models import GapReason
from streamrec.recorder.events import Chunk, Closed, Event, Opened, Title
from streamrec.recorder.sources.ffmpeg import Sources as FfmpegSources
from streamrec.recorder.sources.icy import STOPPED
from streamrec.recorder.sources.stream import Stream

TICK_SECONDS: Final = 0.2
FIRST_TICK_SECONDS: Final = 0.05
WORK_SECONDS: Final = 0.01  # after which ffmpeg has given back what a tick's bytes make
DRAIN_BYTES: Final = 1 << 20
MOST_PENDING: Final = 1 << 20
MOST_PROBED: Final = 4 << 20
PROBE_SECONDS: Final = 12.0
ERROR_BYTES: Final = 1 << 18


class PipeSource:
    """The rest of one attempt, once the stream is known not to be MP3 or ADTS."""

    def __init__(self, stream: Stream, start: bytes, ffmpeg_sources: FfmpegSources, clock: Clock) -> None:
        """`start` is what was drained to find that out."""
        self._stream = stream
        self._pending = start
        self._sources = ffmpeg_sources
        self._clock = clock
        self._titles: list[Title] = []
        self._report = Report()
        self._lines = Lines()
        self._is_closing = False

    async def events(self) -> AsyncGenerator[Event]:
        try:
            info = await self._probe()
            if self._is_closing:
                yield STOPPED
            elif not info.recordable:
                yield Closed(info.reason or GapReason.UNKNOWN, info.detail or "It cannot be recorded.")
            else:
                async for event in self._capture(info):
                    yield event
        finally:
            self._stream.close()

    async def close(self) -> None:
        """Ends within a tick."""
        self._is_closing = True
        self._stream.alarm.ring()

    # --- finding out what it is

    async def _probe(self) -> MediaInfo:
        """Feed what has come to an ffmpeg that describes it, and more while it asks; nothing is used up."""
        child = self._child(ffmpeg.probe_command(self._sources.executable, ffmpeg.PIPE))
        report, lines, fed = Report(), Lines(), 0
        deadline = self._clock.monotonic() + PROBE_SECONDS
        try:
            while not (report.is_mapped or self._is_closing or self._clock.monotonic() >= deadline):
                self._drain(MOST_PROBED - len(self._pending))
                fed += child.write_input(self._pending[fed:])
                if fed == len(self._pending) and self._stream.ended is not None:
                    child.close_input()
                said = child.read_errors(ERROR_BYTES)
                for line in lines.feed(said or b""):
                    report.read(line)
                if said == b"":
                    break
                await asyncio.sleep(FIRST_TICK_SECONDS)
            status = await child.ended(self._clock, 1.0) if not report.is_mapped else None
        finally:
            child.kill()
            await child.finish(self._clock)
        return describe(self._stream.url.scheme, report, status)

    def _child(self, command: list[str]) -> Child:
        return Child(command, register=self._sources.register, has_input=True)

    def _drain(self, limit: int) -> None:
        if limit > 0:
            data, titles = self._stream.drain(min(limit, DRAIN_BYTES))
            self._pending += data
            self._titles += titles

    # --- recording

    async def _capture(self, info: MediaInfo) -> AsyncGenerator[Event]:
        assert info.format is not None
        child = self._child(
            ffmpeg.capture_command(
                self._sources.executable,
                ffmpeg.PIPE,
                file_format=info.format,
                video=info.video_codec,
                audio=info.audio_codec,
            )
        )
        try:
            yield Opened(info.format, info.codecs, "pipe")
            async for event in self._pump(child):
                yield event
            status = await child.ended(self._clock, GRACE_SECONDS)
            self._listen(child)
        finally:
            child.kill()
            await child.finish(self._clock)
        yield STOPPED if self._is_closing else self._closed(status)

    async def _pump(self, child: Child) -> AsyncGenerator[Event]:
        """Feed and drain on a tick; after the stream's end, until ffmpeg has given everything back."""
        loop, began, told = asyncio.get_running_loop(), self._clock.monotonic(), Told()
        deadline: float | None = None
        while deadline is None or loop.time() < deadline:
            self._drain(MOST_PENDING - len(self._pending))
            received_at = self._clock.monotonic()
            self._pending = self._pending[child.write_input(self._pending) :]
            if deadline is None and (self._is_closing or (self._stream.ended is not None and not self._pending)):
                child.close_input()
                deadline = loop.time() + GRACE_SECONDS
            await asyncio.sleep(WORK_SECONDS)
            for title in told.new([*self._titles, *self._listen(child)]):
                yield title
            self._titles = []
            data = child.read_output(DRAIN_BYTES)
            if data == b"":
                return
            if data:
                yield Chunk(data, received_at)
            if deadline is None and not self._pending:
                tick = TICK_SECONDS if received_at - began > 3.0 else FIRST_TICK_SECONDS
                await self._stream.alarm.wait((loop.time() // tick + 1) * tick)
        child.kill()  # it had its time to leave

    def _listen(self, child: Child) -> list[Title]:
        """The titles in what ffmpeg has said."""
        said = [self._report.read(line) for line in self._lines.feed(child.read_errors(ERROR_BYTES) or b"")]
        return [Title(text) for text in said if text is not None]

    def _closed(self, status: int | None) -> Closed:
        if self._stream.ended is not None:
            return self._stream.ended
        if status is not None and status < 0:
            return Closed(GapReason.CAPTURE_CRASHED, f"ffmpeg was ended by signal {-status}.")
        failure = self._report.failure
        if failure is not None:
            return Closed(failure.reason, failure.detail)
        return Closed(GapReason.UNKNOWN, "ffmpeg ended without a word.")


class Told:
    """Passes on a title only when it is another one."""

    def __init__(self) -> None:
        self._last: str | None = None

    def new(self, titles: list[Title]) -> list[Title]:
        fresh: list[Title] = []
        for title in titles:
            if title.text != self._last:
                fresh.append(title)
            self._last = title.text
        return fresh
