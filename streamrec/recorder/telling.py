"""What is decided of a channel's outages, on its way to the spool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from streamrec.recorder.facts import GapNoted
from streamrec.recorder.tools import Order, Tools

log = structlog.get_logger(__name__)

NOTE_SECONDS: Final = 8.0  # an outage's row is never older: below the horizon of the shortest segments

Decided = GapNoted | list[GapNoted] | None


class Teller:
    """Facts of one channel reach the spool in the order in which they were decided."""

    def __init__(self, order: Order, tools: Tools) -> None:
        self.order = order
        self.told_at = tools.clock.monotonic()
        """When a gap was last told, in monotonic seconds."""
        self._tools = tools
        self._turn = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None  # kept, because the loop does not

    async def tell(self, decide: Callable[[], Decided], then: Callable[[], None] = lambda: None) -> None:
        """Put what `decide` says into the spool, then do what follows from it.

        Raises OSError if the spool's disk does not take it; then nothing follows.
        """
        async with self._turn:
            decided = decide()
            facts = decided if isinstance(decided, list) else [decided] if decided is not None else []
            for gap in facts:
                fact = replace(gap, epoch=self.order.epoch)
                await self._tools.disk.run(partial(self._tools.spool.append, fact))
                self.told_at = self._tools.clock.monotonic()
            then()

    def refresh(self, decide: Callable[[], Decided]) -> None:
        """Tell what `decide` says of an outage that goes on, if its row would become too old."""
        now = self._tools.clock.monotonic()
        if now - self.told_at >= NOTE_SECONDS:
            self.told_at = now  # so that a slow disk gets one of them at a time
            self._refreshing = asyncio.create_task(self.tell_anyway(decide))

    async def tell_anyway(self, decide: Callable[[], Decided]) -> None:
        """The same, when nothing depends on it: the spool keeps in memory what its disk does not take."""
        try:
            await self.tell(decide)
        except OSError as exc:
            log.error("the spool's disk takes no gap", channel_id=self.order.channel_id, error=exc.strerror)
