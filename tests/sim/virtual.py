"""An event loop whose time is made up, and processes in it that can be frozen and killed between two callbacks."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

Result = TypeVar("Result")

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass
class Process:
    """What a recorder's callbacks belong to; while it is halted they are kept, in order."""

    name: str
    is_halted: bool = False
    kept: list[tuple[Callable[[], None], Context]] = field(default_factory=list)


RUNNING_AS: ContextVar[Process | None] = ContextVar("running_as", default=None)
"""Whose callback runs; tasks and timers inherit it."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Never waits: when nobody has anything to do, time jumps to the next timer. Threads are run inline.

    What `spend` was told while a thread's work ran passes before its result is known.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._spent = 0.0
        super().__init__(_Jump(self._pass))

    def time(self) -> float:
        return self._now

    def spend(self, seconds: float) -> None:
        """The work that runs takes so much longer."""
        self._spent += seconds

    def spent(self) -> float:
        """What was spent since this was asked last."""
        spent, self._spent = self._spent, 0.0
        return spent

    def _pass(self, seconds: float) -> None:
        self._now += seconds

    # --- what asyncio calls

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        run, context, cell = self._guarded(callback, args, context)
        cell.append(super().call_soon(run, context=context))
        return cell[0]

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        run, context, cell = self._guarded(callback, args, context)
        cell.append(super().call_at(when, run, context=context))
        return cell[0]

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def _guarded(
        self, callback: Any, args: tuple[Any, ...], context: Context | None
    ) -> tuple[Callable[[], None], Context, list[Any]]:
        """The same, but kept as long as the process is halted to which it belongs."""
        context = copy_context() if context is None else context
        process = context.get(RUNNING_AS)
        cell: list[asyncio.Handle] = []

        def run() -> None:
            if process is not None and process.is_halted:
                process.kept.append((go_on, context))
            else:
                callback(*args)

        def go_on() -> None:
            if not cell[0].cancelled():
                callback(*args)

        return run, context, cell

    def run_in_executor(self, _executor: Any, work: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        told = self.create_future()
        before = self.spent()
        outcome = outcome_of(work, *args)
        self.call_later(self.spent(), settle, told, outcome)
        self.spend(before)
        return told

    def freeze(self, process: Process) -> None:
        """Nothing of it runs from now on."""
        process.is_halted = True

    def thaw(self, process: Process) -> None:
        """It goes on where it was."""
        process.is_halted = False
        kept, process.kept = process.kept, []
        for callback, context in kept:
            self.call_soon(callback, context=context)

    def _write_to_self(self) -> None:
        """Nobody waits in a selector that would have to be woken."""


class _Jump(selectors.SelectSelector):
    """Finds nothing ready, ever, and lets the time pass that it was asked to wait."""

    def __init__(self, pass_on: Callable[[float], None]) -> None:
        super().__init__()
        self._pass_on = pass_on

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everybody waits, and for nothing")
        if timeout > 0:
            self._pass_on(timeout)
        return []


def outcome_of(work: Callable[..., Any], *args: Any) -> Future[Any]:
    """What it returns or raises."""
    done: Future[Any] = Future()
    try:
        done.set_result(work(*args))
    except Exception as exc:  # noqa: BLE001 - it is raised where it is waited for
        done.set_exception(exc)
    return done


def settle(told: asyncio.Future[Any], outcome: Future[Any]) -> None:
    """Tell what came of it to whoever waits."""
    if told.done():
        return
    error = outcome.exception()
    if error is None:
        told.set_result(outcome.result())
    else:
        told.set_exception(error)


class Inline(Executor):
    """Threads that are none: work is done when it is given."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return outcome_of(lambda: work(*args, **kwargs))


class Machine:
    """What all share in a real run on one machine: work that is done one piece after the other."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._busy_until = 0.0

    def turn(self, seconds: float) -> float:
        """How long it takes until this piece is done, too."""
        self._busy_until = max(self._busy_until, self._loop.time()) + seconds
        return self._busy_until - self._loop.time()


class VirtualClock:
    """A Clock on the time of a loop, which begins at noon."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(scenario: Callable[[VirtualLoop], Coroutine[Any, Any, Result]]) -> Result:
    """Play a scenario on a loop of its own; takes as long as the computing does."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        return runner.run(scenario(loop))
