"""Instances as a user runs them: `./run.sh` in a session of its own, watched from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


class Instance:
    """`./run.sh ARGUMENT...`, which can be started again on the same data and port."""

    start_seconds: float = START_SECONDS
    """In which it must answer."""

    def __init__(self, data: Path, *arguments: str, cwd: Path = PROJECT, **variables: str) -> None:
        self.data = data
        self.port = programs.free_port()
        self.log = data.with_name(f"{data.name}-{self.port}.log")
        self.seen: set[psutil.Process] = set()
        self._command = ["./run.sh", *arguments]
        self._cwd = cwd
        self._environment = environment(data, self.port, **variables)

    def start(self) -> None:
        """Return at once."""
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_begin,
            )

    def stop(self) -> None:
        """As Ctrl-C does, and the hard way if that is not enough."""
        if self.process.poll() is not None:
            return
        self.note_processes()
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """Stop for good, with whatever is left."""
        self.stop()
        for left in self.left():
            left.kill()

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

        answer = programs.eventually(ask, self.start_seconds, f"{self.address} answers")
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


def _begin() -> None:
    """Die with the tests; and hear SIGHUP, which what runs the tests may ignore, as under nohup."""
    programs.die_with_us()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def instance(data: Path, *arguments: str, cwd: Path = PROJECT, **variables: str) -> Iterator[Instance]:
    """`./run.sh ARGUMENT...`; whatever is left of it ends with the test."""
    made = Instance(data, *arguments, cwd=cwd, **variables)
    made.start()
    try:
        yield made
    finally:
        made.close()


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
