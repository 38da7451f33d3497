"""Televisions that come over RTSP, SRT and UDP: a real server each, or a real sender."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from tests.station import programs
from tests.station.clips import Clip

PASSWORD = "s3cret' \\x"
PASSPHRASE = "0123456789abc"
SOME_LINES = 2000  # bytes: seconds of pictures
_PYTHON = "/usr/bin/python3"  # the system's own: Debian's packages are for it alone
_GI = "import gi; gi.require_version('GstRtspServer', '1.0')"


@dataclass(frozen=True)
class Television:
    """What plays, where, and the process that can be killed."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    fed: int = 0
    """The UDP port on which its server is given what it plays, by a process of its own."""
    feeding: subprocess.Popen[bytes] | None = None


@contextmanager
def rtsp(folder: Path, clip: Clip, password: str = "", *, is_watched: bool = True) -> Iterator[Television]:
    """GStreamer's RTSP server, fed over UDP; with a password it lets in `ann` alone."""
    if subprocess.run([_PYTHON, "-c", _GI], capture_output=True, check=False).returncode != 0:
        programs.needed("gstreamer's RTSP server", "gir1.2-gst-rtsp-server-1.0")
    fed, port = programs.free_port(), programs.free_port()
    command = [_PYTHON, str(Path(__file__).with_name("rtsp_media.py")), str(fed), str(port)]
    command += [password] if password else []
    userinfo = f"ann:{quote(password, safe='')}@" if password else ""
    url = f"rtsp://{userinfo}127.0.0.1:{port}/tv"
    with ExitStack() as stack:
        process = stack.enter_context(programs.running(command, folder / f"rtsp-{port}.log"))
        stack.enter_context(udp(folder, clip, fed))
        programs.eventually(lambda: programs.listens(port), 20, "the RTSP server listens")
        if is_watched:
            stack.enter_context(_viewer(folder, url))
        yield Television(url, port, process)


@contextmanager
def _viewer(folder: Path, url: str) -> Iterator[None]:
    """Somebody who watches: GStreamer begins anew, and guesses times, for each first one who comes."""
    seen = folder / f"seen-{urlsplit(url).port}"
    command = [programs.ffmpeg(), "-loglevel", "error", "-rtsp_transport", "tcp", "-i", url, "-map", "0:v"]
    command += ["-c", "copy", "-flush_packets", "1", "-f", "framecrc", str(seen)]
    with programs.running(command, folder / f"{seen.name}.log"):
        programs.eventually(lambda: seen.exists() and seen.stat().st_size > SOME_LINES, 20, "RTSP is on air")
        yield


@contextmanager
def srt(folder: Path, clip: Clip, passphrase: str = "", *, start: int = 0) -> Iterator[Television]:
    """srt-live-transmit, which one caller at a time may call, fed over UDP."""
    program = programs.needed("srt-live-transmit", "srt-tools")
    fed, port = programs.free_port(), programs.free_port()
    secret = f"&passphrase={passphrase}" if passphrase else ""
    command = [program, "-q", f"udp://127.0.0.1:{fed}", f"srt://127.0.0.1:{port}?mode=listener{secret}"]
    url = f"srt://127.0.0.1:{port}{secret.replace('&', '?')}"
    with (
        programs.running(command, folder / f"srt-{port}.log") as process,
        udp(folder, clip, fed, start=start) as feed,
    ):
        yield Television(url, port, process, fed, feed.process)


@contextmanager
def udp(folder: Path, clip: Clip, port: int = 0, *, start: int = 0) -> Iterator[Television]:
    """ffmpeg, which sends MPEG-TS to a port at its own pace, whether anybody is there or not.

    It begins `start` seconds into the clip, and its time stamps say so.
    """
    port = port or programs.free_port()
    url = f"udp://127.0.0.1:{port}"
    command = [
        programs.ffmpeg(),
        "-loglevel",
        "warning",
        "-ss",
        str(start),
        "-re",
        "-i",
        str(clip.path),
        "-copyts",
    ]
    command += ["-c", "copy", "-map", "0:v", "-map", "0:a", "-f", "mpegts", f"{url}?pkt_size=1316"]
    with programs.running(command, folder / f"udp-{port}.log") as process:
        yield Television(url, port, process)
