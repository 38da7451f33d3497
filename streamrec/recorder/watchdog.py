"""Whether media still comes, judged by media time and not by sockets or processes. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

from streamrec.models import GapReason
from streamrec.recorder.events import Closed

OPEN_SECONDS: Final = 20.0
STALL_SECONDS: Final = 3.0
UNLEARNED_SECONDS: Final = 12.0
STARVED_WINDOW_SECONDS: Final = 10.0
STARVED_SHARE: Final = 0.5
LEARN_ARRIVALS: Final = 4
_SAME_STEP_SECONDS: Final = 0.5

WORDS: Final = {
    GapReason.STALLED: "Connected, but no media came.",
    GapReason.STARVED: "Media came at less than half of its speed.",
}


def agreed(verdict: Closed | None, closed: Closed) -> Closed:
    """Why an attempt is over, of the two who may say so: a source may know why it stalled."""
    is_explained = closed.reason is GapReason.STALE_PLAYLIST
    return closed if verdict is None or (verdict.reason is GapReason.STALLED and is_explained) else verdict


class Watchdog:
    """Ends an attempt that has no media for max(3 s, 2 x cadence), or less than half of real time over 10 s.

    The cadence is learned: HLS arrives in steps of its segment length, ICY all the time. Until LEARN_ARRIVALS
    steps were seen, UNLEARNED_SECONDS of silence are forgiven, because an HLS window comes in one burst and
    the first step may lie a segment away. What arrived ahead of real time counts: a burst is no debt.
    """

    def __init__(self, now: float) -> None:
        """`now` and all times below are monotonic seconds."""
        self.is_continuous = False
        """Whether the source is known to send all the time: then it is known once its burst may be over."""
        self._started = now
        self._last: float | None = None
        self._steps: deque[float] = deque(maxlen=8)
        self._cadence = 0.0  # the longest of them
        self._progress: deque[tuple[float, float]] = deque()

    def came(self, now: float) -> None:
        """Media came; how much is told by the next `progress`."""
        if self._last is not None and now - self._last >= _SAME_STEP_SECONDS:
            self._steps.append(now - self._last)
            self._cadence = max(self._steps)
        self._last = now

    def progress(self, media_seconds: float, now: float) -> None:
        """The attempt has delivered `media_seconds` in all."""
        self.came(now)
        self._progress.append((now, media_seconds))
        begin = now - self._window()
        while len(self._progress) > 2 and self._progress[1][0] <= begin:
            self._progress.popleft()

    def forgive(self, seconds: float) -> None:
        """So much of the time was ours: we were busy and did not look."""
        if self._last is not None and seconds >= _SAME_STEP_SECONDS:
            self._last += seconds
            self._progress = deque((at + seconds, media) for at, media in self._progress)

    def verdict(self, now: float) -> GapReason | None:
        """Why the attempt must end, or None."""
        if self._last is None:
            return GapReason.STALLED if now - self._started >= OPEN_SECONDS else None
        silence = now - self._last
        if silence >= STALL_SECONDS and silence >= self._patience():
            return GapReason.STALLED
        first_at, first_seconds = self._progress[0]
        watched = now - first_at
        if len(self._progress) == 1:
            return None  # one step says nothing of speed
        if watched >= self._window() and self._progress[-1][1] - first_seconds < STARVED_SHARE * watched:
            return GapReason.STARVED
        return None

    def _patience(self) -> float:
        watched = 0.0 if self._last is None else self._last - self._started
        is_steady = watched >= STALL_SECONDS and (self.is_continuous or not self._steps)
        is_learned = is_steady or len(self._steps) >= LEARN_ARRIVALS
        learned = max(STALL_SECONDS, 2 * self._cadence)
        return learned if is_learned else max(UNLEARNED_SECONDS, learned)

    def _window(self) -> float:
        return max(STARVED_WINDOW_SECONDS, 3 * self._cadence)
