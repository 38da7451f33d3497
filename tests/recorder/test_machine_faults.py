"""What the machine does to a recorder: F36, F40, F41, F43, F44, F48, F51 to F54, F61, F62 of the fault catalogue.

One recorder captures while one thing after the other goes wrong around it. Each test then states one claim.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine
from sqlalchemy.orm import Session

from streamrec import audit
from streamrec.media.process import GRACE_SECONDS
from streamrec.models import Capture, CaptureState, GapReason
from streamrec.settings import Settings
from tests import privileges
from tests.recorder.ordeal import Gap, Ordeal
from tests.station import faulty, programs, proxy
from tests.station.clips import MP3_FRAME_SECONDS
from tests.station.content import missing
from tests.station.numbered import Numbered

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CALM = ("calm-1", "calm-2", "calm-3")
SHED = tuple(f"shed-{number:02}" for number in range(12))
BLOCKED_SECONDS = 5
STACK_BYTES = 1 << 30  # of address space for each thread, so that a limit of that can keep any more from starting
PROGRAM = (
    "-c",
    f"""
import runpy, signal, sys, threading, time
threading.stack_size({STACK_BYTES})
signal.signal(signal.SIGRTMIN, lambda *_: time.sleep({BLOCKED_SECONDS}))  # the main thread's, which runs the loop
sys.argv = ["streamrec", "recorder"]
runpy.run_module("streamrec", run_name="__main__")
""",
)
WRAPPER = """#!/bin/sh
[ -e "{folder}/starve" ] && ulimit -v {kibibytes}
exec {ffmpeg} "$@"
"""
CHILD_KIBIBYTES = 100_000  # of address space: too little for an ffmpeg
COMPLAINT = b"[error] Something is wrong, and it will be told ten million times.\n"
SAID_LINES = 60_000  # 4 MB
SPOOL_MEGABYTES = 4
ARCHIVE_MEGABYTES = 200
ARCHIVE_INODES = 2000
SYNC_SECONDS = 2.5  # four of them at the end of a file: ten seconds
SPARE_DESCRIPTORS = 30
CAP_SECONDS = 2.0
HEALED_SECONDS = 5.0
FILE_SECONDS = 5.2  # within which each capture ends a file and begins another
START_SECONDS = 8.0  # two ffmpegs, one that looks and one that captures, on a busy machine
LATENCY_SECONDS = 0.3
NEAR_SECONDS = 0.25  # of a gap's bounds
UNREAD_SECONDS = 4.0  # until what was on air is in a file: two beats of reading, the latency, a busy machine


@dataclass
class Moments:
    """When something began and ended, in seconds since 1970."""

    began: float = 0.0
    ended: float = 0.0


@dataclass
class Story:
    """What was seen, once it is over."""

    ordeal: Ordeal
    moments: dict[str, Moments] = field(default_factory=dict)
    invariants: dict[str, list[str]] = field(default_factory=dict)
    disk: privileges.Image | None = None
    waiting: int = 0

    @contextmanager
    def time(self, name: str) -> Iterator[Moments]:
        moments = self.moments[name] = Moments(time.time())
        yield moments
        moments.ended = time.time()

    def gaps(self, name: str, since: str, *, before: float = 6.0) -> list[Gap]:
        """Those that begin while something lasts, or so long before: a file that is lost began earlier."""
        moments = self.moments[since]
        gaps = self.ordeal.tracks[name].later_gaps
        return [gap for gap in gaps if moments.began - before <= gap.start_time.timestamp() <= moments.ended]

    def lost_frames(self, name: str, since: float, until: float) -> int:
        """How many of those that were on air between two moments the archive lacks."""
        track = self.ordeal.tracks[name]
        assert track.mount is not None
        parts = track.mount.parts
        lost = [parts[part].on_air(frame) for part, frames in missing(track.places).items() for frame in frames]
        return sum(since <= moment.timestamp() < until for moment in lost)


def pause(seconds: float) -> None:
    """It lasts."""
    threading.Event().wait(seconds)


@contextmanager
def few_descriptors(pid: int, spare: int) -> Iterator[None]:
    """It may open only so many more."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    limit = max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()) + 1 + spare
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@contextmanager
def no_thread_more(pid: int) -> Iterator[None]:
    """It may not start any; what it allocates otherwise is far below the stack of a thread."""
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    limit = psutil.Process(pid).memory_info().vms + STACK_BYTES // 2
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, before)


@contextmanager
def slow_syncs(pid: int, seconds: float, log: Path) -> Iterator[None]:
    """Each call that makes something durable takes so much longer; strace notes which it held up."""
    calls = "fsync,fdatasync,syncfs"
    inject = f"inject={calls}:delay_enter={int(seconds * 1e6)}"
    command = [
        programs.needed("strace", "strace"),
        "-q",
        "-f",
        "-o",
        str(log),
        "-p",
        str(pid),
        "-e",
        f"trace={calls}",
        "-e",
        inject,
    ]
    strace = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        strace.terminate()
        strace.wait(20)


@pytest.fixture(scope="module")
def own_engine(server: URL, maintenance: Engine, template: str) -> Iterator[Engine]:
    """A database for the whole story."""
    name = f"streamrec_machine_{uuid4().hex[:8]}"
    with maintenance.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    engine = sa.create_engine(server.set(database=name), poolclass=sa.NullPool)
    yield engine
    with maintenance.connect() as connection:
        connection.execute(sa.text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, own_engine: Engine) -> Story:
    """Everything that the tests below look at, after it has happened."""
    folder = tmp_path_factory.mktemp("machine")
    url = own_engine.url.render_as_string(hide_password=False)
    settings = Settings(data_dir=folder / "data", database_url=url)
    story = Story(Ordeal(own_engine, settings, folder))
    with ExitStack() as stack:
        if os.getuid() == 0:
            stack.enter_context(privileges.small_disk(settings.spool_dir, megabytes=SPOOL_MEGABYTES))
            image = privileges.Image(settings.archive_dir, megabytes=ARCHIVE_MEGABYTES, inodes=ARCHIVE_INODES)
            story.disk = stack.enter_context(image.mounted())
        station = stack.enter_context(faulty.running())
        network = stack.enter_context(proxy.running(station.port))
        network.delay = LATENCY_SECONDS
        wrapper = _wrapper(folder)
        reachable = [f"127.0.0.1:{port}" for port in (station.port, network.port)]
        variables = {"STREAMREC_FFMPEG": str(wrapper), "STREAMREC_RETRY_CAP_SECONDS": str(CAP_SECONDS)}
        with story.ordeal.recorder(reachable, program=PROGRAM, **variables) as recorder:
            story.ordeal.await_recorder()
            for number, name in enumerate((*CALM, "far", "child")):
                mount = station.add(name, Numbered(number), burst_frames=0)
                url = station.url(name)
                if name == "far":
                    url = url.replace(str(station.port), str(network.port))
                story.ordeal.add(name, url, mount, capture="ffmpeg" if name == "child" else "auto")
            story.ordeal.await_running([*CALM, "far", "child"])
            pause(2)
            _befall(story, recorder.pid, station, network, folder)
        story.ordeal.gather()
        with Session(own_engine) as session:
            found = audit.run(session, settings, depth=audit.Depth.HASH)
            story.invariants = {one.id: one.examples for one in found}
    return story


def _wrapper(folder: Path) -> Path:
    """A program in a `bin`, which may load what is in the `lib` beside it and nothing else of ours."""
    wrapper, real = folder / "bin" / "ffmpeg", folder / "lib" / "ffmpeg"
    for each in (wrapper, real):
        each.parent.mkdir()
    shutil.copy(programs.ffmpeg(), real)
    wrapper.write_text(WRAPPER.format(folder=folder, kibibytes=CHILD_KIBIBYTES, ffmpeg=real))
    wrapper.chmod(0o755)
    return wrapper


def _befall(story: Story, pid: int, station: faulty.Station, network: proxy.Proxy, folder: Path) -> None:
    settings = story.ordeal.settings
    children = settings.run_dir / "children"
    starve = folder / "starve"
    for name, number in (("killed", signal.SIGKILL), ("hung", signal.SIGSTOP)):
        with story.time(name):
            _end_child(children, number)
        story.ordeal.await_running(["child"])
        pause(4)  # it is known where it goes on, and at what pace
    with story.time("memory"):
        starve.touch()
        (child,) = children.iterdir()
        os.kill(int(child.name), signal.SIGKILL)
        pause(2)
        starve.unlink()
    story.ordeal.await_running(["child"])
    pause(2)  # it is known where it goes on
    with story.time("flood"):
        (child,) = children.iterdir()
        with Path(f"/proc/{child.name}/fd/2").open("wb") as stderr:  # a child of ours starts nobody who could talk
            stderr.write(COMPLAINT * SAID_LINES)
    pause(1.5)
    with story.time("blocked"):
        os.kill(pid, signal.SIGRTMIN)
        network.is_stalled = True
        pause(1.5)
        network.is_stalled = False
        pause(BLOCKED_SECONDS - 0.5)
    if os.getuid() == 0:
        with story.time("spool full"), privileges.filled(settings.spool_dir):
            pause(FILE_SECONDS)
    with story.time("descriptors"), few_descriptors(pid, SPARE_DESCRIPTORS):
        for number, name in enumerate(SHED):
            mount = station.add(name, Numbered(100 + number), burst_frames=0)
            story.ordeal.add(name, station.url(name), mount)
        pause(FILE_SECONDS)
        story.waiting = len(SHED) - _running(story, SHED)
    story.ordeal.await_running(list(SHED))
    if os.getuid() == 0:  # strace(1) may not attach to what it has not started
        with story.time("slow"), no_thread_more(pid), slow_syncs(pid, SYNC_SECONDS, folder / "strace.log"):
            pause(11)
        pause(UNREAD_SECONDS)
    if story.disk is not None:
        with story.time("inodes"), privileges.without_inodes(settings.archive_dir):
            pause(FILE_SECONDS)
        pause(2 * FILE_SECONDS)  # a file is closed between the two
        with story.time("read-only"), story.disk.broken():
            pause(3)
        pause(7)


def _end_child(children: Path, number: signal.Signals) -> None:
    """Send the only child a signal, and wait until it is gone and another there."""
    (child,) = children.iterdir()
    os.kill(int(child.name), number)
    programs.eventually(lambda: not psutil.pid_exists(int(child.name)), 20, "it is gone")
    programs.eventually(lambda: list(children.iterdir()), 10, "there is another")


def _running(story: Story, names: Sequence[str]) -> int:
    ids = [story.ordeal.tracks[name].channel_id for name in names]
    running = sa.select(sa.func.count()).where(Capture.channel_id.in_(ids), Capture.state == CaptureState.RUNNING)
    with Session(story.ordeal.engine) as session:
        return int(session.scalar(running) or 0)


# --- what it costs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*CALM, "far"])
def test_no_frame_is_lost_while_the_disk_works(story: Story, name: str) -> None:
    """F36, F43, F44, F48, F51, F54, F61, F62: whatever befalls others, the loop, the spool, the threads."""
    track = story.ordeal.tracks[name]
    until = story.moments["slow"].ended if "slow" in story.moments else time.time()
    outage = min((gap.start_time.timestamp() for gap in track.later_gaps), default=until)

    assert story.lost_frames(name, 0.0, until) == 0
    assert story.lost_frames(name, 0.0, outage - LATENCY_SECONDS - NEAR_SECONDS) == 0
    assert [gap for gap in track.later_gaps if gap.start_time.timestamp() < until] == []
    assert track.places == sorted(set(track.places))


def test_a_killed_child_costs_a_second_at_most(story: Story) -> None:
    """F40: of a radio whose station has no burst to make it good; one gap, as long as what is lost."""
    since, until = (story.moments[name].began for name in ("killed", "hung"))
    lost = story.lost_frames("child", since - 1, until - 1) * MP3_FRAME_SECONDS
    (gap,) = story.gaps("child", "killed", before=1.0)

    assert 0 < lost <= 1.0
    assert gap.reason is GapReason.CAPTURE_CRASHED
    assert gap.seconds == pytest.approx(lost, abs=0.05)


def test_a_child_that_hangs_is_noticed_within_five_seconds_and_replaced(story: Story) -> None:
    """F41: SIGSTOP while it captures; it has its time to leave, and is killed."""
    began = story.moments["hung"].began
    (gap,) = story.gaps("child", "hung", before=1.0)

    assert story.ordeal.tracks["child"].fell_back(began) - began <= 5.0 + GRACE_SECONDS
    assert gap.reason is GapReason.STALLED
    assert gap.end_time.timestamp() <= story.moments["hung"].ended + CAP_SECONDS + 1.0


def test_a_child_without_memory_is_started_until_it_has_some(story: Story) -> None:
    """F43: one gap that names the crash, over when there is memory, but for the wait of the latest attempt."""
    (gap,) = story.gaps("child", "memory", before=1.0)

    assert gap.reason is GapReason.CAPTURE_CRASHED
    assert gap.end_time.timestamp() <= story.moments["memory"].ended + CAP_SECONDS + START_SECONDS


def test_the_spools_disk_was_full(story: Story) -> None:
    """F51: else it was no trial that no frame was lost."""
    privileges.needed("to mount a small disk for the spool")
    moments = story.moments["spool full"]
    assert moments.ended - moments.began >= FILE_SECONDS


def test_a_child_that_talks_without_end_is_recorded_all_the_same(story: Story) -> None:
    """F44: 4 MB of complaints, none of which is in the log."""
    moments = story.moments["flood"]

    assert story.gaps("child", "flood", before=0.0) == []
    assert story.lost_frames("child", moments.began, moments.ended) == 0
    assert "told ten million times" not in story.ordeal.log.read_text()


def test_a_loop_that_is_blocked_says_so_and_keeps_its_channels(story: Story) -> None:
    """F48: five seconds, less than a lease; beats come from a thread of its own."""
    assert "the event loop was blocked" in story.ordeal.log.read_text()
    assert {row.epoch for name in CALM for row in story.ordeal.tracks[name].recordings} == {1}


def test_new_captures_wait_while_descriptors_are_few(story: Story) -> None:
    """F61: some of a dozen begin, the others when there are enough again."""
    assert 0 < story.waiting < len(SHED)
    assert "no descriptors are left" in story.ordeal.log.read_text()


def test_each_sync_was_held_up(story: Story) -> None:
    """F54: else it was no trial."""
    privileges.needed("to attach strace")
    assert (story.ordeal.folder / "strace.log").read_text().count("DELAYED") >= len(CALM)


@pytest.mark.parametrize("name", CALM)
@pytest.mark.parametrize(("fault", "reason"), [("inodes", GapReason.DISK_FULL), ("read-only", GapReason.IO_ERROR)])
def test_a_disk_that_takes_no_file_is_a_gap_until_it_does(
    story: Story, name: str, fault: str, reason: GapReason
) -> None:
    """F52, F53: no inode left; the kernel has made it read-only, and it is repaired and mounted again."""
    privileges.needed("to mount a disk that breaks")

    (gap,) = story.gaps(name, fault)

    assert gap.reason is reason
    assert gap.end_time.timestamp() <= story.moments[fault].ended + HEALED_SECONDS


def test_the_oracle_has_nothing_to_say(story: Story) -> None:
    """Account, rows and files agree, to the byte."""
    assert {name: examples for name, examples in story.invariants.items() if examples} == {}
