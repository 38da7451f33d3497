"""What procrastinate leaves lying: jobs of workers that died, jobs that nobody knows of, and jobs of long ago.

Each sweep is one short transaction. Any number of workers may sweep; one at a time does.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from streamrec import jobs
from streamrec.models import Clip, Job, JobState

log = structlog.get_logger(__name__)

MOST_DEATHS: Final = 3  # of workers that were at one job
DEAD_SECONDS: Final = 30.0  # without a heartbeat
FORGET_AT_ONCE: Final = 500
_LOCK: Final = 0x73776570  # "swep"
_BROKEN_OFF: Final = f"{MOST_DEATHS} times the worker that did it ended before it was done."
_LOST: Final = "It was lost from the queue."

_STALLED = sa.text(
    """
    SELECT t.id AS task_id, j.id AS job_id, j.state, j.deaths,
           (w.id IS NULL OR w.last_heartbeat < clock_timestamp() - :dead) AND j.state = 'running' AS is_death
    FROM procrastinate_jobs t
    LEFT JOIN procrastinate_workers w ON w.id = t.worker_id
    LEFT JOIN job j ON j.id = (t.args->>'job_id')::uuid
    WHERE t.status = 'doing'
      AND (w.id IS NULL OR w.last_heartbeat < clock_timestamp() - :dead OR t.id = ANY(:dropped))
    FOR UPDATE OF t SKIP LOCKED
    """
).bindparams(sa.bindparam("dead", type_=sa.Interval()), sa.bindparam("dropped", type_=sa.ARRAY(sa.BigInteger)))
_HELD = sa.text(
    """
    SELECT t.id AS task_id, j.id AS job_id, j.state, j.deaths, false AS is_death
    FROM procrastinate_jobs t
    LEFT JOIN job j ON j.id = (t.args->>'job_id')::uuid
    WHERE t.status = 'doing' AND t.worker_id = :id
    FOR UPDATE OF t
    """
)
_UNREGISTER = sa.text("SELECT procrastinate_unregister_worker_v1(:id)")
_OVER = sa.text("SELECT procrastinate_finish_job_v1(:task_id, 'failed', true)")
_ORPHANS = sa.text(
    """
    UPDATE job SET state = 'failed', error = :error, ended_at = clock_timestamp()
    WHERE ended_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM procrastinate_jobs t WHERE t.id = job.task_id AND t.status IN ('todo', 'doing'))
    """
)
_SPENT = sa.text("DELETE FROM procrastinate_jobs WHERE status NOT IN ('todo', 'doing')")
_DEAD_WORKERS = sa.text("DELETE FROM procrastinate_workers WHERE last_heartbeat < clock_timestamp() - :age")
_OWN = sa.text(
    "SELECT id, args->>'job_id' AS job_id FROM procrastinate_jobs WHERE status = 'doing' AND worker_id = :id"
)


def held_by(session: Session, worker_id: int) -> dict[int, str]:
    """The queue's jobs that a worker is said to be doing, with our ids of them."""
    return {row.id: row.job_id for row in session.execute(_OWN, {"id": worker_id})}


def sweep(session: Session, *, dropped: Collection[int] = (), keep: timedelta = timedelta(days=7)) -> int:
    """Bring queue and rows together; how many jobs were taken up again or given up.

    `dropped` are jobs of the queue that their living worker does not do. Ended jobs are kept for `keep`.
    """
    if not session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_LOCK))):
        return 0
    bounds = {"dead": timedelta(seconds=DEAD_SECONDS), "dropped": list(dropped)}
    stalled = session.execute(_STALLED, bounds).all()
    for row in stalled:
        _take_up(session, row)
    lost = session.execute(_ORPHANS, {"error": _LOST}).rowcount  # type: ignore[attr-defined]
    session.execute(_SPENT)
    session.execute(_DEAD_WORKERS, {"age": timedelta(seconds=10 * DEAD_SECONDS)})
    _forget(session, keep)
    return len(stalled) + int(lost)


def give_back(session: Session, worker_id: int) -> int:
    """Queue again whatever a worker that ends now is still at, which is no death; how many jobs."""
    held = session.execute(_HELD, {"id": worker_id}).all()
    for row in held:
        _take_up(session, row)
    session.execute(_UNREGISTER, {"id": worker_id})
    return len(held)


def _take_up(session: Session, row: sa.Row[tuple[object, ...]]) -> None:
    """Queue a job that its worker has left again, unless it is over or too many workers died of it."""
    session.execute(_OVER, {"task_id": row.task_id})
    if row.job_id is None or row.state in jobs.FINAL:
        return
    if row.deaths + row.is_death < MOST_DEATHS:
        log.warning("a job of a worker that is gone is taken up again", job_id=str(row.job_id))
        jobs.repeat(session, row.job_id, is_death=row.is_death)
        return
    log.error("a job was given up", job_id=str(row.job_id), deaths=MOST_DEATHS)
    over = {"state": JobState.FAILED, "error": _BROKEN_OFF, "deaths": MOST_DEATHS}
    given_up = sa.update(Job).where(Job.id == row.job_id).values(**over, ended_at=sa.func.clock_timestamp())
    session.execute(given_up)


def _forget(session: Session, keep: timedelta) -> None:
    """Those that made a clip are kept as long as it is."""
    is_spent = ~sa.exists().where(Clip.job_id == Job.id)
    old = sa.select(Job.id).where(Job.ended_at < sa.func.now() - keep, is_spent).limit(FORGET_AT_ONCE)
    session.execute(sa.delete(Job).where(Job.id.in_(old)), execution_options={"synchronize_session": False})
