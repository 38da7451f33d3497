"""A capture that stands by while another recorder still writes the channel."""

from __future__ import annotations

import asyncio
from pathlib import Path

from streamrec.models import FileFormat, GapReason
from streamrec.recorder.capture import Capture
from streamrec.recorder.facts import GapNoted, SegmentClosed
from streamrec.recorder.tail import ClosedFile, End
from tests.recorder.stage import ENDED, Stage, at, staged

FRAME_SECONDS = 0.024
KEY = "aaaaaaaaaa/2026/11/20/20261120T115000.000Z-0123456789ab-1.mp3"


def numbered(first: float, last: float) -> bytes:
    """The station's frames from one second to another, none like another."""
    numbers = range(round(first / FRAME_SECONDS), round(last / FRAME_SECONDS))
    return b"".join(b"\xff\xfb\x94\xc0" + (10**6 + n).to_bytes(4) + bytes(376) for n in numbers)


def archived(stage: Stage, first: float, last: float) -> End:
    """What the other recorder has written, up to `last` seconds after noon."""
    descriptor = stage.archive.create(KEY)
    with open(descriptor, "wb", closefd=True) as file:  # noqa: PTH123 - a descriptor
        file.write(numbered(first, last))
    return End([ClosedFile(KEY, FileFormat.MP3, at(first), at(last))])


def standing_by(stage: Stage) -> Capture:
    stage.capture = Capture(
        stage.order, stage.tools, covered_until=at(0), reason=GapReason.RECORDER_DOWN, stands_by=True
    )
    stage.task = asyncio.create_task(stage.capture.run())
    return stage.capture


async def play(stage: Stage, first: float, last: float) -> None:
    """The station sends in real time."""
    while first < last - 1e-9:
        await stage.clock.advance(0.24)
        stage.source.media(numbered(first, first + 0.24))
        first += 0.24
    await stage.clock.idle()


def written(stage: Stage) -> bytes:
    """What is in the files of this recorder."""
    files = [fact for fact in stage.spool.pending() if isinstance(fact, SegmentClosed)]
    return b"".join((stage.archive.path / fact.key).read_bytes() for fact in files)


def test_nothing_is_written_and_nothing_told_before_it_takes_over(tmp_path: Path):
    """Neither of media nor of failure."""

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            capture = standing_by(stage)
            await stage.connect()
            await play(stage, 0, 12)
            was_ready = capture.is_ready
            stage.source.push(ENDED)
            await stage.clock.advance(20)
            await stage.stop()

            assert was_ready
            assert not capture.is_ready
            assert stage.spool.pending() == []
            assert stage.archive.names() == []

    asyncio.run(scenario())


def test_it_goes_on_at_the_very_frame_at_which_the_other_ended(tmp_path: Path):
    """Without a burst, because it was there before the other left: no frame is lost and none comes twice."""

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            capture = standing_by(stage)
            await stage.connect()
            await play(stage, 0, 12)
            end = archived(stage, -20, 7.2)
            await capture.take_over(
                stage.order, covered_until=at(7.2), reason=GapReason.RECORDER_DOWN, archived=end
            )
            await play(stage, 12, 18)
            await stage.stop()

            assert written(stage) == numbered(7.2, 18)
            assert [fact for fact in stage.spool.pending() if isinstance(fact, GapNoted)] == []
            assert next(f for f in stage.spool.pending() if isinstance(f, SegmentClosed)).start_time == at(7.2)

    asyncio.run(scenario())


def test_where_the_other_cannot_be_found_it_goes_on_by_the_clock(tmp_path: Path):
    """As after any interruption; nothing overlaps."""

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            capture = standing_by(stage)
            await stage.connect()
            await play(stage, 0, 12)
            await capture.take_over(
                stage.order, covered_until=at(6), reason=GapReason.RECORDER_DOWN, archived=End()
            )
            await play(stage, 12, 15)
            await stage.stop()
            first = next(fact for fact in stage.spool.pending() if isinstance(fact, SegmentClosed))

            assert at(6) <= first.start_time < at(6.3)

    asyncio.run(scenario())


def test_only_the_last_minute_is_kept(tmp_path: Path):
    """However long the other takes."""

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            capture = standing_by(stage)
            await stage.connect()
            await play(stage, 0, 90)
            await capture.take_over(
                stage.order, covered_until=at(6), reason=GapReason.RECORDER_DOWN, archived=End()
            )
            await play(stage, 90, 93)
            await stage.stop()

            assert 63 <= len(written(stage)) / 16_000 < 64

    asyncio.run(scenario())
