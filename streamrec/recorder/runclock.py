"""Which wall time a moment of a run's media has; docs/design/time.md says why it is done so. Pure."""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime, timedelta

from streamrec.framing.units import FLICKS

_FLAT = 0.05  # s; an offset that betters another by less is as good as it
_NEAR = 0.25  # s; an arrival this little later than the best is no later than usual
_SETTLED = 0.5  # s without a better offset, after which arrivals keep pace with real time
_LULL = 0.2  # s without an arrival, which divides what was sent in one go
_PAUSE = 1.2  # s without an arrival: a server that had more would have sent it
_PATIENCE = 12.0  # s; the end of a burst is not awaited longer
_WINDOW = 30.0  # s over which the earliest arrival is sought
_BUCKET = 1.0  # s; arrivals closer than this share a place in the window
_FEWEST = 4  # buckets that the window keeps, however old they are
_STEERING = 500e-6
_TOLERANCE = 1.0  # s
_DOUBT = 4.0  # s more, for a run that was joined to another and whose steps are not all known yet


class RunClock:
    """Wall time = anchor + media time, where the anchor makes the newest media that has arrived "now".

    The wall clock is read once, by the caller, when the run's first bytes arrive; `now` and `monotonic` are
    the same moment. Call `observe` before asking for the wall time of what has just arrived. A run that goes on
    where another one ended is told so by `join`, and need not wait for the newest media.
    """

    def __init__(self, *, now: datetime, monotonic: float) -> None:
        self._now = now
        self._monotonic = monotonic
        self._burst = _Burst()
        self._window = _Window()
        self._latest_start = math.inf  # of the run: what was live by some moment had begun before it
        self._newest = 0  # flicks that have arrived
        self._at = 0.0  # when the last of them did
        self._anchored = False  # whether there is an anchor
        self._settled = False  # whether the burst is over
        self._is_joined = False
        self._media = 0  # flicks; from here on ...
        self._seconds = 0.0  # ... which is this long after `now`, ...
        self._rate = 1.0  # ... a second of media takes this long

    def observe(self, media: int, received_at: float, later_seconds: float = 0.0) -> None:
        """By `received_at` (monotonic seconds) the run's media had arrived up to `media` flicks.

        `later_seconds` more of it had been live by then, which is still to be fetched.
        May be called with nothing new, too, so that a burst that is followed by silence is seen to be over.
        """
        self._at = at = received_at - self._monotonic
        if media <= self._newest:
            if not self._settled and self._burst.is_over_after_silence(at):
                self.settle()
            return
        offset = at - media / FLICKS  # when the run began, if this media did not wait on its way
        if self._settled:
            self._move_on()
            self._window.add(at, offset)
            self._steer((media - self._newest) / FLICKS)
        else:
            self._latest_start = min(self._latest_start, offset - later_seconds)
            if self._burst.is_over(at, offset):
                self.settle()
        self._newest = media

    def settle(self, older_seconds: float = 0.0) -> None:
        """Anchor with what is known, because the burst, the run or the attempt is over.

        The run began no later than what has arrived allows, and `older_seconds` before that by the best guess.
        """
        if not self._settled:
            self._settled = True
            earliest = self._latest_start if math.isfinite(self._latest_start) else 0.0
            earliest -= older_seconds
            self._window.add(self._burst.last_at, earliest)
            if not self._anchored:
                self._anchored, self._seconds = True, earliest

    def join(self, media: int, wall: datetime) -> None:
        """Anchor so that `media` flicks into the run it is exactly `wall`, because the run before ended there.

        What arrives at the earliest steers from there on, and may disagree once the burst is over.
        """
        self._is_joined = True
        self.align(media, wall)

    def align(self, media: int, wall: datetime) -> None:
        """Take it that `media` flicks into the run it is exactly `wall`; what arrives steers from there on."""
        self._anchored = True
        self._media, self._seconds, self._rate = media, (wall - self._now).total_seconds(), 1.0

    def continued(self, media: int) -> RunClock:
        """The clock of a run that begins where this one's `media` flicks end; this one must be anchored."""
        clock = RunClock(now=self._now, monotonic=self._monotonic)
        clock._anchored = clock._settled = True
        clock._seconds = self._seconds + (media - self._media) / FLICKS * self._rate
        clock._window.add(self._window.last_at, clock._seconds)
        return clock

    def _move_on(self) -> None:
        self._seconds += (self._newest - self._media) / FLICKS * self._rate
        self._media = self._newest

    def _steer(self, step: float) -> None:
        self._rate = 1 + max(-_STEERING, min(_STEERING, self._error / step))

    @property
    def _error(self) -> float:
        """How much later than this clock says media arrives at the earliest, in seconds."""
        return self._window.earliest - (self._seconds - self._media / FLICKS)

    @property
    def is_anchored(self) -> bool:
        """Whether `wall` may be asked; until then the capture holds its units back."""
        return self._anchored

    def wall(self, media: int) -> datetime:
        """The wall time `media` flicks into the run, to the microsecond; it grows with `media`."""
        assert self._anchored, "the clock has no anchor yet"
        seconds = self._seconds + (media - self._media) / FLICKS * self._rate
        return self._now + timedelta(microseconds=round(seconds * 1e6))

    @property
    def disagreement(self) -> timedelta | None:
        """How much later the newest media arrives than this clock says, if that is too much to be steered away.

        The capture then ends the run (gap reason `clock`) and begins another; negative means that media runs
        ahead of the clock, as when a server sends a burst again. Media that arrives in steps, as HLS does, says
        less of when it was sent: half a step is allowed for. A run that was joined has frames that are exact, and
        the benefit of the doubt until the window is full; no doubt makes what has come much later than now.
        """
        if not self._settled:
            return self._lead
        doubt = _DOUBT if self._is_joined and self._window.last_at < self._burst.last_at + _WINDOW else 0.0
        is_tolerable = abs(self._error) <= _TOLERANCE + self._window.breadth / 2 + doubt
        return None if is_tolerable else timedelta(seconds=self._error)

    @property
    def _lead(self) -> timedelta | None:
        """What a joined run says before its burst is over: media that is still to come is from elsewhere."""
        lead = self._seconds + (self._newest - self._media) / FLICKS * self._rate - self._at
        return timedelta(seconds=-lead) if self._anchored and lead > _TOLERANCE + _DOUBT else None

    def stepped(self, now: datetime, monotonic: float) -> timedelta:
        """How far the wall clock has been moved since the run began; the caller ends the run above 1 s."""
        return (now - self._now) - timedelta(seconds=monotonic - self._monotonic)


class _Burst:
    """The beginning of a run, where a server sends what it has before it sends what is new.

    While it lasts, media arrives faster than real time and each offset is better than the one before. It is over
    when a steady stream's offsets keep level; when two lulls have found the offset as good as each other; or when
    a second group has come after a pause: HLS sends a window at once and then a segment at a time, and only the
    end of a segment tells.
    """

    def __init__(self) -> None:
        self.last_at = 0.0
        self._last = 0.0  # the offset of the last arrival
        self._groups = 0  # of arrivals, between pauses
        self._best = _Level()
        self._level = _Level()  # since the last lull

    def is_over(self, at: float, offset: float) -> bool:
        """Whether it was before, or is with, this arrival."""
        silence = at - self.last_at if self._groups else math.inf
        was_over = self._groups > 0 and self._was_over(silence)
        if silence >= _PAUSE:
            self._groups += 1
        if silence >= _LULL:
            self._level = _Level()
        self._best.take(at, offset)
        self._level.take(at, offset)
        self.last_at, self._last = at, offset
        return was_over or at - self._level.since >= _SETTLED or at >= _PATIENCE

    def _was_over(self, silence: float) -> bool:
        """What the silence since the last arrival says of it: it was all that the server had."""
        if silence >= _PAUSE and self._groups >= 2:
            return True
        is_level = self._last < self._best.value + _NEAR and self.last_at - self._best.since >= _SETTLED
        return silence >= _LULL and is_level

    def is_over_after_silence(self, at: float) -> bool:
        """Whether it was before `at`, when nothing new has arrived."""
        return self._was_over(at - self.last_at) or at >= _PATIENCE


class _Level:
    """The best offset so far, and since when there has been none much better."""

    def __init__(self) -> None:
        self.value = math.inf
        self.since = 0.0

    def take(self, at: float, offset: float) -> None:
        if offset < self.value - _FLAT:
            self.value, self.since = offset, at


class _Window:
    """The least and the greatest offset of the last 30 s, or of the last four seconds that had arrivals."""

    def __init__(self) -> None:
        self._buckets: deque[tuple[float, float, float]] = deque()  # (when it began, least, greatest)
        self._least, self._latest = math.inf, -math.inf
        self.last_at = 0.0

    def add(self, at: float, offset: float) -> None:
        self.last_at = at
        buckets = self._buckets
        if buckets and at - buckets[-1][0] < _BUCKET:
            began, least, greatest = buckets.pop()
            buckets.append((began, min(least, offset), max(greatest, offset)))
        else:
            buckets.append((at, offset, offset))
            while len(buckets) > _FEWEST and at - buckets[0][0] > _WINDOW:
                _, least, greatest = buckets.popleft()
                if least <= self._least or greatest >= self._latest:
                    self._least = min(least for _, least, _ in buckets)
                    self._latest = max(greatest for _, _, greatest in buckets)
        self._least = min(self._least, offset)
        self._latest = max(self._latest, offset)

    @property
    def earliest(self) -> float:
        """The least."""
        return self._least if self._buckets else 0.0

    @property
    def breadth(self) -> float:
        """The greatest less the least."""
        return self._latest - self._least if self._buckets else 0.0
