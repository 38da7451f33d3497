"""The instance under test: its station, its channels, and which mount each of them was on when."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from tests.e2e.instance import Instance
from tests.station import faulty, programs
from tests.station.mount import BURST_FRAMES, Mount
from tests.station.numbered import Numbered

SPARE = 4  # mounts that no channel begins on, for what moves or is created
ARCHIVE_BYTES = 256 << 20
ANSWER_SECONDS = 30.0  # within which the API must take a request again after a database fault


@dataclass
class Channel:
    """A channel, and the mounts that it was on, in order."""

    number: int
    id: int
    mounts: list[Mount]
    is_deleted: bool = False

    @property
    def mount(self) -> Mount:
        return self.mounts[-1]


@dataclass
class Done:
    """A fault that was injected: when it began and ended (seconds since 1970), and whom it befell."""

    kind: str
    channel: int | None
    began: float
    ended: float = 0.0
    note: str = ""


class Tested(Instance):
    """An instance whose surroundings others may share."""

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it was started with."""
        return dict(self._environment)


@dataclass
class World:
    """Everything that a fault may touch."""

    instance: Tested
    station: faulty.Station
    channels: list[Channel]
    spares: list[Mount]
    archive: Path
    done: list[Done] = field(default_factory=list)
    answers: dict[int, int] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: dict[str, object] | None = None) -> httpx.Response:
        """Ask the API until it takes the request: away and 503 are tried again, and counted."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            status = 0
            with suppress(httpx.TransportError):
                answer = self.instance.client.request(method, path, json=body)
                status = answer.status_code
            self.answers[status] = self.answers.get(status, 0) + 1
            if status not in {0, 503}:
                return answer
            assert time.monotonic() < deadline, f"{method} {path}: no answer but {status} for {ANSWER_SECONDS} s"
            programs.eventually(_after(0.3), 5, "a moment passes")

    def create(self, mount: Mount) -> Channel:
        """A new channel on a mount."""
        number = len(self.channels)
        body = {"name": f"Chaos {number}", "keyname": f"chaos-{number:04d}", "type": "radio", "segment_seconds": 5}
        answer = self.ask("POST", "/channel", {**body, "url": self.station.url(mount.name)})
        if answer.status_code == 409:  # it was taken, and the answer was lost with the database
            found = [row for row in self.instance.get("/channel", limit=1000) if row["keyname"] == body["keyname"]]
            channel = Channel(number, int(found[0]["id"]), [mount])
        else:
            assert answer.status_code == 201, answer.text
            channel = Channel(number, int(answer.json()["id"]), [mount])
        self.channels.append(channel)
        return channel

    def recorder(self) -> psutil.Process | None:
        """The recorder's process, if it runs."""
        return next(iter(self.instance.recorders()), None)

    def postmaster(self) -> psutil.Process | None:
        """The embedded PostgreSQL's first process, if it runs."""
        with suppress(OSError, ValueError, psutil.NoSuchProcess):
            text = (self.instance.data / "postgres" / "postmaster.pid").read_text()
            return psutil.Process(int(text.split()[0]))
        return None


def _after(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() >= until


@contextmanager
def built(folder: Path, channels: int) -> Iterator[World]:
    """A running instance with so many channels, every other mount with a burst; on a tmpfs of its own as root."""
    with ExitStack() as stack:
        station = stack.enter_context(faulty.running())
        mounts = [
            station.add(f"m{number}", Numbered(number), burst_frames=BURST_FRAMES * (number % 2), own_door=True)
            for number in range(channels + SPARE)
        ]
        archive = folder / "data" / "archive"
        archive.mkdir(parents=True)
        if os.getuid() == 0:
            stack.enter_context(_small_disk(archive))
        instance = Tested(folder, [f"127.0.0.1:{mount.door}" for mount in mounts])
        stack.callback(instance.close)
        instance.start()
        world = World(instance, station, [], mounts[channels:], archive)
        for mount in mounts[:channels]:
            world.create(mount)
        yield world


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """A tmpfs, so that a full disk and a read-only one harm nobody else."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ARCHIVE_BYTES}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
