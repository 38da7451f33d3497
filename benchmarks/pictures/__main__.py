"""What a thumbnail costs: our decoding child beside an ffmpeg process, both on the same bytes, in turn."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from streamrec.media import binary
from streamrec.media.decoders import Decoders
from streamrec.media.stretches import Stretch

WIDTH: Final = 320


def made(folder: Path, ffmpeg: Path, size: str) -> Path:
    """Two seconds of television that begin with a key picture."""
    path = folder / f"{size}.ts"
    source = ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration=2"]
    coded = ["-c:v", "libx264", "-preset", "veryfast", "-g", "250", "-pix_fmt", "yuv420p"]
    subprocess.run([str(ffmpeg), "-v", "error", *source, *coded, str(path)], check=True)
    return path


def by_ffmpeg(ffmpeg: Path, path: Path) -> Callable[[], None]:
    """A process for each."""
    command = [str(ffmpeg), "-v", "error", "-nostdin", "-f", "mpegts", "-i", str(path)]
    shown = ["-frames:v", "1", "-vf", f"scale={WIDTH}:-2", "-f", "mjpeg", "-"]
    return lambda: subprocess.run([*command, *shown], check=True, stdout=subprocess.DEVNULL) and None


def by_streamrec(decoders: Decoders, path: Path) -> Callable[[], None]:
    """A task of a child that is there already."""
    moment = ([Stretch(path, 0, path.stat().st_size)], "ts", 0.0)
    return lambda: decoders.thumbnail(moment, WIDTH) and None


def took(work: Callable[[], None]) -> float:
    """Milliseconds of wall time."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


@click.command()
@click.option("--rounds", default=30, show_default=True)
def main(rounds: int) -> None:
    """The first picture of a piece, 320 pixels wide, by streamrec and by every ffmpeg that is here."""
    own = Path(binary.find(None).path)
    system = shutil.which("ffmpeg")
    others = {"streamrec's ffmpeg": own} | ({"the system's ffmpeg": Path(system)} if system else {})
    decoders = Decoders(1)
    click.echo("| television | beside | its process, ms | streamrec, ms | ratio |")
    click.echo("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for size in ("640x360", "1280x720"):
            path = made(Path(folder), own, size)
            ours = by_streamrec(decoders, path)
            ours()  # the child's start is paid once
            for name, ffmpeg in others.items():
                theirs = by_ffmpeg(ffmpeg, path)
                pairs = [(took(theirs), took(ours)) for _ in range(rounds)]
                ratios = sorted(mine / other for other, mine in pairs)
                other, mine = (statistics.median(side) for side in zip(*pairs, strict=True))
                spread = (
                    f"{statistics.median(ratios):.3f} ({ratios[rounds // 10]:.3f}-{ratios[-1 - rounds // 10]:.3f})"
                )
                click.echo(f"| {size} | {name} | {other:.1f} | {mine:.1f} | {spread} |")
    decoders.close()


if __name__ == "__main__":
    main()
