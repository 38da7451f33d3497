"""Live HLS, recorded from our own origin: what it lists, once and in order, whatever happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamrec.clock import SystemClock
from streamrec.models import FileFormat, GapReason
from streamrec.recorder.events import Address, Chunk, Closed, Event, Opened, Skipped
from streamrec.recorder.fetch.dial import Resolver
from streamrec.recorder.sources.hls import Sources
from tests.fakes import ScriptedSource
from tests.station import clips, hls
from tests.station.clips import Clip
from tests.station.hls import Origin, Piece, Show

SECONDS = 25.0


@pytest.fixture(scope="module")
def television(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """A minute of pictures and sound, every frame unlike every other."""
    return clips.make_television(tmp_path_factory.mktemp("television"), 40)


@pytest.fixture(scope="module")
def folder(television: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in segments of a second."""
    folder = tmp_path_factory.mktemp("segments")
    hls.cut(television, folder, "-hls_segment_filename", "s%03d.ts")
    return folder


@pytest.fixture
def cut(folder: Path) -> list[Piece]:
    return hls.pieces((folder / "all.m3u8").read_text())


@pytest.fixture
def origin() -> Iterator[Origin]:
    with hls.running() as running:
        yield running


def sources(origin: Origin, *, clock: SystemClock | None = None) -> Sources:
    clock = clock or SystemClock()
    return Sources(Resolver(clock, (origin.authority,)), clock, lambda _: ScriptedSource(clock))


Act = Callable[[list[Event]], object]


async def _heard(opener: Sources, address: Address, act: Act) -> list[Event]:
    source = opener.open(address)
    events: list[Event] = []
    async for event in source.events():
        events.append(event)
        if act(events) is True:
            await source.close()
    return events


def heard(opener: Sources, url: str, act: Act = lambda _: None, **address) -> list[Event]:
    """All events of one attempt; `act` is called after each, and may end it by returning True."""
    return asyncio.run(asyncio.wait_for(_heard(opener, Address(url, **address), act), SECONDS))


def chunks(events: list[Event]) -> list[Chunk]:
    return [event for event in events if isinstance(event, Chunk)]


def has(count: int) -> Act:
    """Until there are so many segments."""
    return lambda events: len(chunks(events)) >= count


def files(folder: Path, cut: list[Piece], first: int, count: int) -> list[bytes]:
    return [(folder / piece.path).read_bytes() for piece in cut[first : first + count]]


def test_segments_come_as_they_were_published(origin: Origin, folder: Path, cut: list[Piece]):
    """The last three first, and then each as it appears: once, in order, over one connection."""
    origin.show(Show(cut), folder)

    events = heard(sources(origin), origin.url(), has(6))

    assert events[0] == Opened(FileFormat.TS, "h264+aac", "hls")
    assert [chunk.data for chunk in chunks(events)] == files(folder, cut, 2, 6)
    assert isinstance(events[-1], Closed)
    assert {request.connection for request in origin.requests} == {1}
