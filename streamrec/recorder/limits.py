"""What the system gives a process only so much of: descriptors and threads. What runs must not run out of them."""

from __future__ import annotations

import os
import resource
from concurrent.futures import ThreadPoolExecutor
from typing import Final

RESERVE: Final = 64  # descriptors for what already runs: the next files, folders on the way to them, the database
MOST: Final = 65_536  # a thousand times what a machine records; some systems allow a billion
_OPEN: Final = "/dev/fd"


def raise_descriptors() -> None:
    """Take as many as are allowed: what a process begins with is often 1,024, which 500 captures use up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def has_descriptors(wanted: int) -> bool:
    """Whether so many may be taken by what begins now and leave what runs what it needs."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return True
    try:
        used = len(os.listdir(_OPEN))  # noqa: PTH208 - a Path for each would cost ten times as much
    except OSError:
        return False  # there is not even one to look with
    return used + wanted + min(RESERVE, limit // 4) <= limit


class Threads(ThreadPoolExecutor):
    """A pool that makes do with the threads that it has while the system lets it start no more."""

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError:
            if not self._threads:
                raise
