"""What a disk that refuses means to a capture."""

from __future__ import annotations

import errno
from datetime import datetime
from typing import Final

from streamrec.archive.files import StorageMissing
from streamrec.errors import StreamrecError
from streamrec.models import GapReason

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DiskFault(StreamrecError):
    """The disk did not take the media; the writer is finished and the run over.

    From `lost_from` on nothing is kept: that is where the capture's gap begins. `reason` is `disk_full` or
    `io_error`.
    """

    def __init__(self, detail: str, *, reason: GapReason, lost_from: datetime) -> None:
        super().__init__(detail, reason=reason)
        self.reason = reason
        self.lost_from = lost_from


def disk_reason(error: OSError) -> GapReason:
    """Whether the disk is full, broken or not there."""
    if isinstance(error, StorageMissing):
        return GapReason.STORAGE_MISSING
    return GapReason.DISK_FULL if error.errno in FULL else GapReason.IO_ERROR
