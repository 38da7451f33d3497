"""`python -m streamrec.lifeline MODULE ARGUMENT...`: runs a module that may not outlive whoever started it.

The starter holds the writing end of a pipe whose reading end is named in STREAMREC_LIFELINE. The kernel closes it
however the starter ends, `kill -9` included, and then this process gets a SIGTERM. That works on every POSIX
system, and for modules that know nothing of it.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading

VARIABLE = "STREAMREC_LIFELINE"
_HELD = "STREAMREC_LIFELINE_HELD"  # in the environment, because this module may be loaded twice in a process


def watch() -> None:
    """End this process when its starter is gone, if it has a lifeline."""
    descriptor = os.environ.pop(VARIABLE, None)
    if descriptor is not None:
        os.environ[_HELD] = descriptor
        threading.Thread(target=_wait, args=(int(descriptor),), name="lifeline", daemon=True).start()


def held() -> int | None:
    """The descriptor of this process's lifeline, for another one that is to end with the same starter."""
    descriptor = os.environ.get(_HELD)
    return None if descriptor is None else int(descriptor)


def _wait(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run the module named first with the arguments after it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the starter ends us in order
    watch()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
