"""How the service is: live, ready, and what each recorder does; told at once even if the database hangs."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Engine, Row
from sqlalchemy.exc import SQLAlchemyError

from streamrec import canary, captures, db, jobs, roots, schema, sealing
from streamrec.archive import places
from streamrec.archive.places import Reading
from streamrec.archive.room import Room
from streamrec.archive.storage import StorageAway
from streamrec.clock import now
from streamrec.errors import DatabaseAway
from streamrec.models import Assignment, Capture, Recorder, RecordingFault
from streamrec.settings import Settings

FRESH_SECONDS = 1.0  # a report younger than this is given again
STALE_SECONDS = 4.0  # one older than this says nothing any more
WAIT_SECONDS = 0.03  # how long a request waits for a newer one
LONGEST_WAIT_SECONDS = 1.0  # where no older one says anything: just after the start, or when nobody asked for long
PROBE_TIMEOUT_SECONDS = 1.0
BUCKET_SECONDS = 15.0  # between two looks at the bucket
AWAY_BUCKET_SECONDS = 5.0  # the same while it is away: clients are refused until it is seen again
BUCKET_STALE_SECONDS = 60.0  # what was seen so long ago says nothing any more
LOST_FOR = sa.text("interval '1 hour'")  # a recorder that fell silent is listed as long as this

wanted_schema = cache(schema.wanted)


@dataclass(frozen=True)
class Check:
    """One thing that must be so before requests can be served."""

    name: str
    is_ok: bool
    detail: str


@dataclass(frozen=True)
class RecorderState:
    """A recorder, what it holds, and its captures by state."""

    id: UUID
    host: str
    is_alive: bool
    heartbeat_age_seconds: float
    version: str
    ffmpeg: str | None
    captures: Mapping[str, int] = field(default_factory=dict)
    is_leaving: bool = False
    capacity: int = 500
    channels: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    storage_fault: str | None = None
    room: Room | None = None  # on its archive's disk


@dataclass(frozen=True)
class Report:
    """What was found at one moment."""

    checks: list[Check]
    recorders: list[RecorderState] = field(default_factory=list)
    archive_faults: int = 0  # recordings whose bytes are not what their rows say
    canary: Check | None = None  # whether what streamrec records of itself is what it sent, if it does
    jobs: Check | None = None  # whether a job worker is there for what waits
    sealing: Check | None = None  # whether the days that are over are sealed
    room: Check | None = None  # whether there is enough room where recorders write
    bucket: Check | None = None  # whether the bucket answers and is ours, if there is one

    @property
    def is_ready(self) -> bool:
        return all(check.is_ok for check in self.checks)

    @property
    def status(self) -> str:
        """`ok`; `down` when not ready; `degraded` if who records or works, or what is recorded, is not right."""
        if not self.is_ready:
            return "down"
        alive = [recorder for recorder in self.recorders if recorder.is_alive]
        can_write = not any(recorder.storage_fault for recorder in alive)
        others = (self.canary, self.jobs, self.sealing, self.room, self.bucket)
        are_ok = all(check is None or check.is_ok for check in others)
        is_whole = alive and can_write and are_ok and not self.archive_faults
        return "ok" if is_whole else "degraded"


AWAY = Report([Check("database", is_ok=False, detail="does not answer")])


def probe(engine: Engine, settings: Settings, *, ttl_seconds: float) -> Report:
    """Ask the database; `ttl_seconds` is the age at which a heartbeat means death."""
    try:
        found, wanted = schema.current(engine), wanted_schema()
        if found != wanted:
            is_schema = Check(
                "schema", is_ok=False, detail=f"is {found}, {wanted} is needed; run ./run.sh upgrade"
            )
            return Report([Check("database", is_ok=True, detail="answers"), is_schema])
        with db.away_as_unavailable(), engine.connect() as connection:
            rows = connection.execute(_recorders()).all()
            faults = connection.scalar(sa.select(sa.func.count()).select_from(RecordingFault)) or 0
            queue = jobs.State(*connection.execute(jobs.STATE).one())
            sealed = sealing.state(connection, settings)
            bird = canary.state(connection.execute(canary.state_query()).one_or_none(), now())
    except DatabaseAway:
        return AWAY
    checks = [Check("database", is_ok=True, detail="answers"), Check("schema", is_ok=True, detail="current")]
    proof = Check("canary", bird.is_ok, bird.detail) if bird is not None else None
    recorders = [_recorder(row, ttl_seconds) for row in rows]
    return Report(
        checks,
        recorders,
        archive_faults=faults,
        canary=proof,
        jobs=Check("jobs", queue.is_ok, queue.detail),
        sealing=Check("sealing", sealed.is_ok, sealed.detail),
        room=_room(recorders, settings.disk_low_percent),
    )


def _room(recorders: Sequence[RecorderState], low_percent: float) -> Check | None:
    """Whether the fullest disk of those that are written has room; None where no living recorder knows."""
    known = [(each.room, each.host) for each in recorders if each.is_alive and each.room is not None]
    if not known:
        return None
    left, host = min(known, key=lambda each: each[0].free_percent)
    is_ok = left.free_percent >= low_percent
    detail = f"{left} of the archive's disk are free at {host}."
    return Check("room", is_ok, detail if is_ok else f"{detail} Below {low_percent:g} % uploads are refused.")


def _recorders() -> sa.Select[tuple[Recorder, float, dict[str, int]]]:
    counts = (
        sa.select(Capture.recorder_id, Capture.state, sa.func.count().label("count"))
        .group_by(Capture.recorder_id, Capture.state)
        .subquery()
    )
    captures = (
        sa.select(sa.func.json_object_agg(counts.c.state, counts.c.count))
        .where(counts.c.recorder_id == Recorder.id)
        .scalar_subquery()
    )
    held = sa.select(sa.func.count()).where(Assignment.recorder_id == Recorder.id).scalar_subquery()
    clock = sa.func.clock_timestamp()
    return (
        sa.select(
            Recorder.id,
            Recorder.host,
            Recorder.version,
            Recorder.ffmpeg,
            *(
                Recorder.storage_fault,
                Recorder.free_bytes,
                Recorder.disk_bytes,
                Recorder.is_leaving,
                Recorder.capacity,
                Recorder.labels,
                held.label("channels"),
            ),
            sa.extract("epoch", clock - Recorder.heartbeat_at).label("age"),
            captures.label("captures"),
        )
        .where(Recorder.stopped_at.is_(None), Recorder.heartbeat_at > clock - LOST_FOR)
        .order_by(Recorder.heartbeat_at.desc())
        .limit(1000)
    )


def _recorder(row: Row[Any], ttl_seconds: float) -> RecorderState:
    age = max(0.0, float(row.age))
    return RecorderState(
        id=row.id,
        host=row.host,
        is_alive=age <= ttl_seconds,
        heartbeat_age_seconds=round(age, 3),
        version=row.version,
        ffmpeg=row.ffmpeg,
        captures=row.captures or {},
        is_leaving=row.is_leaving,
        capacity=row.capacity,
        channels=row.channels,
        labels=row.labels,
        storage_fault=row.storage_fault,
        room=None if row.disk_bytes is None else Room(row.free_bytes, row.disk_bytes),
    )


class BucketWatch:
    """Looks at the bucket now and then, in a thread that nobody waits for: a look may take some seconds."""

    def __init__(self, settings: Settings, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._reading = Reading(settings, opened=places.hasty_bucket)
        self._monotonic = monotonic
        self._seen: Check | None = None
        self._at = monotonic()
        self._over = threading.Event()
        self._is_named = settings.s3_bucket is not None

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._run, name="bucket", daemon=True).start()

    @property
    def found(self) -> Check | None:
        """What was seen last; None before the first look, and where there is no bucket and none is missed."""
        if self._is_named and self._is_stale():
            return Check("bucket", is_ok=False, detail="could not be looked at for a minute")
        return self._seen

    def trouble(self) -> str | None:
        """Why it would be in vain to ask the bucket; None if nothing speaks against it."""
        if self._seen is None or self._seen.is_ok or self._is_stale():
            return None
        return self._seen.detail

    def close(self) -> None:
        """Look no more."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.is_set():
            self.look()
            self._over.wait(AWAY_BUCKET_SECONDS if self.trouble() else BUCKET_SECONDS)

    def look(self) -> None:
        """Look now; how it is, is in `found` then."""
        try:
            seen = self._named() if self._is_named else _unnamed()
        except SQLAlchemyError:
            return  # what the bucket should say is not known; the database's own check tells
        self._seen, self._at = seen, self._monotonic()

    def _named(self) -> Check:
        try:
            roots.require_bucket(self._reading)
        except StorageAway as exc:
            return Check("bucket", is_ok=False, detail=exc.detail)
        return Check("bucket", is_ok=True, detail="answers")

    def _is_stale(self) -> bool:
        return self._monotonic() - self._at > BUCKET_STALE_SECONDS


def _unnamed() -> Check | None:
    """What the bucket's check says where the settings name no bucket."""
    missed = roots.missed_in_bucket()
    if not missed:
        return None
    detail = f"The settings name none (s3_bucket), and there are things in it: {', '.join(missed)}."
    return Check("bucket", is_ok=False, detail=detail)


class Watch:
    """Keeps the last report, and asks for a newer one in a thread and over a connection of its own.

    The pool and the threads that requests use may all be waiting for a hanging database.
    """

    def __init__(self, settings: Settings, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        hasty = settings.model_copy(update={"db_timeout_seconds": PROBE_TIMEOUT_SECONDS})
        self._engine = db.engine_for(hasty, application="streamrec-health", pool_size=1, max_overflow=0)
        self._ttl_seconds = captures.RECORDER_TTL.total_seconds()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="health")
        self._report: Report | None = None
        self._monotonic = monotonic
        self._at = -math.inf
        self._asked_at = 0.0
        self._asked: Future[None] | None = None
        self._settings = settings
        self.bucket = BucketWatch(settings)
        self.bucket.start()

    async def report(self) -> Report:
        """The state of at most a few seconds ago, within about 50 ms; within 1 s if nobody asked for as long."""
        if self._age() > FRESH_SECONDS:
            answer = asyncio.wrap_future(self.refresh())
            left = self._asked_at + LONGEST_WAIT_SECONDS - self._monotonic() if self._is_stale() else 0.0
            await asyncio.wait([answer], timeout=max(left, WAIT_SECONDS))
        if self._report is None or self._is_stale():
            return AWAY
        return replace(self._report, bucket=self.bucket.found)

    def refresh(self) -> Future[None]:
        """Ask, unless that is being done already."""
        if self._asked is None or self._asked.done():
            self._asked_at = self._monotonic()
            self._asked = self._thread.submit(self._ask)
        return self._asked

    def close(self) -> None:
        """Let the thread end after what it is doing."""
        self.bucket.close()
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    def _is_stale(self) -> bool:
        return self._age() > STALE_SECONDS

    def _age(self) -> float:
        return self._monotonic() - self._at

    def _ask(self) -> None:
        self._report = probe(self._engine, self._settings, ttl_seconds=self._ttl_seconds)
        self._at = self._monotonic()
