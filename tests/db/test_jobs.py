"""Jobs as rows: they come with their transaction, attempts have numbers, and nothing is lost between tables."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from streamrec import jobs
from streamrec.errors import NotFound
from streamrec.jobworker import sweeper
from streamrec.jobworker.watchdog import LOOKS, Verdict
from streamrec.models import Job, JobKind


def in_queue(session: Session, job_id: UUID) -> str | None:
    """The queue's word for a job, or None if it does not hold it."""
    found = sa.text("SELECT status::text FROM procrastinate_jobs WHERE args->>'job_id' = :id")
    return session.scalar(found, {"id": str(job_id)})


def taken(session: Session, job_id: UUID, *, seconds_ago: float | None = 0.0) -> None:
    """A worker has taken a job; its last heartbeat is so old, or it is gone."""
    heartbeat = sa.text("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - :age) RETURNING id")
    worker = session.scalar(heartbeat, {"age": timedelta(seconds=seconds_ago or 0)})
    take = sa.text("UPDATE procrastinate_jobs SET status = 'doing', worker_id = :w WHERE args->>'job_id' = :id")
    session.execute(take, {"w": None if seconds_ago is None else worker, "id": str(job_id)})


def test_a_job_and_its_place_in_the_queue_come_and_go_together(session: Session) -> None:
    with session.begin_nested() as inner:
        job_id = jobs.create(session, JobKind.CLIP)
        assert in_queue(session, job_id) == "todo"
        inner.rollback()

    assert in_queue(session, job_id) is None
    with pytest.raises(NotFound):
        jobs.get(session, job_id)


def test_only_the_last_attempt_may_end_a_job(session: Session) -> None:
    job_id = jobs.create(session, JobKind.CLIP)
    jobs.begin(session, job_id)
    jobs.begin(session, job_id)

    assert not jobs.finish(session, job_id, 1, "/of/the/first")
    assert not jobs.fail(session, job_id, 1, "of the first")
    assert jobs.finish(session, job_id, 2, "/of/the/second")
    assert jobs.get(session, job_id).result == "/of/the/second"


def test_a_job_that_is_over_does_not_begin_again(session: Session) -> None:
    job_id = jobs.create(session, JobKind.CLIP)
    jobs.begin(session, job_id)
    jobs.finish(session, job_id, 1, None)

    assert jobs.begin(session, job_id) is None


@pytest.mark.parametrize("seconds_ago", [31.0, None])
def test_a_job_of_a_dead_worker_is_queued_again(session: Session, seconds_ago: float | None) -> None:
    job_id = jobs.create(session, JobKind.CLIP)
    jobs.begin(session, job_id)
    taken(session, job_id, seconds_ago=seconds_ago)

    assert sweeper.sweep(session) == 1

    assert in_queue(session, job_id) == "todo"
    assert jobs.get(session, job_id).state == "queued"


def test_a_job_of_a_living_worker_is_left_alone(session: Session) -> None:
    job_id = jobs.create(session, JobKind.CLIP)
    jobs.begin(session, job_id)
    taken(session, job_id, seconds_ago=5)

    assert sweeper.sweep(session) == 0
    assert in_queue(session, job_id) == "doing"


def test_a_job_that_its_living_worker_does_not_do_is_queued_again(session: Session) -> None:
    job_id = jobs.create(session, JobKind.CLIP)
    jobs.begin(session, job_id)
    taken(session, job_id)
    task_id = session.scalar(sa.select(Job.task_id).where(Job.id == job_id))

    sweeper.sweep(session, dropped=[task_id or 0])

    assert in_queue(session, job_id) == "todo"


def test_a_job_that_kills_its_workers_is_given_up(session: Session) -> None:
    job_id = jobs.create(session, JobKind.CLIP)
    for _ in range(sweeper.MOST_DEATHS):
        jobs.begin(session, job_id)
        taken(session, job_id, seconds_ago=31)
        sweeper.sweep(session)

    assert in_queue(session, job_id) is None
    assert jobs.get(session, job_id).state == "failed"


def broken_off(session: Session, job_id: UUID, times: int) -> None:
    """So many attempts ended in order: the store was away, or their worker was to stop."""
    for _ in range(times):
        begun = jobs.begin(session, job_id)
        assert begun is not None
        jobs.requeue(session, job_id, begun.attempts)


def test_attempts_that_ended_in_order_do_not_count_when_a_worker_dies(session: Session) -> None:
    job_id = jobs.create(session, JobKind.CLIP)
    broken_off(session, job_id, sweeper.MOST_DEATHS)
    for _ in range(sweeper.MOST_DEATHS - 1):
        jobs.begin(session, job_id)
        taken(session, job_id, seconds_ago=31)
        sweeper.sweep(session)

    assert jobs.get(session, job_id).state == "queued"


def test_a_worker_that_dies_before_or_after_an_attempt_is_no_death_of_the_job(session: Session) -> None:
    job_id = jobs.create(session, JobKind.CLIP)
    for _ in range(sweeper.MOST_DEATHS):
        broken_off(session, job_id, 1)
        taken(session, job_id, seconds_ago=31)
        sweeper.sweep(session)

    assert jobs.get(session, job_id).state == "queued"


def test_a_job_that_its_living_worker_does_not_do_is_not_given_up(session: Session) -> None:
    job_id = jobs.create(session, JobKind.CLIP)
    for _ in range(sweeper.MOST_DEATHS):
        jobs.begin(session, job_id)
        taken(session, job_id)
        task_id = session.scalar(sa.select(Job.task_id).where(Job.id == job_id))
        sweeper.sweep(session, dropped=[task_id or 0])

    assert jobs.get(session, job_id).state == "queued"


def test_a_job_that_its_worker_gives_back_is_queued_again_without_a_death(session: Session) -> None:
    job_id = jobs.create(session, JobKind.CLIP)
    jobs.begin(session, job_id)
    taken(session, job_id)
    worker_id = session.scalar(sa.text("SELECT worker_id FROM procrastinate_jobs")) or 0

    assert sweeper.give_back(session, worker_id) == 1

    assert in_queue(session, job_id) == "todo"
    assert session.scalars(sa.select(Job.deaths)).one() == 0
    assert sweeper.held_by(session, worker_id) == {}


def test_a_job_that_is_over_leaves_the_queue(session: Session) -> None:
    """Its worker died between the two."""
    job_id = jobs.create(session, JobKind.CLIP)
    jobs.begin(session, job_id)
    taken(session, job_id, seconds_ago=31)
    jobs.finish(session, job_id, 1, "/clip/1")

    sweeper.sweep(session)

    assert in_queue(session, job_id) is None
    assert jobs.get(session, job_id).state == "done"


def test_a_job_that_the_queue_has_lost_fails(session: Session) -> None:
    job_id = jobs.create(session, JobKind.CLIP)
    session.execute(sa.text("DELETE FROM procrastinate_jobs"))

    assert sweeper.sweep(session) == 1

    assert jobs.get(session, job_id).error == "It was lost from the queue."


def test_ended_jobs_are_forgotten_after_a_while(session: Session) -> None:
    job_id = jobs.create(session, JobKind.CLIP)
    jobs.begin(session, job_id)
    jobs.finish(session, job_id, 1, None)
    session.execute(sa.update(Job).values(ended_at=sa.func.now() - timedelta(days=8)))

    sweeper.sweep(session, keep=timedelta(days=7))

    with pytest.raises(NotFound):
        jobs.get(session, job_id)


def test_an_unknown_job_is_not_found(session: Session) -> None:
    with pytest.raises(NotFound):
        jobs.get(session, uuid4())


def test_only_looks_in_a_row_without_a_heartbeat_are_a_verdict() -> None:
    verdict = Verdict()

    assert [verdict.look(age) for age in (61, 61, 61, 1)] == [None] * 4
    assert [verdict.look(None) for _ in range(LOOKS - 1)] == [None] * (LOOKS - 1)
    assert verdict.look(None) == "the database does not know it any more"


def test_a_worker_gets_time_to_show_itself_after_an_outage() -> None:
    verdict = Verdict()
    for _ in range(LOOKS - 1):
        verdict.look(61)
    verdict.blind()

    assert verdict.look(500) is None
