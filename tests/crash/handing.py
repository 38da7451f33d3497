"""A process that hands over what waits, to be killed on its way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Final

from streamrec import db
from streamrec.handover import clipped, recorded, stored
from streamrec.settings import Settings

RUNS: Final = {"recording": recorded.run, "clip": clipped.run, "content": stored.run}


def child(settings: Settings, kind: str) -> None:
    """Stop at once, for whoever wants to watch; then hand over."""
    os.kill(os.getpid(), signal.SIGSTOP)
    engine = db.connect(settings, application="handing")
    RUNS[kind](settings)
    engine.dispose()


@contextmanager
def stopped(settings: Settings, kind: str) -> Iterator[BaseProcess]:
    """Such a process, which has stopped itself; killed at the end."""
    from tests.crash import calls

    process = calls.CONTEXT.Process(target=child, args=(settings, kind))
    process.start()
    try:
        assert process.pid is not None
        calls.await_stop(process.pid)
        yield process
    finally:
        process.kill()
        process.join()
        process.close()
