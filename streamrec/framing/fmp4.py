"""Fragmented MP4, cut before each fragment. Pure."""

from __future__ import annotations

from streamrec.framing import boxes
from streamrec.framing.units import FLICKS, Unit

_KEPT = {b"styp", b"sidx", b"prft", b"emsg"}
"""What may stand before a fragment and goes with it."""
_KNOWN = _KEPT | {b"ftyp", b"moov", b"moof", b"mdat", b"mfra", b"free", b"skip", b"uuid", b"meta", b"ssix"}
_MOST = {b"mdat": 64 << 20, b"moov": 4 << 20, b"moof": 4 << 20}  # bytes
_MOST_OTHERS = 1 << 20
_LANDMARKS = (b"moof", b"styp", b"ftyp", b"moov")
_LONGEST_SKIP = 86_400  # s; a larger jump of the time stamps is a reset


class Fmp4Framer:
    """A unit is a moof and its mdat, with the small boxes before them. The header is ftyp and moov.

    The fragments must say where their data is from their own beginning (default-base-is-moof, as CMAF and HLS
    demand), because files are cut between them. Header boxes are in no unit's data and do not count as dropped.
    """

    def __init__(self, awaits_cut: bool = True) -> None:
        self.dropped = 0
        self.gathers = False
        self._awaits_cut = awaits_cut
        self._buffer = bytearray()
        self._awaited = 8  # bytes; fewer are not worth a look
        self._type = b""
        self._header = b""
        self._track: boxes.Track | None = None
        self._before = b""
        self._moof = b""  # with what was before it
        self._fragment: boxes.Fragment | None = None
        self._has_begun = False
        self._end: int | None = None  # ticks, of the fragment before
        self._ticks = 0  # of all fragments

    def feed(self, data: bytes) -> list[Unit]:
        units: list[Unit] = []
        self._buffer += data
        while len(self._buffer) >= self._awaited:
            try:
                self._next(units)
            except ValueError:
                self._resync()
        return units

    def flush(self) -> list[Unit]:
        self._drop(len(self._buffer) + len(self._moof) + len(self._before))
        self._buffer.clear()
        self._moof = self._before = b""
        self._awaited = 8
        return []

    def _next(self, units: list[Unit]) -> None:
        """Take a box if it is all there, or find out how much to wait for."""
        found = boxes.head(self._buffer)
        if found is None:
            self._awaited = 16
            return
        kind, size, _ = found
        if kind not in _KNOWN or size > _MOST.get(kind, _MOST_OTHERS):
            raise ValueError(f"not a box of a stream: {kind!r} of {size} bytes")
        self._awaited = size
        if len(self._buffer) >= size:
            box = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._awaited = 8
            self._take(kind, box, units)

    def _take(self, kind: bytes, box: bytes, units: list[Unit]) -> None:
        if kind == b"ftyp":
            self._type = box
        elif kind == b"moov":
            self._begin(box)
        elif kind == b"moof":
            self._open(box)
        elif kind == b"mdat" and self._fragment is not None:
            self._emit(self._moof + box, self._fragment, units)
        elif kind in _KEPT and len(self._before) + len(box) <= _MOST_OTHERS:
            self._before += box
        else:
            self._drop(len(box))

    def _begin(self, moov: bytes) -> None:
        try:
            track = boxes.master_track(moov)
        except ValueError:
            self._drop(len(moov))
            return
        header = self._type + moov
        if header != self._header:
            self._header, self._track, self._end = header, track, None
            self._has_begun = not self._awaits_cut

    def _open(self, moof: bytes) -> None:
        self._drop(len(self._moof))  # it never got its data
        self._moof, self._fragment = self._before + moof, None
        self._before = b""
        try:
            if self._track is not None:
                self._fragment = boxes.fragment(moof, self._track) or boxes.Fragment(None, 0, False)
        except ValueError:
            pass
        if self._fragment is None:
            self._drop(len(self._moof))
            self._moof = b""

    def _emit(self, data: bytes, fragment: boxes.Fragment, units: list[Unit]) -> None:
        assert self._track is not None
        self._moof, self._fragment = b"", None
        is_cut = fragment.is_sync or (not self._track.is_video and fragment.duration > 0)
        if not is_cut and not self._has_begun:
            self._drop(len(data))
            return
        self._has_begun = True
        duration, skipped = self._advance(fragment, self._track.timescale)
        units.append(Unit(data, duration, is_cut, self._header, skipped))

    def _advance(self, fragment: boxes.Fragment, timescale: int) -> tuple[int, int]:
        """Flicks of media in the fragment, and flicks that the time stamps leave out before it.

        The last sample of a fragment is often guessed: small differences to the next decode time are set right.
        """
        ticks, skipped = fragment.duration, 0
        if fragment.decode_time is not None and ticks > 0:
            off = 0 if self._end is None else fragment.decode_time - self._end
            if abs(off) * 2 <= timescale:
                ticks = max(0, ticks + off)
            elif 0 < off <= _LONGEST_SKIP * timescale:
                skipped = off
            self._end = fragment.decode_time + fragment.duration
        before = self._ticks * FLICKS // timescale
        self._ticks += ticks
        return self._ticks * FLICKS // timescale - before, skipped * FLICKS // timescale

    def _resync(self) -> None:
        """Drop bytes up to the next that may begin a box of importance."""
        found = [at - 4 for mark in _LANDMARKS if (at := self._buffer.find(mark, 5)) >= 0]
        keep = min(found, default=max(1, len(self._buffer) - 7))
        self._drop(keep)
        del self._buffer[:keep]
        self._awaited = 8

    def _drop(self, count: int) -> None:
        self.dropped += count
