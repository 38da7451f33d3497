"""Processes that should not be there, or are missing, are found, whoever their parent is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from streamrec.media.process import started
from tests.chaos import course, processes
from tests.chaos.world import World
from tests.station import faulty, programs
from tests.station.numbered import Numbered

Start = Callable[..., subprocess.Popen[bytes]]
UP = """
import signal, subprocess, sys
for _ in range(int(sys.argv[1])):
    subprocess.Popen([sys.executable, "-c", sys.argv[2], *sys.argv[3:], "streamrec", "recorder"])
signal.pause()
"""
RECORDER = """
import signal, subprocess, sys
child = subprocess.Popen(sys.argv[1:-2]) if sys.argv[1:-2] else None
signal.pause()
"""
SILENCE = ("-re", "-f", "lavfi", "-i", "anullsrc")
ORPHANED = ("/bin/sh", "-c", '"$@" & echo $!', "sh")  # the shell ends, and what it started runs on


def ffmpeg(*arguments: str) -> list[str]:
    return [programs.ffmpeg(), "-nostdin", "-loglevel", "quiet", *arguments, "-f", "null", "-"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts groups of processes, each of which ends with the test."""
    groups: list[subprocess.Popen[bytes]] = []

    def started_group(*command: str) -> subprocess.Popen[bytes]:
        groups.append(subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True))
        return groups[-1]

    yield started_group
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group.pid, signal.SIGKILL)
        group.communicate()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lasts for half a second lasts."""
    monkeypatch.setattr(processes, "REAPING_SECONDS", 0.5)


def put_up(start: Start, world: World, *command: str, recorders: int = 1) -> None:
    """Something that looks like an instance, with so many recorders that have `command` as their child."""
    world.instance.process = start(sys.executable, "-c", UP, str(recorders), RECORDER, *command)
    programs.eventually(lambda: len(world.instance.recorders()) == recorders, 10, "it is up", every=0.02)


def orphan(start: Start, *arguments: str) -> int:
    """An ffmpeg whose parent is dead."""
    shell = start(*ORPHANED, *ffmpeg(*arguments))
    assert shell.stdout is not None
    pid = int(shell.stdout.readline())
    shell.wait(10)
    programs.eventually(lambda: "ffmpeg" in psutil.Process(pid).name(), 10, "ffmpeg runs", every=0.02)
    return pid


def await_capture(world: World) -> list[int]:
    return programs.eventually(lambda: processes.captures(world), 10, "something captures", every=0.02)


def test_an_instance_whose_recorder_captures_has_no_stray(world: World, start: Start) -> None:
    put_up(start, world, *ffmpeg("-i", world.station.url("m0")))
    await_capture(world)

    assert processes.strays(world) == []


def test_an_ffmpeg_that_records_the_station_though_its_parent_is_dead_is_found(world: World, start: Start) -> None:
    put_up(start, world)
    pid = orphan(start, "-i", world.station.url("m0"))

    assert await_capture(world) == [pid]
    assert processes.strays(world) == [f"{pid} captures without a recorder"]


def test_an_orphan_that_only_names_the_station_is_found(world: World, start: Start) -> None:
    pid = orphan(start, *SILENCE, "-metadata", f"comment={world.station.url('m0')}")

    assert await_capture(world) == [pid]


def test_an_orphan_that_does_not_name_the_station_it_talks_to_is_found(
    world: World, start: Start, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text(f"ffconcat version 1.0\nfile {world.station.url('m0')}\n")
    look = ("-safe", "0", "-protocol_whitelist", "file,http,tcp", "-f", "concat")
    pid = orphan(start, *look, "-i", str(script))

    assert await_capture(world) == [pid]


def note(world: World, pid: int, identity: str | None) -> None:
    """As a recorder that is gone has noted its child."""
    folder = world.instance.data / "run" / "children"
    folder.mkdir(parents=True)
    (folder / str(pid)).write_text(f"999999999 1 {identity}")


def test_an_orphan_that_a_recorder_has_noted_is_found(world: World, start: Start) -> None:
    pid = orphan(start, *SILENCE)
    note(world, pid, started(pid))

    assert processes.captures(world) == [pid]


def test_a_note_of_a_process_that_has_ended_is_nobody(world: World) -> None:
    note(world, os.getpid(), "1")

    assert processes.captures(world) == []


def test_an_ffmpeg_at_another_station_is_not_ours(world: World, start: Start) -> None:
    with faulty.running() as other:
        mount = other.add("m0", Numbered(0), own_door=True)
        orphan(start, "-i", other.url("m0"))
        programs.eventually(lambda: mount.connects, 10, "it records", every=0.02)

        assert processes.captures(world) == []


def test_a_capture_that_outlives_what_it_is_for_is_found(world: World, start: Start) -> None:
    pid = orphan(start, "-i", world.station.url("m0"))
    await_capture(world)

    assert processes.left(world, "for nobody") == [f"{pid} still captures for nobody"]


def test_where_nothing_captures_nothing_is_left(world: World) -> None:
    assert processes.left(world, "for nobody") == []


def test_a_child_that_nobody_waits_for_is_found(world: World, start: Start) -> None:
    put_up(start, world, "/bin/true")
    (recorder,) = world.instance.recorders()
    (child,) = programs.eventually(recorder.children, 10, "it has a child", every=0.02)

    assert processes.strays(world) == [f"{child.pid} is a zombie"]


@pytest.mark.parametrize("count", [0, 2])
def test_another_number_of_recorders_than_one_is_found(world: World, start: Start, count: int) -> None:
    put_up(start, world, recorders=count)

    assert processes.strays(world) == [f"{count} recorders run"]


# --- I10


@pytest.mark.parametrize(
    ("name", "most"), [("descriptors", processes.DESCRIPTORS), ("threads", processes.THREADS)]
)
def test_a_recorder_that_has_more_than_it_may_come_to_is_found(name: str, most: int) -> None:
    facts: dict[str, object] = {each: {"before": 40, "after": 40} for each in ("descriptors", "threads")}
    facts[name] = {"before": 40, "after": 41 + most}

    assert course._grown(facts) == [f"the recorder has {41 + most} {name} beside its captures', 40 at first"]


def test_a_recorder_that_has_what_it_had_is_right() -> None:
    assert course._grown({each: {"before": 40, "after": 41} for each in ("descriptors", "threads")}) == []
