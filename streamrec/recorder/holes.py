"""Sees what a station without timestamps left out in the middle of a stream. Pure."""

from __future__ import annotations

import math
from typing import Final

LEAST_SECONDS: Final = 1.0  # a smaller hole is steered away
_GOOD: Final = 0.5  # s; so little late is as good as not late
_PAUSED: Final = 1.5  # s; a server that paused behind its burst goes on with no more than that ahead of time
_LEVEL_SECONDS: Final = 2.0  # at real time's pace before a hole is believed, and after it
_STEADY: Final = 0.3  # s; within this, arrivals keep real time's pace
_PATIENCE: Final = 12.0  # s; what is not decided by then is left to the run's clock
_DRIFT: Final = 0.002  # of real time, by which a station may be slow


class Holes:
    """After a silence media goes on. If the network was slow, what is late comes faster than it plays; if it comes
    at real time's pace and stays late, then what lies between is never to come.

    `observe` every arrival. While `is_doubtful`, what arrived is neither this nor that. What came just as a
    silence began, and was read a second later, seems late too, until the silence is seen.
    """

    def __init__(self) -> None:
        self.is_doubtful = False
        self.begins_anew = False
        """Whether the doubt begins with the arrival observed last: those before it had come in time."""
        self.lost_seconds = 0.0
        """What is known to be missing just before the arrival with which the doubt began."""
        self.is_live = False
        """Whether what has come is known to be as young as now: a silence behind it is no pause behind a burst."""
        self._least = math.inf  # the offset of media that is not late
        self._since = 0.0  # from here on there was no better one
        self._at = 0.0
        self._began_at = math.inf
        self._doubt_at = 0.0
        self._is_barely_late = False
        self._is_early = False  # whether no pace was known yet when the doubt began
        self._level = (0.0, 0.0)  # an offset, and from when on there was none far from it

    def observe(self, media_seconds: float, at: float) -> None:
        """By `at` (monotonic seconds) the stream had brought so much media, this arrival's included."""
        offset = at - media_seconds
        late = offset - self._least
        self._began_at = min(self._began_at, at)
        self._least += (at - self._at) * _DRIFT if math.isfinite(self._least) else 0.0
        if self.is_doubtful:
            self._decide(offset, at)
        elif late >= LEAST_SECONDS and (self._knows_pace or self._is_no_pause(offset)):
            self._is_early = not self._knows_pace
            self._doubt(offset, at)
        elif late >= LEAST_SECONDS or late < -_STEADY:  # a burst, or the pause behind it: pace begins here
            self._since, self._least = at, offset
        self._least = min(self._least, offset)
        self._at = at

    @property
    def _knows_pace(self) -> bool:
        return self.is_live or self._at - self._since >= _LEVEL_SECONDS

    def _is_no_pause(self, offset: float) -> bool:
        """Whether the silence is none behind a burst: that lasts until what was sent has been played."""
        return not -_PAUSED < offset - self._began_at < LEAST_SECONDS

    def _doubt(self, offset: float, at: float) -> None:
        self.is_doubtful, self._doubt_at, self._level = True, at, (offset, at)
        self._is_barely_late = offset - self._least < LEAST_SECONDS + _GOOD

    def _decide(self, offset: float, at: float) -> None:
        late = offset - self._least
        self.begins_anew = self._is_barely_late and offset - self._level[0] >= LEAST_SECONDS
        if self.begins_anew:
            self._doubt(offset, at)
        elif abs(offset - self._level[0]) > _STEADY:
            self._level = (offset, at)
        if late < _GOOD or at - self._doubt_at >= _PATIENCE:
            self.is_doubtful = False
        elif at - self._level[1] >= _LEVEL_SECONDS * (2 if self._is_early else 1):
            self.is_doubtful, self.lost_seconds = False, late
