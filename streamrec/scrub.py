"""Looking at the archive bit by bit: what is wrong with a recording is noted, and nothing is repaired.

At a start the presence of the last 24 hours, every day all sizes, and the hashes of one thirtieth of the archive.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert

from streamrec.archive.looking import Depth, Look
from streamrec.archive.places import Reading
from streamrec.clock import SystemClock, now
from streamrec.db import Session
from streamrec.models import ArchiveCheck, Origin, Recording, RecordingFault
from streamrec.settings import Settings

log = structlog.get_logger("streamrec.scrub")

BATCH: Final = 500
SLICES: Final = 30
DAILY: Final = timedelta(hours=23)
RECENT: Final = timedelta(hours=24)
_NAMES: Final = ("id", "path", "size_bytes", "sha256", "store", "object_key")
_TOLD: Final[tuple[Any, ...]] = tuple(getattr(Recording, name) for name in _NAMES)


def daily(settings: Settings, depth: Depth) -> None:
    """Look at this depth's share, unless that was done in the last day."""
    with Session.begin() as session:
        row = session.get(ArchiveCheck, (depth.value, socket.gethostname()))
    if row is None or now() - row.checked_at > DAILY:
        run(settings, depth)


def run(settings: Settings, depth: Depth, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Look at this depth's share of the archive now; how many recordings have a fault.

    Raises:
        StorageAway: the bucket does not answer; what was found until then is noted.
    """
    clock = SystemClock()
    began, looked_at, faults = clock.monotonic(), 0, 0
    look = Look(Reading(settings), depth, _paced(settings.check_bytes_per_second, sleep))
    for rows in _batches(share(depth, now())):
        found = {row.id: fault for row in rows if (fault := look.fault(row))}
        found = _believed(look, found)
        _note([row.id for row in rows], found, depth)
        looked_at += len(rows)
        faults += len(found)
    _tell(depth, looked_at, faults, clock.monotonic() - began)
    return faults


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


def _believed(look: Look, found: dict[int, str]) -> dict[int, str]:
    """What still holds for the rows as they are now: a deletion or a hand-over changes the row before the file."""
    with Session.begin() as session:
        rows = session.execute(sa.select(*_TOLD).where(Recording.id.in_(found))).all()
    return {row.id: fault for row in rows if (fault := look.fault(row))}


def _note(ids: Sequence[int], found: dict[int, str], depth: Depth) -> None:
    """Note faults, and forget those of recordings that were seen to be right, as far as this depth can see."""
    with Session.begin() as session:
        right = sa.delete(RecordingFault).where(RecordingFault.recording_id.in_(set(ids) - found.keys()))
        if depth is not Depth.HASH:
            right = right.where(RecordingFault.fault == "missing")
        session.execute(right)
        for recording_id, fault in found.items():
            row = insert(RecordingFault).values(recording_id=recording_id, fault=fault, found_at=now())
            row = row.on_conflict_do_update(index_elements=[RecordingFault.recording_id], set_={"fault": fault})
            session.execute(row)
            log.error("a recording is not what its row says", recording_id=recording_id, fault=fault)


def _tell(depth: Depth, looked_at: int, faults: int, seconds: float) -> None:
    told = {"checked_at": now(), "seconds": seconds, "looked_at": looked_at, "faults": faults}
    with Session.begin() as session:
        row = insert(ArchiveCheck).values(level=depth.value, host=socket.gethostname(), **told)
        keys = [ArchiveCheck.level, ArchiveCheck.host]
        session.execute(row.on_conflict_do_update(index_elements=keys, set_=told))
    log.info("archive checked", level=depth.value, recordings=looked_at, faults=faults, seconds=round(seconds, 1))
