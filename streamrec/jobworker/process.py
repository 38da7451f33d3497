"""The job worker's process: sets everything up, does jobs until a stop signal, and ends itself when it is sick."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Final, NoReturn
from uuid import UUID

import procrastinate
import structlog
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import DeleteJobCondition, Job
from procrastinate.retry import BaseRetryStrategy, RetryDecision
from procrastinate.worker import Worker
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from streamrec import __version__, db, jobs, logs
from streamrec.archive.storage import StorageAway
from streamrec.errors import DatabaseAway
from streamrec.jobworker import sweeper, tasks, watchdog
from streamrec.jobworker.work import STORE_SECONDS, Attempts, Interrupted, Task
from streamrec.models import JobKind
from streamrec.recorder.steward import TICK_SECONDS, Steward
from streamrec.settings import Settings

log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS: Final = 5.0
POLL_SECONDS: Final = 2.0  # a notification makes it quicker
LOOK_SECONDS: Final = 2.0
SPARE_THREADS: Final = 4  # for looking up host names
TIDY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 2.5
LEAVE_SECONDS: Final = 2.7  # what hangs in a store cannot be broken off, and is not waited for
EX_TEMPFAIL: Final = 75  # sysexits.h: whoever started us may try again


def run(settings: Settings, known: Mapping[JobKind, Task] | None = None) -> None:
    """Do jobs until SIGTERM or SIGINT; what is not done by then is queued again.

    `known` says what does which kind of job; without it, those of this service.
    """
    logs.configure(settings, "jobs")
    log.info("job worker starting", version=__version__, slots=settings.job_slots)
    engine = db.connect(settings, application="streamrec-jobs")
    try:
        attempts = Attempts(tasks.of(settings) if known is None else known)
        process = _Process(settings, attempts)
        try:
            asyncio.run(process.run())
        finally:
            process.close()
    finally:
        engine.dispose()
    log.info("job worker stopped")


class _Process:
    def __init__(self, settings: Settings, attempts: Attempts) -> None:
        self._settings = settings
        self._attempts = attempts
        self._worker: Worker | None = None
        self._stopping = asyncio.Event()
        self._late = threading.Timer(LEAVE_SECONDS, self._leave)
        self._late.daemon = True

    async def run(self) -> None:
        """Work until told to stop; a worker that ends by itself, for lack of a database, ends the process."""
        loop = asyncio.get_running_loop()
        # A job that is fetched begins at once: the sweeper takes one that does not for lost.
        threads = ThreadPoolExecutor(self._settings.job_slots + SPARE_THREADS, thread_name_prefix="job")
        loop.set_default_executor(threads)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        try:
            await self._work()
        except ConnectorException as exc:
            log.warning("the database does not answer", error=str(exc.__cause__ or exc))
        if not self._stopping.is_set():
            _end("it lost the database")

    def _stop(self) -> None:
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._late.start()
        if self._worker is not None:
            self._worker.stop()

    def _leave(self) -> None:
        """In a thread of its own: give back what is still under way, and end without it."""
        worker_id = None if self._worker is None else self._worker.worker_id
        try:
            if worker_id is not None:
                _give_back(self._settings, worker_id)
        finally:
            os._exit(0)

    def close(self) -> None:
        """It has ended in time."""
        self._late.cancel()

    async def _work(self) -> None:
        app = procrastinate.App(connector=_connector(self._settings))
        for kind in JobKind:
            app.task(name=kind.value, queue=jobs.QUEUE, pass_context=True, retry=_Again())(self._perform)
        async with app.open_async():
            self._worker = Worker(
                app,
                queues=[jobs.QUEUE],
                name="jobs",
                concurrency=self._settings.job_slots,
                fetch_job_polling_interval=POLL_SECONDS,
                abort_job_polling_interval=POLL_SECONDS,
                shutdown_graceful_timeout=STOP_SECONDS,
                delete_jobs=DeleteJobCondition.ALWAYS,
                install_signal_handlers=False,
                update_heartbeat_interval=HEARTBEAT_SECONDS,
                stalled_worker_timeout=10 * sweeper.DEAD_SECONDS,
            )
            with _minded(self._settings, self._worker, self._attempts):
                if not self._stopping.is_set():  # its run() forgets a stop that came before
                    await self._worker.run()

    def _perform(self, context: procrastinate.JobContext, job_id: str) -> None:
        """In a thread of the loop's executor."""
        self._attempts.perform(UUID(job_id), lambda: self._stopping.is_set() or context.should_abort())


class _Again(BaseRetryStrategy):
    """Another attempt follows where the last was broken off for reasons that are not the job's."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(exception, Interrupted):
            return RetryDecision(retry_in={"seconds": 0})
        if isinstance(exception, StorageAway):
            return RetryDecision(retry_in={"seconds": STORE_SECONDS})
        return RetryDecision(retry_in={"seconds": 5}) if isinstance(exception, DatabaseAway) else None


def _connector(settings: Settings) -> procrastinate.PsycopgConnector:
    return procrastinate.PsycopgConnector(
        conninfo=db.conninfo(settings),
        kwargs=db.patience(settings, application="streamrec-jobs"),
        min_size=1,
        max_size=4,
        timeout=10.0,
    )


def _end(reason: str) -> NoReturn:
    """At once: what hangs could hang for ever, and children have lifelines."""
    log.error("the job worker ends, to be started anew", reason=reason)
    os._exit(EX_TEMPFAIL)


def _give_back(settings: Settings, worker_id: int) -> None:
    engine = db.engine_for(settings, application="streamrec-jobs-leaving", poolclass=NullPool)
    try:
        with db.away_as_unavailable(), Session(engine) as session, session.begin():
            count = sweeper.give_back(session, worker_id)
        log.warning("the job worker ends without its threads; their jobs are queued again", jobs=count)
    except DatabaseAway as exc:
        log.warning("jobs could not be given back; the next worker takes them up", error=exc.detail)


# --- the mind --------------------------------------------------------------------------------------------


@contextmanager
def _minded(settings: Settings, worker: Worker, attempts: Attempts) -> Iterator[None]:
    """A thread of its own judges the worker and sweeps, because a loop that hangs cannot judge itself."""
    leaving = threading.Event()
    engine = db.engine_for(settings, application="streamrec-jobs-watchdog", poolclass=NullPool)
    mind = _Mind(engine, timedelta(days=settings.job_days), worker, attempts)
    thread = threading.Thread(target=mind.run, args=(leaving,), name="watchdog", daemon=True)
    thread.start()
    threading.Thread(target=_tidy, args=(settings, leaving), name="tidying", daemon=True).start()
    threading.Thread(target=_keep_up, args=(settings, leaving), name="upkeep", daemon=True).start()
    try:
        yield
    finally:
        leaving.set()
        engine.dispose()


def _tidy(settings: Settings, leaving: threading.Event) -> None:
    while not leaving.wait(TIDY_SECONDS):
        try:
            with db.away_as_unavailable():
                tasks.tidy(settings)
        except (DatabaseAway, OSError) as exc:
            log.warning("clips could not be tidied", error=str(exc))
        except Exception:
            log.exception("clips could not be tidied")


def _keep_up(settings: Settings, leaving: threading.Event) -> None:
    """Each duty after the other; an upload that the end of the process breaks off is begun anew by the next."""
    duties = tasks.duties(settings)
    steward = Steward(duties, lock=settings.run_dir / "handover.lock", may_work=lambda: True)
    with closing(steward):
        while not leaving.wait(TICK_SECONDS):
            for duty in duties:
                if steward.is_due(duty):
                    steward.attempt(duty)


class _Mind:
    def __init__(self, engine: Engine, keep: timedelta, worker: Worker, attempts: Attempts) -> None:
        self._engine = engine
        self._keep = keep
        self._worker = worker
        self._attempts = attempts
        self._verdict = watchdog.Verdict()
        self._idle: dict[int, int] = {}  # looks at which a job was ours by the queue and not by what we do

    def run(self, leaving: threading.Event) -> None:
        while not leaving.wait(LOOK_SECONDS):
            try:
                with db.away_as_unavailable(), Session(self._engine) as session, session.begin():
                    self._look(session)
            except DatabaseAway:
                self._verdict.blind()
            except Exception:
                log.exception("the sweeper failed")

    def _look(self, session: Session) -> None:
        worker_id = self._worker.worker_id
        if worker_id is None:
            return
        fault = self._verdict.look(watchdog.heartbeat_age(session, worker_id))
        if fault is not None:
            _end(fault)
        sweeper.sweep(session, dropped=self._dropped(session, worker_id), keep=self._keep)

    def _dropped(self, session: Session, worker_id: int) -> list[int]:
        """Jobs that are ours in the queue and that we have not done for three looks: their end was lost."""
        running = {str(job_id) for job_id in self._attempts.running}
        held = sweeper.held_by(session, worker_id)
        idle = [task for task, job_id in held.items() if job_id not in running]
        self._idle = {task: self._idle.get(task, 0) + 1 for task in idle}
        return [task for task, looks in self._idle.items() if looks >= 3]
