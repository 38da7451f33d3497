"""Durable files out of units: wall-clock-aligned cuts, hashes, and the order of docs/design/storage.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from streamrec.archive.files import Tree
from streamrec.errors import StreamrecError
from streamrec.models import GapReason
from streamrec.recorder.facts import RunStarted, SegmentClosed
from streamrec.recorder.framing.units import Unit
from streamrec.recorder.spool import Spool


class DiskFault(StreamrecError):
    """The disk did not take the media; the writer is finished and the run over.

    From `lost_from` on nothing is kept: that is where the capture's gap begins. `reason` is `disk_full` or
    `io_error`. RunEnded has been spooled if the spool could still take it.
    """

    reason: GapReason
    lost_from: datetime


class SegmentWriter:
    """The files of one run. Synchronous and blocking: one capture at a time calls it, from a worker thread.

    Spools RunStarted before its first file, SegmentOpened and SegmentClosed for each, RunEnded at the end.
    """

    def __init__(
        self,
        *,
        archive: Tree,
        spool: Spool,
        run: RunStarted,
        keyname: str,
        segment_seconds: int,
        sync_seconds: float = 2.0,
        media: int = 0,
    ) -> None:
        """`media` is where, in flicks of the run's clock, the first unit to be appended begins."""
        raise NotImplementedError

    def append(self, units: Sequence[Unit], wall: Callable[[int], datetime]) -> None:
        """Write `units`, beginning a new file at the first cut at or after each wall-clock multiple.

        `wall` (RunClock.wall) is asked for the boundaries of files. Raises DiskFault.
        """
        raise NotImplementedError

    def sync(self) -> None:
        """Make what was written survive a power cut, if `sync_seconds` have passed. Raises DiskFault."""
        raise NotImplementedError

    def close(self, wall: Callable[[int], datetime], reason: str) -> SegmentClosed | None:
        """End the current file and the run; None if nothing was written. May be called twice. Raises DiskFault."""
        raise NotImplementedError

    @property
    def media(self) -> int:
        """Where the next unit will begin, in flicks of the run's clock."""
        raise NotImplementedError

    @property
    def key(self) -> str | None:
        """The file being written, below the archive and without ".part"."""
        raise NotImplementedError

    @property
    def start_time(self) -> datetime | None:
        """When the file being written begins."""
        raise NotImplementedError

    @property
    def size_bytes(self) -> int:
        """Bytes in the file being written."""
        raise NotImplementedError

    @property
    def media_seconds(self) -> float:
        """Media seconds in the file being written."""
        raise NotImplementedError
