"""A recorder that is killed, and one that is stopped and started again, within what the servers keep for us."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.instance import Instance, instant
from tests.station import clips, icecast, nginx, programs
from tests.station.clips import Clip
from tests.station.listener import Listener
from tests.station.scripted import TLS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

NAMES = ("icecast", "tls", "hls")  # the second is the first behind a server that encrypts
FRAME_BYTES = 192  # of MP3 at 64 kb/s
AAC_SECONDS = 1024 / 48_000
SIGNALS = (signal.SIGKILL, signal.SIGTERM)


@dataclass
class Track:
    """A channel and what is on record of it in the end."""

    channel: int
    clip: Clip
    recordings: list[dict[str, Any]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    coverage: dict[str, Any] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)

    def numbers(self, folder: Path) -> list[int]:
        """Which of the clip's frames all the files together hold, in order."""
        joined = folder / f"joined{self.files[0].suffix}"
        joined.write_bytes(b"".join(path.read_bytes() for path in self.files))
        return clips.numbered(clips.frame_hashes(joined, video=self.clip.video), self.clip)


@dataclass
class Story:
    """All channels, and a second pair of ears at the radio."""

    tracks: dict[str, Track]
    listener: Listener


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, icecast_server: icecast.Icecast) -> Iterator[str]:
    """Host and port of a server that encrypts what the Icecast sends."""
    behind = f"127.0.0.1:{icecast_server.port}"
    with nginx.tls(tmp_path_factory.mktemp("encrypted"), behind, TLS / "good.pem") as authority:
        yield authority


@pytest.fixture(scope="module")
def story(
    tmp_path_factory: pytest.TempPathFactory,
    icecast_server: icecast.Icecast,
    encrypted: str,
    hls_origin: nginx.Origin,
    television_clip: Clip,
) -> Iterator[Story]:
    """Icecast with its burst of 64 KiB, which is 8 s at 64 kb/s, and HLS that is asked for 8 to 12 s."""
    folder = tmp_path_factory.mktemp("rejoin")
    radio = clips.make_radio(folder, bit_rate="64k")
    icecast_server.start_source("rejoin.mp3", radio)
    hls_origin.play("rejoin", television_clip, segment_seconds=4)
    plain = [f"127.0.0.1:{server.port}" for server in (icecast_server, hls_origin)]
    instance = Instance(folder, [*plain, encrypted])
    listener = Listener(icecast_server.port, "/rejoin.mp3", frame_bytes=FRAME_BYTES)
    urls = dict(zip(NAMES, _urls(icecast_server, encrypted, hls_origin), strict=True))
    try:
        instance.start()
        told = Story(
            {name: _track(instance, name, urls[name], radio, television_clip) for name in NAMES}, listener
        )
        _await_more(instance, told)
        for number in SIGNALS:
            _await_media(instance, told)
            _interrupt(instance, number)
            _await_more(instance, told)
        _gather(instance, told, folder)
        yield told
    finally:
        instance.close()
        listener.close()


def _urls(radio: icecast.Icecast, encrypted: str, television: nginx.Origin) -> list[str]:
    return [radio.url("rejoin.mp3"), f"https://{encrypted}/rejoin.mp3", television.url("rejoin")]


def _track(instance: Instance, name: str, url: str, radio: Clip, television: Clip) -> Track:
    is_radio = name != "hls"
    channel_type = "radio" if is_radio else "TV"
    channel = instance.add_channel(name.ljust(10, "-"), url, channel_type, tls_verify=name != "tls")
    return Track(channel, radio if is_radio else television)


def _await_more(instance: Instance, told: Story) -> None:
    """Until each channel runs and has closed another two files."""
    channels = [track.channel for track in told.tracks.values()]
    for channel in channels:
        instance.await_state(channel, "running", 30)
    counts = {channel: len(instance.recordings(channel)) for channel in channels}
    for channel, count in counts.items():
        instance.await_recordings(channel, count + 2)


def _await_media(instance: Instance, told: Story) -> None:
    """Until the radio's file has some seconds that a kill would tear."""
    channel = told.tracks["icecast"].channel
    programs.eventually(
        lambda: 2 < (instance.status(channel)["file_seconds"] or 0) < 4, 20, "a file is two seconds long"
    )


def _interrupt(instance: Instance, number: signal.Signals) -> None:
    """End the recorder; `up` starts another."""
    (before,) = instance.recorders()
    before.send_signal(number)
    programs.eventually(
        lambda: [process for process in instance.recorders() if process.pid != before.pid],
        20,
        "another recorder runs",
    )


def _gather(instance: Instance, told: Story, folder: Path) -> None:
    for name, track in told.tracks.items():
        since = instance.get(f"/channel/{track.channel}")["created_at"]
        instance.change(track.channel, enabled=False)
        instance.await_state(track.channel, "stopped")
        track.coverage = instance.await_account(track.channel, since)
        track.recordings, track.gaps = instance.recordings(track.channel), instance.gaps(track.channel)
        (folder / name).mkdir()
        track.files = [instance.media(recording, folder / name) for recording in track.recordings]


@pytest.mark.parametrize("name", NAMES)
def test_no_frame_is_lost_and_none_is_there_twice(story: Story, name: str, tmp_path: Path) -> None:
    """The files of all three runs together are the station's frames, each strictly once."""
    numbers = story.tracks[name].numbers(tmp_path)

    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert numbers[0] >= 0


def test_the_sound_of_television_is_torn_by_a_quarter_of_a_second_at_most(story: Story) -> None:
    """AAC packets, of which a remultiplexed stream has others between the same two pictures."""
    track = story.tracks["hls"]
    source = {digest: number for number, digest in enumerate(clips.sound_hashes(track.clip.path))}
    heard = [source.get(digest, -1) for path in track.files for digest in clips.sound_hashes(path)]

    torn = [after - before - 1 for before, after in pairwise(heard) if after != before + 1]

    assert min(heard) >= 0
    assert len(torn) <= len(SIGNALS)
    assert all(abs(packets) * AAC_SECONDS <= 0.25 for packets in torn)


@pytest.mark.parametrize("name", NAMES)
def test_there_is_a_run_for_each_recorder_and_no_gap_between(story: Story, name: str) -> None:
    """Nobody is told of an outage that cost nothing."""
    track = story.tracks[name]

    assert len({recording["run_id"] for recording in track.recordings}) == len(SIGNALS) + 1
    assert {gap["reason"] for gap in track.gaps} <= {"starting", "disabled"}


@pytest.mark.parametrize("name", NAMES)
def test_each_file_begins_at_the_instant_at_which_the_one_before_it_ends(story: Story, name: str) -> None:
    """To the microsecond, also from one recorder's last file to the next one's first."""
    recordings = story.tracks[name].recordings

    assert all(before["end_time"] == after["start_time"] for before, after in pairwise(recordings))


@pytest.mark.parametrize("name", NAMES)
def test_every_second_is_accounted_for(story: Story, name: str) -> None:
    totals = story.tracks[name].coverage["totals"]

    assert (totals["unaccounted"]["seconds"], totals["pending"]["seconds"]) == (0, 0)


def test_the_times_stay_true(story: Story, tmp_path: Path) -> None:
    """A listener beside the recorders heard each file's first frame at the file's start, to 0.25 s.

    The last file may have too few frames for a demuxer: they are counted in all files together.
    """
    track = story.tracks["icecast"]
    numbers, position = track.numbers(tmp_path), 0
    for recording, path in zip(track.recordings, track.files, strict=True):
        deviation = instant(recording["start_time"]) - story.listener.on_air(track.clip, numbers[position])
        position += path.stat().st_size // FRAME_BYTES

        assert abs(deviation.total_seconds()) <= 0.25, recording


@pytest.mark.parametrize("name", NAMES)
def test_a_kill_tears_only_the_file_that_was_open(story: Story, name: str) -> None:
    """One salvaged file a channel; what a tick had not written came again with the burst."""
    assert sum(recording["truncated"] for recording in story.tracks[name].recordings) == 1
