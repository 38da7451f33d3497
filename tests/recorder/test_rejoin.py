"""After an interruption a capture goes on where its archive ends: to the frame, or with one true gap."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise, product
from pathlib import Path

import pytest

from streamrec.framing.essence import essence
from streamrec.framing.units import FLICKS
from streamrec.models import FileFormat, GapReason
from streamrec.recorder import recovery, rejoin, tail
from streamrec.recorder.capture import Capture
from streamrec.recorder.events import Closed, Opened
from streamrec.recorder.facts import GapNoted, SegmentClosed
from streamrec.recorder.spool import Spool
from tests import samples
from tests.recorder.stage import ENDED, FRAME, Stage, at, play, whole

FRAME_SECONDS = 0.024
TICK_SECONDS = 0.24
REFUSED = Closed(GapReason.SOURCE_REFUSED, "The connection was refused.")


def frame(number: int) -> bytes:
    return FRAME[:8] + number.to_bytes(4, "big") + FRAME[12:]


class Radio:
    """A station that is always on air, each frame unlike every other, and answers with a burst."""

    def __init__(self, stage: Stage, *, loop: int = 1 << 32) -> None:
        """After `loop` frames the first comes again."""
        self.stage = stage
        self.loop = loop
        self.drift = 0.0
        self._lag = 0.0
        self._sent = 0

    @property
    def live(self) -> int:
        now = self.stage.clock.monotonic() * (1 + self.drift)
        return round((now - self._lag + 100) / FRAME_SECONDS)

    async def connect(self, *, burst: float = 0.0, lag: float = 0.0) -> None:
        self._lag = lag
        await self.stage.connect()
        self._sent = self.live - round(burst / FRAME_SECONDS)
        self._send()

    async def end(self) -> None:
        """Close the connection, and wait for the next attempt, which is at once after a while of good media."""
        attempts = self.stage.sources.attempts
        before = len(attempts)
        self.stage.source.push(ENDED)
        async with asyncio.timeout(10):
            while len(attempts) == before:
                await self.stage.clock.idle()

    async def play(self, length: float) -> None:
        for _ in range(round(length / TICK_SECONDS)):
            await self.stage.clock.advance(TICK_SECONDS)
            self._send()
        await self.stage.clock.idle()

    def _send(self) -> None:
        self.stage.source.media(b"".join(frame(number % self.loop) for number in range(self._sent, self.live)))
        self._sent = self.live

    def on_air(self, number: int) -> float:
        """When a frame began, in seconds of the stage's clock."""
        return number * FRAME_SECONDS - 100


def closed_files(stage: Stage) -> list[SegmentClosed]:
    return [fact for fact in stage.spool.pending() if isinstance(fact, SegmentClosed)]


def archived(stage: Stage) -> list[int]:
    """The numbers of all frames in the archive, in the order of its files."""
    data = b"".join((stage.archive.path / file.key).read_bytes() for file in closed_files(stage))
    return [int.from_bytes(data[index + 8 : index + 12], "big") for index in range(0, len(data), len(FRAME))]


def jumps(numbers: list[int]) -> list[int]:
    return [after - before for before, after in pairwise(numbers) if after != before + 1]


def meet(stage: Stage) -> bool:
    """Whether each file begins at the very instant at which the one before it ends."""
    return all(before.end_time == after.start_time for before, after in pairwise(closed_files(stage)))


def later_gaps(stage: Stage) -> list[tuple[float, float, GapReason]]:
    return [gap for gap in stage.gaps() if gap[2] is not GapReason.STARTING]


def restart(stage: Stage) -> None:
    """Another recorder takes the channel up, as the supervisor does."""
    archived = tail.end(stage.spool.pending())
    until = max(each.end_time for each in [*archived.files, *archived.gaps])
    stage.capture = Capture(
        stage.order, stage.tools, covered_until=until, reason=GapReason.RECORDER_DOWN, archived=archived
    )
    stage.task = asyncio.create_task(stage.capture.run())


async def kill(stage: Stage) -> None:
    """`kill -9`: what is in memory is gone, and a start salvages the rest."""
    stage.task.cancel()
    await asyncio.gather(stage.task, return_exceptions=True)
    folder = stage.archive.path.parent
    stage.spool.close()
    stage.spool = Spool(folder / "spool")
    object.__setattr__(stage.tools, "spool", stage.spool)
    recovery.recover(stage.archive, stage.spool, quarantine=folder / "quarantine")


@pytest.mark.parametrize("burst", [2.0, 4.0, 8.0])
@pytest.mark.parametrize("pause", [0.0, 0.31, 1.7])
def test_a_break_within_the_burst_costs_no_frame(tmp_path: Path, burst: float, pause: float) -> None:
    """None lost, none twice, no gap, and the new run begins at the microsecond at which the old one ended."""

    async def scenario(stage: Stage) -> None:
        radio = Radio(stage)
        stage.start()
        await radio.connect(burst=burst)
        await radio.play(12)
        await radio.end()
        await stage.clock.advance(pause)
        await radio.connect(burst=burst)
        await radio.play(6)
        await stage.stop()

        assert jumps(archived(stage)) == []
        assert meet(stage)
        assert later_gaps(stage) == []

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("overlap", "lag"), [*product([0, 1, 2, 3], [-0.04, -0.02, 0.0, 0.02, 0.04]), (0, -0.08), (0, -0.12)]
)
def test_a_burst_that_barely_reaches_the_archives_end_costs_no_frame(
    tmp_path: Path, overlap: int, lag: float
) -> None:
    """Too few frames to be sure of the place, and a clock that is off: together they know the frame."""

    async def scenario(stage: Stage) -> None:
        radio = Radio(stage)
        stage.start()
        await radio.connect(burst=4)
        await radio.play(12)
        await radio.end()
        end = radio.live
        await stage.clock.advance(3)
        missed = round((stage.clock.monotonic() - lag + 100) / FRAME_SECONDS) - end
        await radio.connect(burst=(missed + overlap) * FRAME_SECONDS, lag=lag)
        await radio.play(12)
        await stage.stop()

        assert jumps(archived(stage)) == []
        assert meet(stage)
        assert later_gaps(stage) == []

    play(tmp_path, scenario)


def test_the_run_goes_on_before_the_burst_is_known_to_be_over(tmp_path: Path) -> None:
    """A known place needs no anchor: the first write is the next tick's."""

    async def scenario(stage: Stage) -> None:
        radio = Radio(stage)
        stage.start()
        await radio.connect(burst=4)
        await radio.play(12)
        await radio.end()
        await radio.connect(burst=4)
        await radio.play(TICK_SECONDS)

        assert stage.capture.status.path is not None

    play(tmp_path, scenario)


def test_a_source_is_told_how_far_back_media_is_wanted(tmp_path: Path) -> None:
    """A window of HLS holds more than the three segments with which a player begins."""

    async def scenario(stage: Stage) -> None:
        radio = Radio(stage)
        stage.start()
        await radio.connect(burst=4)
        await radio.play(12)
        await stage.stop()
        await stage.clock.advance(7)
        restart(stage)
        await stage.clock.idle()

        first, second = stage.sources.addresses
        assert first.wanted_seconds is None
        assert second.wanted_seconds == pytest.approx(7, abs=0.1)
        assert first == second

    play(tmp_path, scenario)


@pytest.mark.parametrize("burst", [0.0, 4.0])
def test_a_break_longer_than_the_burst_is_one_gap_with_true_bounds(tmp_path: Path, burst: float) -> None:
    """To 250 ms, from the last frame that is archived to the first that is again."""

    async def scenario(stage: Stage) -> None:
        radio = Radio(stage)
        stage.start()
        await radio.connect(burst=burst)
        await radio.play(12)
        await radio.end()
        await stage.clock.advance(7)
        await radio.connect(burst=burst)
        await radio.play(6)
        await stage.stop()

        numbers = archived(stage)
        ((begin, end, reason),) = later_gaps(stage)
        last = next(before for before, after in pairwise(numbers) if after != before + 1)
        first = next(after for before, after in pairwise(numbers) if after != before + 1)
        assert reason is GapReason.SOURCE_ENDED
        assert begin == pytest.approx(radio.on_air(last + 1), abs=0.25)
        assert end == pytest.approx(radio.on_air(first), abs=0.25)
        assert len(jumps(numbers)) == 1
        assert jumps(numbers)[0] > 1

    play(tmp_path, scenario)


def test_an_outage_that_was_told_is_withdrawn_when_the_burst_covers_it(tmp_path: Path) -> None:
    """Its row was written while it lasted, and goes."""

    async def scenario(stage: Stage) -> None:
        radio = Radio(stage)
        stage.start()
        await radio.connect(burst=30)
        await radio.play(12)
        await radio.end()
        await stage.clock.advance(14)
        told = later_gaps(stage)
        await radio.connect(burst=30)
        await radio.play(6)
        await stage.stop()

        assert told != []
        assert later_gaps(stage) == []
        assert jumps(archived(stage)) == []

    play(tmp_path, scenario)


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
@pytest.mark.parametrize("segment_seconds", [5, 60])
def test_a_restart_within_the_burst_costs_no_frame(tmp_path: Path, is_killed: bool, segment_seconds: int) -> None:
    """The archive's end is read from its files: nothing was written for that."""

    async def scenario(stage: Stage) -> None:
        radio = Radio(stage)
        stage.order = type(stage.order)(7, "aaaaaaaaaa", stage.order.address, segment_seconds)
        stage.start()
        await radio.connect(burst=8)
        await radio.play(13)
        await (kill(stage) if is_killed else stage.stop())
        await stage.clock.advance(3)
        restart(stage)
        await radio.connect(burst=8)
        await radio.play(9)
        await stage.stop()

        assert jumps(archived(stage)) == []
        assert meet(stage)
        assert later_gaps(stage) == []

    play(tmp_path, scenario)


def test_failures_after_a_restart_do_not_spoil_it(tmp_path: Path) -> None:
    """Two gaps were told, for the recorder and for the station; both go."""

    async def scenario(stage: Stage) -> None:
        radio = Radio(stage)
        stage.start()
        await radio.connect(burst=30)
        await radio.play(12)
        await stage.stop()
        await stage.clock.advance(3)
        restart(stage)
        await stage.clock.idle()
        stage.source.push(REFUSED)
        await stage.clock.advance(9)
        told = {reason for _, _, reason in later_gaps(stage)}
        await radio.connect(burst=30)
        await radio.play(6)
        await stage.stop()

        assert told == {GapReason.RECORDER_DOWN, GapReason.SOURCE_REFUSED}
        assert later_gaps(stage) == []
        assert jumps(archived(stage)) == []

    play(tmp_path, scenario)


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_a_recorder_that_leaves_in_an_outage_does_not_spoil_it(tmp_path: Path, is_killed: bool) -> None:
    """What it told of the outage goes when the next one finds that nothing is missing."""

    async def scenario(stage: Stage) -> None:
        radio = Radio(stage)
        stage.start()
        await radio.connect(burst=30)
        await radio.play(12)
        await radio.end()
        await stage.clock.advance(10)
        await (kill(stage) if is_killed else stage.stop())
        told = later_gaps(stage)
        await stage.clock.advance(2)
        restart(stage)
        await stage.clock.advance(9)
        await radio.connect(burst=30)
        await radio.play(6)
        await stage.stop()

        assert told != []
        assert later_gaps(stage) == []
        assert jumps(archived(stage)) == []

    play(tmp_path, scenario)


def test_an_outage_over_two_recorders_is_told_to_its_end(tmp_path: Path) -> None:
    """Without a burst both gaps stay, and meet each other and the files."""

    async def scenario(stage: Stage) -> None:
        radio = Radio(stage)
        stage.start()
        await radio.connect()
        await radio.play(12)
        await radio.end()
        await stage.clock.advance(10)
        await stage.stop()
        restart(stage)
        await stage.clock.advance(3)
        await radio.connect()
        await radio.play(6)
        await stage.stop()

        assert [reason for _, _, reason in later_gaps(stage)] == [GapReason.SOURCE_ENDED, GapReason.RECORDER_DOWN]
        assert whole(stage) == pytest.approx(31, abs=0.25)

    play(tmp_path, scenario)


@pytest.mark.parametrize("drift", [-300e-6, 300e-6])
def test_a_station_whose_clock_drifts_leaves_no_hole_of_milliseconds(tmp_path: Path, drift: float) -> None:
    """The clock is steered between the last write and the file's end; the gap begins where the file ends."""

    async def scenario(stage: Stage) -> None:
        radio = Radio(stage)
        radio.drift = drift
        stage.start()
        await radio.connect(burst=2)
        await radio.play(60)
        await radio.end()
        await stage.clock.advance(20)
        await radio.connect(burst=2)
        await radio.play(6)
        await stage.stop()

        gaps = [fact for fact in stage.spool.pending() if isinstance(fact, GapNoted)]
        first, second = closed_files(stage)[-2:]
        assert (first.end_time, gaps[-1].end_time) == (gaps[-1].start_time, second.start_time)

    play(tmp_path, scenario)


def test_frames_are_exact_even_when_a_server_lags(tmp_path: Path) -> None:
    """Another server of the station is behind the first: what is archived already is not archived twice."""

    async def scenario(stage: Stage) -> None:
        radio = Radio(stage)
        stage.start()
        await radio.connect(burst=2)
        await radio.play(12)
        await radio.end()
        await radio.connect(burst=2, lag=6)
        await radio.play(24)
        await stage.stop()

        assert jumps(archived(stage)) == []

    play(tmp_path, scenario)


def test_a_programme_that_is_played_again_is_not_taken_for_a_server_that_lags(tmp_path: Path) -> None:
    """A loop of 50 s: what was on air 50 s ago is recorded again, and not held back until the loop is through."""

    async def scenario(stage: Stage) -> None:
        radio = Radio(stage, loop=round(50 / FRAME_SECONDS))
        stage.start()
        await radio.connect(burst=2)
        await radio.play(30)
        await radio.end()
        await stage.clock.advance(25)
        await radio.connect(burst=2)
        await radio.play(12)
        await stage.stop()

        [(start, end, _)] = later_gaps(stage)
        assert (start, end) == (pytest.approx(30, abs=0.5), pytest.approx(53, abs=0.5))

    play(tmp_path, scenario)


def test_a_second_break_goes_on_from_the_first(tmp_path: Path) -> None:
    """Again and again, each run short."""

    async def scenario(stage: Stage) -> None:
        radio = Radio(stage)
        stage.start()
        await radio.connect(burst=4)
        await radio.play(6)
        for _ in range(6):
            stage.source.push(ENDED)
            await stage.clock.idle()
            while stage.source.is_closed or stage.capture.status.state.value != "starting":
                await stage.clock.advance(0.1)
            await radio.connect(burst=20)  # no back-off is longer than the cap of 15 s
            await radio.play(1.2)
        await stage.stop()

        assert jumps(archived(stage)) == []
        assert meet(stage)

    play(tmp_path, scenario)


def test_a_file_that_is_gone_is_no_reason_to_stop(tmp_path: Path) -> None:
    """The clock then says what is archived."""

    async def scenario(stage: Stage) -> None:
        radio = Radio(stage)
        stage.start()
        await radio.connect(burst=4)
        await radio.play(12)
        await radio.end()
        await stage.clock.idle()
        for file in closed_files(stage):
            stage.archive.unlink(file.key)
        await radio.connect(burst=4)
        await radio.play(6)
        await stage.stop()

        assert sum(end - begin for begin, end, _ in later_gaps(stage)) < 0.25

    play(tmp_path, scenario)


# --- television -------------------------------------------------------------------------------------------


def remuxed(name: str, first: int, folder: Path) -> bytes:
    """The sample from a unit on, as another ffmpeg would send it."""
    units = samples.units_of(name)
    part, again = folder / "part.ts", folder / "again.ts"
    part.write_bytes(units[first].header + samples.joined(units[first:]))
    samples.ffmpeg("-i", str(part), "-c", "copy", "-muxdelay", "0.1", "-pat_period", "1", str(again))
    return again.read_bytes()


@pytest.mark.parametrize("is_remuxed", [False, True])
@pytest.mark.parametrize("name", ["tv.ts", "hevc.ts", "mpeg2.ts"])
def test_television_goes_on_between_key_pictures(tmp_path: Path, name: str, is_remuxed: bool) -> None:
    """The archive ends in the middle of a group of pictures, and so the next file begins there."""
    units = samples.units_of(name)
    cuts = [index for index, unit in enumerate(units) if unit.is_cut]
    end, second = cuts[3] + 7, cuts[1]
    rest = remuxed(name, second, tmp_path) if is_remuxed else samples.joined(units[second:])

    async def scenario(stage: Stage) -> None:
        opened = Opened(FileFormat.TS, "h264+aac")
        stage.start()
        await stage.clock.advance(10)
        stage.source.push(opened)
        stage.source.media(samples.joined(units[:end]))
        await stage.clock.advance(1)
        stage.source.push(ENDED)
        await stage.clock.advance(0.5)
        stage.source.push(opened)
        stage.source.media(units[second].header + rest)
        await stage.clock.advance(1)
        await stage.stop()

        files = closed_files(stage)
        data = b"".join((stage.archive.path / file.key).read_bytes() for file in files)
        pictures = [essence(FileFormat.TS, unit.data) for unit in samples.framed(FileFormat.TS, [data])[0]]
        assert pictures == [essence(FileFormat.TS, unit.data) for unit in units]
        assert meet(stage)

    play(tmp_path, scenario)


@pytest.mark.parametrize("name", ["tv.mp4", "opus.mp4"])
def test_fragments_go_on_between_key_pictures(tmp_path: Path, name: str) -> None:
    """The next file has the header, and the first fragment that is missing."""
    units = samples.units_of(name)
    end = next(at for at in range(7, len(units)) if not units[at].is_cut or name != "tv.mp4")

    async def scenario(stage: Stage) -> None:
        opened = Opened(FileFormat.MP4, "h264+aac")
        stage.start()
        await stage.clock.advance(10)
        stage.source.push(opened)
        stage.source.media(units[0].header + samples.joined(units[:end]))
        await stage.clock.advance(1)
        stage.source.push(ENDED)
        await stage.clock.advance(0.5)
        stage.source.push(opened)
        stage.source.media(units[0].header + samples.joined(units[2:]))
        await stage.clock.advance(1)
        await stage.stop()

        first, second = ((stage.archive.path / file.key).read_bytes() for file in closed_files(stage))
        assert first == units[0].header + samples.joined(units[:end])
        assert second == units[0].header + samples.joined(units[end:])
        assert meet(stage)

    play(tmp_path, scenario)


def test_a_file_that_begins_between_key_pictures_is_salvaged_whole(tmp_path: Path) -> None:
    """A crash while it is written costs none of what it has."""
    units = samples.units_of("tv.ts")
    cuts = [index for index, unit in enumerate(units) if unit.is_cut]

    async def scenario(stage: Stage) -> None:
        opened = Opened(FileFormat.TS, "h264+aac")
        stage.start()
        await stage.clock.advance(10)
        stage.source.push(opened)
        stage.source.media(samples.joined(units[: cuts[3] + 7]))
        await stage.clock.advance(1)
        stage.source.push(ENDED)
        await stage.clock.advance(0.5)
        stage.source.push(opened)
        stage.source.media(units[cuts[1]].header + samples.joined(units[cuts[1] :]))
        await stage.clock.advance(1)
        await kill(stage)

        first, second = closed_files(stage)
        assert second.truncated
        assert second.start_time == first.end_time
        assert second.end_time - second.start_time > timedelta(seconds=2)
        assert list((tmp_path / "quarantine").rglob("*.ts*")) == []

    play(tmp_path, scenario)


def test_the_tail_of_a_file_is_all_of_its_last_units(tmp_path: Path) -> None:
    """Of every format, the last unit included, although nothing stands behind it."""

    async def scenario(stage: Stage) -> None:
        for name in ("mp3.mp3", "aac.aac", "tv.ts", "tv.mp4"):
            units = samples.units_of(name)
            (stage.archive.path / name).write_bytes(units[0].header + samples.joined(units))
            file = tail.ClosedFile(name, samples.format_of(name), at(0), at(6))

            found = tail.read(stage.archive, [file])

            marks = [rejoin.mark(samples.format_of(name), unit) for unit in units]
            assert [each.digest for each in found.marks] == [each.digest for each in marks], name

    play(tmp_path, scenario)


def test_the_tail_of_a_file_of_one_unit_is_that_unit(tmp_path: Path) -> None:
    """As where a file ends by the clock one frame before a stream does; of every format."""

    async def scenario(stage: Stage) -> None:
        for name in ("mp3.mp3", "aac.aac", "tv.ts", "tv.mp4"):
            unit = samples.units_of(name)[0]
            (stage.archive.path / name).write_bytes(unit.header + unit.data)
            length = timedelta(seconds=unit.duration / FLICKS)
            file = tail.ClosedFile(name, samples.format_of(name), at(0), at(0) + length)

            found = tail.read(stage.archive, [file])

            assert found is not None, name
            assert [each.digest for each in found.marks] == [rejoin.mark(samples.format_of(name), unit).digest], (
                name
            )
            assert found.marks[0].duration == pytest.approx(unit.duration, abs=FLICKS / 1e6), name

    play(tmp_path, scenario)
