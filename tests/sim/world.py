"""A fleet, its stations and its database in virtual time, and what may be done to them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from traceback import format_exc
from typing import Any

import structlog

from streamrec.models import CaptureState
from streamrec.recorder.events import Address
from streamrec.recorder.tools import Order
from tests.sim.network import Network, Waits
from tests.sim.recorder import Moved, Recorder
from tests.sim.store import Costs, Store
from tests.sim.virtual import RUNNING_AS, Machine, VirtualClock, VirtualLoop

LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Plan:
    """How large a world is, and what it is made of."""

    channels: int = 200
    recorders: int = 4
    hosts: int = 10
    segment_seconds: int = 10
    costs: Costs = field(default_factory=Costs)
    waits: Waits = field(default_factory=Waits)
    is_one_machine: bool = False  # on which they all work


@dataclass(frozen=True, slots=True)
class Line:
    """What a recorder logged at INFO or above."""

    at: float
    recorder: str
    level: str
    event: str


class World:
    """Made anew for every seed; everything that is drawn in it is drawn from that."""

    def __init__(self, loop: VirtualLoop, folder: Path, plan: Plan, seed: int) -> None:
        self.loop, self.plan, self.seed, self._folder = loop, plan, seed, folder
        self.clock = VirtualClock(loop)
        self.dice = random.Random(f"{seed} world")
        machine = Machine(loop)
        shared = machine if plan.is_one_machine else None
        self.store = Store(loop, self.clock, random.Random(f"{seed} store"), plan.costs, shared)
        self.network = Network(loop, self.clock, random.Random(f"{seed} network"), plan.waits, machine)
        self.moves: list[Moved] = []
        self.lines: list[Line] = []
        self.faults: list[str] = []
        self.recorders: list[Recorder] = []
        loop.set_exception_handler(lambda _loop, context: self.faults.append(str(context)))

    # --- the beginning

    async def begin(self) -> None:
        """Recorders that started at different moments record all channels, and have for a while."""
        for _ in range(self.plan.recorders):
            self.add_recorder()
            await asyncio.sleep(self.dice.uniform(0.1, 0.7))
        await asyncio.sleep(3.0)
        self.store.enable({number: self._order(number) for number in range(1, self.plan.channels + 1)})
        await self.until(self.all_record, 120, "all are recorded")

    def add_recorder(self) -> Recorder:
        recorder = Recorder(
            f"r{len(self.recorders)}", self._folder, self.store, self.network, self.moves, self.seed
        )
        self.recorders.append(recorder)
        recorder.start()
        return recorder

    def _order(self, number: int) -> Order:
        host = f"h{number % self.plan.hosts}.invalid:8000"
        self.network.host(f"http://{host}/")
        return Order(number, f"radio{number:05}", Address(f"http://{host}/m{number}"), self.plan.segment_seconds)

    # --- how things stand

    @property
    def living(self) -> list[Recorder]:
        return [recorder for recorder in self.recorders if recorder.is_alive]

    def recorded(self) -> set[int]:
        """The channels that somebody living records."""
        return {
            channel_id
            for recorder in self.living
            for channel_id, capture in recorder.supervisor.captures.items()
            if capture.status.state is CaptureState.RUNNING
        }

    def all_record(self) -> bool:
        return len(self.recorded()) == self.plan.channels

    @property
    def is_even(self) -> bool:
        """Whether no recorder has two channels more than another, and nothing is on the move."""
        shares = [len(self.held_by(recorder)) for recorder in self.living]
        found = self.store.placement.view().assignments.values()
        return max(shares) - min(shares) <= 1 and not any(held.successor for held in found)

    def held_by(self, recorder: Recorder) -> set[int]:
        """What the store says that it holds."""
        found = self.store.placement.view().assignments
        return {channel_id for channel_id, held in found.items() if held.holder == recorder.id}

    async def until(self, probe: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for something to be so. Raises AssertionError if it is not in time."""
        ends_at = self.loop.time() + seconds
        while not probe():
            assert self.loop.time() < ends_at, f"not within {seconds} s: {what}"
            await asyncio.sleep(LOOK_SECONDS)

    # --- the end

    async def finish(self) -> None:
        """Stop everybody in good order, so that all that is known is told."""
        self.store.come_back()
        await asyncio.gather(*(recorder.drain() for recorder in self.living))
        self.finished_at = self.clock.now()

    def lay_out(self) -> None:
        """Let the tasks of the killed be ended by the loop, now that nothing more is counted."""
        for recorder in self.recorders:
            if recorder.process.is_halted:
                self.loop.thaw(recorder.process)

    def close(self) -> None:
        for recorder in self.recorders:
            recorder.close()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take down what is logged, in the place of whatever is done with it otherwise."""
        processors: list[Any] = structlog.get_config()["processors"]
        before = processors.copy()
        processors[:] = [self._take_down]
        try:
            yield
        finally:
            processors[:] = before

    def _take_down(self, _logger: object, level: str, line: Any) -> Any:
        if level != "debug":
            process = RUNNING_AS.get()
            event = str(line["event"]) + (f": {format_exc()}" if line.get("exc_info") else "")
            self.lines.append(Line(self.loop.time(), process.name if process else "", level, event))
        raise structlog.DropEvent
