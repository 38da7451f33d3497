"""An append-only file of checksummed lines, synced in company, that a crash can only shorten."""

from __future__ import annotations

import errno
import os
import threading
import zlib
from collections.abc import Iterable
from pathlib import Path

_ROOM = 1 << 20  # bytes set aside behind the end, so that a full disk can still be told of


def read(path: Path) -> tuple[list[bytes], int]:
    """The whole lines of a journal, and how many others there are besides a torn last one.

    What follows a damaged line was synced on its own account, so it counts.
    """
    try:
        *lines, torn = path.read_bytes().rstrip(b"\0").split(b"\n")
    except FileNotFoundError:
        return [], 0
    whole = [line[9:] for line in lines if _is_whole(line)]
    damaged = len(lines) - len(whole)
    if torn == b"" and damaged and not _is_whole(lines[-1]):
        damaged -= 1
    return whole, damaged


def _is_whole(line: bytes) -> bool:
    return len(line) > 9 and line[:9] == b"%08x " % zlib.crc32(line[9:])


class Journal:
    """Lines that survive a power cut once `sync` has returned. Thread-safe; raises OSError as the disk does.

    After an error nothing is believed of the file: `is_broken` stays true until `replace` has written another.
    """

    def __init__(self, path: Path, lines: Iterable[bytes]) -> None:
        """Begin afresh with `lines`, in place of what is there."""
        self._path = path
        self._file = -1
        self._syncing = threading.Lock()  # always taken before _writing
        self._writing = threading.Lock()
        self._written = self._synced = 0  # bytes ever, over all files
        self.is_broken = False
        self.size = 0  # bytes in this file
        self._room = 0
        self.replace(lines)

    def replace(self, lines: Iterable[bytes]) -> None:
        """Write another file with these lines and put it in place, atomically."""
        with self._syncing, self._writing:
            fresh = self._path.with_suffix(".new")
            file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
            try:
                size = _write_all(file, b"".join(map(_framed, lines)), 0)
                room = _set_aside(file, size)
                os.fsync(file)
                fresh.rename(self._path)
                sync_folder(self._path.parent)
            except OSError:
                os.close(file)
                raise
            self._close()
            self._file, self.size, self._room = file, size, room
            self._synced = self._written
            self.is_broken = False

    def write(self, line: bytes) -> int:
        """Append a line; the ticket is for `sync`."""
        framed = _framed(line)
        with self._writing:
            self._check()
            try:
                if self.size + len(framed) > self._room - _ROOM // 2:
                    self._room = max(self._room, _set_aside(self._file, self.size))
                _write_all(self._file, framed, self.size)
            except OSError:
                self.is_broken = True
                raise
            self.size += len(framed)
            self._written += len(framed)
            return self._written

    def sync(self, ticket: int) -> None:
        """Return once everything up to `ticket` is on the disk; one call serves all who wait."""
        with self._syncing:
            if self._synced >= ticket:
                return
            self._check()
            written = self._written
            try:
                os.fdatasync(self._file)
            except OSError:
                self.is_broken = True
                raise
            self._synced = written

    def close(self) -> None:
        """Sync what can be synced, and let the file go."""
        with self._syncing, self._writing:
            if self._file >= 0 and not self.is_broken:
                os.fdatasync(self._file)
            self._close()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _check(self) -> None:
        if self.is_broken or self._file < 0:
            raise OSError(errno.EIO, "the journal is broken", str(self._path))


def _framed(line: bytes) -> bytes:
    return b"%08x %s\n" % (zlib.crc32(line), line)


def _write_all(file: int, data: bytes, at: int) -> int:
    """Where the data ends."""
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, at)
        at, view = at + count, view[count:]
    return at


def _set_aside(file: int, end: int) -> int:
    """Where the file's reserved room ends now; just `end` if the disk has none to give."""
    try:
        os.posix_fallocate(file, end, _ROOM)
    except (OSError, AttributeError):
        return end
    return end + _ROOM


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
