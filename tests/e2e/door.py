"""Instances as a user runs them: `./run.sh` in a session of its own, watched from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from streamrec.settings import PROJECT
from tests.station import programs

OWN = ("STREAMREC_", "DB_", "PG", "DATABASE_URL", "FFMPEG")
START_SECONDS = 60


def environment(data: Path, port: int, **variables: str) -> dict[str, str]:
    """A newcomer's, with a data folder and a port of the test's own."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    own = {"STREAMREC_DATA_DIR": str(data), "STREAMREC_PORT": str(port)}
    return {**bare, **own, "STREAMREC_CONFIG": str(PROJECT / "config" / "streamrec.toml"), **variables}


@dataclass
class Instance:
    """A running `./run.sh`."""

    process: subprocess.Popen[bytes]
    data: Path
    port: int
    log: Path
    seen: set[psutil.Process] = field(default_factory=set)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def await_health(self) -> httpx.Response:
        """The first answer of `/health`."""

        def ask() -> httpx.Response | None:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                answer = httpx.get(f"{self.address}/health", timeout=2)
            except httpx.TransportError:
                return None
            return answer if answer.status_code == 200 else None

        answer = programs.eventually(ask, START_SECONDS, f"{self.address} answers")
        assert answer is not None
        self.note_processes()
        return answer

    def note_processes(self) -> None:
        """Remember every process of this instance that runs now."""
        self.seen |= family(self.process.pid) | users_of(self.data)

    def signal(self, number: signal.Signals, *, everybody: bool = False) -> None:
        """Send a signal to `./run.sh`, or as a terminal does, to its whole process group."""
        self.note_processes()
        (os.killpg if everybody else os.kill)(self.process.pid, number)

    def await_end(self, seconds: float) -> tuple[int, float]:
        """The exit status and the seconds that it took."""
        began = time.monotonic()
        return self.process.wait(seconds), time.monotonic() - began

    def left(self) -> list[psutil.Process]:
        """What still runs."""
        return [process for process in self.seen | users_of(self.data) if is_alive(process)]


def family(pid: int) -> set[psutil.Process]:
    try:
        head = psutil.Process(pid)
        return {head, *head.children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()


def users_of(data: Path) -> set[psutil.Process]:
    """Processes that were started for this data folder, wherever they have gone since."""
    found = set()
    for process in psutil.process_iter():
        try:
            if str(data) in (*process.cmdline(), process.environ().get("STREAMREC_DATA_DIR")):
                found.add(process)
        except psutil.Error:
            continue
    return found


def is_alive(process: psutil.Process) -> bool:
    """A dead process stays listed as a zombie where nobody reaps it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def instance(data: Path, *arguments: str, cwd: Path = PROJECT, **variables: str) -> Iterator[Instance]:
    """`./run.sh ARGUMENT...`; whatever is left of it ends with the test."""
    port = programs.free_port()
    log = data.with_name(f"{data.name}-{port}.log")
    with log.open("wb") as sink:
        process = subprocess.Popen(
            ["./run.sh", *arguments],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=environment(data, port, **variables),
            start_new_session=True,
            # What runs the tests may ignore it, and an instance that was told to, as by nohup, keeps ignoring it.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
    started = Instance(process, data, port, log)
    try:
        yield started
    finally:
        started.note_processes()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for left in started.left():
            left.kill()


def run(*arguments: str, data: Path, cwd: Path = PROJECT, **variables: str) -> subprocess.CompletedProcess[str]:
    """`./run.sh ARGUMENT...` that ends by itself."""
    return subprocess.run(
        ["./run.sh", *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(data, programs.free_port(), **variables),
        timeout=60,
        check=False,
    )
