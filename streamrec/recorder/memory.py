"""Keeps a process of many threads and short-lived buffers from holding on to memory that nobody uses."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress
from typing import Final

_ARENA_MAX: Final = -8  # mallopt(3)
ARENAS: Final = 2
_THRESHOLDS: Final = (10_000, 10, 50)
"""gc.set_threshold: a second of 200 radios makes that many objects, next to none of which are in a cycle."""


def spare() -> None:
    """Let all threads share few of malloc's arenas, of which each keeps free room. Call it before they start.

    Where there is no glibc, nothing happens.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, ARENAS)


def settle() -> None:
    """What is loaded lives as long as the process: give back what loading left over, and look through it no more.

    A collection that went through all of it would hold up every capture.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
