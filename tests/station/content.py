"""The content ledger: which of a mount's frames a file holds, told by hashes and without decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

from streamrec.framing import framer_for
from streamrec.framing.units import FLICKS
from streamrec.models import FileFormat


class Told(Protocol):
    """A programme whose frames can be told apart."""

    def number_of(self, frame: bytes, /) -> int | None:
        """Which frame these bytes are, to the last bit."""
        ...


class Part(Protocol):
    """A programme that was on air for a while."""

    @property
    def number(self) -> int: ...

    @property
    def programme(self) -> Told: ...


class OnAir(Protocol):
    """A mount, or a presentation of HLS."""

    @property
    def parts(self) -> Sequence[Part]: ...


class Place(NamedTuple):
    """A frame of a mount: which part's, and which of it."""

    part: int
    frame: int


@dataclass(frozen=True)
class Content:
    """What a file holds: its frames by place (None for one that was never sent so), and what is no frame."""

    places: tuple[Place | None, ...]
    seconds: float
    foreign_bytes: int


class Key:
    """Tells the frames of one mount apart; its programmes must not repeat a frame."""

    def __init__(self, mount: OnAir) -> None:
        self._parts = list(mount.parts)

    def read(self, path: Path) -> Content:
        """What the file at `path` holds."""
        framer = framer_for(FileFormat(path.suffix[1:]), awaits_cut=False)
        units = [*framer.feed(path.read_bytes()), *framer.flush()]
        seconds = sum(unit.duration for unit in units) / FLICKS
        return Content(tuple(self._place(unit.data) for unit in units), seconds, framer.dropped)

    def _place(self, data: bytes) -> Place | None:
        for part in self._parts:
            number = part.programme.number_of(data)
            if number is not None:
                return Place(part.number, number)
        return None


def jumps(places: list[Place]) -> list[tuple[Place, Place]]:
    """Where a frame does not follow the one before it in the same part."""
    pairs = [(one, two) for one, two in pairwise(places) if one.part == two.part]
    return [(one, two) for one, two in pairs if two.frame != one.frame + 1]


def missing(places: list[Place]) -> dict[int, list[int]]:
    """Of each part, the frames between the first and the last that are there, and are not."""
    found: dict[int, list[int]] = {}
    for part, group in groupby(sorted(places), key=lambda place: place.part):
        frames = [place.frame for place in group]
        found[part] = sorted(set(range(frames[0], frames[-1] + 1)) - set(frames))
    return found
