"""When a media playlist is to be loaded again. Pure.

RFC 8216 section 6.3.4 asks for a target duration after news and for half of one without. A segment's length says
better when the next one is due, and once an attempt we look more often, to see when that is: segments appear at
their ends, so the first list that has one tells when it was live.
"""

from __future__ import annotations

import math
from typing import Final

FINEST: Final = 0.25  # s
TICK: Final = 0.1  # s
_FINE: Final = 8  # looks a segment while its end is sought
_EARLIER: Final = 0.005  # of a segment: how much sooner each time, so that the look stays close to the end


class Pace:
    """Says when to look, and how closely it was seen when a segment appeared. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._before: float | None = None  # the last list without the newest segment
        self._looks = 0  # without news
        self._is_sought = True
        self._due = 0.0
        self._step = 0.0
        self._news_at = 0.0
        self.late_seconds = 0.0
        """How long the newest segment's end had been live, by the best guess, when there was a list with it."""
        self.doubt_seconds = 0.0
        """How far off that guess may be where nobody looked for a segment's length."""

    def news(self, at: float, seconds: float, target: float, brought_seconds: float | None = None) -> float | None:
        """The list that was there at `at` ends with a new segment of `seconds`; when that was live at its end.

        `brought_seconds` is what all its new segments last together, where there are several.

        None for the first list, whose end may have been live long ago, after a pause of ours, and as long as looks
        are far apart, as on a machine that is too busy: an end that is taken for exact holds for the whole run.
        """
        before, self._before = self._before, at
        brought = seconds if brought_seconds is None else brought_seconds
        seconds = min(seconds, target) or target
        self._step = max(FINEST, seconds / _FINE)
        is_close = before is not None and at - before < 2 * self._step
        is_late = before is not None and at - before >= seconds + 2 * self._step  # we were busy, or stopped
        # Not from `at`, which is a tick late: that would add up, and the look would fall behind a fast station.
        planned = max(self._due, at - self._step) if self._looks == 0 and not self._is_sought else at
        self._is_sought = before is None or is_late or (self._is_sought and not is_close)
        self._looks = 0
        self._due = at + self._step if self._is_sought else planned + seconds * (1 - _EARLIER)
        passed, self._news_at = at - self._news_at, at
        if before is None or is_late:
            self.late_seconds = self.doubt_seconds = seconds / 2
            return None
        self.doubt_seconds = 0.0
        if self._is_sought:
            self.late_seconds = min(seconds, at - before) / 2
            return None
        if is_close:
            self.late_seconds = (at - before) / 2
            return at - self.late_seconds
        self.late_seconds = min(max(0.0, self.late_seconds + passed - brought), seconds / 2, (at - before) / 2)
        return at

    def nothing(self, at: float, target: float) -> None:
        """The list that was there at `at` has nothing new."""
        self._looks += 1
        self._before = at
        is_fine = self._looks <= _FINE + 1 if self._is_sought else self._looks == 1
        self._due = at + (self._step if is_fine else target / 2)

    def failed(self, at: float, target: float) -> None:
        """There was no list at `at`."""
        self._due = at + max(FINEST, target / 4)

    def wait(self, now: float) -> float:
        """How many seconds to wait from `now` on; up to a tick that all channels share, because wake-ups cost."""
        due = self._due if self._is_sought else math.ceil(self._due / TICK) * TICK
        return max(0.0, due - now)
