"""What only root may do: file systems that are small, full or read-only, and trees of processes with a limit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.station import programs


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


class Image:
    """An ext4 in a file, mounted at `folder`: one that breaks as a real disk does, and is mended as one is."""

    def __init__(self, folder: Path, *, megabytes: int, inodes: int) -> None:
        self.folder = folder
        self._path = folder.with_name(f"{folder.name}.img")
        folder.mkdir(parents=True, exist_ok=True)
        with self._path.open("wb") as image:
            image.truncate(megabytes << 20)
        made = [
            programs.needed("mkfs.ext4", "e2fsprogs"),
            "-q",
            "-F",
            "-N",
            str(inodes),
            "-e",
            "remount-ro",
            str(self._path),
        ]
        subprocess.run(made, check=True)

    def _mount(self) -> None:
        """On a device of its own: mount(8) would take that of before, which is broken while files are open."""
        device = _said("losetup", "--find", "--show", str(self._path))
        subprocess.run(["mount", device, str(self.folder)], check=True)
        subprocess.run(["losetup", "--detach", device], check=True)  # once it is not mounted any more

    def _unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)

    @contextmanager
    def mounted(self) -> Iterator[Image]:
        """It is there, and gone afterwards."""
        needed("to mount a disk")
        self._mount()
        try:
            yield self
        finally:
            self._unmount()
            self._path.unlink()

    @contextmanager
    def broken(self) -> Iterator[None]:
        """The kernel met an error and made it read-only, open files and all; then it is repaired and mounted."""
        device = Path(_said("findmnt", "-n", "-o", "SOURCE", str(self.folder)))
        Path("/sys/fs/ext4", device.name, "trigger_fs_error").write_text("1")
        yield
        self._unmount()
        subprocess.run(["e2fsck", "-f", "-y", str(self._path)], check=False, capture_output=True)
        self._mount()


def _said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


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
