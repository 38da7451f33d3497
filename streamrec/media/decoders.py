"""Children that decode: media comes from strangers, and a decoder that it breaks must not take the API with it."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import TimeoutError as TookTooLong
from typing import Any, Final, cast

from pebble import ProcessExpired, ProcessPool

from streamrec.media import confinement
from streamrec.media.confinement import Limits
from streamrec.media.stretches import Stretch

BINS_PER_SECOND: Final = 100
Moment = tuple[Sequence[Stretch], str, float]
"""Bytes that begin at or before a key picture, their container, and seconds from the first picture in them."""

_PICTURE_SECONDS: Final = 10.0
_PEAKS_SECONDS: Final = 60.0
_MEMORY_BYTES: Final = 2 << 30
_TASKS: Final = 200  # then a child is replaced, so that no leak of a decoder grows


class Undecodable(Exception):
    """The bytes hold no picture, or no sound, that can be decoded."""


class Decoders:
    """Up to `most` children, started with the first task. Safe to use from threads; `close` ends them.

    Every method raises Undecodable: the media is broken, takes too long, or breaks its decoder.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._pool: Any = None

    def thumbnail(self, moment: Moment, width: int) -> bytes:
        """A JPEG of a moment, at most `width` pixels wide, in its own proportions."""
        return self._run(_PICTURE_SECONDS, "thumbnail", *moment, width)

    def strip(self, moments: Sequence[Moment | None], width: int, height: int) -> bytes:
        """A JPEG of pictures side by side, each `width` by `height`; black where there is none or it is broken."""
        return self._run(_PICTURE_SECONDS * 3, "strip", moments, width, height)

    def peaks(self, stretches: Sequence[Stretch], container: str) -> bytes:
        """The lowest and the highest sample of every hundredth of a second, as pairs of signed bytes."""
        return self._run(_PEAKS_SECONDS, "peaks", stretches, container)

    def drawn(self, pairs: Sequence[tuple[int, int]], height: int) -> bytes:
        """A PNG of a waveform's pairs, a pixel wide each."""
        return self._run(_PICTURE_SECONDS, "drawn", pairs, height)

    def close(self) -> None:
        """End the children, whatever they do."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            pool.join()

    def _run(self, seconds: float, name: str, *arguments: Any) -> bytes:
        future = self._started().schedule(_decoded, args=(name, *arguments), timeout=seconds)
        try:
            return cast("bytes", future.result())
        except TookTooLong as error:
            raise Undecodable(f"decoding took longer than {seconds:.0f} s") from error
        except (ProcessExpired, MemoryError) as error:
            raise Undecodable("the decoder broke over it") from error

    def _started(self) -> Any:
        with self._lock:
            if self._pool is None:
                self._pool = ProcessPool(
                    max_workers=self._most,
                    max_tasks=_TASKS,
                    initializer=_confine,
                    context=multiprocessing.get_context("spawn"),  # a fork would copy threads' locks
                )
            return self._pool


def _decoded(name: str, *arguments: Any) -> bytes:
    """Runs in a child: only there are the codecs loaded."""
    from streamrec.media import decoding

    result: bytes = getattr(decoding, name)(*arguments)
    return result


def _confine() -> None:
    """A child's own limits: no core file, no written file, some memory, few descriptors, no socket, no process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent
    confinement.confine_this_process(Limits(memory_bytes=_MEMORY_BYTES))
