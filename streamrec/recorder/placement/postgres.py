"""Placement in PostgreSQL: the recorder rows are the heartbeats, the assignment rows the leases."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session

from streamrec import __version__, db
from streamrec.models import Assignment as Row
from streamrec.models import Recorder
from streamrec.recorder.placement.interface import TTL_SECONDS, Assignment, Member, View

_CLOCK = sa.func.clock_timestamp()

# Text, because all that SQLAlchemy does to build a statement is dear for those that are made every two seconds.
_RENEW = sa.text("UPDATE recorder SET heartbeat_at = clock_timestamp() WHERE id = :id AND stopped_at IS NULL")
_LIVING = sa.text(  # the assignments' versions, see orders.py, also where nobody lives
    """
    SELECT (SELECT row(count(*), sum(xmin::text::bigint))::text FROM assignment) AS versions,
        id, capacity, labels, is_leaving,
        :ttl - extract(epoch FROM clock_timestamp() - heartbeat_at) AS seconds_left
    FROM (SELECT 1) AS anyway LEFT JOIN recorder
        ON stopped_at IS NULL AND heartbeat_at > clock_timestamp() - make_interval(secs => :ttl)
    """
).columns(id=sa.Uuid(), labels=JSONB(), seconds_left=sa.Float())
_ASSIGNMENTS = sa.select(Row.channel_id, Row.epoch, Row.recorder_id, Row.successor_id, Row.is_ready)

_CLAIM = sa.text(
    """
    INSERT INTO assignment (channel_id, recorder_id, epoch)
    SELECT seen.channel_id, me.id, seen.epoch + 1
    FROM unnest(CAST(:channel_ids AS bigint[]), CAST(:epochs AS bigint[])) AS seen (channel_id, epoch)
        JOIN channel ON channel.id = seen.channel_id
        JOIN recorder me ON me.id = :me
            AND me.stopped_at IS NULL AND me.heartbeat_at > clock_timestamp() - make_interval(secs => :ttl)
    ORDER BY seen.channel_id
    ON CONFLICT (channel_id) DO UPDATE
        SET recorder_id = excluded.recorder_id, epoch = excluded.epoch,
            successor_id = NULL, is_ready = false, changed_at = clock_timestamp()
        WHERE assignment.epoch = excluded.epoch - 1 AND NOT EXISTS (
            SELECT FROM recorder other WHERE other.id = assignment.recorder_id
                AND other.stopped_at IS NULL
                AND other.heartbeat_at > clock_timestamp() - make_interval(secs => :ttl))
    RETURNING channel_id, epoch
    """
)


class PostgresPlacement:
    """A Placement on `db.Session`; all times are the database's. Raises DatabaseAway."""

    def __init__(self, *, ffmpeg: str | None = None, ttl_seconds: float = TTL_SECONDS) -> None:
        """`ffmpeg` is the version that whoever joins through this driver runs."""
        self._ffmpeg = ffmpeg
        self._ttl_seconds = ttl_seconds
        self._seen: tuple[str, Mapping[int, Assignment]] = "", {}
        self._is_alive = sa.and_(
            Recorder.stopped_at.is_(None),
            Recorder.heartbeat_at > _CLOCK - sa.func.make_interval(0, 0, 0, 0, 0, 0, ttl_seconds),
        )

    def join(self, member: Member) -> None:
        about = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": __version__,
            "ffmpeg": self._ffmpeg,
            "capacity": member.capacity,
            "labels": dict(member.labels),
            "is_leaving": member.is_leaving,
        }
        row = insert(Recorder).values(id=member.id, **about)
        anew = {**about, "heartbeat_at": _CLOCK, "stopped_at": None}
        with _session() as session:
            session.execute(row.on_conflict_do_update(index_elements=[Recorder.id], set_=anew))

    def renew(self, member_id: UUID) -> bool:
        with db.single() as connection:
            result: Any = connection.execute(_RENEW, {"id": member_id})
            return bool(result.rowcount)

    def drain(self, member_id: UUID) -> None:
        with _session() as session:
            session.execute(sa.update(Recorder).where(Recorder.id == member_id).values(is_leaving=True))

    def leave(self, member_id: UUID) -> None:
        self.bury(member_id)

    def bury(self, member_id: UUID) -> None:
        row = sa.update(Recorder).where(Recorder.id == member_id, Recorder.stopped_at.is_(None))
        with _session() as session:
            session.execute(row.values(stopped_at=_CLOCK))

    def view(self) -> View:
        living_now = {"ttl": self._ttl_seconds}
        with db.single() as connection:
            living = connection.execute(_LIVING, living_now).all()
            known, assignments = self._seen
            versions = living[0][0]
            if versions != known:
                assignments = {row[0]: Assignment(*row[1:]) for row in connection.execute(_ASSIGNMENTS)}
                living = connection.execute(_LIVING, living_now).all()  # after, so that all are known
        self._seen = versions, assignments
        members = [row[1:] for row in living if row[1] is not None]
        return View(
            members={row[0]: Member(*row[:4]) for row in members},
            assignments=assignments,
            seconds_left={row[0]: float(row[4]) for row in members},
        )

    def claim(self, member_id: UUID, seen: Mapping[int, int]) -> dict[int, int]:
        if not seen:
            return {}
        given = {
            "channel_ids": list(seen),
            "epochs": list(seen.values()),
            "me": member_id,
            "ttl": self._ttl_seconds,
        }
        with _session() as session:
            return {row[0]: row[1] for row in session.execute(_CLAIM, given)}

    def offer(self, member_id: UUID, channel_id: int, epoch: int) -> bool:
        alive = sa.select(Recorder.id).where(self._is_alive)
        row = sa.update(Row).where(
            Row.channel_id == channel_id,
            Row.epoch == epoch,
            Row.recorder_id != member_id,
            Row.recorder_id.in_(alive),
            sa.literal(member_id).in_(alive),
            sa.or_(Row.successor_id.is_(None), Row.successor_id == member_id, Row.successor_id.not_in(alive)),
        )
        with _session() as session:
            return _changed(session, row.values(successor_id=member_id, is_ready=False))

    def make_ready(self, member_id: UUID, channel_id: int, epoch: int) -> bool:
        ours = (Row.channel_id == channel_id, Row.epoch == epoch, Row.successor_id == member_id)
        with _session() as session:
            return _changed(session, sa.update(Row).where(*ours).values(is_ready=True))

    def withdraw(self, member_id: UUID, channel_id: int) -> None:
        ours = (Row.channel_id == channel_id, Row.successor_id == member_id)
        with _session() as session:
            session.execute(sa.update(Row).where(*ours).values(successor_id=None, is_ready=False))

    def release(self, member_id: UUID, channel_id: int, epoch: int) -> bool:
        ours = (Row.channel_id == channel_id, Row.epoch == epoch, Row.recorder_id == member_id)
        alive = sa.select(Recorder.id).where(self._is_alive)
        heir = sa.case((sa.and_(Row.is_ready, Row.successor_id.in_(alive)), Row.successor_id), else_=None)
        after = {"recorder_id": heir, "successor_id": None, "is_ready": False, "changed_at": _CLOCK}
        with _session() as session:
            return _changed(session, sa.update(Row).where(*ours).values(epoch=Row.epoch + 1, **after))


@contextmanager
def _session() -> Iterator[Session]:
    with db.away_as_unavailable(), db.Session.begin() as session:
        yield session


def _changed(session: Session, statement: sa.Update) -> bool:
    result: Any = session.execute(statement.execution_options(synchronize_session=False))
    return bool(result.rowcount)
