"""Facts as rows: what the database is told, each fact once."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Protocol
from uuid import UUID, uuid5

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from streamrec import db, indexes
from streamrec.archive import pieces as piece_index
from streamrec.errors import StreamrecError, Unavailable
from streamrec.indexes import New
from streamrec.models import Coverage, CoverageKind, GapReason, Origin, Recording, Run
from streamrec.recorder.facts import Fact, GapNoted, RunEnded, RunStarted, SegmentClosed
from streamrec.recorder.recent import History

PIECES: Final = 16
_ONE_AT_A_TIME: Final = 0x686F6C65  # "hole"
LATE_CODES: Final = frozenset({"SR001", "23P01"})
"""SQLSTATEs: the trigger epoch_fenced refused an old epoch; exclusion_violation, of time that is told already."""


class Refused(StreamrecError):
    """The store will never take a fact as it is; `is_late` if only because others were there before."""

    def __init__(self, detail: str, *, is_late: bool) -> None:
        super().__init__(detail)
        self.is_late = is_late


class Book(Protocol):
    """Where facts become rows; the database."""

    def enter(self, facts: Sequence[Fact]) -> None:
        """Make rows of all of them, in order, or of none. The same fact again changes nothing.

        Raises Unavailable, or Refused if one of them is not taken.
        """
        ...

    def has_turned(self) -> bool:
        """Whether what was entered before the last call may be gone with its store. Raises Unavailable."""
        ...


def record(session: Session, fact: Fact) -> None:
    """Make rows of one fact. The same fact again changes nothing."""
    match fact:
        case RunStarted():
            _start_run(session, fact)
        case RunEnded():
            ended = sa.update(Run).where(Run.id == fact.run_id)
            session.execute(ended.values(end_time=fact.end_time, end_reason=fact.reason))
        case SegmentClosed():
            _add_recordings(session, [fact])
        case GapNoted():
            _set_gap(session, fact)


def _start_run(session: Session, fact: RunStarted) -> None:
    row = insert(Run).values(
        id=fact.run_id,
        channel_id=fact.channel_id,
        recorder_id=fact.recorder_id,
        epoch=fact.epoch,
        source=fact.source,
        source_index=fact.source_index,
        source_url=fact.source_url,
        format=fact.format,
        codecs=fact.codecs,
        start_time=fact.start_time,
    )
    session.execute(row.on_conflict_do_nothing(index_elements=[Run.id]))


def record_all(session: Session, facts: Sequence[Fact]) -> None:
    """Make rows of facts, in order; of files of different channels that follow each other, together.

    All channels close a file at the full minute, and each statement costs more than what it does.
    """
    closed: dict[int, SegmentClosed] = {}
    for fact in facts:
        if isinstance(fact, SegmentClosed) and fact.channel_id not in closed:
            closed[fact.channel_id] = fact
            continue
        _add_recordings(session, list(closed.values()))
        closed.clear()
        if isinstance(fact, SegmentClosed):
            closed[fact.channel_id] = fact
        else:
            record(session, fact)
    _add_recordings(session, list(closed.values()))


def _add_recordings(session: Session, facts: Sequence[SegmentClosed]) -> None:
    """Of one channel each. A coverage row proves that a fact was replayed, even if the recording is gone now."""
    uuids = [fact.uuid for fact in facts]
    known = set(session.scalars(sa.select(Coverage.uuid).where(Coverage.uuid.in_(uuids)))) if uuids else set()
    facts = [fact for fact in facts if fact.uuid not in known]
    if not facts:
        return
    runs = sa.select(Run.id, Run.source_index).where(Run.id.in_({fact.run_id for fact in facts}))
    sources = {row[0]: row[1] for row in session.execute(runs)}
    rows = [_recording(fact) | {"source_index": sources.get(fact.run_id)} for fact in facts]
    inserted = session.execute(sa.insert(Recording).returning(Recording.uuid, Recording.id), rows)
    ids = {row[0]: row[1] for row in inserted}
    session.execute(sa.insert(Coverage), [_coverage(fact, ids[fact.uuid]) for fact in facts])
    indexes.close_all(session, uuids)
    indexes.add_all(
        session,
        [
            New(ids[fact.uuid], fact.channel_id, fact.run_id, fact.start_time, _index(fact.index))
            for fact in facts
            if fact.index is not None
        ],
    )


def _recording(fact: SegmentClosed) -> dict[str, object]:
    return {
        "uuid": fact.uuid,
        "channel_id": fact.channel_id,
        "run_id": fact.run_id,
        "origin": Origin.CAPTURED,
        "start_time": fact.start_time,
        "end_time": fact.end_time,
        "path": fact.key,
        "size_bytes": fact.size_bytes,
        "sha256": fact.sha256,
        "format": fact.format,
        "codecs": fact.codecs,
        "truncated": fact.truncated,
        "epoch": fact.epoch,
        "version": 1,
    }


def _coverage(fact: SegmentClosed, recording_id: int) -> dict[str, object]:
    return {
        "uuid": fact.uuid,
        "channel_id": fact.channel_id,
        "kind": CoverageKind.RECORDED,
        "start_time": fact.start_time,
        "end_time": fact.end_time,
        "recording_id": recording_id,
        "epoch": fact.epoch,
    }


def _index(text: str) -> piece_index.Index:
    return piece_index.decoded(base64.b64decode(text))


def _set_gap(session: Session, fact: GapNoted) -> None:
    if fact.end_time <= fact.start_time:
        session.execute(sa.delete(Coverage).where(Coverage.uuid.in_(pieces(fact.uuid))))
        return
    bounds = {
        "start_time": fact.start_time,
        "end_time": fact.end_time,
        "reason": fact.reason,
        "detail": fact.detail,
        "epoch": fact.epoch,
    }
    row = insert(Coverage).values(uuid=fact.uuid, channel_id=fact.channel_id, kind=CoverageKind.GAP, **bounds)
    session.execute(row.on_conflict_do_update(index_elements=[Coverage.uuid], set_=bounds))


def pieces(uuid: UUID) -> list[UUID]:
    """The ids of a gap that the rows of others may have cut to pieces."""
    return [uuid, *(uuid5(uuid, str(number)) for number in range(1, PIECES))]


_HOLES = sa.text(
    """
    WITH told AS (
        SELECT channel_id, range_agg(tstzrange(start_time, end_time)) AS spans, max(end_time) AS until
        FROM coverage GROUP BY channel_id
    ), expected AS (
        SELECT p.channel_id, range_agg(tstzrange(p.start_time, coalesce(p.end_time, t.until))) AS spans
        FROM enabled_period p LEFT JOIN told t USING (channel_id)
        WHERE coalesce(p.end_time, t.until) > p.start_time AND (p.end_time IS NULL OR p.end_time <= :settled)
        GROUP BY p.channel_id
    )
    INSERT INTO coverage (uuid, channel_id, kind, start_time, end_time, reason, detail)
    SELECT gen_random_uuid(), e.channel_id, 'gap', lower(hole), upper(hole), :reason, :detail
    FROM expected e LEFT JOIN told t USING (channel_id),
         LATERAL unnest(e.spans - coalesce(t.spans, '{}'::tstzmultirange)) AS hole
    """
)


def fill_holes(session: Session, reason: GapReason, detail: str, *, age: timedelta = timedelta()) -> int:
    """Give every stretch that no row speaks of a gap; how many there were.

    The end of an enabled channel's account is left to its capture, and periods that ended less than `age` ago
    to the facts that are still on their way.
    """
    settled = session.scalar(sa.select(sa.func.now())) - age  # type: ignore[operator]
    if not session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_ONE_AT_A_TIME))):
        return 0  # another recorder is doing it
    result = session.execute(_HOLES, {"reason": reason.value, "detail": detail, "settled": settled})
    return int(result.rowcount)  # type: ignore[attr-defined]


def is_late(exc: DBAPIError) -> bool:
    """Whether the database refused a row only because others were there before."""
    return getattr(exc.orig, "pgcode", None) in LATE_CODES


def _may_pass(exc: DBAPIError) -> bool:
    """Whether the same facts may be taken later: they wait, and are not set aside."""
    return db.is_away(exc) or db.has_collided(exc)


class PostgresBook:
    """A Book on `db.Session`."""

    def __init__(self) -> None:
        self._history = History()

    def enter(self, facts: Sequence[Fact]) -> None:
        try:
            with db.Session.begin() as session:
                record_all(session, facts)
        except DBAPIError as exc:
            if _may_pass(exc):
                raise Unavailable(type(exc).__name__) from exc
            raise Refused(str(exc.orig), is_late=is_late(exc)) from exc

    def has_turned(self) -> bool:
        with db.away_as_unavailable():
            return self._history.has_turned()
