"""A small recorder's life: a start with recovery, two channels written in turn, and rows for what is durable.

It uses the recorder's own writer, spool, ledger and recovery, and tells `acknowledge` each fact once its
transaction has been committed: what a client of the database could have seen.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from itertools import zip_longest
from multiprocessing.connection import Connection
from typing import Final
from uuid import UUID, uuid5

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from streamrec import db
from streamrec.archive.files import Tree
from streamrec.framing.units import FLICKS, Unit
from streamrec.models import FileFormat, Recording
from streamrec.recorder import book, recovery
from streamrec.recorder.facts import Fact, RunStarted, decode, encode
from streamrec.recorder.spool import Spool
from streamrec.recorder.writer import DiskFault, SegmentWriter
from streamrec.settings import Settings
from tests import samples
from tests.fakes import NOON

CHANNELS: Final = {1: "mp3.mp3", 2: "tv.ts"}
KEYNAMES: Final = {1: "radio-one_", 2: "vision-two"}
SEGMENT_SECONDS: Final = 2
_STEPS: Final = 9
_RUN: Final = UUID("00000000-0000-4000-8000-000000000000")
_RECORDER: Final = UUID("11111111-0000-4000-8000-000000000000")

Acknowledge = Callable[[Fact], None]


@contextmanager
def disk(settings: Settings) -> Iterator[tuple[Tree, Spool]]:
    """The archive and the spool of a data folder."""
    with Tree(settings.archive_dir) as archive, Spool(settings.spool_dir / str(_RECORDER)) as spool:
        yield archive, spool


def start(settings: Settings, archive: Tree, spool: Spool, acknowledge: Acknowledge) -> None:
    """What a recorder does before it records: salvage, tell what is owed, set aside what nothing explains."""
    quarantine = settings.data_dir / "quarantine"
    recovery.recover(archive, spool, quarantine=quarantine)
    drain(spool, acknowledge)
    recovery.quarantine_unknown(archive, spool, quarantine=quarantine, known=_known)


def drain(spool: Spool, acknowledge: Acknowledge) -> None:
    """Make rows of all that is owed; a database that is away leaves it owed."""
    while facts := spool.pending(50):
        try:
            with db.Session.begin() as session:
                for fact in facts:
                    book.record(session, fact)
        except DBAPIError as error:
            if not db.is_away(error):
                raise
            return
        for fact in facts:
            acknowledge(fact)
            spool.done(fact)


def _known(keys: Sequence[str]) -> set[str]:
    with db.Session.begin() as session:
        return set(session.scalars(sa.select(Recording.path).where(Recording.path.in_(keys))))


def wall(media: int) -> datetime:
    """The media's own time, from noon on."""
    return NOON + timedelta(microseconds=media * 1_000_000 // FLICKS)


def life(settings: Settings, acknowledge: Acknowledge) -> None:
    """All of it, from the start to a clean stop."""
    with disk(settings) as (archive, spool):
        start(settings, archive, spool, acknowledge)
        writers = {channel_id: _writer(archive, spool, channel_id) for channel_id in CHANNELS}
        steps = [_steps(samples.units_of(name)) for name in CHANNELS.values()]
        for together in zip_longest(*steps, fillvalue=[]):
            for channel_id, units in zip(CHANNELS, together, strict=True):
                _write(writers, channel_id, units)
            drain(spool, acknowledge)
        with ExitStack() as stack:
            for writer in writers.values():
                stack.callback(writer.close, wall, "stopped")
        drain(spool, acknowledge)


def _steps(units: Sequence[Unit]) -> list[Sequence[Unit]]:
    size = len(units) // _STEPS + 1
    return [units[at : at + size] for at in range(0, len(units), size)]


def _writer(archive: Tree, spool: Spool, channel_id: int, media: int = 0) -> SegmentWriter:
    run = RunStarted(
        run_id=uuid5(_RUN, f"{channel_id} {media}"),
        channel_id=channel_id,
        recorder_id=_RECORDER,
        source="icy",
        format=FileFormat(CHANNELS[channel_id].rpartition(".")[2]),
        codecs="codec",
        start_time=wall(media),
    )
    return SegmentWriter(
        archive=archive,
        spool=spool,
        run=run,
        keyname=KEYNAMES[channel_id],
        segment_seconds=SEGMENT_SECONDS,
        sync_seconds=0.0,
        media=media,
    )


def _write(writers: dict[int, SegmentWriter], channel_id: int, units: Sequence[Unit]) -> None:
    """A channel whose disk failed gives these units up and goes on with another run, as a capture does."""
    writer = writers[channel_id]
    before = writer.media
    try:
        writer.append(units, wall)
        writer.sync()
    except DiskFault:
        media = before + sum(unit.duration for unit in units)
        writers[channel_id] = _writer(writer._archive, writer._spool, channel_id, media)


def child(settings: Settings, told: Connection, pace_seconds: float = 0.0) -> None:
    """A process of its own that stops itself and waits for whoever will make it crash; it sends what it told."""

    def acknowledge(fact: Fact) -> None:
        told.send_bytes(encode(fact))
        time.sleep(pace_seconds)

    engine = db.connect(settings, application="crash")
    try:
        os.kill(os.getpid(), signal.SIGSTOP)
        life(settings, acknowledge)
    except (OSError, DiskFault):  # what was asked for; what is left is looked at
        sys.exit(1)
    finally:
        engine.dispose()


def received(told: Connection) -> Iterator[Fact]:
    """What a child has sent so far."""
    try:
        while told.poll():
            yield decode(told.recv_bytes())
    except (EOFError, OSError, ValueError):  # it ended, perhaps in the middle of a word
        return
