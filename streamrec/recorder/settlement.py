"""What becomes of facts that come late: somebody else captured the channel meanwhile, or told of that time.

Media beats a gap, and the media of a newer epoch beats that of an older. What gives way goes to quarantine whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from streamrec import captures, db
from streamrec.archive.files import Tree
from streamrec.models import Assignment, Coverage, CoverageKind, Recorder, Recording, Run
from streamrec.recorder import book, recovery
from streamrec.recorder.facts import GapNoted, SegmentClosed

log = structlog.get_logger(__name__)

SHORTEST: Final = timedelta(milliseconds=1)  # what is left of a file must be longer
ROUNDS: Final = 3


class Settlement:
    """Makes of late facts what is still true of them. Blocks; opens its own transactions."""

    def __init__(self, archive: Tree, quarantine: Path) -> None:
        self._archive = archive
        self._quarantine = quarantine

    def settle(self, fact: SegmentClosed | GapNoted) -> bool:
        """Whether it is done with; False as long as the channel's new holder may still tell of that time."""
        if isinstance(fact, GapNoted):
            with db.Session.begin() as session:
                _set_pieces(session, replace(fact, epoch=_locked_epoch(session, fact)))
            return True
        for _ in range(ROUNDS):
            with db.Session.begin() as session:
                epoch = _locked_epoch(session, fact)
                if _is_open(session, fact, epoch):
                    return False
                until = _media_after(session, fact)
                if until is None:
                    _make_room(session, fact)
                    book.record(session, replace(fact, epoch=epoch))
                    return True
            shorter = self._shortened(fact, until)
            if shorter is None:
                return True
            fact = shorter
        return False

    def _shortened(self, fact: SegmentClosed, until: datetime) -> SegmentClosed | None:
        """The file's beginning up to `until`, in its place; None if nothing of it is left. A copy is set aside."""
        if not self._archive.exists(fact.key):
            log.error("a file is gone", action="segment_missing", key=fact.key)
            return None
        with Tree(self._quarantine) as aside:
            if until - fact.start_time < SHORTEST:
                recovery.set_aside(self._archive, fact.key, aside)
                shorter = None
            else:
                shorter = recovery.shortened(self._archive, fact, until, aside)
        log.warning(
            "another recorder captured this too; what it has is left out here",
            action="segment_superseded",
            channel_id=fact.channel_id,
            key=fact.key,
            kept_seconds=(shorter.end_time - fact.start_time).total_seconds() if shorter else 0.0,
        )
        return shorter


def _locked_epoch(session: Session, fact: SegmentClosed | GapNoted) -> int | None:
    """The epoch under which a row is taken now; nobody can change it before this transaction ends."""
    row = sa.select(Assignment.epoch).where(Assignment.channel_id == fact.channel_id).with_for_update()
    current = session.scalar(row)
    return fact.epoch if current is None else max(current, fact.epoch or 0)


def _is_open(session: Session, fact: SegmentClosed, epoch: int | None) -> bool:
    """Whether a living recorder holds the channel since, and its account does not reach beyond the fact yet."""
    if epoch is None or epoch == fact.epoch:
        return False
    holder = (
        sa.select(Recorder.id)
        .join(Assignment, Assignment.recorder_id == Recorder.id)
        .where(Assignment.channel_id == fact.channel_id, captures.is_alive())
    )
    if session.scalar(holder) is None:
        return False
    newer = (Run.channel_id == fact.channel_id, Run.epoch > (fact.epoch or 0))
    told = (Coverage.channel_id == fact.channel_id, Coverage.epoch > (fact.epoch or 0))
    known = sa.exists().where(*newer) | sa.exists().where(*told, Coverage.end_time >= fact.end_time)
    return not session.scalar(sa.select(known))


def _media_after(session: Session, fact: SegmentClosed) -> datetime | None:
    """Where within the fact's time, or before it, the media of others begins: of rows, and of runs that go on."""
    overlaps = (Coverage.start_time < fact.end_time, Coverage.end_time > fact.start_time)
    told = sa.select(sa.func.min(Coverage.start_time)).where(
        Coverage.channel_id == fact.channel_id,
        Coverage.kind != CoverageKind.GAP,
        Coverage.uuid != fact.uuid,
        *overlaps,
    )
    first = sa.select(sa.func.min(Recording.start_time)).where(Recording.run_id == Run.id).scalar_subquery()
    alive = sa.select(Recorder.id).where(captures.is_alive())
    begun = sa.select(sa.func.min(sa.func.coalesce(first, Run.start_time))).where(
        Run.channel_id == fact.channel_id,
        Run.epoch > (fact.epoch or 0),
        Run.start_time < fact.end_time,
        sa.or_(Run.end_time > fact.start_time, sa.and_(Run.end_time.is_(None), Run.recorder_id.in_(alive))),
    )
    starts = (session.scalar(told), session.scalar(begun))
    return min((start for start in starts if start is not None and start < fact.end_time), default=None)


def _make_room(session: Session, fact: SegmentClosed) -> None:
    """Take the fact's time out of the gaps that others told."""
    gaps = session.scalars(
        sa.select(Coverage)
        .where(
            Coverage.channel_id == fact.channel_id,
            Coverage.kind == CoverageKind.GAP,
            Coverage.start_time < fact.end_time,
            Coverage.end_time > fact.start_time,
        )
        .with_for_update()
    ).all()
    for gap in gaps:
        before, after = fact.start_time > gap.start_time, gap.end_time > fact.end_time
        if before and after:
            rest = {c.name: getattr(gap, c.name) for c in Coverage.__table__.columns if c.name != "id"}
            rest |= {"uuid": _free_piece(session, gap.uuid), "start_time": fact.end_time}
            gap.end_time = fact.start_time
            session.flush()
            session.execute(sa.insert(Coverage).values(rest))
        elif before:
            gap.end_time = fact.start_time
        elif after:
            gap.start_time = fact.end_time
        else:
            session.delete(gap)
    session.flush()


def _free_piece(session: Session, uuid: UUID) -> UUID:
    """The id of another piece of a gap, so that whoever tells the gap again finds it."""
    names = book.pieces(uuid)
    taken = set(session.scalars(sa.select(Coverage.uuid).where(Coverage.uuid.in_(names))))
    return next((name for name in names if name not in taken), uuid4())


def _set_pieces(session: Session, fact: GapNoted) -> None:
    """Tell a gap where nobody else has told anything; its first piece keeps its id."""
    names = book.pieces(fact.uuid)
    session.execute(sa.delete(Coverage).where(Coverage.uuid.in_(names)))
    for uuid, (start, end) in zip(names, _untold(session, fact), strict=False):
        book.record(session, replace(fact, uuid=uuid, start_time=start, end_time=end))


def _untold(session: Session, fact: GapNoted) -> Iterator[tuple[datetime, datetime]]:
    """The stretches of the fact's time that no row speaks of."""
    at = fact.start_time
    rows = session.execute(
        sa.select(Coverage.start_time, Coverage.end_time)
        .where(
            Coverage.channel_id == fact.channel_id,
            Coverage.start_time < fact.end_time,
            Coverage.end_time > fact.start_time,
        )
        .order_by(Coverage.start_time)
    )
    for start, end in rows.all():
        if start > at:
            yield at, start
        at = max(at, end)
    if at < fact.end_time:
        yield at, fact.end_time
