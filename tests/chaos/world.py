"""The instance under test: its station, its channels, and which mount each of them was on when."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from tests.chaos.plan import Plan
from tests.e2e.instance import Instance
from tests.station import faulty, hls, programs
from tests.station.live import Live
from tests.station.mount import BURST_FRAMES, Mount
from tests.station.numbered import Numbered
from tests.station.numbered_ts import NumberedPictures, NumberedSound

SPARE = 4  # mounts that no channel begins on, for what moves or is created
LEAST_ARCHIVE_BYTES = 256 << 20
MANY = 50  # channels; so many are radios at half the rate, and have longer segments
RADIO_RATE, SOUND_RATE, PICTURE_RATE = 16_000, 9_000, 75_000  # bytes a second, with what surrounds them
MOST_TURN_SECONDS = 15.0  # from one step to the next, where each waits for a recorder
ANSWER_SECONDS = 30.0  # within which the API must take a request again after a database fault


OnAir = Mount | Live


@dataclass
class Channel:
    """A channel, the mounts that it was on, in order, and what the API has promised of it."""

    number: int
    id: int
    mounts: list[OnAir]
    promised: dict[str, object]
    is_deleted: bool = False

    @property
    def mount(self) -> OnAir:
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
    """An instance whose surroundings others may share, on a machine that may be busy with others."""

    start_seconds = 300.0

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it was started with."""
        return dict(self._environment)


@dataclass(frozen=True)
class Answer:
    """What the API said when; status 0 is nothing."""

    at: float
    request: str
    status: int
    has_retry_after: bool


@dataclass
class World:
    """Everything that a fault may touch."""

    instance: Tested
    station: faulty.Station
    origin: hls.Origin
    channels: list[Channel]
    spares: list[OnAir]
    archive: Path
    by_ffmpeg: int = 0
    """So many channels, the first ones, are captured by ffmpeg."""
    segment_seconds: int = 5
    done: list[Done] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """How often a kind could not be done, because what it befalls was not there."""
    answers: list[Answer] = field(default_factory=list)
    bodies: Callable[[str], None] = lambda _: None
    """Is told every body that the API answers with."""

    def ask(self, method: str, path: str, body: dict[str, object] | None = None) -> httpx.Response:
        """Ask the API until it takes the request: away and 503 are tried again, and counted."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            status, has_retry_after = 0, False
            with suppress(httpx.TransportError):
                answer = self.instance.client.request(method, path, json=body)
                status, has_retry_after = answer.status_code, "retry-after" in answer.headers
                self.bodies(answer.text)
            self.answers.append(Answer(time.time(), f"{method} {path}", status, has_retry_after))
            if status not in {0, 503}:
                return answer
            assert time.monotonic() < deadline, f"{method} {path}: no answer but {status} for {ANSWER_SECONDS} s"
            programs.eventually(_after(0.3), 5, "a moment passes")

    def url(self, mount: OnAir) -> str:
        """The address of a mount, with the credentials that it asks for."""
        if isinstance(mount, Live):
            plain, credentials = self.origin.url(f"{mount.name}/live.m3u8"), mount.credentials
        else:
            plain, credentials = self.station.url(mount.name), mount.manner.credentials
        return plain.replace("://", f"://{credentials}@") if credentials else plain

    def change(self, channel: Channel, **fields: object) -> None:
        """Change a channel; what was acknowledged is promised."""
        answer = self.ask("PATCH", f"/channel/{channel.id}", fields)
        assert answer.status_code == 200, answer.text
        channel.promised |= fields

    def create(self, mount: OnAir) -> Channel:
        """A new channel on a mount."""
        number = len(self.channels)
        is_television = isinstance(mount.parts[0].programme, NumberedPictures)
        body: dict[str, object] = {"name": f"Chaos {number}", "keyname": f"chaos-{number:04d}"}
        body |= {"capture": "ffmpeg" if number < self.by_ffmpeg else "auto"}
        body |= {"type": "TV" if is_television else "radio", "segment_seconds": self.segment_seconds}
        promised = {**body, "url": self.url(mount), "enabled": True}
        answer = self.ask("POST", "/channel", {**body, "url": self.url(mount)})
        if answer.status_code == 409:  # it was taken, and the answer was lost with the database
            found = [row for row in self.instance.get("/channel", limit=1000) if row["keyname"] == body["keyname"]]
            channel = Channel(number, int(found[0]["id"]), [mount], promised)
        else:
            assert answer.status_code == 201, answer.text
            channel = Channel(number, int(answer.json()["id"]), [mount], promised)
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
def built(folder: Path, plan: Plan, *, has_small_disk: bool = True) -> Iterator[World]:
    """A running instance for the plan's channels, as root on a tmpfs of its own unless it is to hold more.

    Every other radio has a burst, every other two are AAC, and every third mount asks for credentials.
    """
    with ExitStack() as stack:
        station, origin = stack.enter_context(faulty.running()), stack.enter_context(hls.running())
        kilobits = 128 if plan.channels < MANY else 64
        radios, lives = _radios(station, plan.radios + SPARE, kilobits), _lives(station, origin, plan)
        for number, mount in enumerate([*radios, *lives]):
            if number % 3 == 0:
                _lock(mount, credentials(number))
        archive = folder / "data" / "archive"
        archive.mkdir(parents=True)
        if has_small_disk and os.getuid() == 0:
            stack.enter_context(_small_disk(archive, _archive_bytes(plan)))
        instance = Tested(folder, [*(f"127.0.0.1:{mount.door}" for mount in radios), origin.authority])
        instance.client.timeout = httpx.Timeout(ANSWER_SECONDS)
        stack.callback(instance.close)
        instance.start()
        world = World(instance, station, origin, [], [*radios[plan.radios :]], archive, plan.by_ffmpeg)
        world.segment_seconds = 5 if plan.channels < MANY else 10
        yield world


def on_air(world: World, plan: Plan) -> list[OnAir]:
    """What the plan's channels are on at first, in their order."""
    radios = [world.station.mounts[f"/m{number}"] for number in range(plan.radios)]
    lives = [world.origin.lives[f"l{number}"] for number in range(plan.sounds + plan.pictures)]
    return [*radios, *(live for live in lives if isinstance(live, Live))]


def credentials(number: int) -> str:
    """User name and password of a mount, which occur nowhere else."""
    return f"listener{number}:planted-{number:04d}-Zq7vXw2k"


def _lock(mount: OnAir, wanted: str) -> None:
    if isinstance(mount, Live):
        mount.credentials = wanted
    else:
        mount.manner.credentials = wanted


def _radios(station: faulty.Station, count: int, kilobits: int) -> list[Mount]:
    burst = BURST_FRAMES * 128 // kilobits
    return [
        station.add(
            f"m{number}",
            NumberedSound(number) if number % 4 >= 2 else Numbered(number, kilobits),
            burst_frames=burst * (number % 2),
            own_door=True,
        )
        for number in range(count)
    ]


def _lives(station: faulty.Station, origin: hls.Origin, plan: Plan) -> list[Live]:
    """Sound in transport streams and in ADTS by turns, then television."""
    sounds = [NumberedSound(number, is_packed=number % 2 == 1) for number in range(plan.sounds)]
    pictures = [NumberedPictures(number) for number in range(plan.sounds, plan.sounds + plan.pictures)]
    lives = [Live(f"l{each.station}", each, station.journal) for each in [*sounds, *pictures]]
    origin.lives.update({live.name: live for live in lives})
    return lives


def _archive_bytes(plan: Plan) -> int:
    """Room for all that is recorded, and a third more."""
    radio = RADIO_RATE if plan.channels < MANY else RADIO_RATE // 2
    rate = plan.radios * radio + plan.sounds * SOUND_RATE + plan.pictures * PICTURE_RATE
    seconds = plan.seconds + (len(plan.steps) * MOST_TURN_SECONDS if plan.waits else 0)
    return max(LEAST_ARCHIVE_BYTES, int(rate * (seconds + 60) * 4 / 3))


@contextmanager
def _small_disk(folder: Path, size: int) -> Iterator[None]:
    """A tmpfs, so that a full disk and a read-only one harm nobody else."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        shutil.copytree(folder, folder.parent.parent / "archive")  # it is what a verdict is looked into with
        subprocess.run(["umount", "-l", str(folder)], check=True)
