"""Each n-th system call of the workload killed, or made to fail, by strace's fault injection."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

import click
import psutil

from streamrec import db
from streamrec.recorder.facts import Fact
from streamrec.settings import Settings
from tests.crash import databases, lives, oracle, workload

FEWEST: Final = {
    "openat": 50,
    "write": 25,
    "pwrite64": 25,
    "fdatasync": 25,
    "fsync": 25,
    "rename": 1,
    "renameat2": 6,
    "mkdirat": 8,
    "fallocate": 1,
    "sendto": 50,
    "syncfs": 6,
}
"""How often, at least, a life makes each of the calls that matter."""
CALLS: Final = tuple(FEWEST)
FAULTS: Final = ("signal=KILL", "error=EIO", "error=ENOSPC", "delay_enter=20000")
SECONDS: Final = 60.0
_DONE = re.compile(r"\((INJECTED|DELAYED)\)")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.crash.nursery"])


@dataclass(frozen=True, slots=True)
class Point:
    """Where a crash comes: the `at`-th `call`, and what becomes of it."""

    call: str
    fault: str
    at: int
    life: str = "alone"

    def __str__(self) -> str:
        return f"{self.call}:{self.fault}:when={self.at}"


def crash(settings: Settings, point: Point) -> tuple[list[Fact], bool]:
    """Run the workload up to `point`; what its database acknowledged, and whether the point was reached."""
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=lives.child, args=(settings, theirs, point.life))
    process.start()
    theirs.close()
    assert process.pid is not None
    try:
        strace = attach(process.pid, point)
        os.kill(process.pid, signal.SIGCONT)
        process.join(SECONDS)
        assert process.exitcode is not None, f"{point}: it hangs"
        _, said = strace.communicate(timeout=SECONDS)
        return list(workload.received(ours)), bool(_DONE.search(said)) or process.exitcode == -signal.SIGKILL
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def attach(pid: int, point: Point) -> subprocess.Popen[str]:
    """strace on a child that has stopped itself; what it writes is the log."""
    await_stop(pid)
    command = ["strace", "-f", "-p", str(pid), "-e", f"trace={point.call}", "-e", f"inject={point}"]
    strace = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert strace.stderr is not None
    while "attached" not in (line := strace.stderr.readline()):
        assert line, "strace does not attach"
    return strace


def await_stop(pid: int) -> None:
    """Until a child has stopped itself."""
    deadline = time.monotonic() + SECONDS
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < deadline, "the child does not stop itself"
        time.sleep(0.002)


def check(settings: Settings, point: Point) -> tuple[list[str], bool]:
    """Crash at `point` and start again; what is wrong then, and whether the point was reached."""
    shutil.rmtree(settings.data_dir, ignore_errors=True)
    acknowledged, is_reached = crash(settings, point)
    may_lose = point.fault.startswith("error=") and point.call != "syncfs"  # which nobody relies on
    faults = oracle.faults(settings, acknowledged, may_lose=may_lose)
    return [f"{point.life}, {point}: {fault}" for fault in faults], is_reached


def lived_by(call: str) -> str:
    """The shortest life that makes a call."""
    return "together" if call == "syncfs" else "alone"


def walked(call: str, fault: str, life: str) -> Iterator[Point]:
    """Every point of a call; the caller stops when one is not reached."""
    return (Point(call, fault, at, life) for at in count(1))


@click.command()
@click.option("--call", "calls", multiple=True, default=CALLS, type=click.Choice(CALLS), help="Default: all.")
@click.option("--fault", "faults", multiple=True, default=FAULTS, type=click.Choice(FAULTS), help="Default: all.")
@click.option("--life", type=click.Choice(tuple(lives.LIVES)), help="Default: the shortest that makes the call.")
@click.option("--sample", type=int, help="Only so many points of each call and fault, chosen at random.")
@click.option("--seed", default=1, show_default=True)
def main(calls: tuple[str, ...], faults: tuple[str, ...], life: str | None, sample: int | None, seed: int) -> None:
    """Kill or fail each n-th system call of a recorder's life, start again, and look whether all is well."""
    draw, points, wrong = random.Random(seed), 0, 0
    with databases.fresh() as settings:
        engine = db.connect(settings, application="crash-oracle")
        for call in calls:
            for fault in faults:
                chosen = None if sample is None else {1, *draw.sample(range(2, 80), sample - 1)}
                for point in walked(call, fault, life or lived_by(call)):
                    if chosen is not None and point.at not in chosen:
                        if point.at > max(chosen):
                            break
                        continue
                    oracle.prepare(settings, engine)
                    found, is_reached = check(settings, point)
                    for line in found:
                        click.echo(line)
                    wrong += bool(found)
                    if not is_reached:
                        break
                    points += 1
                click.echo(f"{call} {fault}: {points} points so far, {wrong} wrong")
        engine.dispose()
    click.echo(f"{points} points, {wrong} wrong")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
