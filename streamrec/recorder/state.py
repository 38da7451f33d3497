"""The states of a capture, the moves between them, and how long to wait before the next attempt. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from streamrec.models import CaptureState, GapReason

_MOVES: Final = {
    CaptureState.STOPPED: {CaptureState.STARTING, CaptureState.STOPPING},  # it may be stopped before it began
    CaptureState.STARTING: {CaptureState.RUNNING, CaptureState.BACKOFF, CaptureState.STOPPING},
    CaptureState.RUNNING: {CaptureState.BACKOFF, CaptureState.STOPPING},
    CaptureState.BACKOFF: {CaptureState.STARTING, CaptureState.STOPPING},
    CaptureState.STOPPING: {CaptureState.STOPPED},
}


def move(old: CaptureState, new: CaptureState) -> CaptureState:
    """The state after a move.

    Raises:
        AssertionError: there is no such move; that is a bug.
    """
    assert new in _MOVES[old], f"a capture cannot go from {old} to {new}"
    return new


GOOD_SECONDS: Final = 30.0
HOUR_SECONDS: Final = 3600.0
LONG_CAP_SECONDS: Final = 60.0
OUR_CAP_SECONDS: Final = 4.0
FIRST_SECONDS: Final = 0.5
LEAST_SECONDS: Final = 0.1
ASKED_CAP_SECONDS: Final = 60.0
# What another attempt in a second will not change.
LASTING: Final = frozenset(
    {
        GapReason.SOURCE_DENIED,
        GapReason.DNS,
        GapReason.EGRESS_DENIED,
        GapReason.UNSUPPORTED,
        GapReason.DRM,
        GapReason.NOT_MEDIA,
    }
)
# What is wrong with us and not with the station, and may be mended any moment.
OURS: Final = frozenset({GapReason.DISK_FULL, GapReason.IO_ERROR, GapReason.STORAGE_MISSING})


@dataclass(slots=True)
class Backoff:
    """Full jitter: after failure n, uniform(0.1, min(cap, 0.5 x 2^n)) seconds; it never gives up.

    The first attempt after good media (30 s of it) is at once. The cap is `cap_seconds` for an hour of
    failure, then 60 s. Failures that last go straight to the cap; those of our own disk have a cap of 4 s.
    """

    cap_seconds: float = 15.0
    uniform: Callable[[float, float], float] = random.uniform
    _failures: int = 0
    _failing_since: float | None = field(default=None)

    def good(self, media_seconds: float) -> None:
        """The attempt that is running has delivered so much media."""
        if media_seconds >= GOOD_SECONDS:
            self._failures, self._failing_since = 0, None

    def delay(self, reason: GapReason, now: float, asked: float | None = None) -> float:
        """Seconds to wait after an attempt that ended for `reason` at the monotonic time `now`.

        `asked` is what the server asked for (Retry-After); it is honoured up to a minute, and counts as a failure.
        """
        delay = self._delay(reason, now)
        return delay if asked is None else min(ASKED_CAP_SECONDS, asked + self.uniform(0.0, 1.0))

    def _delay(self, reason: GapReason, now: float) -> float:
        if reason is GapReason.DISABLED:
            return 0.0  # it was we who ended it
        if self._failing_since is None:
            self._failing_since = now
            if reason not in LASTING:
                return 0.0
        cap = LONG_CAP_SECONDS if now - self._failing_since >= HOUR_SECONDS else self.cap_seconds
        cap = min(cap, OUR_CAP_SECONDS) if reason in OURS else cap
        self._failures += 1
        if reason in LASTING:
            return self.uniform(cap / 2, cap)
        return self.uniform(LEAST_SECONDS, min(cap, FIRST_SECONDS * 2 ** min(self._failures, 10)))
