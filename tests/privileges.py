"""What only root may do: file systems that are small, full or read-only, and trees of processes with a limit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


def needed(what: str) -> None:
    """Without root, fail in CI; elsewhere skip, counted, with what it is needed for."""
    if os.getuid() == 0:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI must run as root: {what}", pytrace=False)
    pytest.skip(f"needs root: {what}")


@contextmanager
def small_disk(folder: Path, *, megabytes: int, inodes: int | None = None) -> Iterator[Path]:
    """A tmpfs at `folder`, gone afterwards with all that is on it."""
    needed("to mount a small disk")
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={megabytes}m,mode=0755" + (f",nr_inodes={inodes}" if inodes else "")
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, mode: str) -> None:
    """Make a mounted disk read-only ("ro") or writable ("rw"). Raises CalledProcessError while files are open."""
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True, capture_output=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """The disk of `folder` is full."""
    filler = folder / ".filler"
    with suppress(OSError), filler.open("wb", buffering=0) as sink:
        while True:
            sink.write(bytes(1 << 16))
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def without_inodes(folder: Path) -> Iterator[None]:
    """The disk of `folder` takes no file more, whatever its size."""
    fillers = folder / ".fillers"
    fillers.mkdir()
    with suppress(OSError):
        for number in range(1 << 20):
            (fillers / str(number)).touch()
    try:
        yield
    finally:
        for filler in fillers.iterdir():
            filler.unlink()
        fillers.rmdir()
