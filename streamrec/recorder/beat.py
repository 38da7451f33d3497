"""Few wake-ups a second for everything that must look at itself, or be read, now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import structlog

from streamrec.clock import Clock
from streamrec.recorder.lag import Lag

SECONDS: Final = 1.0  # at most holes.LEAST_SECONDS: what is read as a silence begins must not seem late
SHARE: Final = 100  # who is called in one turn of the loop: some milliseconds

log = structlog.get_logger(__name__)

Callback = Callable[[], None]


class _Sleeper(NamedTuple):
    """Who sleeps until a beat."""

    due: float
    woken: asyncio.Future[None]


class Beat:
    """Calls whoever feels it every SECONDS; sleeps for good while nobody does. For one event loop.

    A wake-up costs more than what is done in it, and a turn must not be long: as many as possible are called
    together, SHARE of them at most.
    """

    def __init__(self, clock: Clock, lag: Lag | None = None) -> None:
        """`lag` is told how late each turn was, and how long it took."""
        self._clock = clock
        self._lag = lag
        self._shares: list[list[Callback]] = []
        self._task: asyncio.Task[None] | None = None
        self._sleepers: list[_Sleeper] = []

    async def sleep(self, seconds: float) -> None:
        """Return with the beat that is nearest to `seconds` from now; where none is felt, after `seconds`.

        For what is done now and then and need not be done at a certain moment, so that it wakes nobody by itself.
        """
        sleeper = _Sleeper(self._clock.monotonic() + seconds - SECONDS / 2, asyncio.Future())
        anyway = asyncio.create_task(self._clock.sleep(seconds + SECONDS if self._task else seconds))
        anyway.add_done_callback(lambda _: _wake(sleeper))
        self._sleepers.append(sleeper)
        try:
            await sleeper.woken
        finally:
            anyway.cancel()
            self._sleepers.remove(sleeper)

    @contextmanager
    def felt_by(self, callback: Callback, *, is_reader: bool = False) -> Iterator[None]:
        """Call `callback`, which must be quick and not wait, until the block is left.

        Readers come first, so that nobody judges by what was not read yet.
        """
        share = next((share for share in self._shares if len(share) < SHARE), None)
        if share is None:
            share = []
            self._shares.append(share)
        share.insert(0 if is_reader else len(share), callback)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="beat")
        try:
            yield
        finally:
            share.remove(callback)
            if not any(self._shares) and self._task is not None:
                self._task.cancel()
                self._task = None
                self._shares.clear()

    async def _run(self) -> None:
        due = self._clock.monotonic()
        while self._shares:
            seconds = SECONDS / len(self._shares)
            for share in list(self._shares):
                due += seconds
                await self._clock.sleep(due - self._clock.monotonic())
                due = self._turn(due, share)

    def _turn(self, due: float, share: list[Callback]) -> float:
        """Call them all; when the turn began."""
        began = self._clock.monotonic()
        for callback in list(share):
            try:
                callback()
            except Exception:  # one that is broken must not stop the others
                log.exception("a beat failed")
        for sleeper in self._sleepers:
            if sleeper.due <= began:
                _wake(sleeper)
        if self._lag is not None:
            self._lag.observe(began - due)
            self._lag.observe(self._clock.monotonic() - began)
        return began


def _wake(sleeper: _Sleeper) -> None:
    if not sleeper.woken.done():
        sleeper.woken.set_result(None)
