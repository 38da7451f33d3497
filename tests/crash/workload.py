"""What a small recorder's life is made of: a start with recovery, channels written in turn, rows for what is sure.

It uses the recorder's own writer, spool, ledger and recovery, and tells `acknowledge` each fact once its
transaction has been committed: what a client of the database could have seen.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
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
from streamrec.recorder.diskfault import DiskFault
from streamrec.recorder.facts import Fact, RunStarted, decode
from streamrec.recorder.flusher import Flusher, Sync
from streamrec.recorder.spool import Spool
from streamrec.recorder.writer import SegmentWriter
from streamrec.settings import Settings
from tests import samples
from tests.fakes import NOON

CHANNELS: Final = {1: "mp3.mp3", 2: "tv.ts"} | dict.fromkeys(range(3, 9), "vbr.mp3")
KEYNAMES: Final = {1: "radio-one_", 2: "vision-two"} | {number: f"radio-{number:03}_" for number in range(3, 9)}
SEGMENT_SECONDS: Final = 2
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


class Witness:
    """Is told what a life does. This one keeps nothing."""

    def acknowledged(self, fact: Fact) -> None:
        """The database has committed it."""

    def moment(self, seconds: float, written: Mapping[int, int]) -> None:
        """It is so late by the life's own clock, and each channel's writer has been given so many bytes."""

    def syncing(self, call: Sync) -> Sync:
        """What to call for syncfs(2)."""
        return call


@dataclass
class Desk:
    """The writers of a life, by channel."""

    archive: Tree
    spool: Spool
    segment_seconds: int = SEGMENT_SECONDS
    sync_seconds: float = 0.0
    flusher: Flusher | None = None
    monotonic: Callable[[], float] = time.monotonic
    written: Counter[int] = field(default_factory=Counter)  # bytes of media
    _writers: dict[int, SegmentWriter] = field(default_factory=dict)

    def write(self, channel_id: int, units: Sequence[Unit]) -> None:
        """A channel whose disk failed gives these units up and goes on with another run, as a capture does."""
        writer = self._writers.get(channel_id) or self._begin(channel_id, 0)
        before = writer.media
        try:
            writer.append(units, wall)
            self.written[channel_id] += len(samples.joined(units))
            writer.sync()
        except DiskFault:
            self._begin(channel_id, before + sum(unit.duration for unit in units))

    def close(self) -> None:
        """End all runs."""
        with ExitStack() as stack:
            for writer in self._writers.values():
                stack.callback(writer.close, wall, "stopped")

    def _begin(self, channel_id: int, media: int) -> SegmentWriter:
        run = RunStarted(
            run_id=uuid5(_RUN, f"{channel_id} {media}"),
            channel_id=channel_id,
            recorder_id=_RECORDER,
            source="icy",
            format=FileFormat(CHANNELS[channel_id].rpartition(".")[2]),
            codecs="codec",
            start_time=wall(media),
        )
        writer = self._writers[channel_id] = SegmentWriter(
            archive=self.archive,
            spool=self.spool,
            run=run,
            keyname=KEYNAMES[channel_id],
            segment_seconds=self.segment_seconds,
            sync_seconds=self.sync_seconds,
            media=media,
            flusher=self.flusher,
            monotonic=self.monotonic,
        )
        return writer


def steps(channels: Iterable[int], count: int) -> Iterator[dict[int, Sequence[Unit]]]:
    """The channels' media in so many parts."""
    for number in range(count):
        yield {channel_id: _part(samples.units_of(CHANNELS[channel_id]), number, count) for channel_id in channels}


def _part(units: Sequence[Unit], number: int, count: int) -> Sequence[Unit]:
    return units[len(units) * number // count : len(units) * (number + 1) // count]


def received(told: Connection) -> Iterator[Fact]:
    """What a child has sent so far."""
    try:
        while told.poll():
            yield decode(told.recv_bytes())
    except (EOFError, OSError, ValueError):  # it ended, perhaps in the middle of a word
        return
