"""What is recorded: an Icecast mount of 128 kb/s, the same behind TLS, and a live HLS playlist of 640 kb/s."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.station import clips, icecast, nginx, programs
from tests.station.scripted import TLS


@dataclass(frozen=True)
class Source:
    """An address that any number of recorders may read, and its rate."""

    kind: str
    url: str
    channel_type: str
    bytes_per_second: float

    @property
    def authority(self) -> str:
        """`host:port`, as STREAMREC_EGRESS_ALLOW wants it."""
        return self.url.split("/")[2]


@contextmanager
def icy(folder: Path, seconds: float) -> Iterator[Source]:
    """MP3 noise at 128 kb/s from a real Icecast."""
    clip = clips.make_radio(folder, int(seconds))
    with icecast.running(folder) as server:
        server.start_source("noise.mp3", clip)
        yield Source("icy", server.url("noise.mp3"), "radio", 16_000.0)


@contextmanager
def https(folder: Path, seconds: float) -> Iterator[Source]:
    """The same behind nginx, which does the TLS as it does for most stations."""
    with icy(folder, seconds) as plain, nginx.tls(folder, plain.authority, TLS / "good.pem") as authority:
        yield Source("https", f"https://{authority}/noise.mp3", "radio", plain.bytes_per_second)


@contextmanager
def hls(folder: Path, seconds: float) -> Iterator[Source]:
    """H.264 and AAC in MPEG-TS segments of 2 s."""
    path = _picture(folder, int(seconds))
    with nginx.hls(folder) as origin:
        origin.play("noise", clips.Clip(path, video=True))
        yield Source("hls", origin.url("noise"), "TV", path.stat().st_size / seconds)


def _picture(folder: Path, seconds: int) -> Path:
    path = folder / "picture.ts"
    command = [programs.ffmpeg(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
    command += ["-f", "lavfi", "-i", f"testsrc2=size=640x360:rate=25:duration={seconds},noise=alls=4:allf=t"]
    command += ["-f", "lavfi", "-i", f"anoisesrc=seed=1:sample_rate=48000:duration={seconds}", "-t", str(seconds)]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50", "-sc_threshold", "0"]
    command += ["-b:v", "540k", "-maxrate", "540k", "-bufsize", "540k", "-c:a", "aac", "-b:a", "64k", str(path)]
    subprocess.run(command, check=True, timeout=300)
    return path


KINDS = {"icy": icy, "https": https, "hls": hls}
