"""Whether one recording's bytes are what its row says, as closely as asked."""

from __future__ import annotations

import enum
import errno
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from streamrec.archive.places import Placed, Reading
from streamrec.models import Loss

_NO_FILE: Final = {errno.ELOOP, errno.EINVAL}  # a link, a folder or a device has taken its place


class Depth(enum.StrEnum):
    """How closely files are looked at."""

    PRESENCE = "presence"
    SIZE = "size"
    HASH = "hash"


class Told(Placed, Protocol):
    """A row that says what its bytes are."""

    @property
    def size_bytes(self) -> int | None: ...
    @property
    def sha256(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong. Without a `loss` the bytes may well be there: a disk that cannot be read proves nothing."""

    loss: Loss | None
    detail: str


@dataclass(frozen=True, slots=True)
class Look:
    """Looks at recordings; `pace` is told how many bytes were read, and may wait."""

    reading: Reading
    depth: Depth
    pace: Callable[[int], None] = lambda _: None

    def fault(self, row: Told) -> Fault | None:
        """What is wrong with a recording, if anything is. Raises StorageAway, which says nothing of it.

        That something is missing means no more than that it is not where `reading` reads: whose folder and whose
        bucket these are, the caller must know.
        """
        try:
            size = self.reading.size(row)
            if size is None:
                return Fault(Loss.MISSING, "missing")
            if self.depth is not Depth.PRESENCE and size != row.size_bytes:
                return Fault(Loss.ALTERED, f"has {size} bytes, not {row.size_bytes}")
            if self.depth is Depth.HASH and self._sha256(row) != row.sha256:
                return Fault(Loss.ALTERED, "has another SHA-256")
        except FileNotFoundError:
            return Fault(Loss.MISSING, "missing")
        except OSError as error:
            return Fault(Loss.ALTERED if error.errno in _NO_FILE else None, f"unreadable: {error.strerror}")
        return None

    def _sha256(self, row: Told) -> str:
        digest = hashlib.sha256()
        for chunk in self.reading.stream(row):
            digest.update(chunk)
            self.pace(len(chunk))
        return digest.hexdigest()
