"""Looking at the archive bit by bit: what is wrong with a recording is noted, and nothing is repaired.

At a start the presence of the last 24 hours, every day all sizes, and the hashes of one thirtieth of the archive;
every hour all bytes of what had a fault before; at once what somebody could not read, or found altered.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert

from streamrec import losses, roots
from streamrec.archive.files import Tree
from streamrec.archive.looking import Depth, Fault, Look
from streamrec.archive.places import Reading
from streamrec.clock import SystemClock, now
from streamrec.db import Session, away_as_unavailable
from streamrec.errors import Unavailable
from streamrec.models import ArchiveCheck, Origin, Recorder, Recording, RecordingFault, Run, Store
from streamrec.settings import Settings

log = structlog.get_logger("streamrec.scrub")

BATCH: Final = 500
SLICES: Final = 30
DAILY: Final = timedelta(hours=23)
RECENT: Final = timedelta(hours=24)
_TOLD: Final[tuple[Any, ...]] = tuple(getattr(Recording, name) for name in ("id", "channel_id", *losses.PLACE))
_HAS_FAULT: Final = sa.exists().where(RecordingFault.recording_id == Recording.id)


def daily(settings: Settings, depth: Depth) -> None:
    """Look at this depth's share of the folder, and of the bucket, unless that was done in the last day.

    Raises:
        Unavailable: as `run`; what was looked at is not looked at again because of it.
    """
    for store in _stores(settings):
        with Session.begin() as session:
            row = session.get(ArchiveCheck, (depth.value, _whose(settings, store)))
        if row is None or now() - row.checked_at > DAILY:
            _look(settings, depth, store, time.sleep)


def run(settings: Settings, depth: Depth, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Look at this depth's share of the archive now, but for what has a fault already; how many have one.

    Raises:
        Unavailable: the folder is not the archive, or the bucket does not answer; what was found until then is
            noted, and nothing else is lost.
    """
    return sum(_look(settings, depth, store, sleep) for store in _stores(settings))


def _stores(settings: Settings) -> Sequence[Store]:
    """The folder first: a bucket that is away keeps nothing from it."""
    return (Store.LOCAL,) if settings.s3_bucket is None else (Store.LOCAL, Store.S3)


def _whose(settings: Settings, store: Store) -> str:
    """Under what a look is told: hosts have archives of their own, and share a bucket."""
    return socket.gethostname() if store is Store.LOCAL else f"s3://{settings.s3_bucket}"


def _look(settings: Settings, depth: Depth, store: Store, sleep: Callable[[float], None]) -> int:
    """Look at this depth's share of what lies in a store, and tell that it was done."""
    clock = SystemClock()
    began = clock.monotonic()
    round_ = _walked(settings, depth, sa.and_(share(depth, now()), ~_HAS_FAULT), sleep, [store])
    seconds = clock.monotonic() - began
    _tell(depth, _whose(settings, store), round_.looked_at, round_.faults, seconds)
    return round_.faults


def again(settings: Settings, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Look at every byte of what has a fault; what is right again counts as recorded. How many still have one.

    Raises:
        Unavailable: as `run`.
    """
    return _walked(settings, Depth.HASH, _HAS_FAULT, sleep).faults


def everything(settings: Settings, depth: Depth, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Look again at what has a fault, and this closely at all else; how many have one then.

    Raises:
        Unavailable: as `run`.
    """
    still = again(settings, sleep=sleep)
    return still + _walked(settings, depth, ~_HAS_FAULT, sleep).faults


def one(settings: Settings, recording_id: int, depth: Depth = Depth.SIZE) -> bool:
    """Look at a recording that could not be read, or was found altered; whether a new fault was noted.

    A folder, bucket or database that is away notes nothing: the daily look comes anyway.
    """
    is_new = sa.and_(Recording.id == recording_id, ~_HAS_FAULT)
    with suppress(OSError, Unavailable), away_as_unavailable():
        return _walked(settings, depth, is_new, time.sleep).faults > 0
    return False


def _walked(
    settings: Settings,
    depth: Depth,
    condition: sa.ColumnElement[bool],
    sleep: Callable[[float], None],
    stores: Sequence[Store] = (Store.LOCAL, Store.S3),
) -> _Round:
    with Tree(settings.archive_dir, make=False) as tree:
        look = Look(Reading(settings, tree), depth, _paced(settings.check_bytes_per_second, sleep))
        round_ = _Round(settings, look, _archive_of(tree), condition)
        round_.walk(stores)
    return round_


def share(depth: Depth, at: datetime) -> sa.ColumnElement[bool]:
    """Which recordings are looked at this closely today."""
    if depth is Depth.PRESENCE:
        return Recording.end_time > at - RECENT
    if depth is Depth.HASH:
        return Recording.id % SLICES == at.toordinal() % SLICES
    return sa.true()


def _paced(bytes_per_second: int, sleep: Callable[[float], None]) -> Callable[[int], None]:
    """Reading must not take the disk from the captures."""
    return lambda size: sleep(size / bytes_per_second)


def _archive_of(tree: Tree) -> sa.ColumnElement[bool]:
    """Which recordings lie, or should lie, in this very folder, which is held open whatever its path leads to.

    Raises:
        Unavailable: it is no archive of this database.
    """
    with Session.begin() as session:
        root_id = roots.proved(session, tree)
        return in_archive(root_id, is_only=roots.is_only(session, root_id))


def in_archive(root_id: UUID, *, is_only: bool) -> sa.ColumnElement[bool]:
    """Recordings that a recorder wrote to this archive, and those of an unknown recorder if there is no other."""
    written_to = (
        sa.select(Recorder.root_id)
        .join(Run, Run.recorder_id == Recorder.id)
        .where(Run.id == Recording.run_id)
        .scalar_subquery()
    )
    is_ours = written_to == root_id
    return sa.or_(is_ours, written_to.is_(None)) if is_only else is_ours


@dataclass(slots=True)
class _Round:
    """One walk over recordings."""

    settings: Settings
    look: Look
    is_here: sa.ColumnElement[bool]
    condition: sa.ColumnElement[bool]
    looked_at: int = 0
    faults: int = 0

    def walk(self, stores: Sequence[Store]) -> None:
        for store in stores:
            is_ours = self.is_here if store is Store.LOCAL else sa.true()
            for rows in _batches(sa.and_(Recording.store == store, is_ours, self.condition)):
                self._batch(rows)

    def _batch(self, rows: Sequence[Any]) -> None:
        found = {row.id: fault for row in rows if (fault := self.look.fault(row))}
        believed = self._believed(found)
        for row, fault in believed:
            with Session.begin() as session:
                self.faults += losses.note(session, row, fault)
        if self.look.depth is Depth.HASH:
            self._forget(row for row in rows if row.id not in found)
        self.looked_at += len(rows)

    def _believed(self, found: dict[int, Fault]) -> list[tuple[Any, Fault]]:
        """What still holds of the rows as they are now: a deletion or a hand-over changes the row before the file.

        Of a bucket nothing is believed before it has proved to be ours.
        """
        with Session.begin() as session:
            rows = session.execute(sa.select(*_TOLD).where(Recording.id.in_(found))).all()
        if any(row.store is Store.S3 for row in rows):
            roots.bucket(self.settings)
        return [(row, fault) for row in rows if (fault := self.look.fault(row))]

    @staticmethod
    def _forget(rows: Iterator[Any]) -> None:
        """Take back the faults of recordings every byte of which is right."""
        right = {row.id: row for row in rows}
        with Session.begin() as session:
            noted = sa.select(RecordingFault.recording_id).where(RecordingFault.recording_id.in_(right))
            ids = session.scalars(noted).all()
        for recording_id in ids:
            with Session.begin() as session:
                losses.found_right(session, right[recording_id])


def _batches(condition: sa.ColumnElement[bool]) -> Iterator[Sequence[Any]]:
    after = 0
    while True:
        with Session.begin() as session:
            captured = sa.select(*_TOLD).where(
                Recording.origin == Origin.CAPTURED, Recording.id > after, condition
            )
            rows = session.execute(captured.order_by(Recording.id).limit(BATCH)).all()
        if not rows:
            return
        after = rows[-1].id
        yield rows


def _tell(depth: Depth, whose: str, looked_at: int, faults: int, seconds: float) -> None:
    told = {"checked_at": now(), "seconds": seconds, "looked_at": looked_at, "faults": faults}
    with Session.begin() as session:
        row = insert(ArchiveCheck).values(level=depth.value, host=whose, **told)
        keys = [ArchiveCheck.level, ArchiveCheck.host]
        session.execute(row.on_conflict_do_update(index_elements=keys, set_=told))
    found = {"recordings": looked_at, "faults": faults, "seconds": round(seconds, 1)}
    log.info("archive checked", level=depth.value, host=whose, **found)
