"""The origins themselves: what they send is what the other tests take for the truth."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.station import faulty, icecast, nginx, programs
from tests.station.clips import Clip, frame_hashes, numbered
from tests.station.listener import Listener


def _captured(url: str, path: Path, seconds: float) -> Path:
    command = [programs.ffmpeg(), "-v", "error", "-nostdin", "-i", url, "-t", str(seconds), "-c", "copy"]
    command += ["-write_xing", "0", "-id3v2_version", "0"] if path.suffix == ".mp3" else []
    subprocess.run([*command, str(path)], check=True, timeout=60)
    return path


def _assert_consecutive(numbers: list[int]) -> None:
    assert numbers[0] >= 0
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_icecast_sends_the_clip_frame_by_frame_and_the_listener_knows_when(
    icecast_server: icecast.Icecast, radio_clip: Clip, tmp_path: Path
) -> None:
    """What a plain ffmpeg records from Icecast is a stretch of the clip, and its frames were on air just now."""
    icecast_server.start_source("noise.mp3", radio_clip)
    listener = Listener(icecast_server.port, "/noise.mp3")
    numbers = numbered(frame_hashes(_captured(icecast_server.url("noise.mp3"), tmp_path / "a.mp3", 3)), radio_clip)

    latest = listener.on_air(radio_clip, numbers[-1]).timestamp()

    listener.close()
    icecast_server.stop_source("noise.mp3")
    _assert_consecutive(numbers)
    assert time.time() - 6 < latest < time.time()


@pytest.mark.parametrize("kind", ["hls_origin", "rtmp_origin"])
def test_nginx_sends_the_clip_picture_by_picture(
    kind: str, request: pytest.FixtureRequest, television_clip: Clip, tmp_path: Path
) -> None:
    """What a plain ffmpeg records from nginx is a stretch of the clip."""
    origin: nginx.Origin = request.getfixturevalue(kind)
    origin.play("noise", television_clip)

    numbers = numbered(
        frame_hashes(_captured(origin.url("noise"), tmp_path / "a.ts", 3), video=True), television_clip
    )

    origin.stop("noise")
    _assert_consecutive(numbers)


def test_our_station_stamps_its_frames_as_a_listener_hears_them(station: faulty.Station, radio_clip: Clip) -> None:
    """The stamps of the fault station and the arrivals at a listener agree to two of its ticks."""
    mount = station.add("noise.mp3", radio_clip)
    listener = Listener(station.port, "/noise.mp3")
    programs.eventually(lambda: mount.live() > 100, 10, "the mount plays for some seconds")

    late = (listener.on_air(radio_clip, 50) - mount.on_air(50)).total_seconds()

    listener.close()
    assert 0 <= late < 0.2
