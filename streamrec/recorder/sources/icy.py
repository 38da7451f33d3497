"""A source for MP3 and ADTS over HTTP: the station's own bytes, drained on a tick.

The bytes wait in the kernel's buffer: what costs is wake-ups, not bytes. Once the beginning is over the source can
be polled, so that one wake-up serves many channels; ends and resets are told at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from streamrec.clock import Clock
from streamrec.models import GapReason
from streamrec.recorder.events import Chunk, Closed, Event, Opened, Steady, Title
from streamrec.recorder.sources.frames import Constancy, Row
from streamrec.recorder.sources.stream import Stream

TICK_SECONDS: Final = 1.0
FIRST_TICK_SECONDS: Final = 0.05  # while a burst passes into real time: these arrivals stamp the run
FIRST_SECONDS: Final = 3.0
FIRST_BYTES: Final = 65_536  # a tick; 1.3 MB/s are enough for any burst
TICK_BYTES: Final = 262_144  # six times the fastest MP3; a flood stays in the server's own buffer
ASLEEP_SECONDS: Final = 3.0  # without a look, because the process was stopped or kept busy
PATIENT_BURST_SECONDS: Final = 3.5  # of media that a server sends at once: a start anew, and two beats
LEFT_BYTES: Final = 24_576  # for two beats no window of TCP is too small then (64 KiB at first, with Linux)
RARE_SECONDS: Final = 1.5  # since media was read; of what comes in longer records, a second's share says little
UNUSUAL: Final = 0.25  # of what is due; a silence of a second is far more of two
LIVE_AFTER_SECONDS: Final = 60.0
LIVE_SPEED: Final = 2.0
BURST_SECONDS: Final = 10.0
STOPPED: Final = Closed(GapReason.DISABLED, "The capture was stopped.")
NOT_LIVE: Final = Closed(GapReason.UNSUPPORTED, "It is sent far faster than it plays: a file, not a live stream.")


class _Left(NamedTuple):
    """What was left with the kernel."""

    size_bytes: int
    at: float


NOTHING: Final = _Left(0, 0.0)


class IcySource:
    """The rest of one attempt, once the stream is known to be frames of one kind."""

    def __init__(
        self, stream: Stream, start: bytes, row: Row, clock: Clock, *, titles: Sequence[Title] = ()
    ) -> None:
        """`start` is what was drained to find that out, with `titles` in it."""
        self._stream = stream
        self._start = start
        self._titles = list(titles)
        self._constancy = Constancy(row)
        self._clock = clock
        self._began = clock.monotonic()
        self._read_at = self._polled_at = self._slept_since = self._began
        self._media_seconds = 0.0  # estimated
        self._media_bytes = 0
        self._is_closing = False
        self._is_patient: bool | None = None
        self._left: _Left | None = None

    async def events(self) -> AsyncGenerator[Event]:
        stream, loop = self._stream, asyncio.get_running_loop()
        is_told = False
        try:
            yield self._opened()
            start, self._start = self._start, b""  # a burst is more than all else that there is of a channel
            events = self._happened(start, self._titles, self._clock.monotonic())
            del start
            while True:
                for event in events:
                    yield event
                    if isinstance(event, Closed):
                        return
                    del event
                events = []
                tick = FIRST_TICK_SECONDS if self._is_first(self._clock.monotonic()) else TICK_SECONDS
                if tick == TICK_SECONDS and not is_told:
                    is_told = True
                    yield Steady(self)
                await stream.alarm.wait((loop.time() // tick + 1) * tick)
                events = self.poll()
        finally:
            stream.close()

    def leaves(self) -> bool:
        now = self._clock.monotonic()
        if self._is_patient is None:
            self._is_patient = self._may_be_late()
        if self._left is not None or not self._is_patient or int(now) % 2 == 0 or not self._constancy.is_whole:
            return False
        waiting = self._stream.waiting_bytes()
        is_rare = now - self._read_at > RARE_SECONDS
        if is_rare or not self._is_usual(waiting, now) or waiting > LEFT_BYTES:
            return False
        self._left = _Left(waiting, now)
        self._looked(now)
        return True

    def _is_usual(self, waiting: int, now: float) -> bool:
        """Whether so much has come since the last read as does at real time's pace."""
        due = self._constancy.bytes_per_second * (now - self._read_at)
        return abs(waiting - due) <= UNUSUAL * due

    def poll(self) -> list[Event]:
        now = self._clock.monotonic()
        left, self._left = self._left, None
        self._looked(now)
        data = self._stream.receive(FIRST_BYTES if self._is_first(now) else TICK_BYTES)
        if left is None or self._is_usual(len(data), now):
            return self._happened(*self._stream.understood(data), now, left or NOTHING)
        then, titles = self._stream.understood(data[: left.size_bytes])
        rest = self._stream.understood(data[left.size_bytes :])
        return [*self._timed(titles), *self._media(then, left.at), *self._happened(*rest, now)]

    def _looked(self, now: float) -> None:
        self._slept_since, self._polled_at = self._polled_at, now

    @property
    def is_rung(self) -> bool:
        return self._stream.alarm.is_rung

    @property
    def on_ring(self) -> Callable[[], None] | None:
        return self._stream.alarm.on_ring

    @on_ring.setter
    def on_ring(self, act: Callable[[], None] | None) -> None:
        self._stream.alarm.on_ring = act

    async def close(self) -> None:
        """Ends within this turn of the loop; nothing is held back."""
        self._is_closing = True
        self._stream.alarm.ring()

    def _arrived(self, seconds: float, now: float) -> float:
        """When the last of so much media came: just now, or, if we did not look for long, when it was due."""
        is_asleep = now - self._slept_since >= ASLEEP_SECONDS
        return min(now, self._slept_since + seconds) if is_asleep else now

    def _opened(self) -> Opened:
        codec = self._constancy.kind.codec
        return Opened(codec.format, codec.name, "icy", is_continuous=True)

    def _happened(self, data: bytes, titles: list[Title], now: float, left: _Left = NOTHING) -> list[Event]:
        events: list[Event] = [*self._timed(titles), *self._media(data, now, left)]
        closed = self._closed(now)
        if closed is not None:
            events.append(closed)
        return events

    def _timed(self, titles: list[Title]) -> list[Title]:
        """With how much media came before each, by the bit rate."""
        since, rate = self._media_bytes, self._constancy.bytes_per_second
        return [replace(t, media_seconds=self._media_seconds + (t.offset - since) / rate) for t in titles]

    def _media(self, data: bytes, now: float, left: _Left = NOTHING) -> list[Event]:
        if not data:
            return []
        since, self._read_at = self._read_at, now
        change = self._constancy.change(data)
        seconds = len(data) / self._constancy.bytes_per_second
        self._media_seconds += seconds
        self._media_bytes += len(data)
        if change is None:
            return [Chunk(data, self._arrived(seconds, now), left_bytes=left.size_bytes, left_at=left.at)]
        before, after = change
        # What of a second is of the old kind came before the rest of it; as late as the rest it would be doubted.
        came_at = max(since, now - len(after) / self._constancy.bytes_per_second)
        return [*([Chunk(before, came_at)] if before else []), self._opened(), Chunk(after, now)]

    def _closed(self, now: float) -> Closed | None:
        """Why the attempt is over, if it is."""
        if self._is_closing:
            return STOPPED
        elapsed = now - self._began
        if (
            self._stream.is_sized
            and self._stream.ended
            and self._media_seconds > LIVE_SPEED * elapsed + BURST_SECONDS
        ):
            return NOT_LIVE
        if elapsed >= LIVE_AFTER_SECONDS and self._media_seconds > LIVE_SPEED * elapsed:
            return NOT_LIVE
        return self._stream.ended

    def _may_be_late(self) -> bool:
        """Whether a recorder that is killed, and begins anew, gets from the server again what lay unread."""
        burst_seconds = self._media_seconds - (self._read_at - self._began)
        return burst_seconds >= PATIENT_BURST_SECONDS

    def _is_first(self, now: float) -> bool:
        """Whether the arrivals stamp the run: for FIRST_SECONDS of every connection."""
        return now - self._began < FIRST_SECONDS
