"""`kill -9` of the recorder and of everything, a clean stop, and what is on record afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.instance import Instance, instant
from tests.station import clips, faulty, programs
from tests.station.clips import Clip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

EVENTS = ("recorder killed", "all killed", "stopped")
TICK_SECONDS = 1.5  # what may lie in a pipe and in the framer when the recorder dies


@dataclass
class Story:
    """What was done when (seconds since 1970), and what is on record."""

    mount: faulty.Mount
    clip: Clip
    down: dict[str, float] = field(default_factory=dict)
    up: dict[str, float] = field(default_factory=dict)
    orphans: dict[str, list[psutil.Process]] = field(default_factory=dict)
    stop_seconds: float = 0.0
    recordings: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    coverage: dict[str, Any] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    parts: list[Path] = field(default_factory=list)

    def last_before(self, event: str) -> tuple[dict[str, Any], Path]:
        """The last recording that began before something happened, and its file."""
        pairs = zip(self.recordings, self.files, strict=True)
        return [pair for pair in pairs if instant(pair[0]["start_time"]).timestamp() < self.down[event]][-1]

    def gap_after(self, event: str) -> dict[str, Any]:
        """The one gap that begins at the end of that recording."""
        end = self.last_before(event)[0]["end_time"]
        (gap,) = [gap for gap in self.gaps if gap["start_time"] == end]
        return gap


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, station: faulty.Station, radio_clip: Clip) -> Iterator[Story]:
    """One channel through three interruptions. There is no burst, so that none of the loss can be made good.

    A second one is captured by ffmpeg, to see that no child is left behind.
    """
    told = Story(station.add("radio", radio_clip, burst_frames=0), radio_clip)
    folder = tmp_path_factory.mktemp("restart")
    instance = Instance(folder, [f"127.0.0.1:{station.port}"])
    try:
        instance.start()
        channel = instance.add_channel("restart-01", station.url("radio"))
        other = instance.add_channel("restart-02", station.url("radio"), capture="ffmpeg")
        instance.await_state(other, "running", 30)
        _await_more(instance, channel)
        for event, interrupt in zip(EVENTS, (_kill_recorder, _kill_all, _stop), strict=True):
            _await_file(instance, channel, max(told.up.values(), default=0.0))
            interrupt(instance, told, event)
            told.up[event] = time.time()
            _await_more(instance, channel)
        instance.change(other, enabled=False)
        instance.await_state(other, "stopped")
        _gather(instance, told, channel, folder)
        yield told
    finally:
        instance.close()


def _await_more(instance: Instance, channel: int) -> None:
    """Until it runs and has closed another file."""
    instance.await_state(channel, "running", 30)
    instance.await_recordings(channel, len(instance.recordings(channel)) + 1)


def _await_file(instance: Instance, channel: int, since: float) -> None:
    """Until a file that was begun after `since` has two seconds, so that there is something to salvage."""

    def is_there() -> bool:
        status = instance.status(channel)
        begun = status["file_start_time"]
        if begun is None or instant(begun).timestamp() <= since:
            return False
        return status["file_seconds"] > 2 and time.time() - instant(begun).timestamp() < 3.5  # the row may be old

    programs.eventually(is_there, 60, "a file is two seconds long", every=0.1)


def _kill_recorder(instance: Instance, told: Story, event: str) -> None:
    (before,) = instance.recorders()
    told.down[event] = time.time()
    told.orphans[event] = instance.kill_recorder()
    programs.eventually(
        lambda: [process for process in instance.recorders() if process.pid != before.pid],
        20,
        "another recorder runs",
    )


def _kill_all(instance: Instance, told: Story, event: str) -> None:
    told.down[event] = time.time()
    told.orphans[event] = instance.kill_all()
    instance.start()


def _stop(instance: Instance, told: Story, event: str) -> None:
    told.orphans[event] = psutil.Process(instance.process.pid).children(recursive=True)
    told.down[event] = time.time()
    instance.stop()
    told.stop_seconds = time.time() - told.down[event]
    instance.start()


def _gather(instance: Instance, told: Story, channel: int, folder: Path) -> None:
    since = instance.get(f"/channel/{channel}")["created_at"]
    instance.change(channel, enabled=False)
    instance.await_state(channel, "stopped")
    told.coverage = instance.await_account(channel, since)
    told.recordings = instance.recordings(channel)
    told.gaps = instance.gaps(channel)
    told.files = [instance.media(recording, folder) for recording in told.recordings]
    told.parts = list((folder / "data").rglob("*.part"))


@pytest.mark.parametrize("event", EVENTS)
def test_no_capture_outlives_its_recorder(story: Story, event: str) -> None:
    """The ffmpeg children end by themselves, and so does everything else."""
    assert story.orphans[event] != []
    psutil.wait_procs(story.orphans[event], timeout=5)
    assert [process for process in story.orphans[event] if _is_alive(process)] == []


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("event", ["recorder killed", "all killed"])
def test_what_was_written_before_a_kill_is_salvaged(story: Story, event: str) -> None:
    """The torn file becomes a recording up to its last whole frame, at most a tick before the kill."""
    recording, path = story.last_before(event)

    assert recording["truncated"]
    assert clips.decode_errors(path) == ""
    assert 0 <= story.down[event] - instant(recording["end_time"]).timestamp() < TICK_SECONDS


def test_a_clean_stop_closes_the_file(story: Story) -> None:
    """Nothing needs salvaging after SIGTERM, and the last file reaches up to it."""
    recording, _ = story.last_before("stopped")

    assert not recording["truncated"]
    assert abs(story.down["stopped"] - instant(recording["end_time"]).timestamp()) < TICK_SECONDS


def test_a_clean_stop_takes_less_than_ten_seconds(story: Story) -> None:
    """The recorder closes its files, the API ends its requests, PostgreSQL checkpoints."""
    assert story.stop_seconds < 10


@pytest.mark.parametrize("event", EVENTS)
def test_the_time_without_a_recorder_is_one_gap_that_says_so(story: Story, event: str) -> None:
    """From the last frame on disk to the first frame of the new run."""
    gap = story.gap_after(event)

    assert gap["reason"] == "recorder_down"
    assert gap["end_time"] in {recording["start_time"] for recording in story.recordings}


def test_the_new_run_s_times_are_as_true_as_the_old_one_s(story: Story) -> None:
    """Every file's start agrees with the station's stamps to 0.25 s, before and after each interruption."""
    for recording, path in zip(story.recordings, story.files, strict=True):
        frame = clips.numbered(clips.frame_hashes(path)[:1], story.clip)[0]

        deviation = instant(recording["start_time"]) - story.mount.on_air(frame)

        assert abs(deviation.total_seconds()) <= 0.25, recording


def test_no_frame_is_on_record_twice(story: Story) -> None:
    """All files together hold frames in rising order, with jumps only where a gap is."""
    hashes = [digest for path in story.files for digest in clips.frame_hashes(path)]
    numbers = clips.numbered(hashes, story.clip)

    jumps = [after - before for before, after in pairwise(numbers) if after != before + 1]

    assert min(numbers) >= 0
    assert len(jumps) == len(EVENTS)
    assert all(jump > 1 for jump in jumps)


def test_every_second_is_accounted_for(story: Story) -> None:
    """Three interruptions later nothing is unaccounted or pending, lost or counted twice."""
    totals = story.coverage["totals"]
    elapsed = sum(total["seconds"] for total in totals.values())

    assert (totals["unaccounted"]["seconds"], totals["pending"]["seconds"], totals["lost"]["seconds"]) == (0, 0, 0)
    assert elapsed == pytest.approx(story.coverage["duration_seconds"], abs=0.01)


def test_recordings_and_gaps_never_overlap(story: Story) -> None:
    """Put in order, each begins exactly where the one before it ended."""
    spans = sorted((row["start_time"], row["end_time"]) for row in [*story.recordings, *story.gaps])

    assert all(before[1] == after[0] for before, after in pairwise(spans))


def test_nothing_half_written_is_left(story: Story) -> None:
    """Once the channel is disabled, no `.part` file lies about."""
    assert story.parts == []
