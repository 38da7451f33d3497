"""The ways to record that are compared; each is started for N channels and then only watched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.capture import loss, processes
from benchmarks.capture.origins import Source
from streamrec.settings import PROJECT
from tests.station import programs
from tests.station.scripted import TLS

SEGMENT_SECONDS = 60
UP_SECONDS = 120  # on a machine that is busy, and with all other methods already running


@dataclass(frozen=True)
class Method:
    """A running method: whose CPU counts, and where its files grow."""

    name: str
    roots: Callable[[], set[int]]
    folder: Path
    has_children: bool = True

    def read(self) -> processes.Reading:
        """CPU, memory and bytes on disk, now."""
        roots = self.roots()
        pids = set().union(*(processes.tree(root) for root in roots)) if self.has_children else roots
        return processes.Reading(
            at=time.monotonic(),
            cpu={pid: processes.cpu_nanoseconds(pid) for pid in pids},
            pss=sum(processes.pss_bytes(pid) for pid in pids),
            written=processes.folder_bytes(self.folder),
            processes=len(pids),
        )


Start = Callable[[Source, int, Path], AbstractContextManager[list[Method]]]


def _each(name: str, command: Callable[[Source, Path], list[str]]) -> Start:
    """A method that is one process a channel."""

    @contextmanager
    def start(source: Source, channels: int, folder: Path) -> Iterator[list[Method]]:
        with ExitStack() as stack:
            pids: set[int] = set()
            for number in range(channels):
                own = folder / "out" / f"{number:04d}"
                own.mkdir(parents=True)
                process = stack.enter_context(programs.running(command(source, own), folder / f"{number:04d}.log"))
                pids.add(process.pid)
            try:
                yield [Method(name, lambda: pids, folder / "out")]
            finally:
                for pid in pids:  # all at once: one after the other they would take minutes
                    os.kill(pid, signal.SIGKILL)

    return start


def _segmenting(ffmpeg: str) -> Callable[[Source, Path], list[str]]:
    """As plain as it gets: copy into files of a minute."""

    def command(source: Source, folder: Path) -> list[str]:
        suffix = "ts" if source.kind == "hls" else "mp3"
        options = ["-c", "copy", "-f", "segment", "-segment_time", str(SEGMENT_SECONDS)]
        return [
            ffmpeg,
            "-nostdin",
            "-loglevel",
            "error",
            *(["-tls_verify", "0"] if source.kind == "https" else []),
            "-i",
            source.url,
            *options,
            str(folder / f"%03d.{suffix}"),
        ]

    return command


def _ripping(streamripper: str) -> Callable[[Source, Path], list[str]]:
    """One file, no tracks: the least that streamripper does."""

    def command(source: Source, folder: Path) -> list[str]:
        return [streamripper, source.url, "-d", str(folder), "-s", "-A", "-a", "rip", "--quiet"]

    return command


@contextmanager
def _streamrec(source: Source, channels: int, folder: Path) -> Iterator[list[Method]]:
    """A whole instance; the recorder with and without its children, and everything together."""
    port = programs.free_port()
    settings = {
        "STREAMREC_PORT": str(port),
        "STREAMREC_DATA_DIR": str(folder / "data"),
        "STREAMREC_EGRESS_ALLOW": source.authority,
        "STREAMREC_AUTH": "open",
        "STREAMREC_RECORDER_CAPACITY": str(max(500, channels)),
        "SSL_CERT_FILE": str(TLS / "authority.pem"),
    }
    command = [sys.executable, "-m", "streamrec", "up"]
    environment = {**_without_database(os.environ), **settings}
    with programs.running(command, folder / "streamrec.log", environment=environment, cwd=PROJECT) as process:
        base_url = f"http://127.0.0.1:{port}"
        programs.eventually(lambda: _is_up(base_url, process), UP_SECONDS, "streamrec is up")
        _add_channels(base_url, source, channels)
        archive = folder / "data" / "archive"
        yield [
            Method("streamrec recorder and its ffmpegs", lambda: _recorders(process.pid), archive),
            Method("of these, the recorder alone", lambda: _recorders(process.pid), archive, has_children=False),
            Method("streamrec, all processes", lambda: {process.pid, *_servers(folder)}, archive),
        ]
        loss.report(base_url, _recorders(process.pid), archive)


def _without_database(environment: Mapping[str, str]) -> dict[str, str]:
    """Only the embedded PostgreSQL belongs to this instance alone, so that its cost can be told."""
    return {name: text for name, text in environment.items() if name != "DATABASE_URL" and name[:3] != "DB_"}


def _is_up(base_url: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "streamrec has ended; see streamrec.log"
    try:
        return httpx.get(f"{base_url}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _add_channels(base_url: str, source: Source, channels: int) -> None:
    with httpx.Client(base_url=base_url, timeout=30) as client:
        for number in range(channels):
            body = {"name": f"Channel {number}", "keyname": f"bench-{number:04d}", "type": source.channel_type,
                    "url": source.url, "segment_seconds": SEGMENT_SECONDS}  # fmt: skip
            client.post("/channel", json=body).raise_for_status()


def _recorders(root: int) -> set[int]:
    """The recorder among the instance's processes."""
    return {
        child.pid for child in psutil.Process(root).children() if child.cmdline()[-2:] == ["streamrec", "recorder"]
    }


def _servers(folder: Path) -> set[int]:
    """The instance's PostgreSQL, which is a daemon of its own."""
    pid_file = folder / "data" / "postgres" / "postmaster.pid"
    found = [pid_file] if pid_file.exists() else list((folder / "data").rglob("postmaster.pid"))
    return {int(path.read_text().split()[0]) for path in found}


def available(kind: str) -> dict[str, Start]:
    """The methods that this machine has for a kind of source; streamripper knows no HLS."""
    methods: dict[str, Start] = {
        "ffmpeg": _each("ffmpeg (as streamrec's)", _segmenting(programs.ffmpeg())),
        "streamrec": _streamrec,
    }
    if system := shutil.which("ffmpeg"):
        methods["ffmpeg-system"] = _each("ffmpeg (the system's)", _segmenting(system))
    if kind == "icy" and (ripper := shutil.which("streamripper")):
        methods["streamripper"] = _each("streamripper", _ripping(ripper))
    return methods
