"""Programs that the tests start, and how they are started so that none outlives the tests."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from streamrec.media import binary

T = TypeVar("T")
_prctl = ctypes.CDLL(None).prctl
_PR_SET_PDEATHSIG = 1


def needed(program: str, package: str) -> str:
    """The path of a program from a Debian package; in CI its absence is a failure, elsewhere a counted skip."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    if found is not None:
        return found
    if os.environ.get("CI"):
        pytest.fail(f"CI lacks the Debian package {package}", pytrace=False)
    pytest.skip(f"needs the Debian package {package}")


def ffmpeg() -> str:
    """The ffmpeg that streamrec itself uses."""
    return binary.find().path


def free_port() -> int:
    """A TCP port of the loopback address that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_us() -> None:
    """For `preexec_fn`: a test run that is killed takes its servers along (prctl(2), PR_SET_PDEATHSIG)."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def running(
    command: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A child whose output goes to `log`, ended on the way out."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            preexec_fn=die_with_us,
            env=environment,
            cwd=cwd,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def eventually(probe: Callable[[], T], seconds: float, what: str, every: float = 0.1) -> T:
    """The first true answer of `probe`; fails the test when `seconds` have passed without one."""
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"within {seconds:g} s: {what}; last seen: {answer!r}", pytrace=False)
        time.sleep(every)


def listens(port: int) -> bool:
    """Whether something accepts connections on a loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
