"""One run in the making: bytes become units, wait for their clock, and go to files."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

from streamrec.framing import framer_for, split
from streamrec.framing.units import FLICKS, Framer, Unit
from streamrec.models import GapReason
from streamrec.recorder.arrivals import arrived, framed_late
from streamrec.recorder.events import Chunk, Opened
from streamrec.recorder.facts import RunStarted, SegmentClosed
from streamrec.recorder.holes import Holes
from streamrec.recorder.rejoin import Rejoin, Tail, is_new, seam
from streamrec.recorder.runclock import RunClock
from streamrec.recorder.status import BitRate
from streamrec.recorder.tools import Order, Tools
from streamrec.recorder.writer import SegmentWriter

WRITE_SECONDS: Final = 0.5  # one trip to a thread for all that came meanwhile
WRITE_BYTES: Final = 1 << 20
HELD_BYTES: Final = 32 << 20  # more is not held back for a clock
KEPT_SECONDS: Final = 60.0  # of media, while another recorder still writes the channel
KEPT_BYTES: Final = 8 << 20
SEAM: Final = timedelta(milliseconds=50)  # no clock is so exact, and no radio's frame longer: nothing is missing
EARLY: Final = timedelta(seconds=0.15)  # the clocks of two runs of a radio are twice as far apart as one is off
WINDOW_EARLY: Final = timedelta(seconds=0.5)  # by which a window's clock may be early; segments are longer
JUST_NOW: Final = timedelta(seconds=0.5)
LARGEST_LAG: Final = 30.0  # s, of one server of a station behind another
LARGEST_STEP: Final = timedelta(seconds=1)  # of the wall clock
LARGEST_HOLE: Final = FLICKS // 2  # in the stream's own timestamps; a smaller one is steered away


class Take:
    """A run from its first byte to its last. Only `write` and `close` touch the disk, and block."""

    def __init__(
        self,
        opened: Opened,
        order: Order,
        tools: Tools,
        *,
        framer: Framer | None = None,
        clock: RunClock | None = None,
        earlier_seconds: float = 0.0,
        tail: Tail | None = None,
    ) -> None:
        """`tail` is the archive's end, which may be among the first media of an attempt.

        `framer`, `clock` and `earlier_seconds` are what a run of the same attempt leaves to the next.
        """
        self._opened = opened
        self._earlier_seconds = earlier_seconds
        self.order = order
        self._tools = tools
        self._framer = framer or framer_for(opened.format)
        self._framer.gathers = False  # until it is known where the run begins
        self._clock = clock
        self._rejoin = Rejoin(tail) if tail is not None and tail.format is opened.format else None
        self._held: deque[Unit] = deque()
        self._held_bytes = 0
        self._media = 0  # flicks that have arrived
        self._position = 0  # flicks up to the first unit that is held
        self._received_bytes = 0
        self._rate = BitRate()
        self._written_at = float("-inf")
        self._received_at = 0.0
        self._older_seconds = 0.0
        self._next_units: list[Unit] = []
        self._was_rejoined = False
        self._holes = Holes() if opened.is_continuous else None
        self._doubted: list[Unit] = []
        self._dropped_bytes = 0  # when the last unit came that was not doubted
        self._is_torn = False
        self.left_out_seconds = 0.0
        self.run_id = uuid4()
        self.writer: SegmentWriter | None = None
        self.bit_rate: int | None = None
        self.has_news = False

    @property
    def media_seconds(self) -> float:
        """Media that has arrived in this attempt."""
        waiting = _length(self._doubted) + _length(self._next_units)
        return self._earlier_seconds + (self._media + waiting) / FLICKS

    @property
    def _taken_seconds(self) -> float:
        return self._earlier_seconds + self._media / FLICKS

    @property
    def is_writing(self) -> bool:
        """Whether the run has a file."""
        return self.writer is not None

    @property
    def is_ready(self) -> bool:
        """Whether there is something to write and a clock to say when it was."""
        is_known = self._clock is not None and self._clock.is_anchored
        return bool(self._held) and is_known and not self._awaits_the_end

    @property
    def _awaits_the_end(self) -> bool:
        """Whether the archive's end is still to come, from a server that lags.

        No server lags by more than LARGEST_LAG: media that says so is a programme that is played again.
        """
        if self._rejoin is None or not self._rejoin.is_inside:
            return False
        ago = (self._tools.clock.now() - self._rejoin.tail.end_time).total_seconds()
        return ago + self._rejoin.remaining / FLICKS <= LARGEST_LAG

    @property
    def is_rejoined(self) -> bool:
        """Whether the run goes on exactly where the archive ends."""
        return self._was_rejoined or (self._rejoin is not None and self._rejoin.archived is not None)

    def receive(self, chunk: Chunk) -> bool:
        """Take bytes in; whether any media has been understood yet."""
        self._received_bytes += len(chunk.data)
        self._older_seconds = chunk.older_seconds
        self._framer, arrivals = arrived(self._framer, chunk)
        for units, at in arrivals:
            self._take_in(units, at, chunk.later_seconds)
        if chunk.is_edge:
            self.settle()
        return self._media > 0

    def _take_in(self, units: list[Unit], received_at: float, later_seconds: float = 0.0) -> None:
        """Hold units up to the first before which the stream left much out: that one begins another run."""
        if self._clock is None:
            self._clock = RunClock(now=self._tools.clock.now(), monotonic=self._tools.clock.monotonic())
        self._received_at = received_at
        self.has_news = bool(units)
        cut = _hole(units, 0 if self._media else 1)
        if cut is not None:
            self.left_out_seconds = units[cut].skipped / FLICKS
            self._next_units = units[cut:]
            units = units[:cut]
        units = self._beyond_doubt(units, received_at)
        if units:
            self._hold(units)
            self._clock.observe(self._media, received_at, later_seconds)
            self._look_for_the_end(units)
            if self._holes is not None and not self._holes.is_live:
                self._holes.is_live = self._is_live()
            self.bit_rate = self._rate.add(self._media, self._received_bytes) or self.bit_rate

    def _beyond_doubt(self, units: list[Unit], received_at: float) -> list[Unit]:
        """Keep back what follows a silence until it is known whether it is late, or something is missing."""
        if self._holes is None or not units:
            return units
        if not self._doubted:
            self._is_torn = self._framer.dropped > self._dropped_bytes
        self._doubted += units
        self._holes.observe((self._media + _length(self._doubted)) / FLICKS, received_at)
        if self._holes.begins_anew:
            in_time, self._doubted = self._doubted[: -len(units)], units
            self._is_torn = self._framer.dropped > self._dropped_bytes
            return in_time
        if self._holes.is_doubtful:
            return []
        units, self._doubted, self._dropped_bytes = self._doubted, [], self._framer.dropped
        if not self._holes.lost_seconds:
            return units
        units = [frame for unit in units for frame in split(self._opened.format, unit)]
        before = 0 if self._is_torn else framed_late(self._opened, units)
        self.left_out_seconds, self._next_units = self._holes.lost_seconds, units[before:]
        return units[:before]

    def _hold(self, units: list[Unit]) -> None:
        self._held.extend(units)
        for unit in units:
            self._held_bytes += len(unit.data)
            self._media += unit.duration

    def _is_live(self) -> bool:
        """Whether the newest media is of just now, by a clock that is sure of it."""
        if self._clock is None or not self._clock.is_anchored:
            return False
        lag = self._tools.clock.now() - self._clock.wall(self._media)
        return abs(lag) <= JUST_NOW

    def _look_for_the_end(self, units: list[Unit]) -> None:
        """Once the archive's end is among the units: go on behind it, at exactly the time where it ends."""
        assert self._clock is not None
        if self._held_bytes > HELD_BYTES:
            self.settle()
        rejoin = self._rejoin
        if rejoin is None or rejoin.is_over:
            return
        rejoin.feed(units)
        if rejoin.archived is not None:
            for _ in range(rejoin.archived):
                self._drop_first()
            self._clock.join(self._position, rejoin.tail.end_time)

    def _drop_first(self) -> None:
        unit = self._held.popleft()
        self._held_bytes -= len(unit.data)
        self._position += unit.duration

    def is_due(self, now: float) -> bool:
        """Whether it is time for the disk."""
        is_time = now - self._written_at >= WRITE_SECONDS or self._held_bytes >= WRITE_BYTES
        return is_time and self.is_ready

    @property
    def may_wait(self) -> bool:
        """Whether nothing is to be decided with the next bytes, so that they may come a little later."""
        return self.writer is not None and not self._doubted and not self.left_out_seconds

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to be done about the run but to write it, if it has anything to write."""
        return not (self.left_out_seconds or self.is_off()) and (self.is_writing or not self.is_ready)

    def is_off(self) -> bool:
        """Whether media time and the wall clock have come apart."""
        if self._clock is None or not self._clock.is_anchored:
            return False
        stepped = self._clock.stepped(self._tools.clock.now(), self._tools.clock.monotonic())
        return self._clock.disagreement is not None or abs(stepped) > LARGEST_STEP

    def start_after(self, covered_until: datetime) -> datetime | None:
        """Drop what is archived already; when the first unit that may begin a file begins, if there is one.

        By the clock, because the archive's end was not found; to the frame where a little of that came after all.
        """
        assert self._clock is not None
        tail, self._rejoin = self._tail_to_find, None
        if tail is not None and tail.end_time == covered_until and self._meets(tail):
            self._clock.align(self._position, covered_until)
            return covered_until
        while self._held:
            start = self._clock.wall(self._position)
            if self._held[0].is_cut and start >= covered_until:
                if start - covered_until > SEAM:
                    return start
                self._clock.align(self._position, covered_until)
                return covered_until
            first, *rest = split(self._opened.format, self._held[0])
            if rest:
                self._held.popleft()
                self._held.extendleft(reversed([first, *rest]))  # the bytes are as many as before
            self._drop_first()
        return None

    def _meets(self, tail: Tail) -> bool:
        """Whether what is held goes on where the archive ends, by clock and frames; drops what is archived."""
        assert self._clock is not None
        about = round((tail.end_time - self._clock.wall(self._position)).total_seconds() * FLICKS)
        reach = (WINDOW_EARLY if self._opened.source == "hls" else EARLY).total_seconds() * FLICKS
        if 0 < about <= reach and self._held[0].is_cut and is_new(tail, [*self._held], about):
            return True  # the clock is a little off: nothing of what came is archived
        archived = seam(tail, [*self._held], about)
        for _ in range(archived or 0):
            self._drop_first()
        return archived is not None and bool(self._held)

    def kept(self) -> Take:
        """What goes on being held for a hand-over: the last of one even stretch of media, from a cut on."""
        if self.left_out_seconds:
            return self.successor()
        while self._held and (
            self._media - self._position > KEPT_SECONDS * FLICKS or self._held_bytes > KEPT_BYTES
        ):
            self._drop_first()
        return self

    def go_on_from(self, tail: Tail | None) -> None:
        """Another recorder ended the archive there: look for it in what is held, and in what comes."""
        if tail is not None and tail.format is self._opened.format:
            self._rejoin = Rejoin(tail)
            self._look_for_the_end(list(self._held))

    def settle(self) -> None:
        """The attempt is over: what was held back gets the best clock there is."""
        if self._clock is not None:
            self._clock.settle(self._older_seconds)

    def flush(self) -> None:
        """The stream is over: whole units that the framer still has, but not what nobody can say the time of."""
        if not self._doubted:
            self._hold(self._framer.flush())

    def write(self) -> None:
        """Write what is held. Blocks. Raises DiskFault."""
        assert self._clock is not None
        if self.writer is None:
            self.writer = self._new_writer(self._clock)
        self.writer.segment_seconds, self.writer.keyname = self.order.segment_seconds, self.order.keyname
        units = list(self._held)
        self._held.clear()
        self._held_bytes = 0
        length = _length(units)
        self._position += length
        self.writer.append(units, self._clock.wall)
        self.writer.sync()
        self._tools.totals.media_seconds += length / FLICKS
        self._written_at = self._tools.clock.monotonic()
        self._framer.gathers = True
        self._was_rejoined, self._rejoin = self.is_rejoined, None  # what it remembers is half a megabyte

    @property
    def written_until(self) -> datetime:
        """The wall time of the end of what was written."""
        assert self._clock is not None
        return self._clock.wall(self._position)

    def close(self, reason: GapReason) -> datetime | None:
        """End the file and the run; where the last file ends. Blocks. Raises DiskFault."""
        if self.writer is None or self._clock is None:
            return None
        closed = self.writer.close(self._clock.wall, reason.value)
        return closed.end_time if closed is not None else None

    @property
    def closed(self) -> Sequence[SegmentClosed]:
        """The last files of the run that are closed."""
        return self.writer.closed if self.writer is not None else ()

    def successor(self) -> Take:
        """A new run that goes on with the same bytes; what this one holds and has not written is its beginning."""
        take = Take(
            self._opened,
            self.order,
            self._tools,
            framer=self._framer,
            earlier_seconds=self._taken_seconds,
            tail=self._tail_to_find,
        )
        take._take_in([*self._held, *self._next_units], self._received_at)
        return take

    def heir(self, opened: Opened | None = None, *, skipped_seconds: float = 0.0) -> Take:
        """The run after this one, when the station goes on as something else, or behind a hole of known length."""
        skipped = round(skipped_seconds * FLICKS)
        clock = self._clock.continued(self._media + skipped) if self._clock is not None else None
        return Take(
            opened or self._opened,
            self.order,
            self._tools,
            clock=clock,
            earlier_seconds=self._taken_seconds,
            tail=self._tail_to_find,
        )

    @property
    def _tail_to_find(self) -> Tail | None:
        """The archive's end, if it may still come."""
        return self._rejoin.tail if self._rejoin is not None and not self.is_rejoined else None

    def _new_writer(self, clock: RunClock) -> SegmentWriter:
        run = RunStarted(
            self.run_id,
            self.order.channel_id,
            self._tools.recorder_id,
            self._opened.source,
            self._opened.format,
            self._opened.codecs,
            clock.wall(0),
            self.order.epoch,
            self.order.source_index,
            self.order.address.url,
        )
        return SegmentWriter(
            archive=self._tools.archive,
            spool=self._tools.spool,
            run=run,
            keyname=self.order.keyname,
            segment_seconds=self.order.segment_seconds,
            sync_seconds=self._tools.sync_seconds,
            monotonic=self._tools.clock.monotonic,
            media=self._position,
            flusher=self._tools.flusher,
        )


def _length(units: Sequence[Unit]) -> int:
    """Flicks."""
    length = 0
    for unit in units:  # mostly one, for which a generator takes longer than all else
        length += unit.duration
    return length


def _hole(units: Sequence[Unit], begin: int) -> int | None:
    """The first from `begin` on before which much was left out."""
    for index, unit in enumerate(units):
        if unit.skipped > LARGEST_HOLE and index >= begin:
            return index
    return None
