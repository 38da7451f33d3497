"""One process that keeps the others running: starts them, restarts what dies, and stops all of them in order."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import structlog

from streamrec import lifeline
from streamrec.errors import NotReady

log = structlog.get_logger(__name__)

PID_VARIABLE = "STREAMREC_UP_PID"  # tells children whom to ask when all of it is to stop
BACKOFF_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)  # what is not recorded meanwhile is lost
SETTLED_SECONDS = 10.0  # a child that lived this long starts again from the shortest back-off
TICK_SECONDS = 0.5
EX_CONFIG = 78  # sysexits.h


@dataclass
class Child:
    """A module that is to run as a process of its own; `stop_seconds` is its grace after SIGTERM.

    It is started once `may_start` says so, which is asked at every tick.
    """

    name: str
    arguments: Sequence[str]
    stop_seconds: float = 4.0
    environment: Mapping[str, str] = field(default_factory=dict)
    may_start: Callable[[], bool] = lambda: True
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    start_at: float = 0.0

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None


def stop_signals() -> tuple[signal.Signals, ...]:
    """What ends us; under nohup(1) a terminal that closes does not."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    return numbers[:2] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else numbers


class Supervisor:
    """Runs `children` until a stop signal, then stops them in the order given.

    They share this process's group and terminal, and have a lifeline to it: none of them outlives it.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        restart_cap_seconds: float = BACKOFF_SECONDS[-1],
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        """`restart_cap_seconds` is the longest wait before a child that died again is started again."""
        self._children = children
        self._restart_cap_seconds = restart_cap_seconds
        self._on_tick = on_tick
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def run(self) -> None:
        """Return when a signal has come and every child has gone."""
        with self._listening(), _pipe() as reading:
            try:
                self._watch(reading)
            finally:
                self._stop_all()

    def _watch(self, lifeline_end: int) -> None:
        while True:
            for child in self._children:
                _tend(child, lifeline_end, self._restart_cap_seconds)
            self._on_tick()
            try:
                number = self._signals.get(timeout=TICK_SECONDS)
            except queue.Empty:
                continue
            if number != signal.SIGCHLD:
                log.info("stopping", signal=signal.Signals(number).name)
                return

    def _stop_all(self) -> None:
        for child in self._children:
            _stop(child)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        numbers = (*stop_signals(), signal.SIGCHLD)
        before = {number: signal.signal(number, self._note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._signals.put(number)  # the only kind of queue that a signal handler may use


def _tend(child: Child, lifeline_end: int, cap_seconds: float) -> None:
    """Start `child` if it is due; note its death if it has died.

    Raises:
        NotReady: it says that it is not set up, which another start will not change.
    """
    moment = time.monotonic()
    if child.process is None:
        if moment >= child.start_at and child.may_start():
            _start(child, lifeline_end)
        return
    status = child.process.poll()
    if status is None:
        return
    if status == EX_CONFIG:
        raise NotReady(f"The {child.name} cannot run here; it said above what is missing.")
    if moment - child.started > SETTLED_SECONDS:
        child.deaths = 0
    wait = min(cap_seconds, BACKOFF_SECONDS[min(child.deaths, len(BACKOFF_SECONDS) - 1)])
    child.deaths += 1
    child.process, child.start_at = None, moment + wait
    log.error(f"{child.name} ended", status=status, deaths_in_a_row=child.deaths, restart_in_seconds=wait)
    if child.deaths == len(BACKOFF_SECONDS):
        log.error(f"{child.name} keeps ending; what it said above tells why. It is tried every {wait:.0f} s.")


def _start(child: Child, lifeline_end: int) -> None:
    child.process = subprocess.Popen(
        [sys.executable, "-m", lifeline.__name__, *child.arguments],
        stdin=subprocess.DEVNULL,
        env={**os.environ, **child.environment, lifeline.VARIABLE: str(lifeline_end)},
        pass_fds=(lifeline_end,),
    )
    child.started = time.monotonic()
    log.debug(f"{child.name} started", pid=child.process.pid)


def _stop(child: Child) -> None:
    if child.process is None:
        return
    child.process.terminate()
    try:
        child.process.wait(child.stop_seconds)
    except subprocess.TimeoutExpired:
        log.warning(f"{child.name} does not stop; killed", after_seconds=child.stop_seconds)
        child.process.kill()
        child.process.wait()


@contextmanager
def _pipe() -> Iterator[int]:
    """The children's lifeline: the end they read; the other end closes with this process, however it ends."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(writing)
        os.close(reading)
