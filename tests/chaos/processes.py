"""I9 and I10: which processes there are, and whether any of them grows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil

from streamrec.media.process import started
from streamrec.recorder.worker import DISK_THREADS, WAITING_THREADS
from tests.chaos.world import World
from tests.e2e import door

DESCRIPTORS = 5  # more than at the start is growth
THREADS = DISK_THREADS + WAITING_THREADS  # its pools, which grow up to there when a disk or a name is slow
WARM_SECONDS = 120.0  # of a process's life, before its memory is watched
WATCHED_SECONDS = 300.0  # that it must be watched for, before a slope is told
SAMPLE_SECONDS = 10.0
REAPING_SECONDS = 5.0  # that a parent may be busy otherwise
T = TypeVar("T")


class Sample(NamedTuple):
    """A process at a moment."""

    at: float
    memory: int  # bytes, resident
    descriptors: int
    threads: int


@dataclass
class Census:
    """Counts what the instance's processes hold, now and then."""

    samples: dict[tuple[str, int], list[Sample]] = field(default_factory=dict)
    cpu_seconds: dict[tuple[str, int], float] = field(default_factory=dict)
    _counted_at: float = float("-inf")

    def count(self, world: World) -> None:
        """Note how things stand, if it is time for that."""
        if time.monotonic() - self._counted_at < SAMPLE_SECONDS:
            return
        self._counted_at = time.monotonic()
        for process in door.family(world.instance.process.pid):
            try:
                with process.oneshot():
                    key = (_name(process), process.pid)
                    age = time.time() - process.create_time()
                    now = Sample(age, process.memory_info().rss, process.num_fds(), process.num_threads())
                    self.cpu_seconds[key] = sum(process.cpu_times()[:2])
            except psutil.Error:
                continue
            self.samples.setdefault(key, []).append(now)

    def told(self) -> dict[str, dict[str, float]]:
        """Of each kind of process what it holds at most, and of those that lived long how it grew."""
        found: dict[str, dict[str, float]] = {}
        for (name, pid), samples in sorted(self.samples.items()):
            told = found.setdefault(name, {"lives": 0, "most_mib": 0.0, "cpu_seconds": 0.0})
            told["lives"] += 1
            told["most_mib"] = max(told["most_mib"], round(max(each.memory for each in samples) / (1 << 20), 1))
            told["most_descriptors"] = max(
                told.get("most_descriptors", 0), *(each.descriptors for each in samples)
            )
            told["most_threads"] = max(told.get("most_threads", 0), *(each.threads for each in samples))
            told["cpu_seconds"] = round(told["cpu_seconds"] + self.cpu_seconds[name, pid], 1)
            warm = [each for each in samples if each.at >= WARM_SECONDS]
            if warm and warm[-1].at - warm[0].at >= WATCHED_SECONDS:
                told["mib_an_hour"] = max(told.get("mib_an_hour", float("-inf")), round(_slope(warm), 2))
        return found


def _slope(samples: list[Sample]) -> float:
    """MiB an hour, by least squares."""
    x = sum(each.at for each in samples) / len(samples)
    y = sum(each.memory for each in samples) / len(samples)
    above = sum((each.at - x) * (each.memory - y) for each in samples)
    return above / sum((each.at - x) ** 2 for each in samples) * 3600 / (1 << 20)


def _name(process: psutil.Process) -> str:
    """What it is for: the last words of its command, without numbers."""
    words = process.cmdline() or [process.name()]
    known = {"recorder", "jobs", "up"} & set(words)
    if known:
        return known.pop()
    return "api" if any("gunicorn" in word for word in words) else process.name()


def descriptors(world: World) -> int:
    """How many the recorder has open."""
    recorder = world.recorder()
    return recorder.num_fds() if recorder is not None else 0


def threads(world: World) -> int:
    """How many the recorder has."""
    recorder = world.recorder()
    return recorder.num_threads() if recorder is not None else 0


def strays(world: World) -> list[str]:
    """Processes that are none of the instance's: dead ones that nobody waited for, captures without a recorder."""
    captured = captures(world)  # before the recorders' children: what begins meanwhile is no stray
    up = psutil.Process(world.instance.process.pid)
    family = [up, *up.children(recursive=True)]
    dead = _lasting(lambda: [one.pid for one in family if _is_zombie(one)])
    recorders = world.instance.recorders()
    many = [f"{len(recorders)} recorders run"] if len(recorders) != 1 else []
    mine = {child.pid for one in recorders for child in one.children(recursive=True)}
    stray = [pid for pid in captured if pid not in mine and started(pid)]
    return [
        *(f"{pid} is a zombie" for pid in dead),
        *many,
        *(f"{pid} captures without a recorder" for pid in stray),
    ]


def left(world: World, whom: str) -> list[str]:
    """What captures still, though nothing is to be captured `whom`."""
    return [f"{pid} still captures {whom}" for pid in _lasting(lambda: captures(world))]


def captures(world: World) -> list[int]:
    """Every ffmpeg that names this run's station or talks to it, and every child that a recorder has noted.

    Whoever their parents are, and whether these live.
    """
    mounts = world.station.mounts.values()
    ports = {world.station.port, world.origin.port, *(mount.door for mount in mounts)}
    found = set(_noted(world.instance.data / "run" / "children"))
    for one in psutil.process_iter(["name"]):
        if "ffmpeg" in (one.info["name"] or "") and _is_at(one, ports):
            found.add(one.pid)
    return sorted(found)


def _is_at(process: psutil.Process, ports: set[int]) -> bool:
    """Whether its arguments have an address at one of these ports, or it has a connection there."""
    try:
        arguments = " ".join(process.cmdline())
        there = {one.raddr.port for one in process.net_connections("inet") if one.raddr}
    except psutil.Error:
        return False
    return bool(there & ports) or any(f"//127.0.0.1:{port}/" in arguments for port in ports)


def _noted(folder: Path) -> Iterator[int]:
    """The children in `run/children` that live; `streamrec.media.process` notes them."""
    for entry in folder.glob("[0-9]*"):
        try:
            pid, words = int(entry.name), entry.read_text().split()
        except (OSError, ValueError):
            continue  # it has ended meanwhile
        if words and started(pid) == words[-1]:
            yield pid


def _lasting(look: Callable[[], list[T]]) -> list[T]:
    """What is still found after REAPING_SECONDS; nothing as soon as nothing is."""
    until = time.monotonic() + REAPING_SECONDS
    while (found := look()) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
