"""Replacing a recorder's program in place: a stand-in takes over, the process begins anew, and takes all back.

The process keeps its id, so that whoever supervises it sees nothing. If the new program does not come up, the
stand-in goes on recording.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Final

import structlog

from streamrec import lifeline

log = structlog.get_logger(__name__)

RELIEVES: Final = "STREAMREC_RECORDER_RELIEVES"  # the variable that names the stand-in to the new program


def start_stand_in() -> subprocess.Popen[bytes]:
    """Another recorder, of the program that is installed now. It does not outlive whoever started us."""
    held = lifeline.held()
    return subprocess.Popen(
        sys.orig_argv,
        executable=sys.executable,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **_lifeline()},
        pass_fds=() if held is None else (held,),
    )


def ignore_more() -> None:
    """Being told twice must not end the process before the new program listens: until then it is heard no more."""
    asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR2)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def begin_anew(stand_in: int) -> None:
    """Become the program that is installed now; it will relieve the process `stand_in`. Does not return."""
    os.environ.update({**_lifeline(), RELIEVES: str(stand_in)})
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - our own command line


def relieve() -> None:
    """Once this recorder is among the others: let the stand-in leave, if there is one."""
    named = os.environ.pop(RELIEVES, None)
    if named is None:
        return
    log.info("the stand-in is relieved", pid=int(named))
    with suppress(ProcessLookupError):
        os.kill(int(named), signal.SIGUSR1)
    threading.Thread(target=_reap, args=(int(named),), name="reap", daemon=True).start()


def _lifeline() -> dict[str, str]:
    held = lifeline.held()
    return {} if held is None else {lifeline.VARIABLE: str(held)}


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
