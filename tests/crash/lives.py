"""Lives of a small recorder, each the same whenever it is lived."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Final, Self

from streamrec import db
from streamrec.archive.files import Tree
from streamrec.recorder.diskfault import DiskFault
from streamrec.recorder.facts import Fact, encode
from streamrec.recorder.flusher import PATIENCE_SECONDS, Flusher, syncfs
from streamrec.recorder.spool import Spool
from streamrec.settings import Settings
from tests.crash import workload
from tests.crash.workload import CHANNELS, Desk, Witness

SYNC_SECONDS: Final[float] = Settings.model_fields["sync_seconds"].default
PROMISED_SECONDS: Final = {"alone": 0.0, "together": SYNC_SECONDS + PATIENCE_SECONDS}
"""What was written longer ago, by a life's own clock, is on the disk."""

_STEPS: Final = 9
_BEATS: Final = 18
_LONG_SECONDS: Final = 4  # of media; twelve beats, most of which nothing but the flusher has synced
_GATHER_SECONDS: Final = 0.125  # sums of it are exact
_SLOW: Final = 5  # the flush of this beat takes until after the next two
_FAILING: Final = (8, 9)
_LATE: Final = (14, 15)  # the flusher does not come at all


def alone(settings: Settings, witness: Witness) -> None:
    """Two channels, each of whose writes is synced by itself."""
    with workload.disk(settings) as (archive, spool):
        workload.start(settings, archive, spool, witness.acknowledged)
        desk = Desk(archive, spool)
        for number, step in enumerate(workload.steps((1, 2), _STEPS)):
            witness.moment(number, desk.written)
            for channel_id, units in step.items():
                desk.write(channel_id, units)
            workload.drain(spool, witness.acknowledged)
        desk.close()
        workload.drain(spool, witness.acknowledged)


def together(settings: Settings, witness: Witness) -> None:
    """As many channels as one sync is made for, that write with one beat."""
    with workload.disk(settings) as (archive, spool):
        workload.start(settings, archive, spool, witness.acknowledged)
        _Together(archive, spool, witness).live()


LIVES: Final[dict[str, Callable[[Settings, Witness], None]]] = {"alone": alone, "together": together}


class Inline(Flusher):
    """One without a thread: whoever has it says when it flushes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)


class _Together:
    """A life whose time is what it says it is: a second for each beat."""

    def __init__(self, archive: Tree, spool: Spool, witness: Witness) -> None:
        self._spool = spool
        self._witness = witness
        self._now = 0.0
        self._beats = enumerate(workload.steps(CHANNELS, _BEATS))
        self._flusher = Inline(
            archive.path, SYNC_SECONDS, monotonic=self._monotonic, sync=witness.syncing(self._sync)
        )
        self._desk = Desk(archive, spool, _LONG_SECONDS, SYNC_SECONDS, self._flusher, self._monotonic)

    def _monotonic(self) -> float:
        return self._now

    def live(self) -> None:
        with self._flusher:
            while self._beat():
                if int(self._now) not in _LATE:
                    self._flusher.flush()
        self._desk.close()
        workload.drain(self._spool, self._witness.acknowledged)

    def _beat(self) -> bool:
        """Let all write, and a moment pass; False if there is nothing more."""
        number, step = next(self._beats, (0, None))
        if step is None:
            return False
        self._at(number)
        for channel_id, units in step.items():
            self._desk.write(channel_id, units)
        workload.drain(self._spool, self._witness.acknowledged)
        self._at(number + _GATHER_SECONDS)
        return True

    def _at(self, seconds: float) -> None:
        self._now = seconds
        self._witness.moment(seconds, self._desk.written)

    def _sync(self, descriptor: int) -> int:
        """syncfs(2), which may fail or be slow."""
        beat = int(self._now)
        if beat in _FAILING:
            ctypes.set_errno(errno.EIO)
            return -1
        if beat == _SLOW:
            assert self._beat()
            assert self._beat()
        call = syncfs()
        assert call is not None
        return call(descriptor)


class _Teller(Witness):
    """Sends what is acknowledged, and rests after each."""

    def __init__(self, told: Connection, pace_seconds: float) -> None:
        self._told = told
        self._pace_seconds = pace_seconds

    def acknowledged(self, fact: Fact) -> None:
        self._told.send_bytes(encode(fact))
        time.sleep(self._pace_seconds)


def child(settings: Settings, told: Connection, life: str = "alone", pace_seconds: float = 0.0) -> None:
    """A process of its own that stops itself and waits for whoever will make it crash; it sends what it told."""
    engine = db.connect(settings, application="crash")
    try:
        os.kill(os.getpid(), signal.SIGSTOP)
        LIVES[life](settings, _Teller(told, pace_seconds))
    except (OSError, DiskFault):  # what was asked for; what is left is looked at
        sys.exit(1)
    finally:
        engine.dispose()
