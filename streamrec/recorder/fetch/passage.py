"""By when how much of an answer had come that is passed on to an ffmpeg. Pure.

What ffmpeg makes of it may come much later: it looks at the beginning before it gives anything, and it or the
recorder may have been stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

PAUSE_SECONDS: Final = 1.0  # what comes sooner after what came before is of one stretch, and as good as live
MOST_BYTES: Final = 1 << 18  # of an answer: behind that the titles among the bytes, which ffmpeg takes out, count
_HEAD_BYTES: Final = 1 << 15


class Part(NamedTuple):
    """Some of the bytes that were asked for."""

    size: int
    came_at: float  # monotonic seconds


class _Stretch(NamedTuple):
    """Bytes that came without a pause."""

    end: int  # of the answer's body
    at: float  # when the last of them came


class Passage:
    """The beginning of one answer, as it came."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._head: bytes | None = b""  # until it is whole
        self._stretches: list[_Stretch] = []

    def note(self, piece: bytes) -> None:
        """The next bytes of the answer have come, its head among them."""
        size = len(piece) if self._head is None else self._begin(piece)
        end = self._stretches[-1].end if self._stretches else 0
        if not size or end >= MOST_BYTES:
            return
        now = self._monotonic()
        if self._stretches and now - self._stretches[-1].at < PAUSE_SECONDS:
            self._stretches.pop()
        self._stretches.append(_Stretch(end + size, now))

    def _begin(self, piece: bytes) -> int:
        """How many bytes of the body are in what came with its head, once that is whole."""
        self._head = (self._head or b"") + piece
        _, found, body = self._head.partition(b"\r\n\r\n")
        if found or len(self._head) > _HEAD_BYTES:
            self._head = None
        return len(body)

    def parts(self, begin: int, end: int) -> list[Part]:
        """The body's bytes from `begin` to `end`, in order, each with the second by which it had come, or now.

        It is now for all that is not known to have lain with somebody for PAUSE_SECONDS.
        """
        now = self._monotonic()
        found: list[Part] = []
        for stretch in self._stretches:
            size = min(stretch.end, end) - begin
            if size > 0 and now - stretch.at >= PAUSE_SECONDS:
                found.append(Part(size, stretch.at))
                begin += size
        return [*found, Part(end - begin, now)] if begin < end else found
