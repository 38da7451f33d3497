"""Records in PostgreSQL: the channels' rows, their coverage, and NOTIFY."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from streamrec import db
from streamrec.errors import DatabaseAway
from streamrec.models import Coverage, CoverageKind, EnabledPeriod, Origin, Recording
from streamrec.recorder.facts import GapNoted
from streamrec.recorder.orders import Standing
from streamrec.recorder.past import Told
from streamrec.recorder.records.interface import Account, Wanted
from streamrec.recorder.tail import FILES, GAPS, ClosedFile


class PostgresRecords:
    """Records on `db.Session`; it listens on a connection of `engine`'s pool."""

    def __init__(self, engine: Engine, *, monotonic: Callable[[], float]) -> None:
        self._engine = engine
        self._standing = Standing(monotonic)
        self._listener: db.Listener | None = None
        self._listening_on = -1  # kept, because a lost connection does not know its descriptor any more

    def wanted(self) -> Wanted:
        with db.single() as connection:
            return Wanted(*self._standing.read(connection))

    def account(self, channel_id: int) -> Account:
        with _session() as session:
            told = _told(session, channel_id)
            return Account(told, [*_files(session, channel_id), *_gaps(session, channel_id)])

    def disabled_at(self, channel_id: int) -> datetime | None:
        latest = (
            sa.select(EnabledPeriod.end_time)
            .where(EnabledPeriod.channel_id == channel_id)
            .order_by(EnabledPeriod.start_time.desc())
            .limit(1)
        )
        with _session() as session:
            return session.scalar(latest)

    # --- news

    async def listen(self, woken: Callable[[], None]) -> None:
        if self._listener is not None:
            return
        listener = await asyncio.to_thread(db.Listener, self._engine, "channel", "placement")
        self._listener = listener
        self._listening_on = listener.fileno()
        asyncio.get_running_loop().add_reader(self._listening_on, self._drain, listener, woken)

    def _drain(self, listener: db.Listener, woken: Callable[[], None]) -> None:
        try:
            listener.drain()
        except DatabaseAway:
            self.unlisten()
        self._standing.forget()
        woken()

    def unlisten(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(self._listening_on)
            listener.close()


@contextmanager
def _session() -> Iterator[Session]:
    with db.away_as_unavailable(), db.Session.begin() as session:
        yield session


def _told(session: Session, channel_id: int) -> Told | None:
    """How far the account of an enabled channel goes; None if no period is open."""
    period = sa.select(EnabledPeriod.start_time).where(
        EnabledPeriod.channel_id == channel_id, EnabledPeriod.end_time.is_(None)
    )
    enabled_at = session.scalar(period)
    if enabled_at is None:
        return None
    latest = sa.select(sa.func.max(Coverage.end_time)).where(Coverage.channel_id == channel_id)
    return Told(enabled_at, session.scalar(latest))


def _files(session: Session, channel_id: int) -> list[ClosedFile]:
    columns = (Recording.path, Recording.format, Recording.start_time, Recording.end_time)
    ours = (Recording.channel_id == channel_id, Recording.origin == Origin.CAPTURED)
    latest = sa.select(*columns).where(*ours).order_by(Recording.start_time.desc()).limit(FILES)
    return [ClosedFile(path, form, start, end) for path, form, start, end in session.execute(latest) if form]


def _gaps(session: Session, channel_id: int) -> list[GapNoted]:
    columns = (Coverage.uuid, Coverage.start_time, Coverage.end_time, Coverage.reason, Coverage.detail)
    ours = (Coverage.channel_id == channel_id, Coverage.kind == CoverageKind.GAP)
    latest = sa.select(*columns).where(*ours).order_by(Coverage.start_time.desc()).limit(GAPS)
    return [
        GapNoted(uuid, channel_id, start, end, reason, detail or "")
        for uuid, start, end, reason, detail in session.execute(latest)
        if reason
    ]
