"""Indexes of recordings that came without: salvaged after a crash, or from before there were any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from streamrec.archive import pieces
from streamrec.archive.pieces import Builder, Index
from streamrec.framing import framer_for
from streamrec.framing.units import FLICKS, Unit
from streamrec.models import FileFormat
from streamrec.timeline import Span

_LEAST: Final = pieces.LEAST_SECONDS * FLICKS
_MOST: Final = pieces.MOST_SECONDS * FLICKS


def measured(chunks: Iterable[bytes], file_format: FileFormat, span: Span, size_bytes: int) -> Index | None:
    """The index of a closed file of `size_bytes` that holds `span`; None if nothing in it can be played.

    The pieces end where the recorder would have ended them. What the framer does not understand makes the file
    one piece, but for MP4, which cannot be played so.
    """
    walk = _Walk(file_format)
    for unit in walk.units(chunks):
        walk.take(unit)
    return walk.index(size_bytes, span)


class _Walk:
    """The bounds of pieces, in bytes and flicks."""

    def __init__(self, file_format: FileFormat) -> None:
        self._format = file_format
        self._framer = framer_for(file_format, awaits_cut=False)
        self._header: bytes | None = None
        self._bounds: list[tuple[int, int]] = []
        self._size = self._media = self._piece_at = 0

    def units(self, chunks: Iterable[bytes]) -> Iterator[Unit]:
        for chunk in chunks:
            yield from self._framer.feed(chunk)
        yield from self._framer.flush()

    def take(self, unit: Unit) -> None:
        if self._header is None:
            self._header = unit.header if self._format is FileFormat.MP4 else b""
            self._size = len(self._header)
        length = self._media - self._piece_at
        can_begin = unit.is_cut and (self._format is not FileFormat.TS or not unit.header)
        if (length >= _LEAST and can_begin) or length >= _MOST:
            self._bounds.append((self._size, self._media))
            self._piece_at = self._media
        self._size += len(unit.data)
        self._media += unit.duration

    def index(self, size: int, span: Span) -> Index | None:
        """What a file of `size` bytes that holds `span` gets."""
        # A transport stream's last picture may look torn.
        is_understood = self._framer.dropped == 0 or self._format is FileFormat.TS
        if self._media == 0 or self._header is None or (self._format is FileFormat.MP4 and not is_understood):
            return None
        bounds = self._bounds if is_understood and self._size <= size else []
        if bounds and self._media - bounds[-1][1] < _LEAST // 2:
            bounds = bounds[:-1]
        builder = Builder(span.start, self._header)
        for end, media in bounds:
            builder.end_piece(end, span.start + span.duration * (media / self._media))
        builder.end_piece(size, span.end)
        return builder.index()
