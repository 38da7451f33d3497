"""`python -m benchmarks.clip`: cut the same ranges with streamrec and ffmpeg's concat demuxer, turn by turn."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import click

from streamrec import clock
from streamrec.archive.files import Tree
from streamrec.archive.places import Reading
from streamrec.clips.cutting import Recordings
from streamrec.clips.making import BEHIND, Making
from streamrec.clips.plan import Source, planned
from streamrec.framing import framer_for
from streamrec.framing.units import FLICKS
from streamrec.media import binary
from streamrec.models import FileFormat, GapPolicy
from streamrec.settings import Settings
from streamrec.timeline import Span

T0 = datetime(2026, 11, 1, tzinfo=UTC)
RADIO = (
    "-f lavfi -i anoisesrc=duration={seconds}:color=pink:seed=5 -ar 44100 -c:a libmp3lame -b:a 128k"
    " -write_xing 0 -id3v2_version 0"
)
TV = (
    "-f lavfi -i testsrc2=size=640x360:rate=25:duration={seconds},noise=alls=20:allf=t:all_seed=5"
    " -f lavfi -i anoisesrc=duration={seconds}:color=pink:seed=5"
    " -c:v libx264 -preset ultrafast -g 50 -b:v 600k -maxrate 600k -bufsize 600k -c:a aac -b:a 96k"
)


@dataclass(frozen=True)
class Case:
    """What is cut out of what."""

    name: str
    recipe: str
    format: FileFormat
    segments: int
    seconds: int  # of a segment
    start: float
    length: float
    wanted: str
    target: float  # ratio


CASES = [
    Case("1 h of radio, 60 files", RADIO, FileFormat.MP3, 60, 60, 0.5, 3598, "mp3", 0.15),
    Case("30 s of radio across a boundary", RADIO, FileFormat.MP3, 60, 60, 1785, 30, "mp3", 0.05),
    Case("10 min of TV, 300 files, to MP4", TV, FileFormat.TS, 300, 2, 0.5, 598, "mp4", 0.40),
]


RUN = uuid4()


class Work:
    """An attempt that nobody watches."""

    def __init__(self) -> None:
        self.job_id, self.attempt = uuid4(), 1

    def check(self) -> None:
        """Go on."""

    def progress(self, fraction: float) -> None:
        """Nobody asks."""


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(3))
@click.option("--case", "chosen", type=click.IntRange(1, len(CASES)), multiple=True, help="Default: all.")
def main(rounds: int, chosen: tuple[int, ...]) -> None:
    """Ratios of wall times, median [least .. most] of the rounds; only streamrec hashes and syncs its file."""
    found = binary.find()
    system = "/usr/bin/ffmpeg"
    click.echo(f"{clock.now():%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, {platform.platform()}, {rounds} rounds")
    for case in CASES if not chosen else [CASES[number - 1] for number in chosen]:
        with tempfile.TemporaryDirectory(prefix="streamrec-benchmark-") as folder:
            sources = _archive(case, Path(folder), found.path)
            runners = {"streamrec": lambda s=sources, c=case, f=folder: _ours(c, Path(f), s, found.path)}
            for name, executable in {
                f"ffmpeg {found.version}": found.path,
                "ffmpeg of the system": system,
            }.items():
                if Path(executable).exists():
                    runners[name] = lambda s=sources, c=case, f=folder, e=executable: _theirs(c, Path(f), s, e)
            _settings(Path(folder))
            taken = {name: [] for name in runners}
            for _ in range(rounds):
                for name, run in runners.items():
                    before = _cpu()
                    taken[name].append((run(), _cpu() - before))
            click.echo(f"\n{case.name} (target {case.target}x), load {os.getloadavg()[0]:.1f}")
            for number, unit in enumerate(("time", "CPU")):
                _tell(unit, {name: [pair[number] for pair in pairs] for name, pairs in taken.items()})


def _cpu() -> float:
    """Seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _tell(unit: str, times: dict[str, list[float]]) -> None:
    ours = times["streamrec"]
    for name, taken in times.items():
        ratios = sorted(mine / other for mine, other in zip(ours, taken, strict=True))
        beside = "" if taken is ours else (
            f"  streamrec takes {statistics.median(ratios):.3f}x [{ratios[0]:.3f} .. {ratios[-1]:.3f}]"
        )  # fmt: skip
        click.echo(f"  {unit:4} {name:40} {statistics.median(taken) * 1000:8.1f} ms{beside}")


def _archive(case: Case, folder: Path, executable: str) -> list[Source]:
    """Files as the recorder leaves them."""
    whole = folder / f"whole.{case.format}"
    options = case.recipe.format(seconds=case.segments * case.seconds)
    subprocess.run([executable, "-v", "error", *options.split(), str(whole)], check=True)
    sources: list[Source] = []
    held: list[Any] = []
    flicks = began = 0
    framer = framer_for(case.format)
    with whole.open("rb") as file:
        while data := file.read(1 << 20):
            for unit in framer.feed(data):
                if unit.is_cut and flicks >= (len(sources) + 1) * case.seconds * FLICKS:
                    sources.append(_closed(case, folder, held, began, flicks, len(sources)))
                    held, began = [], flicks
                held.append(unit)
                flicks += unit.duration
    sources.append(_closed(case, folder, held, began, flicks, len(sources)))
    whole.unlink()
    return sources


def _closed(case: Case, folder: Path, units: list[Any], began: int, ended: int, number: int) -> Source:
    data = units[0].header + b"".join(unit.data for unit in units)
    key = f"{number:04}.{case.format}"
    (folder / "archive").mkdir(exist_ok=True)
    (folder / "archive" / key).write_bytes(data)
    span = Span(*(T0 + timedelta(microseconds=at * 1_000_000 // FLICKS) for at in (began, ended)))
    codecs = "mp3" if case.format is FileFormat.MP3 else "h264+aac"
    return Source(number + 1, key, span, len(data), hashlib.sha256(data).hexdigest(), case.format, codecs, RUN)


@cache
def _settings(folder: Path) -> Settings:
    """A worker reads them once, and so are they here."""
    return Settings(data_dir=folder)


def _ours(case: Case, folder: Path, sources: list[Source], executable: str) -> float:
    settings = _settings(folder)
    began = time.perf_counter()
    start = T0 + timedelta(seconds=case.start)
    window = Span(start, start + timedelta(seconds=case.length))
    wide = Span(window.start, window.end + BEHIND)
    clip: Any = SimpleNamespace(
        id=uuid4(), channel_id=1, start_time=window.start, end_time=window.end, format=case.wanted, exact=False,
        gaps=GapPolicy.SKIP, created_at=T0,
    )  # fmt: skip
    with Tree(folder / "archive") as tree, Tree(folder / "clips") as target:
        archive = Recordings(tree, Reading(settings), folder)
        Making(
            Work(), archive, target, lambda: executable, clip, planned(sources, window), planned(sources, wide), []
        ).make()
    return time.perf_counter() - began


def _theirs(case: Case, folder: Path, sources: list[Source], executable: str) -> float:
    """The segments of the range by the concat demuxer, cut by its in and out points."""
    began = time.perf_counter()
    start, end = T0 + timedelta(seconds=case.start), T0 + timedelta(seconds=case.start + case.length)
    held = [source for source in sources if source.span.start < end and start < source.span.end]
    lines = [f"file '{folder / 'archive' / source.key}'\n" for source in held]
    (folder / "list").write_text("".join(lines))
    skipped = (start - held[0].span.start).total_seconds()
    options = [
        "-ss",
        f"{skipped}",
        "-t",
        f"{case.length}",
        "-c",
        "copy",
        "-y",
        str(folder / f"theirs.{case.wanted}"),
    ]
    subprocess.run(
        [executable, "-v", "error", "-f", "concat", "-safe", "0", "-i", str(folder / "list"), *options], check=True
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
