"""What a URL is, found out within bounds."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import pytest

from streamrec.egress import Credentials
from streamrec.media.probe import MediaInfo
from streamrec.models import FileFormat, GapReason
from streamrec.recorder.sources import probing
from tests.station import clips, programs
from tests.station.clips import Clip
from tests.station.faulty import Station
from tests.station.scripted import answer, redirect, serving


def probed(url: str, port: int, **options: object) -> MediaInfo:
    return probing.probe(url, executable=programs.ffmpeg(), allow=(f"127.0.0.1:{port}",), **options)


def test_a_radio_is_described(station: Station, noise: Clip):
    """Codec, rates, channels and what is on air."""
    station.add("a", noise).title = "Artist - Title"

    info = probed(station.url("a"), station.port)

    assert (info.recordable, info.format, info.codecs, info.protocol) == (True, FileFormat.MP3, "mp3", "http")
    assert (info.bit_rate, info.sample_rate, info.channels) == (128_000, 48_000, 1)
    assert info.title == "Artist - Title"


def test_a_television_is_described(shelf: tuple[Path, int]):
    """Picture and sound."""
    folder, port = shelf
    clips.make_television(folder, 5)

    info = probed(f"http://127.0.0.1:{port}/picture.ts", port)

    assert (info.codecs, info.container, info.format) == ("h264+aac", "mpegts", FileFormat.TS)
    assert (info.width, info.height, info.frame_rate) == (160, 120, 12)


def test_a_page_is_not_media(shelf: tuple[Path, int]):
    """It answers 200 and is a web page all the same."""
    folder, port = shelf
    (folder / "index.html").write_text("<html><body>Back soon.</body></html>" * 50)

    info = probed(f"http://127.0.0.1:{port}/index.html", port)

    assert (info.recordable, info.reason) == (False, GapReason.NOT_MEDIA)


@pytest.mark.parametrize("seconds", [0.5])
def test_a_silent_server_costs_no_longer_than_allowed(seconds: float):
    """It accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        began = time.monotonic()

        info = probed(f"http://127.0.0.1:{port}/", port, timeout_seconds=seconds)

    assert (info.recordable, info.reason) == (False, GapReason.STALLED)
    assert time.monotonic() - began < seconds + 1


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://10.0.0.1/", GapReason.EGRESS_DENIED),
        ("http://127.0.0.1:5432/", GapReason.EGRESS_DENIED),
        ("file:///etc/passwd", GapReason.UNSUPPORTED),
        ("concat:a|b", GapReason.UNSUPPORTED),
    ],
)
def test_nothing_is_started_for_an_address_that_is_not_for_recording(url: str, reason: GapReason, tmp_path: Path):
    """The executable does not even exist."""
    info = probing.probe(url, Credentials("u", "p"), executable=str(tmp_path / "none"))

    assert (info.recordable, info.reason) == (False, reason)


def test_a_redirect_does_not_lead_where_a_capture_may_not_go():
    """The answer names the rule, and the forbidden server hears nothing."""
    with serving([answer(b"secret")]) as inside, serving(redirect(inside.url)) as outside:
        info = probed(outside.url, outside.port)

    assert (info.recordable, info.reason) == (False, GapReason.EGRESS_DENIED)
    assert inside.requests == []


def test_what_no_file_can_keep_is_refused_in_words(shelf: tuple[Path, int]):
    """VP8 plays, but not from our containers."""
    folder, port = shelf
    command = [programs.ffmpeg(), "-v", "error", "-f", "lavfi", "-i", "testsrc=s=64x64:d=2", "-c:v", "libvpx"]
    subprocess.run([*command, str(folder / "old.mkv")], check=True)

    info = probed(f"http://127.0.0.1:{port}/old.mkv", port)

    assert (info.recordable, info.reason) == (False, GapReason.UNSUPPORTED)
    assert info.detail == "It cannot be recorded: vp8 cannot be kept in a file."
