"""A capture under a clock that the test moves, its station and its spool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from streamrec.archive.files import Tree
from streamrec.models import FileFormat, GapReason
from streamrec.recorder.beat import Beat
from streamrec.recorder.capture import Capture
from streamrec.recorder.disk import Disk
from streamrec.recorder.events import Address, Closed, Opened
from streamrec.recorder.facts import GapNoted, SegmentClosed
from streamrec.recorder.gate import Gate
from streamrec.recorder.spool import Spool
from streamrec.recorder.status import Totals
from streamrec.recorder.tools import Order, Tools
from tests.fakes import NOON, FakeClock, ScriptedSource, ScriptedSources, WatchedThreads

FRAME = b"\xff\xfb\x94\xc0" + bytes(380)  # MPEG-1 layer III, 128 kb/s, 48 kHz, mono: 384 bytes, 24 ms
OPENED = Opened(FileFormat.MP3, "mp3")
ENDED = Closed(GapReason.SOURCE_ENDED, "The stream ended.")


def at(seconds: float):
    return NOON + timedelta(seconds=seconds)


def frames(seconds: float) -> bytes:
    return FRAME * round(seconds / 0.024)


ARE_STEADY: ContextVar[bool] = ContextVar("are_steady", default=False)
"""Whether the sources of stages that are made may be polled."""


class Stage:
    """A capture, its clock, its station and its spool."""

    def __init__(self, folder: Path, threads: WatchedThreads) -> None:
        self.clock = FakeClock(threads=threads)
        self.sources = ScriptedSources(self.clock, are_steady=ARE_STEADY.get())
        self.spool = Spool(folder / "spool")
        self.archive = Tree(folder / "archive")
        self.order = Order(7, "aaaaaaaaaa", Address("http://station.invalid/"), 60)
        self.tools = Tools(
            clock=self.clock,
            sources=self.sources,
            archive=self.archive,
            spool=self.spool,
            disk=Disk(threads),
            gate=Gate(self.clock),
            beat=Beat(self.clock),
            totals=Totals(),
            recorder_id=uuid4(),
        )
        self.capture: Capture | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self, *, covered: float = 0.0, reason: GapReason = GapReason.STARTING) -> None:
        self.capture = Capture(self.order, self.tools, covered_until=at(covered), reason=reason)
        self.task = asyncio.create_task(self.capture.run())

    @property
    def source(self) -> ScriptedSource:
        """The attempt that is going on."""
        return self.sources.attempts[-1]

    async def play(self, seconds: float, *, burst: float = 0.0) -> None:
        """Let media arrive in real time, after a burst of what was on air before."""
        if burst:
            self.source.media(frames(burst))
        for _ in range(round(seconds / 0.24)):
            await self.clock.advance(0.24)
            self.source.media(frames(0.24))
        await self.clock.idle()

    async def connect(self) -> None:
        """The station answers the attempt that is going on."""
        await self.clock.idle()
        self.source.push(OPENED)

    async def stop(self, until: float | None = None) -> None:
        self.capture.stop(None if until is None else at(until))
        await asyncio.wait_for(self.task, 5)

    def gaps(self) -> list[tuple[float, float, GapReason]]:
        """Gaps as they stand in the end, in seconds."""
        facts = {fact.uuid: fact for fact in self.spool.pending() if isinstance(fact, GapNoted)}
        spans = [(seconds(f.start_time), seconds(f.end_time), f.reason) for f in facts.values()]
        return sorted(span for span in spans if span[0] < span[1])

    def files(self) -> list[tuple[float, float]]:
        """Closed files, in seconds."""
        closed = [fact for fact in self.spool.pending() if isinstance(fact, SegmentClosed)]
        return [(seconds(fact.start_time), seconds(fact.end_time)) for fact in closed]


def seconds(moment) -> float:
    return round((moment - NOON).total_seconds(), 3)


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    with WatchedThreads() as disk:
        stage = Stage(folder, disk)
        try:
            yield stage
        finally:
            if stage.task is not None and not stage.task.done():
                stage.task.cancel()
                await asyncio.gather(stage.task, return_exceptions=True)
            stage.spool.close()
            stage.archive.close()


def play(folder: Path, scenario: Callable[[Stage], Awaitable[None]]) -> None:
    """Run a scenario to its end."""

    async def run() -> None:
        async with staged(folder) as stage:
            await scenario(stage)

    asyncio.run(run())


def whole(stage: Stage, start: float = 0.0) -> float:
    """The end of the account, once it is seen that files and gaps tile it without overlap."""
    spans = sorted([*stage.files(), *((begin, end) for begin, end, _ in stage.gaps())])
    for begin, end in spans:
        assert begin == start, spans
        start = end
    return start
