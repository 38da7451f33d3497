"""One wake-up a second for everything that must look at itself now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from streamrec.clock import Clock

SECONDS: Final = 1.0

log = structlog.get_logger(__name__)


class Beat:
    """Calls whoever feels it every SECONDS; sleeps for good while nobody does. For one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._callbacks: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def felt_by(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call `callback`, which must be quick and not wait, until the block is left."""
        self._callbacks.append(callback)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="beat")
        try:
            yield
        finally:
            self._callbacks.remove(callback)
            if not self._callbacks:
                self._task.cancel()
                self._task = None

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(SECONDS)
            for callback in list(self._callbacks):
                try:
                    callback()
                except Exception:  # one that is broken must not stop the others
                    log.exception("a beat failed")
