"""The recorder process: sets everything up, keeps it running, and leaves in good order."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import Coroutine
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import structlog
from sqlalchemy.engine import Engine

from streamrec import (
    __version__,
    captures,
    db,
    deletion,
    logs,
    manifests,
    retention,
    roots,
    schema,
    scrub,
)
from streamrec.archive.files import Tree
from streamrec.archive.looking import Depth
from streamrec.archive.root import Watch, spool_id
from streamrec.clock import Clock, SystemClock
from streamrec.errors import Unavailable
from streamrec.handover import moving, recorded
from streamrec.media import binary, confinement, process
from streamrec.models import GapReason
from streamrec.recorder import canary, ledger, limits, memory, recovery, registry, replacement, rows
from streamrec.recorder.background import background, first
from streamrec.recorder.beat import Beat
from streamrec.recorder.disk import Disk
from streamrec.recorder.fetch.dial import Resolver
from streamrec.recorder.flusher import Flusher
from streamrec.recorder.gate import Gate
from streamrec.recorder.heart import Heart
from streamrec.recorder.holdings import Holdings
from streamrec.recorder.inheritance import Inheritance
from streamrec.recorder.limits import Threads
from streamrec.recorder.placement.interface import Member
from streamrec.recorder.placement.postgres import PostgresPlacement
from streamrec.recorder.records.postgres import PostgresRecords
from streamrec.recorder.settlement import Settlement
from streamrec.recorder.sources import ffmpeg
from streamrec.recorder.sources.select import Sources
from streamrec.recorder.spool import Spool
from streamrec.recorder.status import Status, Totals
from streamrec.recorder.steward import Duty, Steward
from streamrec.recorder.supervisor import Supervisor
from streamrec.recorder.tools import Limits, Tools
from streamrec.settings import Settings

log = structlog.get_logger(__name__)

DISK_THREADS: Final = 16
WAITING_THREADS: Final = 64  # for names that are slow to resolve and a database that is slow to answer
REPORT_SECONDS: Final = 4.0  # what a growing file has; a change of state is told sooner
TOGETHER_SECONDS: Final = 0.1  # what changes together is told together, and what a beat brought is written by then
HOLES_SECONDS: Final = 60.0
INHERIT_SECONDS: Final = 1.0
RETENTION_SECONDS: Final = 600.0
ROOM_SECONDS: Final = 30.0
SEAL_SECONDS: Final = 600.0
CHECK_SECONDS: Final = 3600.0
HANDOVER_SECONDS: Final = 10.0
ROOT_SECONDS: Final = 2.0
UNHURRIED_SECONDS: Final = 120.0  # for handing over everything, when nothing presses
PEERS_SECONDS: Final = 5.0  # until another recorder must have shown itself, to be waited for
STAND_IN_TICK: Final = 0.1
LAST_ROWS_SECONDS: Final = 0.8


def run(settings: Settings) -> None:
    """Record until SIGTERM or SIGINT; ends within `stop_seconds` and a second.

    Raises:
        NotReady: there is no ffmpeg that runs, or the schema is not current; the text names the command.
    """
    logs.configure(settings, "recorder")
    memory.spare()
    limits.raise_descriptors()
    settings.make_run_dir()
    found = binary.find(settings.ffmpeg)
    log.info("recorder starting", version=__version__, ffmpeg=found.version, executable=found.path)
    held = confinement.found()
    (log.info if held.is_cut_off else log.warning)("limits of children", limits=str(held))
    if settings.egress_allow:
        log.warning("special addresses may be captured", allowed=settings.egress_allow)
    engine = db.connect(settings, application="streamrec-recorder")
    worker = _Worker(settings, engine, found)
    memory.settle()
    try:
        asyncio.run(worker.run())
    finally:
        engine.dispose()
    if worker.stand_in is not None and not worker.was_stopped:
        replacement.begin_anew(worker.stand_in.pid)


@dataclass
class _Worker:
    settings: Settings
    engine: Engine
    ffmpeg: binary.Ffmpeg

    def __post_init__(self) -> None:
        self.recorder_id: UUID = uuid4()
        self.quarantine = self.settings.data_dir / "quarantine"
        ttl_seconds = captures.RECORDER_TTL.total_seconds()
        placement = PostgresPlacement(ffmpeg=self.ffmpeg.version, ttl_seconds=ttl_seconds)
        member = Member(
            self.recorder_id,
            self.settings.recorder_capacity,
            {str(name): label for name, label in self.settings.recorder_labels.items()},
        )
        self.holdings = Holdings(placement, member, monotonic=SystemClock().monotonic, ttl_seconds=ttl_seconds)
        self.totals = Totals()
        self.stopping = asyncio.Event()
        self.leaving = asyncio.Event()
        self.replacing = asyncio.Event()
        self.stand_in: subprocess.Popen[bytes] | None = None
        self.changed: set[int] = set()
        self.has_changed = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        loop.add_signal_handler(signal.SIGUSR1, self.leaving.set)
        loop.add_signal_handler(signal.SIGUSR2, self.replacing.set)
        loop.set_default_executor(Threads(WAITING_THREADS, thread_name_prefix="wait"))
        with ExitStack() as stack:
            archive = stack.enter_context(Tree(self.settings.archive_dir))
            spool = stack.enter_context(Spool(self.settings.spool_dir / str(self.recorder_id)))
            heirs = stack.enter_context(closing(self._inheritance(archive)))
            with Tree(self.settings.spool_dir) as spools:
                self.root = stack.enter_context(closing(Watch(archive, spool_id(spools))))
            self.clean_up = partial(
                recovery.recover, archive, spool, quarantine=self.quarantine, others=heirs.others
            )
            if await self._join(archive, heirs):
                await self._record(archive, spool, heirs, stack)
            if spool.is_empty:
                spool.remove()
        if self.stand_in is not None:
            replacement.ignore_more()
        log.info("recorder stopped")

    def _inheritance(self, archive: Tree) -> Inheritance:
        return Inheritance(
            self.settings.spool_dir,
            self.settings.spool_dir / str(self.recorder_id),
            archive=archive,
            late=Settlement(archive, self.quarantine),
            quarantine=self.quarantine,
            bury=self.holdings.placement.bury,
        )

    @property
    def was_stopped(self) -> bool:
        """Whether somebody asked for the end, and not only for another beginning."""
        return self.stopping.is_set() or self.leaving.is_set()

    # --- joining

    async def _join(self, archive: Tree, heirs: Inheritance) -> bool:
        """Wait for the database, and for a recorder that knows of no others; False if told to stop."""
        said = ""
        while not self.stopping.is_set():
            waiting_for = await asyncio.to_thread(self._joined, archive, heirs)
            if not waiting_for:
                return True
            if waiting_for != said:
                said = waiting_for
                log.warning("recorder in standby", waiting_for=waiting_for)
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.heartbeat_seconds / 2):
                    await self.stopping.wait()
        return False

    def _joined(self, archive: Tree, heirs: Inheritance) -> str:
        """What there is to wait for, or nothing if we are among the recorders now. Raises NotReady."""
        try:
            schema.require_current(self.engine)
            with db.away_as_unavailable(), db.Session.begin() as session:
                expected = roots.expected(session, archive, host=socket.gethostname())
            self.root.expect(expected)
            self.root.look()
            if self.root.fault is None:
                self.clean_up()
                heirs.look()
            if heirs.has_elder:
                return "a recorder of an older version, which shares its channels with nobody"
            self.holdings.join()
            with db.away_as_unavailable(), db.Session.begin() as session:
                registry.keep_in(session, self.recorder_id, expected.root)
        except Unavailable as exc:
            return exc.detail
        return ""

    # --- recording

    async def _record(self, archive: Tree, spool: Spool, heirs: Inheritance, stack: ExitStack) -> None:
        children = self.settings.run_dir / "children"
        _sweep(children)
        threads = stack.enter_context(Threads(DISK_THREADS, thread_name_prefix="disk"))
        seconds = self.settings.heartbeat_seconds
        heart = stack.enter_context(Heart(self.holdings, self.totals, self.recorder_id, seconds=seconds))
        clock = SystemClock()
        flusher = Flusher(archive.path, self.settings.sync_seconds, monotonic=clock.monotonic)
        stack.enter_context(flusher)
        replay = ledger.Ledger(
            spool,
            refused=self.settings.spool_dir / "refused.txt",
            late=Settlement(archive, self.quarantine),
            may_write=lambda: self.holdings.is_sure,
        )
        replay.start()
        tools = Tools(
            clock=clock,
            sources=self._sources(clock, children),
            archive=archive,
            spool=spool,
            disk=Disk(threads, clock.monotonic),
            gate=Gate(clock),
            beat=Beat(clock, self.totals.lag),
            totals=self.totals,
            recorder_id=self.recorder_id,
            retry_cap_seconds=self.settings.retry_cap_seconds,
            sync_seconds=self.settings.sync_seconds,
            limits=Limits(
                self.settings.source_attempts,
                self.settings.source_patience_seconds,
                self.settings.source_return_seconds,
            ),
            flusher=flusher,
            on_change=self._changed,
        )
        supervisor = Supervisor(
            tools,
            PostgresRecords(self.engine, monotonic=clock.monotonic),
            self.holdings,
            poll_seconds=self.settings.poll_seconds,
            stop_seconds=self.settings.stop_seconds - 1,
            inherited=lambda: heirs.spools,
        )
        tasks: list[Coroutine[Any, Any, None]] = [
            supervisor.run(),
            self._report(supervisor, tools.beat),
            self._account(spool, archive, heirs),
            self._inherit(supervisor, heirs, children, tools.beat),
            self._watch_root(tools.beat),
            stack.enter_context(closing(self._steward())).run(),
        ]
        if self.settings.canary:
            watch = canary.Watch(self.settings, self.recorder_id)
            tasks.append(canary.sing(clock, self.settings.canary_port, partial(rows.attempted, watch.look)))
        async with background(tasks) as failed:
            await asyncio.to_thread(replacement.relieve)
            await first(self.stopping.wait(), self.leaving.wait(), self._replaced(supervisor), failed)
            log.info("recorder stopping", captures=len(supervisor.captures))
            await self._part(supervisor)
        await supervisor.stop()
        if not await asyncio.to_thread(replay.stop, LAST_ROWS_SECONDS):
            log.warning("the database has not all rows yet; the spool keeps them for another recorder")
        heart.is_leaving = True

    async def _part(self, supervisor: Supervisor) -> None:
        """Let other recorders take over what they can before the captures end."""
        if not supervisor.has_peers and self.stopping.is_set():
            return
        if await asyncio.to_thread(rows.attempted, self.holdings.drain):
            if not self.stopping.is_set():
                unhurried = supervisor.hand_over(UNHURRIED_SECONDS, peers_within=PEERS_SECONDS)
                await first(unhurried, self.stopping.wait())
            await supervisor.hand_over(self.settings.stop_seconds / 2)

    async def _replaced(self, supervisor: Supervisor) -> None:
        """Return once this process was told to begin anew, and a stand-in is there to take over."""
        while True:
            await self.replacing.wait()
            self.replacing.clear()
            self.stand_in = await asyncio.to_thread(replacement.start_stand_in)
            log.info("a stand-in was started", pid=self.stand_in.pid)
            ends_at = time.monotonic() + UNHURRIED_SECONDS
            while self.stand_in.poll() is None and time.monotonic() < ends_at:
                if supervisor.has_peers:
                    return
                await asyncio.sleep(STAND_IN_TICK)
            log.error("the stand-in does not record; this recorder goes on")
            self.stand_in.kill()
            self.stand_in = None

    async def _inherit(self, supervisor: Supervisor, heirs: Inheritance, children: Path, beat: Beat) -> None:
        """See to what recorders of this data folder have left that have died."""

        def look() -> None:
            if self.root.fault is None and heirs.look():
                _sweep(children)
                supervisor.wake_from_thread()

        while True:
            await beat.sleep(INHERIT_SECONDS)
            await asyncio.to_thread(rows.attempted, look)

    def _steward(self) -> Steward:
        """Who sees to what is not urgent, and never keeps a capture waiting."""
        duties = [
            Duty("hand-over", HANDOVER_SECONDS, partial(recorded.run, self.settings)),
            Duty("retention", RETENTION_SECONDS, partial(retention.run, self.settings)),
            Duty("sealing", SEAL_SECONDS, partial(manifests.run, self.settings)),
            *(Duty(f"{d.value} check", CHECK_SECONDS, partial(scrub.daily, self.settings, d)) for d in Depth),
            Duty("second look", CHECK_SECONDS, partial(scrub.again, self.settings)),
            Duty("room", ROOM_SECONDS, retention.RoomKeeper(self.settings).make_room),
            Duty("removal of objects", HANDOVER_SECONDS, partial(moving.sweep, self.settings)),
        ]
        return Steward(duties, lock=self.settings.steward_lock, may_work=lambda: not self.root.fault)

    async def _watch_root(self, beat: Beat) -> None:
        """See whether the archive's disk is there."""
        while True:
            await beat.sleep(ROOT_SECONDS)
            await asyncio.to_thread(self.root.look)

    def _sources(self, clock: Clock, children: Path) -> Sources:
        allow = tuple(self.settings.egress_allow)
        if self.settings.canary:
            allow += (canary.endpoint(self.settings.canary_port),)
        resolver = Resolver(clock, allow)
        return Sources(resolver, clock, ffmpeg.Sources(self.ffmpeg.path, clock, allow, children, resolver))

    def _changed(self, channel_id: int) -> None:
        self.changed.add(channel_id)
        self.has_changed.set()

    async def _report(self, supervisor: Supervisor, beat: Beat) -> None:
        """Write the captures' rows every REPORT_SECONDS, and a moment after a state has changed."""
        while True:
            await first(self.has_changed.wait(), beat.sleep(REPORT_SECONDS))
            await asyncio.sleep(TOGETHER_SECONDS)
            self.has_changed.clear()
            gone = self.changed - supervisor.captures.keys()
            self.changed.clear()
            statuses = {channel_id: Status(since=SystemClock().now()) for channel_id in gone}
            statuses |= {channel_id: replace(c.status) for channel_id, c in supervisor.captures.items()}
            await asyncio.to_thread(rows.attempted, partial(self._save, statuses))

    def _save(self, statuses: dict[int, Status]) -> None:
        with db.Session.begin() as session:
            disk = self.root
            registry.tally(session, self.recorder_id, self.totals, storage_fault=disk.fault, room=disk.room)
            registry.save(session, self.recorder_id, statuses)

    async def _account(self, spool: Spool, archive: Tree, heirs: Inheritance) -> None:
        """Once the past is replayed, and then every minute: leave no second of any channel untold."""
        is_past = True
        while True:
            work = partial(self._settle_past, spool, archive, heirs) if is_past else _settle_present
            is_told = self.root.fault is None and not any(each.pending(1) for each in (spool, *heirs.spools))
            if is_told and await asyncio.to_thread(rows.attempted, work):
                is_past = False
            await asyncio.sleep(1.0 if is_past else HOLES_SECONDS)

    def _settle_past(self, spool: Spool, archive: Tree, heirs: Inheritance) -> None:
        if left := deletion.sweep_leftovers(self.settings.archive_dir):
            log.warning("files whose rows are gone cannot be removed", files=left)
        unknown = recovery.quarantine_unknown(
            archive, spool, quarantine=self.quarantine, known=rows.known, others=heirs.others
        )
        for key in unknown:
            log.warning("a file that nothing explains was set aside", key=key)
        rows.fill_holes(GapReason.RECORDER_DOWN, "No recorder was running.", timedelta())


def _settle_present() -> None:
    detail = "The channel was enabled too briefly to be captured."
    rows.fill_holes(GapReason.DISABLED, detail, timedelta(seconds=HOLES_SECONDS))


def _sweep(children: Path) -> None:
    for pid in process.sweep(children):
        log.warning("a child of a recorder that is gone was killed", pid=pid)
