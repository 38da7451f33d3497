"""Short media out of seeded noise, made once a test run, for whoever needs real bytes."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import imageio_ffmpeg

from streamrec.framing import framer_for
from streamrec.framing.units import FLICKS, Unit
from streamrec.models import FileFormat

SECONDS = 6
_SOUND = f"-f lavfi -i anoisesrc=duration={SECONDS}:color=pink:seed=5"
_PICTURE = f"-f lavfi -i testsrc2=size=160x90:rate=25:duration={SECONDS},noise=alls=40:allf=t:all_seed=5 {_SOUND}"
_X264 = "-c:v libx264 -preset ultrafast -g 25"
_FRAGMENTED = "-f mp4 -movflags +empty_moov+default_base_moof+frag_keyframe -frag_duration 500000"
_RECIPES = {
    "mp3.mp3": f"{_SOUND} -ar 44100 -c:a libmp3lame -b:a 128k -write_xing 0 -id3v2_version 0",
    "vbr.mp3": f"{_SOUND} -ar 22050 -c:a libmp3lame -q:a 4 -write_xing 0 -id3v2_version 0",
    "layer2.mp3": f"{_SOUND} -ar 48000 -c:a mp2 -b:a 192k -f mp2",
    "aac.aac": f"{_SOUND} -ar 44100 -c:a aac -b:a 96k",
    "radio.ts": f"{_SOUND} -c:a ac3 -b:a 192k",
    "tv.ts": f"{_PICTURE} {_X264} -bf 2 -c:a aac",
    "hevc.ts": f"{_PICTURE} -c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=25 -c:a ac3",
    "mpeg2.ts": f"{_PICTURE} -c:v mpeg2video -g 25 -c:a mp2",
    "tv.mp4": f"{_PICTURE} {_X264} -bf 2 -c:a aac {_FRAGMENTED}",
    "opus.mp4": f"{_SOUND} -ar 48000 -c:a libopus {_FRAGMENTED}",
    "vorbis.mp4": f"{_SOUND} -ar 48000 -c:a libvorbis {_FRAGMENTED}",
    "flac.mp4": f"{_SOUND} -ar 48000 -c:a flac {_FRAGMENTED}",
}


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="streamrec-samples-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def ffmpeg(*arguments: str) -> str:
    """Run ffmpeg, which must have nothing to complain of, and return what it prints."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-v", "error", "-xerror", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@cache
def sample(name: str) -> bytes:
    """The bytes of one of the recipes."""
    path = _folder() / name
    ffmpeg(*_RECIPES[name].split(), "-threads", "1", str(path))
    return path.read_bytes()


def names(*formats: FileFormat) -> list[str]:
    """The samples of these formats."""
    return [name for name in _RECIPES if format_of(name) in formats]


def format_of(name: str) -> FileFormat:
    return FileFormat(name.rpartition(".")[2])


def packets(path: Path, *, kind: str = "a") -> list[str]:
    """The hash of each audio ("a") or video ("v") packet of a file, without decoding it."""
    lines = ffmpeg("-i", str(path), "-map", f"0:{kind}:0", "-c", "copy", "-f", "framemd5", "-").splitlines()
    return [line.split(",")[5].strip() for line in lines if not line.startswith("#")]


def framed(file_format: FileFormat, chunks: Iterable[bytes]) -> tuple[list[Unit], int]:
    """All units of a stream, and how many bytes were dropped."""
    framer = framer_for(file_format)
    units = [unit for chunk in chunks for unit in framer.feed(chunk)]
    units += framer.flush()
    return units, framer.dropped


@cache
def units_of(name: str) -> list[Unit]:
    """A sample's units."""
    return framed(format_of(name), [sample(name)])[0]


def joined(units: Sequence[Unit]) -> bytes:
    return b"".join(unit.data for unit in units)


def seconds(units: Sequence[Unit]) -> float:
    return sum(unit.duration for unit in units) / FLICKS
