"""One stretch of a television's clip: the frames of one run, each by itself, and what they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Final

from streamrec.clips.converting import Flow
from streamrec.errors import Unavailable
from streamrec.framing.psi import PACKET, Tables, pid_of
from streamrec.framing.retiming import Elementary, Stamp, elementary, stamp
from streamrec.media import black

_HEAD_BYTES: Final = 8 << 20  # in which every stream shows itself


@dataclass(frozen=True, slots=True)
class Place:
    """When a frame is shown and when it is decoded, in ticks."""

    shown: int
    decoded: int


@dataclass(frozen=True, slots=True)
class Edge:
    """Where the picture and the sound of a stretch begin, or where they end; None of what it has not."""

    picture: Place | None = None
    sound: Place | None = None

    @property
    def shown(self) -> int:
        """By the picture, if there is one."""
        place = self.picture or self.sound
        assert place is not None, "a stretch of nothing is none"
        return place.shown


class Stretch:
    """The packets that one ffmpeg writes. Its head is read first, to see what it is and when it begins."""

    def __init__(self, flow: Flow) -> None:
        """Raises Unavailable: there is nothing in it."""
        self.tables = Tables()
        self._begins: dict[int, Stamp] = {}
        self._chunks = _whole_packets(flow)
        self._head = b""
        for data in self._chunks:
            self._head += data
            self._see(data)
            if len(self._begins) == len(self.tables.streams) > 0 or len(self._head) > _HEAD_BYTES:
                break
        if not self._begins:
            raise Unavailable("A part of this range has neither picture nor sound.")
        self.look = black.look(flow.words)

    def _see(self, data: bytes) -> None:
        for at in range(0, len(data), PACKET):
            packet = data[at : at + PACKET]
            pid = pid_of(packet)
            if self.tables.is_table(pid):
                self.tables.take(pid, packet)
            elif pid not in self._begins and (found := stamp(packet)) is not None:
                self._begins[pid] = found

    def begins(self, shift: int) -> Edge:
        """Where it begins when it is moved by so many ticks."""
        places = {
            each.is_picture: Place(each.shown + shift, each.decoded + shift) for each in self._begins.values()
        }
        return Edge(places.get(True), places.get(False))

    @property
    def pids(self) -> list[int]:
        """Which packets have something in them."""
        return list(self._begins)

    def pid(self, *, is_picture: bool) -> int | None:
        """Which packets have its picture, or its sound."""
        return next((pid for pid, each in self._begins.items() if each.is_picture is is_picture), None)

    def head(self, pid: int) -> Elementary:
        """The first frames of one of its streams."""
        return elementary(self._head)[pid]

    def __iter__(self) -> Iterator[bytes]:
        return chain([self._head], self._chunks)


def _whole_packets(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        data = rest + chunk
        size = len(data) // PACKET * PACKET
        rest = data[size:]
        if size:
            yield data[:size]
