"""One sync for the files of all captures: a sync of each would cost more than all the rest of recording."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

import structlog

MANY: Final = 8  # writes since the last time; for fewer, a file system that others use is left alone
GATHER_SECONDS: Final = 0.1  # in which all who write with one beat have written
PATIENCE_SECONDS: Final = 1.0  # so long a flush may take; then writers sync for themselves

log = structlog.get_logger(__name__)


Sync = Callable[[int], int]
"""syncfs(2): a descriptor's file system; 0, or -1 and an errno."""


def syncfs() -> Sync | None:
    """The system's, if there is one."""
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


def _opened(folder: Path) -> tuple[int, int]:
    """A descriptor and the device; -1 each while the folder is not there, and then there is nothing to flush."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return -1, -1
    return descriptor, os.fstat(descriptor).st_dev


class Flusher:
    """A thread that syncs the file system of a folder a moment after much was written to it.

    Most write with the beat, and it waits until they have; it rests for half of `seconds` then.

    It promises nothing: a writer that finds it late, or that it failed, syncs for itself, and hears of an error of
    its own file then or when it closes it (each open file has its own account of errors; fsync(2)).
    """

    def __init__(
        self, folder: Path, seconds: float, *, monotonic: Callable[[], float], sync: Sync | None = None
    ) -> None:
        """`sync` is asked instead of the system."""
        self._folder, self._device = _opened(folder)
        self._seconds = seconds
        self._monotonic = monotonic
        self._call = sync or syncfs()
        self._flushed_at = float("-inf")
        self._asked = 0
        self._is_due = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)

    def reaches(self, descriptor: int) -> bool:
        """Whether a file is on the file system that is flushed."""
        return os.fstat(descriptor).st_dev == self._device

    def flushed_at(self) -> float:
        """What was written before this monotonic moment is on the disk. Ask after each write: that is counted."""
        self._asked += 1
        if self._asked >= MANY and not self._is_due.is_set():
            self._is_due.set()
        return self._flushed_at

    def has_flushed(self, written_at: float) -> bool:
        """Whether what was written at this monotonic moment is on the disk."""
        return written_at < self._flushed_at

    def flush(self) -> None:
        """Sync the file system, if enough was written to it. Blocks."""
        asked, self._asked = self._asked, 0
        if asked < MANY or self._call is None or self._folder < 0:
            return
        began = self._monotonic()
        if self._call(self._folder) == 0:
            self._flushed_at = began
        else:
            log.error("the file system cannot be synced", error=os.strerror(ctypes.get_errno()))

    def _run(self) -> None:
        while self._is_due.wait() and not self._stopping.wait(GATHER_SECONDS):
            self._is_due.clear()
            self.flush()
            self._stopping.wait(self._seconds / 2)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._is_due.set()
        self._thread.join(PATIENCE_SECONDS)
        if not self._thread.is_alive() and self._folder >= 0:
            os.close(self._folder)
