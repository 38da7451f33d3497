"""One channel's life under a clock that the test moves: what is recorded, and what is told of the rest."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamrec.models import CaptureState, FileFormat, GapReason
from streamrec.recorder.events import Address, Closed, Opened, Title
from streamrec.recorder.facts import RunEnded, RunStarted
from streamrec.recorder.spool import Spool
from streamrec.recorder.tools import Order
from tests.recorder.stage import ARE_STEADY, ENDED, OPENED, Stage, frames, play, seconds, whole


@pytest.fixture(autouse=True, params=[False, True], ids=["awaited", "polled"])
def reading(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything holds for sources that are waited for, and for those that are read on the beat."""
    token = ARE_STEADY.set(request.param)
    yield
    ARE_STEADY.reset(token)


def test_a_channel_is_recorded_from_its_burst_on(tmp_path: Path):
    """The gap of a fresh channel ends where the first frame it got began, in the past."""

    async def scenario(stage: Stage) -> None:
        await stage.clock.advance(2)
        stage.start()
        await stage.clock.advance(3)
        await stage.connect()
        await stage.play(6, burst=4)
        await stage.stop()

        (begin, end, reason), *rest = stage.gaps()
        assert (begin, reason, rest) == (0, GapReason.STARTING, [])
        assert end == pytest.approx(1.0, abs=0.1)
        assert whole(stage) == pytest.approx(11, abs=0.1)

    play(tmp_path, scenario)


def test_running_is_earned_by_media(tmp_path: Path):
    """A connection alone is still a start."""

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.connect()
        before = stage.capture.status.state
        await stage.play(1)

        assert (before, stage.capture.status.state) == (CaptureState.STARTING, CaptureState.RUNNING)

    play(tmp_path, scenario)


def test_a_short_break_within_the_burst_leaves_no_gap(tmp_path: Path):
    """What the server kept for us joins on; frames that are archived are not archived twice."""

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.connect()
        await stage.play(12, burst=4)
        stage.source.push(ENDED)
        await stage.clock.advance(1)
        await stage.connect()
        await stage.play(6, burst=4)
        await stage.stop()

        assert sum(end - begin for begin, end, _ in stage.gaps()) < 0.1
        assert len(stage.files()) == 2
        whole(stage, start=stage.files()[0][0] if not stage.gaps() else 0)

    play(tmp_path, scenario)


def test_an_outage_is_one_gap_that_grows_and_ends_exactly(tmp_path: Path):
    """Refused again and again: one row, young at any time, with the reason why the media ended."""

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.connect()
        await stage.play(12)
        stage.source.push(ENDED)
        await stage.clock.idle()
        for _ in range(60):
            if not stage.source.is_closed and stage.capture.status.state is CaptureState.STARTING:
                stage.source.push(Closed(GapReason.SOURCE_REFUSED, "The connection was refused."))
            await stage.clock.advance(1)
            lag = seconds(stage.clock.now()) - max((end for _, end, _ in stage.gaps()), default=12.0)
            assert lag <= 10.1 or seconds(stage.clock.now()) < 21
        await stage.play(0)
        while stage.capture.status.state is not CaptureState.STARTING:
            await stage.clock.advance(1)
        await stage.connect()
        await stage.play(6)
        await stage.stop()

        outage = stage.gaps()[-1]
        assert outage[2] is GapReason.SOURCE_ENDED
        assert outage[0] == pytest.approx(12, abs=0.3)
        assert len([g for g in stage.gaps() if g[1] - g[0] > 1]) == 1
        whole(stage, start=min(stage.files()[0][0], stage.gaps()[0][0]))

    play(tmp_path, scenario)


def test_a_stall_is_noticed_and_the_gap_begins_at_the_last_frame(tmp_path: Path):
    """Within five seconds, and not counted from when it was noticed."""

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.connect()
        await stage.play(24)
        stalled = seconds(stage.clock.now())
        while len(stage.sources.attempts) == 1:
            await stage.clock.advance(0.5)
        noticed = seconds(stage.clock.now())
        await stage.connect()
        await stage.play(6)
        await stage.stop()

        assert noticed - stalled <= 5
        begin, _, reason = stage.gaps()[-1]
        assert (reason, begin) == (GapReason.STALLED, pytest.approx(stalled, abs=0.1))

    play(tmp_path, scenario)


def test_stopping_closes_the_file_and_tells_the_last_moment(tmp_path: Path):
    """Up to when the channel was disabled."""

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.connect()
        await stage.play(6)
        await stage.stop(until=seconds(stage.clock.now()) + 0.2)

        assert stage.gaps()[-1][2] is GapReason.DISABLED
        assert whole(stage, start=min(stage.files()[0][0], stage.gaps()[0][0])) == pytest.approx(6.2, abs=0.1)
        assert stage.capture.status.state is CaptureState.STOPPED

    play(tmp_path, scenario)


def test_one_that_is_stopped_before_it_has_begun_tells_its_time_all_the_same(tmp_path: Path):
    """As when a channel is given away in the moment in which it was taken."""

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.stop(until=2)

        assert (stage.capture.status.state, stage.gaps()) == (CaptureState.STOPPED, [(0, 2, GapReason.STARTING)])
        assert stage.sources.attempts == []

    play(tmp_path, scenario)


def test_a_recorder_that_leaves_claims_nothing_it_did_not_see(tmp_path: Path):
    """The gap up to the next start is the next start's."""

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.connect()
        await stage.play(6)
        await stage.stop()

        assert all(reason is GapReason.STARTING for _, _, reason in stage.gaps())
        runs = [fact for fact in stage.spool.pending() if isinstance(fact, RunStarted | RunEnded)]
        assert len(runs) == 2

    play(tmp_path, scenario)


def test_another_address_is_another_attempt_and_another_name_is_not(tmp_path: Path):
    """Only what changes the stream interrupts it."""

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.connect()
        await stage.play(3)
        stage.capture.change(Order(7, "bbbbbbbbbb", stage.order.address, 5))
        await stage.play(3)
        attempts = len(stage.sources.attempts)
        moved = Address("http://other.invalid/")
        stage.capture.change(Order(7, "bbbbbbbbbb", moved, 5))
        await stage.clock.advance(1)

        assert (attempts, len(stage.sources.attempts)) == (1, 2)
        assert stage.sources.addresses[-1] == moved

    play(tmp_path, scenario)


def test_another_segment_length_holds_from_the_next_cut(tmp_path: Path):
    """Without a restart."""

    async def scenario(stage: Stage) -> None:
        stage.order = Order(7, "aaaaaaaaaa", stage.order.address, 10)
        stage.start()
        await stage.connect()
        await stage.play(6)
        stage.capture.change(Order(7, "aaaaaaaaaa", stage.order.address, 5))
        await stage.play(12)
        await stage.stop()

        assert [round(end) for _, end in stage.files()] == [10, 15, 18]
        assert len(stage.sources.attempts) == 1

    play(tmp_path, scenario)


def test_a_clock_that_is_set_begins_another_run(tmp_path: Path):
    """An administrator moves the clock an hour on: the hour is a gap, and nothing overlaps."""

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.connect()
        await stage.play(6)
        stage.clock.step(3600)
        await stage.play(6)
        await stage.stop()

        begin, end, reason = stage.gaps()[-1]
        assert reason is GapReason.CLOCK
        assert end - begin == pytest.approx(3600, abs=0.5)
        assert len(stage.sources.attempts) == 1
        whole(stage, start=min(stage.files()[0][0], stage.gaps()[0][0]))

    play(tmp_path, scenario)


def test_a_title_is_cleaned_before_it_is_shown(tmp_path: Path):
    """One printable line."""

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.connect()
        stage.source.push(Title("Bach\x1b[31m\n - \x00 Air" + "!" * 9000))
        await stage.play(1)

        assert stage.capture.status.title.startswith("Bach [31m - Air!")
        assert len(stage.capture.status.title) == 500

    play(tmp_path, scenario)


class FullSpool(Spool):
    """Takes facts until the disk is full."""

    is_full = False

    def append(self, fact) -> None:
        super().append(fact)
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_a_gap_that_ends_when_there_is_room(tmp_path: Path):
    """It is retried, and recording goes on by itself."""

    async def scenario(stage: Stage) -> None:
        stage.spool.close()
        spool = FullSpool(tmp_path / "spool")
        stage.spool = spool
        object.__setattr__(stage.tools, "spool", spool)
        stage.order = Order(7, "aaaaaaaaaa", stage.order.address, 5)
        stage.start()
        await stage.connect()
        await stage.play(3)
        spool.is_full = True
        await stage.play(6)
        failed = stage.capture.status.last_error
        spool.is_full = False
        while stage.capture.status.state is not CaptureState.STARTING:
            await stage.clock.advance(1)
        await stage.connect()
        await stage.play(6)
        await stage.stop()

        assert "No space left" in failed
        assert GapReason.DISK_FULL in {reason for _, _, reason in stage.gaps()}
        whole(stage, start=min(stage.files()[0][0], stage.gaps()[0][0]))

    play(tmp_path, scenario)


def test_a_station_that_goes_on_as_something_else_begins_a_run_without_a_gap(tmp_path: Path):
    """The second run begins where the first one's last frame ends."""

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.connect()
        await stage.play(10.08, burst=2.4)
        stage.source.push(OPENED)
        await stage.play(10.08)
        await stage.stop(until=20.16)

        runs = [fact for fact in stage.spool.pending() if isinstance(fact, RunStarted)]
        (_, middle), (start, _) = stage.files()
        assert seconds(runs[1].start_time) == middle
        assert start == middle == pytest.approx(10.08, abs=0.05)
        assert all(reason is GapReason.STARTING for _, _, reason in stage.gaps())

    play(tmp_path, scenario)


RADIO = Opened(FileFormat.MP3, "mp3", "icy", is_continuous=True)


@pytest.mark.parametrize(("before", "silent"), [(12, 2.5), (0.96, 4.8), (1.92, 4.8)])
def test_what_a_radio_leaves_out_is_a_gap_where_it_was(tmp_path: Path, before: float, silent: float):
    """Although the connection stays and nobody ends it: the time of what follows is true at once."""

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.clock.idle()
        stage.source.push(RADIO)
        await stage.play(before, burst=4)
        await stage.clock.advance(silent)
        await stage.play(10)
        await stage.stop()

        ((begin, end, reason),) = stage.gaps()
        assert (begin, end) == (pytest.approx(before, abs=0.25), pytest.approx(before + silent, abs=0.3))
        assert reason is GapReason.SOURCE_ERROR
        assert len(stage.sources.attempts) == 1
        assert whole(stage) == pytest.approx(before + silent + 10, abs=0.3)

    play(tmp_path, scenario)


def test_what_came_as_a_silence_began_and_was_read_late_is_before_the_gap(tmp_path: Path):
    """The last frames lay unread for a second and more, as behind a loop that was busy."""

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.clock.idle()
        stage.source.push(RADIO)
        await stage.play(12, burst=4)
        await stage.clock.advance(1.3)
        stage.source.media(frames(0.192))
        await stage.clock.advance(2.4)
        await stage.play(10)
        await stage.stop()

        ((begin, end, _),) = stage.gaps()
        assert (begin, end) == (pytest.approx(12.2, abs=0.05), pytest.approx(15.7, abs=0.3))
        assert whole(stage) == pytest.approx(25.7, abs=0.3)

    play(tmp_path, scenario)


@pytest.mark.parametrize("pieces", [10, 11, 12, 13, 14, 15])
def test_what_came_behind_a_hole_is_kept_if_the_stream_ends_as_the_hole_is_found(tmp_path: Path, pieces: int):
    """Both in what is read at once."""

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.clock.idle()
        stage.source.push(RADIO)
        await stage.play(12, burst=4)
        await stage.clock.advance(2.5)
        for _ in range(pieces):
            await stage.clock.advance(0.24)
            stage.source.media(frames(0.24))
        stage.source.push(Closed(GapReason.SOURCE_ENDED, "The stream ended."))
        await stage.clock.idle()
        await stage.stop()

        holes = [gap for gap in stage.gaps() if gap[2] is GapReason.SOURCE_ERROR]
        ((begin, end, _),) = holes
        assert (begin, end) == (pytest.approx(12, abs=0.25), pytest.approx(14.5, abs=0.3))
        assert whole(stage) == pytest.approx(14.5 + 0.24 * pieces, abs=0.3)

    play(tmp_path, scenario)


def test_what_a_slow_network_brings_late_is_no_gap(tmp_path: Path):
    """It all comes in the end."""

    async def scenario(stage: Stage) -> None:
        stage.start()
        await stage.clock.idle()
        stage.source.push(RADIO)
        await stage.play(12, burst=4)
        await stage.clock.advance(2.6)
        stage.source.media(frames(2.6))
        await stage.play(10)
        await stage.stop()

        assert stage.gaps() == []
        assert whole(stage) == pytest.approx(24.6, abs=0.3)

    play(tmp_path, scenario)
