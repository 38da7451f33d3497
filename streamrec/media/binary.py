"""Which ffmpeg to run: the one that a setting names, else the newest of PATH's and the wheel's."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import imageio_ffmpeg

from streamrec.errors import NotReady

_VERSION = re.compile(r"ffmpeg version \D{0,3}(\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class Ffmpeg:
    """An executable and what it says of itself."""

    path: str
    version: str
    number: tuple[int, int, int]


@cache
def find(given: Path | None = None) -> Ffmpeg:
    """The ffmpeg to use. Asks each candidate for its version, once a process.

    Raises:
        NotReady: there is none, or the one that the setting names does not run.
    """
    if given is not None:
        chosen = inspect(str(given))
        if chosen is None:
            raise NotReady(f"The setting ffmpeg names {given}, which does not run; correct or remove it.")
        return chosen
    candidates = [found for path in _candidates() if (found := inspect(path)) is not None]
    if not candidates:
        raise NotReady("There is no ffmpeg; run ./run.sh upgrade or set STREAMREC_FFMPEG.")
    return max(candidates, key=lambda found: found.number)


def inspect(path: str) -> Ffmpeg | None:
    """What the executable at `path` is, or None if it is no ffmpeg that runs."""
    try:
        done = subprocess.run([path, "-version"], capture_output=True, timeout=10, check=True, text=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    if not done.stdout.startswith("ffmpeg version "):
        return None
    match = _VERSION.match(done.stdout)
    number = (int(match[1]), int(match[2]), int(match[3] or 0)) if match else (0, 0, 0)
    return Ffmpeg(path, done.stdout.split(maxsplit=3)[2], number)


def _candidates() -> list[str]:
    """The wheel's first: of equals, the one that the lock pins is meant."""
    found: list[str] = []
    with suppress(RuntimeError):  # a platform without a binary in the wheel
        found.append(imageio_ffmpeg.get_ffmpeg_exe())
    on_path = shutil.which("ffmpeg")
    return [*found, on_path] if on_path else found
