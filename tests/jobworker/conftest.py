"""Real workers over a database of the test's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy.engine import Engine

from streamrec import db, jobs
from streamrec.keyset import Row
from streamrec.models import JobKind

DEADLINE_SECONDS = 60.0


def eventually(what: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def queued(kind: JobKind = JobKind.CLIP) -> UUID:
    """A new job."""
    with db.Session.begin() as session:
        return jobs.create(session, kind)


def job(job_id: UUID) -> Row:
    """What clients see of a job."""
    with db.Session.begin() as session:
        return jobs.get(session, job_id)


@dataclass
class Workers:
    """Starts toy workers; their jobs end once `go` was called."""

    folder: Path
    database: str
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "DATABASE_URL": self.database}
        command = [sys.executable, "-m", "tests.jobworker.toy", str(self.folder)]
        self.running.append(subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2]))
        return self.running[-1]

    def go(self) -> None:
        (self.folder / "go").touch()

    def begun(self) -> list[str]:
        """A line for each attempt that has begun."""
        path = self.folder / "begun"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def workers(tmp_path: Path, database: str, engine: Engine) -> Iterator[Workers]:
    """No worker yet."""
    held = Workers(tmp_path, database)
    yield held
    for each in held.running:
        if each.poll() is None:
            each.send_signal(signal.SIGCONT)
            each.kill()
        each.wait()
