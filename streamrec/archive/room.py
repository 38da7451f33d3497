"""How much room a disk has, in the terms in which settings and alarms speak of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BYTES_OF_GB: Final = 1e9


@dataclass(frozen=True, slots=True)
class Room:
    """The bytes that may still be written, without what is kept for root, and those of the whole disk."""

    free_bytes: int
    disk_bytes: int

    @property
    def free_percent(self) -> float:
        """A disk without a size has no room."""
        return 100.0 * self.free_bytes / self.disk_bytes if self.disk_bytes else 0.0

    def __str__(self) -> str:
        return f"{self.free_bytes / _BYTES_OF_GB:.1f} GB, {self.free_percent:.1f} %"


def of(path: Path) -> Room:
    """The room on the disk of a folder. Raises OSError."""
    usage = shutil.disk_usage(path)
    return Room(usage.free, usage.total)
