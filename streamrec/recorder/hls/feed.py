"""One live presentation, followed: its segments in order, each fetched once, and what could not be had."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from streamrec.clock import Clock
from streamrec.egress import StreamUrl
from streamrec.models import GapReason
from streamrec.recorder.fetch.errors import Refused
from streamrec.recorder.fetch.redirects import resolve
from streamrec.recorder.fetch.session import Session
from streamrec.recorder.fetch.wire import TICK_SECONDS
from streamrec.recorder.hls import keys
from streamrec.recorder.hls.lists import Lists
from streamrec.recorder.hls.pace import Pace
from streamrec.recorder.hls.playlist import Media, Part, Segment
from streamrec.recorder.hls.window import (
    LONGEST_REACH,
    Break,
    Last,
    News,
    Seen,
    age_seconds,
    beginning,
    unlisted_seconds,
)

MOST_SEGMENT: Final = 64 << 20  # bytes
MOST_INIT: Final = 4 << 20
MOST_CACHED: Final = 8
FIRST_RETRY_SECONDS: Final = 0.25
STALE_SECONDS: Final = 12.0
MOST_LOST: Final = 3  # segments in a row; then the playlist is worth nothing
FASTEST: Final = 2.0  # s of media a second, on the whole
FINAL: Final = frozenset({GapReason.EGRESS_DENIED, GapReason.UNSUPPORTED, GapReason.DRM})  # waiting does not help


@dataclass(frozen=True, slots=True)
class Fetched:
    """A segment and what must come before it in a file."""

    segment: Segment
    init: bytes
    data: bytes
    listed_at: float  # monotonic seconds: by then its end had been live
    is_edge: bool  # whether its end was live just then
    begins_run: bool  # whether another run must begin with it
    later_seconds: float  # of media that was listed behind it by then
    older_seconds: float  # how much sooner that may well have been


@dataclass(frozen=True, slots=True)
class Missing:
    """A stretch that was listed and could not be had, or was never listed."""

    seconds: float
    detail: str


Step = Fetched | Missing


@dataclass(frozen=True, slots=True)
class _Due:
    segment: Segment
    address: StreamUrl  # of the list that has it
    listed_at: float
    is_edge: bool
    begins_run: bool
    later_seconds: float


class Feed:
    """Follows the presentation at an address until `next` raises Refused. Cancelling `next` ends it too."""

    def __init__(
        self,
        lists: Lists,
        session: Session,
        clock: Clock,
        *,
        last: Last | None = None,
        wanted_seconds: float | None = None,
        first: int | None = None,
    ) -> None:
        """`last` and `wanted_seconds` say where to begin: see `window.beginning`; `first` does if it is listed."""
        self._lists = lists
        self._session = session
        self._clock = clock
        self._last = last
        self._wanted_seconds = wanted_seconds
        self._first = first
        self.age_seconds = 0.0
        """How old the first list was, if it stood still and its successor told."""
        self._seen = Seen()
        self._pace = Pace()
        self._due: deque[_Due] = deque()
        self._holes: deque[Missing] = deque()
        self._media: Media | None = None
        self._newest: Segment | None = None
        self._newest_at = 0.0  # when the newest segment's end was live, as far as is known
        self._awaited_seconds = 0.0  # for how long its list was awaited: so much sooner it may have been
        self._newest_doubt = 0.0  # of when it was live
        self._has_moved = False  # whether that is known: the first list may have been old
        self._news_at = clock.monotonic()
        self._stale_seconds = 0.0
        self._discontinuities: int | None = None
        self._init = b""
        self._cached: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._begins_run = True
        self._lost = 0
        self._listed_seconds = 0.0
        self._began = clock.monotonic()

    @property
    def last(self) -> Last | None:
        """The segment that was fetched last."""
        return self._last

    @property
    def is_stale(self) -> bool:
        """Whether the playlist, when last looked at, had not brought anything new for long."""
        return not self._due and self._stale_seconds > 1.5 * self._target

    async def next(self) -> Step:
        """What comes next; waits for it. Raises Refused when nothing more comes."""
        while True:
            if self._holes:
                self._begins_run = True
                return self._holes.popleft()
            if not self._due or self._waits_for_edge:
                await self._look()
                continue
            step = await self._take(self._due[0])
            self._due.popleft()
            if step is not None:
                return step

    # --- the playlist

    @property
    def _waits_for_edge(self) -> bool:
        """Whether a run will end among the first segments: its time must be known before those behind it come."""
        return not self._has_moved and any(due.begins_run for due in self._due)

    @property
    def _target(self) -> float:
        return self._media.target if self._media is not None else 2.0

    async def _look(self) -> None:
        """Load the playlist when it is time, and queue what is new in it."""
        if self._media is not None and self._media.is_over:
            raise Refused(GapReason.SOURCE_ENDED, "The stream is over: its playlist is complete.")
        await self._clock.sleep(self._pace.wait(self._clock.monotonic()))
        asked_at = self._clock.monotonic()
        try:
            media = await self._lists.load()
        except Refused as exc:
            await self._forgive(exc)
            return
        at = max(asked_at, self._clock.monotonic() - TICK_SECONDS / 2)  # it had come since the tick before
        news = self._news(media)
        if self._lists.is_other_variant:
            self._lists.is_other_variant = False
            self._begins_run = True
        self._stale_seconds = 0.0 if news.segments else at - self._news_at
        if news.segments:
            self._queue(news, at, at - asked_at)
        else:
            self._pace.nothing(at, self._target)
            await self._complain(at)

    def _news(self, media: Media | None) -> News:
        """What is new in the list; the first with segments says where to begin."""
        if media is None:
            return News()
        is_first = self._newest is None
        self._media = media
        if self._lists.is_other_variant:
            self._seen.forget_names()
        if not is_first:
            return self._seen.news(media, self._clock.monotonic() - self._newest_at)
        _require_live(media)
        from_first = [each for each in media.segments if self._first is not None and each.sequence >= self._first]
        is_listed = bool(from_first) and from_first[0].sequence == self._first
        segments = from_first if is_listed else beginning(media, self._last, self._wanted_seconds)
        if segments:
            self._seen.begin(segments, media)
        return News(segments)

    def _queue(self, news: News, at: float, awaited_seconds: float) -> None:
        newest, brought = news.segments[-1], sum(segment.duration for segment in news.segments)
        edge = self._pace.news(at, newest.duration, self._target, brought)
        when = at if edge is None else edge
        likely = at - self._pace.late_seconds
        if self._newest is not None and news.broken is not Break.NONE and not self._has_moved:
            self.age_seconds = age_seconds(self._newest, news.segments, likely - self._news_at)
            raise Refused(GapReason.SOURCE_ERROR, "The playlist had stood still, and went on elsewhere.")
        self._has_moved = self._newest is not None
        self._require_pace(news.segments, at)
        if news.broken is not Break.NONE:
            self._begins_run = True
            assert self._newest is not None, "nothing breaks off before it has begun"
            elapsed = likely - brought - self._newest_at
            doubt = self._newest_doubt + self._pace.doubt_seconds
            under, over = doubt + self._awaited_seconds, doubt + awaited_seconds
            hole = unlisted_seconds(self._newest, news.segments, elapsed, self._target, under=under, over=over)
            if hole:
                self._holes.append(Missing(hole, "Segments were dropped from the playlist before they were seen."))
        self._due = deque(_listed_again(due, when, due.later_seconds + brought) for due in self._due)
        later = brought
        for segment in news.segments:
            is_edge = edge is not None and segment is newest
            later -= segment.duration
            due = _Due(segment, self._lists.address, when, is_edge, self._is_cut(segment), later)
            self._due.append(due)
        self._newest, self._newest_at, self._news_at = newest, likely, at
        self._newest_doubt, self._awaited_seconds = self._pace.doubt_seconds, awaited_seconds

    def _require_pace(self, segments: Sequence[Segment], at: float) -> None:
        """Raises Refused (`unsupported`) for a station that goes on listing media faster than it can be live."""
        self._listed_seconds += sum(segment.duration for segment in segments)
        if self._listed_seconds > 2 * LONGEST_REACH + FASTEST * (at - self._began):
            raise Refused(GapReason.UNSUPPORTED, "It is not live: its playlist grows faster than time passes.")

    def _is_cut(self, segment: Segment) -> bool:
        """Whether the station says that time or coding begins anew here."""
        before, self._discontinuities = self._discontinuities, segment.discontinuities
        return before is not None and before != segment.discontinuities

    async def _complain(self, at: float) -> None:
        """A list without news: look for another variant in time, and give up in the end."""
        silent = at - self._news_at
        if silent > self._patience:
            raise Refused(GapReason.STALE_PLAYLIST, f"The playlist has not changed for {silent:.0f} s.")
        if silent > self._patience / 2:
            await self._move()

    async def _forgive(self, exc: Refused) -> None:
        """The list could not be had: at first that is no reason to give up. Raises Refused."""
        at = self._clock.monotonic()
        self._stale_seconds = 0.0
        self._pace.failed(at, self._target)
        if self._newest is None or exc.reason in FINAL or at - self._news_at > self._patience:
            raise exc
        await self._move()

    async def _move(self) -> None:
        """Read the master again; what it says holds from the next look on."""
        try:
            await self._lists.find_again()
        except Refused as exc:
            if exc.reason in FINAL:
                raise

    @property
    def _patience(self) -> float:
        return max(3 * self._target, STALE_SECONDS)

    # --- segments

    async def _take(self, due: _Due) -> Step | None:
        """Fetch a segment, or give it up; None if it turns out to be known. Raises Refused."""
        segment = due.segment
        if segment.is_gap:
            return self._missed(due, "The station has marked a segment as missing.")
        try:
            init, data = await self._patiently(due)
        except Refused as exc:
            self._lost += 1
            if exc.reason in FINAL or self._lost >= MOST_LOST:
                raise
            return self._missed(due, f"A segment could not be fetched: {exc.detail}")
        self._lost = 0
        if self._seen.is_known(data):
            return None
        begins_run = self._begins_run or due.begins_run or init != self._init
        self._begins_run, self._init = False, init
        self._last = Last(segment.sequence, segment.name)
        older_seconds = due.listed_at - self._newest_at  # what is due is listed by the newest list
        told = (due.listed_at, due.is_edge, begins_run, due.later_seconds, older_seconds)
        return Fetched(segment, init, data, *told)

    def _missed(self, due: _Due, detail: str) -> Missing:
        self._begins_run = True
        return Missing(due.segment.duration, detail)

    async def _patiently(self, due: _Due) -> tuple[bytes, bytes]:
        """The initialisation and the data of a segment; tried again while that makes sense. Raises Refused."""
        deadline = self._clock.monotonic() + 1.5 * self._target
        wait = FIRST_RETRY_SECONDS
        while True:
            try:
                return await self._fetch(due.segment, due.address)
            except Refused as exc:
                if exc.reason in FINAL or self._clock.monotonic() + wait > deadline:
                    raise
            await self._clock.sleep(wait)
            wait = min(2 * wait, self._target)

    async def _fetch(self, segment: Segment, base: StreamUrl) -> tuple[bytes, bytes]:
        init = b"" if segment.init is None else await self._cache(segment.init, base, MOST_INIT)
        data = await self._get(segment.media, base, MOST_SEGMENT)
        if segment.key is not None:
            key = await self._cache(Part(segment.key.uri), base, keys.KEY_BYTES)
            data = keys.decrypted(data, key, segment.key.iv)
        return init, data

    async def _cache(self, part: Part, base: StreamUrl, most_bytes: int) -> bytes:
        name = (resolve(base, part.uri).url, part.start)
        if name not in self._cached:
            self._cached[name] = await self._get(part, base, most_bytes)
            while len(self._cached) > MOST_CACHED:
                self._cached.popitem(last=False)
        return self._cached[name]

    async def _get(self, part: Part, base: StreamUrl, most_bytes: int) -> bytes:
        span = None if part.length is None else (part.start, part.length)
        if part.length is not None and part.length > most_bytes:
            raise Refused(GapReason.UNSUPPORTED, "The playlist's segments are too large.")
        url = resolve(base, part.uri)
        seconds = max(2 * self._target, 5.0)
        return (await self._session.get(url, most_bytes=most_bytes, seconds=seconds, span=span)).body


def _listed_again(due: _Due, when: float, later_seconds: float) -> _Due:
    """What waited for the next list, by whose end it is known better when it was live."""
    return replace(due, listed_at=when, is_edge=False, later_seconds=later_seconds)


def _require_live(media: Media) -> None:
    """Raises Refused for what is no live stream, or not any more."""
    if media.is_on_demand:
        raise Refused(GapReason.UNSUPPORTED, "It is a recording, not a live stream.")
    if media.is_over:
        raise Refused(GapReason.SOURCE_ENDED, "The stream is over: its playlist is complete.")
