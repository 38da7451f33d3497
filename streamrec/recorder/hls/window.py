"""What of a live window is to be fetched next: each segment once and in order, whatever its numbers do. Pure.

RFC 8216 sections 6.2.2 and 6.3.
"""

from __future__ import annotations

import enum
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from streamrec.recorder.hls.playlist import Media, Segment

MOST_NAMES: Final = 1_024
MOST_FRESH: Final = 256  # segments of one list
MOST_DIGESTS: Final = 1_024
LAGS: Final = 3  # lists in a row that end before our last segment: an edge that lags behind catches up sooner
LONGEST_REACH: Final = 120.0  # s of a window that is gone back at most
_END: Final = 4_096  # bytes
FEWEST: Final = 3  # segments, where nothing says how many are wanted
SMALLEST_HOLE: Final = 0.75  # of a target duration, where only the moments of appearance tell
CLOSE_SECONDS: Final = 0.05


class Break(enum.Enum):
    """What lies between the segment before and this one."""

    NONE = "nothing"
    RESET = "the numbers began anew; some of what follows may be known"
    JUMP = "numbers that were never listed, or the same segments under other numbers"


@dataclass(frozen=True, slots=True)
class Last:
    """The last segment that was fetched, to be found again by the next attempt."""

    sequence: int
    name: str


@dataclass(frozen=True, slots=True)
class News:
    """What a list has that was not there before."""

    segments: Sequence[Segment] = ()
    broken: Break = Break.NONE  # before the first of them


def beginning(media: Media, last: Last | None, wanted_seconds: float | None) -> Sequence[Segment]:
    """The segments with which an attempt begins: enough that the archive's end is among the first media.

    That is what reaches back `wanted_seconds`, and a segment more, and what follows on `last`, which the attempt
    before fetched last, with it. Where nothing is known it is the FEWEST.
    """
    listed = media.segments
    known = next((at for at, each in enumerate(listed) if last == Last(each.sequence, each.name)), None)
    if wanted_seconds is None:
        return listed[-FEWEST:] if known is None else _reaching(listed[known:], LONGEST_REACH)
    wanted = _reaching(listed, min(wanted_seconds + media.target, LONGEST_REACH))
    begin = len(listed) - len(wanted) if known is None else min(known, len(listed) - len(wanted))
    return _reaching(listed[begin:], LONGEST_REACH)


def _reaching(listed: Sequence[Segment], seconds: float) -> Sequence[Segment]:
    """The fewest at the end that last so long; one at least, and all if that is not enough."""
    at = len(listed)
    while at > max(0, len(listed) - MOST_FRESH) and seconds > 0:
        at -= 1
        seconds -= listed[at].duration
    return listed[min(at, len(listed) - 1) :] if listed else listed


def unlisted_seconds(
    before: Segment,
    after: Sequence[Segment],
    elapsed: float,
    target: float,
    *,
    under: float = 0.0,
    over: float = 0.0,
) -> float:
    """How much was never listed between a segment and those `after` it; 0 if nothing.

    `elapsed` is how many seconds lie between them by the moments of their appearance, which may be half a segment
    off; `under` and `over` are how much too small and too large it may be beside, as where a list was awaited for
    long. The station's own times are believed where they agree with it, and else its numbers, a segment each.
    """
    first = after[0]
    if before.said_at is not None and first.said_at is not None:
        said = (first.said_at - before.said_at).total_seconds() - before.duration
        if -target - over <= said - elapsed <= target + under:
            if said > CLOSE_SECONDS:
                return said
            if elapsed <= target:  # else a packager that dates by its media alone says nothing of what it left out
                return 0.0
    usual = sum(each.duration for each in after) / len(after)
    numbered = (first.sequence - before.sequence - 1) * usual
    least, most = elapsed - SMALLEST_HOLE * target - over, elapsed + SMALLEST_HOLE * target + under
    if numbered > 0 and least <= numbered <= most:
        return numbered
    return elapsed if elapsed > SMALLEST_HOLE * target else 0.0


def age_seconds(before: Segment, after: Sequence[Segment], elapsed: float) -> float:
    """How old a list was when first seen, that stood still and then went on with `after`; 0 if nobody knows.

    `before` is its last segment, and `elapsed` are the seconds from then on until the end of `after` was live. The
    numbers in between tell how many segments were never listed.
    """
    usual = sum(each.duration for each in after) / len(after)
    unlisted = after[0].sequence - before.sequence - 1
    age = (unlisted + len(after)) * usual - elapsed
    return age if unlisted > 0 and 0 < age <= LONGEST_REACH else 0.0


def digest(data: bytes) -> bytes:
    """What a segment is known by when its number says nothing: its length and its ends, which differ in time."""
    return blake2b(len(data).to_bytes(8, "big") + data[:_END] + data[-_END:], digest_size=8).digest()


class Seen:
    """The segments of an attempt so far."""

    def __init__(self) -> None:
        self._names: OrderedDict[int, str] = OrderedDict()
        self._listed: set[str] = set()  # by the list before, wanted or not
        self._newest = -1
        self._lags = 0
        self._digests: deque[bytes] = deque(maxlen=MOST_DIGESTS)
        self._known: set[bytes] = set()
        self.is_deduplicating = False
        """Whether the numbers broke off a moment ago, so that only the bytes tell what is known."""

    def begin(self, segments: Sequence[Segment], media: Media) -> None:
        """These are the first, of those that `media` lists."""
        self._note(segments)
        self._listed = {each.name for each in media.segments}

    def forget_names(self) -> None:
        """Another variant is listed from now on: its segments have the same numbers and other names."""
        self._names = OrderedDict.fromkeys(self._names, "")
        self._listed = set()

    def news(self, media: Media, since_seconds: float) -> News:
        """What is to be fetched now that `media` is listed; our last segment's end was live `since_seconds` ago.

        When numbers begin anew or jump, what stands before that was recorded already, or never wanted.
        """
        listed, self._listed = self._listed, {each.name for each in media.segments} or self._listed
        if not media.segments:
            return News()
        if self._is_reset(media):
            self._names.clear()
            self._note(media.segments)
            return self._after_break(Break.RESET, media.segments, listed, since_seconds + 2 * media.target)
        expected = self._newest + 1
        fresh = [segment for segment in media.segments if segment.sequence >= expected]
        if not fresh:
            return News()
        self._note(fresh)
        if fresh[0].sequence > expected:
            return self._after_break(Break.JUMP, fresh, listed, since_seconds + 2 * media.target)
        return News(_reaching(fresh, LONGEST_REACH))

    def _after_break(self, broken: Break, segments: Sequence[Segment], listed: set[str], seconds: float) -> News:
        """The numbers mean nothing: what was listed before is old, up to the last of it, whose bytes will tell."""
        self.is_deduplicating = True
        known = max((at for at, each in enumerate(segments) if each.name in listed), default=None)
        if known is not None:
            return News(segments[known:], broken)
        return News(_reaching(segments, min(seconds, LONGEST_REACH)), broken)

    def _is_reset(self, media: Media) -> bool:
        common = [segment for segment in media.segments if segment.sequence in self._names]
        if any(self._names[each.sequence] not in ("", each.name) for each in common):
            return True
        is_behind = media.segments[-1].sequence < self._newest
        self._lags = self._lags + 1 if is_behind else 0
        return is_behind and (not common or self._lags >= LAGS)

    def _note(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            self._names[segment.sequence] = segment.name
        while len(self._names) > MOST_NAMES:
            self._names.popitem(last=False)
        self._newest = segments[-1].sequence
        self._lags = 0

    def is_known(self, data: bytes) -> bool:
        """Whether these bytes were fetched before, under whatever number; they are known from now on.

        Only right after a break can they be.
        """
        mark = digest(data)
        if mark in self._known:
            return self.is_deduplicating
        if len(self._digests) == MOST_DIGESTS:
            self._known.discard(self._digests[0])
        self._digests.append(mark)
        self._known.add(mark)
        self.is_deduplicating = False
        return False
