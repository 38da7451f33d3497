"""Recorders as processes on one database, and a way to cut one of them off from it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from streamrec import channels, coverage, db
from streamrec.channel_fields import checked
from streamrec.clock import now
from streamrec.models import Assignment, Coverage, CoverageKind, Recorder, Recording
from streamrec.settings import PROJECT, Settings
from streamrec.timeline import Span
from tests.factories import fields
from tests.station import clips, programs
from tests.station.clips import Clip
from tests.station.faulty import Station

RUN = "from streamrec import settings; from streamrec.recorder import worker; worker.run(settings.load())"


BURST_FRAMES = 400  # ten seconds, so that a busy machine is no reason for a gap


class Fleet:
    """What a test does with recorders, channels and rows."""

    def __init__(self, settings: Settings, station: Station, folder: Path) -> None:
        self.settings = settings
        self._station = station
        self._folder = folder

    @contextmanager
    def recorder(
        self, name: str, *, data: str = "data", database: str | None = None, **variables: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A recorder; `data` names its data folder, which it may share with others."""
        environment = {
            **os.environ,
            "DATABASE_URL": database or self.settings.database_url.get_secret_value(),
            "STREAMREC_DATA_DIR": str(self.data(data)),
            "STREAMREC_EGRESS_ALLOW": f"127.0.0.1:{self._station.port}",
            "PYTHONPATH": str(PROJECT),
            **variables,
        }
        with programs.running([sys.executable, "-c", RUN], self.log(name), environment=environment) as child:
            try:
                yield child
            finally:
                with suppress(ProcessLookupError):
                    child.send_signal(signal.SIGCONT)

    def data(self, name: str) -> Path:
        return self._folder / name

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def add(self, count: int, clip: Clip, *, burst_frames: int = BURST_FRAMES, **changes: object) -> list[int]:
        """Channels on the station, five seconds a file."""
        for n in range(count):
            self._station.add(f"mount{n}", clip, burst_frames=burst_frames)
        return [self._add(f"mount{n}", f"keyname-{n:02}", changes) for n in range(count)]

    def _add(self, mount: str, keyname: str, changes: dict[str, object]) -> int:
        url = self._station.url(mount)
        body = fields(url=url, keyname=keyname, segment_seconds=5, **changes)
        draft = checked(body, resolve=lambda host: [], allow=[url.split("/")[2]])
        with db.Session.begin() as session:
            return channels.create(session, draft).id

    # --- how things stand

    def wait_for_more(self, channel_ids: list[int], count: int) -> None:
        """So many more files of each channel."""
        goals = [self.recordings(each) + count for each in channel_ids]
        self.wait(
            lambda: all(self.recordings(each) >= goal for each, goal in zip(channel_ids, goals, strict=True)),
            "more is recorded",
            40,
        )

    def wait(self, probe: Callable[[], object], what: str, seconds: float = 20.0) -> None:
        programs.eventually(probe, seconds, what, every=0.05)

    def holders(self) -> dict[int, int]:
        """The process that holds each channel, if it lives."""
        pids = sa.select(Assignment.channel_id, Recorder.pid).join(Recorder, Recorder.id == Assignment.recorder_id)
        with db.Session.begin() as session:
            return {row[0]: row[1] for row in session.execute(pids.where(Recorder.stopped_at.is_(None)))}

    def shares(self) -> list[int]:
        """How many channels each living recorder holds, fewest first."""
        held = list(self.holders().values())
        living = sa.select(Recorder.pid).where(Recorder.stopped_at.is_(None))
        with db.Session.begin() as session:
            return sorted(held.count(pid) for pid in session.scalars(living))

    def epoch(self, channel_id: int) -> int:
        return self.value(sa.select(Assignment.epoch).where(Assignment.channel_id == channel_id))

    def value(self, statement: Any) -> Any:
        with db.Session.begin() as session:
            return session.scalar(statement)

    def recordings(self, channel_id: int, *, epoch: int | None = None) -> int:
        """How many files have rows."""
        rows = sa.select(sa.func.count()).where(Recording.channel_id == channel_id)
        return self.value(rows if epoch is None else rows.where(Recording.epoch == epoch))

    def frames(self, channel_id: int, clip: Clip, *, data: str = "data", epoch: int | None = None) -> list[int]:
        """The numbers of the station's frames that are in the archive, in its order; of all epochs, or of one."""
        paths = sa.select(Recording.path).where(Recording.channel_id == channel_id).order_by(Recording.start_time)
        if epoch is not None:
            paths = paths.where(Recording.epoch == epoch)
        with db.Session.begin() as session:
            files = [self.data(data) / "archive" / path for path in session.scalars(paths)]
        return [number for file in files for number in clips.numbered(clips.frame_hashes(file), clip)]

    def gaps(self, channel_id: int) -> list[tuple[str, float]]:
        """Reason and seconds of every gap, in order."""
        rows = sa.select(Coverage).where(Coverage.channel_id == channel_id, Coverage.kind == CoverageKind.GAP)
        with db.Session.begin() as session:
            found = session.scalars(rows.order_by(Coverage.start_time)).all()
        return [(gap.reason.value, (gap.end_time - gap.start_time).total_seconds()) for gap in found]

    def latest_gap(self, channel_id: int) -> tuple[datetime, datetime]:
        """The bounds of the last one."""
        rows = sa.select(Coverage).where(Coverage.channel_id == channel_id, Coverage.kind == CoverageKind.GAP)
        with db.Session.begin() as session:
            gap = session.scalars(rows.order_by(Coverage.start_time.desc()).limit(1)).one()
        return gap.start_time, gap.end_time

    def rows(self, channel_id: int) -> list[str]:
        """All that is told of a channel, to be read when a test fails."""
        query = sa.select(Coverage).where(Coverage.channel_id == channel_id).order_by(Coverage.start_time)
        with db.Session.begin() as session:
            rows = session.scalars(query).all()
        return [f"{r.start_time:%M:%S.%f} {r.end_time:%M:%S.%f} {r.kind} {r.reason} {r.epoch}" for r in rows]

    def unaccounted_seconds(self, channel_id: int) -> float:
        """What no row speaks of, but for the end that is still to come."""
        with db.Session.begin() as session:
            account = coverage.account(session, channel_id, Span(now().replace(minute=0), now()))
        found: float = account.durations()["unaccounted"].total_seconds()
        if found:
            print(*self.rows(channel_id), sep="\n")
        return found


class Cut:
    """A way to the database's socket that can be cut: a recorder that goes there is alone when it is."""

    def __init__(self, database: str, folder: Path) -> None:
        url = make_url(database)
        self.lead_to(database)
        folder.mkdir()
        self._path = folder / ".s.PGSQL.5432"
        self.database = url.set(query={"host": str(folder), "port": "5432"}, port=None).render_as_string(
            hide_password=False
        )
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.there, self.back = threading.Event(), threading.Event()
        """Whether what is sent to the database, or by it, arrives; clear one and it waits on the way."""
        self.there.set()
        self.back.set()

    def lead_to(self, database: str) -> None:
        """Whoever connects from now on meets this one."""
        url = make_url(database)
        self._target = f"{url.query['host']}/.s.PGSQL.{url.query.get('port') or url.port or 5432}"

    def connect(self) -> None:
        """Let it through from now on."""
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._path))
        self._listener.listen(64)
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Drop what is connected, and refuse the rest."""
        listener, self._listener = self._listener, None
        self._path.unlink(missing_ok=True)
        for each in (listener, *self._open):
            if each is not None:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
        self._open.clear()

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                self._lead(near)

    def _lead(self, near: socket.socket) -> None:
        """To the database; whoever comes while it is not there is sent away."""
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(self._target)
        except OSError:
            near.close()
            far.close()
            return
        self._open |= {near, far}
        for source, sink, way in ((near, far, self.there), (far, near, self.back)):
            threading.Thread(target=_pump, args=(source, sink, way), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket, way: threading.Event) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            way.wait()
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
