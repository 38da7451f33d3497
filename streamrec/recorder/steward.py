"""Upkeep beside the captures: one recorder of a data folder does it, in threads, and again where it failed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from streamrec import db
from streamrec.errors import StreamrecError, Unavailable

log = structlog.get_logger(__name__)

TICK_SECONDS: Final = 1.0
LONGEST_SLEEP_SECONDS: Final = 30.0
FIRST_AWAY_SECONDS: Final = 5.0
LONGEST_AWAY_SECONDS: Final = 300.0


async def _in_thread(work: Callable[[], None]) -> None:
    """As asyncio.to_thread, but in a thread that no process waits for when it ends: what it does may hang.

    Nothing is done where no thread can be started; what is due stays so.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error = None
        try:
            work()
        except BaseException as exc:  # noqa: BLE001 - it is raised again where this is awaited
            error = exc
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, error)

    try:
        threading.Thread(target=run, name="upkeep", daemon=True).start()
    except RuntimeError:
        return
    await done


@dataclass(slots=True)
class Duty:
    """A piece of upkeep. `work` blocks, may be broken off at any point, and raises when something is away."""

    name: str
    every_seconds: float
    work: Callable[[], object]
    due_at: float = 0.0  # monotonic
    failures: int = 0


class Steward:
    """Does its duties, each in a thread and none twice at a time, for as long as it holds the lock."""

    def __init__(
        self,
        duties: Sequence[Duty],
        *,
        lock: Path,
        may_work: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is begun while `may_work` is false, as when the archive's disk is away."""
        self._duties = duties
        self._lock = lock
        self._may_work = may_work
        self._monotonic = monotonic
        self._holder = -1
        self._is_told = False

    async def run(self) -> None:
        """For ever."""
        await asyncio.gather(*(self._keep_up(duty) for duty in self._duties))

    async def _keep_up(self, duty: Duty) -> None:
        while True:
            if self.is_due(duty):
                await _in_thread(partial(self.attempt, duty))
            wait = duty.due_at - self._monotonic()
            await asyncio.sleep(min(max(wait, TICK_SECONDS), LONGEST_SLEEP_SECONDS))

    def is_due(self, duty: Duty) -> bool:
        """Whether a duty is to be done now, and by this process."""
        return self._monotonic() >= duty.due_at and self._may_work() and self._holds()

    def attempt(self, duty: Duty) -> None:
        """Do a duty now, and set when it is due again. Raises nothing: whoever records must outlive a bug here."""
        try:
            duty.work()
        except (StreamrecError, SQLAlchemyError, OSError) as exc:
            self._failed(duty, exc)
            return
        except Exception:
            log.exception("upkeep failed", duty=duty.name, next_try_in_seconds=duty.every_seconds)
            duty.failures = max(duty.failures, 1)
            duty.due_at = self._monotonic() + duty.every_seconds
            return
        if duty.failures:
            log.info("upkeep goes on", duty=duty.name)
        duty.failures = 0
        duty.due_at = self._monotonic() + duty.every_seconds

    def _failed(self, duty: Duty, exc: Exception) -> None:
        """Wait twice as long each time; say it once."""
        wait = min(LONGEST_AWAY_SECONDS, FIRST_AWAY_SECONDS * 2**duty.failures)
        duty.failures = min(duty.failures + 1, 10)
        duty.due_at = self._monotonic() + wait
        if duty.failures == 1:
            is_away = isinstance(exc, Unavailable | OSError) or db.is_away(exc)
            say = log.warning if is_away else log.error
            detail = exc.detail if isinstance(exc, StreamrecError) else type(exc).__name__
            say("upkeep fails; it is tried again", duty=duty.name, error=detail, next_try_in_seconds=wait)

    def _holds(self) -> bool:
        """Whether this process is the one; whoever dies lets go."""
        if self._holder < 0:
            try:
                self._holder = self._locked()
            except BlockingIOError:
                return False
            except OSError as exc:
                self._cannot_lock(exc)
                return False
        return True

    def _locked(self) -> int:
        """The lock's descriptor. Raises OSError; BlockingIOError if another process has it."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        holder = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(holder)
            raise
        return holder

    def _cannot_lock(self, exc: OSError) -> None:
        """Say it once: it is tried again every second."""
        if not self._is_told:
            self._is_told = True
            log.error("no upkeep is done: its lock cannot be opened", path=str(self._lock), error=exc.strerror)

    def close(self) -> None:
        """Let another recorder do it."""
        if self._holder >= 0:
            os.close(self._holder)
            self._holder = -1
