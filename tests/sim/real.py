"""`python -m tests.sim.real`: the run that the simulator is held against: real recorders, real sockets, real time.

Four recorder processes with data folders of their own, as if on four machines, one embedded PostgreSQL, and radios
of `tests/station` behind ten doors. What is measured goes to a file as one JSON object, for `tests.sim.gate`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from streamrec import channels, db, embedded, schema
from streamrec.channel_fields import checked
from streamrec.clock import SystemClock
from streamrec.models import Assignment, Capture, CaptureState, Channel, GapReason, Recorder
from streamrec.recorder.events import Address, Closed
from streamrec.recorder.fetch.dial import Resolver
from streamrec.recorder.placement.postgres import PostgresPlacement
from streamrec.recorder.records.postgres import PostgresRecords
from streamrec.recorder.sources import ffmpeg
from streamrec.recorder.sources.select import Sources
from streamrec.settings import Settings
from tests.factories import fields
from tests.recorder.fleet import Fleet
from tests.sim.figures import peaks
from tests.sim.network import Came
from tests.station import faulty, programs
from tests.station.mount import BURST_FRAMES, Fault, Mount
from tests.station.numbered import Numbered

RECORDERS = 4
HOSTS = 10
ONE_BY_ONE = 16  # of the channels: what an attempt takes while nothing else happens
SEGMENT_SECONDS = 10
QUIET_SECONDS = 32.0
AWAY_SECONDS = 25.0
QUESTIONS = 40
LOOK_SECONDS = 0.2
SETTLED_SECONDS = 5.0  # until the captures' rows say what they do; they are told at once, but not before


@dataclass
class Measured:
    """All of one run; times are seconds."""

    channels: int
    costs: dict[str, float] = field(default_factory=dict)
    started: list[float] = field(default_factory=list)  # after all but sixteen were added at once: when each ran
    connect: list[float] = field(default_factory=list)  # from the claim until the station has the request
    first_media: list[float] = field(default_factory=list)  # from there until media is understood
    refusal: list[float] = field(default_factory=list)  # of a port where nobody listens
    noticed: list[float] = field(default_factory=list)  # from the channel's row until it is claimed
    kills: list[dict[str, Any]] = field(default_factory=list)
    blackouts: list[dict[str, Any]] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Keep what there is; a run that is broken off was not in vain."""
        path.write_text(json.dumps(vars(self), indent=1))


class Site:
    """A running fleet and its station."""

    def __init__(self, stack: ExitStack, folder: Path, channels: int, hosts: int = HOSTS) -> None:
        self.count = channels
        self._stack = stack
        self._folder = folder
        settings = Settings(data_dir=folder / "database")
        stack.enter_context(embedded.running(settings))
        address = settings.database().render_as_string(hide_password=False)
        self._settings = Settings(data_dir=folder, database_url=address)
        self.engine: Engine = db.connect(self._settings, application="measuring")
        stack.callback(self.engine.dispose)
        schema.upgrade(self.engine)
        self.station = stack.enter_context(faulty.running())
        self.doors = [self._mount(f"door{number}", number, own_door=True) for number in range(hosts)]
        self.radios = [self._mount(f"m{number}", hosts + number) for number in range(channels)]
        self.fleet = Fleet(self._settings, self.station, folder)
        self._names = count()
        self.recorders: dict[int, tuple[subprocess.Popen[bytes], AbstractContextManager[Any]]] = {}

    def _mount(self, name: str, number: int, *, own_door: bool = False) -> Mount:
        return self.station.add(name, Numbered(number), burst_frames=BURST_FRAMES, own_door=own_door)

    # --- what is done

    def start_recorder(self) -> None:
        """One more, on a machine of its own."""
        allowed = ",".join(f"127.0.0.1:{door.door}" for door in self.doors)
        name = f"machine{next(self._names)}"
        running = self.fleet.recorder(name, data=name, STREAMREC_EGRESS_ALLOW=allowed)
        child = self._stack.enter_context(running)
        self.recorders[child.pid] = child, running

    def add_channels(self, numbers: Sequence[int]) -> None:
        """All in one transaction."""
        with db.Session.begin() as session:
            for number in numbers:
                url = f"http://127.0.0.1:{self.doors[number % len(self.doors)].door}/m{number}"
                body = fields(url=url, keyname=f"radio{number:05}", segment_seconds=SEGMENT_SECONDS)
                channels.create(session, checked(body, resolve=lambda _host: [], allow=[url.split("/")[2]]))

    def shut(self) -> None:
        """All stations at once: who listens is hung up on, and connections are refused."""
        for radio in self.radios:
            radio.fault = Fault.SHUT
        for door in self.doors:
            self.station.shut(door)

    def reopen(self) -> None:
        for radio in self.radios:
            radio.fault = None
        for door in self.doors:
            self.station.reopen(door)

    # --- how things stand

    def ask(self, query: sa.Select[Any]) -> Sequence[Any]:
        with db.Session.begin() as session:
            return session.execute(query).all()

    def recorded(self) -> int:
        """How many channels are recorded by whoever holds them."""
        held = (
            sa.select(sa.func.count())
            .select_from(Capture)
            .join(Assignment, Assignment.channel_id == Capture.channel_id)
        )
        living = sa.select(Recorder.id).where(PostgresPlacement()._is_alive)
        ours = (Assignment.recorder_id == Capture.recorder_id, Capture.recorder_id.in_(living))
        return int(self.ask(held.where(Capture.state == CaptureState.RUNNING, *ours))[0][0])

    def wait_for_all(self, channels: int, seconds: float = 90.0) -> None:
        self.wait(lambda: self.recorded() == channels, seconds, f"{channels} channels are recorded")

    def wait_for_even(self, seconds: float = 120.0) -> None:
        """No recorder has two channels more than another, and nothing is on the move."""

        def is_even() -> bool:
            shares = self.fleet.shares()[-RECORDERS:]
            moving = self.ask(sa.select(sa.func.count()).where(Assignment.successor_id.is_not(None)))[0][0]
            return len(shares) == RECORDERS and shares[-1] - shares[0] <= 1 and not moving

        self.wait(is_even, seconds, "all have the same share")

    def wait(self, probe: Callable[[], bool], seconds: float, what: str) -> None:
        programs.eventually(probe, seconds, what, every=LOOK_SECONDS)

    def holders(self) -> dict[int, UUID]:
        return dict(self.ask(sa.select(Assignment.channel_id, Assignment.recorder_id)))  # type: ignore[arg-type]

    def running_since(self, channel_ids: Sequence[int]) -> list[float]:
        """When each of these channels was recorded again."""
        query = sa.select(Capture.since).where(Capture.channel_id.in_(channel_ids))
        return [row[0].timestamp() for row in self.ask(query.where(Capture.state == CaptureState.RUNNING))]

    def requests(self, since: float) -> list[Came]:
        """Who asked the station, and on whose behalf."""
        names = dict(self.ask(sa.select(Channel.url, Assignment.recorder_id).join_from(Channel, Assignment)))  # type: ignore[arg-type]
        of = {url.rpartition("/")[2]: str(holder) for url, holder in names.items()}
        events = [
            event for event in list(self.station.journal.events) if event.what == "request" and event.at >= since
        ]
        return [Came(event.at, str(event.facts["door"]), of.get(event.mount, "")) for event in events]

    def restarts(self) -> int:
        return int(self.ask(sa.select(sa.func.sum(Capture.restarts)))[0][0])


@contextmanager
def running(folder: Path, channels: int) -> Iterator[Site]:
    """Four recorders that share the channels evenly, but for those that come one by one."""
    with ExitStack() as stack:
        site = Site(stack, folder, channels)
        for _ in range(RECORDERS):
            site.start_recorder()
        site.wait(lambda: len(site.fleet.shares()) == RECORDERS, 60, "all recorders are there")
        site.add_channels(range(channels - ONE_BY_ONE))
        site.wait_for_all(channels - ONE_BY_ONE)
        time.sleep(SETTLED_SECONDS)
        yield site


# --- what is measured


def calibrate(site: Site, measured: Measured) -> None:
    """What questions and attempts take while nothing else happens."""
    added = site.ask(sa.select(sa.func.min(Channel.created_at)))[0][0].timestamp()
    measured.started = sorted(at - added for at in site.running_since(list(site.holders())))
    records, placement = PostgresRecords(site.engine, monotonic=time.monotonic), PostgresPlacement()
    someone = next(iter(site.holders().values()))
    questions: dict[str, Callable[[], object]] = {
        "wanted": records.wanted,
        "view": placement.view,
        "account": lambda: records.account(1),
        "change": lambda: placement.renew(someone),
    }
    for name, question in questions.items():
        measured.costs[name] = statistics.median(_took(question) for _ in range(QUESTIONS))
    measured.refusal = asyncio.run(_refusals(programs.free_port()))
    for number in range(site.count - ONE_BY_ONE, site.count):
        _calibrate_attempt(site, measured, number)


async def _refusals(port: int) -> list[float]:
    """How long attempts take at a host that refuses them."""
    clock, allow = SystemClock(), (f"127.0.0.1:{port}",)
    resolver = Resolver(clock, allow)
    children = ffmpeg.Sources(programs.ffmpeg(), clock, allow, Path("unused"), resolver)
    sources, took = Sources(resolver, clock, children), []
    for _ in range(QUESTIONS):
        began = time.perf_counter()
        closed = [event async for event in sources.open(Address(f"http://127.0.0.1:{port}/")).events()]
        assert isinstance(closed[0], Closed)
        assert closed[0].reason is GapReason.SOURCE_REFUSED, closed
        took.append(time.perf_counter() - began)
    return took


def _took(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _calibrate_attempt(site: Site, measured: Measured, number: int) -> None:
    added = time.time()
    site.add_channels([number])
    site.wait_for_all(number + 1)
    held = sa.select(Assignment.changed_at, Capture.since).join_from(
        Assignment, Capture, Assignment.channel_id == Capture.channel_id
    )
    claimed, since = site.ask(held.order_by(Assignment.channel_id.desc()).limit(1))[0]
    asked = site.station.journal.of(f"m{number}", "request")[0].at
    measured.noticed.append(claimed.timestamp() - added)
    measured.connect.append(asked - claimed.timestamp())
    measured.first_media.append(since.timestamp() - asked)


def kill(site: Site, dice: random.Random) -> dict[str, Any]:
    """One machine is gone; another takes its place once the others have its channels."""
    site.wait_for_even()
    time.sleep(dice.uniform(2.0, 4.0))
    child = dice.choice([child for child, _ in site.recorders.values()])
    holders = site.fleet.holders()
    lost = [channel_id for channel_id, pid in holders.items() if pid == child.pid]
    killed = time.time()
    child.kill()
    child.wait(5)
    del site.recorders[child.pid]
    beat = site.ask(sa.select(Recorder.heartbeat_at).where(Recorder.pid == child.pid))[0][0].timestamp()
    site.wait(
        lambda: all(site.fleet.holders().get(each, child.pid) != child.pid for each in lost), 30, "all are taken"
    )
    site.wait_for_all(site.count)
    time.sleep(SETTLED_SECONDS)
    claimed = [
        row[0].timestamp()
        for row in site.ask(sa.select(Assignment.changed_at).where(Assignment.channel_id.in_(lost)))
    ]
    outcome = {
        "lost": len(lost),
        "beat": killed - beat,
        "claimed": sorted(at - killed for at in claimed),
        "recording": sorted(at - killed for at in site.running_since(lost)),
        "connects": peaks(site.requests(killed)),
        "load": os.getloadavg()[0],
    }
    site.start_recorder()
    return outcome


def black_out(site: Site) -> dict[str, Any]:
    """All stations away, and back at once."""
    site.wait_for_even()
    time.sleep(QUIET_SECONDS)
    before = site.restarts()
    site.shut()
    time.sleep(AWAY_SECONDS)
    back = time.time()
    site.reopen()
    site.wait(lambda: site.recorded() == site.count, 60, "all are recorded again")
    time.sleep(SETTLED_SECONDS)
    since = site.running_since(list(site.holders()))
    return {
        "recording": sorted(at - back for at in since),
        "connects": peaks(site.requests(back)),
        "failed": site.restarts() - before,
        "load": os.getloadavg()[0],
    }


@click.command()
@click.option("--channels", default=200, show_default=True, type=click.IntRange(ONE_BY_ONE * 2))
@click.option("--kills", default=3, show_default=True)
@click.option("--blackouts", default=1, show_default=True)
@click.option("--seed", default=None, type=int, help="Of who is killed, and when; the time, if not given.")
@click.option("--to", "path", required=True, type=click.Path(path_type=Path), help="Where the figures go.")
@click.option("--in", "parent", type=click.Path(path_type=Path), help="Where its folder is made, as on a tmpfs.")
def main(channels: int, kills: int, blackouts: int, seed: int | None, path: Path, parent: Path | None) -> None:
    """Takes about a minute, 35 s for each kill and 70 s for each blackout."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and leave nothing running
    measured, dice = Measured(channels), random.Random(seed)
    with (
        tempfile.TemporaryDirectory(prefix="streamrec-real-", dir=parent) as folder,
        running(Path(folder), channels) as site,
    ):
        calibrate(site, measured)
        for number in range(kills):
            measured.kills.append(kill(site, dice))
            measured.write(path)
            click.echo(f"kill {number + 1} of {kills}", err=True)
        for number in range(blackouts):
            measured.blackouts.append(black_out(site))
            measured.write(path)
            click.echo(f"blackout {number + 1} of {blackouts}", err=True)


if __name__ == "__main__":
    main()
