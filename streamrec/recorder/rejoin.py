"""Where in a new attempt's first media the archive ends, told by the media itself. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from itertools import accumulate, takewhile
from typing import Final, NamedTuple

from streamrec.framing.essence import essence
from streamrec.framing.units import FLICKS, Unit
from streamrec.models import FileFormat

TAIL: Final = 60 * FLICKS
TAIL_UNITS: Final = 4096
MOST_NEW: Final = 2 * TAIL_UNITS  # an end that is not among so many units will not come
FEWEST: Final = 4  # units that are alike ...
SHORTEST: Final = FLICKS * 2 // 25  # ... and last so long in all: four frames of any usual radio
ENOUGH: Final = FLICKS  # so much is no accident, however few the units
LONGEST_PERIOD: Final = FLICKS  # of a tone
PLACES: Final = 4  # looked at more closely, the likeliest first
REACH: Final = FLICKS // 4  # by which a wall clock may be wrong about the seam


class Mark(NamedTuple):
    """What is kept of a unit."""

    digest: bytes
    duration: int  # flicks


def mark(file_format: FileFormat, unit: Unit) -> Mark:
    """The unit's mark: equal for equal media, however it was multiplexed."""
    return Mark(blake2b(essence(file_format, unit.data), digest_size=8).digest(), unit.duration)


@dataclass(frozen=True, slots=True)
class Tail:
    """The last media of a channel's archive."""

    format: FileFormat
    marks: Sequence[Mark]
    end_time: datetime


def last(marks: Iterable[Mark]) -> list[Mark]:
    """The last TAIL flicks of them, and at most TAIL_UNITS."""
    kept: deque[Mark] = deque(maxlen=TAIL_UNITS)
    length = 0
    for each in marks:
        if len(kept) == TAIL_UNITS:
            length -= kept[0].duration
        kept.append(each)
        length += each.duration
        while length > TAIL and len(kept) > 1:
            length -= kept.popleft().duration
    return list(kept)


def seam(tail: Tail, units: Sequence[Unit], about: int) -> int | None:
    """How many of an attempt's first `units` are archived, where the clock says that `about` flicks of them are.

    For a burst that reaches back to the archive's last few units only, or an archive of a few units: too few to
    prove anything without a clock, which in its turn is not exact to a unit. Near the place that it names, the one
    place is believed up to which all are the archive's last, one after the other, and one of them is unlike all
    others; what comes before the archive's first must be unknown to it. Where ENOUGH of them are unlike all
    others, those before may differ, as around a torn frame that was understood in two ways. None if there is none.
    """
    known = {each.digest for each in tail.marks}
    new = [mark(tail.format, unit) for unit in _until(units, about + REACH)]
    once = _single(tail.marks) & _single(new)
    ours, theirs = ([each.digest for each in marks] for marks in (new, tail.marks))
    lengths = accumulate(each.duration for each in new)
    near = [count for count, length in enumerate(lengths, start=1) if abs(length - about) <= REACH]
    alike = []
    for count in near:
        first = max(0, count - len(theirs))
        common = _common_end(ours[first:count], theirs)
        is_all = common == count - first and known.isdisjoint(ours[:first])
        length = sum(each.duration for each in new[count - common : count] if each.digest in once)
        if length >= ENOUGH or (is_all and length):
            alike.append(count)
    return alike[0] if len(alike) == 1 else None


def _common_end(ours: Sequence[bytes], theirs: Sequence[bytes]) -> int:
    """How many are the same, from the last on backwards."""
    pairs = zip(reversed(ours), reversed(theirs), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def is_new(tail: Tail, units: Sequence[Unit], about: int) -> bool:
    """Whether the archive's end has none of an attempt's units that begin in its first `about` flicks."""
    known = {each.digest for each in tail.marks}
    return all(mark(tail.format, unit).digest not in known for unit in _until(units, about))


def _until(units: Sequence[Unit], end: int) -> Sequence[Unit]:
    """The units that begin before `end` flicks."""
    starts = accumulate((unit.duration for unit in units), initial=0)
    return [unit for unit, start in zip(units, starts, strict=False) if start < end]


def _single(marks: Iterable[Mark]) -> set[bytes]:
    return {digest for digest, count in Counter(each.digest for each in marks).items() if count == 1}


class Rejoin:
    """Looks for the end of the archive in what a new attempt brings.

    A place is believed when the units before it are the archive's last ones, one after the other, and enough of
    them occur once here and once there: silence, a tone or a jingle that is played again proves nothing. What
    stands before them must be unknown to the archive, as a torn frame or a greeting is. Two places are none. An
    archive of a moment is found in so much new media only as would show the period of a tone.
    """

    def __init__(self, tail: Tail) -> None:
        self.tail = tail
        self.archived: int | None = None
        """How many of the units that were fed are archived already, once that is known."""
        self.is_inside = False
        """Whether all that came is archived already, and the archive's end is still to come."""
        self.remaining = 0
        """Flicks up to the archive's end, while `is_inside`."""
        self._old = tail.marks
        count = Counter(each.digest for each in self._old)
        is_short = sum(each.duration for each in self._old) < ENOUGH  # it might be one period of a tone ...
        self._least = 2 * LONGEST_PERIOD if is_short else 0  # ... which so much new media would have twice
        self._length = 0  # flicks of new media
        self._known = set(count)
        self._once = {each.digest: at for at, each in enumerate(self._old) if count[each.digest] == 1}
        self._new: list[Mark] = []
        self._count: Counter[bytes] = Counter()

    @property
    def is_over(self) -> bool:
        """Whether nothing more need be fed."""
        return self.archived is not None or len(self._new) > MOST_NEW

    def feed(self, units: Iterable[Unit]) -> None:
        """Take in the next units of the attempt, from its first on."""
        if self.is_over:
            self.is_inside = False
            return
        marks = [mark(self.tail.format, unit) for unit in units]
        self._new += marks
        self._count.update(each.digest for each in marks)
        self._length += sum(each.duration for each in marks)
        if self._length >= self._least:
            self._look()

    def _look(self) -> None:
        ends = [offset + len(self._old) for offset in self._offsets() if self._holds(offset)]
        found = [end for end in ends if end <= len(self._new)]
        if len(found) == 1:
            self.archived = found[0]
        self.is_inside = not found and len(ends) == 1 and not self.is_over
        if self.is_inside:
            self.remaining = sum(each.duration for each in self._old[len(self._new) - ends[0] :])

    def _offsets(self) -> list[int]:
        """By how much units that occur once here and once there are displaced; the likeliest."""
        votes = Counter(
            at - self._once[each.digest]
            for at, each in enumerate(self._new)
            if self._count[each.digest] == 1 and each.digest in self._once
        )
        return [offset for offset, _ in votes.most_common(PLACES)]

    def _holds(self, offset: int) -> bool:
        """Whether the archive and the attempt, displaced so, are the same up to where the first of them ends."""
        at = min(offset + len(self._old), len(self._new)) - 1
        alike, length = 0, 0
        while at >= max(0, offset) and self._new[at].digest == self._old[at - offset].digest:
            if self._count[self._new[at].digest] == 1 and self._new[at].digest in self._once:
                alike += 1
                length += self._new[at].duration
            at -= 1
        is_enough = length >= ENOUGH or (alike >= FEWEST and length >= SHORTEST)
        is_all = at < offset and length >= ENOUGH  # the attempt may well begin before what is kept of the archive
        return is_enough and (is_all or self._is_foreign(at + 1))

    def _is_foreign(self, end: int) -> bool:
        """Whether the archive knows nothing of the units before `end`."""
        return all(each.digest not in self._known for each in self._new[:end])
