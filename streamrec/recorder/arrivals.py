"""When what a chunk brings came. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Final

from streamrec.framing.units import Framer, Unit
from streamrec.models import FileFormat
from streamrec.recorder.events import Chunk, Opened

HELD_BYTES: Final = 1024  # of MP3, which an ffmpeg keeps until it has more (MP3_PACKET_SIZE in its mp3dec.c)
MOST_HELD: Final = 5  # frames

Arrivals = Iterator[tuple[list[Unit], float]]
"""Units, and the monotonic second by which they had come."""


def arrived(framer: Framer, chunk: Chunk) -> tuple[Framer, Arrivals]:
    """The units that a chunk completes, each framed only when it is its turn; and the framer that goes on.

    Where not all of a chunk is media, what was left unread counts as read then: beside bytes that are none, the
    media would seem late. A chunk with such a part must be of MP3 or ADTS, whose framers may be copied.
    """
    if not chunk.left_bytes:
        return framer, iter([(framer.feed(chunk.data), chunk.received_at)])
    before, dropped = copy(framer), framer.dropped
    units = framer.feed(chunk.data)
    if framer.dropped == dropped:
        return framer, iter([(units, chunk.received_at)])
    first, rest = chunk.data[: chunk.left_bytes], chunk.data[chunk.left_bytes :]
    parts = ((first, chunk.left_at), (rest, chunk.received_at))
    return before, ((before.feed(data), at) for data, at in parts)


def framed_late(opened: Opened, frames: Sequence[Unit]) -> int:
    """How many of the frames behind a silence had come before it: the last one is known once the next one begins.

    Of what an ffmpeg keeps it is the most that may be: on the wrong side of a gap a frame at the end of a file is
    told wrong by itself, and one at the beginning with the start of the file.
    """
    if opened.source != "ffmpeg" or opened.format is not FileFormat.MP3:
        return 1
    return 1 + min(1 + HELD_BYTES // len(frames[0].data), MOST_HELD)
