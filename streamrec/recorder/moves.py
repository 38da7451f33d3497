"""What the log is told of a capture: each of its moves while it is well, a line a minute while it fails."""

from __future__ import annotations

from typing import Final

import structlog

from streamrec.clock import Clock
from streamrec.models import CaptureState

log = structlog.get_logger(__name__)

SAY_SECONDS: Final = 60.0


class Moves:
    """Of one channel. The first failure is told at once, and then how many there were meanwhile."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._said_at = float("-inf")
        self._well_at = float("-inf")
        self._unsaid = 0

    def say(
        self, channel_id: int, old: CaptureState, new: CaptureState, error: str | None, *, is_quiet: bool
    ) -> None:
        """It moved from `old` to `new`; `is_quiet` is a channel for which others speak, as of a dead host."""
        now = self._clock.monotonic()
        facts: dict[str, object] = {"channel_id": channel_id, "old": old, "new": new, "error": error}
        if new is CaptureState.BACKOFF:
            self._unsaid += 1
            is_due = now - self._said_at >= SAY_SECONDS and (not is_quiet or old is CaptureState.RUNNING)
            if is_due:
                facts["failures"], self._unsaid, self._said_at = self._unsaid, 0, now
        elif new is CaptureState.STARTING:
            is_due = old is CaptureState.STOPPED
        elif new is CaptureState.RUNNING:
            is_due = now - self._well_at >= SAY_SECONDS
            self._well_at = now if is_due else self._well_at
        else:
            is_due = True
        (log.info if is_due else log.debug)("capture moved", **facts)
