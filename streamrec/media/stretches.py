"""Parts of files, read as if they were one file: a television's head and the fragments of one moment."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Stretch:
    """`length` bytes of a file from `start` on."""

    path: Path
    start: int
    length: int


class Stretches(io.RawIOBase):
    """A read-only, seekable file of stretches, one behind the other. Opening raises OSError."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        super().__init__()
        self._descriptors: list[int] = []
        self._stretches = [each for each in stretches if each.length > 0]
        self._ends = list(accumulate(each.length for each in self._stretches))
        self._position = 0
        try:
            for each in self._stretches:
                self._descriptors.append(os.open(each.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
        except OSError:
            self.close()
            raise

    @property
    def size(self) -> int:
        """All bytes."""
        return self._ends[-1] if self._ends else 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, fewer at the end of a stretch; none at the end of all."""
        index = bisect_right(self._ends, self._position)
        if index == len(self._ends) or size == 0:
            return b""
        each, left = self._stretches[index], self._ends[index] - self._position
        wanted = left if size < 0 else min(size, left)
        data = os.pread(self._descriptors[index], wanted, each.start + each.length - left)
        self._position += len(data)
        return data

    def close(self) -> None:
        if not self.closed:
            for descriptor in self._descriptors:
                os.close(descriptor)
            super().close()

    def __enter__(self) -> Self:
        return self
