"""I9 and I10: which processes there are, and whether any of them grows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil

from streamrec.recorder.worker import DISK_THREADS, WAITING_THREADS
from tests.chaos.world import World
from tests.e2e import door

DESCRIPTORS = 5  # more than at the start is growth
THREADS = DISK_THREADS + WAITING_THREADS  # its pools, which grow up to there when a disk or a name is slow
WARM_SECONDS = 120.0  # of a process's life, before its memory is watched
WATCHED_SECONDS = 300.0  # that it must be watched for, before a slope is told
SAMPLE_SECONDS = 10.0
REAPING_SECONDS = 5.0  # that a parent may be busy otherwise


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
    up = psutil.Process(world.instance.process.pid)
    dead = [f"{one.pid} is a zombie" for one in _unreaped([up, *up.children(recursive=True)])]
    recorders = world.instance.recorders()
    many = [f"{len(recorders)} recorders run"] if len(recorders) != 1 else []
    mine = {child.pid for one in recorders for child in one.children(recursive=True)}
    return [*dead, *many, *(f"{pid} captures without a recorder" for pid in _captures(world) if pid not in mine)]


def _unreaped(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those whose end nobody asks for within REAPING_SECONDS."""
    until = time.monotonic() + REAPING_SECONDS
    found = [each for each in processes if _is_zombie(each)]
    while found and time.monotonic() < until:
        time.sleep(0.05)
        found = [each for each in found if _is_zombie(each)]
    return found


def _captures(world: World) -> Iterator[int]:
    for one in psutil.process_iter(["name", "cmdline"]):
        arguments = " ".join(one.info["cmdline"] or [])
        if "ffmpeg" in (one.info["name"] or "") and str(world.instance.data) in arguments:
            yield one.pid


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
