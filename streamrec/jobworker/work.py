"""One attempt at a job: it begins, says how far it is, and ends in a row, whatever the database does meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from streamrec import db, jobs
from streamrec.archive.storage import StorageAway
from streamrec.errors import DatabaseAway, StreamrecError
from streamrec.models import JobKind

log = structlog.get_logger(__name__)

PROGRESS_SECONDS: Final = 0.5
RETRY_SECONDS: Final = (0.2, 0.5, 1.0, 2.0)
PATIENCE_SECONDS: Final = 300.0  # for a database that is away when a job has ended
STORE_ATTEMPTS: Final = 120  # at a job whose recordings lie in a store that is away
STORE_SECONDS: Final = 30  # between two of them: an hour and more in all
UNEXPECTED: Final = "Something went wrong here; the log has the details."


class Interrupted(Exception):
    """The worker stops; another attempt goes on with the job."""


class Superseded(Exception):
    """Another attempt has taken the job over; this one's work is worth nothing."""


class Work:
    """What a task is given: its job, and whom to tell how far it is."""

    def __init__(self, job_id: UUID, attempt: int, should_stop: Callable[[], bool]) -> None:
        self.job_id = job_id
        self.attempt = attempt
        self.should_stop = should_stop
        self._told = (0, time.monotonic())

    def check(self) -> None:
        """Raises Interrupted if the worker is to stop; to be called several times a second."""
        if self.should_stop():
            raise Interrupted

    def progress(self, fraction: float) -> None:
        """Tell how far the work is, 0-1, at most twice a second; a database that is away misses it.

        Raises:
            Interrupted, Superseded.
        """
        self.check()
        percent, told_at = min(99, int(fraction * 100)), self._told[1]
        if percent <= self._told[0] or time.monotonic() - told_at < PROGRESS_SECONDS:
            return
        self._told = (percent, time.monotonic())
        try:
            with db.away_as_unavailable(), db.Session.begin() as session:
                if not jobs.advance(session, self.job_id, self.attempt, percent):
                    raise Superseded
        except DatabaseAway:
            log.debug("the database missed a job's progress")


Task = Callable[[Work], str | None]
"""Does a job and returns the path of its result. It may be done again, in whole, at any time."""


class Attempts:
    """The attempts of this process; `running` are those under way."""

    def __init__(self, tasks: Mapping[JobKind, Task]) -> None:
        self._tasks = tasks
        self._running: set[UUID] = set()
        self._lock = threading.Lock()

    @property
    def running(self) -> frozenset[UUID]:
        """The jobs that this process has its hands on."""
        with self._lock:
            return frozenset(self._running)

    def perform(self, job_id: UUID, should_stop: Callable[[], bool]) -> None:
        """Do a job, unless it is over already.

        Raises:
            DatabaseAway, StorageAway, Interrupted: it is to be done again.
        """
        with self._held(job_id), structlog.contextvars.bound_contextvars(job_id=str(job_id)):
            with db.away_as_unavailable(), db.Session.begin() as session:
                begun = jobs.begin(session, job_id)
            if begun is not None:
                self._attempt(begun.kind, Work(job_id, begun.attempts, should_stop))

    def _attempt(self, kind: JobKind, work: Work) -> None:
        try:
            result = self._tasks[kind](work)
        except Superseded:
            log.warning("another attempt has taken the job over", attempt=work.attempt)
        except (Interrupted, DatabaseAway):
            _patiently(work, lambda session: jobs.requeue(session, work.job_id, work.attempt))
            raise
        except StorageAway as exc:
            self._put_off(work, exc)
        except StreamrecError as exc:
            log.info("job failed", kind=kind, reason=exc.detail)
            detail = exc.detail
            _patiently(work, lambda session: jobs.fail(session, work.job_id, work.attempt, detail))
        except Exception:  # the edge: a task that is broken must not stop the others
            log.exception("job failed unexpectedly", kind=kind)
            _patiently(work, lambda session: jobs.fail(session, work.job_id, work.attempt, UNEXPECTED))
        else:
            _patiently(work, lambda session: jobs.finish(session, work.job_id, work.attempt, result))
            log.info("job done", kind=kind, result=result)

    def _put_off(self, work: Work, away: StorageAway) -> None:
        """Have it done again, unless the store has been away for long. Raises StorageAway."""
        if work.attempt >= STORE_ATTEMPTS:
            _patiently(work, lambda session: jobs.fail(session, work.job_id, work.attempt, away.detail))
            return
        log.warning("job waits for the store", reason=away.detail, attempt=work.attempt)
        _patiently(work, lambda session: jobs.requeue(session, work.job_id, work.attempt))
        raise away

    @contextmanager
    def _held(self, job_id: UUID) -> Iterator[None]:
        with self._lock:
            self._running.add(job_id)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(job_id)


def _patiently(work: Work, change: Callable[[Session], bool]) -> None:
    """Write how an attempt ended, once the database takes it.

    Raises:
        DatabaseAway: it did not, for PATIENCE_SECONDS or until the worker was to stop; the sweeper sees to it.
    """
    deadline, tries = time.monotonic() + PATIENCE_SECONDS, 0
    while True:
        try:
            with db.away_as_unavailable(), db.Session.begin() as session:
                change(session)
            return
        except DatabaseAway:
            if time.monotonic() > deadline or (work.should_stop() and tries >= len(RETRY_SECONDS)):
                raise
            time.sleep(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
            tries += 1
