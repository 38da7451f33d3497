"""Children and their end, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamrec.clock import SystemClock
from streamrec.media import process
from streamrec.media.process import Child

CLOCK = SystemClock()


def python(code: str) -> list[str]:
    """Without our environment, which no child can read."""
    return [os.path.realpath(sys.executable), "-I", "-c", code]


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether the process ends within `seconds`; a zombie counts as ended."""
    deadline = time.monotonic() + seconds
    while process.started(pid) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


async def first_output(child: Child) -> bytes:
    """What it says first."""
    while True:
        data = child.read_output(100)
        if data is not None:
            return data
        await asyncio.sleep(0.01)


async def everything(child: Child) -> bytes:
    """All of stdout."""
    data = b""
    while (piece := child.read_output(1 << 20)) != b"":
        data += piece or b""
        await asyncio.sleep(0.005)
    return data


def test_output_is_read_whole_and_the_status_kept():
    """A megabyte and a half comes through, then the end."""

    async def scenario() -> tuple[int, int]:
        child = Child(python("import sys; sys.stdout.buffer.write(b'x' * 1_500_000); sys.exit(3)"))
        data = await everything(child)
        return len(data), await child.finish(CLOCK, 2.0)

    assert asyncio.run(scenario()) == (1_500_000, 3)


def test_a_child_that_ignores_sigterm_is_killed():
    """Grace ends."""

    async def scenario() -> int:
        code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
        child = Child(python(code))
        await first_output(child)
        child.terminate()
        return await child.finish(CLOCK, 0.2)

    assert asyncio.run(scenario()) == -signal.SIGKILL


def test_a_stopped_child_is_killed_too():
    """SIGSTOP does not hold against SIGKILL."""

    async def scenario() -> int:
        child = Child(python("import time; time.sleep(60)"))
        os.kill(child.pid, signal.SIGSTOP)
        return await child.finish(CLOCK)

    assert asyncio.run(scenario()) == -signal.SIGKILL


def test_a_child_gets_no_environment_of_ours(monkeypatch: pytest.MonkeyPatch):
    """Neither secrets nor a proxy."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:canary@h/d")
    monkeypatch.setenv("http_proxy", "http://evil:1")

    async def scenario() -> bytes:
        child = Child(python("import os; print(dict(os.environ))"))
        try:
            return await everything(child)
        finally:
            await child.finish(CLOCK, 2.0)

    printed = asyncio.run(scenario())

    assert b"canary" not in printed
    assert b"proxy" not in printed


PARENT = """
import os, sys, time
from pathlib import Path
from streamrec.media.process import Child
child = Child([os.path.realpath(sys.executable), "-c", "import time; time.sleep(60)"], register=Path(sys.argv[1]))
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_killed_recorder_leaves_no_child(tmp_path: Path):
    """kill -9 of the parent is the child's end."""
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())

    parent.kill()
    parent.communicate()

    assert gone(pid)


def orphan(folder: Path, *, identity: str | None = None) -> subprocess.Popen[bytes]:
    """A process that a recorder of old has noted, and that was not ended with it."""
    child = subprocess.Popen(python("import time; time.sleep(60)"), start_new_session=True)
    folder.mkdir(exist_ok=True)
    (folder / str(child.pid)).write_text(f"999999999 1 {identity or process.started(child.pid)}")
    return child


def test_leftovers_of_a_recorder_that_is_gone_are_swept(tmp_path: Path):
    """The second net: what the kernel did not end, the next start does."""
    child = orphan(tmp_path / "children")

    assert process.sweep(tmp_path / "children") == [child.pid]
    assert child.wait(5) == -signal.SIGKILL
    assert not list((tmp_path / "children").iterdir())


def test_a_pid_that_belongs_to_another_by_now_is_left_alone(tmp_path: Path):
    """The start time tells them apart."""
    child = orphan(tmp_path / "children", identity="1")

    killed = process.sweep(tmp_path / "children")
    is_running = child.poll() is None
    child.kill()
    child.wait()

    assert (killed, is_running) == ([], True)


def test_torn_notes_are_no_trouble(tmp_path: Path):
    """A crash may have left half a line."""
    (tmp_path / "123").write_text("12")

    assert process.sweep(tmp_path) == []


def test_children_of_a_living_recorder_are_left_alone(tmp_path: Path):
    """Two recorders may share a machine, and ours is one of them."""

    async def scenario() -> tuple[list[int], bool]:
        child = Child(python("import time; time.sleep(60)"), register=tmp_path)
        killed, is_running = process.sweep(tmp_path), child.status() is None
        child.kill()
        await child.finish(CLOCK)
        return killed, is_running

    assert asyncio.run(scenario()) == ([], True)
    assert not list(tmp_path.iterdir())
