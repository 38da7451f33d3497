"""The supervisor's reading of spool and database, with a real database and a ledger that works meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec import db
from streamrec.clock import SystemClock
from streamrec.models import FileFormat
from streamrec.recorder import book
from streamrec.recorder.capture import Capture
from streamrec.recorder.facts import Fact, RunStarted, SegmentClosed
from streamrec.recorder.holdings import Holdings
from streamrec.recorder.placement.interface import Member
from streamrec.recorder.placement.postgres import PostgresPlacement
from streamrec.recorder.records.postgres import PostgresRecords
from streamrec.recorder.spool import Spool
from streamrec.recorder.supervisor import Supervisor
from tests import factories
from tests.recorder.stage import Stage, staged

STARTED = SystemClock().now() - timedelta(minutes=2)
ENDED = STARTED + timedelta(minutes=1)


class Replay:
    """A ledger that moves all facts from the spool to the database, once, just after whatever is read first."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.is_due = True

    def __call__(self) -> None:
        if self.is_due:
            self.is_due = False
            for fact in self._spool.pending():
                with db.Session.begin() as session:
                    book.record(session, fact)
                self._spool.done(fact)


class ReplayedSpool(Spool):
    """Calls `replay` after it has been asked what is pending."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.replay: Callable[[], None] = lambda: None

    def pending(self, limit: int | None = None) -> list[Fact]:
        found = super().pending(limit)
        self.replay()
        return found


@contextmanager
def after_reading(engine: Engine, action: Callable[[], None]) -> Iterator[None]:
    """Do something whenever the account of a channel has been read."""

    def read(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "max(coverage.end_time)" in statement:
            action()

    sa.event.listen(engine, "after_cursor_execute", read)
    try:
        yield
    finally:
        sa.event.remove(engine, "after_cursor_execute", read)


def a_minute_of(channel_id: int) -> list[Fact]:
    """A run with one file, as the recorder before left it in the spool."""
    run = RunStarted(uuid4(), channel_id, uuid4(), "icy", FileFormat.MP3, "mp3", STARTED)
    key = "aaaaaaaaaa/2026/11/21/a.mp3"
    file = SegmentClosed(
        uuid4(), run.run_id, channel_id, key, FileFormat.MP3, "mp3", STARTED, ENDED, 1000, "0" * 64
    )
    return [run, file]


async def first_capture(stage: Stage, engine: Engine) -> Capture:
    """What the supervisor starts first."""
    has_begun = asyncio.Event()
    object.__setattr__(stage.tools, "on_change", lambda _channel_id: has_begun.set())
    holdings = Holdings(PostgresPlacement(), Member(stage.tools.recorder_id, 10), monotonic=time.monotonic)
    holdings.join()
    records = PostgresRecords(engine, monotonic=time.monotonic)
    supervisor = Supervisor(stage.tools, records, holdings, poll_seconds=0.05, stop_seconds=2)
    task = asyncio.create_task(supervisor.run())
    try:
        await asyncio.wait_for(has_begun.wait(), 10)
        return next(iter(supervisor.captures.values()))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await supervisor.stop()


@pytest.mark.parametrize("is_replayed", [True, False])
def test_a_fact_on_its_way_to_the_database_is_not_overlooked(
    engine: Engine, tmp_path: Path, is_replayed: bool
) -> None:
    """It leaves the spool between the two questions how far time is told, and yet is in one of the answers.

    A gap from before its end would overlap the recording, and be refused.
    """
    with db.Session.begin() as session:
        channel_id = factories.channel(session, expected_from=STARTED).id

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.spool.close()
            spool = ReplayedSpool(tmp_path / "spool")
            stage.spool = spool
            object.__setattr__(stage.tools, "spool", spool)
            for fact in a_minute_of(channel_id):
                spool.append(fact)
            replay = Replay(spool)
            replay.is_due = is_replayed
            spool.replay = replay
            with after_reading(engine, replay):
                capture = await first_capture(stage, engine)

            assert capture.covered_until == ENDED

    asyncio.run(scenario())
