"""The supervisor, with small real processes under it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from streamrec.errors import NotReady
from streamrec.settings import PROJECT
from streamrec.up import Child, Supervisor

MODULES = {
    "ends": "",
    "lives": "import pathlib, sys, time\npathlib.Path(sys.argv[1]).touch()\ntime.sleep(60)\n",
    "stubborn": (
        "import pathlib, signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path(sys.argv[1]).touch()\ntime.sleep(60)\n"
    ),
    "lacks": "import sys\nsys.exit(78)\n",
}


@pytest.fixture
def child(tmp_path: Path) -> Callable[..., Child]:
    """Makes a child that runs one of the modules above and touches the file that is its name."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    path = os.pathsep.join([str(tmp_path), str(PROJECT)])

    def make(name: str, stop_seconds: float = 5.0) -> Child:
        return Child(name, [name, str(tmp_path / name)], stop_seconds, {"PYTHONPATH": path})

    return make


def stop_when(is_time: Callable[[], bool]) -> Callable[[], None]:
    """Ask this very process to stop as soon as it `is_time`, or when that takes too long."""
    deadline = time.monotonic() + 30

    def look() -> None:
        if is_time() or time.monotonic() > deadline:
            os.kill(os.getpid(), signal.SIGTERM)

    return look


def test_a_stop_signal_ends_every_child_in_order(child: Callable[..., Child], tmp_path: Path) -> None:
    first, second = child("lives"), child("stubborn", stop_seconds=0.5)
    ready = [tmp_path / "lives", tmp_path / "stubborn"]

    Supervisor([first, second], on_tick=stop_when(lambda: all(path.exists() for path in ready))).run()

    assert first.process is not None
    assert second.process is not None
    assert first.process.returncode == -signal.SIGTERM
    assert second.process.returncode == -signal.SIGKILL


def test_the_handlers_of_before_are_back_afterwards(child: Callable[..., Child]) -> None:
    before = signal.getsignal(signal.SIGTERM)

    Supervisor([child("lives")], on_tick=stop_when(lambda: True)).run()

    assert signal.getsignal(signal.SIGTERM) is before


def test_under_nohup_a_terminal_that_closes_stops_nothing(child: Callable[..., Child]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    living = child("lives")
    hung_up: list[bool] = []

    def hang_up_then_stop() -> None:
        if hung_up:
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        hung_up.append(living.is_running)

    Supervisor([living], on_tick=hang_up_then_stop).run()
    signal.signal(signal.SIGHUP, before)

    assert hung_up[:2] == [True, True]


def test_a_child_that_ends_is_started_again_later_and_later(child: Callable[..., Child]) -> None:
    ending = child("ends")
    waits: dict[int, float] = {}

    def note() -> bool:
        if ending.deaths:
            waits.setdefault(ending.deaths, ending.start_at - time.monotonic())
        return ending.deaths == 3

    Supervisor([ending], on_tick=stop_when(note)).run()

    assert [round(waits[deaths], 1) for deaths in (1, 2, 3)] == [0.1, 0.5, 1.0]


def test_a_child_that_may_not_start_yet_is_waited_for(child: Callable[..., Child], tmp_path: Path) -> None:
    """Others run meanwhile; it follows as soon as what it needs is there."""
    needed, waiting = child("lives"), child("stubborn", stop_seconds=0.5)
    starts: list[bool] = []

    def may_start() -> bool:
        starts.append(needed.is_running)
        return len(starts) > 2 and (tmp_path / "lives").exists()

    waiting.may_start = may_start

    Supervisor([waiting, needed], on_tick=stop_when((tmp_path / "stubborn").exists)).run()

    assert starts[:2] == [False, True]
    assert (tmp_path / "stubborn").exists()


def test_a_child_that_is_not_set_up_ends_all(child: Callable[..., Child], tmp_path: Path) -> None:
    """Another start would not change it; status 78 is sysexits' EX_CONFIG."""
    living = child("lives")

    with pytest.raises(NotReady, match="The lacks cannot run here"):
        Supervisor([living, child("lacks")], on_tick=stop_when(lambda: False)).run()

    assert living.process is not None
    assert not psutil.pid_exists(living.process.pid)
