"""Jobs: what was asked for and takes longer than a request, from the queue to its result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

import procrastinate
import sqlalchemy as sa
from procrastinate.contrib.sqlalchemy import SQLAlchemyPsycopg2Connector
from sqlalchemy.orm import Session

from streamrec import keyset
from streamrec.errors import NotFound
from streamrec.models import Job, JobKind, JobState

QUEUE: Final = "streamrec"
FINAL: Final = (JobState.DONE, JobState.FAILED)
LONGEST_ERROR: Final = 500

_COLUMNS: Final[tuple[Any, ...]] = (
    *(Job.number, Job.id, Job.kind, Job.channel_id, Job.state, Job.progress, Job.result, Job.error),
    *(Job.attempts, Job.created_at, Job.started_at, Job.ended_at),
)
_SORTS: Final[dict[str, sa.ColumnElement[Any]]] = {
    "id": Job.number.expression,
    "created_at": Job.created_at.expression,
}
_UNSYNCHRONIZED = {"synchronize_session": False}
# Never opened: what it does, it does over the connection of the session that it is given.
_QUEUE: Final = procrastinate.App(connector=SQLAlchemyPsycopg2Connector())


@dataclass(frozen=True, slots=True)
class State:
    """Who does jobs, and how many there are to be done."""

    workers: int  # with a heartbeat younger than 30 s
    open: int  # queued, or begun and not ended

    @property
    def is_ok(self) -> bool:
        """Whether somebody is there for what waits."""
        return self.workers > 0 or self.open == 0

    @property
    def detail(self) -> str:
        """A sentence for a person."""
        if self.is_ok:
            return f"Job workers alive: {self.workers}; jobs open: {self.open}."
        return f"No job worker is alive, and jobs wait: {self.open}. Start one with: ./run.sh jobs"


STATE: Final = sa.text(
    """
    SELECT (SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat > clock_timestamp() - interval '30 s')
               AS workers,
           (SELECT count(*) FROM job WHERE ended_at IS NULL) AS open
    """
)
"""One row; for `State`."""


def create(session: Session, kind: JobKind, *, channel_id: int | None = None) -> UUID:
    """Ask for a job; it is queued if and when this session's transaction commits."""
    job_id = uuid4()
    task_id = _defer(session, kind, job_id)
    session.add(Job(id=job_id, kind=kind, channel_id=channel_id, task_id=task_id))
    session.flush()
    return job_id


def _defer(session: Session, kind: JobKind, job_id: UUID) -> int:
    """Put a job into the queue; the id that it has there."""
    deferrer = _QUEUE.configure_task(kind.value, queue=QUEUE, lock=str(job_id), connection=session.connection())
    return deferrer.defer(job_id=str(job_id))


def get(session: Session, job_id: UUID) -> keyset.Row:
    """One job.

    Raises:
        NotFound: there is none, or it ended so long ago that it was forgotten.
    """
    row = session.execute(sa.select(*_COLUMNS).where(Job.id == job_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no job {job_id}.", job_id=str(job_id))
    return row


def page(
    session: Session,
    *,
    kind: str | None = None,
    state: str | None = None,
    channel_id: int | None = None,
    sort: str = "-created_at",
    after: keyset.Position | None = None,
    limit: int = 100,
) -> keyset.Page:
    """One page of the jobs."""
    statement = sa.select(*_COLUMNS)
    if kind is not None:
        statement = statement.where(Job.kind == JobKind(kind))
    if state is not None:
        statement = statement.where(Job.state == JobState(state))
    if channel_id is not None:
        statement = statement.where(Job.channel_id == channel_id)
    return keyset.page(session, statement, columns=_SORTS, sort=sort, after=after, limit=limit)


# --- attempts: each has a number, and an older one than the last changes nothing --------------------------


def begin(session: Session, job_id: UUID) -> keyset.Row | None:
    """Begin another attempt; None if the job is over, or gone."""
    statement = sa.update(Job).where(Job.id == job_id, Job.state.not_in(FINAL))
    values = {"state": JobState.RUNNING, "attempts": Job.attempts + 1, "started_at": sa.func.clock_timestamp()}
    begun = statement.values(**values, progress=0).returning(Job.kind, Job.attempts)
    return session.execute(begun, execution_options=_UNSYNCHRONIZED).one_or_none()


def advance(session: Session, job_id: UUID, attempt: int, percent: int) -> bool:
    """Say how far an attempt is; whether it is still the one that counts."""
    return _change(session, job_id, attempt, progress=percent)


def finish(session: Session, job_id: UUID, attempt: int, result: str | None) -> bool:
    """The job is done and its result is at `result`, a path of the API; whether the attempt counted."""
    over = {"state": JobState.DONE, "progress": 100, "ended_at": sa.func.clock_timestamp()}
    return _change(session, job_id, attempt, result=result, **over)


def fail(session: Session, job_id: UUID, attempt: int, error: str) -> bool:
    """The job has failed for good; whether the attempt counted."""
    over = {"state": JobState.FAILED, "ended_at": sa.func.clock_timestamp()}
    return _change(session, job_id, attempt, error=error[:LONGEST_ERROR], **over)


def forget(session: Session, job_id: UUID) -> None:
    """Forget a job that is over, before its time."""
    over = sa.delete(Job).where(Job.id == job_id, Job.ended_at.is_not(None))
    session.execute(over, execution_options=_UNSYNCHRONIZED)


def requeue(session: Session, job_id: UUID, attempt: int) -> bool:
    """The attempt was broken off and there is to be another; whether it counted."""
    return _change(session, job_id, attempt, state=JobState.QUEUED, progress=0)


def repeat(session: Session, job_id: UUID, *, is_death: bool = False) -> None:
    """Queue a job that its worker has left, under another id there: should it come back, it has lost the job."""
    kind = session.scalars(sa.select(Job.kind).where(Job.id == job_id)).one()
    values = {"state": JobState.QUEUED, "progress": 0, "deaths": Job.deaths + int(is_death)}
    values["task_id"] = _defer(session, kind, job_id)
    session.execute(sa.update(Job).where(Job.id == job_id).values(values), execution_options=_UNSYNCHRONIZED)


def _change(session: Session, job_id: UUID, attempt: int, **values: Any) -> bool:
    mine = sa.update(Job).where(Job.id == job_id, Job.attempts == attempt, Job.state == JobState.RUNNING)
    changed = session.execute(mine.values(**values), execution_options=_UNSYNCHRONIZED)
    return bool(changed.rowcount)  # type: ignore[attr-defined]
