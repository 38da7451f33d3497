"""Boxes of the ISO base media file format, as far as fragments need them. Pure.

ISO/IEC 14496-12: boxes in section 4.2, tkhd 8.3.2, mdhd 8.4.2, hdlr 8.4.3, stsd 8.5.2, trex 8.8.3, tfhd 8.8.7,
trun 8.8.8, tfdt 8.8.12. What contradicts itself raises ValueError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

_NOT_SYNC = 0x10000  # sample_is_non_sync_sample
_LONGEST = 120  # s of media in one fragment
_KINDS = (b"vide", b"soun")

Read = TypeVar("Read")


class Track(NamedTuple):
    """The track that gives a file its time, and what its fragments may leave unsaid."""

    id: int
    is_video: bool
    timescale: int  # ticks a second
    duration: int = 0  # ticks of a sample
    flags: int = 0  # of a sample


class Fragment(NamedTuple):
    """What a moof says of one track."""

    decode_time: int | None  # ticks
    duration: int  # ticks
    is_sync: bool  # whether a decoder may begin with its first sample


def head(data: bytes | bytearray, at: int = 0) -> tuple[bytes, int, int] | None:
    """Type, size and header size of the box at `at`; None if its header is not all there."""
    if len(data) - at < 8:
        return None
    size, kind = struct.unpack_from(">I4s", data, at)
    length = 8
    if size == 1:
        if len(data) - at < 16:
            return None
        (size,), length = struct.unpack_from(">Q", data, at + 8), 16
    if size < length:  # 0, "to the end of the file", has no place in a stream
        raise ValueError(f"a box of {size} bytes")
    return kind, size, length


def master_track(moov: bytes) -> Track:
    """The first video track, else the first audio track."""
    return _strictly(_master_track, moov)


def sample_entries(header: bytes) -> list[bytes]:
    """The types of what the tracks contain, among them those that are unknown; `header` has a moov box."""
    return _strictly(_sample_entries, header)


def fragment(moof: bytes, track: Track) -> Fragment | None:
    """What the fragment has of `track`; None if nothing."""
    return _strictly(lambda box: _fragment(box, track), moof)


def _strictly(read: Callable[[bytes], Read], box: bytes) -> Read:
    try:
        return read(box)
    except (struct.error, IndexError, KeyError, StopIteration) as error:
        raise ValueError(f"a broken box: {error}") from error


def _children(box: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The type and the contents of each box inside the contents of another."""
    at = 0
    while at < len(box):
        found = head(box, at)
        if found is None or at + found[1] > len(box):
            raise ValueError("a box is longer than the one around it")
        kind, size, length = found
        yield kind, box[at + length : at + size]
        at += size


def _contents(box: bytes) -> bytes:
    found = head(box)
    if found is None:
        raise ValueError("a box without a header")
    return box[found[2] :]


def _master_track(moov: bytes) -> Track:
    tracks: list[tuple[int, int, int]] = []  # (rank of its kind, id, timescale)
    extends: dict[int, tuple[int, int]] = {}
    for kind, body in _children(_contents(moov)):
        if kind == b"trak":
            tracks.append(_track(body))
        elif kind == b"mvex":
            extends.update(_trex(each) for name, each in _children(body) if name == b"trex")
    rank, track_id, timescale = min(tracks, key=lambda track: track[0], default=(len(_KINDS), 0, 0))
    if rank == len(_KINDS) or timescale == 0:
        raise ValueError("neither video nor audio")
    return Track(track_id, rank == 0, timescale, *extends.get(track_id, (0, 0)))


def _sample_entries(header: bytes) -> list[bytes]:
    moov = next(body for kind, body in _children(header) if kind == b"moov")
    tracks = (dict(_children(body)) for kind, body in _children(moov) if kind == b"trak")
    tables = (dict(_children(dict(_children(trak[b"mdia"]))[b"minf"])) for trak in tracks)
    described = (dict(_children(table[b"stbl"]))[b"stsd"] for table in tables)
    return [kind for stsd in described for kind, _ in _children(stsd[8:])]


def _track(trak: bytes) -> tuple[int, int, int]:
    boxes = dict(_children(trak))
    media = dict(_children(boxes[b"mdia"]))
    tkhd, mdhd, handler = boxes[b"tkhd"], media[b"mdhd"], media[b"hdlr"][8:12]
    (track_id,) = struct.unpack_from(">I", tkhd, 20 if tkhd[0] == 1 else 12)
    (timescale,) = struct.unpack_from(">I", mdhd, 20 if mdhd[0] == 1 else 12)
    return _KINDS.index(handler) if handler in _KINDS else len(_KINDS), track_id, timescale


def _trex(body: bytes) -> tuple[int, tuple[int, int]]:
    track_id, _, duration, _, flags = struct.unpack_from(">5I", body, 4)
    return track_id, (duration, flags)


def _fragment(moof: bytes, track: Track) -> Fragment | None:
    for kind, traf in _children(_contents(moof)):
        if kind == b"traf":
            boxes = list(_children(traf))
            header = next(body for name, body in boxes if name == b"tfhd")
            if struct.unpack_from(">I", header, 4)[0] == track.id:
                return _of_track(boxes, _with_defaults(header, track))
    return None


def _with_defaults(tfhd: bytes, track: Track) -> Track:
    """The track, with what this fragment says of all its samples."""
    flags = int.from_bytes(tfhd[1:4], "big")
    at = 8 + (8 if flags & 0x01 else 0) + (4 if flags & 0x02 else 0)
    if flags & 0x08:
        track, at = track._replace(duration=struct.unpack_from(">I", tfhd, at)[0]), at + 4
    at += 4 if flags & 0x10 else 0
    if flags & 0x20:
        track = track._replace(flags=struct.unpack_from(">I", tfhd, at)[0])
    return track


def _of_track(boxes: list[tuple[bytes, bytes]], track: Track) -> Fragment:
    decode_time, duration, first_flags = None, 0, None
    for kind, body in boxes:
        if kind == b"tfdt":
            (decode_time,) = struct.unpack_from(">Q" if body[0] == 1 else ">I", body, 4)
        elif kind == b"trun":
            length, flags = _run(body, track)
            duration += length
            first_flags = flags if first_flags is None else first_flags
    if duration > _LONGEST * track.timescale:
        raise ValueError(f"a fragment of {duration // track.timescale} s")
    return Fragment(decode_time, duration, first_flags is not None and not first_flags & _NOT_SYNC)


def _run(trun: bytes, track: Track) -> tuple[int, int | None]:
    """The length of a run of samples in ticks, and the flags of its first; None if it has no samples."""
    flags, (count,) = int.from_bytes(trun[1:4], "big"), struct.unpack_from(">I", trun, 4)
    at = 8 + (4 if flags & 0x01 else 0)
    first = track.flags
    if flags & 0x04:
        (first,), at = struct.unpack_from(">I", trun, at), at + 4
    fields = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
    if count == 0 or not fields:
        return count * track.duration, first if count else None
    table = struct.unpack_from(f">{min(count, len(trun)) * len(fields)}I", trun, at)
    if 0x400 in fields and not flags & 0x04:
        first = table[fields.index(0x400)]
    is_each = fields[0] == 0x100
    return sum(table[:: len(fields)]) if is_each else count * track.duration, first
