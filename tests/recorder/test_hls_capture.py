"""HLS through a whole capture, with the machine's own clock: what is in the files, and what the account says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from streamrec.archive.files import Tree
from streamrec.clock import SystemClock
from streamrec.models import GapReason
from streamrec.recorder.beat import Beat
from streamrec.recorder.capture import Capture, Order, Tools
from streamrec.recorder.disk import Disk
from streamrec.recorder.events import Address
from streamrec.recorder.facts import GapNoted, RunStarted, SegmentClosed
from streamrec.recorder.fetch.dial import Resolver
from streamrec.recorder.gate import Gate
from streamrec.recorder.sources import ffmpeg
from streamrec.recorder.sources.hls import Sources
from streamrec.recorder.spool import Spool
from streamrec.recorder.status import Totals
from tests.station import clips, hls, programs
from tests.station.clips import VIDEO_RATE, Clip
from tests.station.hls import Origin, Piece, Show

NEAR = timedelta(seconds=0.25)


@pytest.fixture(scope="module")
def television(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return clips.make_television(tmp_path_factory.mktemp("television"), 40)


@pytest.fixture(scope="module")
def folder(television: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
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


@dataclass
class Recorded:
    """What a capture left behind."""

    folder: Path
    facts: list[object]

    @property
    def closed(self) -> list[SegmentClosed]:
        return [fact for fact in self.facts if isinstance(fact, SegmentClosed)]

    @property
    def paths(self) -> list[Path]:
        return [self.folder / "archive" / fact.key for fact in self.closed]

    @property
    def gaps(self) -> list[GapNoted]:
        """As they stand in the end, without the one at the beginning."""
        last = {fact.uuid: fact for fact in self.facts if isinstance(fact, GapNoted)}
        real = [gap for gap in last.values() if gap.end_time > gap.start_time]
        later = [gap for gap in real if gap.reason is not GapReason.STARTING]
        return sorted(later, key=lambda gap: gap.start_time)

    @property
    def runs(self) -> int:
        return len({fact.run_id for fact in self.facts if isinstance(fact, RunStarted)})

    def frames(self, clip: Clip) -> list[int]:
        """The numbers of all pictures, file by file."""
        return [n for path in self.paths for n in clips.numbered(clips.frame_hashes(path, video=True), clip)]


def recorded(folder: Path, origin: Origin, enough: Callable[[], bool], *, path: str = "live.m3u8") -> Recorded:
    """Record until it is `enough`."""
    return asyncio.run(asyncio.wait_for(_recorded(folder, origin, enough, path), 60))


async def _recorded(folder: Path, origin: Origin, enough: Callable[[], bool], path: str) -> Recorded:
    clock = SystemClock()
    spool, archive = Spool(folder / "spool"), Tree(folder / "archive")
    resolver = Resolver(clock, (origin.authority,))
    opener = Sources(resolver, clock, ffmpeg.Sources(programs.ffmpeg(), clock, (), folder, resolver))
    with ThreadPoolExecutor(2) as threads:
        tools = Tools(
            clock=clock,
            sources=opener,
            archive=archive,
            spool=spool,
            disk=Disk(threads),
            gate=Gate(clock),
            beat=Beat(clock),
            totals=Totals(),
            recorder_id=uuid4(),
        )
        order = Order(7, "aaaaaaaaaa", Address(origin.url(path)), 5)
        capture = Capture(order, tools, covered_until=clock.now(), reason=GapReason.STARTING)
        task = asyncio.create_task(capture.run())
        await asyncio.to_thread(programs.eventually, enough, 50, "it is enough", 0.05)
        capture.stop()
        await task
    facts = list(spool.pending())
    spool.close()
    archive.close()
    return Recorded(folder, facts)


def fetched(origin: Origin, cut: list[Piece], index: int) -> Callable[[], bool]:
    """Until the n-th segment was asked for, and a little more."""
    path = cut[index].path
    return lambda: any(time.time() - request.at > 0.4 for request in origin.asked(path))


def on_air(show: Show, frame: int) -> datetime:
    """When a picture was on air: its segment appeared at its own end."""
    live = show.began + frame / VIDEO_RATE - sum(piece.seconds for piece in show.pieces[: show.ahead])
    return datetime.fromtimestamp(live, UTC)


def successive(numbers: list[int]) -> bool:
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_every_picture_is_recorded_once_and_at_its_time(
    origin: Origin, folder: Path, cut: list[Piece], television: Clip, tmp_path: Path
):
    """From the first to the last, over several files, each of which begins when its first picture was on air."""
    show = origin.show(Show(cut), folder)

    result = recorded(tmp_path, origin, fetched(origin, cut, 16))

    starts = [clips.numbered(clips.frame_hashes(path, video=True)[:1], television)[0] for path in result.paths]
    off = [fact.start_time - on_air(show, n) for fact, n in zip(result.closed, starts, strict=True)]
    assert successive(result.frames(television))
    assert result.runs == 1
    assert result.gaps == []
    assert max(map(abs, off)) <= NEAR, off
    assert [clips.decode_errors(path) for path in result.paths] == [""] * len(result.paths)


def test_a_lost_segment_is_a_gap_as_long_as_it_is_listed(
    origin: Origin, folder: Path, cut: list[Piece], television: Clip, tmp_path: Path
):
    """It is asked for until there is no hope; the rest of the time is recorded exactly."""
    show = origin.show(Show(cut), folder)
    origin.refused[cut[9].path] = 99

    result = recorded(tmp_path, origin, fetched(origin, cut, 14))

    (gap,) = result.gaps
    lost = set(range(result.frames(television)[0], result.frames(television)[-1])) - set(result.frames(television))
    assert lost == set(range(9 * VIDEO_RATE, 10 * VIDEO_RATE))
    assert gap.end_time - gap.start_time == pytest.approx(timedelta(seconds=1), abs=timedelta(seconds=0.05))
    assert abs(gap.start_time - on_air(show, 9 * VIDEO_RATE)) <= NEAR
    assert gap.reason is GapReason.SOURCE_ERROR
    assert len(origin.asked(cut[9].path)) > 1
