"""When what a chunk brings came. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

from streamrec.framing.units import Framer, Unit
from streamrec.recorder.events import Chunk

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
