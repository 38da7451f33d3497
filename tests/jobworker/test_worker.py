"""Jobs on real workers: done once, whatever happens to those who do them."""

from __future__ import annotations

import signal
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec import db
from streamrec.archive.storage import StorageAway
from streamrec.jobworker.work import STORE_ATTEMPTS, Attempts, Work
from streamrec.models import Job, JobKind
from tests.jobworker.conftest import Workers, eventually, job, queued

HEARTBEATS_ARE_LOST = """
    UPDATE procrastinate_workers SET last_heartbeat = now() - interval '61 s';
    CREATE OR REPLACE FUNCTION procrastinate_update_heartbeat_v1(worker_id bigint) RETURNS void LANGUAGE sql
        AS $$ UPDATE procrastinate_workers SET last_heartbeat = last_heartbeat WHERE id = worker_id $$;
"""


def is_at(job_id: UUID, state: str) -> bool:
    return bool(job(job_id).state == state)


def execute(statement: str) -> None:
    with db.Session.begin() as session:
        session.execute(sa.text(statement))


def left_in_queue() -> int:
    with db.Session.begin() as session:
        return int(session.scalar(sa.text("SELECT count(*) FROM procrastinate_jobs")) or 0)


def test_a_job_tells_how_far_it_is_and_where_its_result_is(workers: Workers) -> None:
    job_id = queued()
    workers.start()

    eventually(lambda: job(job_id).progress == 42)
    assert is_at(job_id, "running")
    workers.go()
    eventually(lambda: is_at(job_id, "done"))

    assert job(job_id).result == f"/clip/{job_id}"
    assert job(job_id).progress == 100
    eventually(lambda: left_in_queue() == 0)


def test_a_job_that_breaks_a_rule_fails_with_its_sentence(workers: Workers) -> None:
    job_id = queued(JobKind.EXPORT)
    workers.start()

    eventually(lambda: is_at(job_id, "failed"))

    assert job(job_id).error == "There is nothing to export."


def test_a_job_waits_for_a_store_that_is_away(workers: Workers) -> None:
    """The next attempt is brought forward here, so that nobody has to wait for half a minute."""
    away = workers.folder / "away"
    away.touch()
    job_id = queued()
    workers.start()
    eventually(lambda: len(workers.begun()) == 1 and is_at(job_id, "queued"))

    away.unlink()
    workers.go()
    eventually(lambda: hasten() or is_at(job_id, "done"))

    assert workers.begun() == [f"{job_id} 1", f"{job_id} 2"]


def hasten() -> bool:
    """False, whatever waits for its time."""
    execute("UPDATE procrastinate_jobs SET scheduled_at = now() WHERE status = 'todo' AND scheduled_at > now()")
    return False


def test_a_job_whose_store_stays_away_fails_with_its_sentence(engine: Engine) -> None:
    def task(_work: Work) -> str:
        raise StorageAway("The bucket is away.")

    job_id = queued()
    attempts = Attempts({JobKind.CLIP: task})
    for _ in range(STORE_ATTEMPTS - 1):
        with pytest.raises(StorageAway):
            attempts.perform(job_id, lambda: False)
    attempts.perform(job_id, lambda: False)

    assert (job(job_id).state, job(job_id).error) == ("failed", "The bucket is away.")


def test_a_polite_stop_leaves_the_job_to_the_next_worker(workers: Workers) -> None:
    job_id = queued()
    first = workers.start()
    eventually(lambda: is_at(job_id, "running"))

    first.terminate()
    assert first.wait(30) == 0
    assert is_at(job_id, "queued")
    workers.go()
    workers.start()

    eventually(lambda: is_at(job_id, "done"))
    assert workers.begun() == [f"{job_id} 1", f"{job_id} 2"]


def test_a_stop_waits_for_no_job_that_hangs_and_leaves_it_to_the_next_worker(workers: Workers) -> None:
    hung = workers.folder / "hung"
    hung.touch()
    job_id = queued()
    first = workers.start()
    eventually(lambda: len(workers.begun()) == 1)

    first.terminate()
    assert first.wait(7) == 0
    assert is_at(job_id, "queued")
    assert deaths(job_id) == 0
    hung.unlink()
    workers.go()
    workers.start()

    eventually(lambda: is_at(job_id, "done"))


def deaths(job_id: UUID) -> int | None:
    with db.Session.begin() as session:
        return session.scalar(sa.select(Job.deaths).where(Job.id == job_id))


def test_a_job_of_a_killed_worker_is_taken_up_by_another(workers: Workers) -> None:
    """The dead one's heartbeat is made old here, so that nobody has to wait for half a minute."""
    job_id = queued()
    first = workers.start()
    eventually(lambda: workers.begun() == [f"{job_id} 1"])
    first.kill()
    first.wait()

    execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '31 s'")
    workers.go()
    workers.start()

    eventually(lambda: is_at(job_id, "done"))
    assert workers.begun() == [f"{job_id} 1", f"{job_id} 2"]


@pytest.mark.parametrize(
    "loss", [HEARTBEATS_ARE_LOST, "DELETE FROM procrastinate_workers"], ids=["no heartbeat", "no row"]
)
def test_a_worker_that_lost_its_heartbeat_ends_although_it_is_alive(workers: Workers, loss: str) -> None:
    """As after a long outage: it goes on working, and nobody can tell it from a dead one."""
    job_id = queued()
    first = workers.start()
    eventually(lambda: is_at(job_id, "running"))

    execute(loss)

    assert first.wait(60) == 75
    workers.go()
    workers.start()
    eventually(lambda: is_at(job_id, "done"))


def test_a_worker_that_slept_cannot_end_a_job_that_another_has_taken_over(workers: Workers) -> None:
    job_id = queued()
    first = workers.start()
    eventually(lambda: is_at(job_id, "running"))
    first.send_signal(signal.SIGSTOP)
    execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '31 s'")
    workers.start()
    eventually(lambda: len(workers.begun()) == 2)

    first.send_signal(signal.SIGCONT)
    first.terminate()
    first.wait(30)

    assert is_at(job_id, "running")
    assert job(job_id).attempts == 2
    workers.go()
    eventually(lambda: is_at(job_id, "done"))


def test_jobs_go_on_after_every_connection_was_cut(workers: Workers) -> None:
    job_id = queued()
    workers.start()
    eventually(lambda: is_at(job_id, "running"))

    execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name LIKE 'streamrec-jobs%' AND datname = current_database()"
    )
    workers.go()
    later = queued()

    eventually(lambda: is_at(job_id, "done") and is_at(later, "done"))


def test_a_worker_that_is_told_to_stop_as_it_starts_does(workers: Workers) -> None:
    first = workers.start()
    eventually(is_connected)

    first.terminate()

    assert first.wait(20) in {0, -signal.SIGTERM}


def is_connected() -> bool:
    with db.Session.begin() as session:
        found = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'streamrec-jobs%'"
        return bool(session.scalar(sa.text(f"{found} AND datname = current_database()")))
