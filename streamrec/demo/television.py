"""The television: an ffmpeg child that writes a live HLS window, restarted when it ends, served from a folder."""

from __future__ import annotations

import re
from pathlib import Path

import structlog

from streamrec.clock import Clock
from streamrec.demo.http import Request, Response
from streamrec.media.confinement import Limits
from streamrec.media.process import Child

PLAYLIST = "live.m3u8"
_NAMES = re.compile(r"live\.m3u8|\d{1,20}\.ts")
_FIRST_PICTURE_SECONDS = 10.0
_RESTART_SECONDS = 1.0
_MOST_BYTES = 1 << 30  # of a segment

log = structlog.get_logger(__name__)


def command(ffmpeg: str, folder: Path, *, with_clock: bool) -> list[str]:
    """A small test picture and a beep a second, in real time: segments of 2 s, a window of 30 s.

    Segments are numbered from the epoch, so that a restart never reuses a number. `with_clock` writes the UTC time
    of day into the picture, which needs a font on the machine.
    """
    text = r"drawtext=text='%{gmtime\:%X}':fontsize=24:fontcolor=white:x=(w-tw)/2:y=h-th-12:box=1:boxcolor=black"
    built = [ffmpeg, "-hide_banner", "-loglevel", "error", "-re"]
    built += ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=12"]
    built += ["-re", "-f", "lavfi", "-i", "sine=frequency=330:beep_factor=2:sample_rate=48000"]
    built += ["-vf", text] if with_clock else []
    built += ["-c:v", "libx264", "-preset", "ultrafast", "-threads", "1", "-pix_fmt", "yuv420p", "-b:v", "300k"]
    built += ["-g", "24", "-keyint_min", "24", "-sc_threshold", "0", "-c:a", "aac", "-b:a", "64k"]
    built += ["-f", "hls", "-hls_time", "2", "-hls_list_size", "15", "-hls_start_number_source", "epoch"]
    built += ["-hls_flags", "delete_segments+append_list+program_date_time+omit_endlist+temp_file"]
    return [*built, "-hls_segment_filename", str(folder / "%d.ts"), str(folder / PLAYLIST)]


class Television:
    """One station; `broadcast` makes the picture, `watch` hands out what is there."""

    def __init__(self, ffmpeg: str, folder: Path, clock: Clock) -> None:
        self._ffmpeg = ffmpeg
        self._folder = folder
        self._clock = clock

    async def broadcast(self) -> None:
        """Keep the child alive until cancelled. A child that never made a picture is tried without the clock."""
        with_clock = True
        while True:
            limits = Limits(writes=self._folder, file_bytes=_MOST_BYTES)
            child = Child(command(self._ffmpeg, self._folder, with_clock=with_clock), limits=limits)
            try:
                errors = await self._followed(child)
            finally:
                child.kill()
                await child.finish(self._clock)
            log.warning("demo picture ended", errors=errors)
            with_clock = with_clock and self._is_on_air
            await self._clock.sleep(_RESTART_SECONDS)

    async def _followed(self, child: Child) -> str:
        """What the child complained of in its last second, once it has ended."""
        errors = b""
        while child.status() is None:
            errors = child.read_errors(4096) or b""
            await self._clock.sleep(_RESTART_SECONDS)
        return (errors + (child.read_errors(4096) or b"")).decode(errors="replace").strip()

    async def watch(self, request: Request, response: Response) -> None:
        """Answer with the playlist, or a segment that is still in the window."""
        name = request.path.rpartition("/")[2]
        if not _NAMES.fullmatch(name):
            await response.whole(b"", "text/plain", "404 Not Found")
            return
        path = self._folder / name
        if name == PLAYLIST:
            await self._first_picture()
        if not path.is_file():
            await response.whole(b"", "text/plain", "404 Not Found")
            return
        media_type = "application/vnd.apple.mpegurl" if name == PLAYLIST else "video/mp2t"
        await response.whole(path.read_bytes(), media_type)

    @property
    def _is_on_air(self) -> bool:
        return (self._folder / PLAYLIST).exists()

    async def _first_picture(self) -> None:
        """A station that has just been switched on is waited for, rather than refused."""
        deadline = self._clock.monotonic() + _FIRST_PICTURE_SECONDS
        while not self._is_on_air and self._clock.monotonic() < deadline:
            await self._clock.sleep(0.1)
