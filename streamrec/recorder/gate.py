"""How fast attempts may begin: after an outage all stations come back at once, and each start costs."""

from __future__ import annotations

from streamrec.clock import Clock


class Gate:
    """A token bucket: `rate` attempts a second, and as many at once after a quiet second."""

    def __init__(self, clock: Clock, *, rate: float = 20.0) -> None:
        self._clock = clock
        self._interval = 1.0 / rate
        self._next = clock.monotonic() - 1.0

    async def enter(self) -> None:
        """Wait for this attempt's turn; turns are given in the order in which they are asked for."""
        now = self._clock.monotonic()
        turn = max(self._next, now - 1.0) + self._interval
        self._next = turn
        if turn > now:
            await self._clock.sleep(turn - now)
