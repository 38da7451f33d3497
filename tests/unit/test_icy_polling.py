"""A polled radio: when what was read came."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from streamrec.recorder.events import Chunk, Opened, Title
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

    def drain(self, _limit: int) -> tuple[bytes, list[Title]]:
        return self.data, []


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
