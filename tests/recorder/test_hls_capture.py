"""HLS through a whole capture, with the machine's own clock: what is in the files, and what the account says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from streamrec.archive.files import Tree
from streamrec.clock import SystemClock
from streamrec.models import GapReason
from streamrec.recorder import tail
from streamrec.recorder.beat import Beat
from streamrec.recorder.capture import Capture
from streamrec.recorder.disk import Disk
from streamrec.recorder.events import Address
from streamrec.recorder.facts import GapNoted, RunStarted, SegmentClosed
from streamrec.recorder.fetch.dial import Resolver
from streamrec.recorder.gate import Gate
from streamrec.recorder.sources import ffmpeg
from streamrec.recorder.sources.hls import Sources
from streamrec.recorder.spool import Spool
from streamrec.recorder.status import Totals
from streamrec.recorder.tools import Order, Tools
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


def recorded(
    folder: Path,
    origin: Origin,
    enough: Callable[[], bool],
    *,
    after: Recorded | None = None,
    down: timedelta | None = None,
) -> Recorded:
    """Record until it is `enough`; `after` is what an earlier recorder left behind, or it was `down` so long."""
    return asyncio.run(asyncio.wait_for(_recorded(folder, origin, enough, after, down), 60))


async def _recorded(
    folder: Path,
    origin: Origin,
    enough: Callable[[], bool],
    after: Recorded | None,
    down: timedelta | None,
) -> Recorded:
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
        order = Order(7, "aaaaaaaaaa", Address(origin.url()), 5)
        until = after.closed[-1].end_time if after else clock.now() - (down or timedelta())
        reason = GapReason.RECORDER_DOWN if after or down else GapReason.STARTING
        end = tail.end(after.closed) if after else tail.NOTHING
        capture = Capture(order, tools, covered_until=until, reason=reason, archived=end)
        task = asyncio.create_task(capture.run())
        await asyncio.to_thread(programs.eventually, enough, 50, "it is enough", 0.05)
        capture.stop()
        await task
    facts = list(spool.pending())[len(after.facts) if after else 0 :]
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


def test_a_recorder_that_starts_again_within_the_window_loses_and_repeats_nothing(
    origin: Origin, folder: Path, cut: list[Piece], television: Clip, tmp_path: Path
):
    """A new process knows the archive's end and finds it in the window."""
    origin.show(Show(cut, window=8), folder)

    first = recorded(tmp_path, origin, fetched(origin, cut, 8))
    second = recorded(tmp_path, origin, fetched(origin, cut, 14), after=first)

    pictures = first.frames(television) + second.frames(television)
    assert successive(pictures)
    assert second.gaps == []
    assert second.closed[0].start_time == first.closed[-1].end_time


def test_a_recorder_that_starts_again_a_segment_too_late_for_the_window_tells_of_that_segment(
    origin: Origin, tmp_path: Path
):
    """The window begins 0.75 s behind the archive's end, and is not told as if it went on there."""
    group = 9  # pictures in a segment
    clip = clips.make_television(tmp_path, 30, group)
    cut = hls.cut(clip, tmp_path / "segments", "-hls_segment_filename", "s%03d.ts", seconds=group / VIDEO_RATE)
    show = origin.show(Show(cut, ahead=4, window=4), tmp_path / "segments")

    first = recorded(tmp_path, origin, fetched(origin, cut, 8))
    last = first.frames(clip)[-1] // group
    programs.eventually(lambda: last + 5 in show.listed(), 20, "a segment has left the window unseen", 0.01)
    second = recorded(tmp_path, origin, fetched(origin, cut, last + 8), after=first)

    (gap,) = second.gaps
    assert second.frames(clip)[0] == (last + 2) * group
    assert (gap.start_time, gap.reason) == (first.closed[-1].end_time, GapReason.RECORDER_DOWN)
    assert abs(gap.end_time - on_air(show, (last + 2) * group)) <= NEAR


def test_what_a_list_has_that_stood_still_at_first_is_told_at_its_time(
    origin: Origin, folder: Path, cut: list[Piece], television: Clip, tmp_path: Path
):
    """It is six seconds old when the recorder starts, and all that it has is gone when it moves."""
    show = origin.show(Show(cut, ahead=3, window=3), folder)
    show.listed()
    show.is_frozen, show.began = True, show.began - 6

    def thawed() -> bool:
        show.is_frozen = show.is_frozen and not origin.asked(cut[2].path)
        return fetched(origin, cut, 14)()

    result = recorded(tmp_path, origin, thawed, down=timedelta(minutes=1))

    starts = [clips.numbered(clips.frame_hashes(path, video=True)[:1], television)[0] for path in result.paths]
    off = [fact.start_time - on_air(show, n) for fact, n in zip(result.closed, starts, strict=True)]
    assert starts[0] == 0
    assert max(map(abs, off)) <= NEAR + timedelta(seconds=0.5), off  # half a segment
    assert [gap.reason for gap in result.gaps] == [GapReason.RECORDER_DOWN, GapReason.SOURCE_ERROR]


def test_a_run_that_ends_before_an_end_was_seen_to_appear_is_told_to_half_a_segment(
    origin: Origin, folder: Path, cut: list[Piece], television: Clip, tmp_path: Path
):
    """Its first segments are slow to come; of two that are listed behind them by then the latter never comes."""
    show = origin.show(Show(cut, ahead=4, window=8), folder)
    origin.refused.update({cut[1].path: 2, cut[2].path: 2, cut[3].path: 2, cut[5].path: 99})

    result = recorded(tmp_path, origin, fetched(origin, cut, 9), down=timedelta(minutes=1))

    pictures = clips.numbered(clips.frame_hashes(result.paths[0], video=True)[:1], television)
    off = result.closed[0].start_time - on_air(show, pictures[0])
    assert pictures[0] == VIDEO_RATE
    assert abs(off) <= NEAR + timedelta(seconds=0.5), off


def test_a_discontinuity_of_the_time_stamps_loses_no_time(
    origin: Origin, folder: Path, cut: list[Piece], television: Clip, tmp_path: Path
):
    """An advertisement in between, with a clock of its own: runs that meet exactly, and no gap."""
    (folder / "other").mkdir(exist_ok=True)
    other = hls.cut(television, folder / "other", "-output_ts_offset", "7000", "-hls_segment_filename", "o%03d.ts")
    moved = [replace(piece, uri=f"other/{piece.uri}") for piece in other]
    show = origin.show(Show(cut[:8] + moved[8:11] + cut[11:], discontinuities={8, 11}), folder)

    result = recorded(tmp_path, origin, fetched(origin, cut, 14))

    starts = [fact.start_time for fact in result.closed]
    ends = [fact.end_time for fact in result.closed]
    assert successive(result.frames(television))
    assert result.runs == 3
    assert result.gaps == []
    assert starts[1:] == ends[:-1]
    assert abs(ends[-1] - on_air(show, result.frames(television)[-1] + 1)) <= NEAR


def test_a_discontinuity_within_the_first_window_is_told_at_its_time(
    origin: Origin, folder: Path, cut: list[Piece], television: Clip, tmp_path: Path
):
    """The run before it ends while most of the window is still to come; nobody may take that for late."""
    show = origin.show(Show(cut, ahead=8, window=8, discontinuities={6}), folder)

    result = recorded(tmp_path, origin, fetched(origin, cut, 10), down=timedelta(minutes=1))

    numbers = result.frames(television)
    starts = [clips.numbered(clips.frame_hashes(path, video=True)[:1], television)[0] for path in result.paths]
    off = [fact.start_time - on_air(show, n) for fact, n in zip(result.closed, starts, strict=True)]
    assert successive(numbers)
    assert numbers[0] < 6 * VIDEO_RATE
    assert result.runs == 2
    assert [gap.reason for gap in result.gaps] == [GapReason.RECORDER_DOWN]
    assert max(map(abs, off)) <= NEAR, off


def test_fragments_are_recorded_and_play(origin: Origin, television: Clip, tmp_path: Path):
    """CMAF: files that begin with the header and join to the station's pictures."""
    options = ("-bsf:a", "aac_adtstoasc", "-hls_segment_type", "fmp4", "-hls_segment_filename", "s%03d.m4s")
    cut = hls.cut(television, tmp_path / "segments", *options)
    show = origin.show(Show(cut), tmp_path / "segments")

    result = recorded(tmp_path, origin, fetched(origin, cut, 14))

    assert successive(result.frames(television))
    assert [clips.decode_errors(path) for path in result.paths] == [""] * len(result.paths)
    assert (result.runs, result.gaps) == (1, [])
    joined = tmp_path / "joined.mp4"
    joined.write_bytes(b"".join(path.read_bytes() for path in result.paths))
    assert successive(clips.numbered(clips.frame_hashes(joined, video=True), television))
    first = result.frames(television)[0]
    assert abs(result.closed[0].start_time - on_air(show, first)) <= NEAR


def test_the_first_file_begins_with_the_second_segment_that_appears_at_the_latest(
    origin: Origin, folder: Path, cut: list[Piece], tmp_path: Path
):
    """Nothing is held back for longer than until it is seen how closely an appearance tells the time."""
    show = origin.show(Show(cut), folder)
    third = cut[show.ahead + 2].path

    recorded(tmp_path, origin, lambda: any((tmp_path / "archive").rglob("*.ts*")) or bool(origin.asked(third)))

    assert origin.asked(third) == []
