"""Television that was recorded in several runs as one stream, with black and silence where nothing was.

Each stretch has time stamps of its own, and in MP4 a header. One ffmpeg for each gives its frames as they are;
they are moved to where they belong. What comes out is a transport stream whose time goes on evenly, for another
ffmpeg to make the clip of.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from streamrec.clips import converting
from streamrec.clips.blanks import Blank, blank
from streamrec.clips.converting import Given
from streamrec.clips.cutting import Cut
from streamrec.clips.plan import SEAM
from streamrec.clips.stretch import Edge, Place, Stretch
from streamrec.framing.packing import Packetizer
from streamrec.framing.retiming import TICKS, Reach, Retimer
from streamrec.media.black import Look
from streamrec.media.convert import unwrapped_command
from streamrec.timeline import Span

ZERO_SECONDS: Final = 10
"""Where the first picture stands, so that what comes before it has a time, too."""
_ZERO: Final = ZERO_SECONDS * TICKS
_PATIENCE_SECONDS: Final = 60.0


@dataclass(slots=True)
class Bridge:
    """One pass over the cuts of a range. It `fills` gaps, or lets what is before and behind them meet."""

    executable: str
    window: Span
    stretches: Sequence[Sequence[Cut]]  # of each run what meets
    fills: bool
    read: Callable[[Cut], Iterator[Given]]
    check: Callable[[], None]
    filled: list[tuple[Span, int]] = field(default_factory=list)
    """What was filled, and with how many pictures, or frames of sound where there is no picture."""
    _blank: tuple[Look, Blank] | None = None
    _cursor: datetime | None = None  # up to when there is something
    _edge: Edge | None = None  # where that ends

    @property
    def lead(self) -> timedelta:
        """How much of the stream, at its beginning, comes before the range."""
        return self.window.start - self._origin if self.fills else self.stretches[0][0].lead

    @property
    def _origin(self) -> datetime:
        """The instant that stands at _ZERO."""
        first = self.stretches[0][0]
        return min(self.window.start, first.start - first.lead) if self.fills else first.start - first.lead

    def packets(self) -> Generator[bytes]:
        """The stream. Raises Unavailable: there is nothing in a stretch, or nothing like it can be made."""
        self._cursor = self._origin
        last: Stretch | None = None
        for cuts in self.stretches:
            with converting.flowing(
                unwrapped_command(self.executable, cuts[0].source.format),
                (data for cut in cuts for data in self.read(cut)),
                patience_seconds=_PATIENCE_SECONDS + 2 * self.window.duration.total_seconds(),
                check=self.check,
            ) as flow:
                last = Stretch(flow)
                yield from self._led_to(last, cuts[0])
                self._cursor = cuts[-1].end
        if last is not None:
            yield from self._filled(last, None, self._ticks(self.window.end), self.window.end)

    def _led_to(self, stretch: Stretch, first: Cut) -> Iterator[bytes]:
        """What is missing before a stretch, and the stretch."""
        begins = first.start - first.lead
        position = self._ticks(begins)
        if self._edge is not None:
            position = max(position, self._edge.shown) if self.fills else self._edge.shown
        shift = position - stretch.begins(0).shown
        yield stretch.tables.packets
        yield from self._filled(stretch, stretch.begins(shift), position, begins)
        for pid in stretch.pids:
            yield Packetizer(pid, 0).broken_off()
        retimer = Retimer(shift, floor=_ZERO if self._edge is None else _end_of_sound(self._edge))
        for data in stretch:
            yield retimer.moved(data)
        self._edge = _ended(retimer.reaches.values())

    def _filled(self, beside: Stretch, after: Edge | None, end: int, until: datetime) -> Iterator[bytes]:
        """Black and silence up to `after`, or `end`, if there is a gap."""
        assert self._cursor is not None, "set before the first stretch"
        if not self.fills or until - self._cursor <= SEAM:
            return
        like = self._like(beside)
        start = _ZERO if self._edge is None else self._edge.shown
        count = like.count(start, end)
        span = Span(self._cursor, until).clipped(self.window) if count else None
        if span is not None:
            self.filled.append((span, count))
            yield from like.between(self._edge, after, start, end)

    def _like(self, stretch: Stretch) -> Blank:
        if self._blank is None or self._blank[0] != stretch.look:
            self._blank = stretch.look, blank(self.executable, stretch)
        return self._blank[1]

    def _ticks(self, instant: datetime) -> int:
        return _ZERO + round((instant - self._origin) / timedelta(seconds=1) * TICKS)


def _end_of_sound(edge: Edge) -> int | None:
    """Sound that comes a little early is not left out."""
    return None if edge.sound is None else edge.sound.shown - TICKS // 100


def _ended(reaches: Iterable[Reach]) -> Edge:
    places = {each.is_picture: Place(each.shown + each.step, each.decoded) for each in reaches}
    return Edge(places.get(True), places.get(False))
