"""Real file systems after a power cut: an image is copied while it is mounted, and the copy mounted elsewhere.

What a copy holds is what the kernel had written to the device at one moment, which is what a disk would hold: the
images lie on an XFS of their own, which copies a file at once by sharing its blocks. (One that is read while it is
written to may have metadata from before, and a log that has let go of them.) Needs root, loop devices, xfsprogs,
and mkfs of the file system.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
from sqlalchemy.engine import Engine

from streamrec import db
from streamrec.recorder.facts import Fact
from streamrec.settings import Settings
from tests.crash import calls, databases, lives, oracle, workload

MEGABYTES: Final = {"ext4": 24, "xfs": 320}
SHELF_MEGABYTES: Final = 2048  # of which as much is used as is written
PACE_SECONDS: Final = {"alone": 0.03, "together": 0.01}
"""After each fact: a life is over too soon to be copied in its middle."""


@dataclass(frozen=True, slots=True)
class Copy:
    """An image, and what the database had been told before it was copied."""

    image: Path
    told: list[Fact]


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[None]:
    """The file system of an image, at `place`."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def shelf(folder: Path) -> Iterator[Path]:
    """A place in which files can be copied in one moment."""
    image, place = folder / "shelf.img", folder / "shelf"
    with image.open("wb") as file:
        file.truncate(SHELF_MEGABYTES << 20)
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", str(image)], check=True)
    with mounted(image, place):
        yield place


def made(kind: str, folder: Path) -> Path:
    """An image with an empty file system."""
    image = folder / f"{kind}.img"
    with image.open("wb") as file:
        file.truncate(MEGABYTES[kind] << 20)
    subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True)
    return image


def copies(settings: Settings, life: str, image: Path, folder: Path, draw: random.Random) -> Iterator[Copy]:
    """Live once in the mounted image, where `settings.data_dir` is, and copy it meanwhile at random moments."""
    ours, theirs = calls.CONTEXT.Pipe(duplex=False)
    process = calls.CONTEXT.Process(target=lives.child, args=(settings, theirs, life, PACE_SECONDS[life]))
    process.start()
    theirs.close()
    assert process.pid is not None
    calls.await_stop(process.pid)
    os.kill(process.pid, signal.SIGCONT)
    told: list[Fact] = []
    number = 0
    while process.is_alive():
        time.sleep(draw.uniform(0.0, 2 * PACE_SECONDS[life]))
        _signal(process.pid, signal.SIGSTOP)  # or it would tell more before the copy is made
        told += workload.received(ours)
        number += 1
        copy = folder / f"copy-{number}.img"
        subprocess.run(["cp", "--reflink=always", str(image), str(copy)], check=True)
        _signal(process.pid, signal.SIGCONT)
        yield Copy(copy, list(told))
    process.join()
    process.close()
    ours.close()


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has lived to its end
        os.kill(pid, number)


def lived(
    settings: Settings,
    engine: Engine,
    life: str,
    kind: str,
    folder: Path,
    draw: random.Random,
    *,
    most: int = sys.maxsize,
) -> tuple[int, list[str]]:
    """One life on a file system of `kind`: how many copies were looked at, and what was wrong with them."""
    disk, elsewhere = folder / "disk", folder / "elsewhere"
    oracle.prepare(settings, engine)
    with shelf(folder) as place:
        image = made(kind, place)
        with mounted(image, disk):
            below = settings.model_copy(update={"data_dir": disk / "data"})
            found = list(copies(below, life, image, place, draw))
        wrong = []
        found = sorted(draw.sample(found, min(most, len(found))), key=lambda copy: len(copy.told))
        for copy in found:
            oracle.tell(settings, engine, copy.told)
            with mounted(copy.image, elsewhere):
                after = settings.model_copy(update={"data_dir": elsewhere / "data"})
                wrong += [f"{copy.image.name}: {fault}" for fault in oracle.faults(after, copy.told)]
            copy.image.unlink()
    return len(found), wrong


@click.command()
@click.option("--kind", default="ext4", show_default=True, type=click.Choice(sorted(MEGABYTES)))
@click.option("--life", default="alone", show_default=True, type=click.Choice(tuple(lives.LIVES)))
@click.option("--lives", "count", default=10, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(kind: str, life: str, count: int, seed: int) -> None:
    """Copy a mounted image while a recorder writes into it, mount each copy, start, and look."""
    draw, copied, wrong = random.Random(seed), 0, 0
    with databases.fresh() as settings, tempfile.TemporaryDirectory() as folder:
        engine = db.connect(settings, application="crash-oracle")
        for number in range(count):
            place = Path(folder) / str(number)
            place.mkdir()
            looked_at, found = lived(settings, engine, life, kind, place, draw)
            for line in found:
                click.echo(line)
            copied, wrong = copied + looked_at, wrong + len(found)
        engine.dispose()
    click.echo(f"{copied} copies of {kind}, {wrong} faults")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
