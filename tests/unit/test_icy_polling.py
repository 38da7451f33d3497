"""A polled radio: when what was read came."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from streamrec.models import GapReason
from streamrec.recorder.events import Chunk, Opened, Title
from streamrec.recorder.sources.alarm import Alarm
from streamrec.recorder.sources.frames import recognised
from streamrec.recorder.sources.icy import IcySource
from tests import samples
from tests.fakes import FakeClock

MP3, AAC = samples.sample("mp3.mp3"), samples.sample("aac.aac")


class Read:
    """A stream from which was read what a test puts here."""

    ended = None
    is_sized = False

    def __init__(self) -> None:
        self.data = b""

    def receive(self, _limit: int) -> bytes:
        return self.data

    def understood(self, data: bytes) -> tuple[bytes, list[Title]]:
        return data, []


def test_what_of_a_second_is_of_the_old_kind_came_before_the_rest() -> None:
    """Taken to be as late as the rest, its few frames would look like a hole in the stream."""

    async def scenario() -> list[Any]:
        clock, stream = FakeClock(), Read()
        row = recognised(MP3[:16_000])
        assert row is not None
        source = IcySource(cast("Any", stream), b"", row, clock)
        stream.data = MP3[:16_000]
        source.poll()
        await clock.advance(1.1)
        second = AAC[: 12 * 1000]  # a second at 96 kb/s
        stream.data = MP3[16_000:17_000] + second
        return [clock.monotonic(), *source.poll()]

    now, before, opened, after = asyncio.run(scenario())

    assert (type(before), type(opened), type(after)) == (Chunk, Opened, Chunk)
    assert now - before.received_at == pytest.approx(1.0, abs=0.1)
    assert after.received_at == now


def test_what_lay_there_while_nobody_looked_came_when_it_was_due() -> None:
    """After a stop of the process: what is late is not what came meanwhile, but what comes next."""

    async def scenario() -> list[Any]:
        clock, stream = FakeClock(), Read()
        row = recognised(MP3[:16_000])
        assert row is not None
        source = IcySource(cast("Any", stream), b"", row, clock)
        await clock.advance(1)
        source.poll()
        await clock.advance(8)
        stream.data = MP3[: 4 * 16_000]
        return source.poll()

    (chunk,) = asyncio.run(scenario())

    assert chunk.received_at == pytest.approx(1 + 4, abs=0.1)


class Queue:
    """A stream of which a test says how much lies with the kernel."""

    ended = None
    is_sized = False

    def __init__(self, overhead: float) -> None:
        """`overhead` is what encryption adds, as a share of the data."""
        self.data = b""
        self.overhead = overhead
        self.alarm = Alarm()

    def waiting_bytes(self) -> int:
        return round(len(self.data) * (1 + self.overhead))

    def receive(self, limit: int) -> bytes:
        data, self.data = self.data[:limit], self.data[limit:]
        return data

    def understood(self, data: bytes) -> tuple[bytes, list[Title]]:
        return data, []


class Radio:
    """A source that has had its burst and three seconds more, at an even second."""

    def __init__(self, *, burst_seconds: float = 4, overhead: float = 0.0, speed: int = 1) -> None:
        """Its frames last as long as those of the sample, divided by `speed`."""
        self.clock, self.stream = FakeClock(), Queue(overhead)
        self.sent = 0
        row = recognised(MP3[:16_000])
        assert row is not None
        row = row._replace(duration=row.duration // speed)
        self.source = IcySource(cast("Any", self.stream), b"", row, self.clock)
        self._burst_seconds = burst_seconds

    async def begin(self) -> None:
        self.come(self._burst_seconds)
        self.source.poll()
        await self.clock.advance(4)
        self.come(4)
        self.source.poll()

    def come(self, seconds: float) -> None:
        """So much media arrives."""
        size = round(16_000 * seconds)
        self.stream.data += (MP3 * 40)[self.sent : self.sent + size]
        self.sent += size

    async def beat(self, seconds: float = 1) -> list[Any] | None:
        """A second later, in which so much media came: what is told, or None if it is left where it is."""
        await self.clock.advance(1)
        self.come(seconds)
        return None if self.source.leaves() else self.source.poll()


def told(radio: Radio, *beats: float) -> list[list[tuple[float, float]] | None]:
    """The bytes of each chunk that is told with each beat, in seconds, and when they came."""

    async def story() -> list[list[tuple[float, float]] | None]:
        await radio.begin()
        found = [await radio.beat(seconds) for seconds in beats]
        return [each and [(len(chunk.data) / 16_000, chunk.received_at) for chunk in each] for each in found]

    return asyncio.run(story())


def test_a_radio_with_a_burst_is_read_every_two_seconds() -> None:
    assert told(Radio(), 1, 1, 1, 1) == [None, [(2, 6)], None, [(2, 8)]]


def test_a_radio_whose_burst_is_short_is_read_every_second() -> None:
    """What lies unread when the recorder is killed would not be sent again."""
    assert told(Radio(burst_seconds=2), 1, 1) == [[(1, 5)], [(1, 6)]]


def test_what_tls_adds_is_taken_for_media_of_its_moment() -> None:
    """Of what was left, as much is told to have come then as lay there, headers and tags of records included."""
    assert told(Radio(overhead=0.02), 1, 1) == [None, [(2, 6)]]
    assert told(Radio(overhead=0.02), 1, 0.1) == [None, [(pytest.approx(1.02), 5), (pytest.approx(0.08), 6)]]


def test_a_radio_that_falls_silent_is_read_at_once() -> None:
    assert told(Radio(), 0.5, 0) == [[(0.5, 5)], []]


def test_what_comes_in_long_records_is_read_at_once() -> None:
    """A little less than what is due of two seconds may be what came in one: nobody could say when."""
    assert told(Radio(), 0.5, 0, 1.5) == [[(0.5, 5)], [], [(1.5, 7)]]


def test_a_silence_behind_what_was_left_is_told_as_if_that_had_been_read() -> None:
    assert told(Radio(), 1, 0.1) == [None, [(1, 5), (0.1, 6)]]


def test_what_was_left_and_what_followed_it_late_come_apart() -> None:
    """Otherwise a hole in the stream would be put before what came in front of it."""
    assert told(Radio(), 0.9, 0, 2) == [None, [(0.9, 5)], [(2, 7)]]


def test_all_that_came_is_told_before_a_radio_is_stopped() -> None:
    async def story() -> list[Any]:
        radio = Radio()
        await radio.begin()
        left = await radio.beat(1)
        radio.come(0.7)
        await radio.source.close()
        return [left, *radio.source.poll()]

    left, one, other, closed = asyncio.run(story())

    assert left is None
    assert len(one.data) + len(other.data) == 1.7 * 16_000
    assert closed.reason is GapReason.DISABLED


def test_a_radio_that_sends_garbage_is_read_every_second() -> None:
    """Bytes come at the usual pace, and no media: nothing must look as if it came."""

    async def story() -> list[bool]:
        radio = Radio()
        await radio.begin()
        found = []
        for _ in range(5):
            await radio.clock.advance(1)
            radio.stream.data += bytes(16_000)
            found.append(radio.source.leaves() or not radio.source.poll())
        return found

    assert asyncio.run(story()) == [True, False, False, False, False]


def test_more_than_fits_into_a_window_is_not_left() -> None:
    """The server would be slowed down, and the radio seem late."""
    assert told(Radio(burst_seconds=12, speed=2), 2, 2) == [[(2, 5)], [(2, 6)]]
