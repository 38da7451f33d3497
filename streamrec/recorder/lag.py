"""How long the event loop kept what was due waiting: every capture waits with it. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

import structlog

SAMPLES: Final = 600  # some minutes
LONG_SECONDS: Final = 0.5

log = structlog.get_logger(__name__)


class Lag:
    """The latest waits, in seconds."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=SAMPLES)

    def observe(self, seconds: float) -> None:
        """Something waited so long; say so if that is long."""
        self._latest.append(max(0.0, seconds))
        if seconds > LONG_SECONDS:
            log.warning("the event loop was blocked", seconds=round(seconds, 2))

    @property
    def most(self) -> float:
        """The longest."""
        return max(self._latest, default=0.0)

    @property
    def p99(self) -> float:
        """What 99 of 100 stayed below."""
        found = sorted(self._latest)
        return found[len(found) * 99 // 100] if found else 0.0
