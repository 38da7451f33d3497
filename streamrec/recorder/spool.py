"""The recorder's fsynced journal of facts: its memory across crashes and database outages."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from streamrec.recorder.facts import Fact, RunStarted, SegmentClosed, SegmentOpened


class Spool:
    """Facts in the order in which they were appended, until they are done. Thread-safe.

    Raises Conflict if another recorder holds the folder.
    """

    def __init__(self, folder: Path) -> None:
        raise NotImplementedError

    def append(self, fact: Fact) -> None:
        """Return once `fact` survives a power cut. Raises OSError, and then the fact does not count.

        A GapNoted replaces a pending one of the same uuid.
        """
        raise NotImplementedError

    def pending(self, limit: int | None = None) -> list[Fact]:
        """The oldest facts that are owed to the database; SegmentOpened is never among them."""
        raise NotImplementedError

    def done(self, fact: Fact) -> None:
        """The fact is in the database, or a SegmentOpened's file is given up. Not synced: repeats are harmless."""
        raise NotImplementedError

    def open_segments(self) -> list[SegmentOpened]:
        """Files that were begun and neither closed nor given up."""
        raise NotImplementedError

    def open_runs(self) -> list[tuple[RunStarted, SegmentClosed | None]]:
        """Runs that have not ended, each with its last closed file."""
        raise NotImplementedError

    def close(self) -> None:
        """Sync, and let another recorder have the folder."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
