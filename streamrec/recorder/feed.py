"""Records a steady source on the tick, without a switch of tasks while nothing is out of the ordinary."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from streamrec.recorder.beat import Beat
from streamrec.recorder.disk import Disk
from streamrec.recorder.events import Event, Pump
from streamrec.recorder.take import Take


class Fed(Protocol):
    """Who records what comes; a Capture."""

    @property
    def take_to_write(self) -> Take | None:
        """The run that is recorded, unless it is only kept."""
        ...

    def takes(self, event: Event) -> bool:
        """Deal with `event` if no waiting is needed for it; whether that was so."""
        ...

    def came(self) -> None:
        """Media came at its usual pace, and is left where it is for one beat more."""
        ...

    def works(self) -> None:
        """The take is being written."""
        ...

    def worked(self, *, well: bool) -> None:
        """It is not any more."""
        ...


class Feed:
    """Between one pump and whoever is fed by it. While the disk is busy the bytes stay with the kernel."""

    def __init__(self, pump: Pump, fed: Fed, disk: Disk) -> None:
        self._pump = pump
        self._fed = fed
        self._disk = disk
        self._is_busy = False
        self._waiting: asyncio.Future[list[Event]] | None = None

    @contextmanager
    def on(self, beat: Beat) -> Iterator[None]:
        """Be fed with every beat and when there is an end, until the block is left."""
        self._pump.on_ring = self._tick
        try:
            with beat.felt_by(self._tick, is_reader=True):
                yield
        finally:
            self._pump.on_ring = None

    async def unusual(self) -> list[Event]:
        """Wait until something needs more than a moment: the events that were not taken, if there are any.

        Raises whatever the work on the disk raised.
        """
        self._waiting = asyncio.get_running_loop().create_future()
        if self._pump.is_rung:
            self._tick()
        try:
            return await self._waiting
        finally:
            self._waiting = None

    def _tick(self) -> None:
        if self._waiting is None or self._waiting.done() or self._is_busy:
            return
        take = self._fed.take_to_write
        if take is not None and take.may_wait and not self._pump.is_rung and self._pump.leaves():
            self._fed.came()
            return
        try:
            left = self._fed_with(self._pump.poll())
        except Exception as exc:  # noqa: BLE001 - it is raised where it is waited for
            self._waiting.set_exception(exc)
            return
        if left is not None:
            self._waiting.set_result(left)

    def _fed_with(self, events: list[Event]) -> list[Event] | None:
        """What must be waited for, or None if that is nothing."""
        for number, event in enumerate(events):
            if not self._fed.takes(event):
                return events[number:]
            take = self._fed.take_to_write
            if take is not None and not take.is_plain:
                return events[number + 1 :]
        take = self._fed.take_to_write
        if take is not None and take.is_ready:
            self._is_busy = True
            self._fed.works()
            self._disk.submit(take.write, self._done)
        return None

    def _done(self, _result: Any, error: BaseException | None) -> None:
        self._is_busy = False
        self._fed.worked(well=error is None)
        if error is not None:
            if self._waiting is not None and not self._waiting.done():
                self._waiting.set_exception(error)
        elif self._pump.is_rung:
            self._tick()
